"""A proxy's parts with known figures, without sockets: what the tests of the admin listener look at."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from migration_rig import FakeFleet, Rig, wall_clock
from quart.typing import TestClientProtocol

from helios_trio.admin.access import Access
from helios_trio.admin.api import create_app
from helios_trio.admin.keys import ApiKey, KeyRing, Role, digest_of
from helios_trio.admin.parts import Parts, Reloaded, Running
from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.config import Config
from helios_trio.config.pool import PoolSettings
from helios_trio.config.words import PoolMode
from helios_trio.migration.counting import MoveCounters
from helios_trio.migration.events import EventLog
from helios_trio.migration.examination import Examiner
from helios_trio.migration.means import Switchover
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ServerTLS
from helios_trio.net.transport import Keepalive
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.fleet import Fleet
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination, Pools
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.holding import Holds
from helios_trio.proxy.limits import ProxyCounters, ProxyLimits
from helios_trio.proxy.pausing import Pauses
from helios_trio.proxy.serving import Proxy
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
    holds: Holds = field(factory=Holds)
    pauses: Pauses = field(factory=lambda: Pauses(tuple))
    console_of: Any = None
    authenticate: Any = None


#: Keys of the two roles, and the headers that show them.
VIEWER, OPERATOR = "helios_viewer", "helios_operator"
AS_VIEWER = {"X-API-Key": VIEWER}
AS_OPERATOR = {"Authorization": f"Bearer {OPERATOR}"}


def make_access() -> Access:
    """A viewer called vera and an operator called otto."""
    return Access(
        KeyRing(
            (
                ApiKey("vera", Role.VIEWER, digest_of(VIEWER)),
                ApiKey("otto", Role.OPERATOR, digest_of(OPERATOR)),
            )
        )
    )


async def nothing_to_reload() -> Reloaded:
    """The configuration is as it was."""
    return Reloaded(changed=(), needing_restart=())


def make_parts(rig: Rig | None = None, switchover: Switchover | None = None) -> Parts:
    """A primary, a configured standby, no pool, no client; nobody has been asked anything.

    With a rig of migrations: its servers and sessions.
    """
    topology = Topology.of([ONE, TWO]) if rig is None else rig.topology
    return Parts(
        proxy=cast(Proxy, FakeProxy()),
        pools=Pools(Readiness(), connect_timeout=5.0, keepalive=Keepalive()),
        cancels=CancelRegistry(cast(Any, None)),
        topology=topology,
        placement=Placement() if rig is None else rig.placement,
        facts=FactsCache(),
        fleet=cast(Fleet, FakeFleet() if rig is None else rig.fleet),
        moves=MoveCounters(),
        examiner=cast(Examiner, None) if rig is None else rig.means.examiner,
        events=EventLog(wall_clock) if rig is None else rig.means.events,
        access=make_access(),
        running=Running(Config(), nothing_to_reload),
        migrations=None if rig is None else rig.migrations,
        switchover=switchover,
        started_at=STARTED_AT,
    )


@define(eq=False)
class Api:
    """The admin application of some parts, asked through Quart's test client."""

    client: TestClientProtocol

    @classmethod
    def of(cls, parts: Parts) -> Api:
        return cls(create_app(parts).test_client())

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Any = AS_OPERATOR
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        response = await self.client.open(path, method=method, json=body, headers=headers)
        return response.status_code, await response.get_json(force=True)

    async def get(self, path: str, headers: Any = AS_VIEWER) -> tuple[int, Any]:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, headers: Any = AS_OPERATOR) -> tuple[int, Any]:
        return await self.ask("POST", path, body, headers)


def note_answers(topology: Topology, now: float = 0.0) -> None:
    """Both nodes have been asked; the standby is 600 bytes and 1.5 s behind."""
    topology.note_answer("node1", Observation(False, 0x1_0000_1000, None, None, 3, "77", "18.6"), now)
    replayed = 0x1_0000_1000 - 600
    topology.note_answer("node2", Observation(True, replayed + 100, replayed, 1.5, 3, "77", "17.4"), now)
