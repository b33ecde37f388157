"""Cancel requests: from the virtual key a client was given to the server process that works for it (rule 4).

Used by: proxy.handshake (a CancelRequest came), proxy.session (registers its key).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from helios_trio.errors import HeliosError
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.pool import Pool

_log = structlog.get_logger(__name__)

SendCancel = Callable[[BackendConnection], Awaitable[None]]


class Cancellable(Protocol):
    """A session, as far as a cancel request needs it."""

    secret: bytes

    @property
    def leased(self) -> tuple[Pool, BackendConnection] | None:
        """The connection that works for it now."""

    @property
    def served_by(self) -> str:
        """Name of the backend that its last request went to, or the next one will."""


class CancelRegistry:
    """Virtual pid -> the sessions that were told it.

    In session mode the virtual pid is the server's, and two servers may have the same: so a list, and the secret
    decides.
    """

    def __init__(self, send: SendCancel) -> None:
        self._send = send
        self._sessions: dict[int, list[Cancellable]] = {}
        self.requests = 0
        self.unknown = 0

    def add(self, pid: int, session: Cancellable) -> None:
        """The client of `session` was told `pid`."""
        self._sessions.setdefault(pid, []).append(session)

    def remove(self, pid: int, session: Cancellable) -> None:
        """The session has ended."""
        sessions = self._sessions.get(pid, [])
        if session in sessions:
            sessions.remove(session)
        if not sessions:
            self._sessions.pop(pid, None)

    async def cancel(self, pid: int, secret: bytes) -> None:
        """Pass a cancel request on. A wrong key is ignored, as PostgreSQL does."""
        self.requests += 1
        session = self.find(pid, secret)
        if session is None:
            self.unknown += 1
        else:
            await self.cancel_session(session)

    def find(self, pid: int, secret: bytes) -> Cancellable | None:
        """The session whose client was told this key."""
        found = self._sessions.get(pid, ())
        return next((each for each in found if hmac.compare_digest(each.secret, secret)), None)

    async def cancel_session(self, session: Cancellable) -> None:
        """Stop what the server does for the session now, if anything."""
        if (leased := session.leased) is not None:
            await self.cancel_lease(*leased)

    async def cancel_lease(self, pool: Pool, connection: BackendConnection) -> None:
        """Stop what the server does on a connection.

        While that is under way the connection stays with the session or is kept out of circulation.
        """
        connection.cancels += 1
        clean = False
        try:
            await self._send(connection)
            clean = True
        except (HeliosError, OSError) as error:
            _log.warning("cancel request could not be delivered", pid=connection.pid, error=str(error))
        finally:
            pool.cancel_closed(connection, clean)
