"""Counts the answers of a backend at next to no cost, and does the rest of the counting when somebody looks.

A base of `breaker.Breaker` rather than a part of it: the hot path must not look up one name more than it needs.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from attrs import define, field

from helios_trio.features.circuit_breaker.histogram import OFFSET, SCALE, Counts
from helios_trio.features.circuit_breaker.predictive import LEAST, SLICE
from helios_trio.features.circuit_breaker.windows import Tally, Windows


@define(kw_only=True)
class Slice:
    """Answers since some moment: when that was, and how many answers, what sum and how many failures there were."""

    began: float = -math.inf
    answers: int = 0
    sum: int = 0
    failures: int = 0


@define(eq=False, kw_only=True)
class Counting:
    """What became of the requests to one backend. Times in seconds, on Trio's clock."""

    #: called with the first request after a rest
    wake: Callable[[], None] = lambda: None
    windows: Windows
    #: since the proxy started: failures by the server's fault, and when the last one was
    failures: int = field(default=0, init=False)
    last_failure: float | None = field(default=None, init=False)
    #: answers in steps that have ended, and the sum of their buckets
    _answers: int = field(default=0, init=False)
    _sum: int = field(default=0, init=False)
    _slice: Slice = field(factory=Slice, init=False)
    #: the tick that last saw a new answer, and how many there were
    _last_answer: tuple[float, int] = field(default=(-math.inf, 0), init=False)
    #: of the windows, nearer at hand: the step under way and its end
    _times: Counts = field(init=False)
    _end: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._follow()

    def _turn(self, now: float) -> Tally | None:
        """Begin another step if it is time for one; the one that has ended is returned."""
        if now < self._end:
            return None
        if self._end == -math.inf:
            self.wake()
        self._fold()
        ended = self.windows.turn(now)
        self._follow()
        return ended

    def _follow(self) -> None:
        """The windows have another step."""
        self._times, self._end = self.windows.current.times, self.windows.end

    def _fold(self) -> None:
        """The step under way is about to end."""
        self.count()
        self._answers += self.windows.current.answers
        self._sum += self._sum_of(self._times)

    @staticmethod
    def _sum_of(times: Counts) -> int:
        return sum([bucket * count for bucket, count in times.items()])

    def count(self) -> int:
        """Make the windows' figures whole; returns how many answers there ever were."""
        current = self.windows.current
        current.answers = sum(current.times.values())
        return self._answers + current.answers

    def _measure_in(self, windows: Windows) -> None:
        """Use other windows from now on."""
        self._fold()
        self.windows = windows
        self._follow()

    def _forget(self) -> None:
        """What was counted says nothing about what comes."""
        self._fold()
        self.windows.clear()
        self._follow()

    def rest(self) -> None:
        """Nobody ticks from now on; the next request wakes."""
        self._fold()
        self.windows.rest()
        self._follow()

    def whole(self, size: float) -> Tally:
        """All of a window: the one of the configuration, 1 s or 60 s."""
        self.count()
        return self.windows.whole(size)

    # -- without an answer, and slice by slice -----------------------------------------------------------------

    def _silence(self, now: float) -> float:
        """Seconds since a tick has last seen a new answer."""
        answers = self.count()
        if answers != self._last_answer[1]:
            self._last_answer = now, answers
        return now - self._last_answer[0]

    def _begin_slice(self, now: float) -> None:
        total = self._sum + self._sum_of(self._times)
        self._slice = Slice(began=now, answers=self.count(), sum=total, failures=self.failures)

    def _end_slice(self, now: float) -> tuple[float, int, int] | None:
        """Mean logarithm of the times, requests and failures of a slice that has ended now; another one begins."""
        before = self._slice
        requests = self.count() - before.answers
        if now - before.began < SLICE or requests < LEAST:
            return None
        self._begin_slice(now)
        if before.began == -math.inf:
            return None
        mean = ((self._slice.sum - before.sum) / requests + 0.5 - OFFSET) / SCALE
        return mean, requests, self.failures - before.failures
