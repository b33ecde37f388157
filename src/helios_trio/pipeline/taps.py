"""`BackendTap`: who wants to know how a backend's answers come; `Admission`: who says whether it may be asked at all.

Called synchronously by the relay, request by request, so they must be fast, and must not fail.

Used by: features (circuit_breaker and load_balancer implement them, the routed session calls them).
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from helios_trio.errors import HeliosError


class BackendTap(Protocol):
    """What happens on one backend. `now` is Trio's clock, in seconds."""

    def note_answer(self, now: float, seconds: float, *, user: str, fingerprint: str | None) -> None:
        """A request was answered to its end, `seconds` after it was sent; without an error, or with one told before."""

    def note_error(self, now: float, sqlstate: str, *, user: str, fingerprint: str | None) -> None:
        """The server has reported an error to a client."""

    def note_lost(self, now: float, reason: str) -> None:
        """A connection was lost, or could not be opened."""


@frozen
class BothTaps:
    """Two that are told the same."""

    first: BackendTap
    second: BackendTap

    def note_answer(self, now: float, seconds: float, *, user: str, fingerprint: str | None) -> None:
        """See `BackendTap`."""
        self.first.note_answer(now, seconds, user=user, fingerprint=fingerprint)
        self.second.note_answer(now, seconds, user=user, fingerprint=fingerprint)

    def note_error(self, now: float, sqlstate: str, *, user: str, fingerprint: str | None) -> None:
        """See `BackendTap`."""
        self.first.note_error(now, sqlstate, user=user, fingerprint=fingerprint)
        self.second.note_error(now, sqlstate, user=user, fingerprint=fingerprint)

    def note_lost(self, now: float, reason: str) -> None:
        """See `BackendTap`."""
        self.first.note_lost(now, reason)
        self.second.note_lost(now, reason)


class Admission(Protocol):
    """Lets requests go to backends, or not. Never asked inside a transaction."""

    def admit(self, backend: str, user: str, fingerprint: str | None, now: float) -> HeliosError | None:
        """Let a request, or the beginning of a transaction, go to a backend; or what its client is told instead.

        What was let in is to be `release`d, once.
        """

    def release(self, backend: str, user: str) -> None:
        """What was let in has ended: answered, failed, moved away or given up."""
