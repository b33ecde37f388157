"""Two servers, their sessions and who changes them, without any server: what happens is scripted and recorded.

Whatever a switchover does, some things must hold at every moment; `World` checks them as they happen.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import trio
from attrs import define, evolve, field

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.steward import (
    Demotion,
    NoLongerStandby,
    OpenTransaction,
    ServerFacts,
    StewardError,
    StewardUnsure,
)
from helios_trio.cluster.topology import Topology
from helios_trio.migration.switchover import Switchover
from helios_trio.migration.switchover_steps import SwitchoverSettings
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.fleet import (
    HoldReport,
    MoveOrder,
    MoveOutcome,
    MoveReport,
    SessionInfo,
    SessionState,
)

SOURCE, TARGET = "one", "two"
SYSTEM, LSN = "7", 5000

#: What happens instead of, or before, what a call does.
Behaviour = Callable[["World"], Awaitable[None]]


async def fine(_world: World) -> None:
    """Nothing special."""


async def hang(_world: World) -> None:
    """No answer."""
    await trio.sleep_forever()


async def slow(_world: World) -> None:
    """An answer, after a second."""
    await trio.sleep(1.0)


async def refuse(_world: World) -> None:
    """An error; nothing was done."""
    raise StewardError("refused")


async def lose(_world: World) -> None:
    """The connection is lost before the server has heard anything, which nobody can know."""
    raise StewardUnsure("connection lost")


async def lose_after_promotion(world: World) -> None:
    """The server does it, and the connection is lost before it says so."""
    world.promote()
    raise StewardUnsure("connection lost")


async def kill_source(world: World) -> None:
    """The source dies at this moment."""
    world.dead.add(SOURCE)


async def kill_target(world: World) -> None:
    """The target dies at this moment."""
    world.dead.add(TARGET)


@define
class World:
    """Two servers and their sessions."""

    script: defaultdict[str, deque[Behaviour]] = field(factory=lambda: defaultdict(deque))
    #: what is called at the beginning of each call
    on_call: Callable[[str], None] = field(default=lambda name: None)
    calls: list[str] = field(factory=list)
    sessions: dict[int, str] = field(factory=lambda: dict.fromkeys(range(1, 6), SOURCE))
    ended: dict[int, str] = field(factory=dict)
    held: bool = False
    read_only: bool = False
    promoted: bool = False
    rejoins: bool = True
    fences: bool = False
    #: sessions were let go on a server that lives, and that they cannot write to
    let_down: bool = False
    dead: set[str] = field(factory=set)
    open: list[OpenTransaction] = field(factory=list)
    xid: int = 700
    move_outcomes: dict[int, MoveOutcome] = field(factory=dict)
    #: sessions that are being moved now, and the most there ever were
    moving: int = 0
    most_moving: int = 0
    topology: Topology = field(factory=lambda: make_topology())
    placement: Placement = field(factory=Placement)

    def let(self, call: str, *behaviours: Behaviour) -> None:
        """The next calls of that name behave like this."""
        self.script[call].extend(behaviours)

    @contextmanager
    def calling(self, name: str) -> Iterator[deque[Behaviour]]:
        self.calls.append(name)
        self.on_call(name)
        yield self.script[name]

    async def call(self, name: str, *servers: str) -> None:
        """A call to these servers: scripted, and an error when one is dead."""
        await trio.lowlevel.checkpoint()
        with self.calling(name) as behaviours:
            if behaviours:
                await behaviours.popleft()(self)
            for server in servers:
                if server in self.dead:
                    raise StewardError(f"{server} is down")

    # -- what happens to servers ---------------------------------------------------------------------------------

    def promote(self) -> None:
        assert TARGET not in self.dead
        assert self.held, "promoted while clients write to the source"
        assert self.read_only or SOURCE in self.dead, "two writable copies"
        self.promoted = True

    def usable(self, server: str) -> bool:
        """Whether sessions there can write."""
        if server == SOURCE:
            return not self.read_only and SOURCE not in self.dead
        return self.promoted and TARGET not in self.dead


def make_topology(*, healthy: bool = True) -> Topology:
    found = Topology.of([Backend(name, "10.0.0.1", 5432) for name in (SOURCE, TARGET)])
    if healthy:
        found.note_answer(SOURCE, observation(in_recovery=False), 0.0)
        found.note_answer(TARGET, observation(in_recovery=True), 0.0)
    return found


def observation(*, in_recovery: bool, timeline: int = 1) -> Observation:
    replayed = LSN if in_recovery else None
    return Observation(in_recovery, LSN, replayed, 0.0 if in_recovery else None, timeline, SYSTEM, "18.6")


def facts(*, in_recovery: bool) -> ServerFacts:
    """A server with which all is well."""
    return ServerFacts(
        observation=observation(in_recovery=in_recovery),
        version=180006,
        streaming=in_recovery,
        standbys=0 if in_recovery else 1,
    )


@define
class FakeSteward:
    """`cluster.steward.Steward` for a `World`."""

    world: World
    source_facts: ServerFacts = field(factory=lambda: facts(in_recovery=False))
    target_facts: ServerFacts = field(factory=lambda: facts(in_recovery=True))

    async def facts(self, node: str) -> ServerFacts:
        await self.world.call("facts", node)
        return self.source_facts if node == SOURCE else self.target_facts

    async def prepare(self, source: str, target: str) -> None:
        await self.world.call("prepare", source, target)

    async def read_only(self, node: str) -> float:
        assert self.world.held
        if node not in self.world.dead:
            self.world.read_only = True  # also when what follows is an error
        await self.world.call("read_only", node)
        return 12.0

    async def writable_again(self, node: str) -> None:
        await self.world.call("writable_again", node)
        assert not self.world.promoted, "two writable copies"
        self.world.read_only = False

    async def open_transactions(self, node: str, begun_before: float) -> Sequence[OpenTransaction]:
        assert begun_before == 12.0
        await self.world.call("open_transactions", node)
        return list(self.world.open)

    async def last_lsn(self, node: str) -> int:
        await self.world.call("last_lsn", node)
        return LSN

    async def next_xid(self, node: str) -> int:
        await self.world.call("next_xid", node)
        return self.world.xid

    async def wait_replayed(self, node: str, lsn: int) -> None:
        assert lsn == LSN
        await self.world.call("wait_replayed", node)
        if self.world.promoted:
            raise NoLongerStandby(f"{node} is a primary")

    async def promote(self, node: str) -> None:
        await self.world.call("promote", node)
        self.world.promote()

    async def wait_writable(self, node: str, newer_than: int) -> Observation:
        assert newer_than == 1
        await self.world.call("wait_writable", node)
        while not self.world.promoted:  # noqa: ASYNC110 - nobody says so
            await trio.sleep(0.01)
        return observation(in_recovery=False, timeline=2)

    async def fence(self, node: str) -> bool:
        assert node == TARGET
        await self.world.call("fence")
        if self.world.fences:
            self.world.dead.add(TARGET)
            self.world.promoted = False
        return self.world.fences

    async def demote(self, node: str, primary: str) -> Demotion:
        assert primary == (TARGET if self.world.promoted else SOURCE)
        await self.world.call("demote", primary)
        if self.world.rejoins:
            self.world.dead.discard(node)
        return Demotion(rejoined=self.world.rejoins, note="done")

    def close(self) -> None:
        self.world.calls.append("close")


@define
class FakeFleet:
    """`pipeline.fleet.Fleet` for a `World`."""

    world: World
    busy: dict[int, str] = field(factory=dict)

    def sessions(self) -> Sequence[SessionInfo]:
        return [found for id in self.world.sessions if (found := self.session(id)) is not None]

    def session(self, id: int) -> SessionInfo | None:
        if id not in self.world.sessions:
            return None
        return SessionInfo(
            id=id,
            user="u",
            database="d",
            application_name="",
            tenant="",
            client="",
            backend=self.world.sessions[id],
            server_pid=None,
            mode="session",
            state=SessionState.HELD if self.world.held else SessionState.IDLE,
            since=0.0,
            active_since=0.0,
        )

    def on_backend(self, backend: str) -> Sequence[int]:
        return [id for id, at in self.world.sessions.items() if at == backend]

    async def warm(self, source: str, target: str, *, time_limit: float) -> int:
        await self.world.call("warm")
        return len(self.on_backend(source))

    async def hold(self, backend: str, *, time_limit: float) -> HoldReport:
        assert backend == SOURCE
        self.world.held = True
        await self.world.call("hold")
        if self.busy:
            await trio.sleep(time_limit)
        return HoldReport(held=[id for id in self.on_backend(backend) if id not in self.busy], busy=self.busy)

    async def release(self, backend: str, *, concurrency: int) -> None:
        assert backend == SOURCE
        where = {at for at in self.world.sessions.values() if at not in self.world.dead}
        self.world.let_down = not all(self.world.usable(at) for at in where)
        try:
            await self.world.call("release")
        finally:
            self.world.held = False

    async def move(self, id: int, order: MoveOrder) -> MoveReport:
        world = self.world
        assert world.promoted, "moved to a standby"
        assert (order.target, order.no_return, order.same_data) == (TARGET, True, False)
        world.moving += 1
        world.most_moving = max(world.most_moving, world.moving)
        try:
            await world.call("move")
        finally:
            world.moving -= 1
        outcome = world.move_outcomes.get(id, MoveOutcome.MOVED)
        if TARGET in world.dead:
            outcome = MoveOutcome.LOST
        if outcome is MoveOutcome.MOVED:
            world.sessions[id] = TARGET
        elif outcome in (MoveOutcome.LOST, MoveOutcome.GONE, MoveOutcome.TERMINATED):
            self._end(id, outcome)
        return MoveReport(session=id, outcome=outcome, reasons=("because",))

    def terminate(self, id: int, reason: str) -> bool:
        return self._end(id, reason)

    def _end(self, id: int, reason: str) -> bool:
        if self.world.sessions.pop(id, None) is None:
            return False
        self.world.ended[id] = reason
        return True


@define
class Rig:
    """A switchover in a world of its own."""

    world: World = field(factory=World)
    settings: SwitchoverSettings = field(factory=SwitchoverSettings)
    steward: FakeSteward = field(init=False)
    fleet: FakeFleet = field(init=False)
    switchover: Switchover = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.steward = FakeSteward(self.world)
        self.fleet = FakeFleet(self.world)
        self.switchover = Switchover(
            self.fleet, self.world.topology, self.world.placement, self.steward, self.settings
        )

    def target_with(self, **changes: object) -> None:
        """Let the target say something else of itself."""
        self.steward.target_facts = evolve(self.steward.target_facts, **changes)

    def source_with(self, **changes: object) -> None:
        """Let the source say something else of itself."""
        self.steward.source_facts = evolve(self.steward.source_facts, **changes)

    @property
    def writer(self) -> str | None:
        """Where new sessions go."""
        found = self.world.topology.writer
        return None if found is None else self.world.placement.place(found.backend.name, 99, "")

    def assert_as_before(self, *, sessions: int = 5) -> None:
        """As if nothing had been tried."""
        world = self.world
        assert not world.held
        assert not world.read_only
        assert not world.promoted
        assert world.ended == {}
        assert list(world.sessions.values()) == [SOURCE] * sessions
        assert self.writer == SOURCE
        assert world.calls[-1] == "close"

    def assert_switched(self) -> None:
        """All that there is is on the target, and goes there."""
        world = self.world
        assert not world.held
        assert world.promoted
        assert set(world.sessions.values()) <= {TARGET}
        assert self.writer == TARGET
        assert world.calls[-1] == "close"
