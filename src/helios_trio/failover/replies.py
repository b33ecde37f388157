"""What a client was answered, kept so that it can be compared with what another server answers. Pure.

Short answers are kept as they came. Of long ones only a fingerprint of each block is kept, so that an answer of a
gigabyte costs memory for none of it; it can then be compared in the order of its rows only.

Used by: failover.journal (keeps), failover.replay (compares).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from struct import Struct
from typing import Final

from attrs import define, evolve, field, frozen

from helios_trio.wire.backend_messages import RowDescription
from helios_trio.wire.codes import Backend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import encode_frame

#: Bytes of a long answer that one fingerprint stands for.
BLOCK: Final = 256 * 1024

_head_at = Struct("!BI").unpack_from
ROWS: Final = frozenset({Backend.DATA_ROW, Backend.COPY_DATA})
#: Messages that belong to no request, or say nothing of what it did: an answer is the same with and without them.
_BESIDE: Final = frozenset({Backend.NOTICE_RESPONSE, Backend.PARAMETER_STATUS, Backend.NOTIFICATION_RESPONSE})


def frames_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each whole message; the beginning of one that is not whole is left out."""
    at, end = 0, len(data)
    while end - at >= 5:
        code, size = _head_at(data, at)
        if at + 1 + size > end:
            return
        yield code, data[at + 5 : at + 1 + size]
        at += 1 + size


@frozen
class Difference:
    """How two answers differ."""

    #: one word to count by: columns, rows, tag, sqlstate, messages or length
    kind: str
    text: str


@define(eq=False)
class Answer:
    """The bytes that answered one request, or those of them that have come so far."""

    #: fingerprints of whole blocks at its beginning
    blocks: list[int] = field(factory=list)
    #: what comes after them
    tail: bytearray = field(factory=bytearray)
    #: where in it the first message begins
    _border: int = 0
    #: messages before that, without rows and what may come at any time
    _passed: int = 0

    @property
    def size(self) -> int:
        """Bytes of the answer so far."""
        return len(self.blocks) * BLOCK + len(self.tail)

    @property
    def is_long(self) -> bool:
        """Only fingerprints of its beginning are left."""
        return bool(self.blocks)

    def add(self, data: bytes) -> None:
        """More of it has come."""
        self.tail += data
        while len(self.tail) >= 2 * BLOCK:
            # keyed and of 64 bits (SipHash): two blocks that differ are taken for equal once in 10^19
            self.blocks.append(hash(bytes(self.tail[:BLOCK])))
            self._pass_block()

    def _pass_block(self) -> None:
        """A block of the tail is kept as a fingerprint from now on."""
        while self._border < BLOCK:
            code, size = _head_at(self.tail, self._border)
            self._passed += code not in ROWS and code not in _BESIDE
            self._border += 1 + size
        self._border -= BLOCK
        del self.tail[:BLOCK]

    @property
    def count(self) -> int:
        """How many messages have come to their end, without rows and what may come at any time."""
        return self._passed + sum(code not in ROWS for code, _ in self.messages())

    def behind(self, prefix: Answer) -> bytes | None:
        """What comes after what has been sent already; None: it does not begin like that, or is too long to tell."""
        if self.is_long or prefix.is_long or not self.tail.startswith(prefix.tail):
            return None
        return bytes(self.tail[len(prefix.tail) :])

    def add_message(self, code: int, body: bytes) -> None:
        """One more message, as if it had come."""
        self.add(encode_frame(code, body))

    def differs(self, other: Answer, *, ordered: bool) -> Difference | None:
        """How another server's answer to the same request differs; None when the client could not tell them apart.

        `ordered`: the rows must come in the same order too, as the statement has ORDER BY.
        """
        if self.is_long or other.is_long:
            same = self.blocks == other.blocks and self.tail == other.tail
            return None if same else Difference("rows", "a long answer is not the same")
        return _Seen.of(self).differs(_Seen.of(other), ordered)

    def messages(self) -> list[tuple[int, bytes]]:
        """Type and body of each whole message that is still there, but for those that may come at any time."""
        return [each for each in frames_of(bytes(self.tail[self._border :])) if each[0] not in _BESIDE]


@define
class _Seen:
    """An answer as the client can tell it from another."""

    #: all but rows, in order; of errors only the code
    others: list[tuple[int, bytes]]
    #: the rows between two of the others
    rows: list[list[bytes]]

    @classmethod
    def of(cls, answer: Answer) -> _Seen:
        others: list[tuple[int, bytes]] = []
        rows: list[list[bytes]] = [[]]
        for code, body in answer.messages():
            if code in ROWS:
                rows[-1].append(body)
            else:
                others.append((code, _essence(code, body)))
                rows.append([])
        return cls(others, rows)

    def differs(self, other: _Seen, ordered: bool) -> Difference | None:
        for (code, body), (other_code, other_body) in zip(self.others, other.others, strict=False):
            if code != other_code:
                if Backend.ERROR_RESPONSE in (code, other_code):
                    return Difference("sqlstate", "one succeeded and the other failed")
                return Difference("messages", f"{chr(other_code)} came where {chr(code)} was")
            if body != other_body:
                return _difference(code, body, other_body)
        if len(self.others) != len(other.others):
            return Difference("messages", f"{len(other.others)} messages came where {len(self.others)} were")
        for mine, theirs in zip(self.rows, other.rows, strict=True):
            if mine != theirs and (ordered or Counter(mine) != Counter(theirs)):
                return Difference("rows", f"{len(theirs)} rows came where {len(mine)} others were")
        return None


def _essence(code: int, body: bytes) -> bytes:
    """Of an error the client acts upon its code; message and position may name things of the old server.

    Of columns, not on the number of a table that the transaction itself may have made.
    """
    if code == Backend.ERROR_RESPONSE:
        return ErrorFields.decode(body).sqlstate.encode()
    if code == Backend.ROW_DESCRIPTION:
        fields = RowDescription.decode(body).fields
        return RowDescription(tuple(evolve(each, table_oid=0, column=0) for each in fields)).encode()
    return body


def _difference(code: int, mine: bytes, theirs: bytes) -> Difference:
    match code:
        case Backend.COMMAND_COMPLETE:
            return Difference("tag", f"{_text(theirs)} came where {_text(mine)} was")
        case Backend.ERROR_RESPONSE:
            return Difference("sqlstate", f"{_text(theirs)} came where {_text(mine)} was")
        case Backend.ROW_DESCRIPTION | Backend.NO_DATA | Backend.PARAMETER_DESCRIPTION:
            return Difference("columns", "the columns are not the same")
        case _:
            return Difference("messages", f"another message of type {chr(code)}")


def _text(body: bytes) -> str:
    return body.rstrip(b"\0").decode("utf-8", "replace")
