"""From an accepted socket to somebody who may have a session: encryption, start-up packet, authentication.

Everything here happens before the peer is trusted: bounded in bytes by the frame reader, in time by the login
timeout, in number by the caller.

Used by: proxy.serving.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from helios_trio.errors import NotAuthorised
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.tls import ClientTLS
from helios_trio.net.transport import PlainTransport
from helios_trio.proxy.authentication import Authenticated
from helios_trio.wire.codes import GSSENC_REQUEST, SSL_REQUEST
from helios_trio.wire.frames import AUTHENTICATING, FrameReader
from helios_trio.wire.startup import (
    CancelRequest,
    GSSENCRequest,
    Replication,
    SSLRequest,
    StartupMessage,
    check_version,
    looks_like_tls,
    negotiate,
)

#: Largest message of a client that has not proved who it is, in bytes.
_LIMIT = 65_535


@frozen
class Admitted:
    """A client that has proved who it is."""

    stream: FrameStream
    startup: StartupMessage
    #: protocol version spoken with it
    protocol: int
    authenticated: Authenticated

    @property
    def is_replication(self) -> bool:
        """Whether it asked for a walsender."""
        return self.startup.replication is not Replication.OFF


Authenticate = Callable[[FrameStream, StartupMessage], Awaitable[Authenticated]]


def conversation(transport: PlainTransport) -> FrameStream:
    """A stream that trusts nobody yet."""
    return FrameStream(transport, FrameReader(_LIMIT, _LIMIT, AUTHENTICATING))


async def read_opening(stream: FrameStream, tls: ClientTLS) -> StartupMessage | CancelRequest | None:
    """Read up to the start-up packet or cancel request, agreeing on encryption; None when the peer has left.

    Raises ProtocolViolation, and NotAuthorised for a client that must use TLS and does not.
    """
    transport = stream.transport
    if tls.current is not None and isinstance(transport, PlainTransport):
        first = await transport.peek_first_byte()
        if first is None:
            return None
        if looks_like_tls(first):
            await stream.start_tls(tls.current, direct=True)
    encrypted = asked_gss = False
    while True:
        packet = await stream.read_startup()
        if isinstance(packet, SSLRequest) and not encrypted and stream.transport.tls is None:
            encrypted = True
            if tls.current is None or stream.transport.is_unix:
                await stream.send(b"N")
            else:
                await stream.send(b"S")
                await stream.start_tls(tls.current)
        elif isinstance(packet, GSSENCRequest) and not asked_gss:
            asked_gss = True
            await stream.send(b"N")
        elif isinstance(packet, SSLRequest | GSSENCRequest):
            check_version(SSL_REQUEST if isinstance(packet, SSLRequest) else GSSENC_REQUEST)
        else:
            if isinstance(packet, StartupMessage) and tls.required and _must_encrypt(stream):
                raise NotAuthorised("SSL connection is required")
            return packet


def _must_encrypt(stream: FrameStream) -> bool:
    return stream.transport.tls is None and not stream.transport.is_unix


async def admit(stream: FrameStream, startup: StartupMessage, authenticate: Authenticate) -> Admitted:
    """Agree on the protocol version and have the client prove who it is."""

    protocol, notice = negotiate(startup)
    if notice is not None:
        await stream.send(notice.encode())
    return Admitted(stream, startup, protocol, await authenticate(stream, startup))
