"""What is left to be said of an answer that broke off, where it is certain what would have come. Pure.

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from helios_trio.failover.journal import Exchange
from helios_trio.failover.replies import frames_of
from helios_trio.wire.backend_messages import CommandComplete
from helios_trio.wire.codes import Backend, Frontend, Status
from helios_trio.wire.frames import encode_frame

_IDLE: Final = encode_frame(Backend.READY_FOR_QUERY, bytes([Status.IDLE]))
#: A ParameterDescription without parameters.
_NO_PARAMETERS: Final = encode_frame(Backend.PARAMETER_DESCRIPTION, b"\0\0")
#: How many messages answer one of these, rows aside; one more for a statement that is described.
_ANSWERS: Final = {
    Frontend.PARSE: 1,
    Frontend.BIND: 1,
    Frontend.DESCRIBE: 1,
    Frontend.EXECUTE: 1,
    Frontend.CLOSE: 1,
}


def rest_of_answer(exchange: Exchange, tag: str) -> bytes:
    """What is missing of the answer to a request that does nothing but end a transaction, which it has."""
    whole = list(_answer(bytes(exchange.request), CommandComplete(tag).encode()))
    return b"".join(whole[len(exchange.answer.messages()) :])


def rest_behind_rows(exchange: Exchange, tag: str) -> bytes:
    """What is missing of the answer to a single statement whose rows have all been sent, and which has committed."""
    whole = list(_answer(bytes(exchange.request), CommandComplete(tag).encode()))
    return b"".join(whole[exchange.answer.count - _columns(exchange) :])


def _columns(exchange: Exchange) -> int:
    """A simple query is described without being asked."""
    simple = exchange.request[:1] == b"Q"
    return int(simple and any(code == Backend.ROW_DESCRIPTION for code, _ in exchange.answer.messages()))


def _answer(request: bytes, tag: bytes) -> Iterator[bytes]:
    """All messages that answer it."""
    for code, body in frames_of(request):
        match code:
            case Frontend.PARSE:
                yield encode_frame(Backend.PARSE_COMPLETE, b"")
            case Frontend.BIND:
                yield encode_frame(Backend.BIND_COMPLETE, b"")
            case Frontend.CLOSE:
                yield encode_frame(Backend.CLOSE_COMPLETE, b"")
            case Frontend.DESCRIBE:
                if body[:1] == b"S":
                    yield _NO_PARAMETERS
                yield encode_frame(Backend.NO_DATA, b"")
            case Frontend.EXECUTE:
                yield tag
            case Frontend.SYNC:
                yield _IDLE
            case Frontend.QUERY:
                yield tag
                yield _IDLE


def write_was_answered(exchange: Exchange, held: bytes) -> bool:
    """Whether all of the answer to a guarded write has come, but for the end of the transaction that it is.

    `held` is the tag of a simple query, which its client has not got yet.
    """
    if exchange.request[:1] == b"Q":
        return bool(held)
    expected = sum(_ANSWERS.get(code, 0) for code, _ in frames_of(bytes(exchange.request)))
    expected += sum(
        code == Frontend.DESCRIBE and body[:1] == b"S" for code, body in frames_of(bytes(exchange.request))
    )
    return expected == exchange.answer.count
