"""Where to listen: `host:port` or `unix:/folder`, as data without sockets.

A unix address names a folder, as libpq's `host` does; the socket in it is `.s.PGSQL.<port>`, so that `psql -h
/folder -p port` finds it (PostgreSQL docs: "unix_socket_directories"). Listeners are opened by `net`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

DEFAULT_PORT: Final = 6432
_SOCKET_NAME: Final = re.compile(r"(?P<directory>/.*)/\.s\.PGSQL\.(?P<port>[0-9]{1,5})", re.ASCII)
_TCP: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]/@]*)):(?P<port>[0-9]{1,5})", re.ASCII
)
_HIGHEST_PORT: Final = 65535


@frozen
class TcpAddress:
    """A TCP address to listen on; port 0 lets the system choose a free one, host "*" is every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@frozen
class UnixAddress:
    """A unix socket to listen on: a folder and the port number that is part of the socket's name."""

    directory: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def path(self) -> str:
        """The socket file itself."""
        return f"{self.directory.rstrip('/')}/.s.PGSQL.{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Always: no unix socket is reachable from elsewhere."""
        return True


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """`host:port`, `[v6]:port`, `*:port`, `unix:/folder` or `unix:/folder/.s.PGSQL.port`; else ValueError."""
    if text.startswith("unix:"):
        return _parse_unix(text.removeprefix("unix:"))
    return parse_tcp(text)


def parse_tcp(text: str) -> TcpAddress:
    """`host:port`, `[v6]:port` or `*:port`; raises ValueError otherwise."""
    match = _TCP.fullmatch(text)
    if match is None or int(match["port"]) > _HIGHEST_PORT:
        raise ValueError(f"not an address: {text!r}")
    return TcpAddress(match["v6"] or match["host"] or "*", int(match["port"]))


def _parse_unix(path: str) -> UnixAddress:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"not an absolute folder: {path!r}")
    named = _SOCKET_NAME.fullmatch(path)
    if named is None:
        return UnixAddress(path)
    if int(named["port"]) > _HIGHEST_PORT:
        raise ValueError(f"not a port: {named['port']}")
    return UnixAddress(named["directory"], int(named["port"]))


def parse_addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    """All of `texts`; unix folders without a port of their own take that of the first TCP address."""
    texts = tuple(texts)
    found = [parse_address(text) for text in texts]
    shared = next((each.port for each in found if isinstance(each, TcpAddress) and each.port), DEFAULT_PORT)
    return tuple(
        evolve(each, port=shared) if isinstance(each, UnixAddress) and not _SOCKET_NAME.search(text) else each
        for each, text in zip(found, texts, strict=True)
    )
