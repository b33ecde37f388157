"""Start-up packets and frames read from transports, from peers that mean well and others."""

from __future__ import annotations

import struct

import pytest
import trio
import trio.testing
from certificates import Authority

from helios_trio.config.words import ClientTls, SslMode
from helios_trio.errors import ProtocolViolation
from helios_trio.net.errors import ConnectionLost, TLSFailed
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.tls import ClientTLS, ServerSideTLS, ServerTLS
from helios_trio.net.tls_transport import start_tls_client
from helios_trio.net.transport import PlainTransport
from helios_trio.wire.codes import PROTOCOL_3_0, Frontend
from helios_trio.wire.frames import AUTHENTICATING, FRONTEND, Frame, FrameChunk, FrameReader, FrameStart
from helios_trio.wire.frontend_messages import CopyData, PasswordMessage, Query
from helios_trio.wire.startup import CancelRequest, SSLRequest, StartupMessage

STARTUP = StartupMessage(PROTOCOL_3_0, ((b"user", b"alice"), (b"database", b"shop")))

Pair = tuple[PlainTransport, PlainTransport]


@pytest.fixture
def peer(plain_pair: Pair) -> PlainTransport:
    """The client's end."""
    return plain_pair[0]


@pytest.fixture
def stream(plain_pair: Pair) -> FrameStream:
    """A stream as a client's handshake begins with."""
    return FrameStream(plain_pair[1], FrameReader(65535, 65535, AUTHENTICATING))


@pytest.fixture
def side(authority: Authority) -> ServerSideTLS:
    """TLS towards clients."""
    pair = authority.issue("server")
    found = ClientTLS(ClientTls.ALLOW, cert_file=pair.cert_file, key_file=pair.key_file).current
    assert found is not None
    return found


async def test_packets_and_frames_follow_each_other(peer: PlainTransport, stream: FrameStream) -> None:
    """What is sent in one piece is read one by one, and the rest is handed over."""
    password = PasswordMessage("secret")
    await peer.send_all(STARTUP.encode() + password.encode() + b"Q\0\0\0")
    assert await stream.read_startup() == STARTUP
    assert await stream.read_frame() == Frame(Frontend.PASSWORD, password.body())
    assert stream.take_rest() == b"Q\0\0\0"
    assert stream.take_rest() == b""


async def test_bytes_may_come_one_by_one(peer: PlainTransport, stream: FrameStream) -> None:
    """Rule 3: where the network splits makes no difference."""

    async def trickle() -> None:
        for byte in STARTUP.encode() + PasswordMessage("secret").encode():
            await peer.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            assert await stream.read_startup() == STARTUP
            assert (await stream.read_frame()).code == Frontend.PASSWORD


async def test_rest_before_the_first_frame(peer: PlainTransport, stream: FrameStream) -> None:
    """Bytes behind the start-up packet are not lost to whoever takes over at once."""
    await peer.send_all(STARTUP.encode() + Query("select 1").encode())
    await stream.read_startup()
    assert stream.take_rest() == Query("select 1").encode()


async def test_a_peer_that_says_nothing(peer: PlainTransport, stream: FrameStream) -> None:
    """A connection closed before it began is no error."""
    peer.close()
    assert await stream.read_startup() is None


@pytest.mark.parametrize("size", [1, 3, 4, 7, 20])
async def test_half_a_startup_packet(size: int, peer: PlainTransport, stream: FrameStream) -> None:
    """Rule 5: the stream ends within the packet."""
    await peer.send_all(STARTUP.encode()[:size])
    peer.close()
    with pytest.raises(ProtocolViolation, match="incomplete startup packet"):
        await stream.read_startup()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        struct.pack("!i", -1),
        struct.pack("!i", 7),
        struct.pack("!i", 10_005),
        b"\x7f\xff\xff\xff",
    ],
)
async def test_garbage_is_refused_before_more_is_read(
    garbage: bytes, peer: PlainTransport, stream: FrameStream
) -> None:
    """Rule 5: an absurd length is an error at once, not after as many bytes."""
    await peer.send_all(garbage)
    with pytest.raises(ProtocolViolation, match="invalid length of startup packet"), trio.fail_after(10):
        await stream.read_startup()


async def test_end_of_stream_within_and_between_frames(peer: PlainTransport, stream: FrameStream) -> None:
    """Both are the loss of the connection."""
    await peer.send_all(STARTUP.encode() + b"p\0\0\0\x10half")
    peer.close()
    await stream.read_startup()
    with pytest.raises(ConnectionLost, match="closed the connection"):
        await stream.read_frame()


async def test_a_frame_too_large_for_its_place(peer: PlainTransport, stream: FrameStream) -> None:
    """Rule 5: nobody who is not logged in makes us hold a gigabyte."""
    await peer.send_all(b"p" + struct.pack("!i", 1 << 30))
    with pytest.raises(ProtocolViolation, match="invalid message length"), trio.fail_after(10):
        await stream.read_frame()


async def test_large_frames_come_in_pieces(peer: PlainTransport, plain_pair: Pair) -> None:
    """Rule 3: a frame above the threshold is never held; asking for it whole is an error."""
    data = bytes(300_000)
    stream = FrameStream(plain_pair[1], FrameReader(1 << 30, 1000, FRONTEND))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_all, CopyData(data).encode() * 2)
            assert await stream.read_event() == FrameStart(Frontend.COPY_DATA, len(data))
            received, last = b"", False
            while not last:
                event = await stream.read_event()
                assert isinstance(event, FrameChunk)
                assert len(event.data) <= 16384
                received, last = received + event.data, event.last
            assert received == data
            with pytest.raises(ProtocolViolation):
                await stream.read_frame()
            nursery.cancel_scope.cancel()


async def test_tls_after_the_request(peer: PlainTransport, stream: FrameStream, side: ServerSideTLS) -> None:
    """The start-up packet comes encrypted, after the request for TLS and its answer."""
    context = ServerTLS(SslMode.REQUIRE).context
    assert context is not None

    async def connect() -> None:
        await peer.send_all(SSLRequest().encode())
        assert await peer.receive_some(10) == b"S"
        encrypted = await start_tls_client(peer, context, None)
        await encrypted.send_all(STARTUP.encode())
        encrypted.close()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            assert await stream.read_startup() == SSLRequest()
            await stream.send(b"S")
            await stream.start_tls(side)
            assert await stream.read_startup() == STARTUP
            assert await stream.read_startup() is None
    assert stream.transport.tls is not None
    stream.transport.close()


async def test_direct_tls(peer: PlainTransport, stream: FrameStream, side: ServerSideTLS) -> None:
    """A client that names the protocol in its handshake needs no request."""
    context = ServerTLS(SslMode.REQUIRE).context
    assert context is not None

    async def connect() -> None:
        encrypted = await start_tls_client(peer, context, None)
        await encrypted.send_all(CancelRequest(1, b"key!").encode())
        encrypted.close()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            await stream.start_tls(side, direct=True)
            assert await stream.read_startup() == CancelRequest(1, b"key!")
    stream.transport.close()


async def test_nothing_may_stand_before_the_handshake(
    peer: PlainTransport, stream: FrameStream, side: ServerSideTLS
) -> None:
    """Bytes behind the request for TLS are not taken for encrypted ones (CVE-2021-23214)."""
    await peer.send_all(SSLRequest().encode() + STARTUP.encode())
    await stream.read_startup()
    with pytest.raises(ProtocolViolation, match="received unencrypted data after SSL request"):
        await stream.start_tls(side)


async def test_tls_is_not_nested(tls_pair: object, side: ServerSideTLS) -> None:
    """A second request for TLS inside TLS is refused."""
    client, server = tls_pair  # type: ignore[misc]
    stream = FrameStream(server, FrameReader(65535, 65535, AUTHENTICATING))
    await client.send_all(SSLRequest().encode())
    await stream.read_startup()
    with pytest.raises(ProtocolViolation, match="encrypted already"):
        await stream.start_tls(side)


async def test_a_failed_handshake(peer: PlainTransport, stream: FrameStream, side: ServerSideTLS) -> None:
    """A client that asks for TLS and then speaks in plain is not served."""
    await peer.send_all(SSLRequest().encode())
    await stream.read_startup()
    await peer.send_all(STARTUP.encode())
    with pytest.raises(TLSFailed), trio.fail_after(10):
        await stream.start_tls(side)
