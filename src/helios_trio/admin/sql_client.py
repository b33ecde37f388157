"""A client of the proxy within its own process, so that a statement of the admin API takes the way of every other.

It speaks the protocol over a pair of sockets ("Message Flow" in PostgreSQL's documentation). What a result may have is
limited here; a client that leaves in the middle has its query cancelled, as always.

Used by: admin.sql.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from attrs import define, field, frozen
from psycopg.postgres import types

from helios_trio.errors import BackendLost, HeliosError, StatementFailed
from helios_trio.net.transport import PlainTransport
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.wire import backend_messages as back
from helios_trio.wire.codes import PROTOCOL_3_0
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import Frame, FrameReader
from helios_trio.wire.frontend_messages import CopyFail, Query, Terminate
from helios_trio.wire.startup import StartupMessage

#: Rows of a result, and bytes of its values.
MOST_ROWS, MOST_BYTES = 1000, 1024 * 1024
#: Bytes of a message of the proxy, which are more than a row may have.
_LARGEST: Final = 0x3FFF_FFFF
_RECEIVE: Final = 65536


@frozen(kw_only=True)
class Column:
    """A column of a result."""

    name: str
    #: as PostgreSQL calls it; of types that are not its own, the number in pg_type
    type: str


@define
class Result:
    """What a statement gave: of several, the last that has rows, and the last tag."""

    columns: tuple[Column, ...] = ()
    rows: list[tuple[str | None, ...]] = field(factory=list)
    tag: str = ""
    notices: list[str] = field(factory=list)
    #: rows are missing, as there were too many
    truncated: bool = False
    #: name of the backend it was sent to; empty: the session has gone meanwhile
    served_by: str = ""
    _size: int = 0

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Another statement has rows."""
        self.columns, self.rows, self._size = columns, [], 0

    def add(self, values: tuple[bytes | None, ...]) -> None:
        """A row came."""
        self._size += sum(len(each) for each in values if each is not None)
        if len(self.rows) >= MOST_ROWS or self._size > MOST_BYTES:
            self.truncated = True
        else:
            self.rows.append(
                tuple(None if each is None else each.decode("utf-8", "replace") for each in values)
            )


@frozen
class SqlClient:
    """Opens conversations; `serve` is what listeners give their clients to."""

    serve: Callable[[PlainTransport], Awaitable[None]]
    user: str
    database: str
    #: who knows the sessions by their keys
    cancels: CancelRegistry

    async def run(self, *statements: str) -> list[Result]:
        """Run statements in one session, each as a simple query; the results of each.

        Raises:
            StatementFailed: one has failed; the others behind it are not run.
            BackendLost: the session ended without an error.
        """
        ours, theirs = socket.socketpair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.serve, PlainTransport(theirs, "admin API"))
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            async with stream:
                found = await self._converse(_Conversation(stream), statements)
            if isinstance(found, HeliosError):
                failure = found
            else:
                return found
        raise failure

    async def _converse(
        self, conversation: _Conversation, statements: tuple[str, ...]
    ) -> list[Result] | HeliosError:
        """An error is a value here: what is raised in a nursery comes out as a group."""
        try:
            await conversation.stream.send_all(self._startup().encode())
            await conversation.until_ready()
            found = []
            for statement in statements:
                await conversation.stream.send_all(Query(statement).encode())
                found.append(await conversation.until_ready())
                found[-1].served_by = self._served_by(conversation.key)
                if found[-1].truncated:  # the rest is not waited for
                    return found
            await conversation.stream.send_all(Terminate().encode())
        except HeliosError as error:
            return error
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return BackendLost("the session has ended")
        return found

    def _served_by(self, key: back.BackendKeyData | None) -> str:
        session = None if key is None else self.cancels.find(key.pid, key.secret)
        return "" if session is None else session.served_by

    def _startup(self) -> StartupMessage:
        parameters = {
            "user": self.user,
            "database": self.database,
            "application_name": "helios console",
            "client_encoding": "UTF8",
        }
        return StartupMessage(
            PROTOCOL_3_0, tuple((name.encode(), value.encode()) for name, value in parameters.items())
        )


@define
class _Conversation:
    """The client's end."""

    stream: trio.SocketStream
    #: what a cancel request would have to show
    key: back.BackendKeyData | None = None
    _reader: FrameReader = field(factory=lambda: FrameReader(limit=_LARGEST, stream_over=_LARGEST))

    async def until_ready(self) -> Result:
        """What comes until the server is ready for the next. Raises StatementFailed, BackendLost."""
        result, failure = Result(), None
        while True:
            message = await self._next()
            if isinstance(message, back.ReadyForQuery):
                if failure is not None:
                    raise failure
                return result
            if isinstance(message, back.ErrorResponse):
                failure = _failure(message.fields)
                if message.fields.severity in ("FATAL", "PANIC"):
                    raise failure
            elif isinstance(message, back.BackendKeyData):
                self.key = message
            elif isinstance(message, back.CopyInResponse | back.CopyBothResponse):
                await self.stream.send_all(CopyFail("there is nothing to copy from here").encode())
            else:
                _take(result, message)
            if result.truncated:
                return result

    async def _next(self) -> Any:
        while True:
            for event in self._reader:
                assert isinstance(event, Frame)
                return back.decode_backend(event.code, event.body)
            data = await self.stream.receive_some(_RECEIVE)
            if not data:
                raise BackendLost("the session has ended")
            self._reader.feed(data)


def _take(result: Result, message: Any) -> None:
    match message:
        case back.RowDescription(fields):
            result.begin(tuple(Column(name=each.name, type=_type_name(each.type_oid)) for each in fields))
        case back.DataRow(values):
            result.add(values)
        case back.CopyOutResponse():
            result.begin((Column(name="copy", type="text"),))
        case back.CopyData(data):
            result.add((bytes(data),))
        case back.CommandComplete(tag):
            result.tag = tag
        case back.NoticeResponse(fields):
            result.notices.append(fields.message)


def _type_name(oid: int) -> str:
    try:
        return types[oid].name
    except KeyError:
        return str(oid)


def _failure(fields: ErrorFields) -> StatementFailed:
    return StatementFailed(
        fields.message,
        sqlstate=fields.sqlstate,
        detail=fields.get("D") or None,
        hint=fields.get("H") or None,
    )
