"""THE table of metrics: name, kind, help, labels, where the figures come from. Nothing else is exported.

Used by: admin.metrics (exports them), admin.metrics_page (documents them).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Literal

from attrs import frozen

from helios_trio import __version__
from helios_trio.admin import scrape as figures
from helios_trio.admin.scrape import PoolFigures, Scrape
from helios_trio.cluster.topology import NodeRole, NodeState

#: Values of the labels, and the figure.
Sample = tuple[tuple[str, ...], float]


@frozen
class Metric:
    """One metric family."""

    kind: Literal["counter", "gauge"]
    #: as PromQL has it: counters end in `_total`
    name: str
    help: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()


@frozen
class Section:
    """Metrics of one subject, in the order of the page."""

    title: str
    text: str
    metrics: tuple[Metric, ...]


_counter: Final = partial(Metric, "counter")
_gauge: Final = partial(Metric, "gauge")


# -- how figures are read ------------------------------------------------------------------------------------

_POOL: Final = ("backend", "database", "user", "mode")


def _one(read: Callable[[Scrape], float]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure without labels."""
    return lambda scrape: [((), read(scrape))]


def _per_pool(read: Callable[[PoolFigures], float]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of each pool."""
    return lambda scrape: ((pool.labels, read(pool)) for pool in scrape.pools)


def _per_node(read: Callable[[Scrape, NodeState], float | None]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of each server; none where it is not known."""

    def samples(scrape: Scrape) -> Iterator[Sample]:
        for node in scrape.nodes:
            value = read(scrape, node)
            if value is not None:
                yield (node.backend.name,), value

    return samples


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


def _lag_seconds(_: Scrape, node: NodeState) -> float | None:
    return node.observed.lag_seconds if node.observed else None


# -- the table -----------------------------------------------------------------------------------------------

_PROCESS: Final = Section(
    "The process",
    "Those named `process_` have the names that Prometheus' client libraries give them everywhere.",
    (
        _gauge("helios_build_info", "Always 1; the labels say what runs.", _build, ("version", "python")),
        _gauge(
            "helios_uptime_seconds",
            "Time since the proxy was ready.",
            _one(lambda scrape: scrape.now - scrape.parts.started_at),
        ),
        _gauge(
            "helios_ready",
            "1 if a server answers that takes writes, else 0.",
            _one(lambda scrape: scrape.parts.topology.ready),
        ),
        _gauge(
            "helios_draining",
            "1 if the proxy is going down and lets open transactions end, else 0.",
            _one(lambda scrape: scrape.parts.proxy.draining),
        ),
        _counter(
            "process_cpu_seconds_total",
            "CPU time of the process, user and system.",
            _one(lambda _: figures.cpu_seconds()),
        ),
        _gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM.",
            _one(lambda _: figures.resident_bytes()),
        ),
        _gauge("process_open_fds", "File descriptors in use.", _one(lambda _: figures.open_descriptors())),
        _gauge(
            "process_max_fds",
            "File descriptors the process may have.",
            _one(lambda _: figures.max_descriptors()),
        ),
    ),
)

_CLIENTS: Final = Section(
    "Clients",
    "`state` is `active` (has a server connection; in session mode that is all of a client's life), "
    "`waiting` (for one), `idle` (needs none now) or `login` (has not proved yet who it is).",
    (
        _gauge("helios_clients", "Clients that are connected.", _clients, ("state",)),
        _gauge(
            "helios_clients_max",
            "Clients that may be logged in (proxy.max_client_connections).",
            _one(lambda scrape: scrape.parts.proxy.limits.max_clients),
        ),
        _counter(
            "helios_client_connections_accepted_total",
            "Connections accepted, whatever became of them; cancel requests are among them.",
            _one(lambda scrape: scrape.parts.proxy.counters.accepted),
        ),
        _counter(
            "helios_client_connections_refused_total",
            "Connections closed because of a limit on clients.",
            _one(lambda scrape: scrape.parts.proxy.counters.refused),
        ),
        _counter(
            "helios_logins_total",
            "Clients that proved who they are.",
            _one(lambda scrape: scrape.parts.proxy.counters.logins),
        ),
        _counter(
            "helios_login_failures_total",
            "Clients that were told an error in place of a session.",
            _one(lambda scrape: scrape.parts.proxy.counters.login_failures),
        ),
        _counter("helios_sessions_ended_total", "Sessions that ended, by why.", _endings, ("reason",)),
        _counter(
            "helios_cancel_requests_total",
            "Cancel requests of clients.",
            _one(lambda scrape: scrape.parts.cancels.requests),
        ),
        _counter(
            "helios_cancel_requests_unknown_total",
            "Cancel requests with the key of no session; they are ignored.",
            _one(lambda scrape: scrape.parts.cancels.unknown),
        ),
    ),
)

_POOLS: Final = Section(
    "Pools",
    "One pool for each server, database and user on it. `mode` is `session`, or `transaction` (statement "
    "mode too).",
    (
        _gauge(
            "helios_pool_server_connections",
            "Server connections: connecting, idle, active (a client has it) or busy (is being reset).",
            _connections,
            (*_POOL, "status"),
        ),
        _gauge(
            "helios_pool_server_connections_max",
            "Server connections the pool may have (pool.max_connections).",
            _per_pool(lambda pool: pool.max_connections),
            _POOL,
        ),
        _counter(
            "helios_pool_server_connections_opened_total",
            "Server connections opened.",
            _per_pool(lambda pool: pool.counters.opened),
            _POOL,
        ),
        _counter(
            "helios_pool_server_connections_closed_total",
            "Server connections closed, by why.",
            _closed,
            (*_POOL, "reason"),
        ),
        _counter(
            "helios_pool_connect_failures_total",
            "Attempts to open a server connection that failed.",
            _per_pool(lambda pool: pool.counters.connect_failures),
            _POOL,
        ),
        _counter(
            "helios_pool_resets_total",
            "Server connections reset before another client got them (pool.reset_query).",
            _per_pool(lambda pool: pool.counters.resets),
            _POOL,
        ),
        _gauge(
            "helios_pool_clients_waiting",
            "Clients that wait for a server connection.",
            _per_pool(lambda pool: pool.waiting),
            _POOL,
        ),
        _counter(
            "helios_pool_waits_total",
            "Times a client had to wait for a server connection.",
            _per_pool(lambda pool: pool.counters.waits),
            _POOL,
        ),
        _counter(
            "helios_pool_wait_seconds_total",
            "Time clients waited, all of them together; only waits that ended with a server connection.",
            _per_pool(lambda pool: pool.counters.wait_seconds),
            _POOL,
        ),
        _counter(
            "helios_pool_wait_timeouts_total",
            "Clients that waited in vain (pool.queue_timeout).",
            _per_pool(lambda pool: pool.counters.timeouts),
            _POOL,
        ),
        _counter(
            "helios_pool_queries_total",
            "Queries, and extended-protocol batches up to their Sync, that servers finished.",
            _per_pool(lambda pool: pool.counters.queries),
            _POOL,
        ),
        _counter(
            "helios_pool_transactions_total",
            "Transactions that ended, single statements included.",
            _per_pool(lambda pool: pool.counters.transactions),
            _POOL,
        ),
        _counter(
            "helios_pool_sent_bytes_total",
            "Bytes sent to servers, without those of logging in.",
            _per_pool(lambda pool: pool.sent_bytes),
            _POOL,
        ),
        _counter(
            "helios_pool_received_bytes_total",
            "Bytes received from servers, without those of logging in.",
            _per_pool(lambda pool: pool.received_bytes),
            _POOL,
        ),
    ),
)

_NODES: Final = Section(
    "Servers",
    "What the prober knows of each server; a figure that is not known is absent.",
    (
        _gauge(
            "helios_node_up",
            "1 if the server answers, 0 if not.",
            _per_node(lambda _, node: node.healthy),
            ("node",),
        ),
        _gauge(
            "helios_node_role",
            "1 for the role the server has: primary, standby or unknown; 0 for the others.",
            _roles,
            ("node", "role"),
        ),
        _gauge(
            "helios_node_writer",
            "1 for the server that writes go to, else 0.",
            _per_node(lambda scrape, node: scrape.parts.topology.writer is node),
            ("node",),
        ),
        _gauge(
            "helios_node_lag_seconds",
            "Age of the last transaction a standby has replayed; 0 when it has replayed all it received.",
            _per_node(_lag_seconds),
            ("node",),
        ),
        _gauge(
            "helios_node_lag_bytes",
            "WAL the primary has flushed and the standby has not replayed.",
            _per_node(lambda scrape, node: scrape.parts.topology.lag_bytes(node)),
            ("node",),
        ),
        _gauge(
            "helios_node_timeline",
            "Timeline the server is on; it grows with each promotion.",
            _per_node(lambda _, node: node.timeline),
            ("node",),
        ),
        _gauge(
            "helios_node_server_connections",
            "Connections of the proxy's pools to the server, those being opened included.",
            _per_node(lambda scrape, node: scrape.parts.pools.used_of(node.backend.name)),
            ("node",),
        ),
    ),
)

_FACTS: Final = Section(
    "Statements",
    "What is known of the texts of statements is kept, so that few of them are parsed.",
    (
        _gauge(
            "helios_facts_cache_entries",
            "Texts, shapes and patterns of statements that are kept.",
            _one(lambda scrape: len(scrape.parts.facts)),
        ),
        _gauge(
            "helios_facts_cache_bytes",
            "Memory they take, estimated from above.",
            _one(lambda scrape: scrape.parts.facts.size),
        ),
        _counter(
            "helios_facts_parsed_total",
            "Statements that had to be parsed, as nothing like them was kept.",
            _one(lambda scrape: scrape.parts.facts.parsed_total),
        ),
    ),
)

SECTIONS: Final = (_PROCESS, _CLIENTS, _POOLS, _NODES, _FACTS)
METRICS: Final = tuple(metric for section in SECTIONS for metric in section.metrics)
