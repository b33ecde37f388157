"""A request that runs one statement once, taken apart so that it can be sent with another text. Pure.

Used by: failover.repetition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final

from attrs import frozen

from helios_trio.failover.replies import frames_of
from helios_trio.session.prepared import PREFIX, PreparedStatement
from helios_trio.session.preparing import STATEMENT
from helios_trio.wire.codes import Frontend
from helios_trio.wire.frames import encode_frame

_short_at = Struct("!h").unpack_from
_int_at = Struct("!i").unpack_from
#: Where the rewritten statement is prepared, so that the client's own stay as they are.
_NAME: Final = PREFIX + b"repeated"
_CLOSE: Final = encode_frame(Frontend.CLOSE, b"S" + _NAME + b"\0")
_SYNC: Final = encode_frame(Frontend.SYNC, b"")


@frozen
class Run:
    """One statement that is run once."""

    text: bytes
    #: result formats as in the Bind; None: those of the RowDescription
    formats: Sequence[int] | None = None
    #: body of the RowDescription, where the client asked for it earlier
    columns: bytes | None = None
    #: parameter types as in Parse, and the rest of Bind; None: it is a simple query
    types: bytes | None = None
    bound: bytes = b""

    def with_text(self, text: bytes) -> bytes:
        """The request, for another statement with the same parameters."""
        if self.types is None:
            return encode_frame(Frontend.QUERY, text + b"\0")
        return (
            encode_frame(Frontend.PARSE, _NAME + b"\0" + text + b"\0" + self.types)
            + encode_frame(Frontend.BIND, b"\0" + _NAME + b"\0" + self.bound)
            + encode_frame(Frontend.EXECUTE, b"\0\0\0\0\0")
            + _CLOSE
            + _SYNC
        )


def run_of(request: bytes, statements: Mapping[bytes, PreparedStatement]) -> Run | None:
    """Take a request apart; None: it is not one statement that is run once, to its end."""
    frames = list(frames_of(request))
    if len(frames) == 1 and frames[0][0] == Frontend.QUERY:
        return Run(frames[0][1][:-1])
    parsed: dict[bytes, tuple[bytes, bytes]] = {}
    binds: list[bytes] = []
    executes: list[bytes] = []
    for code, body in frames:
        match code:
            case Frontend.PARSE:
                name, text, types = body.split(b"\0", 2)
                parsed[name] = text, types
            case Frontend.BIND:
                binds.append(body)
            case Frontend.EXECUTE:
                executes.append(body)
            case Frontend.DESCRIBE if body[:1] == bytes([STATEMENT]):
                return None
            case Frontend.QUERY | Frontend.FUNCTION_CALL | Frontend.COPY_DATA | Frontend.CLOSE:
                return None
    if len(binds) != 1 or len(executes) != 1 or executes[0][-4:] != b"\0\0\0\0":
        return None
    return _bound(binds[0], parsed, statements)


def _bound(
    bind: bytes, parsed: Mapping[bytes, tuple[bytes, bytes]], statements: Mapping[bytes, PreparedStatement]
) -> Run | None:
    _, name, rest = bind.split(b"\0", 2)
    columns = None
    if name in parsed:
        text, types = parsed[name]
    elif name in statements and statements[name].kept:
        text, types = statements[name].text, statements[name].types
        columns = _columns_of(statements[name].described)
    else:
        return None
    return Run(text, _result_formats(rest), columns, types, rest)


def _columns_of(described: bytes | None) -> bytes | None:
    """The body of the RowDescription in what Describe has told the client."""
    if described is None:
        return None
    return next((body for code, body in frames_of(described) if code == ord("T")), None)


def _result_formats(rest: bytes) -> list[int]:
    """The last part of a Bind: behind the formats and the values of its parameters."""
    at = 2 + 2 * _short_at(rest, 0)[0]
    count = _short_at(rest, at)[0]
    at += 2
    for _ in range(count):
        at += 4 + max(0, _int_at(rest, at)[0])
    count = _short_at(rest, at)[0]
    return [_short_at(rest, at + 2 + 2 * number)[0] for number in range(count)]
