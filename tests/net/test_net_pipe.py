"""One end of the relay: reading, back-pressure, endings, on socket pairs (rules 3, 40)."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing

from helios_trio.net.errors import ConnectionLost
from helios_trio.net.pipe import SEND_LATER, Pipe
from helios_trio.net.readiness import Readiness
from helios_trio.net.transport import PlainTransport

BUFFER = 64 * 1024


class Recorder(Pipe):
    """Notes what it is told."""

    def __init__(self, transport: PlainTransport, readiness: Readiness) -> None:
        super().__init__(transport, readiness)
        self.received = bytearray()
        self.ends: list[Exception | None] = []
        self.drained = 0
        self.failures: list[Exception] = []
        self.sink: Recorder | None = None
        self.bug: Exception | None = None

    def on_bytes(self, data: bytes) -> None:
        """Keeps them, or passes them on as the relay does."""
        if self.bug is not None:
            raise self.bug
        self.received += data
        if self.sink is not None:
            self.sink.send(data)
            if self.sink.congested:
                self.pause()

    def on_end(self, error: Exception | None) -> None:
        """The end, once."""
        self.ends.append(error)
        self.close()

    def on_congested(self) -> None:
        """Stops the other side, which has sent."""
        if self.sink is not None:
            self.sink.pause()

    def on_drained(self) -> None:
        """Lets the other side go on."""
        self.drained += 1
        if self.sink is not None:
            self.sink.unpause()

    def on_failure(self, error: Exception) -> None:
        """A bug."""
        self.failures.append(error)


@pytest.fixture
async def readiness(nursery: trio.Nursery) -> Readiness:
    """A running one."""
    found = Readiness()
    nursery.start_soon(found.run)
    return found


Make = Callable[[], tuple[Recorder, trio.socket.SocketType]]


@pytest.fixture(params=["unix", "tcp"])
async def make(request: pytest.FixtureRequest, readiness: Readiness) -> AsyncIterator[Make]:
    """Makes a registered pipe and its peer, with bounded buffers."""
    opened: list[tuple[Recorder, trio.socket.SocketType]] = []

    def connected() -> tuple[socket.socket, socket.socket]:
        if request.param == "unix":
            return socket.socketpair()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            return listener.accept()[0], theirs

    def build() -> tuple[Recorder, trio.socket.SocketType]:
        ours, theirs = connected()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        theirs.setblocking(False)
        pipe = Recorder(PlainTransport(ours, "peer"), readiness)
        pipe.register()
        opened.append((pipe, trio.socket.from_stdlib_socket(theirs)))
        return opened[-1]

    yield build
    for pipe, peer in opened:
        pipe.close()
        peer.close()


async def until(true: Callable[[], object]) -> None:
    """Return when it is so."""
    with trio.fail_after(10):
        while not true():
            await trio.lowlevel.checkpoint()


async def send_all(peer: trio.socket.SocketType, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[await peer.send(view) :]


async def receive_all(peer: trio.socket.SocketType, size: int) -> bytes:
    """So many bytes."""
    found = bytearray()
    while len(found) < size:
        data = await peer.recv(65536)
        assert data
        found += data
    return bytes(found)


async def test_bytes_pass_and_are_counted(make: Make) -> None:
    """Both ways."""
    pipe, peer = make()
    await send_all(peer, b"question")
    await until(lambda: pipe.received)
    assert (bytes(pipe.received), pipe.bytes_in) == (b"question", 8)
    pipe.send(b"answer")
    assert await receive_all(peer, 6) == b"answer"
    assert pipe.bytes_out == 6
    assert not pipe.congested


async def test_what_the_socket_does_not_take_is_sent_later_in_order(make: Make) -> None:
    """Nothing is lost or doubled, and the owner is told once when all has gone."""
    pipe, peer = make()
    data = random.Random(1).randbytes(800_000)
    for at in range(0, len(data), 50_000):
        pipe.send(data[at : at + 50_000])
    assert pipe.congested
    assert pipe.drained == 0
    assert await receive_all(peer, len(data)) == data
    await until(lambda: pipe.drained)
    assert (pipe.drained, pipe.congested) == (1, False)


async def test_a_slow_reader_slows_its_peer_down(make: Make) -> None:
    """Rule 3: between two ends no more is kept than one read, however much is to come."""
    source, writer = make()
    sink, reader = make()
    source.sink, sink.sink = sink, source
    data = random.Random(2).randbytes(3 << 20)
    most = 0
    digest = hashlib.sha256()

    async def read_slowly() -> None:
        nonlocal most
        received = 0
        while received < len(data):
            chunk = await reader.recv(20_000)
            received += len(chunk)
            digest.update(chunk)
            most = max(most, sum(map(len, sink._backlog)))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)
            await send_all(writer, data)
    assert digest.digest() == hashlib.sha256(data).digest()
    assert 0 < most <= 256 * 1024


async def test_a_paused_pipe_reads_nothing(make: Make) -> None:
    """Until it is told to go on; then nothing of what came meanwhile is missing."""
    pipe, peer = make()
    pipe.pause()
    await send_all(peer, b"later")
    await trio.testing.wait_all_tasks_blocked()
    assert not pipe.received
    pipe.unpause()
    await until(lambda: pipe.received)
    assert bytes(pipe.received) == b"later"


async def test_the_end_of_the_stream(make: Make) -> None:
    """What came before it is read first; it is no error."""
    pipe, peer = make()
    await send_all(peer, b"last words")
    peer.close()
    await until(lambda: pipe.ends)
    assert bytes(pipe.received) == b"last words"
    assert pipe.ends == [None]


async def test_last_words_to_a_paused_pipe_are_not_lost(make: Make) -> None:
    """Rule 3: a server that answers and closes while its client is slow has still answered."""
    pipe, peer = make()
    pipe.pause()
    await send_all(peer, b"last words")
    peer.close()
    await trio.testing.wait_all_tasks_blocked()
    assert not pipe.ends
    pipe.unpause()
    await until(lambda: pipe.ends)
    assert bytes(pipe.received) == b"last words"


async def test_a_peer_that_is_gone_is_noticed_when_sending(make: Make) -> None:
    """As an error of this project, not of the operating system."""
    pipe, peer = make()
    pipe.unregister()
    peer.close()
    with trio.fail_after(10):
        while not pipe.ends:
            pipe.send(b"x" * 1000)
            await trio.lowlevel.checkpoint()
    assert isinstance(pipe.ends[0], ConnectionLost)


async def test_a_bug_stays_with_its_pipe(make: Make) -> None:
    """Rule 40: the other pipes of the relay go on."""
    buggy, peer = make()
    other, other_peer = make()
    buggy.bug = ValueError("a bug")
    await send_all(peer, b"x")
    await until(lambda: buggy.failures)
    assert buggy.failures == [buggy.bug]
    await send_all(other_peer, b"still served")
    await until(lambda: other.received)
    assert not other.failures


async def test_a_closed_pipe_hears_nothing(make: Make, readiness: Readiness) -> None:
    """Its socket is no longer registered; closing again does no harm."""
    pipe, peer = make()
    before = len(readiness)
    os.write(peer.fileno(), b"too late")
    pipe.close()
    pipe.close()
    assert len(readiness) == before - 1
    await trio.testing.wait_all_tasks_blocked()
    assert not pipe.received
    assert not pipe.ends


async def test_what_a_batch_sends_goes_out_in_order_at_its_end(make: Make) -> None:
    """Small pieces wait for the other handlers of the batch; a large one takes them along."""
    source, writer = make()
    sink, reader = make()
    held: list[int] = []
    large = bytes(SEND_LATER)

    def send_pieces(data: bytes) -> None:
        for piece in (b"one ", b"two ", large, b" three"):
            sink.send(piece)
            held.append(len(sink._unsent))

    source.on_bytes = send_pieces  # type: ignore[method-assign]
    await send_all(writer, b"go")
    assert await receive_all(reader, 14 + len(large)) == b"one two " + large + b" three"
    assert held == [1, 2, 0, 1]
    assert sink.bytes_out == 14 + len(large)


async def test_closing_sends_what_waits_for_the_end_of_the_batch(make: Make) -> None:
    """Last words are not lost."""
    source, writer = make()
    sink, reader = make()

    def say_goodbye(data: bytes) -> None:
        sink.send(b"goodbye")
        sink.close()

    source.on_bytes = say_goodbye  # type: ignore[method-assign]
    await send_all(writer, b"go")
    assert await receive_all(reader, 7) == b"goodbye"
