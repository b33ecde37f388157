"""Cuts the bytes of one direction of a connection at PostgreSQL's message boundaries, as they pass.

Unlike `wire.frames` it never objects: what is no PostgreSQL protocol, or is encrypted, passes as it is. It follows a
connection from its first byte, so that a test may begin to care about messages at any time.

Used by: testing.faults.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from attrs import define, field, frozen

from helios_trio.wire.codes import GSSENC_REQUEST, SSL_REQUEST

#: Stands for the type byte of messages that have none: what a client begins with, and one-byte answers to that.
UNTYPED: Final = 0

_START: Final = Struct("!ii")
_TYPED: Final = Struct("!Bi")
_LENGTH_SIZE: Final = 4
#: PostgreSQL's own limit for the first packet (MAX_STARTUP_PACKET_LENGTH).
_LARGEST_START: Final = 10_000
_ACCEPTED: Final = frozenset(b"SG")


@define(eq=False)
class Opening:
    """What both directions of a connection must know of its beginning."""

    #: one-byte answers that the server owes (to SSLRequest and GSSENCRequest)
    owed: int = 0
    #: encrypted, or no PostgreSQL protocol at all
    opaque: bool = False


@frozen
class Passage:
    """Bytes to pass on: a whole message, or, with code None, bytes of which nothing is known."""

    data: bytes
    code: int | None = None

    @property
    def body(self) -> bytes:
        """The message without type byte and length."""
        return self.data[_LENGTH_SIZE if self.code == UNTYPED else _TYPED.size :]


@define(eq=False)
class MessageCutter:
    """One direction of one connection: bytes are fed, and taken out again in the same order."""

    opening: Opening
    from_client: bool
    #: the client's first packet has begun: what it sends from now on has type bytes
    _started: bool = field(default=False, init=False)
    _buffer: bytearray = field(factory=bytearray, init=False)
    #: bytes that belong to a message whose head has been passed on already
    _rest: int = field(default=0, init=False)
    #: bytes at the start of the buffer that have been passed on, and are needed to know how long a message is
    _given: int = field(default=0, init=False)

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def take(self, whole: bool) -> Passage | None:
        """The next bytes to pass on, None when there are none.

        Where `whole`, messages come one by one, and not before they are complete; otherwise all there is.
        """
        if self.opening.opaque:
            return self._give(len(self._buffer))
        if not whole:
            return self._all()
        if self._rest or self._given:
            return self._remainder()
        size = self._size()
        if size is None or size > len(self._buffer):
            return self._give(len(self._buffer)) if self.opening.opaque else None
        return self._message(size)

    def _all(self) -> Passage | None:
        """All bytes that have not been passed on; only where messages begin is remembered."""
        data = bytes(self._buffer[self._given :])
        while self._buffer and not self.opening.opaque:
            if not self._rest:
                size = self._size()
                if size is None:
                    break
                self._begin(size)
            self._skip()
        self._given = 0 if self.opening.opaque else len(self._buffer)
        if self.opening.opaque:
            self._buffer.clear()
        return Passage(data) if data else None

    def _remainder(self) -> Passage | None:
        """The end of a message whose beginning has been passed on."""
        size = self._rest or self._size()
        if size is None:
            return self._give(len(self._buffer)) if self.opening.opaque else None
        if not self._rest:
            self._begin(size)
        end = min(self._rest, len(self._buffer))
        data = bytes(self._buffer[self._given : end])
        self._skip()
        self._given = 0
        return Passage(data) if data else None

    def _message(self, size: int) -> Passage:
        code = UNTYPED if self._untyped else self._buffer[0]
        self._begin(size)
        data = bytes(self._buffer[:size])
        self._skip()
        return Passage(data, code)

    def _skip(self) -> None:
        """Forget what there is of the message that has begun."""
        there = min(self._rest, len(self._buffer))
        del self._buffer[:there]
        self._rest -= there

    def _give(self, size: int) -> Passage | None:
        data = bytes(self._buffer[self._given : size])
        del self._buffer[:size]
        self._given = 0
        return Passage(data) if data else None

    # -- where messages end --------------------------------------------------------------------------------------

    @property
    def _untyped(self) -> bool:
        """Whether the next message has no type byte."""
        return not self._started if self.from_client else self.opening.owed > 0

    def _size(self) -> int | None:
        """Bytes of the message at the start of the buffer, None while that cannot be known."""
        if self._untyped:
            return self._size_of_start() if self.from_client else min(1, len(self._buffer)) or None
        if len(self._buffer) < _TYPED.size:
            return None
        length = int(_TYPED.unpack_from(self._buffer)[1])
        return self._sound(1 + length, length >= _LENGTH_SIZE)

    def _size_of_start(self) -> int | None:
        if len(self._buffer) < _LENGTH_SIZE:
            return None
        size = int.from_bytes(self._buffer[:_LENGTH_SIZE], "big", signed=True)
        if self._sound(size, _START.size <= size <= _LARGEST_START) is None:
            return None
        return size if len(self._buffer) >= _START.size else None

    def _sound(self, size: int, sound: bool) -> int | None:
        self.opening.opaque = self.opening.opaque or not sound
        return size if sound else None

    def _begin(self, size: int) -> None:
        """A message of that size starts here: what follows from it for what comes after."""
        self._rest = size
        if not self._untyped:
            return
        if not self.from_client:
            self.opening.owed -= 1
            self.opening.opaque = self._buffer[0] in _ACCEPTED
        elif _START.unpack_from(self._buffer)[1] in (SSL_REQUEST, GSSENC_REQUEST):
            self.opening.owed += 1
        else:
            self._started = True
