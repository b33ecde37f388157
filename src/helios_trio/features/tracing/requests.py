"""What a client sends, cut into requests: a simple query, or an extended batch up to its Sync. No I/O.

Used by: features.tracing.watch.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from attrs import define

from helios_trio.pipeline.backend import Backend
from helios_trio.wire.codes import Frontend

_head_at = Struct("!BI").unpack_from
_length_at = Struct("!I").unpack_from

#: Longest message that is kept until it is whole, because its text counts; as `session.requests` has it.
WHOLE_LIMIT: Final = 256 * 1024
_HEAD: Final = 5

_QUERY: Final = Frontend.QUERY
_SYNC: Final = Frontend.SYNC
_TEXTS: Final = frozenset({Frontend.QUERY, Frontend.PARSE, Frontend.BIND})
_COPY: Final = frozenset({Frontend.COPY_DATA, Frontend.COPY_DONE, Frontend.COPY_FAIL})
#: They belong to no request.
_ASIDE: Final = frozenset({Frontend.FLUSH, Frontend.TERMINATE})
_OF_A_BATCH: Final = frozenset(
    {Frontend.PARSE, Frontend.BIND, Frontend.DESCRIBE, Frontend.EXECUTE, Frontend.CLOSE, Frontend.FLUSH}
)


@define(eq=False)
class ClientRequest:
    """One request, while it is under way. Times in seconds, of the observer's clock."""

    #: when its first byte came
    begun: float
    #: whether it is to have a span, where that was decided already
    sampled: bool | None = None
    #: nothing is known of it but that it is to be answered
    unseen: bool = False
    #: the client has sent all of it
    whole: bool = False
    #: it came as a batch of the extended protocol
    extended: bool = False
    #: the first statement as the client wrote it; None: not known
    text: bytes | None = None
    #: the statement came with this request: what it says of a trace is about this request
    fresh: bool = False
    #: statements of the extended protocol that are executed
    executes: int = 0
    is_function_call: bool = False
    #: texts of its Parse messages by the statement's name; None: it has none
    parsed: dict[bytes, bytes] | None = None
    #: how long it has waited for a server connection
    waited: float = 0.0
    #: who has answered it, when, and why it was asked
    backend: Backend | None = None
    route: str = ""
    answered: float | None = None
    #: of the error that its client was told; empty: none
    sqlstate: str = ""
    #: why its client has got no answer to its end; empty: it has
    failure: str = ""


class RequestCutter:
    """Cuts one client's bytes, however they come."""

    __slots__ = ("_begin", "_gap", "_rest", "_source_of", "_unreadable", "latest")

    def __init__(
        self, begin: Callable[[], ClientRequest], source_of: Callable[[bytes], bytes | None]
    ) -> None:
        """`begin` makes the next request; `source_of` knows the text of a statement that was prepared before."""
        self._begin = begin
        self._source_of = source_of
        self._rest = b""
        self._gap = 0
        self._unreadable = False
        #: the request that came last; None: it has been answered
        self.latest: ClientRequest | None = None

    @property
    def at_boundary(self) -> bool:
        """The next byte begins a request."""
        under_way = self.latest is not None and not self.latest.whole
        return not (self._rest or self._gap or under_way or self._unreadable)

    def forget(self, request: ClientRequest) -> None:
        """It has been answered."""
        if self.latest is request:
            self.latest = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._unreadable:
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = min(self._gap, len(data)), len(data)
        self._gap -= at
        while end - at >= _HEAD:
            code, size = _head_at(data, at)
            following = at + 1 + size
            if size < 4:  # the proxy ends such a session
                self._unreadable = True
                return
            if following > end and code in _TEXTS and size <= WHOLE_LIMIT:
                break
            self._take(code, data, at + _HEAD, min(following, end))
            self._gap = max(0, following - end)
            at = following
        if at < end:
            self._rest = data[at:]
            if data[at] not in _ASIDE and data[at] not in _COPY:
                self._under_way()

    def _under_way(self) -> ClientRequest:
        """The request that has begun, or begins now."""
        latest = self.latest
        if latest is None or latest.whole:
            latest = self.latest = self._begin()
        return latest

    def _take(self, code: int, data: bytes, at: int, end: int) -> None:
        """One message, whose body is what stands from `at` to `end`; or its beginning, if it is very long."""
        if code in _ASIDE:
            return
        if code in _COPY:
            self._go_on_copying()
            return
        request = self._under_way()
        if code == _QUERY:
            request.text, request.fresh, request.whole = data[at : end - 1], True, True
        elif code == _SYNC:
            self._end_batch(request)
        elif code == Frontend.PARSE:
            _note_parse(request, data, at, end)
        elif code == Frontend.BIND:
            self._note_bind(request, data, at, end)
        elif code == Frontend.EXECUTE:
            request.extended, request.executes = True, request.executes + 1
        elif code == Frontend.FUNCTION_CALL:
            request.is_function_call = request.whole = True

    def _go_on_copying(self) -> None:
        """The data of a COPY: the server has ignored the Sync behind the Execute that began it (rule 17)."""
        latest = self.latest
        if latest is not None and latest.extended:
            latest.whole = False

    def _note_bind(self, request: ClientRequest, data: bytes, at: int, end: int) -> None:
        request.extended = True
        portal_end = data.find(0, at, end)
        name_end = data.find(0, portal_end + 1, end)
        if request.text is None and 0 <= portal_end < name_end:
            name = data[portal_end + 1 : name_end]
            own = None if request.parsed is None else request.parsed.get(name)
            request.text, request.fresh = self._source_of(name) if own is None else own, own is not None

    @staticmethod
    def _end_batch(request: ClientRequest) -> None:
        request.extended = request.whole = True
        if request.text is None and request.parsed and not request.executes:
            request.text, request.fresh = next(iter(request.parsed.values())), True


def _note_parse(request: ClientRequest, data: bytes, at: int, end: int) -> None:
    request.extended = True
    name_end = data.find(0, at, end)
    text_end = data.find(0, name_end + 1, end)
    if 0 <= name_end < text_end:
        if request.parsed is None:
            request.parsed = {}
        request.parsed[data[at:name_end]] = data[name_end + 1 : text_end]


def is_one_request(data: bytes) -> bool:
    """Whether the bytes, which begin where a message does, are just one request from its beginning to its end."""
    end = len(data)
    if end < _HEAD:
        return False
    if data[0] == _QUERY:
        return bool(_length_at(data, 1)[0] == end - 1)
    at = 0
    while end - at >= _HEAD:
        code, size = _head_at(data, at)
        at += 1 + size
        if code == _SYNC:
            return bool(at == end)
        if code not in _OF_A_BATCH or size < 4:
            return False
    return False
