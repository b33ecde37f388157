"""A PostgreSQL-like server whose every word is scripted, for what a real server cannot be made to say.

`open_fake_backend` listens on a free port and gives each session (start-up already read and answered,
cancel requests kept apart) to a handler written by the test, which reads frames and sends messages as it
likes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio
from attrs import define, field

from helios_trio.testing.player import Address
from helios_trio.testing.requests import Request
from helios_trio.wire import backend_messages as back
from helios_trio.wire.codes import Status
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import FRONTEND, LARGE_MESSAGE_LIMIT, Frame, FrameReader
from helios_trio.wire.frontend_messages import decode_frontend
from helios_trio.wire.layout import Message
from helios_trio.wire.startup import (
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    StartupPacket,
    parse_startup,
)

_RECEIVE_SIZE: Final = 65536
DEFAULT_PARAMETERS: Final = {
    "server_version": "18.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "is_superuser": "on",
    "session_authorization": "postgres",
    "in_hot_standby": "off",
    "default_transaction_read_only": "off",
    "application_name": "",
    "search_path": '"$user", public',
    "scram_iterations": "4096",
}


class ClientGone(Exception):
    """The client closed the connection while the handler waited for a message."""


@define(eq=False)
class FakeSession:
    """One session of the fake server: what the client sends comes out as messages, what is sent goes as it
    is."""

    startup: StartupMessage
    pid: int
    secret: bytes
    stream: trio.SocketStream
    _reader: FrameReader = field(
        factory=lambda: FrameReader(LARGE_MESSAGE_LIMIT, LARGE_MESSAGE_LIMIT, FRONTEND)
    )

    def feed(self, data: bytes) -> None:
        """Add bytes that came together with the start-up packet."""
        self._reader.feed(data)

    async def receive(self) -> Message:
        """The client's next message. Raises `ClientGone`."""
        while (event := self._reader.next_event()) is None:
            data = await self.stream.receive_some(_RECEIVE_SIZE)
            if not data:
                raise ClientGone
            self._reader.feed(data)
        assert isinstance(event, Frame)
        return decode_frontend(event.code, event.body)

    async def expect(self, kind: type[Message]) -> Message:
        """The next message, which has to be of this class. Raises `AssertionError`, `ClientGone`."""
        message = await self.receive()
        assert isinstance(message, kind), f"expected {kind.__name__}, got {message}"
        return message

    async def send(self, *messages: Message | Request) -> None:
        """Send all in one piece."""
        await self.stream.send_all(b"".join(message.encode() for message in messages))

    async def ready(self, status: int = Status.IDLE) -> None:
        """Send ReadyForQuery."""
        await self.send(back.ReadyForQuery(status))

    async def complete(self, tag: str, status: int = Status.IDLE) -> None:
        """Send CommandComplete and ReadyForQuery."""
        await self.send(back.CommandComplete(tag), back.ReadyForQuery(status))

    async def fail(self, sqlstate: str, message: str, severity: str = "ERROR") -> None:
        """Send an ErrorResponse."""
        fields = {"S": severity, "V": severity, "C": sqlstate, "M": message}
        await self.send(back.ErrorResponse(ErrorFields.of(fields)))


Handler = Callable[[FakeSession], Awaitable[None]]


@define(eq=False)
class FakeBackend:
    """The fake server: where it listens, and what reached it besides sessions."""

    address: Address
    handler: Handler
    parameters: Mapping[str, str]
    sessions: list[FakeSession] = field(factory=list)
    cancels: list[CancelRequest] = field(factory=list)
    accept_logins: bool = True
    """Whether a start-up is answered up to ReadyForQuery; otherwise the handler answers it."""


@asynccontextmanager
async def open_fake_backend(
    handler: Handler, parameters: Mapping[str, str] | None = None, *, accept_logins: bool = True
) -> AsyncIterator[FakeBackend]:
    """A fake server on a free port, until the block ends; an exception of the handler ends the block.

    `parameters` are reported at start-up in addition to `DEFAULT_PARAMETERS`.
    """
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = ("127.0.0.1", listeners[0].socket.getsockname()[1])
    reported = {**DEFAULT_PARAMETERS, **(parameters or {})}
    backend = FakeBackend(address, handler, reported, accept_logins=accept_logins)
    async with trio.open_nursery() as nursery:

        async def accept(stream: trio.SocketStream) -> None:
            async with stream:
                await _serve(backend, stream)

        await nursery.start(trio.serve_listeners, accept, listeners)
        try:
            yield backend
        finally:
            nursery.cancel_scope.cancel()


async def _serve(backend: FakeBackend, stream: trio.SocketStream) -> None:
    try:
        packet, rest = await _read_startup(stream)
        if isinstance(packet, CancelRequest):
            backend.cancels.append(packet)
        if not isinstance(packet, StartupMessage):
            return
        number = len(backend.sessions) + 1
        session = FakeSession(packet, number, number.to_bytes(4), stream)
        session.feed(rest)
        backend.sessions.append(session)
        if backend.accept_logins:
            await _welcome(backend, session)
        await backend.handler(session)
    except (ClientGone, trio.BrokenResourceError):
        return


async def _read_startup(stream: trio.SocketStream) -> tuple[StartupPacket, bytes]:
    """The first packet that is no request for encryption, and what came after. Raises `ClientGone`."""
    buffer = bytearray()
    while True:
        while (found := parse_startup(buffer)) is None:
            data = await stream.receive_some(_RECEIVE_SIZE)
            if not data:
                raise ClientGone
            buffer += data
        packet, size = found
        del buffer[:size]
        if not isinstance(packet, SSLRequest | GSSENCRequest):
            return packet, bytes(buffer)
        await stream.send_all(b"N")


async def _welcome(backend: FakeBackend, session: FakeSession) -> None:
    statuses = [back.ParameterStatus(name, value) for name, value in backend.parameters.items()]
    await session.send(
        back.AuthenticationOk(),
        *statuses,
        back.BackendKeyData(session.pid, session.secret),
        back.ReadyForQuery(Status.IDLE),
    )
