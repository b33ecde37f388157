"""`Queue`: how many requests are worked on in a second, so that the admin listener takes little from clients.

Both share one event loop, and an answer costs milliseconds of it, also one that only says no. So refusals have a pace,
too: whoever asks again and again is answered the later, the more there are, and in the end not at all. Pure: time is an
argument.

Used by: admin.asgi (has every request wait for its turn).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from attrs import define, field, frozen

#: Requests at once for which nobody waits: a script's first moments.
BURST: Final = 100
#: The same of files of the web console: ten operators who open it when something has happened.
BURST_OF_FILES: Final = 300
#: Seconds that a request waits at most for its turn; one that would wait longer is refused.
PATIENCE: Final = 5.0
#: Seconds until it is told so, at least and at most.
SOON, LATE = 2.0, 30.0


@define
class Pace:
    """A leaky bucket. Times in seconds."""

    #: in a second
    rate: float
    #: for which nobody waits
    burst: int = BURST
    #: how long somebody may have to wait
    patience: float = PATIENCE
    #: when the bucket is empty, if nothing comes any more
    _empty_at: float = 0.0

    def turn(self, now: float) -> float | None:
        """Seconds that whoever has come now waits; None: it would be too long."""
        empty_at = max(self._empty_at, now)
        wait = empty_at - now - self.burst / self.rate
        if wait > self.patience:
            return None
        self._empty_at = empty_at + 1 / self.rate
        return max(0.0, wait)


class Fate(Enum):
    """What becomes of a request."""

    SERVED = auto()
    #: it is told that there are too many
    REFUSED = auto()
    #: its connection is ended without a word: so many are refused that those who wait for it would fill the listener
    DROPPED = auto()


@frozen
class Turn:
    """When and how the turn of a request comes."""

    #: seconds until then
    wait: float
    fate: Fate


@define
class Queue:
    """Requests of one kind."""

    #: for which nobody waits
    burst: int = BURST
    _turns: Pace = field(init=False)
    _refusals: Pace = field(factory=lambda: Pace(1.0, burst=0, patience=LATE - SOON))

    def __attrs_post_init__(self) -> None:
        self._turns = Pace(1.0, self.burst)

    def turn(self, now: float, rate: float) -> Turn:
        """For a request that has come now, when `rate` of them are worked on in a second, and as many refused."""
        self._turns.rate = self._refusals.rate = rate
        wait = self._turns.turn(now)
        if wait is not None:
            return Turn(wait, Fate.SERVED)
        wait = self._refusals.turn(now)
        return Turn(SOON, Fate.DROPPED) if wait is None else Turn(SOON + wait, Fate.REFUSED)
