"""What a client is told when a circuit breaker keeps its request away from a server. The session goes on.

Used by: features.circuit_breaker.
"""

from __future__ import annotations

import math

from helios_trio.errors import HeliosError


def _hint(seconds: float) -> str:
    if math.isinf(seconds):
        return "Retry later."
    return f"Retry in {max(1, math.ceil(seconds))} s."


class RefusedForNow(HeliosError):
    """Base: a refusal that ends by itself; `retry_after` in seconds, infinity where nobody knows."""

    sqlstate = "57P03"
    code = "refused_for_now"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, hint=_hint(retry_after))
        self.retry_after = retry_after


class CircuitOpen(RefusedForNow):
    """The backend gets no requests now."""

    code = "circuit_open"


class LoadShed(RefusedForNow):
    """Several backends get none, and the others cannot serve everybody."""

    sqlstate = "53300"
    code = "load_shed"


class UserSlowedDown(RefusedForNow):
    """A user asks for more than its share."""

    sqlstate = "53400"
    code = "user_slowed_down"


class PatternRefused(RefusedForNow):
    """A statement of this pattern was slow, or failed, again and again."""

    sqlstate = "53400"
    code = "pattern_refused"
