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
async def talking() -> AsyncIterator[Talk]:
    ours, theirs = socket.socketpair()
    talk = Talk(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
    transport = PlainTransport(ours, "127.0.0.1:1")
    connections = Connections(ASGIWrapper(talk.serve), ServerConfig())
    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connections.serve, transport)
                await talk.client.send_all(REQUEST)
                await talk.found.wait()
                yield talk
                await talk.client.aclose()
    finally:
        talk.client.socket.close()
        transport.close()


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


async def test_a_client_that_takes_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """After a while, with all that was still to be sent."""
    began = trio.current_time()
    async with talking() as talk:
        assert talk.raw.send_at_once(b"x" * LARGE)
        await talk.ended.wait()
    assert trio.current_time() - began == pytest.approx(SEND_TIME_LIMIT)
