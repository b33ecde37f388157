"""The service on a clock of its own: ticks, probes, events, and sessions that are moved away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from attrs import define, field
from breaker_rig import CLOSED, HALF_OPEN, OPEN, settings
from migration_rig import FakeFleet, FakeSession, wall_clock
from structlog.testing import capture_logs

from helios_trio.features.circuit_breaker import service as service_module
from helios_trio.features.circuit_breaker.breaker import Breaker
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.circuit import Signal
from helios_trio.features.circuit_breaker.health import Load
from helios_trio.features.circuit_breaker.service import LOOK, REST, TICK, BreakerService
from helios_trio.migration.events import EventLog
from helios_trio.pipeline.fleet import MoveOutcome, SessionState


@define(eq=False)
class World:
    """A service with backends `blue` and `green`, and what it did."""

    breakers: Breakers
    fleet: FakeFleet = field(factory=FakeFleet)
    events: EventLog = field(factory=lambda: EventLog(wall_clock))
    load: dict[str, Load] = field(factory=dict)
    #: what a probe does
    probe_with: Callable[[], Any] = trio.lowlevel.checkpoint
    probed: list[float] = field(factory=list)
    looked: list[float] = field(factory=list)
    suspected: list[str] = field(factory=list)

    @property
    def blue(self) -> Breaker:
        found = self.breakers.find("blue")
        assert found is not None
        return found

    async def probe(self, name: str) -> None:
        self.probed.append(trio.current_time())
        await self.probe_with()

    def loads(self, now: float) -> dict[str, Load]:
        self.looked.append(now)
        return self.load

    def break_down(self) -> None:
        now = trio.current_time()
        for _ in range(100):
            self.blue.note_error(now, "XX000", user="u", fingerprint=None)
            self.blue.note_answer(now, 0.001, user="u", fingerprint=None)

    def told(self) -> list[tuple[str, str]]:
        """Kinds and subjects of events, oldest first."""
        return [(each.kind, each.subject) for each in reversed(self.events.newest(100))]


@asynccontextmanager
async def world(
    *, elsewhere: str | None = "green", concurrency: int = 4, **more: Any
) -> AsyncIterator[World]:
    own = settings(**more)
    found = World(Breakers.of(own, {"blue": own, "green": own}))
    made = BreakerService(
        breakers=found.breakers,
        fleet=found.fleet,
        events=found.events,
        probe=found.probe,
        loads=found.loads,
        elsewhere=lambda name: elsewhere,
        concurrency=concurrency,
        suspect=lambda name, reason: found.suspected.append(name),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield found
        nursery.cancel_scope.cancel()


async def test_it_rests_while_nobody_asks(autojump_clock: trio.testing.MockClock) -> None:
    """A look now and then, no ticks; the first request makes it tick within a tick."""
    async with world() as it:
        await trio.sleep(10)
        assert len(it.looked) <= 10 / REST + 2
        it.blue.note_answer(trio.current_time(), 0.001, user="u", fingerprint=None)
        before = len(it.looked)
        await trio.sleep(1)
        assert len(it.looked) - before >= 0.8 / LOOK


async def test_a_request_that_hangs_is_seen_after_a_rest(autojump_clock: trio.testing.MockClock) -> None:
    """Although nothing is ever answered."""
    async with world() as it:
        await trio.sleep(10)
        it.load["blue"] = Load(active=1, limit=10, ages=[0.1])
        await trio.sleep(REST + TICK)
        before = len(it.looked)
        await trio.sleep(1)
        assert len(it.looked) - before >= 0.8 / LOOK


async def test_a_life_in_events(autojump_clock: trio.testing.MockClock) -> None:
    """Opened, half-open, closed: with the figures that caused it, and a probe in between."""
    async with world(open_duration=5.0, half_open_probe_interval=1.0) as it:
        it.break_down()
        opened = it.events.newest(1)[0]
        assert (opened.kind, opened.subject, opened.who) == ("circuit opened", "blue", "helios")
        assert "error_rate 1" in opened.reason
        assert it.suspected == ["blue"]
        await trio.sleep(4.9)
        assert it.blue.circuit.state is OPEN
        await trio.sleep(0.2)
        assert it.blue.circuit.state is HALF_OPEN
        assert len(it.probed) == 1
        await trio.sleep(1.1)
        assert it.blue.circuit.state is CLOSED
        assert it.told() == [
            ("circuit opened", "blue"),
            ("circuit half-open", "blue"),
            ("circuit closed", "blue"),
        ]


async def test_probes_that_fail_or_hang(autojump_clock: trio.testing.MockClock) -> None:
    """Each opens it again, for twice as long; the reason is told."""

    async def refuse() -> None:
        raise ConnectionRefusedError("connection refused")

    async with world(open_duration=5.0) as it:
        it.probe_with = refuse
        it.break_down()
        await trio.sleep(5.1)
        assert it.blue.circuit.state is OPEN
        assert "connection refused" in it.events.newest(1)[0].reason
        it.probe_with = trio.sleep_forever
        await trio.sleep(10.1)
        assert it.blue.circuit.state is HALF_OPEN
        await trio.sleep(1.1)
        assert it.blue.circuit.state is OPEN
        assert "no answer within 1 s" in it.events.newest(1)[0].reason
        assert len(it.probed) == 2


async def test_sessions_are_moved_away(autojump_clock: trio.testing.MockClock) -> None:
    """So many at a time; what cannot be moved stays and is counted, and no bug stops the others."""
    async with world(concurrency=4) as it:
        it.fleet.add(*(FakeSession(id, seconds=0.5) for id in range(20)))
        it.fleet.add(
            FakeSession(20, pins={"locks": 1}),
            FakeSession(21, crash=RuntimeError("a bug")),
            FakeSession(22, outcomes=[MoveOutcome.FAILED]),
            FakeSession(23, backend="green"),
        )
        with capture_logs() as logs:
            it.break_down()
            await trio.sleep(5)
        assert [each["event"] for each in logs if "exc_info" in each] == ["moving a session failed"]
        assert sorted(it.fleet.on_backend("blue")) == [20, 21, 22]
        assert it.fleet.most_moving == 4
        assert it.told()[-1] == ("sessions moved away", "blue")
        assert it.events.newest(1)[0].reason == "20 of 23 sessions, as its circuit is open"


async def test_moving_stops_when_it_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """Those that are on their way arrive, nobody else leaves."""
    async with world(concurrency=1) as it:
        it.fleet.add(*(FakeSession(id, seconds=1.0) for id in range(10)))
        it.break_down()
        await trio.sleep(2.5)
        it.breakers.force("blue", Signal.RESET, trio.current_time(), who="otto", reason="enough")
        await trio.sleep(20)
        assert len(it.fleet.on_backend("green")) == 3


async def test_without_another_backend_sessions_stay(autojump_clock: trio.testing.MockClock) -> None:
    async with world(elsewhere=None) as it:
        it.fleet.add(FakeSession(1))
        it.break_down()
        await trio.sleep(1)
        assert (it.fleet.on_backend("blue"), it.fleet.orders) == ([1], [])


async def test_orders_of_operators_are_events(autojump_clock: trio.testing.MockClock) -> None:
    """With who and why; sessions leave then, too, but nobody is suspected."""
    async with world() as it:
        it.fleet.add(FakeSession(1, state=SessionState.IDLE))
        await trio.sleep(5)
        for signal in (Signal.FORCED_OPEN, Signal.FORCED_CLOSED, Signal.RESET):
            it.breakers.force("blue", signal, trio.current_time(), who="otto", reason="why")
            await trio.sleep(0.1)
        assert it.fleet.on_backend("green") == [1]
        assert it.suspected == []
        assert [each for each in it.told() if each[0].startswith("circuit")] == [
            ("circuit held open", "blue"),
            ("circuit held closed", "blue"),
            ("circuit reset", "blue"),
        ]
        assert {(each.who, each.reason) for each in it.events.newest(9) if each.who != "helios"} == {
            ("otto", "why")
        }


async def test_a_standstill_opens_within_a_look(autojump_clock: trio.testing.MockClock) -> None:
    """From the moment on at which requests are late."""
    async with world(latency_threshold_p95_ms=200) as it:
        for _ in range(500):
            it.blue.note_answer(trio.current_time(), 0.001, user="u", fingerprint=None)
            await trio.sleep(0.004)
        begin = trio.current_time()
        while it.blue.circuit.state is CLOSED:
            it.load["blue"] = Load(active=5, limit=10, ages=[trio.current_time() - begin] * 5)
            await trio.sleep(TICK)
            assert trio.current_time() < begin + 0.2 + LOOK + 3 * TICK
        assert "no request was answered" in it.events.newest(1)[0].reason


async def test_it_can_be_stopped_and_begun_again(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody listens afterwards."""
    async with world() as it:
        pass
    it.break_down()
    assert it.told() == []
    assert service_module.TICK == 0.01
