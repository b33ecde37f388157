"""Listening sockets: opened from addresses or inherited from systemd, and the loop that accepts on them.

A listener belongs to the proxy or the admin interface for its whole life. Accepting and serving are kept
apart: `serve_listener` runs in one nursery and starts handlers in another, so that a drain can stop the first
and give the second a deadline.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from helios_trio.config.addresses import Address, TcpAddress, UnixAddress
from helios_trio.net.errors import ListenError
from helios_trio.net.transport import PlainTransport, describe

Handler = Callable[[PlainTransport], Awaitable[None]]

BACKLOG: Final = 4096
"""Connections the kernel keeps for us until they are accepted; it cuts this down to `somaxconn`."""
ACCEPT_BATCH: Final = 64
"""Connections accepted before other tasks get a turn."""
BACK_OFF: Final = 0.1
"""Seconds until the next try when there are no descriptors or no memory left."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_UNIX_MODE: Final = 0o777
"""As PostgreSQL's default for `unix_socket_permissions`: who may connect is for authentication to say."""

_log = structlog.get_logger(__name__)


class Listener:
    """One listening socket."""

    def __init__(self, sock: socket.socket, *, path: Path | None = None) -> None:
        """Take over a socket that listens; `path` is a unix socket's file, removed when this is closed."""
        sock.setblocking(False)
        self._sock = sock
        self._path = path
        self._identity = _identity(path) if path else None
        self._fileno = sock.fileno()
        self._closed = False
        self.is_unix = sock.family == socket.AF_UNIX
        self.address = str(path) if path else _bound_address(sock)

    @property
    def port(self) -> int:
        """The TCP port, 0 for a unix socket."""
        return 0 if self.is_unix else int(self._sock.getsockname()[1])

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._sock.fileno()

    def accept_nowait(self) -> PlainTransport:
        """The next connection. Raises `OSError`: BlockingIOError if there is none."""
        sock, peer = self._sock.accept()
        return PlainTransport(sock, _printable_peer(peer, self.address))

    async def wait_readable(self) -> None:
        """Return when a connection is there. Raises `trio.ClosedResourceError` when closed meanwhile."""
        if self._closed:
            raise trio.ClosedResourceError
        await trio.lowlevel.wait_readable(self._fileno)

    def close(self) -> None:
        """Stop listening; a unix socket's file goes too, unless another process has put its own there."""
        if self._closed:
            return
        self._closed = True
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._fileno)
        self._sock.close()
        if self._path is not None and _identity(self._path) == self._identity:
            with suppress(OSError):
                self._path.unlink()


async def open_listeners(
    addresses: Sequence[Address],
    *,
    reuse_port: bool = False,
    backlog: int = BACKLOG,
    inherited: Sequence[Listener] = (),
) -> list[Listener]:
    """Listen on every address, and on what was inherited.

    With `reuse_port` a second process may listen on the same addresses while the first drains: TCP ports are
    shared, the file of a unix socket is replaced. An address that is already inherited is not opened again.
    Raises `ListenError` for an address that cannot be had; nothing stays open then.
    """
    opened: list[Listener] = list(inherited)
    covered = {listener.address for listener in inherited}
    try:
        for address in addresses:
            if isinstance(address, TcpAddress):
                await _open_tcp(address, opened, covered, reuse_port=reuse_port, backlog=backlog)
            elif address.path not in covered:
                opened.append(_open_unix(address, replace=reuse_port, backlog=backlog))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


async def serve_listener(listener: Listener, handler: Handler, nursery: trio.Nursery) -> None:
    """Accept until the listener is closed or this task cancelled; each connection gets a task in `nursery`.

    The handler owns its transport; whatever becomes of it, the transport is closed at the end. Clients that
    vanish before they are accepted and a lack of descriptors do not end the loop.
    """
    exhausted = False
    while True:
        try:
            await listener.wait_readable()
        except trio.ClosedResourceError:
            return
        try:
            _accept_batch(listener, handler, nursery)
        except OSError as error:
            if not exhausted:
                _log.error("accept_failed", address=listener.address, reason=describe(error))
            exhausted = True
            await trio.sleep(BACK_OFF)
        else:
            if exhausted:
                _log.info("accept_resumed", address=listener.address)
            exhausted = False


def _accept_batch(listener: Listener, handler: Handler, nursery: trio.Nursery) -> None:
    """Accept what waits, up to a limit. Raises `OSError` if the machine cannot give more."""
    for _ in range(ACCEPT_BATCH):
        try:
            transport = listener.accept_nowait()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            continue  # this one peer is gone already (ECONNABORTED and, on Linux, pending network errors)
        nursery.start_soon(_serve, handler, transport, name=f"client {transport.peer}")


async def _serve(handler: Handler, transport: PlainTransport) -> None:
    try:
        await handler(transport)
    finally:
        transport.close()


async def _open_tcp(
    address: TcpAddress, opened: list[Listener], covered: set[str], *, reuse_port: bool, backlog: int
) -> None:
    """Listen on every address of a name; all get the same port. Families this machine lacks are left out."""
    port, absent, before = address.port, None, len(opened)
    for family, sockaddr in await _resolve(address):
        if str(TcpAddress(sockaddr[0], port)) in covered:
            return
        try:
            sock = _bind_tcp(
                family, (sockaddr[0], port, *sockaddr[2:]), reuse_port=reuse_port, backlog=backlog
            )
        except OSError as error:
            if error.errno not in _NO_SUCH_FAMILY:
                raise _listen_error(address, error) from error
            absent = error
            continue
        opened.append(Listener(sock))
        port = port or opened[-1].port
    if absent is not None and len(opened) == before:
        raise _listen_error(address, absent) from absent


async def _resolve(address: TcpAddress) -> list[tuple[int, Any]]:
    """Families and socket addresses, each once."""
    host = None if address.host == "*" else address.host
    try:
        found = await trio.socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise _listen_error(address, error) from error
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))


def _bind_tcp(family: int, sockaddr: Any, *, reuse_port: bool, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockaddr)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(address: UnixAddress, *, replace: bool, backlog: int) -> Listener:
    """Listen on a unix socket. The file gets its name once it listens, so nobody finds one that does not."""
    path = Path(address.path)
    if _answers(path) and not replace:
        raise ListenError(
            f"cannot listen on {path}: another process is listening there",
            hint="Stop that process, or choose another address.",
        )
    if path.exists() and not path.is_socket():
        raise ListenError(f"cannot listen on {path}: there is a file which is no socket")
    temporary = path.with_name(f".{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(temporary))
        temporary.chmod(_UNIX_MODE)
        sock.listen(backlog)
        temporary.rename(path)
    except OSError as error:
        sock.close()
        with suppress(OSError):
            temporary.unlink()
        raise _listen_error(path, error) from error
    return Listener(sock, path=path)


def _answers(path: Path) -> bool:
    """Whether somebody listens on this unix socket; if nobody does, its file is a leftover."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # A full backlog gives EAGAIN: somebody is there, and busy.
        try:
            return probe.connect_ex(str(path)) in (0, errno.EAGAIN, errno.EACCES)
        except OSError as error:  # the path is too long for a socket
            raise _listen_error(path, error) from error


def _listen_error(address: object, error: OSError) -> ListenError:
    hint = "Another process is listening there." if error.errno == errno.EADDRINUSE else None
    return ListenError(f"cannot listen on {address}: {describe(error)}", hint=hint)


def _bound_address(sock: socket.socket) -> str:
    name = sock.getsockname()
    return name if isinstance(name, str) else str(TcpAddress(name[0], name[1]))


def _printable_peer(peer: Any, own_address: str) -> str:
    """A client's address; those of unix sockets have none but the socket they came through."""
    return str(TcpAddress(peer[0], peer[1])) if isinstance(peer, tuple) else f"unix:{own_address}"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
