"""Where COMMITs can be noted, and deleting the notes when nobody can need them any more.

Notes need what `helios setup` creates in each database (`control.setup_commits`). `TokenDatabases` knows which have it;
`CommitCleaner` deletes from those.

Used by: composition.recovering (makes both, runs the cleaner), failover's sessions (ask before they note).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import psycopg
import structlog
import trio
from attrs import define, field, frozen

from helios_trio.control import ControlConnection
from helios_trio.control.setup_commits import FORGET_BATCH
from helios_trio.errors import HeliosError
from helios_trio.failover.outcome_desk import Connect

_log = structlog.get_logger(__name__)

#: Seconds that connecting and asking may take.
ASK_TIME_LIMIT: Final = 5.0

# Clients must be able to note, and we to look up.
_HAS_TOKENS: Final = """
SELECT coalesce(has_schema_privilege('public', to_regnamespace('helios')::oid, 'USAGE')
                AND has_function_privilege('public', to_regprocedure('helios.note_commit(uuid, boolean)')::oid,
                                           'EXECUTE')
                AND has_function_privilege(to_regprocedure('helios.settle_commit(uuid)')::oid, 'EXECUTE'), false)
"""
_FORGET: Final = "SELECT helios.forget_commits(%s)"


@frozen
class _Finding:
    """What a database was found to have."""

    has: bool
    #: until when that is believed (seconds on Trio's clock)
    good_until: float


@define(eq=False)
class TokenDatabases:
    """Knows in which databases COMMITs can be noted."""

    #: opens a control connection in autocommit, by names of backend and database; raises psycopg.Error, OSError,
    #: HeliosError
    connect: Connect
    #: seconds that an answer is believed
    believed: float = 60.0
    _found: dict[tuple[str, str], _Finding] = field(factory=dict, init=False)
    _asking: dict[tuple[str, str], trio.Lock] = field(factory=dict, init=False)

    async def has_tokens(self, backend: str, database: str) -> bool:
        """Whether COMMITs can be noted there. False also when it cannot be found out; that is not believed for long."""
        await trio.lowlevel.checkpoint()
        key = backend, database
        async with self._asking.setdefault(key, trio.Lock()):
            finding = self._found.get(key)
            if finding is None or trio.current_time() >= finding.good_until:
                finding = self._found[key] = await self._find_out(backend, database)
        return finding.has

    def known(self, backend: str, database: str) -> bool | None:
        """The same without asking; None: `has_tokens` must be awaited, as nobody has yet, or too long ago."""
        finding = self._found.get((backend, database))
        if finding is None or trio.current_time() >= finding.good_until:
            return None
        return finding.has

    def databases(self, backend: str) -> list[str]:
        """The databases in which COMMITs can be noted, as far as anybody has asked."""
        return [database for (name, database), found in self._found.items() if name == backend and found.has]

    def without(self) -> list[tuple[str, str]]:
        """Backends and databases that have been asked for, and where COMMITs cannot be noted."""
        return sorted(key for key, found in self._found.items() if not found.has)

    async def _find_out(self, backend: str, database: str) -> _Finding:
        try:
            with trio.fail_after(ASK_TIME_LIMIT):
                async with await self.connect(backend, database) as connection:
                    row = await (await connection.execute(_HAS_TOKENS)).fetchone()
        except (psycopg.Error, OSError, HeliosError, trio.TooSlowError) as error:
            _log.info("not known whether COMMITs can be noted", database=database, reason=_first_line(error))
            return _Finding(False, trio.current_time() + self.believed / 10)
        assert row is not None, "a SELECT without a table has one row"
        return _Finding(bool(row[0]), trio.current_time() + self.believed)


@define(eq=False, kw_only=True)
class CommitCleaner:
    """Deletes old notes. Every proxy may run one: what one has deleted another does not find."""

    #: as in `TokenDatabases`
    connect: Connect
    #: the databases to delete from now: (name of the backend that takes writes, name of the database)
    databases: Callable[[], Iterable[tuple[str, str]]]
    #: seconds that a note is kept, much longer than anybody waits for the outcome of a COMMIT; `OutcomeResolver` must
    #: know it as `token_lifetime`
    keep: float = 3600.0
    #: seconds from one round to the next
    interval: float = 180.0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Delete now and then until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(self.interval)
            for backend, database in tuple(self.databases()):
                await self.clean(backend, database)

    async def clean(self, backend: str, database: str) -> int:
        """Delete in one database what is old; returns how many rows, also when it did not get to the end."""
        deleted = 0
        try:
            with trio.fail_after(self.interval):
                async with await self.connect(backend, database) as connection:
                    await connection.execute("SET synchronous_commit = off")
                    batch = FORGET_BATCH
                    while batch >= FORGET_BATCH:
                        batch = await self._forget(connection)
                        deleted += batch
        except (psycopg.Error, OSError, HeliosError, trio.TooSlowError) as error:
            _log.info("old notes of COMMITs not deleted", database=database, reason=_first_line(error))
        return deleted

    async def _forget(self, connection: ControlConnection) -> int:
        row = await (await connection.execute(_FORGET, (timedelta(seconds=self.keep),))).fetchone()
        assert row is not None, "a function without SETOF returns one row"
        return int(row[0])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
