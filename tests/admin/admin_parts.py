"""A proxy's parts with known figures, without sockets: what the tests of the admin listener look at."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field

from helios_trio.admin.parts import Parts
from helios_trio.cluster.observation import Observation
from helios_trio.cluster.topology import Topology
from helios_trio.config.pool import PoolSettings
from helios_trio.config.words import PoolMode
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ServerTLS
from helios_trio.net.transport import Keepalive
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination, Pools
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.serving import Proxy, ProxyCounters, ProxyLimits
from helios_trio.sql.cache import FactsCache

STARTED_AT = 1_800_000_000.0
ONE = Backend("node1", "10.0.0.1", 5432, priority=20, region="eu", tags=("blue",))
TWO = Backend("node2", "10.0.0.2", 5433, role="standby")


@define(eq=False)
class FakeSlot:
    """A server connection, as far as figures are read from it."""

    status: SlotStatus
    bytes_in: int = 0
    bytes_out: int = 0


def add_pool(pools: Pools, user: str, mode: PoolMode = PoolMode.TRANSACTION, database: str = "shop") -> Pool:
    """A pool that no client has asked for."""
    destination = Destination(ONE, database, user, PoolSettings(mode=mode), ServerTLS())
    pool = pools._pools[destination.key] = pools._make(destination)
    return pool


def add_slots(pool: Pool, *slots: FakeSlot) -> None:
    """Server connections that nobody has opened."""
    pool.planner.slots.update(cast(list[BackendConnection], slots))


@define
class FakeProxy:
    """A proxy, as far as figures are read from it."""

    counters: ProxyCounters = field(factory=ProxyCounters)
    limits: ProxyLimits = field(factory=lambda: ProxyLimits(max_clients=500, process=7))
    sessions: dict[int, Any] = field(factory=dict)
    unauthenticated: int = 0
    draining: bool = False


def make_parts() -> Parts:
    """A primary, a configured standby, no pool, no client; nobody has been asked anything."""
    return Parts(
        proxy=cast(Proxy, FakeProxy()),
        pools=Pools(Readiness(), connect_timeout=5.0, keepalive=Keepalive()),
        cancels=CancelRegistry(cast(Any, None)),
        topology=Topology.of([ONE, TWO]),
        facts=FactsCache(),
        started_at=STARTED_AT,
    )


def note_answers(topology: Topology, now: float = 0.0) -> None:
    """Both nodes have been asked; the standby is 600 bytes and 1.5 s behind."""
    topology.note_answer("node1", Observation(False, 0x1_0000_1000, None, None, 3, "77", "18.6"), now)
    replayed = 0x1_0000_1000 - 600
    topology.note_answer("node2", Observation(True, replayed + 100, replayed, 1.5, 3, "77", "17.4"), now)
