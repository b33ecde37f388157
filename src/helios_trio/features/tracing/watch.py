"""`RequestWatch`: sees both streams of one client, and tells the observer of each request that has been answered.

It looks at what the client sent and was sent, so that moves, replays and whatever the proxy says by itself need no
special care: a request begins with its first byte and ends when the socket has taken its ReadyForQuery.

Requests that nobody wants to know of are not followed; and of a long answer to a single request only the end is looked
for, as its rows would cost as much as relaying them.

Used by: composition.observing (makes one for each session), proxy.session (tells it what bytes do not show).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, Protocol

from attrs import define, field

from helios_trio.features.tracing.observer import Observer
from helios_trio.features.tracing.requests import ClientRequest, RequestCutter, is_one_request
from helios_trio.pipeline.backend import Backend
from helios_trio.session.prepared import PreparedStatement
from helios_trio.sql.facts import Facts
from helios_trio.wire.codes import Backend as Code

#: Bytes of the answer to a single request that are looked through, message by message.
LOOKED_AT: Final = 16 * 1024
#: Bytes of an ErrorResponse that are waited for.
_ERROR_KEPT: Final = 64 * 1024
_HEAD: Final = 5

_head_at = Struct("!BI").unpack_from
_READY: Final = Code.READY_FOR_QUERY
_READY_HEAD: Final = b"Z\0\0\0\5"
_ERROR: Final = Code.ERROR_RESPONSE
_KEY: Final = b"traceparent"
#: Bytes of the field with the SQLSTATE, its type included.
_CODE_END: Final = 6


class Client(Protocol):
    """What must be known of a virtual session."""

    id: int
    user: str
    database: str
    statements: dict[bytes, PreparedStatement]


class Stream(Protocol):
    """What must be known of a request stream."""

    @property
    def facts_of(self) -> Callable[[bytes], Facts]:
        """Knows what a text does."""


class Followed(Protocol):
    """What must be known of a session (`proxy.session.Session`)."""

    @property
    def virtual(self) -> Client:
        """Who its client is."""

    @property
    def requests(self) -> Stream:
        """Knows how texts are to be read."""

    @property
    def answered(self) -> bool:
        """No request of its client is waiting, held or owed an answer."""

    @property
    def unsent(self) -> bool:
        """Whether answers have not been taken by the socket."""

    @property
    def route_taken(self) -> str:
        """Why its last request went where it went."""


@define(eq=False)
class RequestWatch:
    """`pipeline.taps.RequestTap` of one session."""

    session: Followed
    observer: Observer
    #: requests that are followed and not answered, the first to be answered first
    _waiting: deque[ClientRequest] = field(factory=deque, init=False)
    _cutter: RequestCutter = field(init=False)
    #: the last request was not followed; and is not known to have been answered
    _skipped: bool = field(default=False, init=False)
    _owed: bool = field(default=False, init=False)
    #: the cutter may be in the middle of a request
    _cutting: bool = field(default=False, init=False)
    #: something was sent to the client since
    _passed: bool = field(default=False, init=False)
    #: whether the next request is to have a span, if that has been drawn already
    _drawn: bool | None = field(default=None, init=False)
    #: the next byte for the client is `_gap` bytes before the beginning of a message, whose beginning is `_rest`
    _aligned: bool = field(default=True, init=False)
    _gap: int = field(default=0, init=False)
    _rest: bytes = field(default=b"", init=False)
    #: bytes of this answer that were looked through
    _looked: int = field(default=0, init=False)
    #: of the last error that a server has reported
    _error: bytes = field(default=b"", init=False)
    #: since when the first request waits for a server connection
    _waits_since: float | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._cutter = RequestCutter(self._begin, self._source_of)

    # -- from the client ---------------------------------------------------------------------------------------

    def on_received(self, data: bytes) -> None:
        """Bytes have come from the client, and are about to be acted upon."""
        if self._waiting or not self._may_skip(data):
            self._cutting = True
            self._cutter.feed(data)
            self._drawn = None

    note_early = on_received

    def _may_skip(self, data: bytes) -> bool:
        """Whether the bytes are one request that nobody wants to know of, with none before it under way.

        Asked for each request that is not followed, so it asks others as little as it can.
        """
        observer = self.observer
        if observer.follows_all or self._owed or (self._cutting and not self._cutter.at_boundary):
            return False
        self._cutting = False
        if not is_one_request(data):
            return False
        if observer.ratio:
            self._drawn = observer.random() < observer.ratio
        if self._drawn or _KEY in data:
            return False
        self._skipped = self._owed = True
        self._passed = False
        return True

    def _begin(self) -> ClientRequest:
        if not self._waiting:
            self._begin_following()
        drawn, self._drawn = self._drawn, None
        request = ClientRequest(self.observer.clock(), drawn)
        self._waiting.append(request)
        return request

    def _begin_following(self) -> None:
        """Nothing that is followed is under way; a request that is not may be."""
        self._gap = self._looked = 0
        self._rest = self._error = b""
        self._aligned = True
        if self._skipped and (not self.session.answered or (self.session.unsent and not self._passed)):
            self._waiting.append(ClientRequest(0.0, unseen=True))
            self._aligned = not self._passed
        self._skipped = self._owed = False

    def _source_of(self, name: bytes) -> bytes | None:
        known: Mapping[bytes, PreparedStatement] = self.session.virtual.statements
        statement = known.get(name)
        return None if statement is None else statement.text or None

    # -- to the client -----------------------------------------------------------------------------------------

    def on_taken(self, data: bytes) -> None:
        """The socket has taken bytes for the client."""
        if not self._waiting:
            self._passed = True
        elif self._aligned and (len(self._waiting) > 1 or self._looked + len(data) <= LOOKED_AT):
            self._looked += len(data)
            self._look_through(data)
        else:
            self._look_for_end(data)

    def _look_through(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = min(self._gap, len(data)), len(data)
        self._gap -= at
        waiting = self._waiting
        while end - at >= _HEAD:
            code, size = _head_at(data, at)
            following = at + 1 + size
            if code == _READY:
                if following > end:
                    break
                self._answered()
            elif code == _ERROR and waiting:
                if following > end and size <= _ERROR_KEPT:
                    break
                waiting[0].sqlstate = _sqlstate_of(data[at:following])
            self._gap = max(0, following - end)
            at = following
        if at < end:
            self._rest = data[at:]

    def _look_for_end(self, data: bytes) -> None:
        """Where messages begin is not known: all is answered when the session says so, with a ReadyForQuery."""
        self._aligned = False
        tail, self._rest = self._rest + data, data[-_HEAD:]
        if self.session.answered and _READY_HEAD in tail:
            self._waiting[-1].sqlstate = _sqlstate_of(self._error) if self._error else ""
            while self._waiting:
                self._answered()

    def _answered(self) -> None:
        """The first request has been answered to its end."""
        if not self._waiting:
            return
        request = self._waiting.popleft()
        self._cutter.forget(request)
        self._looked, self._error = 0, b""
        if not request.unseen:
            self.observer.done(self.session, request)

    # -- what the bytes do not show (pipeline.taps.RequestTap) -------------------------------------------------

    def note_waiting(self) -> None:
        """See `pipeline.taps.RequestTap`."""
        if self._waiting and self._waits_since is None:
            self._waits_since = self.observer.clock()

    def note_granted(self) -> None:
        """See `pipeline.taps.RequestTap`."""
        since, self._waits_since = self._waits_since, None
        if since is None:
            return
        now = self.observer.clock()
        for request in self._waiting:
            request.waited += now - max(since, request.begun)

    def note_answered(self, backend: Backend) -> None:
        """See `pipeline.taps.RequestTap`."""
        self._owed = False
        if self._waiting:
            now, route = self.observer.clock(), self.session.route_taken
            for request in self._waiting:
                request.backend, request.route, request.answered = backend, route, now

    def note_error(self, frame: bytes) -> None:
        """See `pipeline.taps.RequestTap`: counts where the answer is not looked through."""
        if self._waiting:
            self._error = frame

    def note_end(self, reason: str, sqlstate: str) -> None:
        """See `pipeline.taps.RequestTap`."""
        self.note_granted()
        while self._waiting:
            request = self._waiting.popleft()
            if request.whole and not request.unseen:
                request.failure, request.sqlstate = reason, sqlstate or request.sqlstate
                self.observer.done(self.session, request)


def _sqlstate_of(frame: bytes) -> str:
    """The code in an ErrorResponse, which may be cut off at its end; empty if it is not there."""
    codes = (field for field in frame[_HEAD:].split(b"\0") if field.startswith(b"C"))
    return next(codes, b"")[1:_CODE_END].decode("ascii", "replace")
