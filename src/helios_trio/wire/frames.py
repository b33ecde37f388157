"""Cutting a stream of bytes into the typed frames of protocol 3: one type byte, an int32 length, a body.

The reader is fed whatever the transport gave and yields the same frames for every way of splitting the
stream. Frames above a threshold are announced and then handed on in pieces, so that no frame ever has to fit
in memory (correctness rule 3). Used where each message is looked at: handshakes, control connections, tests;
the relay has its own loop over `HEADER` and takes over the unread bytes with `take_rest`. Start-up packets
have no type byte: see `wire.startup`. Source: PostgreSQL docs, "Message Formats"; the limits are those of
`SocketBackend` and `auth.c`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final

from attrs import frozen

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Backend, Frontend

HEADER: Final = Struct("!Bi")
"""Type byte and length; the length counts itself but not the type byte."""

LENGTH_SIZE: Final = 4
SMALL_MESSAGE_LIMIT: Final = 10_000
"""Largest body of messages that carry only a name or nothing, in bytes (PQ_SMALL_MESSAGE_LIMIT)."""
LARGE_MESSAGE_LIMIT: Final = 0x3FFF_FFFE
"""Largest body of any other message, in bytes (PQ_LARGE_MESSAGE_LIMIT, just under 1 GiB)."""
PASSWORD_MESSAGE_LIMIT: Final = 65_535
"""Largest body of a message of the password family, in bytes (PG_MAX_AUTH_TOKEN_LENGTH)."""


@frozen
class Frame:
    """A whole message."""

    code: int
    body: bytes


@frozen
class FrameStart:
    """The head of a message that comes in pieces; `length` is that of its body in bytes."""

    code: int
    length: int


@frozen
class FrameChunk:
    """The next piece of the body announced by the last `FrameStart`; `last` marks the end of the message."""

    data: bytes
    last: bool


Event = Frame | FrameStart | FrameChunk


@frozen
class Sender:
    """Who sends the frames: the noun PostgreSQL uses in errors, and the largest body per known type byte."""

    noun: str
    limits: Mapping[int, int]


_LARGE_FRONTEND = frozenset(
    {Frontend.QUERY, Frontend.PARSE, Frontend.BIND, Frontend.FUNCTION_CALL, Frontend.COPY_DATA}
)


def _codes(family: type) -> list[int]:
    return [code for name, code in vars(family).items() if name.isupper()]


AUTHENTICATING: Final = Sender("frontend", dict.fromkeys(_codes(Frontend), PASSWORD_MESSAGE_LIMIT))
"""A client that has not proved who it is: no message may be larger than a password message."""
FRONTEND: Final = Sender(
    "frontend",
    {
        code: LARGE_MESSAGE_LIMIT if code in _LARGE_FRONTEND else SMALL_MESSAGE_LIMIT
        for code in _codes(Frontend)
    },
)
"""A client that is logged in."""
BACKEND: Final = Sender("backend", dict.fromkeys(_codes(Backend), 2147483647 - LENGTH_SIZE))
"""A server: whatever the length field can say."""


def encode_frame(code: int, body: bytes) -> bytes:
    """The frame with this type byte and body.

    Raises `ValueError` when the body is too large for the length field.
    """
    if len(body) > 0x7FFF_FFFF - LENGTH_SIZE:
        raise ValueError(f"a body of {len(body)} bytes does not fit in one message")
    return HEADER.pack(code, len(body) + LENGTH_SIZE) + body


class FrameReader:
    """Turns fed bytes into `Frame`s, and into `FrameStart` with `FrameChunk`s for large ones.

    `limit` is the largest body accepted and `stream_over` the largest that is held in memory, both in bytes;
    `sender` says which type bytes exist and adds their own limits. Iterating yields what is complete and
    stops when more bytes are needed; it can be started again after the next `feed`. Once it has raised
    `ProtocolViolation` the stream has no meaning any more and each further step raises the same.
    """

    def __init__(self, limit: int, stream_over: int, sender: Sender | None = None) -> None:
        self._limit = limit
        self._stream_over = stream_over
        self._sender = sender
        self._buffer = bytearray()
        self._at = 0
        self._missing = 0
        self._error: ProtocolViolation | None = None

    @property
    def missing(self) -> int:
        """Bytes of a body that was announced by `FrameStart` and not yet yielded."""
        return self._missing

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes from the peer."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def rest(self) -> bytes:
        """The bytes fed and not yet yielded."""
        return bytes(self._buffer[self._at :])

    def take_rest(self) -> bytes:
        """The bytes fed and not yet yielded; the reader forgets them (for whoever takes the stream over)."""
        found = self.rest()
        self._buffer.clear()
        self._at = 0
        return found

    def become(self, sender: Sender, limit: int | None = None) -> None:
        """From the next frame on judge by another sender's rules, for instance after authentication."""
        self._sender = sender
        if limit is not None:
            self._limit = limit

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next_event()) is not None:
            yield event

    def next_event(self) -> Event | None:
        """The next event, or None when more bytes are needed. Raises `ProtocolViolation`."""
        if self._error is not None:
            raise self._error
        if self._missing:
            return self._next_chunk()
        if self._at == len(self._buffer):
            return None
        self._check_code(self._buffer[self._at])
        start = self._at + HEADER.size
        if start > len(self._buffer):
            return None
        code, length = HEADER.unpack_from(self._buffer, self._at)
        size = length - LENGTH_SIZE
        self._check_size(code, size)
        if size > self._stream_over:
            self._at, self._missing = start, size
            return FrameStart(code, size)
        end = start + size
        if end > len(self._buffer):
            return None
        self._at = end
        return Frame(code, bytes(self._buffer[start:end]))

    def _next_chunk(self) -> FrameChunk | None:
        size = min(self._missing, len(self._buffer) - self._at)
        if not size:
            return None
        data = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        self._missing -= size
        return FrameChunk(data, not self._missing)

    def _check_code(self, code: int) -> None:
        sender = self._sender
        if sender is not None and code not in sender.limits:
            self._fail(f"invalid {sender.noun} message type {code}")

    def _check_size(self, code: int, size: int) -> None:
        limit = self._limit
        if self._sender is not None:
            limit = min(limit, self._sender.limits[code])
        if size < 0 or size > limit:
            self._fail("invalid message length")

    def _fail(self, message: str) -> None:
        self._error = ProtocolViolation(message)
        raise self._error
