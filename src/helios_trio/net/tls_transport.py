"""TLS on a connected socket, for the relay and for tasks, and the handshake that leads there.

OpenSSL keeps decrypted bytes (`pending`) and may need the other direction of the socket for either call
(`wants_read`, `wants_write`): the relay asks for both. Called by the start-up of clients and by connecting to
servers, each after the one byte that answers SSLRequest, or at once for direct TLS.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Final

from helios_trio.net.certificates import TLSInfo, describe_tls, server_end_point
from helios_trio.net.errors import TLSFailed
from helios_trio.net.tls import ALPN, ServerSideTLS
from helios_trio.net.transport import PlainTransport, Transport, describe, lost

_RECORD: Final = 16384
"""Most that one TLS record carries. OpenSSL takes a piece of this size whole or not at all."""


class TLSTransport(Transport):
    """A TLS connection; `start_tls_server` and `start_tls_client` return it with its handshake finished."""

    __slots__ = ("_end_point", "_ended", "_ssl", "tls")

    tls: TLSInfo

    def __init__(self, sock: ssl.SSLSocket, peer: str, end_point: bytes | None) -> None:
        super().__init__(sock, peer)
        self._ssl = sock
        self._end_point = end_point
        self._ended = False

    def handshake_nowait(self) -> bool:
        """Go on with the handshake; True once it is done and `tls` is known. Raises `TLSFailed`."""
        self.wants_write = False
        try:
            self._ssl.do_handshake()
            self.tls = describe_tls(self._ssl)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return False
        except (OSError, ValueError) as error:
            raise TLSFailed(f"TLS handshake with {self.peer} failed: {describe(error)}") from error
        if not self._ssl.server_side and self.tls.peer_certificate:
            self._end_point = server_end_point(self.tls.peer_certificate)
        return True

    def recv_nowait(self, size: int) -> bytes:
        """See `Transport.recv_nowait`."""
        self.wants_write = False
        if self._ended:
            return b""
        try:
            return self._ssl.recv(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            self.wants_write = True
            raise BlockingIOError from None
        except OSError as error:
            raise lost(self.peer, error) from error

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """See `Transport.send_nowait`: OpenSSL has begun with what it did not take."""
        self.wants_read = False
        taken, whole = 0, len(data)
        with memoryview(data) as view:
            while taken < whole:
                size = min(_RECORD, whole - taken)
                with view[taken : taken + size] as piece:
                    if not self._send_piece(piece):
                        break
                taken += size
        return taken

    def _send_piece(self, piece: memoryview) -> bool:
        """Encrypt and send one record; False if the socket would block."""
        try:
            self._ssl.send(piece)
        except ssl.SSLWantWriteError:
            return False
        except ssl.SSLWantReadError:
            self.wants_read = True
            return False
        except OSError as error:
            raise lost(self.peer, error) from error
        return True

    def pending(self) -> int:
        """Bytes decrypted and not yet received."""
        return 0 if self._closed or self._ended else self._ssl.pending()

    def shutdown_write(self) -> None:
        """Send close_notify, then half-close the socket beneath."""
        self._farewell()
        try:
            socket.socket.shutdown(self._ssl, socket.SHUT_WR)
        except OSError as error:
            raise lost(self.peer, error) from error

    def server_end_point(self) -> bytes | None:
        """See `Transport.server_end_point`: of our own certificate as a server, of the peer's as a client."""
        return self._end_point

    def _farewell(self) -> None:
        """Send close_notify without waiting for the peer's.

        If that is here already, what could still be read is not encrypted and not the peer's.
        """
        if self._ended:
            return
        with suppress(OSError, ValueError):
            self._ssl.unwrap()
            self._ended = True


async def start_tls_server(
    plain: PlainTransport, side: ServerSideTLS, *, require_alpn: bool = False
) -> TLSTransport:
    """Become the server of a TLS connection; `plain` is used up.

    `require_alpn` is the rule of direct TLS: a client that does not name the protocol is refused. Raises
    `TLSFailed` or `ConnectionLost`, with the connection closed.
    """
    sock = _wrap(plain, side.context, None, server_side=True)
    return await _handshake(sock, plain.peer, side.end_point, require_alpn=require_alpn)


async def start_tls_client(
    plain: PlainTransport, context: ssl.SSLContext, server_hostname: str | None, *, require_alpn: bool = False
) -> TLSTransport:
    """Become the client of a TLS connection; `plain` is used up. Errors as in `start_tls_server`."""
    sock = _wrap(plain, context, server_hostname, server_side=False)
    return await _handshake(sock, plain.peer, None, require_alpn=require_alpn)


def _wrap(
    plain: PlainTransport, context: ssl.SSLContext, hostname: str | None, *, server_side: bool
) -> ssl.SSLSocket:
    sock = plain.detach()
    try:
        return context.wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=True,
            server_hostname=hostname,
        )
    except (OSError, ValueError) as error:
        sock.close()
        raise lost(plain.peer, error) from error


async def _handshake(
    sock: ssl.SSLSocket, peer: str, end_point: bytes | None, *, require_alpn: bool
) -> TLSTransport:
    """Drive OpenSSL's handshake; the socket is closed if anything goes wrong, cancellation included."""
    transport = TLSTransport(sock, peer, end_point)
    try:
        while not transport.handshake_nowait():
            await transport.wait_readable()
        if require_alpn and transport.tls.alpn != ALPN:
            raise TLSFailed(
                "received direct SSL connection request without ALPN protocol negotiation extension",
                sqlstate="08P01",
            )
    except BaseException:
        transport.close()
        raise
    return transport
