"""THE table of metrics: name, kind, help, labels, where the figures come from. Nothing else is exported.

Used by: admin.metrics (exports them), admin.metrics_page (documents them).
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Final

from helios_trio import __version__
from helios_trio.admin import scrape as figures
from helios_trio.admin.metric_alerts import ALERTS
from helios_trio.admin.metric_circuits import CIRCUITS
from helios_trio.admin.metric_failover import FAILOVERS
from helios_trio.admin.metric_kinds import POOL, Sample, Section, counter, gauge, one, per_node, per_pool
from helios_trio.admin.metric_moves import MOVES
from helios_trio.admin.metric_routes import ROUTES
from helios_trio.admin.metric_spans import SPANS
from helios_trio.admin.scrape import Scrape
from helios_trio.cluster.topology import NodeRole, NodeState

# -- how figures are read ------------------------------------------------------------------------------------


def _build(_: Scrape) -> Iterable[Sample]:
    return [((__version__, platform.python_version()), 1)]


def _clients(scrape: Scrape) -> Iterable[Sample]:
    return (((state,), number) for state, number in scrape.clients_by_state().items())


def _endings(scrape: Scrape) -> Iterable[Sample]:
    return (((reason.value,), number) for reason, number in scrape.parts.proxy.counters.endings.items())


def _connections(scrape: Scrape) -> Iterator[Sample]:
    for pool in scrape.pools:
        for status in figures.STATUSES:
            yield (*pool.labels, status), pool.connections.get(status, 0)


def _closed(scrape: Scrape) -> Iterator[Sample]:
    for pool in scrape.pools:
        for reason, number in pool.closed_by_reason().items():
            yield (*pool.labels, reason), number


def _roles(scrape: Scrape) -> Iterator[Sample]:
    for node in scrape.nodes:
        for role in NodeRole:
            yield (node.backend.name, role.value), node.role is role


def _lag_seconds(scrape: Scrape, node: NodeState) -> float | None:
    return scrape.parts.topology.lag_seconds(node)


# -- the table -----------------------------------------------------------------------------------------------

_PROCESS: Final = Section(
    "The process",
    "Those named `process_` have the names that Prometheus' client libraries give them everywhere.",
    (
        gauge("helios_build_info", "Always 1; the labels say what runs.", _build, ("version", "python")),
        gauge(
            "helios_uptime_seconds",
            "Time since the proxy was ready.",
            one(lambda scrape: scrape.now - scrape.parts.started_at),
        ),
        gauge(
            "helios_ready",
            "1 if a server answers that takes writes, else 0.",
            one(lambda scrape: scrape.parts.topology.ready),
        ),
        gauge(
            "helios_draining",
            "1 if the proxy is going down and lets open transactions end, else 0.",
            one(lambda scrape: scrape.parts.proxy.draining),
        ),
        counter(
            "process_cpu_seconds_total",
            "CPU time of the process, user and system.",
            one(lambda _: figures.cpu_seconds()),
        ),
        gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM.",
            one(lambda _: figures.resident_bytes()),
        ),
        gauge("process_open_fds", "File descriptors in use.", one(lambda _: figures.open_descriptors())),
        gauge(
            "process_max_fds",
            "File descriptors the process may have.",
            one(lambda _: figures.max_descriptors()),
        ),
    ),
)

_CLIENTS: Final = Section(
    "Clients",
    "`state` is `active` (has a server connection; in session mode that is all of a client's life), "
    "`waiting` (for one), `idle` (needs none now) or `login` (has not proved yet who it is).",
    (
        gauge("helios_clients", "Clients that are connected.", _clients, ("state",)),
        gauge(
            "helios_clients_max",
            "Clients that may be logged in (proxy.max_client_connections).",
            one(lambda scrape: scrape.parts.proxy.limits.max_clients),
        ),
        counter(
            "helios_client_connections_accepted_total",
            "Connections accepted, whatever became of them; cancel requests are among them.",
            one(lambda scrape: scrape.parts.proxy.counters.accepted),
        ),
        counter(
            "helios_client_connections_refused_total",
            "Connections closed because of a limit on clients.",
            one(lambda scrape: scrape.parts.proxy.counters.refused),
        ),
        counter(
            "helios_logins_total",
            "Clients that proved who they are.",
            one(lambda scrape: scrape.parts.proxy.counters.logins),
        ),
        counter(
            "helios_login_failures_total",
            "Clients that were told an error in place of a session.",
            one(lambda scrape: scrape.parts.proxy.counters.login_failures),
        ),
        counter("helios_sessions_ended_total", "Sessions that ended, by why.", _endings, ("reason",)),
        counter(
            "helios_cancel_requests_total",
            "Cancel requests of clients.",
            one(lambda scrape: scrape.parts.cancels.requests),
        ),
        counter(
            "helios_cancel_requests_unknown_total",
            "Cancel requests with the key of no session; they are ignored.",
            one(lambda scrape: scrape.parts.cancels.unknown),
        ),
    ),
)

_POOLS: Final = Section(
    "Pools",
    "One pool for each server, database and user on it. `mode` is `session`, or `transaction` (statement "
    "mode too).",
    (
        gauge(
            "helios_pool_server_connections",
            "Server connections: connecting, idle, active (a client has it) or busy (is being reset).",
            _connections,
            (*POOL, "status"),
        ),
        gauge(
            "helios_pool_server_connections_max",
            "Server connections the pool may have (pool.max_connections).",
            per_pool(lambda pool: pool.max_connections),
            POOL,
        ),
        counter(
            "helios_pool_server_connections_opened_total",
            "Server connections opened.",
            per_pool(lambda pool: pool.counters.opened),
            POOL,
        ),
        counter(
            "helios_pool_server_connections_closed_total",
            "Server connections closed, by why.",
            _closed,
            (*POOL, "reason"),
        ),
        counter(
            "helios_pool_connect_failures_total",
            "Attempts to open a server connection that failed.",
            per_pool(lambda pool: pool.counters.connect_failures),
            POOL,
        ),
        counter(
            "helios_pool_resets_total",
            "Server connections reset before another client got them (pool.reset_query).",
            per_pool(lambda pool: pool.counters.resets),
            POOL,
        ),
        gauge(
            "helios_pool_clients_waiting",
            "Clients that wait for a server connection.",
            per_pool(lambda pool: pool.waiting),
            POOL,
        ),
        counter(
            "helios_pool_waits_total",
            "Times a client had to wait for a server connection.",
            per_pool(lambda pool: pool.counters.waits),
            POOL,
        ),
        counter(
            "helios_pool_wait_seconds_total",
            "Time clients waited, all of them together; only waits that ended with a server connection.",
            per_pool(lambda pool: pool.counters.wait_seconds),
            POOL,
        ),
        counter(
            "helios_pool_wait_timeouts_total",
            "Clients that waited in vain (pool.queue_timeout).",
            per_pool(lambda pool: pool.counters.timeouts),
            POOL,
        ),
        counter(
            "helios_pool_queries_total",
            "Queries, and extended-protocol batches up to their Sync, that servers finished.",
            per_pool(lambda pool: pool.counters.queries),
            POOL,
        ),
        counter(
            "helios_pool_errors_total",
            "Errors that servers reported to clients.",
            per_pool(lambda pool: pool.counters.errors),
            POOL,
        ),
        counter(
            "helios_pool_transactions_total",
            "Transactions that ended, single statements included.",
            per_pool(lambda pool: pool.counters.transactions),
            POOL,
        ),
        counter(
            "helios_pool_sent_bytes_total",
            "Bytes sent to servers, without those of logging in.",
            per_pool(lambda pool: pool.sent_bytes),
            POOL,
        ),
        counter(
            "helios_pool_received_bytes_total",
            "Bytes received from servers, without those of logging in.",
            per_pool(lambda pool: pool.received_bytes),
            POOL,
        ),
    ),
)

_NODES: Final = Section(
    "Servers",
    "What the prober knows of each server; a figure that is not known is absent.",
    (
        gauge(
            "helios_node_up",
            "1 if the server answers, 0 if not.",
            per_node(lambda _, node: node.healthy),
            ("node",),
        ),
        gauge(
            "helios_node_role",
            "1 for the role the server has: primary, standby or unknown; 0 for the others.",
            _roles,
            ("node", "role"),
        ),
        gauge(
            "helios_node_writer",
            "1 for the server that writes go to, else 0.",
            per_node(lambda scrape, node: scrape.parts.topology.writer is node),
            ("node",),
        ),
        gauge(
            "helios_node_lag_seconds",
            "How far a standby is behind at most; 0 when it is known to lack nothing.",
            per_node(_lag_seconds),
            ("node",),
        ),
        gauge(
            "helios_node_lag_bytes",
            "WAL the primary has flushed and the standby has not replayed.",
            per_node(lambda scrape, node: scrape.parts.topology.lag_bytes(node)),
            ("node",),
        ),
        gauge(
            "helios_node_timeline",
            "Timeline the server is on; it grows with each promotion.",
            per_node(lambda _, node: node.timeline),
            ("node",),
        ),
        gauge(
            "helios_node_server_connections",
            "Connections of the proxy's pools to the server, those being opened included.",
            per_node(lambda scrape, node: scrape.parts.pools.used_of(node.backend.name)),
            ("node",),
        ),
        gauge(
            "helios_node_in_service",
            "0 if the server was taken out of service, so that nobody new goes there, else 1.",
            per_node(lambda scrape, node: node.backend.name not in scrape.parts.placement.out_of_service),
            ("node",),
        ),
    ),
)

_FACTS: Final = Section(
    "Statements",
    "What is known of the texts of statements is kept, so that few of them are parsed.",
    (
        gauge(
            "helios_facts_cache_entries",
            "Texts, shapes and patterns of statements that are kept.",
            one(lambda scrape: len(scrape.parts.facts)),
        ),
        gauge(
            "helios_facts_cache_bytes",
            "Memory they take, estimated from above.",
            one(lambda scrape: scrape.parts.facts.size),
        ),
        counter(
            "helios_facts_parsed_total",
            "Statements that had to be parsed, as nothing like them was kept.",
            one(lambda scrape: scrape.parts.facts.parsed_total),
        ),
    ),
)

SECTIONS: Final = (
    _PROCESS,
    _CLIENTS,
    _POOLS,
    _NODES,
    MOVES,
    FAILOVERS,
    ROUTES,
    CIRCUITS,
    ALERTS,
    SPANS,
    _FACTS,
)
METRICS: Final = tuple(metric for section in SECTIONS for metric in section.metrics)
