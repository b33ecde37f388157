"""A circuit for each pattern of statements: one that is slow or fails again and again is refused, all others flow.

Kept per backend and fingerprint, the last `MOST` of them. A pattern opens when most of its runs of the last minute were
slow or failed by the server's fault; after `open_duration`, twice as long each time, one run tries it.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

from helios_trio.features.circuit_breaker.recent import Recent
from helios_trio.features.circuit_breaker.refusals import PatternRefused

#: Patterns that are known at the same time, of one backend.
MOST: Final = 1000
#: Runs within `WINDOW` seconds that a pattern must have had, and the share of them that must have been bad.
LEAST_RUNS: Final = 5
BAD_SHARE: Final = 0.5
WINDOW: Final = 60.0


@define(eq=False)
class Pattern:
    """What is known of one."""

    runs: int = 0
    bad: int = 0
    began: float = -math.inf
    #: those of the window before
    earlier_runs: int = 0
    earlier_bad: int = 0
    open_until: float = -math.inf
    in_a_row: int = 0
    is_open: bool = False
    trying: bool = False

    def count(self, now: float, bad: bool) -> None:
        """A run has ended."""
        if now - self.began >= WINDOW:
            fresh = now - self.began < 2 * WINDOW
            self.earlier_runs, self.earlier_bad = (self.runs, self.bad) if fresh else (0, 0)
            self.runs = self.bad = 0
            self.began = now
        self.runs += 1
        self.bad += bad

    @property
    def is_bad(self) -> bool:
        """Whether most of its runs were."""
        runs, bad = self.runs + self.earlier_runs, self.bad + self.earlier_bad
        return runs >= LEAST_RUNS and bad > BAD_SHARE * runs

    def forget(self) -> None:
        """Begin anew."""
        self.runs = self.bad = self.earlier_runs = self.earlier_bad = 0


@define(eq=False)
class PatternBreakers:
    """The patterns of one backend. Times in seconds."""

    slow_after: float
    open_duration: float
    max_open_duration: float
    patterns: Recent[Pattern] = field(factory=lambda: Recent(MOST, Pattern))
    #: how many are open
    opened: int = 0

    def note(self, now: float, fingerprint: str, seconds: float, failed: bool) -> str:
        """A run has ended; says why the pattern has opened or closed by that, empty if it has not."""
        pattern = self.patterns.get(fingerprint)
        bad = failed or seconds > self.slow_after
        if pattern.is_open:
            return self._tried(now, pattern, bad) if pattern.trying else ""
        pattern.count(now, bad)
        if not (bad and pattern.is_bad):
            return ""
        runs, count = pattern.runs + pattern.earlier_runs, pattern.bad + pattern.earlier_bad
        self._open(now, pattern)
        return f"opened: {count} of {runs} runs failed or took more than {1000 * self.slow_after:.0f} ms"

    def _tried(self, now: float, pattern: Pattern, bad: bool) -> str:
        pattern.trying = False
        if bad:
            self._open(now, pattern)
            return "opened: slow or failing again"
        pattern.is_open, pattern.in_a_row = False, 0
        pattern.forget()
        return "closed: a run went well"

    def _open(self, now: float, pattern: Pattern) -> None:
        pattern.is_open, pattern.trying = True, False
        pattern.in_a_row += 1
        doubled = self.open_duration * 2.0 ** min(pattern.in_a_row - 1, 32)
        pattern.open_until = now + min(self.max_open_duration, doubled)
        pattern.forget()

    def admit(self, now: float, fingerprint: str) -> PatternRefused | None:
        """Whether a statement of this pattern may run; the one that tries an open pattern may."""
        pattern = self.patterns.find(fingerprint)
        if pattern is None or not pattern.is_open:
            return None
        if now >= pattern.open_until:
            # the next one may try too if this one has not ended by then: it may have been given up
            pattern.trying, pattern.open_until = True, now + self.open_duration
            return None
        message = (
            f"statements of the pattern {fingerprint} are refused: they were slow, or failed, again and again"
        )
        return PatternRefused(message, pattern.open_until - now)

    def open_patterns(self) -> list[str]:
        """Fingerprints that are refused now."""
        return [name for name, pattern in self.patterns if pattern.is_open]
