"""A connection as both roles see it: walks the tables of `wire.state_tables`, message by message.

For the slow paths, where each message is judged before anything is done with it, and for tests, which hold
real servers and our own proxy against it; the relay's hot path has `wire.replies`. The rules are numbered in
`wire.state_tables`. Wording of errors: PostgreSQL's postgres.c, auth.c, copyfromparse.c and walsender.c.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from attrs import define, field

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.frontend_messages import STATEMENT
from helios_trio.wire.startup import CancelRequest, StartupMessage, StartupPacket
from helios_trio.wire.state_tables import (
    AFTER_ERROR,
    ANY_TIME,
    CLIENT,
    COPY_MESSAGES,
    REQUESTS,
    SERVER,
    UNAUTHENTICATED,
    Authentication,
    ClientState,
    Event,
    Request,
    ServerState,
)

__all__ = ["ClientState", "Conversation", "ServerState"]

_SUBTYPE: Final = Struct("!i")


@define
class Conversation:
    """Both roles' states in one connection.

    Each message is given in the order in which one observer sees it, which may be far ahead of the server's
    answers. What the tables do not allow raises `ProtocolViolation`, in PostgreSQL's words where it has some.
    """

    client: ClientState = ClientState.STARTUP
    server: ServerState = ServerState.STARTUP
    _request: Request | None = None
    _waiting: deque[Request] = field(factory=deque)
    _syncs_in_copy: int = 0
    _uncertain_syncs: int = 0

    def client_opens(self, packet: StartupPacket) -> None:
        """A packet without type byte; SSLRequest and GSSENCRequest leave all as it was."""
        if self.client is not ClientState.STARTUP:
            raise ProtocolViolation("a start-up packet can only come first")
        if isinstance(packet, StartupMessage):
            self.client, self.server = ClientState.AUTHENTICATION, ServerState.AUTHENTICATION
            self._request = Request.STARTUP
        elif isinstance(packet, CancelRequest):
            self._terminate()

    def client_sends(self, code: int, body: bytes = b"") -> None:
        """A message of the client; of the body only a Describe's kind matters."""
        before = self.client
        after = CLIENT[before].get(code)
        if after is None:
            raise self._misplaced(code)
        self.client = after
        if after is ClientState.TERMINATED:
            self._terminate()
        elif before is ClientState.READY:
            self._enqueue(code, body)
        elif before is ClientState.COPY_IN:
            self._note_copy(REQUESTS.get(code))

    def server_sends(self, code: int, body: bytes = b"") -> None:
        """A message of the server; of the body only the sub-type of an Authentication message matters."""
        if self.server is ServerState.TERMINATED:
            raise ProtocolViolation("the server speaks after the end of the session")
        if code == Backend.ERROR_RESPONSE:
            self._fail()
        elif not self._is_any_time(code):
            self._advance(_event(code, body))

    def _enqueue(self, code: int, body: bytes) -> None:
        request = _request(code, body)
        if request is None or (self.server is ServerState.SKIPPING and request is not Request.SYNC):
            return
        repeated = request is Request.COPY_DATA and self._waiting and self._waiting[-1] is request
        if not repeated:
            self._waiting.append(request)
        if self.server in (ServerState.IDLE, ServerState.SKIPPING):
            self._take_next()

    def _take_next(self) -> None:
        """Go on with the next request that has an answer (rule 6)."""
        while self._waiting:
            self._request = self._waiting.popleft()
            if self._request not in COPY_MESSAGES:
                self.server = ServerState.RESULT
                return
        self._request, self.server = None, ServerState.IDLE

    def _advance(self, event: Event) -> None:
        after = None if self._request is None else SERVER[self._request].get(self.server, {}).get(event)
        if after is None:
            self._accept_uncertain(event)
            return
        self._follow_authentication(after)
        self.server = after
        if after is ServerState.COPY_IN:
            self._begin_copy_in()
        elif after is ServerState.COPY_BOTH:
            self._begin_copy_both()
        elif after is ServerState.DONE:
            self._syncs_in_copy = 0
            self._take_next()

    def _follow_authentication(self, after: ServerState) -> None:
        if after is ServerState.STARTING:
            self.client = ClientState.READY

    def _begin_copy_in(self) -> None:
        """Take what was sent ahead as the server will: as part of the COPY, up to its end."""
        self.client = ClientState.COPY_IN
        while self._waiting and self.client is ClientState.COPY_IN:
            request = self._waiting.popleft()
            if request not in COPY_MESSAGES and request is not Request.SYNC:
                raise ProtocolViolation(f"unexpected message {request.name} during COPY from stdin")
            self._note_copy(request)

    def _note_copy(self, request: Request | None) -> None:
        if request is Request.SYNC:
            self._syncs_in_copy += 1
        elif request is Request.COPY_END:
            self.client, self.server = ClientState.READY, ServerState.COPY_ENDED

    def _begin_copy_both(self) -> None:
        if self.client is ClientState.READY:
            self.client = ClientState.COPY_BOTH

    def _accept_uncertain(self, event: Event) -> None:
        """A ReadyForQuery for a Sync that was read after COPY failed (rule 5); all else is refused."""
        if event != Backend.READY_FOR_QUERY or not self._uncertain_syncs:
            raise ProtocolViolation(f"unexpected backend message {_shown(event)} in state {self.server.name}")
        self._uncertain_syncs -= 1
        if self.server is ServerState.SKIPPING:
            self._take_next()

    def _fail(self) -> None:
        """An ErrorResponse (rule 4)."""
        if self.client in (ClientState.COPY_IN, ClientState.COPY_BOTH):
            self.client = ClientState.READY
        self._uncertain_syncs += self._syncs_in_copy
        self._syncs_in_copy = 0
        if self._request is None:
            return
        after = AFTER_ERROR.get(self._request, ServerState.SKIPPING)
        self.server = after
        if after is ServerState.TERMINATED:
            self._terminate()
        elif after is ServerState.SKIPPING:
            self._skip_to_sync()

    def _skip_to_sync(self) -> None:
        self._request = None
        while self._waiting and self._waiting[0] is not Request.SYNC:
            self._waiting.popleft()
        if self._waiting:
            self._take_next()

    def _terminate(self) -> None:
        self.client, self.server = ClientState.TERMINATED, ServerState.TERMINATED
        self._request = None
        self._waiting.clear()

    def _is_any_time(self, code: int) -> bool:
        if code == Backend.NOTICE_RESPONSE:
            return True
        return code in ANY_TIME and self.server not in UNAUTHENTICATED

    def _misplaced(self, code: int) -> ProtocolViolation:
        """The error for a client's message that this state does not allow."""
        if self.client is ClientState.AUTHENTICATION:
            wanted = {ServerState.SASL: "SASL", ServerState.GSS: "GSS"}.get(self.server, "password")
            return ProtocolViolation(f"expected {wanted} response, got message type {code}")
        if self.client is ClientState.COPY_IN:
            return ProtocolViolation(f"unexpected message type 0x{code:02X} during COPY from stdin")
        if self.client is ClientState.COPY_BOTH:
            return ProtocolViolation(f'invalid standby message type "{chr(code)}"')
        return ProtocolViolation(f"invalid frontend message type {code}")


def _request(code: int, body: bytes) -> Request | None:
    if code == Frontend.DESCRIBE:
        of_statement = body[:1] == bytes([STATEMENT])
        return Request.DESCRIBE_STATEMENT if of_statement else Request.DESCRIBE_PORTAL
    return REQUESTS.get(code)


def _event(code: int, body: bytes) -> Event:
    if code != Backend.AUTHENTICATION:
        return code
    try:
        return Authentication(_SUBTYPE.unpack_from(body)[0] if len(body) >= _SUBTYPE.size else -1)
    except ValueError:
        raise ProtocolViolation("unknown authentication request") from None


def _shown(event: Event) -> str:
    return event.name if isinstance(event, Authentication) else repr(chr(event))
