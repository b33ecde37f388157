"""The connections of a fault proxy, and what befalls the bytes that pass through them (see `testing.faults`).

Used by: testing.faults.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from struct import pack
from typing import Final

import trio
from attrs import define, field

from helios_trio.testing.messages_in_transit import MessageCutter, Opening, Passage

_RECEIVE_SIZE: Final = 65536
_RESET_ON_CLOSE: Final = pack("ii", 1, 0)
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class Place(StrEnum):
    """Where, seen from a message, something happens; INSIDE is after the first half of its bytes."""

    BEFORE = "before"
    INSIDE = "inside"
    AFTER = "after"

    def offset(self, size: int) -> int:
        """So many bytes of a message of `size` bytes have passed by then."""
        return {Place.BEFORE: 0, Place.INSIDE: size // 2, Place.AFTER: size}[self]


@define(eq=False)
class Tripwire:
    """Something that is done once, when a certain message passes."""

    place: Place
    #: the type byte, see `wire.codes`; None: any message
    code: int | None
    #: called between two sends, and must not wait
    act: Callable[[Link], None]
    #: of the messages that it is about, counted over all connections since it was laid; 1 is the first
    nth: int = 1
    #: judges the message without its type byte and length
    where: Callable[[bytes], bool] = lambda _: True
    #: messages counted so far
    seen: int = 0
    #: set when it has been done
    fired: trio.Event = field(factory=trio.Event)
    #: the connection that it was done to
    link: Link | None = None

    def meets(self, passage: Passage) -> bool:
        """Whether this is the message; counts it."""
        if passage.code is None or (self.code is not None and passage.code != self.code):
            return False
        if not self.where(passage.body):
            return False
        self.seen += 1
        return self.seen == self.nth

    def fire(self, link: Link) -> None:
        """Do it."""
        self.link = link
        self.act(link)
        self.fired.set()


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
    swallow: bool = False
    """Whether bytes vanish, and the end of the stream with them; what has vanished does not come again."""
    wires: list[Tripwire] = field(factory=list)
    """Those that have not fired."""
    _passing: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._passing.set()

    def silence(self) -> None:
        """Pass nothing on, as when packets vanish for a while; what is sent meanwhile arrives after `resume`."""
        if self._passing.is_set():
            self._passing = trio.Event()

    def resume(self) -> None:
        """End a silence."""
        self._passing.set()

    async def until_passing(self) -> None:
        """Wait for the end of a silence."""
        await self._passing.wait()

    def trip(
        self,
        place: Place,
        code: int | None,
        act: Callable[[Link], None] | None = None,
        nth: int = 1,
        where: Callable[[bytes], bool] | None = None,
    ) -> Tripwire:
        """Do something, by default a reset, when the n-th such message passes from now on.

        Args:
            place: before the message, in the middle of it, or after it.
            code: its type byte (`wire.codes`), `messages_in_transit.UNTYPED` for a start-up packet, None for any.
            act: what to do with the connection that it passes on; must not wait.
            nth: 1 is the first that passes on any connection.
            where: counts only messages whose body (no type byte, no length) it is true for.
        """
        wire = Tripwire(place, code, act or Link.reset, nth, where or (lambda _: True))
        self.wires.append(wire)
        return wire

    def met_by(self, passage: Passage) -> Tripwire | None:
        """The wire that this message trips, if any; it is taken away. All others count the message too."""
        met = [wire for wire in self.wires if wire.meets(passage)]
        for wire in met[:1]:
            self.wires.remove(wire)
        return met[0] if met else None


@define(eq=False)
class Link:
    """A client's connection and ours to the target."""

    client: trio.SocketStream
    server: trio.SocketStream
    #: which of the proxy's connections this is, counted from 1
    number: int = 0
    #: its bytes vanish, in both directions
    swallowing: bool = False
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    severed: set[trio.SocketStream] = field(factory=set)

    def reset(self) -> None:
        """End both sides with a TCP reset, unread data and all."""
        for stream in (self.client, self.server):
            _reset_when_closed(stream)
        self.scope.cancel()

    def finish(self) -> None:
        """End both sides in order, once they have got what was sent to them."""
        self.scope.cancel()

    def sever_client(self) -> None:
        """The client's side gets a TCP reset; the server is not told, and what it sends vanishes."""
        self._sever(self.client)

    def sever_server(self) -> None:
        """The server's side gets a TCP reset; the client is not told, and what it sends vanishes."""
        self._sever(self.server)

    def vanish(self) -> None:
        """From now on the network drops all packets of this connection; both ends keep it."""
        self.swallowing = True

    def ignore(self) -> None:
        """Nothing happens: for a wire that only tells that a message has passed."""

    def _sever(self, stream: trio.SocketStream) -> None:
        if stream not in self.severed:
            self.severed.add(stream)
            _reset_when_closed(stream)
            stream.socket.close()

    async def run(self, to_server: Line, to_client: Line) -> None:
        """Pass bytes on until both sides have ended, or this one is ended."""
        opening = Opening()
        there = _Pump(self, self.client, self.server, to_server, MessageCutter(opening, True), to_client)
        back = _Pump(self, self.server, self.client, to_client, MessageCutter(opening, False), to_server)
        async with self.client, self.server:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(there.run)
                    nursery.start_soon(back.run)


@define(eq=False)
class _Pump:
    """One direction of a link."""

    link: Link
    source: trio.SocketStream
    sink: trio.SocketStream
    line: Line
    cutter: MessageCutter
    #: the line of the other direction
    reverse: Line
    passed: int = 0

    async def run(self) -> None:
        """Pass bytes on until the source ends."""
        while data := await self._receive():
            await self.line.until_passing()
            await trio.sleep(self.line.delay)
            self.cutter.feed(data)
            while (passage := self.cutter.take(bool(self.line.wires))) is not None:
                await self._pass_on(passage)
        await self.line.until_passing()
        if not (self.line.half_open or self._vanishing or self.source in self.link.severed):
            with suppress(OSError, *_GONE):
                await self.sink.send_eof()

    @property
    def _vanishing(self) -> bool:
        return self.line.swallow or self.link.swallowing

    async def _receive(self) -> bytes:
        """The next piece, with all that follows within the time to gather; empty at the end."""
        try:
            data = bytes(await self.source.receive_some(_RECEIVE_SIZE))
            if data and self.line.gather:
                with trio.move_on_after(self.line.gather):
                    while more := await self.source.receive_some(_RECEIVE_SIZE):
                        data += bytes(more)
        except _GONE:
            self._lost(self.source, told=not self._vanishing)
            return b""
        return data

    async def _pass_on(self, passage: Passage) -> None:
        wire = self.line.met_by(passage)
        if wire is None:
            await self._send(passage.data)
            return
        at = wire.place.offset(len(passage.data))
        await self._send(passage.data[:at])
        wire.fire(self.link)
        await self.line.until_passing()
        await self._send(passage.data[at:])

    async def _send(self, data: bytes) -> None:
        """Send, cut and segmented as the line says; where bytes vanish, they vanish."""
        line = self.line
        if line.cut_at is not None:
            data = data[: max(0, line.cut_at - self.passed)]
        self.passed += len(data)
        if not (self._vanishing or self.sink in self.link.severed):
            await self._send_segments(data, line.segment or max(1, len(data)))
        if line.cut_at is not None and self.passed >= line.cut_at:
            self.link.reset()

    async def _send_segments(self, data: bytes, size: int) -> None:
        try:
            for at in range(0, len(data), size):
                await self.sink.send_all(data[at : at + size])
        except _GONE:
            self._lost(self.sink, told=not (self.reverse.swallow or self.link.swallowing))

    def _lost(self, stream: trio.SocketStream, told: bool) -> None:
        """A side has ended of itself: so does the other, unless the network keeps it from it."""
        if stream not in self.link.severed and told:
            self.link.reset()


def _reset_when_closed(stream: trio.SocketStream) -> None:
    with suppress(OSError, *_GONE):
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _RESET_ON_CLOSE)
