"""A proxy that breaks the network between two addresses: delay, silence, lost packets, cuts, odd segments.

Each direction has a `Line` whose faults may be changed while connections live; tests put it between a client and a
proxy, or between a proxy and a server. A `Tripwire` does its work when a certain PostgreSQL message passes: before it,
in the middle of it, or after it.

    async with open_fault_proxy(("127.0.0.1", 5432)) as network:
        wire = network.to_client.trip(Place.BEFORE, Backend.COMMAND_COMPLETE, act=Link.sever_client)
        ...                      # clients connect to network.address
        await wire.fired.wait()  # the server has done it, and nobody was told

What each fault stands for:

* `Line.silence()` - a slow network or a stopped process: nothing arrives until `resume()`, then all of it.
* `Line.swallow = True` - packets are dropped, in this direction: both ends believe that the connection is there.
* `Link.reset()`, `FaultProxy.cut()` - both ends get a TCP reset; `Link.finish()` - both read the end of the stream.
* `Link.sever_client()`, `Link.sever_server()` - one end gets a TCP reset, and the other notices nothing.
* `FaultProxy.refusing = True` - new connections are closed at once; `FaultProxy.unbind()` - nobody listens at all.

Used by: tests.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field

from helios_trio.testing.links import Line, Link, Place, Tripwire
from helios_trio.testing.player import Address, connect

__all__ = ["FaultProxy", "Line", "Link", "Place", "Tripwire", "open_fault_proxy"]


@define(eq=False)
class FaultProxy:
    """Where clients connect, and what befalls them."""

    target: Address
    """Where connections are passed on to; those to come, when it is changed."""
    address: Address
    _nursery: trio.Nursery
    to_server: Line = field(factory=Line)
    to_client: Line = field(factory=Line)
    refusing: bool = False
    """Whether new connections are closed at once."""
    accepted: int = 0
    """Connections accepted so far."""
    links: set[Link] = field(factory=set)
    """Connections that are not over."""
    _listening: trio.CancelScope | None = field(default=None, init=False)
    _unbound: trio.Event = field(factory=trio.Event, init=False)

    @property
    def open_connections(self) -> int:
        """Connections that are not over."""
        return len(self.links)

    def cut(self) -> None:
        """Reset all connections now, on both sides."""
        for link in list(self.links):
            link.reset()

    def blackhole(self) -> None:
        """Drop all packets of all connections, those to come too, in both directions."""
        self.to_server.swallow = self.to_client.swallow = True

    def heal(self) -> None:
        """No more faults for what is sent from now on; what has vanished has vanished, and wires stay laid."""
        for line in (self.to_server, self.to_client):
            line.delay, line.gather, line.segment, line.cut_at = 0.0, 0.0, None, None
            line.swallow = line.half_open = False
            line.resume()
        self.refusing = False

    async def unbind(self) -> None:
        """Listen no more, so that the system refuses whoever connects; connections that are there stay."""
        if self._listening is not None:
            self._listening.cancel()
            await self._unbound.wait()

    async def bind(self) -> None:
        """Listen at `address`, for the first time or again."""
        await self._nursery.start(self._listen)

    async def _listen(self, task_status: trio.TaskStatus[None]) -> None:
        self._unbound = trio.Event()
        listeners = await _open_listeners(self.address)
        if not self.address[1]:
            self.address = (self.address[0], listeners[0].socket.getsockname()[1])
        try:
            with trio.CancelScope() as self._listening:
                task_status.started()
                await trio.serve_listeners(self._serve, listeners, handler_nursery=self._nursery)
        finally:
            self._listening = None
            self._unbound.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        link = None if self.refusing else await _link(client, self.target, self.accepted)
        if link is None:
            await client.aclose()
            return
        self.links.add(link)
        try:
            await link.run(self.to_server, self.to_client)
        finally:
            self.links.discard(link)


@asynccontextmanager
async def open_fault_proxy(
    target: Address, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[FaultProxy]:
    """A proxy to `target`, until the block ends.

    A `host` that begins with a slash is a folder, in which the unix socket of that `port` (not 0) is made;
    otherwise port 0 is a free one.
    """
    async with trio.open_nursery() as nursery:
        proxy = FaultProxy(target, (host, port), nursery)
        await proxy.bind()
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
            if host.startswith("/"):
                _forget(_socket_file(proxy.address))


async def _open_listeners(address: Address) -> list[trio.SocketListener]:
    host, port = address
    if not host.startswith("/"):
        return await trio.open_tcp_listeners(port, host=host)
    path = _socket_file(address)
    _forget(path)
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(path)
    sock.listen()
    return [trio.SocketListener(sock)]


def _forget(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _socket_file(address: Address) -> str:
    return f"{address[0]}/.s.PGSQL.{address[1]}"


async def _link(client: trio.SocketStream, target: Address, number: int) -> Link | None:
    """None: the target cannot be reached."""
    try:
        return Link(client, await connect(target), number)
    except OSError:
        return None
