"""How a connection of the admin listener sends: at once where the network takes it, in order, or not at all."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, field
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as ServerConfig

from helios_trio.admin.connections import RAW, SEND_TIME_LIMIT, Connections, Raw
from helios_trio.net.transport import PlainTransport

PATIENCE = 20.0
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
#: More than both ends of a socket keep.
LARGE = 1 << 23


@define(eq=False)
class Talk:
    """An application that gives the raw connection away."""

    client: trio.SocketStream
    found: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    raw: Raw = field(init=False)

    async def serve(self, scope: Any, _receive: Any, _send: Any) -> None:
        self.raw = scope["state"][RAW]
        self.found.set()
        try:
            await trio.sleep_forever()
        finally:
            self.ended.set()

    async def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            data = await self.client.receive_some(1 << 20)
            assert data, "it was closed"
            found += data
        return bytes(found)


@asynccontextmanager
async def connected(app: Any) -> AsyncIterator[tuple[trio.SocketStream, Connections]]:
    """A client of an application, and all connections; they have ended behind the block."""
    ours, theirs = socket.socketpair()
    client = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    transport = PlainTransport(ours, "127.0.0.1:1")
    config = ServerConfig()
    config.websocket_max_message_size = 8192
    connections = Connections(ASGIWrapper(app), config)
    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connections.serve, transport)
                yield client, connections
                await client.aclose()
    finally:
        client.socket.close()
        transport.close()


@asynccontextmanager
async def talking() -> AsyncIterator[Talk]:
    async def serve(*arguments: Any) -> None:
        await talk.serve(*arguments)

    async with connected(serve) as (client, _):
        talk = Talk(client)
        await client.send_all(REQUEST)
        await talk.found.wait()
        yield talk


async def until_closed(client: trio.SocketStream) -> bytes:
    """All that comes."""
    found = bytearray()
    while data := await client.receive_some(1 << 16):
        found += data
    return bytes(found)


@asynccontextmanager
async def web_socket() -> AsyncIterator[trio.SocketStream]:
    """A client that the application has accepted, and does not listen to."""

    async def serve(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    async with connected(serve) as (client, _):
        await client.send_all(HANDSHAKE)
        head = await client.receive_some(1 << 16)
        assert head.startswith(b"HTTP/1.1 101")
        yield client


async def test_what_the_network_takes_is_sent_at_once() -> None:
    """Without a task."""
    async with talking() as talk:
        assert talk.raw.send_at_once(b"one")
        await talk.raw.send(b"two")
        assert talk.raw.send_at_once(b"three")
        assert await talk.read(11) == b"onetwothree"


async def test_what_it_takes_in_part_is_sent_in_order() -> None:
    """Nothing is sent at once meanwhile; who can wait comes after it."""
    async with talking() as talk, trio.open_nursery() as nursery:
        large = bytes(range(256)) * (LARGE // 256)
        assert talk.raw.send_at_once(large)
        assert not talk.raw.send_at_once(b"refused, before the rest has a task")
        nursery.start_soon(talk.raw.send, b"last")
        await trio.testing.wait_all_tasks_blocked()
        assert not talk.raw.send_at_once(b"refused")
        assert await talk.read(LARGE + 4) == large + b"last"
        await trio.testing.wait_all_tasks_blocked()
        assert talk.raw.send_at_once(b"again")
        assert await talk.read(5) == b"again"


async def test_two_that_wait_for_the_network() -> None:
    """One after the other."""
    async with talking() as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.raw.send, b"a" * LARGE)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(talk.raw.send, b"b" * LARGE)
        await trio.testing.wait_all_tasks_blocked()
        assert await talk.read(2 * LARGE) == b"a" * LARGE + b"b" * LARGE


async def test_sending_to_a_client_that_has_gone_ends_the_connection() -> None:
    """And is no error of whoever sends."""
    async with talking() as talk:
        await talk.client.aclose()
        assert talk.raw.send_at_once(b"nobody takes this")
        await talk.ended.wait()


async def test_nothing_is_sent_after_the_end() -> None:
    """Nobody knows what the network has taken before."""
    async with talking() as talk:
        talk.raw.end()
        assert talk.raw.send_at_once(b"never sent")
        assert await until_closed(talk.client) == b""


async def test_a_client_that_sends_no_more_while_it_waits() -> None:
    """It has gone, as far as we can know; the last thing it hears is no error of ours."""
    async with talking() as talk:
        await talk.client.send_eof()
        assert await until_closed(talk.client) == b""


@pytest.mark.parametrize("chunks", [1, 40, 2000])
async def test_an_answer_that_waits_for_no_body(chunks: int) -> None:
    """However much of the body is still to come: the connection comes to its end, and its place is free."""

    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    async with connected(refuse) as (client, connections):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send_all(head + b"1\r\nx\r\n" * chunks)
        assert (await until_closed(client)).endswith(b"\r\n\r\nno")
        await client.aclose()
        while connections._open:  # noqa: ASYNC110 - nobody says when
            await trio.sleep(0.01)


async def test_many_pings_stop_nobody_else() -> None:
    """Each that is answered gives others a turn."""
    pings, turns = 10_000, 0

    async def go_on() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with web_socket() as client, trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        nursery.start_soon(client.send_all, b"\x89\x80\0\0\0\0" * pings)
        answered = 0
        while answered < 2 * pings:
            answered += len(await client.receive_some(1 << 16))
        assert turns > pings / 2
        nursery.cancel_scope.cancel()


async def test_a_message_without_end_is_not_kept() -> None:
    """It is too long; the connection ends with that word."""
    async with web_socket() as client:
        await client.send_all(b"\x82\xff" + (8 << 30).to_bytes(8, "big") + bytes(4) + b"x" * 20_000)
        assert await until_closed(client) == b"\x88\x02" + (1009).to_bytes(2, "big")


async def test_a_client_that_takes_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """After a while, with all that was still to be sent."""
    began = trio.current_time()
    async with talking() as talk:
        assert talk.raw.send_at_once(b"x" * LARGE)
        await talk.ended.wait()
    assert trio.current_time() - began == pytest.approx(SEND_TIME_LIMIT)
