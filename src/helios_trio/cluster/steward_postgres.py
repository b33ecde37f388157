"""`PostgresSteward`: changes the roles of servers through SQL alone, over control connections.

For servers that somebody else runs: it can promote a standby, but cannot turn an old primary into one. The waits are
polls, as PostgreSQL 12 to 18 have no event for what is waited for; both ends are next to each other, so a look
costs less than a millisecond. Works with the rights that `helios setup` gives (`control.setup`).

Used by: composition.moving (makes it), migration.switchover, cluster.steward_embedded (builds on it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import structlog
import trio
from attrs import define, field

from helios_trio.cluster.observation import PROBE, Observation
from helios_trio.cluster.steward import (
    Demotion,
    NoLongerStandby,
    OpenTransaction,
    ServerFacts,
    StewardError,
    StewardUnsure,
)
from helios_trio.control import ControlConnection
from helios_trio.errors import HeliosError

_log = structlog.get_logger(__name__)

#: Seconds between looks at what is waited for while clients wait, too.
POLL: Final = 0.001
#: Seconds that a checkpoint may take before a switchover goes on without it.
CHECKPOINT_TIME_LIMIT: Final = 30.0

_FACTS: Final = """
SELECT current_setting('server_version_num')::int,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
       CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END,
       (SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'recovery_min_apply_delay'),
       current_setting('default_transaction_read_only')::bool,
       current_setting('synchronous_standby_names'),
       (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')
"""

# Before release 15 only superusers have ALTER SYSTEM; since 17 it can be switched off for all.
_MAY_ALTER_SYSTEM: Final = {
    True: "has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')",
    False: "current_setting('is_superuser')::bool",
}
_MISSING_RIGHTS: Final = """
SELECT coalesce(array_agg(thing), '{{}}') FROM (VALUES
    ('ALTER SYSTEM SET default_transaction_read_only',
     {may_alter_system} AND coalesce(current_setting('allow_alter_system', true)::bool, true)),
    ('EXECUTE on pg_reload_conf()', has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE')),
    ('EXECUTE on pg_promote()', has_function_privilege('pg_catalog.pg_promote(boolean, integer)', 'EXECUTE')),
    ('membership in pg_read_all_stats', pg_has_role('pg_read_all_stats', 'USAGE'))
) AS needed (thing, given) WHERE NOT given
"""

# Vacuum writes for its own server only, and walsenders serve standbys.
_OPEN_TRANSACTIONS: Final = """
SELECT pid, coalesce(usename, ''), application_name, backend_xid IS NOT NULL
  FROM pg_stat_activity
 WHERE pid <> pg_backend_pid()
   AND backend_type NOT IN ('autovacuum worker', 'walsender')
   AND (backend_xid IS NOT NULL
        OR (backend_type = 'client backend' AND xact_start <= to_timestamp(%s)))
"""

# A commit that has written something is flushed, and with it all before. Read-only transactions may do this.
_MARK: Final = "SELECT pg_logical_emit_message(true, 'helios', 'switchover')"
# A snapshot ends at the last transaction that is over; writers that are still under way are beyond its end. The age of
# an xid is counted from the next one to be given (before this transaction has one itself), theirs included.
_NEXT_XID: Final = """
SELECT seen + age((seen % 4294967296)::text::xid)
  FROM (SELECT txid_snapshot_xmax(txid_current_snapshot()) AS seen) AS snapshot
"""
_READ_ONLY: Final = "SELECT current_setting('default_transaction_read_only')::bool"


@define(eq=False)
class PostgresSteward:
    """See `cluster.steward.Steward`."""

    #: opens a control connection in autocommit, by the backend's name; raises psycopg.Error, OSError, HeliosError
    connect: Callable[[str], Awaitable[ControlConnection]]
    _connections: dict[str, ControlConnection] = field(factory=dict, init=False)

    async def facts(self, node: str) -> ServerFacts:
        """See `Steward`."""
        observation = Observation.from_row(await self._ask(node, PROBE))
        version, streaming, paused, delay, read_only, synchronous, standbys = await self._ask(node, _FACTS)
        may = _MAY_ALTER_SYSTEM[version >= 150000]
        [missing] = await self._ask(node, _MISSING_RIGHTS.format(may_alter_system=may))
        return ServerFacts(
            observation=observation,
            version=version,
            streaming=streaming,
            replay_paused=paused,
            apply_delay=delay,
            read_only=read_only,
            synchronous_standby_names=synchronous,
            standbys=standbys,
            missing_rights=tuple(missing),
        )

    async def prepare(self, source: str, target: str) -> None:
        """Open the connections, and write out what the shutdown of the old primary would have to write."""
        for node in (source, target):
            await self._connection(node)
        with trio.move_on_after(CHECKPOINT_TIME_LIMIT):
            async with trio.open_nursery() as nursery:
                for node in (source, target):
                    nursery.start_soon(self._checkpoint, node)

    async def _checkpoint(self, node: str) -> None:
        """A restartpoint on a standby. Not needed, so a refusal is no failure."""
        try:
            await self._command(node, "CHECKPOINT")
        except StewardError as error:
            _log.info("no checkpoint before the switchover", node=node, reason=error.message)

    # -- read-only -------------------------------------------------------------------------------------------

    async def read_only(self, node: str) -> float:
        """See `Steward`."""
        await self._set_read_only(node, True)
        await self._wait_for_setting(node, True)
        [now] = await self._ask(node, "SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(now)

    async def writable_again(self, node: str) -> None:
        """See `Steward`."""
        await self._set_read_only(node, False)
        await self._wait_for_setting(node, False)

    async def _set_read_only(self, node: str, read_only: bool) -> None:
        """Have the server change and reread its settings. Open transactions keep what they began with."""
        change = (
            "SET default_transaction_read_only = on" if read_only else "RESET default_transaction_read_only"
        )
        await self._command(node, f"ALTER SYSTEM {change}")
        await self._ask(node, "SELECT pg_reload_conf()")

    async def _wait_for_setting(self, node: str, read_only: bool) -> None:
        """Wait for the reload. Once our own session has heard of it, the postmaster has told all."""
        while (await self._ask(node, _READ_ONLY))[0] is not read_only:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(POLL)

    async def open_transactions(self, node: str, begun_before: float) -> Sequence[OpenTransaction]:
        """See `Steward`."""
        rows = await self._rows(node, _OPEN_TRANSACTIONS, begun_before)
        return [
            OpenTransaction(pid=pid, user=user, application_name=application, wrote=wrote)
            for pid, user, application, wrote in rows
        ]

    # -- positions -------------------------------------------------------------------------------------------

    async def last_lsn(self, node: str) -> int:
        """See `Steward`."""
        await self._ask(node, _MARK)
        [lsn] = await self._ask(node, "SELECT pg_current_wal_flush_lsn() - '0/0'")
        return int(lsn)

    async def next_xid(self, node: str) -> int:
        """See `Steward`."""
        [xid] = await self._ask(node, _NEXT_XID)
        return int(xid)

    async def wait_replayed(self, node: str, lsn: int) -> None:
        """See `Steward`."""
        while True:
            recovering, replayed = await self._ask(
                node, "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() - '0/0'"
            )
            if not recovering:
                raise NoLongerStandby(f"{node} has become a primary by somebody else's doing")
            if replayed is not None and replayed >= lsn:
                return
            await trio.sleep(POLL)

    # -- roles -----------------------------------------------------------------------------------------------

    async def promote(self, node: str) -> None:
        """See `Steward`. The function's own wait looks only ten times a second: it is not used."""
        await self._once(node, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(false) END")

    async def wait_writable(self, node: str, newer_than: int) -> Observation:
        """See `Steward`."""
        while True:
            [recovering] = await self._ask(node, "SELECT pg_is_in_recovery()")
            if not recovering:
                seen = Observation.from_row(await self._ask(node, PROBE))
                if not seen.in_recovery and (seen.timeline or 0) > newer_than:
                    return seen
            await trio.sleep(POLL)

    async def fence(self, node: str) -> bool:
        """See `Steward`: nothing can be done to a server that does not answer, and one that does need not be fenced."""
        await trio.lowlevel.checkpoint()
        return False

    async def demote(self, node: str, primary: str) -> Demotion:
        """See `Steward`: there is no way to do it by SQL, so it stays read-only and somebody must see to it."""
        await trio.lowlevel.checkpoint()
        return Demotion(
            rejoined=False,
            note=f"make {node} a standby of {primary} with pg_rewind or a new base backup; after a switchover see "
            "that default_transaction_read_only is gone from its postgresql.auto.conf",
        )

    # -- connections -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """See `Steward`."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.abort()

    async def _ask(self, node: str, query: str, *arguments: Any) -> Sequence[Any]:
        """The one row of a query that may be asked twice."""
        [row] = await self._rows(node, query, *arguments)
        return row

    async def _rows(self, node: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows. A connection that turns out to be lost, perhaps long ago, is replaced once."""
        try:
            return await self._once(node, query, *arguments)
        except StewardUnsure:
            return await self._once(node, query, *arguments)

    async def _command(self, node: str, command: str) -> None:
        await self._rows(node, command)

    async def _once(self, node: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        connection = await self._connection(node)
        with _translated(node, connection):
            cursor = await connection.execute(query.encode(), arguments or None)
            return await cursor.fetchall() if cursor.description is not None else []

    async def _connection(self, node: str) -> ControlConnection:
        kept = self._connections.get(node)
        if kept is not None and not kept.closed:
            return kept
        with _translated(node, None):
            connection = await self.connect(node)
        self._connections[node] = connection
        with _translated(node, connection):
            # the mark is for the local disk; a synchronous standby that is gone must not keep us
            await connection.execute("SET synchronous_commit = local")
        return connection


@contextmanager
def _translated(node: str, connection: ControlConnection | None) -> Iterator[None]:
    """Errors of connecting and of queries as ours; without a connection nothing has been sent."""
    try:
        yield
    except HeliosError as error:
        raise StewardError(f"{node}: {error.message}") from error
    except (psycopg.Error, OSError) as error:
        lost = connection is not None and connection.closed
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise (StewardUnsure if lost else StewardError)(f"{node}: {reason}") from error
