"""`Pace`: how many requests are worked on in a second, so that the admin listener takes little from clients.

Both share one event loop, and an answer costs milliseconds of it. Pure: time is an argument.

Used by: admin.api (has every request wait for its turn).
"""

from __future__ import annotations

from typing import Final

from attrs import define

#: Requests at once for which nobody waits: a page of the console with all its files, or a script's first moments.
BURST: Final = 100
#: Seconds that a request waits at most; one that would wait longer is refused then.
PATIENCE: Final = 2.0


@define
class Pace:
    """A leaky bucket. Times in seconds."""

    #: requests a second
    rate: float
    #: when the bucket is empty, if nothing comes any more
    _empty_at: float = 0.0

    def turn(self, now: float) -> float | None:
        """Seconds until a request that has come now may be worked on; None: it is refused."""
        empty_at = max(self._empty_at, now)
        wait = empty_at - now - BURST / self.rate
        if wait > PATIENCE:
            return None
        self._empty_at = empty_at + 1 / self.rate
        return max(0.0, wait)
