"""What stands between a new server and a client that must not notice it: three readers of the server's answers.

* `Repeat` keeps all for itself while a transaction is done again, and compares.
* `Skip` keeps back what the client has already been sent of an answer that was broken off, if it is the same.
* `Doom` tells a client whose transaction could not be done again, in place of whatever is answered next.

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

import trio
from attrs import define, field

from helios_trio.errors import HeliosError
from helios_trio.failover.replies import Answer, Difference, frames_of
from helios_trio.wire.backend_messages import ErrorResponse
from helios_trio.wire.codes import Backend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import encode_frame

#: A ReadyForQuery up to its status.
_READY: Final = b"Z\0\0\0\5"

_head_at = Struct("!BI").unpack_from
_HEAD_SIZE: Final = 5


def ready(status: int) -> bytes:
    """A ReadyForQuery message."""
    return _READY + bytes([status])


def report(error: HeliosError) -> bytes:
    """An ErrorResponse message."""
    return ErrorResponse(ErrorFields.of(error.fields())).encode()


@define(eq=False)
class EndFinder:
    """Follows an answer, in whatever pieces it comes: bytes of a row may look like the end of all."""

    #: of the message that is coming: the beginning of its head, its type, and how many bytes are still to come
    _head: bytes = b""
    _code: int = 0
    _gap: int = 0

    def ends(self, data: bytes) -> bool:
        """Whether with this piece the last message that has come is a whole ReadyForQuery."""
        data, self._head = self._head + data, b""
        at, end = min(self._gap, len(data)), len(data)
        self._gap -= at
        while end - at >= _HEAD_SIZE:
            self._code, size = _head_at(data, at)
            self._gap = max(0, at + 1 + size - end)
            at = min(at + 1 + size, end)
        self._head = data[at:]
        return self._code == Backend.READY_FOR_QUERY and not (self._gap or self._head)


@define(eq=False)
class Repeat:
    """Takes the answers to requests that are done again, one after the other."""

    _answer: Answer = field(factory=Answer)
    _end: EndFinder = field(factory=EndFinder)
    _changed: trio.Event = field(factory=trio.Event)
    _complete: bool = False
    _error: HeliosError | None = None

    def begin(self) -> None:
        """The next request is about to be sent."""
        self._answer, self._end, self._complete = Answer(), EndFinder(), False

    async def end(self) -> Answer:
        """The whole answer. Raises BackendUnavailable."""
        while not self._complete:
            if self._error is not None:
                raise self._error
            await self._changed.wait()
            self._changed = trio.Event()
        return self._answer

    def on_reply_bytes(self, data: bytes) -> bytes:
        """See `failover.session.Replaying`."""
        self._answer.add(data)
        if self._end.ends(data):
            self._complete = True
            self._changed.set()
        return b""

    def on_lost(self, error: HeliosError) -> None:
        """See `failover.session.Replaying`."""
        self._error = error
        self._changed.set()


@define(eq=False)
class Skip:
    """Keeps back as much of an answer as the client has already been sent."""

    #: what the client has been sent
    prefix: Answer
    #: called once: the client has it all, and sees the rest; or the answer is another
    done: Callable[[Difference | None], None]
    _seen: Answer = field(factory=Answer)
    _end: EndFinder = field(factory=EndFinder)

    def on_reply_bytes(self, data: bytes) -> bytes:
        """See `failover.session.Replaying`."""
        missing, ended = self.prefix.size - self._seen.size, self._end.ends(data)
        self._seen.add(data[:missing])
        if len(data) >= missing:
            same = self._seen.blocks == self.prefix.blocks and self._seen.tail == self.prefix.tail
            self.done(None if same else Difference("rows", "its rows are not those that were sent before"))
            return data[missing:] if same else b""
        if ended:
            self.done(Difference("length", "its answer is shorter than what was sent of it before"))
        return b""

    def on_lost(self, error: HeliosError) -> None:
        """See `failover.session.Replaying`: the session begins anew, and with it the skipping."""


@define(eq=False)
class Doom:
    """Answers the next request of a client whose transaction is lost: its server knows it as failed."""

    error: HeliosError
    #: whether the request that is being answered only gives the transaction up, which it may
    gives_up: Callable[[], bool]
    #: called once the client has been told, or has given up
    done: Callable[[], None]
    _pieces: bytearray = field(factory=bytearray)
    _end: EndFinder = field(factory=EndFinder)

    def on_reply_bytes(self, data: bytes) -> bytes:
        """See `failover.session.Replaying`."""
        self._pieces += data
        if not self._end.ends(data):
            return b""
        answer = bytes(self._pieces)
        told = answer if self.gives_up() else self._told(answer)
        self._pieces.clear()
        self.done()
        return told

    def _told(self, answer: bytes) -> bytes:
        """The error in place of what the failed transaction says, which the client has not been told of."""
        kept = [
            encode_frame(code, body)
            for code, body in frames_of(answer)
            if code in (Backend.PARAMETER_STATUS, Backend.READY_FOR_QUERY)
        ]
        return report(self.error) + b"".join(kept)

    def on_lost(self, error: HeliosError) -> None:
        """See `failover.session.Replaying`: the session begins anew, and its transaction is as lost as before."""
