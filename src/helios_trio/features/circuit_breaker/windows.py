"""Sliding windows over what became of requests, made of steps: a step enters them when it ends, and falls out later.

Each window keeps its sum, so that nothing is walked over when somebody asks. A window of 10 s in steps of 1 s holds the
step that is under way and the ten before it: at least what it promises, at most one step more.

Used by: features.circuit_breaker.breaker, .health.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Final

from attrs import define, field

from helios_trio.features.circuit_breaker.histogram import Counts, above, add, quantiles, subtract

#: Seconds of the windows that there are besides the one of the configuration.
SHORT: Final = 1.0
LONG: Final = 60.0


@define(eq=False)
class Tally:
    """What became of some requests."""

    #: times of those that were answered
    times: Counts = field(factory=lambda: defaultdict(int))
    answers: int = 0
    #: those the server was at fault for: errors it told, and connections that were lost
    errors: int = 0
    lost: int = 0

    @property
    def requests(self) -> int:
        """Those that ended; a lost connection counts as one."""
        return self.answers + self.lost

    @property
    def failures(self) -> int:
        """Those that failed by the server's fault; an error before a loss is told twice, and counts so."""
        return self.errors + self.lost

    @property
    def error_rate(self) -> float:
        """Share of those that failed, 0 to 1."""
        requests = max(self.requests, self.failures)
        return self.failures / requests if requests else 0.0

    def add(self, other: Tally) -> None:
        """Count those too."""
        add(self.times, other.times)
        self.answers += other.answers
        self.errors += other.errors
        self.lost += other.lost

    def subtract(self, other: Tally) -> None:
        """Count those no more."""
        subtract(self.times, other.times)
        self.answers -= other.answers
        self.errors -= other.errors
        self.lost -= other.lost


@define(eq=False)
class _Span:
    """One window: how many ended steps it holds, and their sum."""

    steps: int
    sum: Tally = field(factory=Tally)


@define(eq=False)
class Windows:
    """All windows of one backend. Times in seconds."""

    step: float
    #: of the configuration: what is judged
    size: float
    #: the step under way, and when it ends; whoever counts writes into it after `turn`
    current: Tally = field(factory=Tally, init=False)
    end: float = field(default=-math.inf, init=False)
    _ended: deque[Tally] = field(factory=deque, init=False)
    _spans: dict[float, _Span] = field(init=False)

    def __attrs_post_init__(self) -> None:
        sizes = {SHORT, self.size, LONG}
        self._spans = {size: _Span(max(1, math.ceil(size / self.step - 1e-9))) for size in sizes}

    def turn(self, now: float) -> Tally | None:
        """End the step under way if its time is over; it is returned then."""
        if now < self.end:
            return None
        if self.end == -math.inf:
            self.end = now + self.step
            return None
        ended = self.current
        self.current = Tally()
        missed = math.floor((now - self.end) / self.step)
        self.end += self.step * (missed + 1)
        self._enter(ended)
        for _ in range(min(missed, self._longest)):
            self._enter(Tally())
        return ended

    @property
    def _longest(self) -> int:
        return max(span.steps for span in self._spans.values())

    def _enter(self, tally: Tally) -> None:
        self._ended.append(tally)
        for span in self._spans.values():
            span.sum.add(tally)
            if len(self._ended) > span.steps:
                span.sum.subtract(self._ended[-span.steps - 1])
        if len(self._ended) > self._longest:
            self._ended.popleft()

    def clear(self) -> None:
        """Forget all of it."""
        self.current = Tally()
        self._ended.clear()
        for span in self._spans.values():
            span.sum = Tally()

    def rest(self) -> None:
        """Nothing is going on: the next step begins with the next request."""
        self.clear()
        self.end = -math.inf

    @property
    def empty(self) -> bool:
        """Whether nothing ended within the longest window."""
        return not any(self._count(LONG))

    def _count(self, size: float) -> tuple[int, int]:
        sum, current = self._spans[size].sum, self.current
        return sum.requests + current.requests, sum.failures + current.failures

    def requests(self, size: float) -> int:
        """How many requests ended within a window."""
        return self._count(size)[0]

    def failures(self, size: float) -> int:
        """How many of them failed by the server's fault."""
        return self._count(size)[1]

    def slower(self, size: float, bucket: int) -> int:
        """How many of them took longer than the times in that bucket."""
        return above(self._spans[size].sum.times, bucket) + above(self.current.times, bucket)

    def whole(self, size: float) -> Tally:
        """All of a window, for somebody who looks at it."""
        found = Tally()
        found.add(self._spans[size].sum)
        found.add(self.current)
        return found

    def quantiles(self, size: float, *shares: float) -> tuple[float, ...]:
        """Times in seconds that these shares of requests do not exceed."""
        return quantiles(self.whole(size).times, *shares)

    def rate(self, size: float, now: float) -> float:
        """Requests per second in a window."""
        span = self._spans[size]
        steps = min(span.steps, len(self._ended))
        covered = steps * self.step + max(0.0, self.step - max(0.0, self.end - now))
        return self.requests(size) / covered if covered > 0 else 0.0
