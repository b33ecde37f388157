"""The circuit of one backend: closed (it serves), open (it does not), half-open (a few requests try it).

A table says what follows from what; methods decide what has happened. Time is an argument, and transitions are
returned.

    CLOSED --breach--> OPEN --due--> HALF_OPEN --passed--> CLOSED
                         ^______________failed_____|

An operator can hold it open or closed; `reset` gives it back to the rules above.

Used by: features.circuit_breaker.breaker; tests compare it with a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from helios_trio.config.circuit_breaker import CircuitBreaker

#: Who acts when no operator does.
PROXY: Final = "helios"
#: Probes in a row without a failure that close it where hardly anybody else asks.
PROBES_ALONE: Final = 2
#: Seconds after which a trial that nobody has ended is given up: its session was moved or has gone.
TRIAL_LIMIT: Final = 60.0


class CircuitState(StrEnum):
    """Where a circuit is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Signal(StrEnum):
    """What happens to a circuit."""

    BREACH = "breach"
    DUE = "due"
    PASSED = "passed"
    FAILED = "failed"
    FORCED_OPEN = "forced open"
    FORCED_CLOSED = "forced closed"
    RESET = "reset"


_CLOSED, _OPEN, _HALF = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

#: What follows; where nothing stands, nothing does.
TABLE: Final[Mapping[tuple[CircuitState, Signal], CircuitState]] = {
    (_CLOSED, Signal.BREACH): _OPEN,
    (_OPEN, Signal.DUE): _HALF,
    (_HALF, Signal.PASSED): _CLOSED,
    (_HALF, Signal.FAILED): _OPEN,
    **{(state, Signal.FORCED_OPEN): _OPEN for state in CircuitState},
    **{(state, Signal.FORCED_CLOSED): _CLOSED for state in CircuitState},
    **{(state, Signal.RESET): _CLOSED for state in CircuitState},
}


@frozen(kw_only=True)
class Transition:
    """A circuit has another state, or is held, or not held any more."""

    backend: str
    before: CircuitState
    after: CircuitState
    signal: Signal
    #: seconds, on the clock of whoever told
    at: float
    who: str = PROXY
    #: in words, and the figures that caused it
    reason: str = ""
    figures: Mapping[str, float] = field(factory=dict)


@define
class Trial:
    """How a half-open circuit does."""

    passed: int = 0
    failed: int = 0
    #: of these, probes of our own
    probes: int = 0
    #: errors of requests whose end is still to be told
    owed: int = 0
    #: when each request that is under way was let through, oldest first
    running: list[float] = field(factory=list)
    next_probe: float = -math.inf
    probing: bool = False


@define(eq=False)
class Circuit:
    """See above. Times in seconds."""

    backend: str
    settings: CircuitBreaker
    state: CircuitState = CircuitState.CLOSED
    since: float = -math.inf
    #: held there by an operator; None: by nobody
    held: CircuitState | None = None
    #: how often it has opened without a healthy period between, and until when it stays open
    in_a_row: int = 0
    open_until: float = math.inf
    trial: Trial = field(factory=Trial)
    #: why it is in this state
    reason: str = ""

    # -- what happens ------------------------------------------------------------------------------------------

    def breach(
        self, now: float, reason: str, figures: Mapping[str, float] | None = None
    ) -> Transition | None:
        """Something is beyond its limit."""
        if self.held is not None:
            return None
        return self._signal(Signal.BREACH, now, reason=reason, figures=figures)

    def tick(self, now: float) -> Transition | None:
        """Time has passed."""
        if self.state is _OPEN and now >= self.open_until:  # never where it is held open
            return self._signal(Signal.DUE, now, reason=f"open for {now - self.since:.3g} s")
        if self.state is _HALF:
            self._forget_lost(now)
        elif self.in_a_row and self.state is _CLOSED and now - self.since >= self.healthy_period:
            self.in_a_row = 0
        return None

    @property
    def healthy_period(self) -> float:
        """How long it must have been closed for the next opening to be as short as the first."""
        ramp = self.settings.recovery_ramp_up_duration if self.settings.gradual_recovery_enabled else 0.0
        return ramp + self.settings.open_duration

    def result(self, now: float, *, passed: bool, began: float) -> Transition | None:
        """A request that began then has ended; only what began since it is half-open says something."""
        if self.state is not _HALF or began < self.since:
            return None
        return self._judge(now, passed)

    def error(self, now: float) -> Transition | None:
        """A request has failed; its end is told later, and is no success."""
        if self.state is not _HALF:
            return None
        self.trial.owed += 1
        return self._judge(now, passed=False)

    def ended(self, now: float, *, passed: bool, began: float) -> Transition | None:
        """A request was answered to its end, perhaps after an error that was told before."""
        if self.state is _HALF and self.trial.owed:
            self.trial.owed -= 1
            return None
        return self.result(now, passed=passed, began=began)

    def _judge(self, now: float, passed: bool) -> Transition | None:
        trial, needed = self.trial, self.settings.half_open_max_concurrent
        threshold = self.settings.half_open_success_threshold
        if passed:
            trial.passed += 1
        else:
            trial.failed += 1
        total = trial.passed + trial.failed
        reason = f"{trial.passed} of {total} requests and probes succeeded"
        figures = {"passed": float(trial.passed), "failed": float(trial.failed), "threshold": threshold}
        if 100 * trial.failed > needed * (100 - threshold):
            return self._signal(Signal.FAILED, now, reason=reason, figures=figures)
        if total >= needed or (trial.probes >= PROBES_ALONE and not trial.failed):
            return self._signal(Signal.PASSED, now, reason=reason, figures=figures)
        return None

    # -- trying it ---------------------------------------------------------------------------------------------

    @property
    def may_try(self) -> str:
        """Empty if one more request may try a half-open circuit, else why not."""
        if not self.trial.probes:
            return "circuit is half-open: not probed yet"
        if len(self.trial.running) >= self.settings.half_open_max_concurrent:
            return f"circuit is half-open: {len(self.trial.running)} requests try it"
        return ""

    def let_try(self, now: float) -> None:
        """A request is let through."""
        self.trial.running.append(now)

    def release(self) -> None:
        """A request that was let through has ended, however."""
        if self.trial.running:
            del self.trial.running[0]

    def _forget_lost(self, now: float) -> None:
        while self.trial.running and now - self.trial.running[0] > TRIAL_LIMIT:
            del self.trial.running[0]

    def probe_due(self, now: float) -> bool:
        """Whether it is time for a probe of our own."""
        return self.state is _HALF and not self.trial.probing and now >= self.trial.next_probe

    def probe_begun(self, now: float) -> None:
        """It is under way."""
        self.trial.probing = True
        self.trial.next_probe = now + self.settings.half_open_probe_interval

    def probe_ended(self, now: float, began: float, *, passed: bool, reason: str = "") -> Transition | None:
        """A probe that began then has succeeded or not. The first one that fails decides."""
        if self.state is not _HALF or began < self.since:
            return None
        trial = self.trial
        trial.probing = False
        trial.probes += 1
        if not passed and trial.probes == 1:
            return self._signal(Signal.FAILED, now, reason=f"probe failed: {reason}")
        return self._judge(now, passed)

    # -- operators ---------------------------------------------------------------------------------------------

    def force_open(self, now: float, who: str, reason: str) -> Transition:
        """Open it, and keep it so."""
        return self._force(Signal.FORCED_OPEN, _OPEN, now, who, reason)

    def force_closed(self, now: float, who: str, reason: str) -> Transition:
        """Close it, and keep it so whatever is measured."""
        return self._force(Signal.FORCED_CLOSED, _CLOSED, now, who, reason)

    def reset(self, now: float, who: str, reason: str) -> Transition:
        """Close it, hold it no more, and forget how often it has opened."""
        self.in_a_row = 0
        return self._force(Signal.RESET, None, now, who, reason)

    def _force(
        self, signal: Signal, held: CircuitState | None, now: float, who: str, reason: str
    ) -> Transition:
        self.held = held
        found = self._signal(signal, now, who=who, reason=reason)
        assert found is not None, "an operator is obeyed in every state"
        return found

    # -- the table ---------------------------------------------------------------------------------------------

    def _signal(
        self,
        signal: Signal,
        now: float,
        *,
        reason: str,
        who: str = PROXY,
        figures: Mapping[str, float] | None = None,
    ) -> Transition | None:
        after = TABLE.get((self.state, signal))
        if after is None:
            return None
        before, self.state, self.since, self.reason = self.state, after, now, reason
        self.trial = Trial()
        if after is _OPEN:
            self._open(now, signal)
        else:
            self.open_until = math.inf
        return Transition(
            backend=self.backend,
            before=before,
            after=after,
            signal=signal,
            at=now,
            who=who,
            reason=reason,
            figures=figures or {},
        )

    def _open(self, now: float, signal: Signal) -> None:
        if signal is Signal.FORCED_OPEN:
            self.open_until = math.inf
            return
        self.in_a_row += 1
        self.open_until = now + self.duration(self.in_a_row)

    def duration(self, in_a_row: int) -> float:
        """How long it stays open the n-th time in a row."""
        doubled = self.settings.open_duration * 2.0 ** min(in_a_row - 1, 32)
        return min(self.settings.max_open_duration, doubled)
