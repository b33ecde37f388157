"""Whether the proxy's addresses can be had, or a proxy that runs has them already.

An address is only bound, never listened on: no client can be taken in by mistake.

Used by: cli.doctor.examination.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from attrs import frozen

from helios_trio.cli.doctor.findings import Finding, ok, wrong
from helios_trio.config.addresses import Address, TcpAddress, UnixAddress

#: Seconds for whoever listens to answer.
_ANSWER_SECONDS: Final = 2.0
_DESCRIPTORS: Final = "process_max_fds "
_FREE_PORT: Final = "any free port"


@frozen
class RunningProxy:
    """A proxy that answers on the admin listener."""

    ready: bool
    #: open files that it may have; None: it does not tell without a key
    descriptors: int | None = None


async def find_proxy(address: TcpAddress | None) -> RunningProxy | None:
    """The proxy that serves there; None: nobody, or somebody else."""
    if address is None or address.port == 0:
        return None
    url = f"http://{TcpAddress(_reachable(address.host), address.port)}"
    async with httpx.AsyncClient(base_url=url, timeout=_ANSWER_SECONDS, trust_env=False) as http:
        try:
            answer = await http.get("/health")
            found = answer.json()
            metrics = await http.get("/metrics/prometheus")
        except (httpx.HTTPError, ValueError):
            return None
    return _proxy_in(found, metrics.text)


def _proxy_in(health: Any, metrics: str) -> RunningProxy | None:
    """The proxy that has answered so, if it is one; one that wants a key for its health is one, too."""
    if not isinstance(health, dict):
        return None
    if "draining" not in health and health.get("status") != 401:
        return None
    lines = (line for line in metrics.splitlines() if line.startswith(_DESCRIPTORS))
    found = next((int(float(line.split()[1])) for line in lines), None)
    return RunningProxy(ready=bool(health.get("ready")), descriptors=found)


async def about_address(key: str, address: Address, proxy: RunningProxy | None) -> Finding:
    """One address that clients or operators come to. `proxy`: the one that answers on the admin listener."""
    about = f"{key}, {address}"
    if isinstance(address, UnixAddress):
        return await _about_unix(about, address, proxy)
    if address.port == 0:
        return ok("listening", about, _FREE_PORT)
    if await _somebody(partial(trio.open_tcp_stream, _reachable(address.host), address.port)):
        return _taken(about, proxy)
    return await trio.to_thread.run_sync(_bound, about, address)


def _reachable(host: str) -> str:
    """An address of this machine where whoever listens on `host` can be met."""
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


async def _somebody(connect: Callable[[], Awaitable[trio.SocketStream]]) -> bool:
    """Whether somebody accepts connections."""
    try:
        with trio.fail_after(_ANSWER_SECONDS):
            stream = await connect()
    except (OSError, trio.TooSlowError):
        return False
    await stream.aclose()
    return True


def _taken(about: str, proxy: RunningProxy | None) -> Finding:
    if proxy is not None:
        return ok("listening", about, "a proxy runs, and has it")
    what = "another program listens there"
    return wrong(
        "listening", about, what, "stop that program (`ss -ltnp` names it), or choose another address"
    )


def _bound(about: str, address: TcpAddress) -> Finding:
    """Whether it could be listened on."""
    try:
        found = list(_resolved(address))
        for family, sockaddr in found:
            _bind(family, sockaddr)
    except OSError as error:
        return wrong("listening", about, f"cannot be listened on: {error.strerror or error}", _remedy(error))
    return ok("listening", about, "free")


def _resolved(address: TcpAddress) -> Iterator[tuple[int, Any]]:
    host = None if address.host == "*" else address.host
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    yield from dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)


def _bind(family: int, sockaddr: Any) -> None:
    """Raises OSError. A family that this machine lacks is left out, as it is by whoever listens."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return
        raise
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)


def _remedy(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "choose a port above 1023, or give the process CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return "choose an address that an interface of this machine has"
    if isinstance(error, socket.gaierror):
        return "correct the name, or the name service"
    return "choose another address"


async def _about_unix(about: str, address: UnixAddress, proxy: RunningProxy | None) -> Finding:
    if await _somebody(partial(trio.open_unix_socket, address.path)):
        return _taken(about, proxy)
    return await trio.to_thread.run_sync(_folder, about, Path(address.directory))


def _folder(about: str, folder: Path) -> Finding:
    """Whether the socket's file could be made."""
    if not folder.is_dir():
        return wrong("listening", about, f"there is no folder {folder}", f"mkdir {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return wrong(
            "listening", about, f"{folder} cannot be written", "run the proxy as its owner, or chown it"
        )
    return ok("listening", about, "free")
