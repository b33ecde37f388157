"""When another attempt is made to deliver an alert: exponential backoff with jitter, and what the receiver asks for.

Used by: features.alerts.receiver.
"""

from __future__ import annotations

from typing import Final

#: Seconds before the second attempt, and before any later one, at most.
FIRST: Final = 1.0
LONGEST: Final = 60.0
#: Seconds that a receiver's own wish (Retry-After) is honoured at most: it may be nonsense.
LONGEST_WISH: Final = 3600.0
#: Doublings after which LONGEST is reached in any case.
_MOST_DOUBLINGS: Final = 10


def pause(attempt: int, chance: float, wish: float | None, first: float = FIRST) -> float:
    """Seconds to wait after the attempt of that number, from 1 on, has failed.

    `chance`, from 0 to 1, spreads proxies that have failed at the same moment over half of the time; `wish`: what the
    receiver has asked for, which is the least.
    """
    most: float = min(LONGEST, first * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return max(most * (1 + chance) / 2, min(wish or 0.0, LONGEST_WISH))
