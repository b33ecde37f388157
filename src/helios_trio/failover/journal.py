"""The journal of a session: what its client has said and was answered since the last moment at which nothing was open.

A transaction that its server took with it can be done again on another one, if what was asked is still known, and
proved to be the same, if what was answered is (rule 27). So both streams are kept as the client saw them, from the
first byte of a transaction to its end; at its end both are forgotten.

The relay pays for two appends per request: nothing is parsed, compared or hashed before a server is lost, or before
so much has been kept that something must be forgotten.

Used by: failover.session (feeds it), failover.replay (reads it).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from attrs import define, field, frozen

from helios_trio.failover.replies import Answer
from helios_trio.wire.codes import Backend, Frontend, Status

#: Bytes kept as they came before they are gone through.
_LOOK_AT: Final = 512 * 1024
#: Bytes of one request, such as the data of a COPY FROM STDIN, that are kept; one with more cannot be replayed.
COPY_KEPT: Final = 8 * 1024 * 1024

#: Bytes of its Query that are kept all the same: what it is tells what may have become of it.
_QUERY_KEPT: Final = 64 * 1024

_head_at = Struct("!BI").unpack_from
_HEAD_SIZE: Final = 5
#: Messages of a client that end what it waits for.
_ENDS: Final = frozenset({Frontend.QUERY, Frontend.SYNC, Frontend.FUNCTION_CALL})
_COPY_DATA: Final = Frontend.COPY_DATA
_COPY: Final = frozenset({Frontend.COPY_DATA, Frontend.COPY_DONE, Frontend.COPY_FAIL})


@frozen
class JournalLimits:
    """What is kept of one session at most (config: [transaction_replay.journal])."""

    #: requests of one transaction
    entries: int = 10_000
    #: bytes
    size: int = 64 * 1024 * 1024


@define(eq=False)
class Exchange:
    """One request, that is a Query or all up to a Sync, and what answered it."""

    request: bytearray = field(factory=bytearray)
    answer: Answer = field(factory=Answer)
    #: transaction status at its end; None: its answer is not complete
    status: int | None = None
    #: the client has sent all of it
    whole: bool = False
    #: it was too long: its text is gone, but for the Query that it began with
    dropped: bool = False
    #: the data of its COPY FROM STDIN is at its end
    copy_done: bool = False

    @property
    def done(self) -> bool:
        """It was answered to its end."""
        return self.status is not None

    def drop(self) -> None:
        """Forget its text."""
        _, size = _head_at(self.request, 0)
        is_query = self.request[0] == Frontend.QUERY and size < _QUERY_KEPT
        del self.request[1 + size if is_query else _HEAD_SIZE :]
        self.dropped = True

    @property
    def is_known_copy(self) -> bool:
        """It is too long for its data, which belongs to a Query that is known."""
        return self.dropped and len(self.request) > _HEAD_SIZE

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.request) + len(self.answer.tail) + 8 * len(self.answer.blocks)


@define(eq=False)
class Cutter:
    """Cuts both streams of a session into exchanges, as they come."""

    exchanges: list[Exchange] = field(factory=list)
    #: an answer came that nobody had asked for: what belongs to what is not known any more
    confused: bool = False
    #: of the message that is coming: the beginning of its head, and how many bytes of it are still to come
    _head: bytes = b""
    _request_gap: int = 0
    #: the message that is coming ends its request
    _ending: bool = False
    _answer_gap: int = 0
    #: how many exchanges at the beginning are done
    _done: int = 0
    #: transaction status before the first exchange
    _began_in: int = Status.IDLE

    @property
    def begun_in(self) -> int:
        """Transaction status before the first exchange that is not done."""
        last = self.exchanges[self._done - 1].status if self._done else None
        return self._began_in if last is None else last

    def forget_ended(self) -> None:
        """Forget all up to the end of the last transaction that has ended."""
        ended = 0
        for at in range(self._done):
            if self.exchanges[at].status == Status.IDLE:
                ended = at + 1
        if ended:
            self._began_in = Status.IDLE
        del self.exchanges[:ended]
        self._done -= ended

    def forget_done(self) -> None:
        """Forget what has been answered, whether its transaction is open or not."""
        self._began_in = self.begun_in
        del self.exchanges[: self._done]
        self._done = 0

    def add_sent(self, data: bytes) -> None:
        """The client has sent this."""
        data, self._head = self._head + data, b""
        at, end = min(self._request_gap, len(data)), len(data)
        if at:
            self._request_gap -= at
            self._add_rest(data[:at])
        while end - at >= _HEAD_SIZE:
            code, size = _head_at(data, at)
            following = at + 1 + size
            if code == Frontend.COPY_DATA:
                following = _behind_copy_data(data, following)
            exchange = self._exchange_for(code)
            exchange.copy_done |= code == Frontend.COPY_DONE
            if not exchange.dropped:
                exchange.request += data[at:following]
            self._request_gap = max(0, following - end)
            self._ending = code in _ENDS
            exchange.whole |= self._ending and not self._request_gap
            at = following
        if at < end:
            self._head = data[at:]

    def _add_rest(self, data: bytes) -> None:
        """More of the message that is coming; what it belongs to may have been answered and forgotten since."""
        if self.exchanges:
            last = self.exchanges[-1]
            if not last.dropped:
                last.request += data
            last.whole |= self._ending and not self._request_gap

    def _exchange_for(self, code: int) -> Exchange:
        """The data of a COPY belongs to the request that began it, whose first Sync the server has ignored."""
        last = self.exchanges[-1] if self.exchanges else None
        if last is not None and code in _COPY:
            last.whole &= last.request[0] == Frontend.QUERY
            return last
        if last is None or last.whole:
            last = Exchange()
            self.exchanges.append(last)
        return last

    def add_received(self, data: bytes) -> None:
        """The client was sent this, in pieces as a `ReplyStream` makes them: never cut in a head or a ReadyForQuery."""
        at = start = 0
        end = len(data)
        if self._answer_gap:
            at = min(self._answer_gap, end)
            self._answer_gap -= at
        while end - at >= _HEAD_SIZE:
            code, size = _head_at(data, at)
            following = at + 1 + size
            self._answer_gap = max(0, following - end)
            at = following
            if code == Backend.READY_FOR_QUERY:
                self._answered(data[start:at], data[at - 1])
                start = at
        if start < end and self._done < len(self.exchanges):
            self.exchanges[self._done].answer.add(data[start:])

    def _answered(self, data: bytes, status: int) -> None:
        if self._done == len(self.exchanges):
            self.confused = True
            return
        exchange = self.exchanges[self._done]
        exchange.answer.add(data)
        exchange.status = status
        self._done += 1

    @property
    def rest(self) -> bytes:
        """The beginning of a message, too short to know to which request it belongs."""
        return self._head

    @property
    def gap(self) -> int:
        """Bytes still to come of a message whose beginning is not kept."""
        last = self.exchanges[-1] if self.exchanges else None
        return self._request_gap if last is None or last.done or last.dropped else 0


def _behind_copy_data(data: bytes, at: int) -> int:
    """Where a run of CopyData messages ends, the first of which ends here: there may be very many."""
    last = len(data) - _HEAD_SIZE
    while at <= last:
        code, size = _head_at(data, at)
        if code != _COPY_DATA:
            break
        at += 1 + size
    return at


class Journal:
    """Both streams of one session since its last quiet moment."""

    __slots__ = ("_cutter", "_limits", "_look_at", "_received", "_sent", "_size", "lost")

    def __init__(self, limits: JournalLimits) -> None:
        self._limits = limits
        #: why not all of the open transaction is here any more; empty: it is
        self.lost = ""
        self._sent: list[bytes] = []
        self._received: list[bytes] = []
        self._size = 0
        self._look_at = min(_LOOK_AT, limits.size)
        self._cutter: Cutter | None = None

    # -- what happens ------------------------------------------------------------------------------------------

    def note_sent(self, data: bytes) -> None:
        """The client has sent this."""
        self._sent.append(data)
        self._size += len(data)
        if self._size > self._look_at:
            self._make_room()

    def note_received(self, data: bytes) -> None:
        """The client was sent this."""
        self._received.append(data)
        self._size += len(data)
        if self._size > self._look_at:
            self._make_room()

    def clear(self, held: int = 0) -> None:
        """Nothing is open or owed; of what the client has sent, the last `held` bytes are yet to be looked at."""
        if held or self._cutter is not None:
            self._end(held)
            return
        self._sent.clear()
        self._received.clear()
        self._size = 0

    def _end(self, held: int) -> None:
        """`clear`, where there is more to forget than two lists."""
        kept = self.pending()[-held:] if held else b""
        self._cutter, self.lost = None, ""
        self._sent, self._received = [kept] if kept else [], []
        self._size, self._look_at = len(kept), min(_LOOK_AT, self._limits.size)

    # -- what is known -----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        kept = 0 if self._cutter is None else sum(each.size for each in self._cutter.exchanges)
        return kept + sum(map(len, self._sent)) + sum(map(len, self._received))

    def last_answers(self) -> bytes:
        """What the client was sent of late: all since the last quiet moment, unless that was much."""
        return b"".join(self._received)

    def exchanges(self) -> Sequence[Exchange]:
        """All requests since the last quiet moment, in order: those that were answered, then those that were not.

        The first of those may have been answered in part, the last may not have been sent to its end. Nothing of
        transactions that have ended is among them.
        """
        return self._gone_through().exchanges

    @property
    def begun_in(self) -> int:
        """Transaction status before the first request that was not answered."""
        return self._gone_through().begun_in

    def pending(self) -> bytes:
        """All that the client has sent and that was not answered to its end."""
        cutter = self._gone_through()
        requests = (each.request for each in cutter.exchanges if not (each.done or each.dropped))
        return b"".join(map(bytes, requests)) + cutter.rest

    @property
    def gap(self) -> int:
        """Bytes still to come of a message whose beginning is not among what is `pending`."""
        return self._gone_through().gap

    def with_ended(self) -> Sequence[Exchange]:
        """As `exchanges`, with those of transactions that have ended since it was asked, or cleared, last."""
        return list(self._cut().exchanges)

    def _gone_through(self) -> Cutter:
        """Cut what has come, and forget what has ended."""
        cutter = self._cut()
        cutter.forget_ended()
        if cutter.confused:
            self._lose("answers came that nobody had asked for")
        if len(cutter.exchanges) > self._limits.entries:
            self._lose(f"its transaction has more than {self._limits.entries} requests")
        return cutter

    def _cut(self) -> Cutter:
        """Cut what has come since the last time."""
        cutter = self._cutter
        if cutter is None:
            cutter = self._cutter = Cutter()
        for data in self._sent:
            cutter.add_sent(data)
        for data in self._received:
            cutter.add_received(data)
        self._sent, self._received = [], []
        return cutter

    def _make_room(self) -> None:
        """Much has been kept: forget what is not needed, and too much of what is."""
        cutter = self._gone_through()
        exchanges = cutter.exchanges
        if sum(each.size for each in exchanges) > self._limits.size:
            self._lose(f"its transaction has more than {self._limits.size} bytes")
        if exchanges and not exchanges[-1].done and len(exchanges[-1].request) > COPY_KEPT:
            self._lose(f"one of its requests has more than {COPY_KEPT} bytes")
            exchanges[-1].drop()
        self._size = 0

    def _lose(self, reason: str) -> None:
        """The open transaction cannot be replayed any more; what is under way is still followed."""
        self.lost = self.lost or reason
        if self._cutter is not None:
            self._cutter.forget_done()
