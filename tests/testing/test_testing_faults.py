"""Faults that know messages, that drop packets, and that only one side notices."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from struct import pack

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.testing.fake_backend import FakeBackend, FakeSession, open_fake_backend
from helios_trio.testing.faults import FaultProxy, Link, Place, open_fault_proxy
from helios_trio.testing.messages_in_transit import UNTYPED, MessageCutter, Opening, Passage
from helios_trio.testing.player import connect
from helios_trio.wire import backend_messages as back
from helios_trio.wire import frontend_messages as front
from helios_trio.wire.codes import PROTOCOL_3_0, SSL_REQUEST, Backend, Frontend
from helios_trio.wire.frames import Frame, FrameReader, encode_frame

LARGEST_READ = 65536


def start_packet(code: int = PROTOCOL_3_0, body: bytes = b"user\0x\0\0") -> bytes:
    return pack("!ii", len(body) + 8, code) + body


STARTUP, SSL = start_packet(), start_packet(SSL_REQUEST, b"")
QUERY = encode_frame(Frontend.QUERY, b"select 1\0")
SYNC = encode_frame(Frontend.SYNC, b"")
CLIENT = SSL + STARTUP + QUERY + SYNC + QUERY


def cut(cutter: MessageCutter, pieces: list[bytes], whole: Callable[[int], bool]) -> list[Passage]:
    found = []
    for number, piece in enumerate(pieces):
        cutter.feed(piece)
        while (passage := cutter.take(whole(number))) is not None:
            found.append(passage)
    return found


def split(data: bytes, points: set[int]) -> list[bytes]:
    edges = sorted({0, *(point % len(data) for point in points), len(data)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.sets(st.integers(0, 1000)))
def test_messages_are_found_however_they_are_split(points: set[int]) -> None:
    """Start-up packets, and then typed messages."""
    found = cut(MessageCutter(Opening(), True), split(CLIENT, points), lambda _: True)
    assert [each.data for each in found] == [SSL, STARTUP, QUERY, SYNC, QUERY]
    assert [each.code for each in found] == [UNTYPED, UNTYPED, ord("Q"), ord("S"), ord("Q")]
    assert found[2].body == b"select 1\0"
    assert found[1].body == STARTUP[4:]


@given(st.sets(st.integers(0, 1000)), st.sets(st.integers(0, 1000)))
def test_nothing_is_lost_when_attention_comes_and_goes(points: set[int], attentive: set[int]) -> None:
    """Bytes keep their order, and what is called a message is one."""
    pieces = split(CLIENT, points)
    found = cut(
        MessageCutter(Opening(), True), [*pieces, SYNC], lambda at: at in attentive or at == len(pieces)
    )
    assert b"".join(each.data for each in found) == CLIENT + SYNC
    assert found[-1] == Passage(SYNC, Frontend.SYNC)
    assert {each.data for each in found if each.code is not None} <= {SSL, STARTUP, QUERY, SYNC}


@given(st.binary(min_size=1), st.sets(st.integers(0, 1000)), st.booleans())
def test_what_is_no_protocol_passes(data: bytes, points: set[int], from_client: bool) -> None:
    """Unattended, everything passes at once."""
    pieces = split(data, points)
    found = cut(MessageCutter(Opening(), from_client), pieces, lambda _: False)
    assert [each.data for each in found] == pieces


@pytest.mark.parametrize("answer", [b"N", b"S"])
def test_one_byte_answers(answer: bytes) -> None:
    """After an acceptance nothing is readable; after a refusal messages follow."""
    opening = Opening()
    cut(MessageCutter(opening, True), [SSL], lambda _: True)
    ready = encode_frame(Backend.READY_FOR_QUERY, b"I")
    found = cut(MessageCutter(opening, False), [answer, ready], lambda _: True)
    assert found == [
        Passage(answer, UNTYPED),
        Passage(ready, None if answer == b"S" else Backend.READY_FOR_QUERY),
    ]


# -- on the wire -------------------------------------------------------------------------------------------------


async def answer(session: FakeSession) -> None:
    """Answer each Query with its own text, and keep what was asked."""
    while True:
        message = await session.receive()
        if isinstance(message, front.Terminate):
            return
        assert isinstance(message, front.Query)
        await session.send(back.DataRow((message.query.encode(),)))
        await session.complete("SELECT 1")


@asynccontextmanager
async def network() -> AsyncIterator[tuple[FaultProxy, FakeBackend, Callable[[], Awaitable[Client]]]]:
    """A proxy, the server behind it, and a way to connect."""
    async with (
        open_fake_backend(answer) as backend,
        open_fault_proxy(backend.address) as proxy,
        AsyncExitStack() as stack,
    ):

        async def log_in() -> Client:
            client = Client(await stack.enter_async_context(await connect(proxy.address)))
            await client.log_in()
            return client

        yield proxy, backend, log_in


class Client:
    """As much of a client as there need be."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.reader = FrameReader(limit=LARGEST_READ, stream_over=LARGEST_READ)

    async def log_in(self) -> None:
        await self.stream.send_all(STARTUP)
        await self.until(Backend.READY_FOR_QUERY)

    async def ask(self, query: bytes) -> list[int]:
        await self.stream.send_all(encode_frame(Frontend.QUERY, query + b"\0"))
        return await self.until(Backend.READY_FOR_QUERY)

    async def until(self, code: int) -> list[int]:
        """The type bytes up to that one; up to the end of the stream where it does not come."""
        codes: list[int] = []
        while code not in codes:
            data = await self.stream.receive_some(LARGEST_READ)
            if not data:
                return codes
            self.reader.feed(data)
            codes += [event.code for event in self.reader if isinstance(event, Frame)]
        return codes

    async def rest(self) -> bytes:
        """Whatever comes until the end or the reset."""
        found = self.reader.rest()
        try:
            while data := await self.stream.receive_some(LARGEST_READ):
                found += data
        except trio.BrokenResourceError:
            pass
        return found


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.001)


async def arrives_nothing(stream: trio.SocketStream) -> bool:
    """Neither bytes nor an end come."""
    with trio.move_on_after(0.05) as waiting:
        await stream.receive_some()
    return waiting.cancelled_caught


@pytest.mark.parametrize(
    ("place", "expected"),
    [(Place.BEFORE, []), (Place.INSIDE, [ord("D")]), (Place.AFTER, [ord("D")])],
)
async def test_reply_is_cut_at_a_message(place: Place, expected: list[int]) -> None:
    """The messages before it arrive, of itself as much as was asked for, and nothing after it."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        code = Backend.DATA_ROW if place is Place.BEFORE else Backend.COMMAND_COMPLETE
        wire = proxy.to_client.trip(place, code, Link.finish, nth=2)
        await client.ask(b"one")
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"two\0"))
        codes = await client.until(Backend.READY_FOR_QUERY)
        complete = encode_frame(Backend.COMMAND_COMPLETE, b"SELECT 1\0")
        assert codes == expected + [ord("C")] * (place is Place.AFTER)
        assert client.reader.rest() == (complete[: len(complete) // 2] if place is Place.INSIDE else b"")
        assert wire.fired.is_set()
        assert wire.link is not None
        assert wire.link.number == 1
        assert proxy.to_client.wires == []


@pytest.mark.parametrize("place", Place)
async def test_request_is_cut_at_a_message(place: Place) -> None:
    """The server has got it only when the cut is after it."""
    async with network() as (proxy, backend, log_in):
        client = await log_in()
        got: list[object] = []

        async def listen(session: FakeSession) -> None:
            while True:
                got.append(await session.receive())

        backend.handler = listen
        other = await log_in()
        wire = proxy.to_server.trip(place, Frontend.QUERY, Link.finish, where=lambda body: b"commit" in body)
        await client.ask(b"begin")
        for query in (b"insert\0", b"commit\0"):
            await other.stream.send_all(encode_frame(Frontend.QUERY, query))
        await other.rest()
        assert wire.fired.is_set()
        await until(lambda: proxy.open_connections == 1)
        expected = [front.Query("insert")] + [front.Query("commit")] * (place is Place.AFTER)
        assert [each for each in got if isinstance(each, front.Query)] == expected
        assert await client.ask(b"still here") == [ord("D"), ord("C"), ord("Z")]


async def test_reply_that_nobody_hears() -> None:
    """The client's side is reset, and the server goes on as if nothing had happened."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        proxy.to_client.trip(Place.BEFORE, Backend.COMMAND_COMPLETE, Link.sever_client)
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"one\0"))
        await client.rest()
        assert proxy.open_connections == 1
        (link,) = proxy.links
        link.finish()
        await until(lambda: not proxy.links)


async def test_server_is_lost_and_the_client_waits() -> None:
    """The other way round."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        proxy.to_server.trip(Place.INSIDE, Frontend.QUERY, Link.sever_server)
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"one\0"))
        assert await arrives_nothing(client.stream)
        assert proxy.open_connections == 1


async def test_blackhole_swallows_bytes_and_ends() -> None:
    """Both ends keep the connection; new ones are as dead; what vanished does not come again."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        proxy.blackhole()
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"lost\0"))
        assert await arrives_nothing(client.stream)
        async with await connect(proxy.address) as late:
            await late.send_all(STARTUP)
            assert await arrives_nothing(late)
        proxy.heal()
        assert await client.ask(b"heard") == [ord("D"), ord("C"), ord("Z")]


async def test_one_direction_is_dead() -> None:
    """The server hears, and is not heard; its end is not heard either."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        proxy.to_client.swallow = True
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"one\0"))
        await client.stream.send_all(encode_frame(Frontend.TERMINATE, b""))
        assert await arrives_nothing(client.stream)


async def test_one_connection_vanishes() -> None:
    """And another lives on."""
    async with network() as (proxy, _, log_in):
        client, other = await log_in(), await log_in()
        proxy.to_server.trip(Place.BEFORE, Frontend.QUERY, Link.vanish)
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"one\0"))
        assert await arrives_nothing(client.stream)
        assert await other.ask(b"two") == [ord("D"), ord("C"), ord("Z")]


async def test_wire_may_silence_the_line() -> None:
    """What comes after the message waits for `resume`, and nothing is lost."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        proxy.to_client.trip(Place.AFTER, Backend.DATA_ROW, lambda _: proxy.to_client.silence())
        await client.stream.send_all(encode_frame(Frontend.QUERY, b"one\0"))
        assert await client.until(Backend.DATA_ROW) == [ord("D")]
        assert await arrives_nothing(client.stream)
        proxy.to_client.resume()
        assert await client.until(Backend.READY_FOR_QUERY) == [ord("C"), ord("Z")]


async def test_nobody_listens() -> None:
    """The system refuses; those who are there stay; later it listens again at the same address."""
    async with network() as (proxy, _, log_in):
        client = await log_in()
        address = proxy.address
        await proxy.unbind()
        with pytest.raises(OSError, match="connect"):
            await connect(address)
        assert await client.ask(b"one") == [ord("D"), ord("C"), ord("Z")]
        await proxy.bind()
        assert proxy.address == address
        await log_in()


async def test_unix_sockets() -> None:
    """On both sides."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_fake_backend(answer) as backend,
            open_fault_proxy(backend.address, folder, 1) as inner,
            open_fault_proxy(inner.address, folder, 2) as outer,
        ):
            assert outer.address == (folder, 2)
            async with await connect(outer.address) as stream:
                client = Client(stream)
                await client.log_in()
                assert await client.ask(b"one") == [ord("D"), ord("C"), ord("Z")]
        assert os.listdir(folder) == []
