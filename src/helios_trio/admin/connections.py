"""Connections of the admin listener: hypercorn's HTTP/1.1 and WebSockets between our transports and the application.

Only hypercorn's protocol is used, which does no input or output. Its server ends for everybody with the first
connection that makes it stumble, waits for ever for a client that takes nothing, and leaves connections open that it
has announced to close, because the handler that has sent the answer is cancelled before they are.

Used by: admin.server.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Final

import h11
import structlog
import trio
from attrs import define, field, frozen
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as ServerConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from helios_trio.net.errors import ConnectionLost
from helios_trio.net.transport import Keepalive, PlainTransport

_log = structlog.get_logger(__name__)

#: Connections at a time; more are closed at once, so that clients of the proxy keep enough descriptors.
MOST: Final = 2000
#: Seconds that a request's head may take to come, and that a connection may rest between two requests.
_PATIENCE: Final = 5.0
#: Seconds for the client to take what is sent, and to stop sending when the connection ends.
SEND_TIME_LIMIT, _LINGER = 10.0, 2.0
#: How it is found out that a silent client has gone, and for how long it may take nothing; seconds.
_KEEPALIVE: Final = Keepalive(idle=20, interval=5, count=2, user_timeout=10)
_CHUNK: Final = 64 * 1024
#: Chunks that a client may still send then.
_LAST_CHUNKS: Final = 64
_EXTENSIONS: Final = b"sec-websocket-extensions"
#: The name under which the application finds a `Raw` in the state of a scope.
RAW: Final = "helios_trio.raw"
#: What may be asked for: a path, all of it (OPTIONS), or a whole URL.
_TARGET: Final = re.compile(rb"/|\*\Z|https?://[^/?#%\[\]]+/")
#: What an application is told at the end of a request, and for how many seconds it is tried.
_FAREWELLS: Final = ("http.disconnect", "websocket.disconnect")
_FAREWELL: Final = 1.0


@frozen
class Raw:
    """How bytes are sent as they are."""

    send: Callable[[bytes], Awaitable[None]]
    #: False: the network takes nothing now, and nothing was sent
    send_at_once: Callable[[bytes], bool]
    #: ends the connection, whatever is still to be sent
    end: Callable[[], None]


class _Http(H11Protocol):
    """hypercorn's, but for what it lets through and answers."""

    #: of an answer whose body has not come yet
    _head: bytes = b""

    async def handle(self, event: Event) -> None:
        """Whoever sends a message that is too long is not listened to any longer: the rest of it would be kept."""
        await super().handle(event)
        stream = self.stream
        if isinstance(stream, WSStream) and stream.buffer.length > self.config.websocket_max_message_size:
            await self.send(Closed())

    async def stream_send(self, event: Any) -> None:
        """An answer that comes before the whole request is the last one on its connection."""
        if isinstance(event, Response) and self.connection.their_state is h11.SEND_BODY:
            event = Response(event.stream_id, [*event.headers, (b"connection", b"close")], event.status_code)
        await super().stream_send(event)

    async def _send_h11_event(self, event: Any) -> None:
        """The head of an answer goes out together with what follows: that is one call of the system less."""
        try:
            data = self._head + (self.connection.send(event) or b"")
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        self._head = data if isinstance(event, h11.Response) else b""
        if data and not self._head:
            await self.send(RawData(data=data))

    async def _check_protocol(self, event: h11.Request) -> None:
        """HTTP/2 is not spoken; who offers it goes on with what there is."""

    async def _create_stream(self, request: h11.Request) -> None:
        if _is_proper(request, self.connection.trailing_data[0]):
            await super()._create_stream(_without_extensions(request))
        else:
            await self._send_error_response(400)
        if self.stream is None or self.stream.closed:  # it was no proper handshake
            await self.send(Closed())


def _without_extensions(request: h11.Request) -> h11.Request:
    """What a WebSocket offers beyond the RFC is passed over: a message that nobody compresses is the same for all."""
    if not any(name == _EXTENSIONS for name, _ in request.headers):
        return request
    headers = [(name, value) for name, value in request.headers if name != _EXTENSIONS]
    return h11.Request(
        method=request.method, target=request.target, headers=headers, http_version=request.http_version
    )


def _is_proper(request: h11.Request, more: bytes) -> bool:
    """Whether it is clear where a request ends (RFC 9112, section 6.1), and what it asks for.

    `more`: what came after it; nobody may speak as in a WebSocket that has not been accepted yet.
    """
    names = {name for name, _ in request.headers}
    both = {b"content-length", b"transfer-encoding"} <= names
    early = b"sec-websocket-key" in names and more != b""
    return not both and not early and _TARGET.match(request.target) is not None


class _Tasks(TaskGroup):
    """hypercorn's, but nobody waits for ever to tell an application of its end that has already ended."""

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Any
    ) -> Callable[[Any], Awaitable[None]]:
        """Begin one, and return how it is told things."""
        put = await super().spawn_app(app, config, scope, send)

        async def tell(event: Any) -> None:
            if event["type"] in _FAREWELLS:
                with trio.move_on_after(_FAREWELL):
                    await put(event)
            else:
                await put(event)

        return tell


@define(eq=False)
class Connection:
    """One client, until one of both ends it."""

    app: ASGIWrapper
    config: ServerConfig
    context: WorkerContext
    transport: PlainTransport
    _tasks: _Tasks = field(factory=lambda: _Tasks())
    _everything: trio.CancelScope = field(factory=trio.CancelScope)
    #: its deadline is infinite while a request is worked on
    _reading: trio.CancelScope = field(factory=trio.CancelScope)
    _sending: trio.Lock = field(factory=trio.Lock)
    #: what the network has not taken yet of something that was sent at once
    _rest: bytes = b""

    async def serve(self) -> None:
        """What goes wrong here is of no consequence to other connections."""
        try:
            with self._everything:
                async with self._tasks:
                    await self._read(self._protocol())
                    self._everything.cancel()
            await self._linger()
        except Exception as error:  # rule 40: whatever a client has found in the protocol
            _log.warning("an admin connection failed", client=self.transport.peer, error=repr(error))

    def stop(self) -> None:
        """Say good-bye if there is no request to answer; else it ends with the answer."""
        if self._reading.deadline < inf:
            self._reading.cancel()

    def _protocol(self) -> _Http:
        state = ConnectionState({RAW: Raw(self._send, self._send_at_once, self._everything.cancel)})
        client, server = _address(self.transport.peer), _address(self.transport.local)
        return _Http(
            self.app, self.config, self.context, self._tasks, state, False, client, server, self._on_event
        )

    async def _read(self, protocol: _Http) -> None:
        """Until there is nothing more to come, or nothing more is wanted."""
        self._reading.deadline = trio.current_time() + _PATIENCE
        with self._reading, suppress(ConnectionLost):
            while data := await self.transport.receive_some(_CHUNK):
                await protocol.handle(RawData(data))

    async def _on_event(self, event: Event) -> None:
        """What the protocol wants. Waits for nothing but the network: its caller may be cancelled just now."""
        match event:
            case RawData(data=data):
                await self._send(data)
            case Updated(idle=idle):
                self._reading.deadline = trio.current_time() + _PATIENCE if idle else inf
            case Closed():
                self._reading.cancel()

    async def _send(self, data: bytes) -> None:
        """All of it, or it is over with this connection: nobody knows how much of it was sent."""
        if (taken := self._push(data)) < len(data):
            await self._send_rest(data[taken:])
        else:  # or a client that has much to be answered would stop everybody else
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_rest(self, data: bytes = b"") -> None:
        """What is still to be sent of something else, and this."""
        sent = False
        try:
            async with self._sending:
                data, self._rest = self._rest + data, b""
                with trio.move_on_after(SEND_TIME_LIMIT), suppress(ConnectionLost):
                    await self.transport.send_all(data)
                    sent = True
        finally:
            if not sent:
                self._everything.cancel()

    def _send_at_once(self, data: bytes) -> bool:
        """See `Raw.send_at_once`; what the network does not take of it is sent by a task."""
        if (taken := self._push(data)) == 0:
            return False
        if taken < len(data):
            self._rest = data[taken:]
            self._tasks.spawn(self._send_rest)
        return True

    def _push(self, data: bytes) -> int:
        """How many bytes of it the network takes just now; none while something else is being sent."""
        if self._everything.cancel_called:  # nobody knows how much was sent before
            return len(data)
        if self._rest or self._sending.locked():
            return 0
        try:
            return self.transport.send_nowait(data)
        except ConnectionLost:
            self._everything.cancel()
            return len(data)

    async def _linger(self) -> None:
        """Read what the client is still sending: else the system might take our last words from it (RFC 9112, 9.6)."""
        with trio.move_on_after(_LINGER), suppress(ConnectionLost):
            self.transport.shutdown_write()
            for _ in range(_LAST_CHUNKS):
                if not await self.transport.receive_some(_CHUNK):
                    return


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None


@define(eq=False)
class Connections:
    """All that are open."""

    app: ASGIWrapper
    config: ServerConfig
    _context: WorkerContext = field(factory=lambda: WorkerContext(None))
    _open: set[Connection] = field(factory=set)

    async def serve(self, transport: PlainTransport) -> None:
        """A new one, until it ends; whoever calls closes the transport."""
        if len(self._open) >= MOST:
            _log.warning("an admin connection was closed", client=transport.peer, reason="there are too many")
            return
        transport.set_keepalive(_KEEPALIVE)
        connection = Connection(self.app, self.config, self._context, transport)
        self._open.add(connection)
        try:
            await connection.serve()
        finally:
            self._open.discard(connection)

    async def stop(self) -> None:
        """Let those end that have nothing to answer, and the others after their answer."""
        await self._context.terminated.set()
        for connection in self._open:
            connection.stop()
