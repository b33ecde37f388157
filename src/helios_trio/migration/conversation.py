"""The proxy's own words with a server, on a connection that belongs to a session.

While a session stands still, `Conversation` takes its place as the holder of its connection: requests go out
pipelined, all that comes back is read here, and nothing of it reaches the client.

Used by: migration.dialogue (two of them).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

import trio
from attrs import define, field

from helios_trio.errors import BackendLost, HeliosError
from helios_trio.migration.copying import CopyRelay
from helios_trio.pool.connection import BackendConnection, LeaseHolder
from helios_trio.session.carrying.steps import Answer, Column, DescribePortal, Parse, Query, Request, Row
from helios_trio.session.carrying.tracked import codec_of
from helios_trio.wire import replies
from helios_trio.wire.backend_messages import RowDescription
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import encode_frame

_SYNC: Final = encode_frame(Frontend.SYNC, b"")
_short_at = Struct("!h").unpack_from
_int_at = Struct("!i").unpack_from


@define(eq=False)
class Reading:
    """Collects the answer to one request (`wire.replies.Watcher`); nothing of it is forwarded."""

    codec: str
    #: called when the server begins to take rows
    poke: Callable[[], None]
    #: the request was to describe something
    wants_columns: bool = False
    rows: list[Row] = field(factory=list)
    tags: list[str] = field(factory=list)
    error: ErrorFields | None = None
    _described: bytes | None = None

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.DATA_ROW:
            self._take_row(body)
        elif code == Backend.COMMAND_COMPLETE:
            self.tags.append(body[:-1].decode())
        elif code == Backend.ERROR_RESPONSE:
            self.error = ErrorFields.decode(body)
        elif code == Backend.COPY_IN_RESPONSE:
            self.poke()
        elif code == Backend.ROW_DESCRIPTION:
            self._described = body
        return None

    def _take_row(self, body: bytes) -> None:
        if (row := _row(body, self.codec)) is not None:
            self.rows.append(row)
        else:
            self.error = _TOO_LARGE

    def on_skipped(self) -> None:
        """An earlier request of the same batch failed; every request here is a batch of its own."""

    @property
    def answer(self) -> Answer:
        """What has come."""
        return Answer(tuple(self.rows), tuple(self.tags), self.error, self._columns)

    @property
    def _columns(self) -> tuple[Column, ...]:
        """Taken apart only where they were asked for: queries are described too, and nobody wants to know."""
        if self._described is None or not self.wants_columns:
            return ()
        fields = RowDescription.decode(self._described).fields
        return tuple(Column(each.name, each.type_oid, each.type_modifier) for each in fields)


class Conversation:
    """Speaks with one server; the holder of its connection meanwhile (`pool.connection.LeaseHolder`)."""

    def __init__(self, connection: BackendConnection, notify: Callable[[bytes], None]) -> None:
        """`notify` gets the notifications that come meanwhile, as frames."""
        self.connection = connection
        self._notify = notify
        self._changed = trio.Event()
        self.error: Exception | None = None
        #: takes what is not swallowed: rows of a COPY
        self.copying: CopyRelay | None = None
        self._previous: LeaseHolder | None = None

    def __enter__(self) -> Conversation:
        self._previous, self.connection.holder = self.connection.holder, self
        return self

    def __exit__(self, *exception: object) -> None:
        """The connection is its earlier holder's again, unless it has been lost or given to somebody else."""
        if self.connection.holder is self:
            self.connection.holder = self._previous

    @property
    def codec(self) -> str:
        """Python's name of the connection's client_encoding."""
        return codec_of(self.connection.side.parameters.get("client_encoding", "UTF8"))

    # -- asking ------------------------------------------------------------------------------------------------

    def say(self, *requests: Request) -> list[Reading]:
        """Send all in one write; who wants the answers waits for `settle`. Raises NotEncodable."""
        codec, expected = self.codec, self.connection.side.replies
        frames = b"".join(_frames(each, codec) for each in requests)  # may raise: nothing is expected yet
        readings = [Reading(codec, self._poke, isinstance(each, DescribePortal)) for each in requests]
        for request, reading in zip(requests, readings, strict=True):
            expected.watch(_ANSWERED_BY[type(request)] | replies.SWALLOW, reading)
            if not isinstance(request, Query):
                expected.push(replies.SYNC | replies.SWALLOW)
        if frames:
            self.connection.send(frames)
        return readings

    def _poke(self) -> None:
        self._changed.set()

    async def settle(self) -> None:
        """Wait until nothing is owed. Raises BackendLost."""
        while not self.connection.side.replies.quiet:
            await self.changed()
        if self.error is not None:
            raise BackendLost(f"lost the connection while a session was moved: {self.error}")

    async def wait_for_copy(self) -> None:
        """Return when the server takes rows, or has said why it does not. Raises BackendLost."""
        replies_owed = self.connection.side.replies
        while not (replies_owed.copy_in or replies_owed.quiet):
            await self.changed()

    async def changed(self) -> None:
        """Wait until something has come, or the connection is lost: that raises BackendLost."""
        if self.error is None:
            self._changed = trio.Event()
            await self._changed.wait()
        if self.error is not None:
            raise BackendLost(f"lost the connection while a session was moved: {self.error}")

    # -- LeaseHolder -------------------------------------------------------------------------------------------

    def on_reply_bytes(self, data: bytes) -> None:
        """Only rows of a COPY are not swallowed."""
        if self.copying is not None:
            self.copying.on_bytes(data)
        self._changed.set()

    def on_server_ready(self) -> None:
        """Nothing is owed any more."""
        self._changed.set()

    def on_parameter(self, name: str, frame: bytes, swallowed: bool) -> bytes:
        """What the client must be told is found out when it goes on."""
        return b""

    def on_notification(self, frame: bytes) -> bytes:
        """See `session.carrying.channels`: some of them are the client's."""
        self._notify(frame)
        return b""

    def on_server_error(self, frame: bytes, head: int) -> None:
        """The answer that waits for it knows; one that nothing waits for is the server's last word."""
        self._changed.set()

    def on_server_notice(self, frame: bytes) -> None:
        """Of no interest: nothing is forwarded."""

    def on_server_lost(self, error: Exception | None) -> None:
        """Nobody will answer."""
        self.error = error or BackendLost("server closed the connection unexpectedly")
        self._changed.set()

    def on_server_congested(self) -> None:
        """The server does not take what was sent to it."""
        if self.copying is not None:
            self.copying.on_congested()

    def on_server_drained(self) -> None:
        """The server takes bytes again."""
        if self.copying is not None:
            self.copying.on_drained()
        self._changed.set()

    def on_crash(self, error: Exception) -> None:
        """A bug: the connection is closed already."""
        self.on_server_lost(error)


def _frames(request: Request, codec: str) -> bytes:
    """One request, which stands for itself: what it fails of does no harm to the next."""
    if isinstance(request, Query):
        return query_frame(request.text, codec)
    if isinstance(request, Parse):
        return encode_frame(Frontend.PARSE, b"\0".join((request.name, request.text, request.types))) + _SYNC
    return encode_frame(Frontend.DESCRIBE, b"P" + _encoded(request.name, codec) + b"\0") + _SYNC


_ANSWERED_BY: Final = {Query: replies.QUERY, Parse: replies.PARSE, DescribePortal: replies.DESCRIBE}


def query_frame(text: str, codec: str) -> bytes:
    """A Query message with a text in the connection's encoding. Raises NotEncodable."""
    return encode_frame(Frontend.QUERY, _encoded(text, codec) + b"\0")


def _encoded(text: str, codec: str) -> bytes:
    try:
        return text.encode(codec, "surrogateescape")
    except UnicodeEncodeError as error:
        raise NotEncodable(f"the client's encoding has no {error.object[error.start]!r}") from None


class NotEncodable(HeliosError):
    """Something of the session cannot be said in the encoding its client uses."""

    sqlstate = "22P05"
    code = "not_encodable"


#: Rows beyond `wire.replies.LOOK_LIMIT` are not kept whole.
_TOO_LARGE: Final = ErrorFields.of(
    {"S": "ERROR", "C": "54000", "M": "a row of the session's state is too large to be read"}
)


def _row(body: bytes, codec: str) -> Row | None:
    """The values of a DataRow; None when the message is not there as a whole."""
    values: list[str | None] = []
    at = 2
    for _ in range(_short_at(body)[0]):
        size = _int_at(body, at)[0]
        at += 4
        if size < 0:
            values.append(None)
            continue
        if at + size > len(body):
            return None
        values.append(body[at : at + size].decode(codec, "surrogateescape"))
        at += size
    return tuple(values)
