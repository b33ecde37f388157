"""The tables of the admin console: what SHOW shows. Pure: made from a `Scene`.

Used by: admin.console_orders (runs SHOW).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from helios_trio import __version__
from helios_trio.admin import console_connections
from helios_trio.admin.console_config import config_rows
from helios_trio.admin.console_frames import Row
from helios_trio.admin.console_pools import pools
from helios_trio.admin.console_scene import Scene
from helios_trio.admin.console_stats import shown, total_rows
from helios_trio.admin.plain import rfc3339
from helios_trio.admin.scrape import resident_bytes
from helios_trio.admin.sessions import session_view
from helios_trio.admin.views import topology_view
from helios_trio.config.backends import DatabaseSettings
from helios_trio.migration.status import status_of
from helios_trio.proxy.pausing import ALL

#: The version of PgBouncer whose console this is like, and what it really is.
VERSION: Final = f"PgBouncer 1.18.0 compatible console of helios_trio {__version__}"
_PAGE: Final = 4096


def databases(scene: Scene) -> Iterator[Row]:
    """SHOW DATABASES: the console itself, and all that are known."""
    config, parts = scene.parts.running.config, scene.parts
    console = scene.console
    yield [console, None, _port(scene), console, console, 2, 0, 0, "statement", 0, 0, 0, 0]
    used: dict[str, int] = {}
    for pool, (database, _) in parts.pools.named():
        used[database] = used.get(database, 0) + pool.planner.total
    writer = parts.topology.writer
    for name in scene.databases():
        named = config.database_for(name) or DatabaseSettings(name=name)
        node = parts.topology.nodes.get(named.backend) if named.backend else writer
        backend = None if node is None else node.backend
        settings = config.pool.for_(name, "")
        yield [
            name,
            None if backend is None else backend.host,
            0 if backend is None else backend.port,
            named.database or (None if backend is None else backend.database) or name,
            named.user or (None if backend is None else backend.user),
            settings.max_connections,
            settings.min_connections,
            0,
            settings.mode.value,
            0,
            used.get(name, 0),
            int(name in parts.proxy.pauses.paused),
            int(name in parts.proxy.pauses.disabled),
        ]


def _port(scene: Scene) -> int:
    addresses = scene.parts.running.config.proxy.listen_address
    return next((port for each in addresses if (port := getattr(each, "port", 0))), 0)


def stats(scene: Scene) -> Iterator[Row]:
    """SHOW STATS."""
    for database, totals, averages in scene.statistics.databases():
        yield [database, *shown(totals), *shown(averages)]


def stats_totals(scene: Scene) -> Iterator[Row]:
    """SHOW STATS_TOTALS."""
    for database, totals, _ in scene.statistics.databases():
        yield [database, *shown(totals)]


def stats_averages(scene: Scene) -> Iterator[Row]:
    """SHOW STATS_AVERAGES."""
    for database, _, averages in scene.statistics.databases():
        yield [database, *shown(averages)]


def _users(scene: Scene) -> list[str]:
    """Users of pools, of the console and of the configuration."""
    config = scene.parts.running.config
    found = {user for _, (_, user) in scene.parts.pools.named()} | {each.user for each in scene.consoles()}
    found |= {*config.admin.admin_users, *config.admin.stats_users}
    found |= {each.user for each in config.databases if each.user is not None}
    return sorted(found | {each.user for each in config.backends.pools if each.user is not None})


def users(scene: Scene) -> Iterator[Row]:
    """SHOW USERS: those that are known; clients may come as others."""
    return ([name, None] for name in _users(scene))


def lists(scene: Scene) -> Iterator[Row]:
    """SHOW LISTS: how many there are of each. Free clients and servers are those that may still come."""
    parts = scene.parts
    used, clients = _servers(scene), len(parts.proxy.sessions) + len(scene.consoles())
    limits = [node.backend.max_connections for node in parts.topology]
    yield ["databases", len(scene.databases()) + 1]
    yield ["users", len(_users(scene))]
    yield ["pools", len(list(pools(scene)))]
    yield ["free_clients", max(0, parts.proxy.limits.max_clients - len(parts.proxy.sessions))]
    yield ["used_clients", clients]
    yield ["login_clients", parts.proxy.unauthenticated]
    yield ["free_servers", max(0, min(sum(limits), 2**31 - 1) - used)]
    yield ["used_servers", used]
    yield from ([name, 0] for name in ("dns_names", "dns_zones", "dns_queries", "dns_pending"))


def _servers(scene: Scene) -> int:
    return sum(pool.planner.total for pool, _ in scene.parts.pools.named())


def memory(scene: Scene) -> Iterator[Row]:
    """SHOW MEM: the whole process in pages, how many connections share it, and what is kept for clients that wait."""
    proxy, resident = scene.parts.proxy, resident_bytes()
    clients = len(proxy.sessions)
    yield ["process", _PAGE, resident // _PAGE, 0, resident]
    yield ["client_cache", 0, clients, max(0, proxy.limits.max_clients - clients), 0]
    yield ["server_cache", 0, _servers(scene), 0, 0]
    for name, budget in (("held_cache", proxy.holds.budget), ("paused_cache", proxy.pauses.budget)):
        yield [name, 0, budget.requests, max(0, budget.max_requests - budget.requests), budget.size]


def version(scene: Scene) -> Iterator[Row]:
    """SHOW VERSION."""
    yield [VERSION]


def state(scene: Scene) -> Iterator[Row]:
    """SHOW STATE."""
    paused = ALL in scene.parts.proxy.pauses.paused
    yield ["active", _yes(not paused)]
    yield ["paused", _yes(paused)]
    yield ["suspended", "no"]


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def nothing(scene: Scene) -> Iterator[Row]:
    """What PgBouncer has and this proxy has not: sockets that are handed over, names that are kept resolved."""
    return iter(())


# -- ours ------------------------------------------------------------------------------------------------------


def sessions(scene: Scene) -> Iterator[Row]:
    """SHOW SESSIONS: what `/api/v1/sessions` has."""
    for id in list(scene.parts.proxy.sessions):
        info = scene.parts.fleet.session(id)
        if info is None:
            continue
        view = session_view(info, epoch=scene.now - scene.clock, clock=scene.clock)
        yield [
            view.id,
            view.user,
            view.database,
            view.application_name,
            view.tenant,
            view.address,
            view.backend,
            view.home,
            view.server_pid,
            view.mode,
            view.state.value,
            json.dumps(dict(view.pins)) if view.pins else "",
            "; ".join(view.immovable),
            rfc3339(view.since.timestamp()),
            round(view.idle_seconds, 3),
        ]


def nodes(scene: Scene) -> Iterator[Row]:
    """SHOW NODES: what `/api/v1/nodes` has."""
    for node in topology_view(scene.parts, now=scene.now, clock=scene.clock).nodes:
        yield [
            node.name,
            node.host,
            node.port,
            node.role,
            _yes(node.healthy),
            node.reason,
            _yes(node.writable),
            node.lag_seconds,
            node.lag_bytes,
            node.timeline,
            node.server_version,
            node.circuit,
            node.connections,
            node.sessions,
            _yes(node.in_service),
        ]


def migrations(scene: Scene) -> Iterator[Row]:
    """SHOW MIGRATIONS: what `/api/v1/migration` has, newest first."""
    for migration in reversed(list(scene.parts.migrations or ())):
        status = status_of(migration)
        yield [
            status.migration_id,
            status.status.value,
            status.status_reason,
            status.source,
            status.target,
            status.mode,
            status.data,
            status.current_phase.number,
            status.current_phase.of,
            status.current_phase.traffic_percent,
            status.sessions_migrated,
            status.sessions_remaining,
            status.error_count,
            status.client_errors,
            status.ordered_by,
            status.reason,
        ]


#: What SHOW shows -> how its rows are made; the names are those of `console_columns.ALL`.
ROWS: Final[Mapping[str, Callable[[Scene], Iterable[Row]]]] = {
    "POOLS": pools,
    "CLIENTS": console_connections.clients,
    "SERVERS": console_connections.servers,
    "SOCKETS": console_connections.sockets,
    "ACTIVE_SOCKETS": console_connections.sockets,
    "DATABASES": databases,
    "STATS": stats,
    "STATS_TOTALS": stats_totals,
    "STATS_AVERAGES": stats_averages,
    "TOTALS": lambda scene: total_rows(scene.statistics),
    "LISTS": lists,
    "CONFIG": lambda scene: config_rows(scene.parts.running.config),
    "USERS": users,
    "MEM": memory,
    "VERSION": version,
    "FDS": nothing,
    "DNS_HOSTS": nothing,
    "DNS_ZONES": nothing,
    "STATE": state,
    "SESSIONS": sessions,
    "NODES": nodes,
    "MIGRATIONS": migrations,
}
