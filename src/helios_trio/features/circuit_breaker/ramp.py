"""Traffic comes back to a backend in steps, by a token bucket: neither all at once nor in bursts.

A step lets through a share of the rate that the backend served before its circuit opened. While the other backends are
saturated it takes twice as much: they must not fall because one is spared. Pure: time is an argument, in seconds.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

#: Requests per second of a backend that had hardly any.
LEAST_RATE: Final = 10.0
#: Seconds of a step's rate that may come at once.
_BURST: Final = 0.1
#: How much more is let through while the others are saturated.
_PRESSED: Final = 2.0


@define(eq=False)
class TokenBucket:
    """So many per second, and so many at once."""

    rate: float
    burst: float
    tokens: float
    at: float

    def fill(self, now: float) -> None:
        """Time has passed."""
        if now > self.at:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
            self.at = now

    def take(self, now: float) -> bool:
        """Take one if there is one."""
        self.fill(now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@define(eq=False)
class Ramp:
    """The recovery of one backend."""

    start: float
    #: until all is let through
    duration: float
    #: share that each step adds, in percent
    step: float
    #: requests per second that it served before
    rate: float
    _bucket: TokenBucket = field(init=False)
    _pressed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.rate = max(self.rate, LEAST_RATE)
        self._bucket = TokenBucket(rate=0.0, burst=1.0, tokens=1.0, at=self.start)

    @property
    def steps(self) -> int:
        """How many steps there are; the last lets all through."""
        return math.ceil(100 / self.step - 1e-9)

    def share(self, now: float) -> float:
        """What is let through now, 0 to 1."""
        if now >= self.start + self.duration:
            return 1.0
        gone = math.floor((now - self.start) / self.duration * self.steps)
        return min(1.0, (max(0, gone) + 1) * self.step / 100)

    def done(self, now: float) -> bool:
        """Whether nothing is kept away any more."""
        return self.share(now) >= 1.0

    def press(self, pressed: bool) -> None:
        """The other backends are saturated, or not."""
        self._pressed = pressed

    def may_take(self, now: float) -> bool:
        """Whether one more request may go there; takes nothing."""
        self._turn(now)
        return self._bucket.tokens >= 1.0

    def take(self, now: float) -> None:
        """A request goes there; several that were told they may at the same moment leave a debt."""
        self._turn(now)
        self._bucket.tokens -= 1.0

    def _turn(self, now: float) -> None:
        rate = self.rate * self.share(now) * (_PRESSED if self._pressed else 1.0)
        bucket = self._bucket
        bucket.fill(now)
        bucket.rate, bucket.burst = rate, max(1.0, rate * _BURST)
