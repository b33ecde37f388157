"""Circuit breakers made from a configuration: which backends have one, what is looked at, and where sessions go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from admin_parts import FakeSlot, add_pool, add_slots
from attrs import define, field
from migration_rig import FakeFleet, FakeSession, wall_clock

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.topology import Topology
from helios_trio.composition.breaking import Breaking, breaking_of, elsewhere, loads_of
from helios_trio.composition.control import Control
from helios_trio.composition.core import Core, core_of
from helios_trio.composition.servers import backends_of
from helios_trio.config import Config, loads
from helios_trio.features.circuit_breaker import relation
from helios_trio.features.circuit_breaker.circuit import CircuitState, Signal
from helios_trio.migration.events import EventLog
from helios_trio.net.readiness import Readiness
from helios_trio.net.transport import Keepalive
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pools import Pools
from helios_trio.sql.relations import rewritten

FILE = """
[auth]
method = "trust"
[circuit_breaker]
enabled = {enabled}
open_duration = "5s"
half_open_probe_interval = "1s"
[[backends.pools]]
name = "node1"
host = "10.0.0.1"
[[backends.pools]]
name = "node2"
host = "10.0.0.2"
priority = 5
max_connections = 4
[[backends.pools]]
name = "node3"
host = "10.0.0.3"
circuit_breaker_enabled = {third}
circuit_breaker_minimum_requests = 7
"""


def read(enabled: bool = True, third: bool = True) -> Config:
    text = FILE.format(enabled=str(enabled).lower(), third=str(third).lower())
    return loads(text, {}, source="f", folder=Path("/"))


def pools() -> Pools:
    return Pools(Readiness(), connect_timeout=5.0, keepalive=Keepalive())


def note_answers(topology: Topology) -> None:
    """node1 takes writes, the others are standbys of it."""
    topology.note_answer("node1", Observation(False, 0x1000, None, None, 3, "77", "18.6"), 0.0)
    for name in ("node2", "node3"):
        topology.note_answer(name, Observation(True, 0x1000, 0x1000, 0.0, 3, "77", "18.6"), 0.0)


@define(eq=False)
class FakeConnection:
    """A control connection that answers."""

    asked: list[bytes]

    async def __aenter__(self) -> FakeConnection:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await trio.lowlevel.checkpoint()

    async def execute(self, query: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(query)


@define(eq=False)
class FakeControl:
    """`composition.control.Control` whose connections answer."""

    asked: list[bytes] = field(factory=list)

    async def connect(self, _: Backend) -> FakeConnection:
        await trio.lowlevel.checkpoint()
        return FakeConnection(self.asked)


@define(eq=False)
class World:
    """All that breakers are wired to."""

    config: Config
    core: Core
    control: FakeControl
    fleet: FakeFleet = field(factory=FakeFleet)
    events: EventLog = field(factory=lambda: EventLog(wall_clock))
    suspected: list[tuple[str, str]] = field(factory=list)

    @classmethod
    def of(cls, config: Config) -> World:
        """With servers that have answered, if any are configured."""
        core, control = core_of(config, None), FakeControl()
        core.control = cast(Control, control)
        if config.backends.pools:
            note_answers(core.topology)
        return cls(config, core, control)

    def make(self) -> Breaking | None:
        return breaking_of(
            self.config,
            self.core,
            fleet=self.fleet,
            events=self.events,
            suspect=lambda name, reason: self.suspected.append((name, reason)),
        )


def break_down(breaking: Breaking, name: str) -> None:
    tap = breaking.breakers.tap(name)
    assert tap is not None
    for _ in range(100):
        tap.note_error(trio.current_time(), "53100", user="u", fingerprint=None)
        tap.note_answer(trio.current_time(), 0.001, user="u", fingerprint=None)


def state(breaking: Breaking, name: str) -> CircuitState:
    breaker = breaking.breakers.find(name)
    assert breaker is not None
    return breaker.circuit.state


@pytest.mark.parametrize(
    ("enabled", "third", "names"),
    [(True, True, ["node1", "node2", "node3"]), (True, False, ["node1", "node2"]), (False, True, ["node3"])],
)
def test_who_has_a_circuit(enabled: bool, third: bool, names: list[str]) -> None:
    """A backend's own word counts."""
    breaking = World.of(read(enabled, third)).make()
    assert breaking is not None
    assert [each.backend for each in breaking.breakers] == names


def test_nobody_has_one_unless_enabled() -> None:
    assert World.of(read(enabled=False, third=False)).make() is None
    embedded = World.of(Config())
    embedded.core.topology = Topology.of([Backend("node1", "/tmp", 1)])
    assert embedded.make() is None


async def test_a_standby_breaks_down_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    """Its sessions go to the other standby; probes of the check query bring it back."""
    world = World.of(read())
    breaking = world.make()
    assert breaking is not None
    world.fleet.add(FakeSession(1, backend="node2"), FakeSession(2, backend="node1"))
    async with trio.open_nursery() as nursery:
        await nursery.start(breaking.run)
        break_down(breaking, "node2")
        await trio.sleep(1)
        assert world.fleet.on_backend("node3") == [1]
        assert world.suspected == []
        await trio.sleep(6)
        assert world.control.asked == [b"SELECT 1"] * 2
        breaker = breaking.breakers.find("node2")
        assert breaker is not None
        assert breaker.circuit.state is CircuitState.CLOSED
        assert [each.kind for each in world.events.newest(9)] == [
            "circuit closed",
            "circuit half-open",
            "sessions moved away",
            "circuit opened",
        ]
        nursery.cancel_scope.cancel()


async def test_a_writer_is_suspected_and_nobody_moved(autojump_clock: trio.testing.MockClock) -> None:
    """A standby cannot do its work; whoever takes over looks whether it is dead."""
    world = World.of(read())
    breaking = world.make()
    assert breaking is not None
    world.fleet.add(FakeSession(1, backend="node1"))
    async with trio.open_nursery() as nursery:
        await nursery.start(breaking.run)
        break_down(breaking, "node1")
        await trio.sleep(1)
        ((name, reason),) = world.suspected
        assert name == "node1"
        assert reason.startswith("circuit opened: error rate")
        assert world.fleet.orders == []
        nursery.cancel_scope.cancel()


def test_where_sessions_go() -> None:
    """To a standby that is in service, healthy and closed; else to the server that takes writes."""
    world = World.of(read())
    breaking = world.make()
    assert breaking is not None

    def target(name: str) -> str | None:
        return elsewhere(name, world.core.topology, world.core.placement, breaking.breakers)

    assert (target("node1"), target("node2"), target("node3")) == (None, "node3", "node2")
    breaking.breakers.force("node2", Signal.FORCED_OPEN, 0.0, who="otto", reason="")
    assert target("node3") == "node1"
    world.core.placement.out_of_service.add("node1")
    assert target("node3") is None


def test_a_reload_changes_thresholds() -> None:
    """Of the section, and of a backend."""
    world = World.of(read())
    breaking = world.make()
    assert breaking is not None
    third, second = breaking.breakers.find("node3"), breaking.breakers.find("node2")
    assert third is not None
    assert second is not None
    assert (third.settings.minimum_requests, second.settings.minimum_requests) == (7, 20)
    changed = FILE.format(enabled="true", third="true").replace(
        "open_duration", "minimum_requests = 50\nopen_duration"
    )
    breaking.reconfigure(loads(changed, {}, source="f", folder=Path("/")))
    assert (third.settings.minimum_requests, second.settings.minimum_requests) == (7, 50)


@define(eq=False)
class Owing:
    """Of a server connection: whether the end of a request is still to come, and since when."""

    owes_ends: bool
    active_since: float = 0.0

    @property
    def replies(self) -> Owing:
        return self


@define(eq=False)
class BusySlot(FakeSlot):
    """A server connection with a session."""

    side: Any = None
    holder: Any = None


def test_loads_are_those_of_the_pools() -> None:
    """Connections at work of those there may be, and the age of what is under way; idle sessions have none."""
    config = read()
    topology, some = Topology.of(backends_of(config)), pools()
    note_answers(topology)
    busy, idle = Owing(True, active_since=7.5), Owing(False)
    for user in ("alice", "bob"):
        add_slots(
            add_pool(some, user),
            BusySlot(SlotStatus.ACTIVE, side=busy, holder=busy),
            BusySlot(SlotStatus.ACTIVE, side=idle, holder=idle),
            BusySlot(SlotStatus.IDLE, side=idle),
        )
    found = loads_of(topology, some)(10.0)
    assert set(found) == {"node1"}
    load = found["node1"]
    assert (load.active, load.limit, load.waiting, load.lag) == (
        4,
        200,
        0,
        topology.lag_seconds(topology.nodes["node1"]),
    )
    assert list(load.ages) == [2.5, 2.5]


def test_the_relation_can_be_written_into_a_query() -> None:
    """With all its columns."""
    breaking = World.of(read()).make()
    assert breaking is not None
    shown = relation.shown(breaking.breakers, 1.0, 1_800_000_000.0)
    text = b"SELECT backend, circuit_state FROM helios_proxy.circuit_breaker_status"
    found = rewritten(text, lambda name: shown if name == "circuit_breaker_status" else None)
    assert b'"node1"' in found
    assert b"json_to_recordset" in found


async def test_a_new_primary_begins_with_a_closed_circuit(autojump_clock: trio.testing.MockClock) -> None:
    """What was measured of it as a standby, or while it was restarted, does not keep its clients out."""
    world = World.of(read())
    breaking = world.make()
    assert breaking is not None
    async with trio.open_nursery() as nursery:
        await nursery.start(breaking.run)
        break_down(breaking, "node2")
        assert state(breaking, "node2") is CircuitState.OPEN
        world.events.note("primary is confirmed", "node3")
        assert state(breaking, "node2") is CircuitState.OPEN
        world.events.note("primary is confirmed", "node2")
        assert state(breaking, "node2") is CircuitState.CLOSED
        breaking.breakers.force(
            "node2", Signal.FORCED_OPEN, trio.current_time(), who="ann", reason="an operator knows better"
        )
        world.events.note("primary is confirmed", "node2")
        assert state(breaking, "node2") is CircuitState.OPEN
        nursery.cancel_scope.cancel()
