"""A breaker with the settings of a test, and what it told."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from helios_trio.config import CircuitBreaker
from helios_trio.features.circuit_breaker.breaker import Breaker
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.circuit import CircuitState, Transition
from helios_trio.features.circuit_breaker.happenings import Notice
from helios_trio.features.circuit_breaker.health import Load

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
TICK = 0.01


def settings(**more: Any) -> CircuitBreaker:
    return CircuitBreaker(enabled=True, **more)


@define(eq=False)
class Rig:
    """Some breakers, a clock, and all that was told."""

    breakers: Breakers
    now: float = 0.0
    told: list[Transition | Notice] = field(factory=list)

    @classmethod
    def of(cls, *names: str, **more: Any) -> Rig:
        own = settings(**more)
        rig = cls(Breakers.of(own, dict.fromkeys(names or ("a",), own)))
        rig.breakers.listen(rig.told.append)
        return rig

    def breaker(self, name: str = "a") -> Breaker:
        found = self.breakers.find(name)
        assert found is not None
        return found

    @property
    def state(self) -> CircuitState:
        return self.breaker().circuit.state

    @property
    def transitions(self) -> list[tuple[CircuitState, CircuitState]]:
        return [(each.before, each.after) for each in self.told if isinstance(each, Transition)]

    @property
    def notices(self) -> list[str]:
        return [each.kind for each in self.told if isinstance(each, Notice)]

    def answer(
        self, seconds: float = 0.001, count: int = 1, *, name: str = "a", user: str = "u", pattern: str = "p"
    ) -> None:
        for _ in range(count):
            self.breaker(name).note_answer(self.now, seconds, user=user, fingerprint=pattern)

    def error(self, sqlstate: str, count: int = 1, *, name: str = "a", pattern: str = "p") -> None:
        """Requests that fail: the error first, then the end of the request."""
        for _ in range(count):
            self.breaker(name).note_error(self.now, sqlstate, user="u", fingerprint=pattern)
            self.answer(name=name, pattern=pattern)

    def lose(self, count: int = 1, name: str = "a") -> None:
        for _ in range(count):
            self.breaker(name).note_lost(self.now, "reset by peer")

    def tick(self, **load: Any) -> None:
        """Look at all of them; the load is the first one's."""
        self.breakers.tick(self.now, {"a": Load(**load)} if load else None)

    def pass_time(self, seconds: float, **load: Any) -> None:
        """Tick so often as the service would, with some room for rounding."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + TICK)
            self.tick(**load)

    def serve(self, seconds: float, rate: int = 100, latency: float = 0.001) -> None:
        """So many requests per second, ticks between them."""
        for _ in range(round(seconds * rate)):
            self.now += 1 / rate
            self.answer(latency)
            self.tick()

    def open(self, name: str = "a") -> None:
        """Let everything fail until it opens."""
        self.error("XX000", 100, name=name)
        assert self.breaker(name).circuit.state is OPEN

    def half_open(self) -> None:
        """Open, and wait until it may be tried."""
        self.open()
        self.pass_time(self.breaker().circuit.open_until - self.now + TICK)
        assert self.state is HALF_OPEN

    def probe(self, passed: bool = True, seconds: float = 0.001) -> None:
        """A probe that was due is made."""
        assert self.breakers.probes_due(self.now) == ["a"]
        self.breaker().circuit.probe_begun(self.now)
        began = self.now
        self.now += seconds
        self.breaker().probe_ended(self.now, began, passed=passed, reason="" if passed else "refused")

    def recover(self) -> None:
        """Through half-open to closed, by requests alone but for the first probe."""
        self.half_open()
        self.probe()
        needed = self.breaker().settings.half_open_max_concurrent
        self.now += 0.01
        self.answer(0.001, needed - 1)
        assert self.state is CLOSED
