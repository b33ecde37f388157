"""The pools of the API: how many server connections each has, and who waits for one.

Used by: admin.api, admin.stream_topics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, reads
from helios_trio.admin.scrape import PoolFigures
from helios_trio.pool.planner import SlotStatus


@frozen(kw_only=True)
class PoolView:
    """One pool: the server connections of one backend, database and user."""

    backend: str
    database: str
    user: str
    mode: str
    #: a client has it
    active: int
    idle: int
    #: is being reset
    busy: int
    connecting: int
    #: clients that wait for one
    waiting: int
    max: int
    waits: int
    wait_seconds: float
    wait_timeouts: int
    created: int
    closed: int
    closed_by_reason: Mapping[str, int]
    queries: int
    errors: int
    transactions: int


@frozen(kw_only=True)
class PoolsView:
    """All pools."""

    pools: tuple[PoolView, ...]


def routes(parts: Parts) -> Iterator[Route]:
    """Pools."""

    async def list_pools(_: Call) -> PoolsView:
        return pools_view(parts)

    yield reads("/api/v1/pools", "List pools", PoolsView, list_pools)


def pools_view(parts: Parts) -> PoolsView:
    """All of them, now."""
    return PoolsView(pools=tuple(_view(PoolFigures.of(pool)) for pool in parts.pools))


def _view(figures: PoolFigures) -> PoolView:
    counters, connections = figures.counters, figures.connections
    backend, database, user, mode = figures.labels
    return PoolView(
        backend=backend,
        database=database,
        user=user,
        mode=mode,
        active=connections.get(SlotStatus.ACTIVE.value, 0),
        idle=connections.get(SlotStatus.IDLE.value, 0),
        busy=connections.get(SlotStatus.BUSY.value, 0),
        connecting=connections.get("connecting", 0),
        waiting=figures.waiting,
        max=figures.max_connections,
        waits=counters.waits,
        wait_seconds=counters.wait_seconds,
        wait_timeouts=counters.timeouts,
        created=counters.opened,
        closed=counters.closed,
        closed_by_reason=figures.closed_by_reason(),
        queries=counters.queries,
        errors=counters.errors,
        transactions=counters.transactions,
    )
