"""`SequenceMover`: moves sequences past the numbers that clients have seen, before others can draw them (rule 31).

On connections of the proxy's own: in a client's session a draw would change what currval() says there. Sessions that
replay at the same time share one connection per database, and what one has moved the others need not.

Used by: composition.recovering (makes it), failover's replay.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import structlog
import trio
from attrs import define, field
from psycopg import errors

from helios_trio.control import ControlConnection
from helios_trio.errors import HeliosError
from helios_trio.failover.outcome_desk import Connect
from helios_trio.failover.sequence_catalog import SequenceFacts, pass_query

_log = structlog.get_logger(__name__)

#: No `helios setup` here, or not for this user, who may have rights on the sequence all the same.
_NO_FUNCTION = (errors.UndefinedFunction, errors.InvalidSchemaName, errors.InsufficientPrivilege)


@define(eq=False)
class SequenceMover:
    """See the module."""

    #: opens a control connection in autocommit, by names of backend and database; raises psycopg.Error, OSError,
    #: HeliosError
    connect: Connect
    #: seconds for one call
    time_limit: float = 10.0
    _places: dict[tuple[str, str], _Place] = field(factory=dict, init=False)

    async def move(self, backend: str, database: str, must_pass: Mapping[SequenceFacts, int]) -> bool:
        """Make these sequences give nothing that does not come after these values; False: not all could be."""
        await trio.lowlevel.checkpoint()
        key = backend, database
        place = self._places.setdefault(key, _Place())
        place.users += 1
        try:
            with trio.move_on_after(self.time_limit):
                async with place.turn:
                    return await self._move_all(key, place, must_pass)
            _log.warning("sequences not moved in time", backend=backend, database=database)
        except (psycopg.Error, OSError, HeliosError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            _log.warning("sequences not moved", backend=backend, database=database, reason=reason)
        finally:
            place.users -= 1
            if not place.users:
                del self._places[key]
                place.close()
        return False

    async def _move_all(
        self, key: tuple[str, str], place: _Place, must_pass: Mapping[SequenceFacts, int]
    ) -> bool:
        moved = True
        for sequence, value in must_pass.items():
            if not place.is_past(sequence, value):
                if place.connection is None or place.connection.closed:
                    place.connection = await self.connect(*key)
                if await _pass(place.connection, sequence, value):
                    place.past[sequence] = value
                else:
                    _log.warning("sequence not moved", sequence=sequence.name, past=value)
                    moved = False
        return moved


@define(eq=False)
class _Place:
    """One database, for as long as somebody has something to move there."""

    users: int = 0
    turn: trio.Lock = field(factory=trio.Lock)
    connection: ControlConnection | None = None
    #: what has been passed already
    past: dict[SequenceFacts, int] = field(factory=dict)

    def is_past(self, sequence: SequenceFacts, value: int) -> bool:
        passed = self.past.get(sequence)
        return passed is not None and sequence.furthest((passed, value)) == passed

    def close(self) -> None:
        if self.connection is not None:
            self.connection.abort()


async def _pass(connection: ControlConnection, sequence: SequenceFacts, value: int) -> bool:
    try:
        query = "SELECT helios.pass_sequence(%s::regclass, %s)"
        cursor = await connection.execute(query, (sequence.name, value))
    except _NO_FUNCTION:
        cursor = await connection.execute(pass_query(sequence, value).encode())
    row = await cursor.fetchone()
    return row is not None and bool(row[0])
