"""`Stream`: the live stream of a proxy's admin listener (WebSocket `/api/v1/stream`), as the commands follow it.

A connection that is lost is made again, with growing pauses, and goes on after the last event that was heard. Ids of
events begin anew with each process of the proxy: when another one answers than before, what it knows is asked for from
the beginning, and the follower is told.

Used by: cli.events, cli.top.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import trio
from attrs import define, field, frozen
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from helios_trio.cli.client import KEY_HINT, LISTENER_HINT
from helios_trio.errors import HeliosError

PATH: Final = "/api/v1/stream"
_CLOSED: Final = "the connection was closed"
_PORTS: Final = {"http": 80, "https": 443}

# Close codes of the stream; the first of them is RFC 6455's, the others are the proxy's own (docs/operation.md).
_GOING_AWAY: Final = 1001
_REFUSED: Final = 1008
_TRY_LATER: Final = 1013
_KEY_REFUSED: Final = 4401
_NO_KEY: Final = 4408
_ABNORMAL: Final = 1006

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0
#: Seconds to stay away from a proxy that has said that it has too much to do.
_BUSY_PAUSE: Final = 5.0
_CONNECT_SECONDS: Final = 10.0
#: Seconds between signs of life that are asked for, and for each to come: a peer that vanished says nothing.
_HEARTBEAT: Final = 20.0
_ANSWER_SECONDS: Final = 10.0
#: Bytes of one message: the pools of thousands of users stand in one.
_LARGEST: Final = 32 << 20
#: Messages that may wait while a sign of life is waited for, which comes behind them.
_QUEUE: Final = 1000


class StreamRefused(HeliosError):
    """The stream will not be had by asking again."""


@frozen
class Connected:
    """The proxy has said hello."""

    hello: Mapping[str, Any]
    #: another process answers than before
    restarted: bool
    #: events between the last that was heard and the first that is still known
    missed: int


@frozen
class Message:
    """News of one topic."""

    topic: str
    #: of an event; None for the other topics
    id: int | None
    data: Any


@frozen
class Lost:
    """There is no connection; the next attempt is in so many seconds."""

    reason: str
    seconds: float


Heard = Connected | Message | Lost
Transport = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Follower = Callable[[Heard], None]


@define
class Memory:
    """What is carried from one connection to the next. Pure."""

    #: the last event that was heard; None: old events are not wanted
    last_event_id: int | None = None
    #: when the process that is followed was started, in its own words
    started_at: str | None = None
    #: attempts in a row that did not lead to a hello
    failures: int = 0
    restarted: bool = False

    def query(self, topics: tuple[str, ...]) -> str:
        """What is asked for."""
        wanted = [f"topics={quote(','.join(topics), safe=',')}"] if topics else []
        if self.last_event_id is not None:
            wanted.append(f"last_event_id={self.last_event_id}")
        return "&".join(wanted)

    def note_hello(self, hello: Mapping[str, Any]) -> Connected | None:
        """The beginning of a connection; None: it has to be begun anew, as another process has other events."""
        before, self.started_at = self.started_at, hello["started_at"]
        self.failures = 0
        if before not in (None, self.started_at):
            self.restarted = True
            if self.last_event_id:
                self.last_event_id = 0
                return None
        restarted, self.restarted = self.restarted, False
        return Connected(hello, restarted, 0 if restarted else hello.get("missed") or 0)

    def note_message(self, message: Message) -> bool:
        """Whether it is news: an event may be told again after a connection was lost."""
        if message.id is None or self.last_event_id is None:
            return True
        if message.id <= self.last_event_id:
            return False
        self.last_event_id = message.id
        return True

    def pause(self, code: int | None) -> float:
        """Seconds to wait after a connection that ended with this close code, or never came to be."""
        seconds = min(_FIRST_PAUSE * 2.0 ** min(self.failures, 16), _LONGEST_PAUSE)
        self.failures += 1
        return max(seconds, _BUSY_PAUSE) if code == _TRY_LATER else seconds


@define
class Stream:
    """One proxy's live stream, over as many connections as it takes."""

    #: of the admin listener, http or https
    url: str
    key: str | None
    topics: tuple[str, ...] = ()
    memory: Memory = field(factory=Memory)

    async def follow(self, follower: Follower) -> None:
        """Tell all that is heard, until cancelled.

        Raises:
            StreamRefused: the proxy does not let us; trying again is of no use.
            HeliosError: the first attempt found nobody.
        """
        if not self.key:
            raise StreamRefused("expected an API key", hint=KEY_HINT)
        while True:
            code, reason = await self._connection(follower)
            if self.memory.started_at is None:
                raise HeliosError(f"no answer from {self.url}: {reason}", hint=LISTENER_HINT)
            if code == _GOING_AWAY and self.memory.restarted:
                continue
            lost = Lost(reason or _CLOSED, self.memory.pause(code))
            follower(lost)
            await trio.sleep(lost.seconds)

    async def _connection(self, follower: Follower) -> tuple[int | None, str]:
        """One connection from its beginning to its end; how it ended. Raises StreamRefused."""
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                transport = await _dialled(self.url)
        except trio.TooSlowError:
            return None, f"no answer within {_CONNECT_SECONDS:g} s"
        except OSError as error:
            return None, str(error)
        ended: tuple[int | None, str] = None, ""
        try:
            # by ourselves, as trio-websocket leaves a socket open that the other side has closed
            async with transport, trio.open_nursery() as nursery:
                ended = await self._talk(transport, nursery, follower)
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            return _failed(self.url, group)
        return ended

    async def _talk(
        self, transport: Transport, nursery: trio.Nursery, follower: Follower
    ) -> tuple[int | None, str]:
        """Shake hands and listen; how it ended. Raises StreamRefused, ConnectionClosed, HandshakeError."""
        parts = urlsplit(self.url)
        query = self.memory.query(self.topics)
        with trio.move_on_after(_CONNECT_SECONDS) as shaking:
            socket = await wrap_client_stream(
                nursery,
                transport,
                parts.netloc.rpartition("@")[2],
                f"{parts.path.rstrip('/')}{PATH}{'?' if query else ''}{query}",
                extra_headers=[(b"Authorization", f"Bearer {self.key}".encode())],
                message_queue_size=_QUEUE,
                max_message_size=_LARGEST,
            )
        if shaking.cancelled_caught:
            return None, f"no answer within {_CONNECT_SECONDS:g} s"
        return _judged(*await self._conversation(socket, follower))

    async def _conversation(self, socket: WebSocketConnection, follower: Follower) -> tuple[int, str]:
        """Listen until there is no more to hear; the close code and its reason."""
        try:
            while (text := await _next(socket)) is not None:
                if not self._note(_parsed(text), follower):
                    return _GOING_AWAY, "the proxy was restarted"
        except ConnectionClosed as error:
            if (closed := error.reason) is not None:
                return closed.code, closed.reason or ""
        return _ABNORMAL, "the connection was lost"

    def _note(self, message: Message, follower: Follower) -> bool:
        """Whether to go on listening on this connection."""
        if message.topic == "hello":
            connected = self.memory.note_hello(message.data)
            if connected is None:
                return False
            follower(connected)
        elif self.memory.note_message(message):
            follower(message)
        return True


async def _dialled(url: str) -> Transport:
    """A connection to the admin listener at `url`. Raises OSError, and HeliosError: that is no URL."""
    host, port, encrypted = address_of(url)
    tcp = await trio.open_tcp_stream(host, port)
    if not encrypted:
        return tcp
    context = ssl.create_default_context()
    return trio.SSLStream(tcp, context, server_hostname=host, https_compatible=True)


def address_of(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether it is TLS, of an admin listener. Raises HeliosError."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise HeliosError(f"no answer from {url}: expected http://HOST:PORT", hint=LISTENER_HINT) from error
    if not parts.hostname:
        raise HeliosError(f"no answer from {url}: expected http://HOST:PORT", hint=LISTENER_HINT)
    return parts.hostname, port, parts.scheme == "https"


async def _next(socket: WebSocketConnection) -> str | bytes | None:
    """The next message; None: the other end is gone without a word. Raises ConnectionClosed."""
    while True:
        with trio.move_on_after(_HEARTBEAT):
            return await socket.get_message()
        with trio.move_on_after(_ANSWER_SECONDS) as scope:
            await socket.ping()
        if scope.cancelled_caught:
            return None


def _parsed(text: str | bytes) -> Message:
    """Raises HeliosError: whoever answers is not ours."""
    try:
        found = json.loads(text)
        if found["topic"] == "hello":
            found["data"]["started_at"]
        return Message(str(found["topic"]), found.get("id"), found["data"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StreamRefused("the stream does not have what it should; is it an admin listener?") from error


def _failed(url: str, group: ExceptionGroup[Exception]) -> tuple[int | None, str]:
    """How a handshake that failed ended. Raises StreamRefused, and whatever has nothing to do with the connection."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    match error:
        case ConnectionRejected():
            return _rejected(url, error)
        case HandshakeError() | ConnectionClosed() | trio.BrokenResourceError():
            return None, str(error.__cause__ or _CLOSED)
    raise error


def _rejected(url: str, error: ConnectionRejected) -> tuple[int | None, str]:
    """How a refused handshake ended. Raises StreamRefused: a repetition would end likewise."""
    if error.status_code in (401, 403):
        raise StreamRefused("this API key is not known, or is not enough", hint=KEY_HINT)
    if error.status_code < 500:
        raise StreamRefused(
            f"{url} answered {error.status_code}; is it an admin listener with a live stream?"
        )
    return None, f"it answered {error.status_code}"


def _judged(code: int, reason: str) -> tuple[int, str]:
    """Raises StreamRefused: a repetition would end likewise."""
    if code in (_KEY_REFUSED, _NO_KEY):
        raise StreamRefused(reason or "this API key is not known", hint=KEY_HINT)
    if code == _REFUSED:
        raise StreamRefused(f"the proxy has closed the stream: {reason}")
    return code, reason
