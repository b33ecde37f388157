"""A transport read as start-up packets, then as frames, by one Trio task.

Used while each message is looked at: handshake and authentication on both sides, and sessions that left the
relay. What it has read too much of is handed on with `take_rest`, so the relay can take the transport over in
the middle of a frame. Memory is bounded by the reader's limits, whatever the peer sends (correctness rules 3
and 5).
"""

from __future__ import annotations

from typing import Final

from helios_trio.errors import ProtocolViolation
from helios_trio.net.errors import ConnectionLost
from helios_trio.net.tls import ServerSideTLS
from helios_trio.net.tls_transport import start_tls_server
from helios_trio.net.transport import PlainTransport, Transport
from helios_trio.wire.frames import Event, Frame, FrameReader
from helios_trio.wire.startup import StartupPacket, parse_startup

RECEIVE_SIZE: Final = 8192
"""Bytes asked of the socket at a time; larger buffers measured slower."""


class FrameStream:
    """Start-up packets and frames of one connection. Give it to one task at a time."""

    def __init__(self, transport: Transport, reader: FrameReader) -> None:
        """Read from `transport`; `reader` bounds the frames and says which type bytes exist."""
        self.transport = transport
        self.reader = reader
        self._unread = bytearray()

    async def read_startup(self) -> StartupPacket | None:
        """The next start-up packet, or None if the peer closed instead of sending one.

        Raises `ProtocolViolation` for what cannot become a packet, half a packet at end of stream included.
        """
        while (found := parse_startup(self._unread)) is None:
            data = await self._receive()
            if not data:
                if self._unread:
                    raise ProtocolViolation("incomplete startup packet")
                return None
            self._unread += data
        packet, size = found
        del self._unread[:size]
        return packet

    async def start_tls(self, side: ServerSideTLS, *, direct: bool = False) -> None:
        """Go on in TLS as the server: after an SSLRequest and our S, or with a `direct` TLS handshake.

        Raises `ProtocolViolation` if unencrypted bytes stand before the handshake: somebody between could
        have put them there to be taken for encrypted ones (CVE-2021-23214). Errors else as in
        `start_tls_server`.
        """
        if self._unread:
            raise ProtocolViolation(
                "received unencrypted data after SSL request",
                detail="This could be either a client-software bug or evidence of an attempted "
                "man-in-the-middle attack.",
            )
        if not isinstance(self.transport, PlainTransport):
            raise ProtocolViolation("the connection is encrypted already")
        self.transport = await start_tls_server(self.transport, side, require_alpn=direct)

    async def read_event(self) -> Event:
        """The next frame, or the head or next piece of one that is too large to be held.

        Raises `ProtocolViolation`, and `ConnectionLost` at end of stream.
        """
        if self._unread:
            self.reader.feed(self._unread)
            self._unread.clear()
        while (event := self.reader.next_event()) is None:
            data = await self._receive()
            if not data:
                raise ConnectionLost(f"{self.transport.peer} closed the connection")
            self.reader.feed(data)
        return event

    async def read_frame(self) -> Frame:
        """The next frame, whole. Raises as `read_event`; a frame too large is a `ProtocolViolation`."""
        event = await self.read_event()
        if not isinstance(event, Frame):
            raise ProtocolViolation("invalid message length")
        return event

    async def _receive(self) -> bytes:
        """What has come; no checkpoint when it is there already, which spares a login its dearest part.

        So bounded that nobody can keep others from their turn: the caller has a limit for what it holds.
        """
        while True:
            try:
                return self.transport.recv_nowait(RECEIVE_SIZE)
            except BlockingIOError:
                await self.transport.wait_readable()

    async def read_ahead(self, limit: int) -> bool:
        """Receive without looking, up to `limit` bytes; False at end of stream. `take_rest` gives what has come."""
        while len(self._unread) < limit:
            data = await self.transport.receive_some(RECEIVE_SIZE)
            if not data:
                return False
            self._unread += data
        return True

    async def send(self, data: bytes) -> None:
        """Send everything; see `Transport.send_all`. No checkpoint when the socket takes it at once."""
        sent = self.transport.send_nowait(data)
        if sent < len(data):
            await self.transport.send_all(memoryview(data)[sent:])

    def take_rest(self) -> bytes:
        """The bytes received and not yet read; whoever takes the transport over begins with them."""
        rest = self.reader.take_rest() + bytes(self._unread)
        self._unread.clear()
        return rest
