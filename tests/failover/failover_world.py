"""A primary and two standbys that exist in memory only, and the controller that looks after them.

Whatever happens, there must never be two servers that take writes; `World` checks that as it happens.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
from attrs import define, evolve, field
from failover_rig import RecordedSessions, Tokens

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.steward import Demotion, ServerFacts, StewardError, StewardUnsure
from helios_trio.cluster.topology import Topology
from helios_trio.config.failover import FailoverSettings
from helios_trio.failover.alerts import Alerts
from helios_trio.failover.controller import Controller
from helios_trio.failover.examination import Examiner, Expected
from helios_trio.failover.fencing import Fencing
from helios_trio.failover.means import Means
from helios_trio.failover.redirection import Redirection
from helios_trio.failover.signs import Look, Sign
from helios_trio.failover.tokens import TokenCheck
from helios_trio.migration.events import EventLog
from helios_trio.pipeline.backend import Backend

NAMES = ("one", "two", "three")
SYSTEM = "7"
Behaviour = Callable[["World", str], Awaitable[None]]


@define(eq=False)
class Server:
    """What one server is."""

    in_recovery: bool = True
    #: what it shows when it is looked at
    sign: Sign = Sign.ALIVE
    timeline: int = 1
    received: int = 5000

    @property
    def observation(self) -> Observation:
        replayed = self.received if self.in_recovery else None
        return Observation(self.in_recovery, self.received, replayed, 0.0, self.timeline, SYSTEM, "18.6")


async def refuse(_world: World, _name: str) -> None:
    raise StewardError("refused")


async def die(world: World, name: str) -> None:
    """While it has the command; nobody knows whether it has heard it."""
    world.servers[name].sign = Sign.REFUSED
    raise StewardUnsure("connection lost")


async def fall_silent(world: World, name: str) -> None:
    """It has heard the command, and says nothing about it."""
    world.servers[name].sign = Sign.NO_ANSWER
    raise StewardUnsure("connection lost")


@define(eq=False)
class World:
    """The servers, and what is done to them."""

    servers: dict[str, Server] = field(factory=lambda: {name: Server() for name in NAMES})
    script: defaultdict[str, deque[Behaviour]] = field(factory=lambda: defaultdict(deque))
    calls: list[str] = field(factory=list)
    #: servers that the steward can end
    fences: bool = True
    rejoins: bool = True
    #: servers that somebody has started behind the controller's back, or that it could not end
    tolerated: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.servers["one"].in_recovery = False

    def let(self, call: str, *behaviours: Behaviour) -> None:
        """The next calls of that name behave like this."""
        self.script[call].extend(behaviours)

    async def call(self, name: str, server: str) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(f"{name} {server}")
        if self.script[name]:
            await self.script[name].popleft()(self, server)
        if self.servers[server].sign is not Sign.ALIVE:
            raise StewardError(f"{server} is down")

    def promote(self, name: str) -> None:
        server = self.servers[name]
        if server.in_recovery:
            server.in_recovery, server.timeline = False, server.timeline + 1
        taking = [
            name
            for name, each in self.servers.items()
            if each.sign is not Sign.REFUSED and not each.in_recovery and name not in self.tolerated
        ]
        assert len(taking) <= 1, "two servers take writes"


@define(eq=False)
class WorldsSteward:
    """`cluster.steward.Steward`, as far as failovers use it."""

    world: World

    async def facts(self, node: str) -> ServerFacts:
        await self.world.call("facts", node)
        return ServerFacts(observation=self.world.servers[node].observation, version=180006)

    async def promote(self, node: str) -> None:
        await self.world.call("promote", node)
        self.world.promote(node)

    async def wait_writable(self, node: str, newer_than: int) -> Observation:
        await self.world.call("wait_writable", node)
        found = self.world.servers[node].observation
        assert not found.in_recovery
        assert (found.timeline or 0) > newer_than
        return found

    async def fence(self, node: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.world.calls.append(f"fence {node}")
        if self.world.fences:
            self.world.servers[node].sign = Sign.REFUSED
        return self.world.fences

    async def demote(self, node: str, primary: str) -> Demotion:
        await trio.lowlevel.checkpoint()
        self.world.calls.append(f"demote {node} {primary}")
        if self.world.rejoins:
            timeline = self.world.servers[primary].timeline
            self.world.servers[node] = Server(timeline=timeline)
        return Demotion(rejoined=self.world.rejoins, note="somebody must see to it")

    def close(self) -> None:
        self.world.calls.append("close")


@define
class WorldsKnocker:
    """`failover.examination.Knocker`."""

    world: World

    async def knock(self, backend: Backend, seconds: float) -> Look:
        await trio.lowlevel.checkpoint()
        sign = self.world.servers[backend.name].sign
        if sign is Sign.NO_ANSWER:
            await trio.sleep(seconds)
        return Look(sign)


class WorldsExaminer(Examiner):
    """Without connections."""

    async def _ask(self, backend: Backend, expected: Expected) -> Look:
        await trio.lowlevel.checkpoint()
        return expected.judge(cast(WorldsKnocker, self.knocker).world.servers[backend.name].observation)


@define(eq=False)
class Rig:
    """A controller in a world of its own."""

    world: World
    controller: Controller
    sessions: RecordedSessions
    placement: Placement

    @property
    def means(self) -> Means:
        return self.controller.means

    @property
    def topology(self) -> Topology:
        return self.means.topology

    def reasons(self) -> list[str]:
        """What was said to be difficult, oldest first."""
        newest = self.means.events.newest(1000)
        return [each.reason for each in reversed(newest) if each.kind == "failover in difficulties"]

    def lose(self, name: str = "one", sign: Sign = Sign.REFUSED) -> None:
        """A server dies, and a session notices."""
        self.world.servers[name].sign = sign
        self.controller.suspect(name, "a connection was lost")

    async def probe(self) -> None:
        """What the probes would tell now, of those that answer."""
        await trio.lowlevel.checkpoint()
        for name, server in self.world.servers.items():
            if server.sign is Sign.ALIVE:
                self.topology.note_answer(name, server.observation, trio.current_time())

    @property
    def destination(self) -> str:
        """Where a new session goes whose database names the first server."""
        return self.placement.place("one", 1, "")


@asynccontextmanager
async def running(settings: FailoverSettings | None = None, **actions: Any) -> AsyncIterator[Rig]:
    """The controller runs, and all servers have been seen; `actions` are those of the settings."""
    settings = settings or FailoverSettings()
    settings = evolve(settings, actions=evolve(settings.actions, **actions))
    world, sessions, placement = World(), RecordedSessions(), Placement()
    topology = Topology.of(Backend(name, "10.0.0.1", 5432) for name in NAMES)
    steward = cast(Any, WorldsSteward(world))
    means = Means(
        topology=topology,
        redirection=Redirection(topology, placement),
        steward=steward,
        examiner=WorldsExaminer(topology, cast(Any, None), cast(Any, WorldsKnocker(world))),
        fencing=Fencing(steward),
        sessions=sessions,
        token_check=TokenCheck(cast(Any, None)),
        events=EventLog(lambda: 1e9),
        alerts=Alerts(None),
        settings=settings,
        clock=lambda: 1e9,
        tokens=Tokens(),
    )
    rig = Rig(world, Controller(means), sessions, placement)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.controller.run)
        await rig.probe()
        yield rig
        nursery.cancel_scope.cancel()
