"""What circuit breakers do besides deciding: tick, probe, write down what happens, take sessions away.

It ticks every 10 ms while there is something to be watched, and rests while nobody asks for anything. Sessions of a
backend whose circuit opens are moved in a planned way, so many at a time, by whatever the wiring knows as their next
place; those that cannot be moved stay, and get what the circuit says. A backend that takes writes and does not answer
is pointed out to whoever takes over from it.

Used by: composition.breaking (makes it, runs it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
import trio
from attrs import define, evolve, field

from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.circuit import CircuitState, Signal, Transition
from helios_trio.features.circuit_breaker.happenings import Notice
from helios_trio.features.circuit_breaker.health import Load
from helios_trio.migration.events import EventLog
from helios_trio.pipeline.fleet import Fleet, MoveOrder, MoveOutcome

_log = structlog.get_logger(__name__)

#: Seconds between ticks, and between looks at the load of the backends.
TICK: Final = 0.01
LOOK: Final = 0.05
#: Seconds between looks while nobody asks for anything: a first request that hangs is seen so.
REST: Final = 0.5
#: Seconds that a probe may take at least before it has failed.
PROBE_LIMIT: Final = 1.0

#: Asks a backend for something small; raises when it cannot be had.
Probe = Callable[[str], Awaitable[None]]

_WORDS: Final = {
    CircuitState.CLOSED: "circuit closed",
    CircuitState.OPEN: "circuit opened",
    CircuitState.HALF_OPEN: "circuit half-open",
}
_FORCED: Final = {
    Signal.FORCED_OPEN: "circuit held open",
    Signal.FORCED_CLOSED: "circuit held closed",
    Signal.RESET: "circuit reset",
}


@define(kw_only=True, eq=False)
class BreakerService:
    """Runs the breakers. Times in seconds."""

    breakers: Breakers
    fleet: Fleet
    events: EventLog
    probe: Probe
    #: the load of each backend at that moment
    loads: Callable[[float], Mapping[str, Load]]
    #: the backend that a session is to be moved to from the one of that name; None: there is none
    elsewhere: Callable[[str], str | None] = lambda name: None
    #: how sessions are moved; its target is not looked at
    order: MoveOrder = field(factory=lambda: MoveOrder(target=""))
    #: sessions that are moved at the same time
    concurrency: int = 32
    #: told the name of a backend whose circuit opened, and why: it may be dead
    suspect: Callable[[str, str], None] = lambda name, reason: None
    #: sessions that were moved away, and attempts that failed, since the start
    moved: int = field(default=0, init=False)
    not_moved: int = field(default=0, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)
    _slots: trio.Semaphore | None = field(default=None, init=False)
    _woken: trio.Event = field(factory=trio.Event, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._slots = nursery, trio.Semaphore(self.concurrency)
            self.breakers.wake = self._wake
            stop = self.breakers.listen(self._on_happening)
            task_status.started()
            try:
                await self._tick_for_ever(nursery)
            finally:
                stop()
                self.breakers.wake = lambda: None
                self._nursery = None

    def _wake(self) -> None:
        self._woken.set()

    async def _tick_for_ever(self, nursery: trio.Nursery) -> None:
        looked = -LOOK
        while True:
            now = trio.current_time()
            loads = None
            if now - looked >= LOOK:
                looked, loads = now, self.loads(now)
            self.breakers.tick(now, loads)
            for name in self.breakers.probes_due(now):
                self._begin_probe(nursery, name, now)
            if loads is not None and self.breakers.quiet:
                await self._rest()
                looked = -LOOK
            else:
                await trio.sleep(TICK)

    async def _rest(self) -> None:
        """Nobody asks for anything: the first request wakes, and now and then there is a look for one that hangs."""
        self._woken = trio.Event()
        self.breakers.rest()
        with trio.move_on_after(REST):
            await self._woken.wait()

    # -- probes ------------------------------------------------------------------------------------------------

    def _begin_probe(self, nursery: trio.Nursery, name: str, now: float) -> None:
        breaker = self.breakers.find(name)
        assert breaker is not None, "it was found due"
        breaker.circuit.probe_begun(now)
        nursery.start_soon(self._probe, name, now)

    async def _probe(self, name: str, began: float) -> None:
        breaker = self.breakers.find(name)
        assert breaker is not None, "breakers stay"
        limit = max(PROBE_LIMIT, breaker.limits.p95)
        passed, reason = False, f"no answer within {limit:g} s"
        with trio.move_on_after(limit):
            try:
                await self.probe(name)
                passed, reason = True, ""
            except Exception as error:
                _log.info("probe of a circuit failed", backend=name, error=str(error))
                reason = str(error) or type(error).__name__
        breaker.probe_ended(trio.current_time(), began, passed=passed, reason=reason)

    # -- what happens ------------------------------------------------------------------------------------------

    def _on_happening(self, happening: Transition | Notice) -> None:
        figures = {name: round(value, 6) for name, value in happening.figures.items()}
        if isinstance(happening, Notice):
            self.events.note(happening.kind, happening.subject, reason=happening.reason, figures=figures)
            return
        kind = _FORCED.get(happening.signal) or _WORDS[happening.after]
        reason = _with_figures(happening.reason, figures)
        self.events.note(kind, happening.backend, who=happening.who, reason=reason, figures=figures)
        if happening.after is CircuitState.OPEN and self._nursery is not None:
            if happening.signal is Signal.BREACH:
                self.suspect(happening.backend, happening.reason)
            self._nursery.start_soon(self._move_away, happening.backend)

    async def _move_away(self, name: str) -> None:
        """Move the sessions of a backend; stops when its circuit is open no longer."""
        target = self.elsewhere(name)
        sessions = self.fleet.on_backend(name)
        if target is None or not sessions:
            return
        before = self.moved
        async with trio.open_nursery() as nursery:
            for id in sessions:
                assert self._slots is not None, "set before anybody listens"
                await self._slots.acquire()
                nursery.start_soon(self._move, id, name, target)
        reason = f"{self.moved - before} of {len(sessions)} sessions, as its circuit is open"
        self.events.note("sessions moved away", name, reason=reason, target=target)

    async def _move(self, id: int, name: str, target: str) -> None:
        """Move one session. A bug in moving it stays with it (rule 40)."""
        assert self._slots is not None, "acquired"
        try:
            breaker = self.breakers.find(name)
            if breaker is None or breaker.circuit.state is not CircuitState.OPEN:
                return
            report = await self.fleet.move(id, evolve(self.order, target=target))
            if report.outcome is MoveOutcome.MOVED:
                self.moved += 1
            elif report.outcome is not MoveOutcome.GONE:
                self.not_moved += 1
                reasons = "; ".join(report.reasons)
                _log.info("session not moved", session=id, outcome=report.outcome.value, reason=reasons)
        except Exception:
            self.not_moved += 1
            _log.exception("moving a session failed", session=id, target=target)
        finally:
            self._slots.release()


def _with_figures(reason: str, figures: Mapping[str, float]) -> str:
    """The reason with what caused it, for whoever reads the list of events."""
    shown = ", ".join(f"{name} {value:g}" for name, value in figures.items())
    return f"{reason} ({shown})" if shown else reason
