"""Transactions that clients were told are committed, looked up on a standby before it is promoted (rule 24).

Positions in the WAL that were polled do not tell what clients were told; the ids that transactions wrote for themselves
do. The newest of each database are enough: WAL is received in order.

Used by: failover.succession (asks), failover.controller; the journal of sessions knows the ids.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import psycopg
import structlog
import trio
from attrs import define, frozen

from helios_trio.cluster.steward import StewardError
from helios_trio.control import ControlConnection
from helios_trio.errors import HeliosError

_log = structlog.get_logger(__name__)

_MISSING: Final = "SELECT missing::text FROM helios.missing_commits(%s::uuid[]) AS missing"
#: Of these ids none can be there.
_NO_TOKENS: Final = (
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
)
#: What a standby still has to do: nothing once it has replayed all it received, or waits for more.
_REPLAYED: Final = """
SELECT NOT pg_is_in_recovery()
    OR pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()
    OR EXISTS (SELECT FROM pg_stat_activity
                WHERE backend_type = 'startup'
                  AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval'))
"""
#: Seconds between looks at a replay.
_POLL: Final = 0.002


class AcknowledgedTokens(Protocol):
    """Knows what clients were told lately."""

    def newest(self, backend: str) -> Mapping[str, Sequence[str]]:
        """By database: the newest ids of transactions that clients of that backend were told are committed."""


@frozen
class NoTokens:
    """Nobody writes ids."""

    def newest(self, backend: str) -> Mapping[str, Sequence[str]]:
        """See `AcknowledgedTokens`."""
        return {}


@define
class TokenCheck:
    """Looks ids up on a standby. Times in seconds."""

    #: opens a control connection by backend and database; raises psycopg.Error, OSError, HeliosError
    connect: Callable[[str, str], Awaitable[ControlConnection]]
    #: for the standby to replay what it has received
    replay_time_limit: float = 30.0

    async def missing(self, standby: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
        """The ids that a standby lacks once it has replayed all. Raises StewardError: it could not be asked."""
        found: list[str] = []
        for database, ids in wanted.items():
            if ids:
                found += await self._missing_in(standby, database, ids)
        return found

    async def _missing_in(self, standby: str, database: str, ids: Sequence[str]) -> list[str]:
        try:
            with trio.fail_after(self.replay_time_limit):
                connection = await self.connect(standby, database)
                try:
                    await _wait_replayed(connection)
                    rows = await (await connection.execute(_MISSING.encode(), (list(ids),))).fetchall()
                finally:
                    connection.abort()
        except _NO_TOKENS:
            return list(ids)
        except psycopg.errors.InsufficientPrivilege as error:
            _log.warning(
                "acknowledged transactions cannot be looked up", database=database, reason=str(error)
            )
            return []
        except (psycopg.Error, HeliosError, OSError, trio.TooSlowError) as error:
            reason = str(error).partition("\n")[0] or "it took too long"
            raise StewardError(
                f"{standby}: acknowledged transactions cannot be looked up: {reason}"
            ) from error
        return [id for (id,) in rows]


async def _wait_replayed(connection: ControlConnection) -> None:
    """The end of what was received may be half a record, which is never replayed."""
    while True:
        row = await (await connection.execute(_REPLAYED.encode())).fetchone()
        if row is not None and row[0]:
            return
        await trio.sleep(_POLL)
