"""The queue of expected replies: what a server still owes, and what of it the client may see (correctness rule 2).

PostgreSQL answers strictly in order, so a proxy that adds requests of its own needs no more than a queue: every
message sent pushes what will answer it, every message received is matched with the head. `ReplyStream` is one per
server connection. It is fed the bytes as they arrive and returns those the client gets; it looks at five bytes per
message and never holds rows, so a row of a gigabyte streams through.

This is half of the relay's hot path (`session.requests` is the other): tables of bits instead of classes, one loop,
no allocation when everything is forwarded.

Used by: pool.connection (feeds it), session.requests (pushes), pool.reset.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final, Protocol

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Backend, Status

# Kinds of expectation. Bits, so that one table lookup answers "does this message end the head?".
PARSE: Final = 1
BIND: Final = 2
DESCRIBE: Final = 4
EXECUTE: Final = 8
CLOSE: Final = 16
SYNC: Final = 32
QUERY: Final = 64
FUNCTION: Final = 128
#: The reply belongs to a request of the proxy: the client never sees it.
SWALLOW: Final = 256
#: A `Watcher` wants to see the messages of this reply.
WATCH: Final = 512
#: Not a reply: the place in the stream where the client ended a COPY before it knew that one had begun.
COPY_END: Final = 1024
#: A Sync that was sent behind this COPY has been left out of the queue, because the server ignores it.
STRUCK: Final = 2048
#: The watcher is asked once, before the first row of this reply, what goes ahead of it (see `Watcher.on_reply`). Above
#: all bits of the table below.
HEADED: Final = 1 << 15

# A whole batch as drivers send it, when nothing else is owed: taken apart unless its answer is one plain piece.
_BIND_BATCH: Final = 4096
_PARSE_BATCH: Final = 8192
_BATCHES: Final = {
    _BIND_BATCH: (BIND, DESCRIBE, EXECUTE, SYNC),
    _PARSE_BATCH: (PARSE, BIND, DESCRIBE, EXECUTE, SYNC),
}
_ANY_BATCH: Final = _BIND_BATCH | _PARSE_BATCH
_BATCH_OF: Final = {(BIND,): _BIND_BATCH, (PARSE, BIND): _PARSE_BATCH}
_BATCH_BEGUN: Final = max(map(len, _BATCH_OF))
#: What may be answered in one piece that nobody looks into but for its end.
_ANSWERED_WHOLE: Final = frozenset({QUERY, *_BATCHES})

#: Messages that are looked at and may all the same be longer than what is kept whole.
_MAY_BE_LONG: Final = (Backend.ERROR_RESPONSE, Backend.NOTICE_RESPONSE)
_ENDS_BATCH: Final = SYNC | QUERY | FUNCTION
_IN_BATCH: Final = PARSE | BIND | DESCRIBE | EXECUTE | CLOSE

#: Bytes of a ReadyForQuery message.
_READY_SIZE: Final = 6
_READY: Final = Backend.READY_FOR_QUERY
#: Longest message that is kept whole because somebody must look inside it, in bytes.
LOOK_LIMIT: Final = 1 << 20

_length_at = Struct("!I").unpack_from
_head_at = Struct("!BI").unpack_from

_KINDS: Final = PARSE | BIND | DESCRIBE | EXECUTE | CLOSE | SYNC | QUERY | FUNCTION
_ATTENDED: Final = SWALLOW | WATCH

# What a message type means for the cut, beyond the kinds of expectation it completes. Apart from the flags above,
# because both are tested against one table.
_PLAIN: Final = 1 << 12  # nobody looks inside
_LOOKED_AT: Final = 1 << 13  # must be whole and looked at
_ASYNC: Final = 1 << 14  # the same, and may come at any time, belonging to no request

#: What completes an expectation, by message type.
_ENDS: Final = {
    Backend.PARSE_COMPLETE: PARSE,
    Backend.BIND_COMPLETE: BIND,
    Backend.ROW_DESCRIPTION: DESCRIBE,
    Backend.NO_DATA: DESCRIBE,
    Backend.COMMAND_COMPLETE: EXECUTE,
    Backend.EMPTY_QUERY_RESPONSE: EXECUTE,
    Backend.PORTAL_SUSPENDED: EXECUTE,
    Backend.CLOSE_COMPLETE: CLOSE,
    Backend.READY_FOR_QUERY: SYNC | QUERY | FUNCTION,
}
_LOOKS: Final = {
    Backend.READY_FOR_QUERY: _LOOKED_AT,
    Backend.ERROR_RESPONSE: _LOOKED_AT,
    Backend.COPY_IN_RESPONSE: _LOOKED_AT,
    Backend.NOTICE_RESPONSE: _LOOKED_AT,
    Backend.PARAMETER_STATUS: _ASYNC,
    Backend.NOTIFICATION_RESPONSE: _ASYNC,
}
_KNOWN: Final = frozenset(code for name, code in vars(Backend).items() if name.isupper())
_TRAITS: Final = tuple(
    _ENDS.get(code, 0) | _LOOKS.get(code, _PLAIN) if code in _KNOWN else 0 for code in range(256)
)


#: By head of the queue: messages that pass and leave it where it is, which nearly all of a reply are.
_PASSING: Final = {
    1 << bit: frozenset(
        code for code, traits in enumerate(_TRAITS) if traits & _PLAIN and not traits & 1 << bit
    )
    for bit in range(FUNCTION.bit_length())
}
_NONE_PASSES: Final[frozenset[int]] = frozenset()
#: Messages of an answer without errors, COPY or news.
_PLAIN_ANSWER: Final = frozenset(
    {
        Backend.PARSE_COMPLETE,
        Backend.BIND_COMPLETE,
        Backend.ROW_DESCRIPTION,
        Backend.NO_DATA,
        Backend.DATA_ROW,
        Backend.COMMAND_COMPLETE,
        Backend.EMPTY_QUERY_RESPONSE,
    }
)
#: A ReadyForQuery message up to the status.
_READY_HEAD: Final = b"Z\0\0\0\5"


class Watcher(Protocol):
    """Somebody who must see the messages that answer one request (settings, prepared statements, checks)."""

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """One message of the watched reply (rows only where the reply is swallowed).

        Bytes returned are forwarded in its place, also where the reply is swallowed. Where the reply is HEADED, a
        DataRow without a body says that the first row is about to be forwarded: what is returned goes ahead of it.
        """

    def on_skipped(self) -> None:
        """The server will never answer: an earlier request of the same batch failed."""


class Listener(Protocol):
    """The owner of a server connection: told what no queue can decide."""

    def on_async(self, code: int, frame: bytes) -> bytes:
        """ParameterStatus or NotificationResponse; returns what the client shall get of it (b"" for nothing)."""

    def on_error(self, frame: bytes, head: int) -> bytes | None:
        """An ErrorResponse came for the expectation `head` (0: it answers nothing).

        Bytes returned are forwarded in its place.
        """

    def on_notice(self, frame: bytes) -> bytes | None:
        """A NoticeResponse came; bytes returned are forwarded in its place."""


class ReplyStream:
    """What one server connection owes, and the cut between what is forwarded and what is swallowed."""

    __slots__ = (
        "_expected",
        "_gap",
        "_gap_swallowed",
        "_last",
        "_pieces",
        "_pieces_size",
        "_ready_due",
        "_skipping",
        "_wanted",
        "_watchers",
        "copy_in",
        "listener",
        "ready",
        "status",
        "uncertain",
    )

    def __init__(self, listener: Listener, status: int = Status.IDLE) -> None:
        self.listener = listener
        #: transaction status of the last ReadyForQuery
        self.status = status
        #: a ReadyForQuery arrived in the last `feed` and nothing is owed after it
        self.ready = False
        #: the server is inside COPY FROM STDIN
        self.copy_in = False
        #: the number of replies owed can no longer be known: the connection must not be handed on
        self.uncertain = False
        self._expected: deque[int] = deque()
        self._watchers: deque[Watcher] = deque()
        self._last = 0  # what was pushed last
        self._skipping = False  # an error was met in a batch whose Sync is yet to be sent
        self._gap = 0  # bytes still to come of a message that is passed on without being held
        self._gap_swallowed = False
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._ready_due = False
        self._wanted = 0  # do not look again before that many bytes are there

    # -- what is sent ------------------------------------------------------------------------------------------

    def push(self, kind: int) -> None:
        """Note that a message was sent which will be answered by a reply of `kind`."""
        if (self._skipping or self.copy_in) and not self._still_counts(kind):
            return
        self._last = kind
        self._expected.append(kind)

    def push_usual_end(self) -> None:
        """As `push` of DESCRIBE, EXECUTE and SYNC; in one with the BIND, or PARSE and BIND, if no more is owed."""
        expected = self._expected
        batch = None
        if len(expected) <= _BATCH_BEGUN and not (self._skipping or self.copy_in):
            batch = _BATCH_OF.get(tuple(expected))
        if batch is None:
            for kind in (DESCRIBE, EXECUTE, SYNC):
                self.push(kind)
        else:
            self._last = SYNC
            expected.clear()
            expected.append(batch)

    def _take_apart(self, batch: int) -> None:
        """The batch at the head needs a closer look: each of its messages stands for itself from here."""
        self._expected.popleft()
        self._expected.extendleft(reversed(_BATCHES[batch]))

    def push_copy_end(self) -> None:
        """Note that CopyDone or CopyFail was sent: a server that is not copying ignores it."""
        if (self._skipping or self.copy_in) and not self._still_counts(COPY_END):
            return
        if self._expected:
            self._expected.append(COPY_END)

    def watch(self, kind: int, watcher: Watcher) -> None:
        """As `push`, with somebody who sees the reply."""
        if (self._skipping or self.copy_in) and not self._still_counts(kind):
            watcher.on_skipped()
            return
        self._last = kind
        self._expected.append(kind | WATCH)
        self._watchers.append(watcher)

    def _still_counts(self, kind: int) -> bool:
        """Whether the server will answer, although it is discarding messages or copying in."""
        if self._skipping:  # after an error it discards everything up to Sync
            if kind & SYNC:
                self._skipping = False
                return True
            return False
        if kind & COPY_END:
            self.copy_in = False
            return False
        if kind & SYNC:
            # COPY FROM STDIN ignores Sync and Flush (PostgreSQL, copyfromparse.c), unless it has failed by the time
            # that the message is read: from here that cannot be told.
            self.uncertain = True
            return False
        return True

    @property
    def idle(self) -> bool:
        """Nothing is owed and the last word was ReadyForQuery outside a transaction."""
        return (
            not (self._expected or self._skipping or self._pieces or self._gap) and self.status == Status.IDLE
        )

    @property
    def quiet(self) -> bool:
        """Nothing is owed (a transaction may be open)."""
        return not self._expected and not self._skipping

    @property
    def mid_message(self) -> bool:
        """The client has been sent the beginning of a message whose rest is still to come."""
        return bool(self._gap) and not self._gap_swallowed

    @property
    def swallowing(self) -> bool:
        """Whether the reply that is coming in belongs to a request of the proxy."""
        return bool(self._expected and self._expected[0] & SWALLOW)

    @property
    def owed(self) -> int:
        """Number of replies that have not come yet; a whole batch may count as one."""
        return len(self._expected)

    @property
    def owes_client(self) -> bool:
        """Whether any reply that is owed is one the client waits for."""
        return any(not kind & (SWALLOW | COPY_END) for kind in self._expected)

    @property
    def owes_ends(self) -> bool:
        """Whether the end of a request of the client is owed: something stands before the batch that is sent now."""
        return any(kind & (_ENDS_BATCH | _ANY_BATCH) and not kind & SWALLOW for kind in self._expected)

    # -- what is received --------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the server; return those for the client.

        Sets `status` and `ready`. Raises ProtocolViolation for what is no PostgreSQL message.
        """
        self.ready = False
        expected = self._expected
        if expected and expected[0] in _ANSWERED_WHOLE:
            if self._is_plain_answer(data):
                return data
            if expected[0] in _BATCHES:
                self._take_apart(expected[0])
        if self._pieces:
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size < self._wanted:
                return b""
            data = b"".join(self._pieces)
            self._pieces.clear()
        end = len(data)
        at = self._gap
        start = 0
        out: list[bytes] | None = None
        swallowed = self._gap_swallowed
        if at:
            self._gap = max(0, at - end)
            if swallowed:
                start = min(at, end)
            if at > end:
                return data[start:]
        head = expected[0] if expected else 0
        passing = _PASSING.get(head, _NONE_PASSES)
        while end - at >= 5:
            code, size = _head_at(data, at)
            following = at + 1 + size
            if code in passing and size >= 4 and following <= end:
                at = following
                continue
            if (
                code == _READY
                and following == at + _READY_SIZE <= end
                and head & _ENDS_BATCH
                and not head & _ATTENDED
            ):
                self.status = data[at + 5]
                self.copy_in = False
                head = self._pop()
                passing = _PASSING.get(head, _NONE_PASSES)
                self._ready_due = not head
                at = following
                continue
            traits = _TRAITS[code]
            if traits & _PLAIN and following >= at + 5 and not head & _ATTENDED:
                if following > end:
                    if (traits & head or not head) and following - at <= LOOK_LIMIT:
                        break  # what ends a reply, or comes when nothing is owed, is never sent in halves
                    swallowed = False
                if traits & head:
                    head = self._pop()
                    passing = _PASSING.get(head, _NONE_PASSES)
                at = following
                continue
            if not traits or following < at + 5:
                raise ProtocolViolation(f"server sent an invalid message (type {code})")
            if following > end and following - at <= LOOK_LIMIT and self._must_be_whole(code, traits, head):
                break
            if head & HEADED and _is_row(code):
                out = [] if out is None else out
                out.append(data[start:at])
                out.append(self._lead(code))
                start = at
            instead = self._attend(code, traits, data, at, following, head)
            swallowed = instead is not None
            if instead is not None:
                out = [] if out is None else out
                out.append(data[start:at])
                out.append(instead)
                start = min(following, end)
            head = expected[0] if expected else 0
            passing = _PASSING.get(head, _NONE_PASSES)
            at = following
        if at > end:
            self._gap = at - end
            self._gap_swallowed = swallowed
        elif at < end:
            self._keep(data, at, end)
        if self._ready_due and not (self._pieces or self._gap):
            self._ready_due = False
            self.ready = not expected
        if out is None:
            return data if start == 0 and at >= end else data[start:at]
        out.append(data[start : min(at, end)])
        return b"".join(out)

    def _is_plain_answer(self, data: bytes) -> bool:
        """Whether the bytes are just the plain answer to the head of the queue; then it is answered.

        By far the most frequent case, without what all the others need. For everything else nothing has been done.
        """
        end = len(data) - _READY_SIZE
        if self._pieces or self._gap or end < 0 or not data.startswith(_READY_HEAD, end):
            return False
        at = 0
        while at < end:
            code, size = _head_at(data, at)
            if code not in _PLAIN_ANSWER or size < 4:
                return False
            at += size + 1
        if at != end:
            return False
        self.status = data[-1]
        self.copy_in = False
        self._expected.popleft()
        self.ready = not self._drop_markers()
        return True

    def _must_be_whole(self, code: int, traits: int, head: int) -> bool:
        """Whether an incomplete message must wait for the rest of it."""
        if traits & (_LOOKED_AT | _ASYNC | head & _KINDS):
            return True
        return bool(head & WATCH) and (bool(head & SWALLOW) or not _is_row(code))

    def _attend(
        self, code: int, traits: int, data: bytes, at: int, following: int, head: int
    ) -> bytes | None:
        """A message that is looked at or swallowed; returns what is forwarded in its place, None for itself."""
        if following > len(data) and traits & (_LOOKED_AT | _ASYNC) and code not in _MAY_BE_LONG:
            raise ProtocolViolation(f"server sent a message of type {chr(code)} that is far too long")
        if traits & _ASYNC:
            return self.listener.on_async(code, data[at:following])
        swallow = bool(head & SWALLOW)
        if code == Backend.NOTICE_RESPONSE and following > len(data):
            return b"" if swallow else None  # far too long for anybody to look inside
        if traits & _LOOKED_AT:
            instead = self._look(code, data, at, following, head)
            return b"" if instead is None and swallow else instead
        instead = None
        if head & WATCH and (swallow or not _is_row(code)):
            instead = self._watchers[0].on_reply(code, data[at + 5 : following])
        if head & traits & _KINDS:
            self._pop_watched()
        return b"" if instead is None and swallow else instead

    def _lead(self, code: int) -> bytes:
        """The first row of a HEADED reply has come: what goes ahead of it."""
        self._expected[0] &= ~HEADED
        return self._watchers[0].on_reply(code, b"") or b""

    def _keep(self, data: bytes, at: int, end: int) -> None:
        """Keep the beginning of a message until there is enough of it to go on."""
        self._pieces.append(data[at:])
        self._pieces_size = end - at
        self._wanted = _length_at(data, at + 1)[0] + 1 if end - at >= 5 else 5

    def _pop(self) -> int:
        """The head is answered, which nobody watches; returns the next one."""
        expected = self._expected
        expected.popleft()
        head = expected[0] if expected else 0
        return self._drop_markers() if head & COPY_END else head

    def _pop_watched(self) -> None:
        """The head is answered, whoever watches it."""
        if self._expected.popleft() & WATCH:
            self._watchers.popleft()
        self._drop_markers()

    def _drop_markers(self) -> int:
        """Markers at the head have lost their meaning; returns what is the head without them."""
        expected = self._expected
        while expected:
            if not expected[0] & COPY_END:
                return expected[0]
            expected.popleft()
        return 0

    def _look(self, code: int, data: bytes, at: int, following: int, head: int) -> bytes | None:
        """A message that changes what is expected; returns what is forwarded in its place, if anything is."""
        instead = None
        if code == Backend.READY_FOR_QUERY:
            if following - at != _READY_SIZE:
                raise ProtocolViolation("server sent a ReadyForQuery that is none")
            return self._on_ready(data[at + 5], data[at + 5 : following], head)
        if head & WATCH:
            instead = self._watchers[0].on_reply(code, data[at + 5 : following])
        if code == Backend.NOTICE_RESPONSE:
            noticed = self.listener.on_notice(data[at:following])
            return noticed if instead is None else instead
        if code == Backend.ERROR_RESPONSE:
            reported = self.listener.on_error(data[at:following], head)
            # a server that goes down is nobody's answer, whoever waits for one
            instead = reported if instead is None or reported == b"" else instead
            self._on_error(head)
        else:
            self._on_copy_in()
        return instead

    def _on_ready(self, status: int, body: bytes, head: int) -> bytes | None:
        self.status = status
        self.copy_in = False
        instead = None
        if head & _ENDS_BATCH:
            if head & WATCH:
                instead = self._watchers[0].on_reply(Backend.READY_FOR_QUERY, body)
            self._pop_watched()
        else:  # the answer to a Sync that was sent while a COPY may or may not have failed
            self.uncertain = True
        self._ready_due = not self._expected
        return instead

    def _on_error(self, head: int) -> None:
        """An error ends a simple query by itself; in an extended batch the server skips to the next Sync."""
        self.copy_in = False
        if head & STRUCK:  # whether the server has read that Sync as one, or ignored it, cannot be told
            self.uncertain = True
        if head & _ENDS_BATCH:
            return
        expected = self._expected
        if not head:  # a time limit, say, between a Flush and the Sync
            self._skipping = bool(self._last & _IN_BATCH)
            return
        if expected.popleft() & WATCH:
            self._watchers.popleft()
        while expected:
            if expected[0] & SYNC:
                return
            if expected.popleft() & WATCH:
                self._watchers.popleft().on_skipped()
        self._skipping = True

    def _on_copy_in(self) -> None:
        """COPY FROM STDIN begins: Syncs that are already on their way will be ignored by the server (rule 17).

        That holds up to what ends the COPY: CopyDone, CopyFail, or a message that has no place in it.
        """
        expected = self._expected
        if not expected:
            self.uncertain = True
            return
        copying = expected.popleft()
        while expected and expected[0] & SYNC:
            copying |= STRUCK
            if expected.popleft() & WATCH:
                del self._watchers[1 if copying & WATCH else 0]
        self.copy_in = not expected
        if expected and expected[0] & COPY_END:
            expected.popleft()
        expected.appendleft(copying)


def _is_row(code: int) -> bool:
    return code in (Backend.DATA_ROW, Backend.COPY_DATA)
