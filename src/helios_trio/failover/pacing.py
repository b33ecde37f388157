"""How fast failovers may follow each other, and how fast sessions go on after one. Pure: time is an argument.

Used by: failover.controller.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define

#: Failovers in a row after which the next ones are put off longer and longer.
TOLERATED: Final = 3
#: A primary that has served for so many times `min_interval` has had a healthy period.
HEALTHY_INTERVALS: Final = 4.0
#: The longest that a failover is put off, in seconds.
LONGEST: Final = 60.0


@define
class Flapping:
    """Sees to it that failovers which help nothing do not follow each other without a pause. Times in seconds."""

    min_interval: float = 1.0
    #: when the last one ended
    ended: float = -math.inf
    #: how many there were without a healthy period between them
    in_a_row: int = 0

    def note(self, suspected: float, ended: float) -> None:
        """A failover has ended; `suspected`: when its primary began to look dead."""
        healthy = suspected - self.ended >= HEALTHY_INTERVALS * self.min_interval
        self.in_a_row = 1 if healthy else self.in_a_row + 1
        self.ended = ended

    def not_before(self, suspected: float) -> float:
        """When the next one may begin, whose primary began to look dead then."""
        if suspected - self.ended >= HEALTHY_INTERVALS * self.min_interval:
            return suspected
        if self.in_a_row < TOLERATED:
            return self.ended + self.min_interval
        doubled = max(self.min_interval, 1.0) * 2.0 ** min(self.in_a_row - TOLERATED + 1, 16)
        return self.ended + min(LONGEST, doubled)


@define
class Pacer:
    """Lets sessions go so many at a time, in the order in which they ask. Times in seconds."""

    concurrency: int = 32
    #: from one group to the next
    interval: float = 0.02
    _turn: float = -math.inf
    _taken: int = 0

    def slot(self, now: float) -> float:
        """When the next session may go: now, or with a later group."""
        if now >= self._turn + self.interval:
            self._turn, self._taken = now, 0
        elif self._taken >= self.concurrency:
            self._turn, self._taken = self._turn + self.interval, 0
        self._taken += 1
        return max(now, self._turn)
