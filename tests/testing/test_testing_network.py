"""The fault proxy does what its faults say, and the fake backend speaks enough protocol for the player."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from helios_trio.testing.fake_backend import FakeSession, open_fake_backend
from helios_trio.testing.faults import FaultProxy, open_fault_proxy
from helios_trio.testing.player import connect, play
from helios_trio.testing.requests import query, sync
from helios_trio.testing.script import Cancel, Script, ask, closed, flatten, send, wait_for
from helios_trio.testing.transcript import Closed, first_difference
from helios_trio.wire import backend_messages as back
from helios_trio.wire import frontend_messages as front

LARGEST_READ = 65536


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[FaultProxy, list[bytes]]]:
    """A fault proxy to a server that sends everything back; and the pieces that reached that server."""
    pieces: list[bytes] = []

    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async with stream:
                async for data in stream:
                    pieces.append(bytes(data))
                    await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        target = ("127.0.0.1", listeners[0].socket.getsockname()[1])
        async with open_fault_proxy(target) as proxy:
            yield proxy, pieces
        nursery.cancel_scope.cancel()


async def receive_exactly(stream: trio.SocketStream, size: int) -> bytes:
    """This many bytes."""
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(LARGEST_READ)
        assert piece, "closed too early"
        data += piece
    return data


async def test_bytes_pass_unchanged() -> None:
    """Without faults it is a plain relay."""
    async with echoing() as (proxy, _), await connect(proxy.address) as stream:
        await stream.send_all(b"abc" * 1000)
        assert await receive_exactly(stream, 3000) == b"abc" * 1000
        assert (proxy.accepted, proxy.open_connections) == (1, 1)


async def test_cut_at_byte() -> None:
    """Exactly the bytes before the cut arrive, then the connection is reset."""
    async with echoing() as (proxy, pieces), await connect(proxy.address) as stream:
        proxy.to_server.cut_at = 5
        await stream.send_all(b"0123456789")
        with pytest.raises(trio.BrokenResourceError):
            await receive_exactly(stream, 10)
        assert b"".join(pieces) in (b"01234", b"")


async def test_silence_holds_bytes_until_resumed() -> None:
    """What is sent during a silence arrives after it, in order."""
    async with echoing() as (proxy, pieces), await connect(proxy.address) as stream:
        proxy.to_client.silence()
        await stream.send_all(b"held")
        with trio.move_on_after(0.05) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught
        assert b"".join(pieces) == b"held"
        proxy.to_client.resume()
        assert await receive_exactly(stream, 4) == b"held"


async def test_half_open_hides_the_end() -> None:
    """The server does not learn that the client has finished."""
    async with echoing() as (proxy, _), await connect(proxy.address) as stream:
        proxy.to_server.half_open = True
        await stream.send_eof()
        with trio.move_on_after(0.05) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught


async def test_gather_joins_pieces() -> None:
    """Pieces sent one after the other reach the server as one."""
    async with echoing() as (proxy, pieces), await connect(proxy.address) as stream:
        proxy.to_server.gather = 0.1
        for _ in range(5):
            await stream.send_all(b"x")
            await trio.lowlevel.checkpoint()
        assert await receive_exactly(stream, 5) == b"xxxxx"
        assert pieces == [b"xxxxx"]


async def test_cut_and_refusal() -> None:
    """`cut` ends what is open; a refusing proxy closes what is new."""
    async with echoing() as (proxy, _), await connect(proxy.address) as stream:
        await stream.send_all(b"x")
        await receive_exactly(stream, 1)
        proxy.cut()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        proxy.refusing = True
        async with await connect(proxy.address) as refused:
            assert await refused.receive_some() == b""


async def answer(session: FakeSession) -> None:
    """Answer each Query with its own text."""
    while True:
        message = await session.receive()
        if isinstance(message, front.Terminate):
            return
        assert isinstance(message, front.Query)
        if message.query == "fail":
            await session.fail("22012", "division by zero", "FATAL")
            return
        await session.send(back.DataRow((message.query.encode(),)))
        await session.complete("SELECT 1")


async def test_fake_backend_answers_the_player() -> None:
    """Start-up, query, error and end are what the script of the fake server says."""
    script = Script("fake", flatten((ask(query("one")), send(query("fail")), closed())), {"user": "somebody"})
    async with open_fake_backend(answer) as backend:
        transcript = await play(script, backend.address)
        assert transcript.problem is None
        events = transcript.received["main"]
        assert back.DataRow((b"one",)) in events
        assert isinstance(events[-2], back.ErrorResponse)
        assert isinstance(events[-1], Closed)
        assert backend.sessions[0].startup.user == "somebody"


async def test_fake_backend_keeps_cancel_requests() -> None:
    """A cancel request arrives with the key that the session was told."""
    script = Script("cancel", flatten((ask(query("one")), Cancel())), {"user": "somebody"})
    async with open_fake_backend(answer) as backend:
        assert (await play(script, backend.address)).problem is None
        session = backend.sessions[0]
        assert [(cancel.pid, cancel.secret) for cancel in backend.cancels] == [(session.pid, session.secret)]


@pytest.mark.parametrize("segment", [1, 3, 7])
async def test_segments_change_nothing(segment: int) -> None:
    """Rule 3: a transcript is the same however the network cuts the bytes."""
    script = Script("cut", flatten((ask(query("one")), ask(query("two" * 10)))), {"user": "somebody"})
    async with open_fake_backend(answer) as backend, open_fault_proxy(backend.address) as proxy:
        whole = await play(script, proxy.address)
        proxy.to_client.segment = proxy.to_server.segment = segment
        cut = await play(script, proxy.address)
        assert whole.problem is None
        assert first_difference(whole.comparable(), cut.comparable()) is None


async def test_script_that_waits_in_vain_says_where() -> None:
    """The transcript names the step that could not be fulfilled and keeps what came before."""
    script = Script(
        "stuck", flatten((ask(query("one")), send(sync()), wait_for("CopyInResponse"))), {"user": "x"}
    )

    async def deaf(session: FakeSession) -> None:
        await session.expect(front.Query)
        await session.complete("SELECT 0")
        await session.expect(front.Sync)

    async with open_fake_backend(deaf) as backend:
        transcript = await play(script, backend.address, step_seconds=2)
    assert transcript.problem is not None
    assert "CopyInResponse" in transcript.problem
    assert back.CommandComplete("SELECT 0") in transcript.received["main"]


def test_difference_names_the_message() -> None:
    """The first message that differs is shown with what was expected and found."""
    ready, other = back.ReadyForQuery(ord("I")), back.ReadyForQuery(ord("T"))
    assert first_difference({"main": [ready]}, {"main": [ready]}) is None
    found = first_difference({"main": [ready, ready]}, {"main": [ready, other]})
    assert found is not None
    assert "message 1" in found
    assert repr(other) in found
