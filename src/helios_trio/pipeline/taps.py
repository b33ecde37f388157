"""`BackendTap`: who wants to know how a backend's answers come; `Admission`: who says whether it may be asked at all;
`RequestTap`: who follows the requests of one client.

Called synchronously by the relay, request by request, so they must be fast, and must not fail.

Used by: features (circuit_breaker, load_balancer and tracing implement them), proxy.session and the routed session
(call them).
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from helios_trio.errors import HeliosError
from helios_trio.pipeline.backend import Backend


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


class RequestTap(Protocol):
    """Follows the requests of one client, whose bytes it sees elsewhere (`net.pipe.Pipe.watch`).

    Here it is told what the bytes do not show.
    """

    def note_early(self, data: bytes) -> None:
        """Bytes of the client that came before anybody could see them."""

    def note_waiting(self) -> None:
        """The next request waits for a server connection."""

    def note_granted(self) -> None:
        """It has one."""

    def note_answered(self, backend: Backend) -> None:
        """A server has answered all that it was sent."""

    def note_error(self, frame: bytes) -> None:
        """A server has reported an error, which the client need not be told."""

    def note_end(self, reason: str, sqlstate: str) -> None:
        """The session is over, and why; `sqlstate` of what its client was told at last, empty if nothing."""
