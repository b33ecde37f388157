"""What it costs to decide where a read goes: the proxy's own functions, on a real session. Called by `routing`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import psycopg
import trio

from harness.replicas import Address, config_of
from harness.servers import DATABASE, USER
from helios_trio.composition.assembly import assemble
from helios_trio.config.loader import loads
from helios_trio.features.routing.router import Router
from helios_trio.features.routing.session import RoutedSession
from helios_trio.net.listener import open_listeners, serve_listener
from helios_trio.pipeline.freshness import Floor
from helios_trio.session.batches import Asked

#: everything that has a say: rules, limits of lag, circuits, kinds of reads, tables
EVERYTHING: Final = """
[failover]
mode = "manual"
[load_balancer]
strategy = "least_connections"
[routing]
read_write_split = true
[[routing.rules]]
tenant_pattern = "report_*"
backend = "node3"
[[routing.geo_rules]]
tenant_pattern = "eu_*"
preferred_backend = "node2"
[routing.workload]
enabled = true
olap_target = "node3"
[[routing.tables]]
pattern = "audit.*"
backend = "node3"
[lag_routing]
max_lag = "10s"
max_lag_bytes = "64MB"
[circuit_breaker]
enabled = true
"""
_READ: Final = b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711"
_CALLS: Final = 5000
_PATIENCE: Final = 30.0
_POLL: Final = 0.02


async def measure(servers: Mapping[str, Address], rounds: int) -> dict[str, float]:
    """Microseconds of processor time: of a read with all that may have a say, of one behind writes of its session."""
    async with _running(servers) as (router, session):
        asked = Asked((session.facts_of(_READ),), _READ)
        floor = await _known_floor(router, session)
        return {
            "decision_us": _timed(lambda: _decide(router, session, asked, None), rounds),
            "decision_behind_writes_us": _timed(lambda: _decide(router, session, asked, floor), rounds),
        }


def _decide(router: Router, session: RoutedSession, asked: Asked, floor: Floor | None) -> str | None:
    question = router.question(session, asked, session.readiness.now)
    question.floor = floor
    return router.decide(session, question).backend


async def _known_floor(router: Router, session: RoutedSession) -> Floor:
    """A position that standbys are known to have, once they serve reads."""
    assert router.freshness is not None, "reads see the writes of their sessions unless they are told not to"
    asked = Asked((session.facts_of(_READ),), _READ)
    with trio.fail_after(_PATIENCE):
        while True:
            floor = await router.freshness.floor()
            question = router.question(session, asked, trio.current_time())
            await router.freshness.look(router.late_standbys(session, question), floor)
            if _decide(router, session, asked, floor) not in (None, session.destination.backend.name):
                return floor
            await trio.sleep(_POLL)


def _timed(call: Callable[[], object], rounds: int) -> float:
    """Median over the rounds, microseconds of processor time for a call."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(_CALLS):
            call()
        found.append((time.process_time() - began) / _CALLS * 1e6)
    return median(found)


@asynccontextmanager
async def _running(servers: Mapping[str, Address]) -> AsyncIterator[tuple[Router, RoutedSession]]:
    """The parts of a proxy inside this process, and a session of a real client."""
    config = loads(config_of(servers, EVERYTHING), {}, source="bench", folder=Path.cwd())
    parts = assemble(config, None)
    core, activities = parts.core, parts.activities
    assert activities.directing is not None, "routing is on"
    assert activities.breaking is not None, "circuits are on"
    (listener,) = await open_listeners(config.proxy.listen_address)
    host, _, port = str(listener.address).rpartition(":")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(core.readiness.run)
        await nursery.start(core.pools.run)
        await nursery.start(activities.watching.run)
        await nursery.start(activities.directing.run)
        await nursery.start(activities.breaking.run)
        async with trio.open_nursery() as clients:
            clients.start_soon(serve_listener, listener, core.proxy.serve_client, clients)
            async with _client(host, int(port)):
                (session,) = core.proxy.sessions.values()
                assert isinstance(session, RoutedSession), "it is what a router makes"
                yield activities.directing.router, session
            clients.cancel_scope.cancel()
        listener.close()
        core.hubs.close()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _client(host: str, port: int) -> AsyncIterator[psycopg.Connection]:
    def connect() -> psycopg.Connection:
        return psycopg.connect(host=host, port=port, user=USER, dbname=DATABASE, autocommit=True)

    connection = await trio.to_thread.run_sync(connect)
    try:
        await trio.to_thread.run_sync(connection.execute, "SELECT 1")
        yield connection
    finally:
        await trio.to_thread.run_sync(connection.close)
