"""A proxy that breaks the network between two addresses: delay, silence, half-open ends, cuts, odd segments.

It knows nothing of PostgreSQL. Each direction has a `Line` whose faults may be changed while connections
live; tests put it between a client and a proxy, or between a proxy and a server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack
from typing import Final

import trio
from attrs import define, field

from helios_trio.testing.player import Address, connect

_RECEIVE_SIZE: Final = 65536
_RESET_ON_CLOSE: Final = pack("ii", 1, 0)


@define(eq=False)
class Line:
    """What happens to the bytes of one direction; applies to what is passed on from now on."""

    delay: float = 0.0
    """Seconds that each piece waits."""
    segment: int | None = None
    """Largest piece that is sent at once, in bytes."""
    gather: float = 0.0
    """Seconds in which pieces are joined into one."""
    cut_at: int | None = None
    """Bytes of a connection after which it is reset on both sides."""
    half_open: bool = False
    """Whether the end of the stream is kept from the receiver, who then believes the sender is still
    there."""
    _passing: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._passing.set()

    def silence(self) -> None:
        """Pass nothing on, as when packets vanish; what is sent meanwhile arrives after `resume`."""
        if self._passing.is_set():
            self._passing = trio.Event()

    def resume(self) -> None:
        """End a silence."""
        self._passing.set()

    async def until_passing(self) -> None:
        """Wait for the end of a silence."""
        await self._passing.wait()


@define(eq=False)
class FaultProxy:
    """Where clients connect, and what befalls them."""

    address: Address
    to_server: Line = field(factory=Line)
    to_client: Line = field(factory=Line)
    refusing: bool = False
    """Whether new connections are closed at once."""
    accepted: int = 0
    """Connections accepted so far."""
    _pairs: set[_Pair] = field(factory=set)

    @property
    def open_connections(self) -> int:
        """Connections that are not over."""
        return len(self._pairs)

    def cut(self) -> None:
        """Reset all connections now, on both sides."""
        for pair in list(self._pairs):
            pair.reset()


@define(eq=False)
class _Pair:
    """A client's connection and ours to the target."""

    client: trio.SocketStream
    server: trio.SocketStream
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    def reset(self) -> None:
        """End both with a TCP reset, unread data and all."""
        for stream in (self.client, self.server):
            try:
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                continue
        self.scope.cancel()


@asynccontextmanager
async def open_fault_proxy(target: Address, host: str = "127.0.0.1") -> AsyncIterator[FaultProxy]:
    """A proxy to `target` on a free port, until the block ends."""
    listeners = await trio.open_tcp_listeners(0, host=host)
    async with trio.open_nursery() as nursery:
        proxy = FaultProxy((host, listeners[0].socket.getsockname()[1]))

        async def accept(client: trio.SocketStream) -> None:
            await _serve(proxy, target, client)

        await nursery.start(trio.serve_listeners, accept, listeners)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()


async def _serve(proxy: FaultProxy, target: Address, client: trio.SocketStream) -> None:
    proxy.accepted += 1
    if proxy.refusing:
        await client.aclose()
        return
    try:
        server = await connect(target)
    except OSError:
        await client.aclose()
        return
    pair = _Pair(client, server)
    proxy._pairs.add(pair)
    try:
        async with client, server:
            with pair.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, pair, client, server, proxy.to_server)
                    nursery.start_soon(_pump, pair, server, client, proxy.to_client)
    finally:
        proxy._pairs.discard(pair)


async def _pump(pair: _Pair, source: trio.SocketStream, sink: trio.SocketStream, line: Line) -> None:
    """Pass bytes on in one direction until the source ends."""
    passed = 0
    try:
        while data := await _receive(source, line):
            await line.until_passing()
            await trio.sleep(line.delay)
            if line.cut_at is not None:
                data = data[: max(0, line.cut_at - passed)]
            await _send(sink, data, line.segment)
            passed += len(data)
            if line.cut_at is not None and passed >= line.cut_at:
                pair.reset()
                return
        await line.until_passing()
        if not line.half_open:
            await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pair.reset()


async def _receive(source: trio.SocketStream, line: Line) -> bytes:
    """The next piece, with all that follows within the time to gather."""
    data = bytes(await source.receive_some(_RECEIVE_SIZE))
    if not data or not line.gather:
        return data
    with trio.move_on_after(line.gather):
        while more := await source.receive_some(_RECEIVE_SIZE):
            data += bytes(more)
    return data


async def _send(sink: trio.SocketStream, data: bytes, segment: int | None) -> None:
    for at in range(0, len(data), segment or max(1, len(data))):
        await sink.send_all(data[at : at + (segment or len(data))])
