"""`Breaker`: one backend's circuit with all that it is decided by. The tap of that backend.

An answer is counted, which must cost next to nothing; what is judged is judged on the event that is bad - an error
that is the server's fault, a lost connection, a request slower than it may be - and on a tick every few milliseconds.

Used by: features.circuit_breaker.breakers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Final

from attrs import define, field

from helios_trio.config.circuit_breaker import BreakerMode, CircuitBreaker
from helios_trio.errors import HeliosError
from helios_trio.features.circuit_breaker.adaptive import Baseline, limits_of
from helios_trio.features.circuit_breaker.circuit import Circuit, CircuitState, Signal, Transition
from helios_trio.features.circuit_breaker.counting import Counting
from helios_trio.features.circuit_breaker.happenings import Listener, Notice
from helios_trio.features.circuit_breaker.health import (
    NO_LOAD,
    Breach,
    Dimension,
    Limits,
    Load,
    Pressure,
    breach_of_absence,
    breach_of_requests,
    breach_of_standstill,
)
from helios_trio.features.circuit_breaker.histogram import LONGEST, OFFSET, SCALE, SHORTEST, bucket_of
from helios_trio.features.circuit_breaker.outcomes import SHUTTING_DOWN, is_servers_fault
from helios_trio.features.circuit_breaker.predictive import Trend
from helios_trio.features.circuit_breaker.queries import PatternBreakers
from helios_trio.features.circuit_breaker.ramp import Ramp
from helios_trio.features.circuit_breaker.refusals import CircuitOpen
from helios_trio.features.circuit_breaker.users import UserBreakers
from helios_trio.features.circuit_breaker.windows import LONG, SHORT, Tally, Windows

_CLOSED: Final = CircuitState.CLOSED
_OPEN: Final = CircuitState.OPEN
_HALF: Final = CircuitState.HALF_OPEN


@define(eq=False, kw_only=True)
class Breaker(Counting):
    """See `pipeline.taps.BackendTap`. Times in seconds, on Trio's clock."""

    backend: str
    settings: CircuitBreaker
    tell: Listener
    circuit: Circuit = field(init=False)
    baseline: Baseline = field(factory=Baseline, init=False)
    trend: Trend = field(init=False)
    pressure: Pressure = field(factory=Pressure, init=False)
    ramp: Ramp | None = field(default=None, init=False)
    queries: PatternBreakers | None = field(default=None, init=False)
    users: UserBreakers | None = field(default=None, init=False)
    load: Load = field(default=NO_LOAD, init=False)
    limits: Limits = field(init=False)
    #: how long it has been open or half-open: this time or the last; when it opened
    trip_seconds: float = field(default=0.0, init=False)
    tripped_at: float | None = field(default=None, init=False)
    trips: int = field(default=0, init=False)
    #: whether somebody takes over from it when it dies: then its clients wait for that, and are not sent away
    has_successor: Callable[[], bool] = field(default=lambda: False, init=False)
    #: requests per second before it opened
    rate_before: float = field(default=0.0, init=False)
    #: the bucket beyond which an answer is judged at once, and whether answers are looked at one by one
    _late: int = field(default=0, init=False)
    _attentive: bool = field(default=False, init=False)
    _dirty: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.circuit = Circuit(self.backend, self.settings)
        self.trend = Trend(self.settings.metrics_window_size)
        self.reconfigure(self.settings)

    @classmethod
    def of(
        cls, backend: str, settings: CircuitBreaker, tell: Listener, wake: Callable[[], None] = lambda: None
    ) -> Breaker:
        """The breaker of a backend of which nothing is known."""
        windows = Windows(settings.metrics_bucket_size, settings.metrics_window_size)
        return cls(backend=backend, settings=settings, tell=tell, wake=wake, windows=windows)

    def reconfigure(self, settings: CircuitBreaker) -> None:
        """Take over other settings; what was counted in windows of other sizes is forgotten."""
        sizes = settings.metrics_bucket_size, settings.metrics_window_size
        if (self.windows.step, self.windows.size) != sizes:
            self._measure_in(Windows(*sizes))
            self.trend = Trend(settings.metrics_window_size)
        self.settings = self.circuit.settings = settings
        self.queries = self.users = None
        if settings.query_level_breakers_enabled:
            self.queries = PatternBreakers(
                settings.slow_query_threshold_ms / 1000, settings.open_duration, settings.max_open_duration
            )
        if settings.user_level_breakers_enabled:
            self.users = UserBreakers(
                settings.per_user_rate_limit, settings.user_isolation_on_abuse, settings.open_duration
            )
        self._set_limits()
        self._set_attention()

    def _set_limits(self) -> None:
        self.limits = limits_of(self.settings, self.baseline)
        self._late = bucket_of(self.limits.p95)

    def _set_attention(self) -> None:
        watched = self.circuit.state is _HALF or self.queries is not None or self.users is not None
        self._attentive = watched

    # -- BackendTap --------------------------------------------------------------------------------------------

    def note_answer(self, now: float, seconds: float, *, user: str, fingerprint: str | None) -> None:
        """See `pipeline.taps.BackendTap`. The hot path: once for every request."""
        if now >= self._end:
            self._turn(now)
        bucket = int(log(seconds) * SCALE + OFFSET) if SHORTEST < seconds < LONGEST else bucket_of(seconds)
        self._times[bucket] += 1
        if bucket > self._late:
            self._dirty = True
            if self.circuit.state is _CLOSED:
                self._judge(now)
        if self._attentive:
            self._look_at(now, seconds, user, fingerprint)

    def note_error(self, now: float, sqlstate: str, *, user: str, fingerprint: str | None) -> None:
        """See `pipeline.taps.BackendTap`."""
        if not is_servers_fault(sqlstate) or (sqlstate in SHUTTING_DOWN and self.has_successor()):
            return
        self._turn(now)
        self.windows.current.errors += 1
        if self.queries is not None and fingerprint is not None:
            self._tell_pattern(fingerprint, self.queries.note(now, fingerprint, 0.0, failed=True))
        self._failed(now, failing=1)
        self._tell_transition(self.circuit.error(now))

    def note_lost(self, now: float, reason: str) -> None:
        """See `pipeline.taps.BackendTap`."""
        if self.has_successor():
            return
        self._turn(now)
        self.windows.current.lost += 1
        self._failed(now, failing=0)
        self._tell_transition(self.circuit.result(now, passed=False, began=now))

    def _failed(self, now: float, failing: int) -> None:
        self.failures += 1
        self.last_failure = now
        if self.circuit.state is _CLOSED:
            self._judge(now, failing=failing)

    def _look_at(self, now: float, seconds: float, user: str, fingerprint: str | None) -> None:
        """An answer counts for more than the windows."""
        if self.queries is not None and fingerprint is not None:
            self._tell_pattern(fingerprint, self.queries.note(now, fingerprint, seconds, failed=False))
        if self.users is not None:
            self.users.note(user, seconds)
        if self.circuit.state is _HALF:
            passed = seconds <= self.limits.p95
            self._tell_transition(self.circuit.ended(now, passed=passed, began=now - seconds))

    def _turn(self, now: float) -> Tally | None:
        ended = super()._turn(now)
        well = self.circuit.state is _CLOSED and self.circuit.held is None and self.ramp is None
        if ended is not None and well:
            self.baseline.learn(ended)
            self._set_limits()
        return ended

    # -- judging -----------------------------------------------------------------------------------------------

    def _judge(self, now: float, ages: Sequence[float] = (), failing: int = 0) -> None:
        if self.circuit.held is not None:
            return
        self.count()
        breach = breach_of_requests(self.windows, self.limits, ages, failing)
        if breach is not None:
            self._trip(now, breach)

    def _trip(self, now: float, breach: Breach) -> None:
        self.count()
        figures = {"rate": self.windows.rate(LONG, now), **breach.figures}
        self._tell_transition(self.circuit.breach(now, breach.text, figures))

    def tick(self, now: float, load: Load | None = None) -> None:
        """Time has passed; `load` is what was seen of the backend meanwhile, None: nothing new."""
        self._turn(now)
        if load is not None:
            self.load = load
        if self.circuit.state is _CLOSED:
            self._tick_closed(now, load is not None)
        self._tell_transition(self.circuit.tick(now))
        if self.ramp is not None and self.ramp.done(now):
            self.ramp = None
            self.tell(
                Notice(kind="circuit recovered", subject=self.backend, reason="all its traffic is back")
            )
        if self.users is not None:
            self._tick_users(now, self.users)

    def _tick_closed(self, now: float, looked: bool) -> None:
        silence = self._silence(now)
        looked = looked and not (silence > self.limits.p95 and self.has_successor())  # it may be dead
        ages = self.load.ages if looked else ()
        if self._dirty or ages:
            self._dirty = False
            self._judge(now, ages)
        if looked:
            rate = self.windows.rate(self.limits.window, now)
            breach = breach_of_standstill(self.limits, rate, ages, silence)
            breach = breach or breach_of_absence(self.load) or self.pressure.note(now, self.load, self.limits)
            if breach is not None:
                self._trip(now, breach)
        if self.settings.mode is BreakerMode.PREDICTIVE:
            self._foresee(now)

    def _foresee(self, now: float) -> None:
        ended = self._end_slice(now)
        if ended is None:
            return
        self.trend.note(now, *ended, self.limits.error_rate)
        if self.baseline.warm and (self.trend.change or self.trend.error_change):
            (p95,) = self.windows.quantiles(SHORT, 0.95)
            found = self.trend.forecast(p95, self.limits.p95, self.baseline.p95.mean)
            if found is not None:
                self._trip(now, Breach(dimension=Dimension.TREND, text=found.text, figures=found.figures))

    def _tick_users(self, now: float, users: UserBreakers) -> None:
        for name, reason in users.tick(now, self.pressure.saturated):
            self._tell_user(name, reason)

    # -- telling -----------------------------------------------------------------------------------------------

    def _tell_transition(self, transition: Transition | None) -> None:
        if transition is None:
            return
        now = transition.at
        if transition.after is _OPEN and transition.before is _CLOSED:
            self.rate_before = self.windows.rate(LONG, now)
            self.tripped_at, self.trip_seconds = now, 0.0
            self.trips += 1
        elif transition.after is _CLOSED:
            self._closed(transition)
        if transition.after is not _CLOSED:
            self.ramp = None
        self._set_attention()
        self.tell(transition)

    def _closed(self, transition: Transition) -> None:
        now = transition.at
        if self.tripped_at is not None:
            self.trip_seconds, self.tripped_at = now - self.tripped_at, None
        self._forget()
        self.pressure, self._dirty = Pressure(), False
        self.trend.restart()
        self._begin_slice(now)
        if transition.signal is Signal.RESET:
            self.baseline, self.trend = Baseline(), Trend(self.settings.metrics_window_size)
            self._set_limits()
        settings = self.settings
        if transition.signal is Signal.PASSED and settings.gradual_recovery_enabled:
            self.ramp = Ramp(
                now,
                settings.recovery_ramp_up_duration,
                settings.recovery_step_percentage,
                self.rate_before,
            )
        else:
            self.ramp = None

    def _tell_pattern(self, fingerprint: str, what: str) -> None:
        if what:
            kind, _, reason = what.partition(": ")
            subject = f"{self.backend} {fingerprint}"
            self.tell(Notice(kind=f"statement pattern {kind}", subject=subject, reason=reason))

    def _tell_user(self, name: str, reason: str) -> None:
        kind = "user isolated" if reason else "user isolated no longer"
        self.tell(Notice(kind=kind, subject=f"{self.backend} {name}", reason=reason))

    # -- what may come -----------------------------------------------------------------------------------------

    def refusal(self, now: float, *, must_write: bool = False) -> str:
        """Why no request may be sent there now; empty if one may. Takes nothing."""
        state = self.circuit.state
        if state is _CLOSED:
            if self.ramp is None or must_write or self.ramp.may_take(now):
                return ""
            return f"circuit was open: {100 * self.ramp.share(now):.0f} % of its traffic are back"
        if state is _OPEN:
            return f"circuit is open: {self.circuit.reason}"
        return self.circuit.may_try

    def admit(self, user: str, fingerprint: str | None, now: float) -> HeliosError | None:
        """Let a request or a transaction begin, or say why not; one that was let in is to be released."""
        state = self.circuit.state
        if state is _OPEN or (state is _HALF and self.circuit.may_try):
            return self._circuit_open(now)
        if self.queries is not None and fingerprint is not None:
            refused = self.queries.admit(now, fingerprint)
            if refused is not None:
                return refused
        if self.users is not None:
            slowed, isolated = self.users.admit(now, user)
            if isolated:
                self._tell_user(user, isolated)
            if slowed is not None:
                return slowed
        if state is _HALF:
            self.circuit.let_try(now)
        elif self.ramp is not None:
            self.ramp.take(now)
        return None

    def _circuit_open(self, now: float) -> CircuitOpen:
        circuit = self.circuit
        reason = circuit.may_try if circuit.state is _HALF else f"circuit is open: {circuit.reason}"
        wait = 1.0 if circuit.state is _HALF else circuit.open_until - now
        return CircuitOpen(f'backend "{self.backend}" is not available: {reason}', wait)

    def release(self, user: str) -> None:
        """A request or transaction that was let in has ended, however."""
        if self.users is not None:
            self.users.release(user)
        if self.circuit.state is _HALF:
            self.circuit.release()

    # -- operators and probes ----------------------------------------------------------------------------------

    def force(self, signal: Signal, now: float, who: str, reason: str) -> None:
        """An operator's order: forced open, forced closed, or reset."""
        order = {
            Signal.FORCED_OPEN: self.circuit.force_open,
            Signal.FORCED_CLOSED: self.circuit.force_closed,
            Signal.RESET: self.circuit.reset,
        }[signal]
        self._tell_transition(order(now, who, reason))

    def probe_ended(self, now: float, began: float, *, passed: bool, reason: str = "") -> None:
        """A probe of our own that began then has ended; one that was slow has not passed."""
        if passed and now - began > self.limits.p95:
            passed, reason = False, f"took {1000 * (now - began):.0f} ms"
        self._tell_transition(self.circuit.probe_ended(now, began, passed=passed, reason=reason))

    # -- for those who look ------------------------------------------------------------------------------------

    def trip_duration(self, now: float) -> float:
        """Seconds that it has been open, this time or the last."""
        return self.trip_seconds if self.tripped_at is None else now - self.tripped_at

    def is_quiet(self) -> bool:
        """Whether nothing needs to be looked at until somebody asks for something."""
        self.count()
        if self.circuit.held is _OPEN:
            return True
        busy = self.ramp is not None or bool(self.load.ages) or bool(self.load.waiting)
        isolated = self.users is not None and bool(self.users.isolated)
        return self.circuit.state is _CLOSED and not busy and not isolated and self.windows.empty
