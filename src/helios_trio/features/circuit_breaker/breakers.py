"""`Breakers`: the circuit breakers of all backends; what the rest of the proxy knows of this feature.

It gives a tap for each backend, is a filter of routing, admits requests, and tells listeners what happens. Pure:
whoever calls brings the time.

Used by: wiring (makes it), features.circuit_breaker.service (ticks), admin.circuit_breaker and .relation (show it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from attrs import define, field

from helios_trio.config.circuit_breaker import CircuitBreaker
from helios_trio.errors import HeliosError
from helios_trio.features.circuit_breaker.breaker import Breaker
from helios_trio.features.circuit_breaker.cascade import Shedder
from helios_trio.features.circuit_breaker.circuit import CircuitState, Signal, Transition
from helios_trio.features.circuit_breaker.happenings import Listener, Notice
from helios_trio.features.circuit_breaker.health import Load
from helios_trio.features.circuit_breaker.refusals import LoadShed
from helios_trio.pipeline.routing import Node, Question
from helios_trio.pipeline.taps import BackendTap

#: Seconds after which somebody who was refused because of a cascade is told to try again.
_RETRY: float = 5.0


@define(eq=False)
class Breakers:
    """One `Breaker` for each backend that has one. Times in seconds, on Trio's clock."""

    settings: CircuitBreaker
    #: see `pipeline.routing.Filter`
    name: str = "circuit"
    lasting: bool = False
    #: called with the first request after a rest
    wake: Callable[[], None] = lambda: None
    shedder: Shedder = field(factory=Shedder)
    _breakers: dict[str, Breaker] = field(factory=dict, init=False)
    _listeners: list[Listener] = field(factory=list, init=False)
    _now: float = field(default=-math.inf, init=False)

    @classmethod
    def of(cls, settings: CircuitBreaker, backends: Mapping[str, CircuitBreaker]) -> Breakers:
        """`backends`: name -> what holds for it (`CircuitBreaker.for_backend`); those not enabled get none."""
        made = cls(settings)
        for name, own in backends.items():
            if own.enabled:
                made._breakers[name] = Breaker.of(name, own, made._tell, lambda: made.wake())
        return made

    def reconfigure(self, settings: CircuitBreaker, backends: Mapping[str, CircuitBreaker]) -> None:
        """Take over other thresholds; which backends have a breaker stays as it is."""
        self.settings = settings
        for name, breaker in self._breakers.items():
            own = backends.get(name)
            if own is not None and own != breaker.settings:
                breaker.reconfigure(own)

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._breakers.values())

    def __len__(self) -> int:
        return len(self._breakers)

    def find(self, backend: str) -> Breaker | None:
        """The breaker of a backend; None if it has none."""
        return self._breakers.get(backend)

    def tap(self, backend: str) -> BackendTap | None:
        """Who is to be told of a backend's answers; None: nobody."""
        return self._breakers.get(backend)

    # -- routing -----------------------------------------------------------------------------------------------

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`: while all is well there is nobody to be refused."""
        for each in self._breakers.values():
            if each.ramp is not None or each.circuit.state is not CircuitState.CLOSED:
                return True
        return False

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`. What must be written is not kept back from a backend that recovers."""
        breaker = self._breakers.get(node.backend.name)
        if breaker is None:
            return ""
        now = max(self._now, question.now)
        return breaker.refusal(now, must_write=bool(question.must_write))

    def admit(self, backend: str, user: str, fingerprint: str | None, now: float) -> HeliosError | None:
        """Let a request, or the beginning of a transaction, go to a backend, or say why it must not.

        What was let in is to be `release`d, once. Never called inside of a transaction.
        """
        self._now = now
        if self.shedder.active and self.shedder.refuses(self.settings.priority_of(user)):
            return LoadShed("the servers that are left cannot serve everybody; load is being shed", _RETRY)
        breaker = self._breakers.get(backend)
        return None if breaker is None else breaker.admit(user, fingerprint, now)

    def release(self, backend: str, user: str) -> None:
        """What was let in has ended: answered, failed, moved away or given up."""
        breaker = self._breakers.get(backend)
        if breaker is not None:
            breaker.release(user)

    # -- time --------------------------------------------------------------------------------------------------

    def tick(self, now: float, loads: Mapping[str, Load] | None = None) -> None:
        """Time has passed. `loads`: what is to be seen of the backends now; None: nobody has looked."""
        self._now = now
        loads = loads or {}
        for name, breaker in self._breakers.items():
            breaker.tick(now, loads.get(name))
        self._look_for_cascade(now)

    def _look_for_cascade(self, now: float) -> None:
        left = [each for each in self if each.circuit.state is CircuitState.CLOSED]
        open_names = [each.backend for each in self if each.circuit.state is not CircuitState.CLOSED]
        saturated = any(each.load.saturation >= each.limits.saturation for each in left)
        for breaker in left:
            if breaker.ramp is not None:
                others = (each for each in left if each is not breaker)
                breaker.ramp.press(any(each.pressure.saturated for each in others))
        changed = self.shedder.note(
            now, open_circuits=len(open_names), backends=len(self), saturated=saturated
        )
        if changed:
            self._tell_cascade(open_names)

    def _tell_cascade(self, open_names: list[str]) -> None:
        figures = {"open": float(len(open_names)), "backends": float(len(self))}
        if self.shedder.active:
            reason = f"open: {', '.join(open_names)}; load is shed, the lowest priority first"
            self._tell(Notice(kind="circuit cascade", subject="all", reason=reason, figures=figures))
        else:
            reason = f"{self.shedder.shed} requests were refused since the start"
            self._tell(Notice(kind="circuit cascade is over", subject="all", reason=reason, figures=figures))

    def probes_due(self, now: float) -> list[str]:
        """Backends that are to be probed now."""
        return [name for name, each in self._breakers.items() if each.circuit.probe_due(now)]

    @property
    def quiet(self) -> bool:
        """Whether nothing happens that must be looked at."""
        return not self.shedder.active and all(each.is_quiet() for each in self)

    def rest(self) -> None:
        """Nobody ticks from now on, until `wake` is called."""
        for breaker in self:
            breaker.rest()

    # -- operators ---------------------------------------------------------------------------------------------

    def force(self, backend: str, signal: Signal, now: float, *, who: str, reason: str) -> None:
        """Hold a circuit open or closed, or reset it. Raises KeyError: there is none of that name."""
        self._breakers[backend].force(signal, now, who, reason)
        self.wake()

    # -- listeners ---------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call it with whatever happens from now on, until what this returns is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, happening: Transition | Notice) -> None:
        for listener in tuple(self._listeners):
            listener(happening)
