"""SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS of the admin console: a row for each connection. Pure.

Rows are made when they are asked for, a few at a time, as there may be ten thousand clients.

Used by: admin.console_tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from helios_trio.admin.console_frames import Row
from helios_trio.admin.console_scene import ConsoleClient, Scene
from helios_trio.pipeline.fleet import SessionInfo, SessionState
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool

_MICRO: Final = 1_000_000
#: Sessions in these states wait, in PgBouncer's words.
_WAITING: Final = frozenset({SessionState.WAITING, SessionState.HELD})
#: What the columns of buffers say: nothing is kept in buffers that could be looked at.
_BUFFERS: Final = (0,) * 7


def clients(scene: Scene) -> Iterator[Row]:
    """Everybody who is connected, consoles included."""
    for id in list(scene.parts.proxy.sessions):
        info = scene.parts.fleet.session(id)
        if info is not None:
            yield _session(scene, info)
    for console in scene.consoles():
        yield _console(scene, console)


def servers(scene: Scene) -> Iterator[Row]:
    """Every server connection that is open."""
    for pool, (database, user) in scene.parts.pools.named():
        for connection in list(pool.planner.slots):
            yield _server(scene, pool, connection, database, user)


def sockets(scene: Scene) -> Iterator[Row]:
    """Clients and servers."""
    for prefix, rows in (("cl", clients(scene)), ("sv", servers(scene))):
        for row in rows:
            yield [*row[:3], f"{prefix}_{row[3]}", *row[4:], *_BUFFERS]


def _session(scene: Scene, info: SessionInfo) -> Row:
    waits = scene.clock - info.active_since if info.state in _WAITING else 0.0
    return _row(
        scene,
        "C",
        info.user,
        info.database,
        "waiting" if info.state in _WAITING else "active",
        info.client,
        info.local,
        info.since,
        info.active_since,
        waits=waits,
        ptr=_pointer("c", info.id),
        link="" if info.server_pid is None else _pointer("s", info.server_pid),
        pid=info.server_pid or 0,
        tls=info.tls,
        application_name=info.application_name,
    )


def _console(scene: Scene, console: ConsoleClient) -> Row:
    return _row(
        scene,
        "C",
        console.user,
        console.database,
        "active",
        console.address,
        console.local,
        console.since,
        console.since,
        ptr=_pointer("c", console.id),
        tls=console.tls,
        application_name=console.application_name,
    )


def _server(scene: Scene, pool: Pool, connection: BackendConnection, database: str, user: str) -> Row:
    session = connection.side.last_session
    active = connection.status is SlotStatus.ACTIVE
    transport = connection.transport
    return _row(
        scene,
        "S",
        user,
        database,
        _STATES.get(connection.status, "login"),
        f"{pool.backend.host}:{pool.backend.port}",
        transport.local,
        connection.opened_at,
        connection.idle_since,
        close_needed=connection.side.spoilt,
        ptr=_pointer("s", connection.pid),
        link=_pointer("c", session) if active and session else "",
        pid=connection.pid,
        tls="" if transport.tls is None else transport.tls.version,
        application_name=connection.label.get("application_name", ""),
    )


_STATES: Final = {SlotStatus.ACTIVE: "active", SlotStatus.IDLE: "idle", SlotStatus.BUSY: "tested"}


def _row(
    scene: Scene,
    type: str,
    user: str,
    database: str,
    state: str,
    address: str,
    local: str,
    since: float,
    asked: float,
    *,
    waits: float = 0.0,
    close_needed: bool = False,
    ptr: str,
    link: str = "",
    pid: int = 0,
    tls: str = "",
    application_name: str,
) -> Row:
    return [
        type,
        user,
        database,
        state,
        *place(address),
        *place(local),
        moment(scene, since),
        moment(scene, asked),
        int(waits),
        int(waits % 1 * _MICRO),
        int(close_needed),
        ptr,
        link,
        pid,
        tls,
        application_name,
    ]


def place(address: str) -> tuple[str, int]:
    """Address and port, of `host:port`, `[host]:port` or `unix:/path`."""
    if address.startswith(("unix:", "/")) or not address:
        return "unix", 0
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def moment(scene: Scene, at: float) -> str:
    """A time on Trio's clock as PgBouncer writes it."""
    return datetime.fromtimestamp(scene.now - scene.clock + at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _pointer(kind: str, number: int) -> str:
    """What tells one connection from another, and links the two of a pair: PgBouncer shows addresses of memory."""
    return f"0x{kind.encode()[0]:02x}{number:010x}"
