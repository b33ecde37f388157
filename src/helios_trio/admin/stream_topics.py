"""What can be looked at live: the same views that the API answers with, by topic. What is off has no topic.

Used by: admin.live.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

import trio
from attrs import frozen

from helios_trio.admin.circuit_breaker import circuits_view
from helios_trio.admin.failover import failover_status
from helios_trio.admin.migrations import migrations_view
from helios_trio.admin.parts import Parts
from helios_trio.admin.pools import pools_view
from helios_trio.admin.scrape import Scrape
from helios_trio.admin.stream_hub import Topic
from helios_trio.admin.traffic import Traffic
from helios_trio.admin.views import sessions_on, topology_view

#: When a node was last asked changes each second, and says nothing.
_CHECKED: Final = frozenset({"checked_at"})


@frozen(kw_only=True)
class SessionCounts:
    """How many sessions there are."""

    total: int
    #: active, waiting, idle or login (has not proved yet who it is)
    by_state: Mapping[str, int]
    by_backend: Mapping[str, int]


def topics_of(parts: Parts, traffic: Traffic) -> Mapping[str, Topic]:
    """All there are, by name."""
    return {each.name: each for each in _topics(parts, traffic)}


def _topics(parts: Parts, traffic: Traffic) -> Iterator[Topic]:
    yield Topic(name="traffic", read=lambda: traffic.samples[-1] if traffic.samples else None)
    yield Topic(
        name="topology",
        read=lambda: topology_view(parts, now=time.time(), clock=trio.current_time()),
        restless=_CHECKED,
    )
    yield Topic(name="pools", read=lambda: pools_view(parts))
    yield Topic(name="sessions", read=lambda: session_counts(parts))
    migrations, breakers = parts.migrations, parts.breakers
    if migrations is not None:
        yield Topic(name="migrations", read=lambda: migrations_view(migrations))
    if parts.primaries is not None or (migrations is not None and parts.switchover is not None):
        yield Topic(
            name="failover",
            read=lambda: failover_status(parts, migrations, parts.switchover),
            restless=_CHECKED,
        )
    if breakers is not None:
        yield Topic(name="circuits", read=lambda: circuits_view(breakers))


def session_counts(parts: Parts) -> SessionCounts:
    """Nobody walks over ten thousand sessions each second: what is counted is counted where it happens."""
    return SessionCounts(
        total=len(parts.proxy.sessions),
        by_state=Scrape.take(parts).clients_by_state(),
        by_backend={node.backend.name: sessions_on(parts, node.backend.name) for node in parts.topology},
    )
