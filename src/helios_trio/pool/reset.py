"""Cleaning a connection after a whole session: roll back what was open, run the reset query.

Used by: pool.pool.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import TYPE_CHECKING

from helios_trio.wire.codes import Frontend, Status
from helios_trio.wire.replies import QUERY, SWALLOW

if TYPE_CHECKING:
    from helios_trio.pool.connection import BackendConnection


class ResetHolder:
    """Holds the lease of a connection while it is reset; swallows all that is said meanwhile."""

    def __init__(
        self,
        connection: BackendConnection,
        query: str,
        done: Callable[[BackendConnection, bool], None],
        deadline: float,
    ) -> None:
        self.deadline = deadline
        self._connection = connection
        self._query = query
        self._done = done
        self._failed = False

    def start(self) -> None:
        """Send what is needed. DISCARD ALL cannot run in a transaction nor together with other statements."""
        replies = self._connection.side.replies
        queries = [self._query] if self._query else []
        if replies.status != Status.IDLE:
            queries.insert(0, "ROLLBACK")
        if not queries:
            self._done(self._connection, True)
            return
        frames = b""
        for query in queries:
            body = query.encode() + b"\0"
            frames += pack("!BI", Frontend.QUERY, len(body) + 4) + body
            replies.push(QUERY | SWALLOW)
        self._connection.send(frames)

    # -- LeaseHolder -------------------------------------------------------------------------------------------

    def on_reply_bytes(self, data: bytes) -> None:
        """Notices and the like: nobody is there to read them."""

    def on_server_ready(self) -> None:
        """All is answered."""
        self._done(self._connection, not self._failed)

    def on_parameter(self, name: str, frame: bytes, swallowed: bool) -> bytes:
        """Noted by the connection itself."""
        return b""

    def on_notification(self, frame: bytes) -> bytes:
        """For the session that has gone."""
        return b""

    def on_server_error(self, frame: bytes, head: int) -> None:
        """A connection that cannot be reset cannot be reused."""
        self._failed = True

    def on_server_notice(self, frame: bytes) -> None:
        """Of no interest: nothing is forwarded."""

    def on_server_lost(self, error: Exception | None) -> None:
        """The pool knows."""

    def on_server_congested(self) -> None:
        """Nobody is read meanwhile."""

    def on_server_drained(self) -> None:
        """Nothing waits to be sent."""

    def on_crash(self, error: Exception) -> None:
        """The connection is closed already."""
