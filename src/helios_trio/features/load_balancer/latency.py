"""How fast each server has answered lately: a mean in which a query counts half as much after each half life.

Used by: pool (tells what it saw, as `pipeline.taps.BackendTap`), routing core (`Latencies.of`, for `Node.latency`).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

#: Weight of all that was measured so far below which it is forgotten: it would count for nothing, and underflow.
_FORGOTTEN = 1e-9


@define
class Latency:
    """The smoothed time of a query on one server (`pipeline.taps.BackendTap`); times in seconds."""

    half_life: float
    #: sums of times and of their number, as of `_at`
    _seconds: float = field(default=0.0, init=False)
    _weight: float = field(default=0.0, init=False)
    _at: float = field(default=0.0, init=False)

    @property
    def value(self) -> float | None:
        """None while nothing was measured."""
        return self._seconds / self._weight if self._weight else None

    def note_answer(self, now: float, seconds: float, *, user: str, fingerprint: str | None) -> None:
        """See `BackendTap`."""
        passed = now - self._at
        if passed > 0:
            left = 0.5 ** (passed / self.half_life)
            if self._weight * left < _FORGOTTEN:
                left = 0.0
            self._seconds *= left
            self._weight *= left
            self._at = now
        self._seconds += seconds
        self._weight += 1.0

    def note_error(self, now: float, sqlstate: str, *, user: str, fingerprint: str | None) -> None:
        """An error says nothing about speed."""

    def note_lost(self, now: float, reason: str) -> None:
        """What it was like before counts no more: it may come back as another machine."""
        self._seconds = self._weight = 0.0


@define
class Latencies:
    """Those of all servers, by name."""

    half_life: float
    _by_name: dict[str, Latency] = field(factory=dict, init=False)

    def tap(self, backend: str) -> Latency:
        """What is to be told how that server does; always the same one."""
        found = self._by_name.get(backend)
        if found is None:
            found = self._by_name[backend] = Latency(self.half_life)
        return found

    def of(self, backend: str) -> float | None:
        """Seconds; None while nothing was measured."""
        found = self._by_name.get(backend)
        return None if found is None else found.value

    def all(self) -> Mapping[str, float]:
        """Seconds by name, of those that were measured."""
        return {name: each.value for name, each in self._by_name.items() if each.value is not None}

    def reconfigure(self, half_life: float) -> None:
        """Another half life, from now on."""
        self.half_life = half_life
        for each in self._by_name.values():
            each.half_life = half_life
