"""Opening a connection to a server by host name, address or unix socket directory.

Names are resolved by Trio (in a thread), never by a blocking call, and every address of a name is tried
within one time limit. Called by `pool.connect`.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final

import trio
from attrs import frozen

from helios_trio.net.errors import ConnectFailed
from helios_trio.net.transport import Keepalive, PlainTransport, describe

DEFAULT_PORT: Final = 5432
#: What the kernel says when no process listens; the file of a unix socket may be gone, too.
_NOBODY_LISTENS: Final = (errno.ECONNREFUSED, errno.ENOENT)


@frozen
class ServerAddress:
    """Where a server listens. A host that begins with "/" is the directory of its unix socket."""

    host: str
    port: int = DEFAULT_PORT

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return self.host.startswith("/")

    @property
    def unix_path(self) -> str:
        """The socket's file (PostgreSQL docs, `unix_socket_directories`)."""
        return f"{self.host}/.s.PGSQL.{self.port}"

    def __str__(self) -> str:
        if self.is_unix:
            return self.unix_path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class _Candidate:
    family: socket.AddressFamily
    sockaddr: Any
    """What `socket.connect` takes: its shape depends on the family."""
    name: str


@frozen
class _Failure:
    """Why one address cannot be reached; `code` is the errno where there is one."""

    reason: str
    code: int | None = None


async def dial(
    address: ServerAddress, *, deadline: float, keepalive: Keepalive | None = None
) -> PlainTransport:
    """A connection to the server, before `deadline` on Trio's clock for all its addresses together.

    Raises `ConnectFailed` with the reason for each address tried.
    """
    failures: list[_Failure] = []
    candidates = await _resolve(address, deadline)
    for left, candidate in zip(range(len(candidates), 0, -1), candidates, strict=True):
        share = (deadline - trio.current_time()) / left
        transport = await _try(candidate, share, failures)
        if transport is not None:
            transport.set_keepalive(keepalive or Keepalive())
            return transport
    error = ConnectFailed(f"could not connect to server: {'; '.join(each.reason for each in failures)}")
    error.refused = all(each.code in _NOBODY_LISTENS for each in failures)
    raise error


async def _resolve(address: ServerAddress, deadline: float) -> list[_Candidate]:
    if address.is_unix:
        return [_Candidate(socket.AddressFamily.AF_UNIX, address.unix_path, address.unix_path)]
    try:
        with trio.fail_at(deadline):
            found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, trio.TooSlowError) as error:
        reason = describe(error) if isinstance(error, OSError) else "timeout expired"
        raise ConnectFailed(f'could not translate host name "{address.host}" to address: {reason}') from error
    return [_Candidate(family, sockaddr, _printable(sockaddr)) for family, _, _, _, sockaddr in found]


def _printable(sockaddr: Any) -> str:
    host, port, *_ = sockaddr
    return str(ServerAddress(host, port))


async def _try(candidate: _Candidate, seconds: float, failures: list[_Failure]) -> PlainTransport | None:
    """One address, for so many seconds; what went wrong is added to `failures`."""
    try:
        with trio.fail_after(max(seconds, 0)):
            return await _connect(candidate)
    except trio.TooSlowError:
        failures.append(_Failure(f"{candidate.name}: timeout expired"))
    except OSError as error:
        failures.append(_Failure(f"{candidate.name}: {describe(error)}", error.errno))
    return None


async def _connect(candidate: _Candidate) -> PlainTransport:
    sock = socket.socket(candidate.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(candidate.sockaddr)
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        return PlainTransport(sock, candidate.name)
    except BaseException:
        sock.close()
        raise
