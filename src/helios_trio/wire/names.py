"""Names of statements and portals in frames of the extended query protocol, read and replaced in place.

The relay renames prepared statements in every request; so these cut bodies at their zero bytes and nothing
more. Bodies are those of whole frames; what is malformed raises `ProtocolViolation` in PostgreSQL's words.
Source: PostgreSQL docs, "Message Formats".
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NoReturn

from helios_trio.wire.codes import Frontend
from helios_trio.wire.frames import HEADER, LENGTH_SIZE
from helios_trio.wire.layout import malformed

_MAX_ROWS: Final = Struct("!i")


def parse_names(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Of a Parse: statement name, query text, the rest (parameter types with their count)."""
    return _two_strings(body)


def bind_names(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Of a Bind: portal name, statement name, the rest (formats and values)."""
    return _two_strings(body)


def target_name(body: bytes) -> tuple[int, bytes]:
    """Of a Describe or Close: the kind (`S` or `P` as int) and the name."""
    if not body:
        raise malformed("insufficient data left in message")
    end = body.find(b"\0", 1)
    if end != len(body) - 1:
        _fail_after_string(end)
    return body[0], body[1:end]


def execute_portal(body: bytes) -> tuple[bytes, int]:
    """Of an Execute: portal name and row limit (0 is none)."""
    end = body.find(b"\0")
    if end < 0:
        raise malformed("invalid string in message")
    if len(body) != end + 5:
        short = len(body) < end + 5
        raise malformed("insufficient data left in message" if short else "invalid message format")
    return body[:end], _MAX_ROWS.unpack_from(body, end + 1)[0]


def rename_parse(body: bytes, name: bytes) -> bytes:
    """The whole Parse frame with another statement name."""
    return _frame(Frontend.PARSE, name + body[_string_end(body, 0) :])


def rename_bind(body: bytes, statement: bytes) -> bytes:
    """The whole Bind frame with another statement name; the portal keeps its own."""
    start = _string_end(body, 0) + 1
    return _frame(Frontend.BIND, body[:start] + statement + body[_string_end(body, start) :])


def rename_target(code: int, body: bytes, name: bytes) -> bytes:
    """The whole Describe or Close frame (`code`) of the same kind with another name."""
    return _frame(code, body[:1] + name + b"\0")


def _two_strings(body: bytes) -> tuple[bytes, bytes, bytes]:
    first = body.find(b"\0")
    second = body.find(b"\0", first + 1)
    if first < 0 or second < 0:
        raise malformed("invalid string in message")
    return body[:first], body[first + 1 : second], body[second + 1 :]


def _string_end(body: bytes, start: int) -> int:
    end = body.find(b"\0", start)
    if end < 0:
        raise malformed("invalid string in message")
    return end


def _fail_after_string(end: int) -> NoReturn:
    raise malformed("invalid string in message" if end < 0 else "invalid message format")


def _frame(code: int, body: bytes) -> bytes:
    return HEADER.pack(code, len(body) + LENGTH_SIZE) + body
