"""`EmbeddedCluster`: who is primary, who follows, and whether commits wait for a standby.

With standbys the primary runs synchronously, so that nothing acknowledged is lost with it. When no
standby is left, commits would wait for ever: then, and after a promotion, synchronous replication is
relaxed until a standby streams again. The cluster holds no task: `watch` may be run in a nursery to
notice servers that end by themselves, and nothing else depends on it. Made by `opening`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import structlog
import trio

from helios_trio.control import ControlConnection
from helios_trio.embedded.config_file import SYNCHRONOUS
from helios_trio.embedded.errors import EmbeddedError
from helios_trio.embedded.folder import ClusterFolder, ClusterState
from helios_trio.embedded.replication import (
    begin_anew,
    configure_standby,
    drop_slots_except,
    ensure_slot,
    follow,
    wait_until_streaming,
)
from helios_trio.embedded.server import EmbeddedNode, Server, StopMode

PROMOTION_DEADLINE = 60  # seconds for a standby to become primary
REPLAY_DEADLINE = 60.0  # seconds for standbys to replay what the primary has
WATCH_INTERVAL = 0.1  # seconds between looks at the servers
POLL = 0.01  # seconds between looks while something is awaited

_log = structlog.get_logger(__name__)


class EmbeddedCluster:
    """One primary and its standbys. Nodes are given by name; methods may be called from any task."""

    def __init__(self, folder: ClusterFolder, state: ClusterState, servers: dict[str, Server]) -> None:
        self._folder = folder
        self._state = state
        self._servers = servers
        self._lock = trio.Lock()
        self._synchronous = False

    @property
    def nodes(self) -> tuple[EmbeddedNode, ...]:
        """All nodes, whether they run or not."""
        return tuple(server.observe() for server in self._servers.values())

    @property
    def primary(self) -> EmbeddedNode:
        """The node that is, or was last, the primary."""
        return self._server(None).observe()

    @property
    def superuser(self) -> str:
        """Name of the superuser."""
        return self._state.superuser

    @property
    def password(self) -> str:
        """Password of the superuser; empty where pg_hba.conf trusts connections from this machine."""
        server = self._server(None)
        return "" if server.settings.auth == "trust" else server.password

    @property
    def version(self) -> str:
        """The servers' release, such as "18.6"."""
        return self._server(None).installation.version

    def node(self, name: str) -> EmbeddedNode:
        """One node by its name.

        Raises:
            EmbeddedError: there is no such node.
        """
        return self._server(name).observe()

    def dsn(self, node: str | None = None, dbname: str = "postgres", **parameters: str) -> str:
        """A connection URI for the superuser over TCP; `parameters` are libpq's. Default: the primary."""
        found = self._server(node).node
        login = quote(self.superuser, safe="")
        if self.password:
            login += f":{quote(self.password, safe='')}"
        query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
        return f"postgresql://{login}@{found.host}:{found.port}/{quote(dbname, safe='')}{query}"

    async def connect(self, node: str | None = None, dbname: str = "postgres") -> ControlConnection:
        """Connect as superuser, in autocommit. Default: to the primary."""
        return await self._server(node).connect(dbname)

    async def execute(
        self, sql: str, node: str | None = None, dbname: str = "postgres", arguments: tuple[Any, ...] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement as superuser; its rows, if it returns any. Default: on the primary."""
        return await self._server(node).query(sql, *arguments, dbname=dbname)

    async def start_node(self, name: str) -> None:
        """Start a node as what it is on disk: a standby follows the primary, a primary is a primary.

        An old primary comes back as a second one, as it would in a careless operator's hands; `rejoin`
        makes it a standby instead. Starting a node that runs does nothing.
        """
        async with self._lock:
            server = self._server(name)
            if server.running:
                return
            if server.is_standby_on_disk:
                await self._follow_primary(server)
            else:
                self._configure_as_primary(server)
                await server.start()

    async def stop_node(self, name: str, mode: StopMode = "fast") -> None:
        """Shut a node down; `mode` as for pg_ctl."""
        async with self._lock:
            await self._server(name).stop(mode)
            self._relax_if_alone()

    async def kill_node(self, name: str) -> None:
        """SIGKILL a node's postmaster and all its children; returns when they are gone."""
        async with self._lock:
            await self._server(name).kill()
            self._relax_if_alone()

    async def restart(self, name: str) -> None:
        """Stop a node and start it again."""
        async with self._lock:
            await self._server(name).stop()
        await self.start_node(name)

    async def pause(self, name: str) -> None:
        """SIGSTOP all processes of a node: connections stay open and nothing answers."""
        async with self._lock:
            await self._server(name).pause()

    async def resume(self, name: str) -> None:
        """SIGCONT all processes of a node."""
        async with self._lock:
            self._server(name).resume()

    async def promote(self, name: str, *, fence: bool = True) -> None:
        """Make a running standby the primary; the other standbys then follow it.

        An old primary that still runs is stopped first, and killed if it is paused. With `fence` false it
        is left alone: there are two primaries then, which tests of fencing need and nobody else.

        Raises:
            EmbeddedError: the node is not a running standby, or was not promoted in time.
        """
        async with self._lock:
            server = self._server(name)
            server.require_running()
            if not server.is_standby_on_disk:
                raise EmbeddedError(f"{name} is not a standby")
            if fence:
                await self._end(self._server(None))
            await self._promote(server)
            await self._lead_others()

    async def set_read_only(self, name: str, read_only: bool) -> None:
        """Have new transactions on a running primary be read-only unless they say otherwise, or not any more.

        Takes effect as soon as the server has read its configuration, and ends with the server.

        Raises:
            EmbeddedError: the node is not a running primary.
        """
        async with self._lock:
            server = self._server(name)
            server.require_running()
            if server.is_standby_on_disk:
                raise EmbeddedError(f"{name} is a standby")
            server.node.read_only = read_only
            self._configure_as_primary(server)
            server.reload()

    async def rejoin(self, name: str) -> None:
        """Make a node that does not follow the primary its standby again: rewound, or cloned anew.

        What only this node has committed is lost. A node that runs is stopped first. Other standbys that follow
        another node than the primary are led to it, too.

        Raises:
            EmbeddedError: the node is the primary, or the primary does not run.
        """
        await self.refresh()
        async with self._lock:
            server = self._server(name)
            if server is self._server(None):
                raise EmbeddedError(f"{name} is the primary")
            await self._lead_others(but=server)  # first: what it writes at its end would lead them astray
            if not server.is_standby_on_disk:
                self._configure_as_primary(server)  # nothing that it does at its end may wait for standbys
            await self._end(server)
            await self._follow_primary(server)

    async def refresh(self) -> None:
        """Ask the running servers who is primary, for promotions that others have carried out."""
        async with self._lock:
            newest = 0
            for server in self._servers.values():
                found = await _primary_timeline(server)
                if found > newest:
                    newest, leader = found, server
            if newest and leader is not self._server(None):
                _log.info("embedded primary has changed", node=leader.name, timeline=newest)
                self._note_primary(leader)

    async def wait_for_replay(self, *names: str) -> None:
        """Wait until these standbys (default: all that run) have replayed all that is committed by now.

        Raises:
            trio.TooSlowError: REPLAY_DEADLINE has passed.
        """
        [(position,)] = await self.execute("SELECT pg_current_wal_flush_lsn()::text")
        standbys = [self._server(name) for name in names] or self._running_standbys()
        with trio.fail_after(REPLAY_DEADLINE):
            for standby in standbys:
                async with await standby.connect() as connection:
                    await _until(partial(_has_replayed, connection, position))

    async def watch(self) -> None:
        """Notice servers that end by themselves and promotions by others; runs until cancelled."""
        running = {server.name for server in self._servers.values() if server.running}
        while True:
            await trio.sleep(WATCH_INTERVAL)
            async with self._lock:
                now = {server.name for server in self._servers.values() if server.running}
                for name in sorted(running - now):
                    _log.warning("embedded server has ended", node=name)
                running = now
                self._relax_if_alone()
            if self.primary.role != "primary":
                await self.refresh()

    async def close(self) -> None:
        """Stop all servers: the primary first, so that its standbys get all it has."""
        mode: StopMode = "immediate" if self._folder.ephemeral else "fast"
        async with self._lock:
            primary = self._server(None)
            for server in [primary, *(other for other in self._servers.values() if other is not primary)]:
                await server.stop(mode)

    async def start_all(self, standbys: list[str]) -> None:
        """Start the primary, then these standbys; from the first moment commits wait for one of them."""
        async with self._lock:
            primary = self._server(None)
            self._synchronous = bool(standbys)
            self._configure_as_primary(primary)
            await primary.start()
            await drop_slots_except(primary, standbys)
            for name in standbys:
                await self._follow_primary(self._server(name))

    def _server(self, name: str | None) -> Server:
        name = self._state.primary if name is None else name
        try:
            return self._servers[name]
        except KeyError:
            raise EmbeddedError(f"there is no node {name!r}; there are {', '.join(self._servers)}") from None

    def _running_standbys(self) -> list[Server]:
        return [server for server in self._servers.values() if server.observe().role == "standby"]

    def _configure_as_primary(self, server: Server) -> None:
        """Write its settings; a second primary never waits for standbys that follow another."""
        synchronous = self._synchronous and server is self._server(None)
        settings = {"synchronous_standby_names": SYNCHRONOUS if synchronous else ""}
        if server.node.read_only:
            settings["default_transaction_read_only"] = "on"
        server.configure(settings)

    def _note_primary(self, server: Server) -> None:
        self._state.primary = server.name
        self._folder.write_state(self._state)
        self._synchronous = False
        server.node.role = "primary"

    async def _end(self, server: Server) -> None:
        """Stop a server that may be paused."""
        if server.paused:
            await server.kill()
        else:
            await server.stop()

    async def _follow_primary(self, server: Server) -> None:
        primary = self._server(None)
        primary.require_running()
        await follow(server, primary)
        await self._tighten()

    async def _promote(self, server: Server) -> None:
        server.configure({"synchronous_standby_names": ""})
        [(done,)] = await server.query(f"SELECT pg_promote(true, {PROMOTION_DEADLINE})")
        if not done:
            raise EmbeddedError(f"{server.name} was not promoted within {PROMOTION_DEADLINE} s")
        self._note_primary(server)
        _log.info("embedded standby promoted", node=server.name)
        if not self._running_standbys():
            self._warn_relaxed()

    async def _lead_others(self, *, but: Server | None = None) -> None:
        """Have the other standbys follow the primary, which keeps WAL for those that do not run, too."""
        primary = self._server(None)
        rows = await primary.query(
            "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        )
        following = {name for (name,) in rows}
        for other in self._servers.values():
            if other in (primary, but) or other.name in following:
                continue
            await ensure_slot(primary, other.name)
            if other.running and other.is_standby_on_disk:
                await self._repoint(other)

    async def _repoint(self, standby: Server) -> None:
        """Let a standby follow the new primary; release 12 reads that only at start."""
        primary = self._server(None)
        configure_standby(standby, primary)
        if standby.installation.major < 13:
            await standby.stop()
            await standby.start()
        else:
            standby.reload()
        if not await wait_until_streaming(standby, primary):
            await begin_anew(standby, primary)
        await self._tighten()

    async def _tighten(self) -> None:
        """Have the primary's commits wait for a standby, and return only when they do."""
        if self._synchronous:
            return
        self._synchronous = True
        primary = self._server(None)
        self._configure_as_primary(primary)
        primary.reload()
        async with await primary.connect() as connection:
            await _until(partial(_counts_standbys, connection))
            # Commits wait as soon as the checkpointer has reread the settings, which it does before this.
            await connection.execute("CHECKPOINT")
        _log.info("embedded primary replicates synchronously", node=primary.name)

    def _relax_if_alone(self) -> None:
        primary = self._server(None)
        if self._synchronous and primary.running and not self._running_standbys():
            self._synchronous = False
            self._configure_as_primary(primary)
            primary.reload()
            self._warn_relaxed()

    def _warn_relaxed(self) -> None:
        _log.warning(
            "no standby is left: commits are no longer replicated before they are acknowledged",
            primary=self.primary.name,
        )


async def _primary_timeline(server: Server) -> int:
    """The timeline a server writes; 0 for a standby and for one that does not answer."""
    if not server.running or server.paused:
        return 0
    try:
        rows = await server.query(
            "SELECT pg_walfile_name(pg_current_wal_insert_lsn()) WHERE NOT pg_is_in_recovery()"
        )
    except psycopg.OperationalError:
        return 0
    return int(rows[0][0][:8], 16) if rows else 0


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask the server again and again: it has no event for what is awaited."""
    while True:
        if await condition():
            return
        await trio.sleep(POLL)


async def _has_replayed(connection: ControlConnection, position: str) -> bool:
    cursor = await connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,))
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _counts_standbys(connection: ControlConnection) -> bool:
    cursor = await connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'quorum'")
    return await cursor.fetchone() is not None
