"""Migrations over a fleet that exists in memory only: sessions that are idle, busy, pinned or lost, as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import trio
from attrs import define, evolve, field

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.config.migration import SessionMigration
from helios_trio.config.words import MigrationMode
from helios_trio.errors import BackendUnavailable
from helios_trio.migration.checks import CheckResult
from helios_trio.migration.events import EventLog
from helios_trio.migration.examination import Examination, Examiner
from helios_trio.migration.figures import Figures, Reading
from helios_trio.migration.identity import ServerIdentity
from helios_trio.migration.means import Means
from helios_trio.migration.migration import Migration
from helios_trio.migration.orchestrator import Migrations
from helios_trio.migration.orders import MigrationOrder, Phase
from helios_trio.migration.records import RecordFile
from helios_trio.migration.states import State
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.fleet import (
    Fleet,
    HoldReport,
    MoveOrder,
    MoveOutcome,
    MoveReport,
    SessionInfo,
    SessionState,
)

#: What Trio's zero is in seconds since 1970 in these tests.
EPOCH = 1_800_000_000.0
ALL_AT_ONCE = (Phase(100.0),)


@define(eq=False)
class FakeSession:
    """One session, and how it behaves when it is to be moved."""

    id: int
    backend: str = "blue"
    tenant: str = "app"
    state: SessionState = SessionState.IDLE
    pins: dict[str, int] = field(factory=dict)
    #: seconds that moving it takes
    seconds: float = 0.0
    #: ends of the next attempts; then it moves, unless something else keeps it
    outcomes: list[MoveOutcome] = field(factory=list)
    home: str = "blue"
    since: float = 0.0
    crash: Exception | None = None

    @property
    def info(self) -> SessionInfo:
        return SessionInfo(
            id=self.id,
            user="alice",
            database="shop",
            application_name=self.tenant,
            tenant=self.tenant,
            client="127.0.0.1:1",
            backend=self.backend,
            home=self.home,
            server_pid=None,
            mode="transaction",
            state=self.state,
            since=self.since,
            active_since=self.since,
            pins=self.pins,
        )


@define(eq=False)
class FakeFleet:
    """See `pipeline.fleet.Fleet`."""

    present: dict[int, FakeSession] = field(factory=dict)
    orders: list[tuple[int, MoveOrder]] = field(factory=list)
    moving: int = 0
    most_moving: int = 0
    warmed: list[tuple[str, str]] = field(factory=list)
    terminated: dict[int, str] = field(factory=dict)

    def add(self, *sessions: FakeSession) -> None:
        self.present.update({each.id: each for each in sessions})

    def sessions(self) -> Sequence[SessionInfo]:
        return [each.info for each in self.present.values()]

    def session(self, id: int) -> SessionInfo | None:
        found = self.present.get(id)
        return None if found is None else found.info

    def on_backend(self, backend: str) -> list[int]:
        return [each.id for each in self.present.values() if each.backend == backend]

    async def move(self, id: int, order: MoveOrder) -> MoveReport:
        self.orders.append((id, order))
        self.moving += 1
        self.most_moving = max(self.most_moving, self.moving)
        try:
            return await self._move(id, order)
        finally:
            self.moving -= 1

    async def _move(self, id: int, order: MoveOrder) -> MoveReport:
        session = self.present.get(id)
        if session is None:
            return MoveReport(session=id, outcome=MoveOutcome.GONE)
        if session.crash is not None:
            raise session.crash
        if session.state is SessionState.IN_TRANSACTION:
            await trio.sleep(order.time_limit)
            return MoveReport(session=id, outcome=MoveOutcome.BUSY, seconds=order.time_limit)
        await trio.sleep(session.seconds)
        if session.pins:
            reasons = tuple(f"{name}: {count}" for name, count in session.pins.items())
            return MoveReport(session=id, outcome=MoveOutcome.PINNED, reasons=reasons)
        outcome = session.outcomes.pop(0) if session.outcomes else MoveOutcome.MOVED
        if outcome is MoveOutcome.MOVED:
            session.backend = order.target
        elif outcome in (MoveOutcome.LOST, MoveOutcome.TERMINATED, MoveOutcome.GONE):
            del self.present[id]
        return MoveReport(
            session=id,
            outcome=outcome,
            reasons=("no luck",) if outcome is MoveOutcome.FAILED else (),
            seconds=session.seconds,
            pause=session.seconds / 2,
            carried={"settings": 2} if outcome is MoveOutcome.MOVED else {},
        )

    async def hold(self, backend: str, *, time_limit: float) -> HoldReport:
        raise NotImplementedError

    async def release(self, backend: str, *, concurrency: int) -> None:
        raise NotImplementedError

    def terminate(self, id: int, reason: str) -> bool:
        self.terminated[id] = reason
        return self.present.pop(id, None) is not None

    async def warm(self, source: str, target: str, *, time_limit: float) -> int:
        self.warmed.append((source, target))
        return 0


@define(eq=False)
class FakeExaminer:
    """Finds what a test says is wrong."""

    complaints: dict[str, str] = field(factory=dict)
    examined: list[str] = field(factory=list)

    async def examine(self, name: str) -> Examination:
        self.examined.append(name)
        results = (
            (CheckResult(self.complaints[name], False, 500.0),)
            if name in self.complaints
            else (CheckResult("connection_success", True, True),)
        )
        return Examination(backend=name, results=results, measured={}, reason="")


@define(eq=False)
class FakeTraffic:
    """Figures as a test says."""

    figures: dict[str, Figures] = field(factory=dict)

    def read(self) -> Reading:
        return Reading({})

    def since(self, earlier: Reading, backend: str) -> Figures:
        return self.figures.get(backend, Figures())


def identity(system: str, *, in_recovery: bool = False, port: int = 5432) -> ServerIdentity:
    return ServerIdentity(
        system_identifier=system,
        in_recovery=in_recovery,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        port=port,
        data_directory="/data",
    )


@define(eq=False)
class Rig:
    """`blue`, `green` and `teal` are one server, `gold` is a standby of it, `other` has nothing to do with them."""

    migrations: Migrations
    fleet: FakeFleet
    means: Means
    examiner: FakeExaminer
    traffic: FakeTraffic
    identities: dict[str, ServerIdentity]

    @property
    def topology(self) -> Topology:
        return self.means.topology

    @property
    def placement(self) -> Placement:
        return self.means.placement

    def reconfigure(self, **settings: Any) -> None:
        self.migrations.reconfigure(evolve(self.means.settings, **settings))

    async def start(self, **order: Any) -> Migration:
        """Start a migration from blue to green, immediate unless said otherwise."""
        given: dict[str, Any] = {
            "source": "blue",
            "target": "green",
            "mode": MigrationMode.IMMEDIATE,
            "who": "ann",
            **order,
        }
        return await self.migrations.start(MigrationOrder(**given))

    def kinds(self) -> list[str]:
        """Kinds of the events so far, oldest first."""
        return [each.kind for each in reversed(self.means.events.newest(1000))]


def make_topology() -> Topology:
    names = ("blue", "green", "teal", "gold", "other")
    topology = Topology.of([Backend(name, "127.0.0.1", 5432) for name in names])
    for name in names:
        system = "9" if name == "other" else "7"
        topology.note_answer(name, Observation(name == "gold", 1000, 1000, 0.0, 1, system, "18.1"), 0.0)
    return topology


def make_rig(
    folder: Path | None = None,
    settings: SessionMigration | None = None,
    switchover: Any = None,
    sessions: int = 0,
) -> Rig:
    """Everything there is, with so many idle sessions on blue; nothing runs yet."""
    fleet, examiner, traffic = FakeFleet(), FakeExaminer(), FakeTraffic()
    fleet.add(*(FakeSession(id) for id in range(1, sessions + 1)))
    means = Means(
        fleet=cast(Fleet, fleet),
        placement=Placement(),
        topology=make_topology(),
        examiner=cast(Examiner, examiner),
        traffic=traffic,
        events=EventLog(wall_clock),
        settings=settings or SessionMigration(),
        switchover=switchover,
        clock=wall_clock,
    )
    one = identity("7")
    identities = {
        "blue": one,
        "green": one,
        "teal": one,
        "gold": identity("7", in_recovery=True, port=5433),
        "other": identity("9"),
    }

    async def identify(backend: Backend) -> ServerIdentity:
        await trio.lowlevel.checkpoint()
        if backend.name not in identities:
            raise BackendUnavailable(f"{backend.name}: connection refused")
        return identities[backend.name]

    return Rig(Migrations(means, identify, RecordFile(folder)), fleet, means, examiner, traffic, identities)


def wall_clock() -> float:
    """Seconds since 1970, as Trio's clock goes."""
    return EPOCH + trio.current_time()


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """The migrations run inside."""
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.migrations.run)
        yield rig
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], seconds: float = 10_000.0) -> None:
    """Return when it is true; time passes as it does on the clock of the test."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.5)


async def until_state(migration: Migration, *states: State) -> None:
    await until(lambda: migration.state in states)
