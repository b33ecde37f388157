"""What clients have been told of sequences in transactions that were open, passed on a new primary before all else.

A standby may know less of a sequence than the clients of its primary: what is drawn is replicated with the next commit,
and nothing waits for it. So that nobody draws a number that an open transaction has already, and will need when it is
done again, every session says what it was told as soon as it has lost its server, and the sequences are moved past
all that before the first session or client comes to the new primary (rule 31).

Used by: failover.recovery (notes), failover.controller (has them passed).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import psycopg
import structlog
import trio
from attrs import define, field

from helios_trio.errors import HeliosError
from helios_trio.failover.outcome_desk import Connect
from helios_trio.failover.sequence_catalog import Catalog, catalog_query, merged
from helios_trio.failover.sequence_moves import SequenceMover
from helios_trio.failover.sequences import Wanted, plan

_log = structlog.get_logger(__name__)

#: Seconds for all of one database, while all its clients wait.
TIME_LIMIT: Final = 2.0
#: Statements whose answers are kept for one database; whoever has more of them open gets along without.
_KEPT: Final = 10_000


@define(eq=False)
class SequenceMarks:
    """What was told, by backend and database."""

    connect: Connect
    mover: SequenceMover
    _noted: dict[tuple[str, str], list[Wanted]] = field(factory=dict)

    def note(self, backend: str, database: str, told: Iterable[Wanted]) -> None:
        """A session of this backend is in a transaction in which it was told this."""
        noted = self._noted.setdefault((backend, database), [])
        noted += list(told)[: _KEPT - len(noted)]

    def forget(self, backend: str) -> None:
        """The backend lives: nothing but what it said itself counts."""
        for key in [each for each in self._noted if each[0] == backend]:
            del self._noted[key]

    async def pass_all(self, source: str, target: str) -> None:
        """Move the sequences of `target` past what clients of `source` were told. Raises nothing but what cancels."""
        mine = {database: told for (backend, database), told in self._noted.items() if backend == source}
        self.forget(source)
        async with trio.open_nursery() as nursery:
            for database, told in mine.items():
                nursery.start_soon(self._pass, target, database, told)

    async def _pass(self, target: str, database: str, told: list[Wanted]) -> None:
        if not told:
            return
        tables = tuple(sorted({oid for each in told for oid in each.tables}))
        names = tuple(dict.fromkeys(name for each in told for name in each.sequences))
        with trio.move_on_after(TIME_LIMIT) as limit:
            try:
                connection = await self.connect(target, database)
                try:
                    rows = await (await connection.execute(catalog_query(tables, names).encode())).fetchall()
                finally:
                    connection.abort()
            except (psycopg.Error, HeliosError, OSError) as error:
                _log.warning("sequences not known", database=database, reason=str(error).partition("\n")[0])
                return
            catalog = Catalog.of([list(map(_as_text, row)) for row in rows])
            await self.mover.move(target, database, merged(plan(each, catalog).must_pass for each in told))
        if limit.cancelled_caught:
            _log.warning("sequences not moved in time", database=database)


def _as_text(value: object) -> bytes | None:
    """A value as servers write it."""
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return None if value is None else str(value).encode()
