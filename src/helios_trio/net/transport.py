"""A connected socket with two faces: synchronous calls that never wait, and awaitable ones.

The relay owns a socket while bytes merely pass (`recv_nowait`, `send_nowait`, driven by its own epoll); a
session's task owns it while something must wait (`receive_some`, `send_all`). Both see one object, so a
hand-over moves no state. Plain and TLS connections are two classes because the plain one is called for every
query and must cost no more than the system call itself.
"""

from __future__ import annotations

import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import frozen

from helios_trio.config.addresses import TcpAddress
from helios_trio.net.certificates import TLSInfo
from helios_trio.net.errors import ConnectionLost

_Wait = Callable[[int], Awaitable[None]]
#: struct ucred of unix(7): process, user, group.
_CREDENTIALS: Final = struct.Struct("iII")


@frozen
class Keepalive:
    """TCP keepalive of one side. Times are whole seconds; 0 leaves the system's own value."""

    enabled: bool = True
    idle: int = 0
    interval: int = 0
    count: int = 0
    user_timeout: int = 0


class Transport(ABC):
    """What relay and tasks may ask of a connection, plain or TLS.

    A transport has exactly one owner at a time. Every failure of the connection is a `ConnectionLost`.
    """

    __slots__ = ("_closed", "_fileno", "_sock", "is_unix", "peer", "wants_read", "wants_write")

    tls: TLSInfo | None
    """What the handshake agreed on; None on a plain connection."""
    wants_write: bool
    """The last `recv_nowait` cannot go on before the socket is writable (TLS only)."""
    wants_read: bool
    """The last `send_nowait` cannot go on before the socket is readable (TLS only)."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._sock = sock
        self._fileno = sock.fileno()
        self._closed = False
        self.peer = peer
        self.is_unix = sock.family == socket.AF_UNIX
        self.wants_read = False
        self.wants_write = False

    @abstractmethod
    def recv_nowait(self, size: int) -> bytes:
        """Up to `size` bytes, or b"" at end of stream; raises BlockingIOError when nothing is there."""

    @abstractmethod
    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """How many bytes were taken; 0 if the socket would block.

        After a return short of `len(data)` the next call must begin with all the bytes not yet taken.
        """

    def direct(self) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
        """`recv_nowait` and `send_nowait` as the relay calls them: errors may be the operating system's own."""
        return self.recv_nowait, self.send_nowait

    @abstractmethod
    def pending(self) -> int:
        """Bytes already decrypted, which no epoll announces; always 0 on a plain connection."""

    @abstractmethod
    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come; it may still send."""

    def server_end_point(self) -> bytes | None:
        """Channel binding data of type tls-server-end-point (RFC 5929), or None where there is none."""
        return None

    @property
    def local(self) -> str:
        """The address of this end, written as `peer` is; "" when it is not known any more."""
        try:
            name = self._sock.getsockname()
        except OSError:
            return ""
        return f"unix:{name}" if self.is_unix else str(TcpAddress(name[0], name[1]))

    def peer_user(self) -> int | None:
        """Id of the user whose process is at the other end of a unix socket (SO_PEERCRED); None where nobody tells."""
        if not self.is_unix or not hasattr(socket, "SO_PEERCRED"):
            return None
        credentials = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[1])

    def fileno(self) -> int:
        """The descriptor to register with an epoll; -1 once closed."""
        return -1 if self._closed else self._fileno

    @property
    def closed(self) -> bool:
        """Whether this side has closed the connection."""
        return self._closed

    def close(self) -> None:
        """Close at once. Tasks waiting here get `ConnectionLost`. May be called again."""
        if self._closed:
            return
        self._closed = True
        _notify_closing(self._fileno)
        self._farewell()
        self._sock.close()

    def _farewell(self) -> None:  # noqa: B027 - most transports have nothing to say
        """Last words before the socket is closed."""

    async def wait_readable(self) -> None:
        """Return when `recv_nowait` is worth a try."""
        if self.pending():
            await trio.lowlevel.checkpoint()
        elif self.wants_write:
            await self._wait(trio.lowlevel.wait_writable)
        else:
            await self._wait(trio.lowlevel.wait_readable)

    async def wait_writable(self) -> None:
        """Return when `send_nowait` is worth a try."""
        await self._wait(trio.lowlevel.wait_readable if self.wants_read else trio.lowlevel.wait_writable)

    async def _wait(self, wait: _Wait) -> None:
        if self._closed:
            raise ConnectionLost(f"the connection to {self.peer} is closed")
        try:
            await wait(self._fileno)
        except trio.ClosedResourceError:
            raise ConnectionLost(f"the connection to {self.peer} was closed meanwhile") from None

    async def receive_some(self, size: int) -> bytes:
        """Up to `size` bytes once there are any; b"" at end of stream. Cancelled, it has taken nothing."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            data = self.recv_nowait(size)
        except BlockingIOError:
            pass
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        while True:
            await self.wait_readable()
            try:
                return self.recv_nowait(size)
            except BlockingIOError:
                continue

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Cancelled, an unknown part is sent, and the connection can only be closed."""
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self.send_nowait(data)
        if sent == len(data):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with memoryview(data) as view:
            while sent < len(view):
                await self.wait_writable()
                with view[sent:] as rest:
                    sent += self.send_nowait(rest)

    def set_keepalive(self, keepalive: Keepalive) -> None:
        """Apply TCP keepalive; nothing to do on a unix socket."""
        if self.is_unix:
            return
        set_option = self._sock.setsockopt
        set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalive.enabled))
        for name, value, unit in (
            ("TCP_KEEPIDLE", keepalive.idle, 1),
            ("TCP_KEEPINTVL", keepalive.interval, 1),
            ("TCP_KEEPCNT", keepalive.count, 1),
            ("TCP_USER_TIMEOUT", keepalive.user_timeout, 1000),
        ):
            if value and hasattr(socket, name):
                set_option(socket.IPPROTO_TCP, getattr(socket, name), value * unit)


class PlainTransport(Transport):
    """A TCP or unix connection without TLS."""

    __slots__ = ("_recv", "_send")

    tls = None

    def __init__(self, sock: socket.socket, peer: str) -> None:
        """Take over a connected socket; `peer` is its printable address."""
        super().__init__(sock, peer)
        sock.setblocking(False)
        if not self.is_unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._recv = sock.recv
        self._send = sock.send

    def recv_nowait(self, size: int) -> bytes:
        """See `Transport.recv_nowait`."""
        try:
            return self._recv(size)
        except BlockingIOError:
            raise
        except OSError as error:
            raise lost(self.peer, error) from error

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """See `Transport.send_nowait`."""
        try:
            return self._send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise lost(self.peer, error) from error

    def direct(self) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
        """See `Transport.direct`: the socket's own methods."""
        return self._recv, self._send

    def pending(self) -> int:
        """Nothing is ever kept back here."""
        return 0

    def shutdown_write(self) -> None:
        """Half-close the socket."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise lost(self.peer, error) from error

    async def peek_first_byte(self) -> int | None:
        """The first byte the peer has sent, left in the socket; None if it closed without sending.

        Tells direct TLS from a start-up packet (`wire.startup.looks_like_tls`).
        """
        while True:
            await self.wait_readable()
            try:
                first = self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise lost(self.peer, error) from error
            return first[0] if first else None

    def detach(self) -> socket.socket:
        """Give up the socket, which now belongs to the caller, and count as closed from here on."""
        self._closed = True
        return self._sock


def lost(peer: str, error: Exception) -> ConnectionLost:
    """An operating system's complaint as ours, in the words of `strerror`."""
    return ConnectionLost(f"the connection to {peer} is lost: {describe(error)}")


def describe(error: Exception) -> str:
    """The reason inside an exception, without Python's decoration."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def _notify_closing(fileno: int) -> None:
    """Wake Trio tasks that wait for a descriptor; outside a Trio run there are none."""
    if fileno >= 0 and trio.lowlevel.in_trio_run():
        trio.lowlevel.notify_closing(fileno)
