"""A live stream that says what a test tells it to, connection by connection, as docs/operation.md has it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

TOPICS = ("traffic", "topology", "pools", "sessions", "events")

Script = Callable[["FakeStream", WebSocketRequest], Awaitable[None]]


def hello(started_at: str = "2030-01-01T00:00:00.000Z", **more: Any) -> dict[str, Any]:
    """What a proxy says first."""
    data = {
        "version": "9.9",
        "process": 7,
        "started_at": started_at,
        "who": "otto",
        "role": "operator",
        "topics": list(TOPICS),
        "last_event_id": 0,
        "missed": None,
        **more,
    }
    return {"topic": "hello", "id": None, "data": data}


def event(id: int, kind: str = "server is down", **more: Any) -> dict[str, Any]:
    """Something that happened."""
    at = f"2030-01-01T00:00:{id:02}.000Z"
    data = {"id": id, "at": at, "kind": kind, "who": "helios", "subject": "node1", "reason": "", **more}
    return {"topic": "events", "id": id, "data": data}


def picture(topic: str, data: Any) -> dict[str, Any]:
    """How something is."""
    return {"topic": topic, "id": None, "data": data}


def says(messages: Iterable[Any], code: int | None = None, reason: str = "") -> Script:
    """A connection that says this, and is then closed with that code, or stays."""

    async def script(fake: FakeStream, request: WebSocketRequest) -> None:
        socket = await request.accept()
        for message in messages:
            await socket.send_message(message if isinstance(message, str) else json.dumps(message))
        fake.said.set()
        if code is not None:
            await socket.aclose(code, reason)
        await _until_closed(socket)

    return script


def rejects(status: int) -> Script:
    """A connection that does not come to be."""

    async def script(fake: FakeStream, request: WebSocketRequest) -> None:
        await request.reject(status)

    return script


async def breaks(fake: FakeStream, request: WebSocketRequest) -> None:
    """A connection that is lost without a word after the hello."""
    socket = await request.accept()
    await socket.send_message(json.dumps(hello()))
    await socket._stream.aclose()


async def _until_closed(socket: WebSocketConnection) -> None:
    try:
        while True:
            await socket.get_message()
    except ConnectionClosed:
        pass


@define(eq=False)
class FakeStream:
    """One script for each connection; the last one is for all that follow, too."""

    scripts: list[Script]
    #: path and query of each connection, and its Authorization
    asked: list[tuple[str, str]] = field(factory=list)
    said: trio.Event = field(factory=trio.Event)
    url: str = ""

    async def start(self, nursery: trio.Nursery) -> FakeStream:
        """Serve on a free port."""
        server = await nursery.start(serve_websocket, self._serve, "127.0.0.1", 0, None)
        self.url = f"http://127.0.0.1:{server.port}"
        return self

    async def _serve(self, request: WebSocketRequest) -> None:
        headers = dict(request.headers)
        self.asked.append((request.path, headers.get(b"authorization", b"").decode()))
        script = self.scripts[min(len(self.asked), len(self.scripts)) - 1]
        await script(self, request)
