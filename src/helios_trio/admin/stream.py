"""The live stream: a WebSocket, and the same as server-sent events (HTML standard, section 9.2) for simple clients.

A browser cannot give a WebSocket headers, so the key may also be its first message. Nothing is sent before.

Used by: admin.api.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import trio
from attrs import define, field, frozen
from quart import Response, request, websocket
from quart_trio import QuartTrio

from helios_trio.admin.access import Access, Caller
from helios_trio.admin.connections import RAW, Raw
from helios_trio.admin.keys import Role
from helios_trio.admin.live import Live
from helios_trio.admin.parts import Parts
from helios_trio.admin.plain import rfc3339
from helios_trio.admin.problems import Refused, problem
from helios_trio.admin.stream_hub import EVENTS, Hub, Message, Reader, TooManyReaders
from helios_trio.admin.views import version_view

PATH: Final = "/api/v1/stream"

#: Close codes of RFC 6455 and the registry at IANA, and two of our own.
_GOING_AWAY, _POLICY, _TRY_AGAIN, _NO_KEY, _TOO_LATE = 1001, 1008, 1013, 4401, 4408
#: Seconds until the key must have come; and for a message to be taken by the network.
_KEY_TIME_LIMIT, _SEND_TIME_LIMIT = 5.0, 10.0
#: Seconds for a client that was told to go, and between messages that are read from it.
_FAREWELL, _SLOWLY = 2.0, 0.05
#: Sockets of which it is not known yet whose they are.
_MOST_NEWCOMERS: Final = 200
#: What a client may send: bytes of a message, and messages in a second.
_LARGEST, _MOST = 4096, 20
#: Seconds of silence after which server-sent events say that they are there.
_SILENCE: Final = 15.0
_EVENT_STREAM: Final = "text/event-stream"


class _Refused(Exception):
    """The connection is closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def add_stream(app: QuartTrio, parts: Parts, live: Live) -> None:
    """Serve both kinds at the same path."""

    newcomers = trio.Semaphore(_MOST_NEWCOMERS)

    @app.websocket(PATH)
    async def stream() -> None:
        try:
            newcomers.acquire_nowait()
        except trio.WouldBlock:
            await websocket.close(_TRY_AGAIN)  # before it is accepted: 403
            return
        socket = _WebSocket(parts, live.hub)
        try:
            caller = await socket.welcome()
        finally:
            newcomers.release()
        if caller is not None:
            await socket.serve(caller)

    @app.get(PATH)
    async def server_sent_events() -> Response:
        caller = parts.access.admit(request, Role.VIEWER)
        if request.method == "HEAD":
            return Response("", content_type=_EVENT_STREAM)
        if _EVENT_STREAM not in request.headers.get("Accept", ""):
            return problem(406, f"expected a WebSocket, or Accept: {_EVENT_STREAM}")
        asked = _Asked.of(request.args, request.headers.get("Last-Event-ID"), live.hub)
        answer = Response(_server_sent(parts, live.hub, caller, asked), content_type=_EVENT_STREAM)
        answer.timeout = None
        return answer


@frozen
class _Asked:
    """What a client wants to hear."""

    topics: tuple[str, ...]
    #: id of the last event it has heard of
    after: int | None

    @classmethod
    def of(cls, arguments: Mapping[str, str], after: str | None, hub: Hub) -> _Asked:
        """From the query of the URL; whatever is no number is none."""
        topics = arguments.get("topics")
        after = arguments.get("last_event_id", after)
        return cls(
            tuple(topics.split(",")) if topics else hub.names,
            int(after) if after and after.isascii() and after.isdigit() and len(after) < 18 else None,
        )


def _hello(parts: Parts, hub: Hub, caller: Caller, asked: _Asked) -> Message:
    """The first message: who is there, and what it can tell."""
    version = version_view(parts)
    data = {
        "version": version.version,
        "process": version.process,
        "started_at": rfc3339(parts.started_at),
        "who": caller.name,
        "role": caller.role.value,
        "topics": hub.names,
        "last_event_id": hub.events.last_id,
        "missed": None if asked.after is None else hub.missed(asked.after),
    }
    return Message("hello", None, json.dumps(data))


# -- WebSocket (RFC 6455) --------------------------------------------------------------------------------------


@define
class _WebSocket:
    """One connection."""

    parts: Parts
    hub: Hub
    #: messages of the client in the current second
    _heard: int = 0
    _second: float = field(factory=trio.current_time)
    _refusal: _Refused | None = None
    _raw: Raw = field(init=False)

    async def welcome(self) -> Caller | None:
        """Find out who it is; None: nobody who may look on, and the connection is closed."""
        await websocket.accept()
        self._raw = websocket.scope["state"][RAW]
        try:
            return await self._introduced(self.parts.access)
        except _Refused as refused:
            await self._close(refused.code, str(refused))
            return None

    async def serve(self, caller: Caller) -> None:
        """Until one of both ends it."""
        try:
            await self._tell(caller, _Asked.of(websocket.args, None, self.hub))
        except _Refused as refused:
            await self._close(refused.code, str(refused))
        except TooManyReaders as error:
            await self._close(_TRY_AGAIN, error.message)

    async def _introduced(self, access: Access) -> Caller:
        """Who it is: by the headers, or else by the first message."""
        try:
            caller = access.find(websocket.headers, websocket.remote_addr)
            if caller is not None:
                return caller
            with trio.move_on_after(_KEY_TIME_LIMIT):
                return access.find_key(_key_in(await self._receive()), websocket.remote_addr)
        except Refused as refused:
            raise _Refused(_NO_KEY, refused.detail) from None
        raise _Refused(_TOO_LATE, "no API key came")

    async def _tell(self, caller: Caller, asked: _Asked) -> None:
        with self.hub.reading(asked.topics, asked.after) as reader:
            await self._send(_hello(self.parts, self.hub, caller, asked))
            reader.take = self._take
            async with trio.open_nursery() as nursery:
                for work in (self._listen, self._pass_on, partial(self._watch_key, caller)):
                    nursery.start_soon(self._until_refused, work, reader, nursery.cancel_scope)
        if self._refusal is not None:
            raise self._refusal

    async def _until_refused(
        self, work: Callable[[Reader], Awaitable[None]], reader: Reader, everything: trio.CancelScope
    ) -> None:
        """One of listening, talking and watching; when it has come to its end, so have the others."""
        try:
            await work(reader)
        except _Refused as refused:
            self._refusal = refused
        everything.cancel()

    async def _watch_key(self, caller: Caller, _reader: Reader) -> None:
        """Who may not look any more does not go on looking."""
        await self.parts.access.wait_withdrawn(caller)
        raise _Refused(_NO_KEY, "the API key was withdrawn")

    async def _listen(self, reader: Reader) -> None:
        """The client chooses other topics."""
        while True:
            said = await self._receive()
            topics = said.get("topics")
            if isinstance(topics, list) and all(isinstance(each, str) for each in topics):
                self.hub.choose(reader, topics)
            elif "key" not in said:  # of a client that has said it by a header, too
                raise _Refused(_POLICY, 'expected {"topics": [...]}')

    async def _pass_on(self, reader: Reader) -> None:
        """What happens is told, until the proxy ends or this client is too slow."""
        while (message := await reader.next()) is not None:
            await self._send(message)
        raise _too_slow() if reader.dropped else _Refused(_GOING_AWAY, "the proxy is stopping")

    async def _receive(self) -> dict[str, Any]:
        """The next message of the client. Raises _Refused for what is none of ours, or too much."""
        text = await websocket.receive()
        now = trio.current_time()
        if now - self._second >= 1.0:
            self._second, self._heard = now, 0
        self._heard += 1
        if not text:  # an empty binary one comes as None
            raise _Refused(_POLICY, "expected JSON")
        if self._heard > _MOST or len(text) > _LARGEST:
            raise _Refused(_POLICY, "too much")
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            raise _Refused(_POLICY, "expected JSON") from None
        if not isinstance(said, dict):
            raise _Refused(_POLICY, "expected a JSON object")
        return said

    async def _send(self, message: Message) -> None:
        """Raises _Refused: the network does not take it."""
        with trio.move_on_after(_SEND_TIME_LIMIT) as sending:
            await self._raw.send(message.frame)
        if sending.cancelled_caught:
            raise _too_slow()

    def _take(self, message: Message) -> bool:
        return self._raw.send_at_once(message.frame)

    async def _close(self, code: int, reason: str) -> None:
        """Say so, and wait a moment for the client to go, too, which ends this task.

        What it sends meanwhile is read, slowly: the server has a queue for it, and its farewell stands behind that.
        """
        with trio.move_on_after(_SEND_TIME_LIMIT):
            await websocket.close(code, reason)
        with trio.move_on_after(_FAREWELL):
            while True:
                await websocket.receive()
                await trio.sleep(_SLOWLY)


def _too_slow() -> _Refused:
    return _Refused(_TRY_AGAIN, "too slow a reader")


def _key_in(said: Mapping[str, Any]) -> str:
    key = said.get("key")
    return key if isinstance(key, str) else ""


# -- server-sent events ----------------------------------------------------------------------------------------


async def _server_sent(parts: Parts, hub: Hub, caller: Caller, asked: _Asked) -> AsyncIterator[bytes]:
    """Messages as the standard has them; a comment from time to time finds out who has gone."""
    try:
        with hub.reading(asked.topics, asked.after) as reader:
            yield _event(_hello(parts, hub, caller, asked))
            while True:
                message: Message | None = None
                with trio.move_on_after(_SILENCE) as silence:
                    message = await reader.next()
                if not parts.access.is_good(caller) or (message is None and not silence.cancelled_caught):
                    return
                if message is None:
                    yield b": still here\n\n"
                else:
                    yield _event(message)
    except TooManyReaders:
        yield b"event: error\ndata: there are too many streams\n\n"


def _event(message: Message) -> bytes:
    lines: Iterable[str] = [f"event: {message.topic}", f"data: {message.data}"]
    if message.topic == EVENTS:
        lines = [f"id: {message.id}", *lines]
    return ("\n".join(lines) + "\n\n").encode()
