"""`BackendTap`: who wants to know how a backend's answers come, request by request.

Called synchronously by the relay, so it must be fast, and must not fail.

Used by: pool (has one for each backend, or none), proxy.session (calls), features (implement).
"""

from __future__ import annotations

from typing import Protocol


class BackendTap(Protocol):
    """What happens on one backend. `now` is Trio's clock, in seconds."""

    def note_answer(self, now: float, seconds: float, *, user: str, fingerprint: str | None) -> None:
        """A request was answered to its end, `seconds` after it was sent; without an error, or with one told before."""

    def note_error(self, now: float, sqlstate: str, *, user: str, fingerprint: str | None) -> None:
        """The server has reported an error to a client."""

    def note_lost(self, now: float, reason: str) -> None:
        """A connection was lost, or could not be opened."""
