"""Transports, plain and TLS: the two faces of a connection, which behave alike for both kinds."""

from __future__ import annotations

import os
import socket
import struct

import pytest
import trio
import trio.testing

from helios_trio.net.errors import ConnectionLost
from helios_trio.net.tls_transport import TLSTransport
from helios_trio.net.transport import Keepalive, PlainTransport, Transport

BIG = bytes(range(256)) * 8192
"""Two mebibytes: more than any socket buffer takes at once."""

Pair = tuple[Transport, Transport]


async def receive_all(transport: Transport, size: int) -> bytes:
    """So many bytes."""
    found = bytearray()
    with trio.fail_after(10):
        while len(found) < size:
            found += await transport.receive_some(size)
    return bytes(found)


async def send_for_ever(transport: Transport) -> None:
    """Until it cannot."""
    while True:
        await transport.send_all(BIG)


async def test_what_is_sent_arrives_whole_in_both_directions(pair: Pair) -> None:
    """Large data passes small buffers both ways at once, with neither side starving the other."""
    left, right = pair
    received: dict[str, bytes] = {}

    async def receive(name: str, transport: Transport) -> None:
        received[name] = await receive_all(transport, len(BIG))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, BIG)
        nursery.start_soon(right.send_all, BIG[::-1])
        nursery.start_soon(receive, "left", left)
        nursery.start_soon(receive, "right", right)
    assert received == {"left": BIG[::-1], "right": BIG}


async def test_nothing_to_receive_raises(pair: Pair) -> None:
    """`recv_nowait` says that nothing is there, and does not wait."""
    with pytest.raises(BlockingIOError):
        pair[0].recv_nowait(10)


async def test_a_full_socket_takes_nothing_more(pair: Pair) -> None:
    """Offering the rest again, with more behind it, loses and doubles nothing."""
    left, right = pair
    to_send, sent = bytearray(BIG), 0
    while taken := left.send_nowait(memoryview(to_send)[sent:].tobytes()):
        sent += taken
    assert sent < len(BIG)
    to_send += b"and more"
    received = bytearray()
    while len(received) < len(to_send):
        try:
            received += right.recv_nowait(65536)
        except BlockingIOError:
            sent += left.send_nowait(bytes(to_send[sent:]))
    assert received == to_send


async def test_end_of_stream(pair: Pair) -> None:
    """A peer that closes in good order leaves b"" behind what it sent."""
    left, right = pair
    await left.send_all(b"last words")
    left.close()
    assert await receive_all(right, 10) == b"last words"
    assert await right.receive_some(10) == b""
    assert right.recv_nowait(10) == b""


async def test_shutdown_write_leaves_the_other_direction_open(pair: Pair) -> None:
    """After a half-close the peer sees the end, and can still be heard."""
    left, right = pair
    left.shutdown_write()
    assert await right.receive_some(10) == b""
    await right.send_all(b"still here")
    assert await receive_all(left, 10) == b"still here"


async def test_close_wakes_who_waits(pair: Pair) -> None:
    """A task waiting for bytes gets `ConnectionLost` when the transport is closed under it."""
    left, _ = pair

    async def wait() -> None:
        with pytest.raises(ConnectionLost):
            await left.receive_some(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        left.close()


async def test_close_may_be_repeated(pair: Pair) -> None:
    """The second close does nothing, and a closed transport has no descriptor and nothing to say."""
    left, _ = pair
    left.close()
    left.close()
    assert left.closed
    assert left.fileno() == -1
    with pytest.raises(ConnectionLost):
        await left.wait_readable()


async def test_sending_to_a_peer_that_is_gone(pair: Pair) -> None:
    """The system's error becomes ours, with the address in it."""
    left, right = pair
    right.close()
    with pytest.raises(ConnectionLost, match=left.peer), trio.fail_after(10):
        await send_for_ever(left)


async def test_a_cancelled_receive_takes_nothing(pair: Pair) -> None:
    """Bytes are not lost to a task that was cancelled at the same moment."""
    left, right = pair
    await left.send_all(b"hello")
    with trio.CancelScope() as scope:
        scope.cancel()
        await right.receive_some(10)
    assert await receive_all(right, 5) == b"hello"


async def test_receiving_always_lets_others_run(pair: Pair) -> None:
    """A peer that sends without pause cannot keep a task from yielding."""
    left, right = pair
    await left.send_all(b"ab")
    with trio.testing.assert_checkpoints():
        await right.receive_some(1)
    with trio.testing.assert_checkpoints():
        await right.receive_some(1)


async def test_a_reset_is_a_lost_connection() -> None:
    """A TCP reset does not look like the end of a stream."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as peer,
    ):
        transport = PlainTransport(server.accept()[0], "peer")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionLost, match="reset"), trio.fail_after(10):
            await transport.receive_some(10)
        transport.close()


def test_tcp_options() -> None:
    """TCP connections do not delay small packets, and probe their peer as configured."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        sock = server.accept()[0]
        transport = PlainTransport(sock, "peer")
        transport.set_keepalive(Keepalive(idle=61, interval=11, count=7, user_timeout=90))
        tcp = {
            name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        transport.close()
    assert tcp == {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": 61,
        "TCP_KEEPINTVL": 11,
        "TCP_KEEPCNT": 7,
        "TCP_USER_TIMEOUT": 90_000,
    }


async def test_the_first_byte_can_be_looked_at(plain_pair: tuple[PlainTransport, PlainTransport]) -> None:
    """What was peeked at is still there to be received."""
    left, right = plain_pair
    await left.send_all(b"\x16\x03")
    assert await right.peek_first_byte() == 0x16
    assert await receive_all(right, 2) == b"\x16\x03"


async def test_peeking_at_a_peer_that_only_closes(plain_pair: tuple[PlainTransport, PlainTransport]) -> None:
    """A port scanner's connection has no first byte."""
    left, right = plain_pair
    left.close()
    assert await right.peek_first_byte() is None


async def test_decrypted_bytes_announce_themselves(tls_pair: tuple[TLSTransport, TLSTransport]) -> None:
    """What TLS has read ahead is pending, and does not wait for the socket."""
    left, right = tls_pair
    await left.send_all(b"0123456789")
    assert await receive_all(right, 1) == b"0"
    assert right.pending() == 9
    with trio.fail_after(10):
        await right.wait_readable()
    assert right.recv_nowait(100) == b"123456789"
    assert right.pending() == 0


async def test_nothing_is_read_behind_the_end_of_tls(tls_pair: tuple[TLSTransport, TLSTransport]) -> None:
    """Unencrypted bytes after both sides have said goodbye are nobody's words."""
    left, right = tls_pair
    right._farewell()  # the peer ends TLS and leaves the connection beneath open
    left._farewell()
    with socket.socket(fileno=os.dup(right.fileno())) as beneath:
        beneath.send(b"injected")
        assert await left.receive_some(100) == b""
    assert left.pending() == 0


def test_plain_transports_keep_nothing_back(plain_pair: tuple[PlainTransport, PlainTransport]) -> None:
    """A plain connection has nothing pending and never wants the other direction."""
    left, _ = plain_pair
    assert (left.pending(), left.wants_read, left.wants_write) == (0, False, False)
    assert left.tls is None
    assert left.server_end_point() is None
