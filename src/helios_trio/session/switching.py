"""Bringing a server connection to what a session believes: the query that is sent ahead, and who reads its answer.

Used by: session.requests, proxy.session.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import Final

from attrs import define, field

from helios_trio.session.prepared import PREFIX
from helios_trio.session.server_side import ServerSide
from helios_trio.session.virtual import VirtualSession
from helios_trio.wire import replies
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.frames import encode_frame


def query_frame(text: str) -> bytes:
    """A Query message of the proxy's own."""
    body = text.encode("utf-8", "surrogateescape")
    return pack("!BI", Frontend.QUERY, len(body) + 5) + body + b"\0"


@define(eq=False)
class LabelWatcher:
    """Reads the answer to the statements that make the labels equal.

    `done` gets the body of the ErrorResponse, or None when all went well, and the notices that came with it.
    """

    session: VirtualSession
    server: ServerSide
    done: Callable[[bytes | None, list[bytes]], None]
    error: bytes | None = None
    notices: list[bytes] = field(factory=list)

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.error = body
            self.server.replies.uncertain = True  # nobody knows now what it carries
        elif code == Backend.READY_FOR_QUERY:
            self.done(self.error, self.notices)
        elif code == Backend.NOTICE_RESPONSE:
            self.notices.append(encode_frame(code, body))
        return None

    def on_skipped(self) -> None:
        """Cannot be: it is sent only between batches."""


#: Counts what would be lost with the connection. One row: temporary objects of any kind, session advisory locks, held
#: cursors, statements prepared by SQL.
PROBE = (
    "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend WHERE refclassid = 2615"
    " AND refobjid = pg_catalog.pg_my_temp_schema()),"
    " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"
    " AND pid = pg_catalog.pg_backend_pid() AND granted),"
    " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursors WHERE is_holdable),"
    " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements WHERE from_sql)"
)
PROBE_COLUMNS = ("temporary objects", "advisory locks", "held cursors", "prepared statements (SQL)")


@define(eq=False)
class PinProbe:
    """Reads the answer to `PROBE`; `done` gets reason -> count, or None when the server refused to say."""

    done: Callable[[dict[str, int] | None], None]
    pins: dict[str, int] | None = None

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.DATA_ROW:
            self.pins = _counts(body)
        elif code == Backend.READY_FOR_QUERY:
            self.done(self.pins)
        return None

    def on_skipped(self) -> None:
        """Cannot be: it is sent only between transactions."""


#: Whether it holds an advisory lock outside of a transaction. The client's unnamed statement must stay what it is.
_LOCKS: Final = PREFIX + b"locks"
_ASK_FOR_LOCKS: Final = (
    encode_frame(
        Frontend.PARSE,
        _LOCKS
        + b"\0SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"
        + b" AND pid = pg_catalog.pg_backend_pid() AND granted)\0\0\0",
    )
    + encode_frame(Frontend.BIND, _LOCKS + b"\0" + _LOCKS + b"\0\0\0\0\0\0\0")
    + encode_frame(Frontend.EXECUTE, _LOCKS + b"\0\0\0\0\0")
    + encode_frame(Frontend.CLOSE, b"S" + _LOCKS + b"\0")
    + encode_frame(Frontend.SYNC, b"")
)


def ask_for_locks(server: ServerSide, done: Callable[[bool], None]) -> bytes:
    """Goes to a server between two transactions; `done` is called with what it answers, if it does."""
    for kind in (replies.PARSE, replies.BIND):
        server.replies.push(kind | replies.SWALLOW)
    server.replies.watch(replies.EXECUTE | replies.SWALLOW, _LocksWatcher(done))
    server.replies.push(replies.CLOSE | replies.SWALLOW)
    server.replies.push(replies.SYNC | replies.SWALLOW)
    return _ASK_FOR_LOCKS


@define(eq=False)
class _LocksWatcher:
    """Reads the answer to `ask_for_locks`."""

    done: Callable[[bool], None]

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.DATA_ROW:
            self.done(body.endswith(b"t"))
        return None

    def on_skipped(self) -> None:
        """It could not be prepared, for want of time or memory: nothing is known."""


def _counts(row: bytes) -> dict[str, int]:
    counts: dict[str, int] = {}
    at = 2
    for reason in PROBE_COLUMNS:
        size = int.from_bytes(row[at : at + 4], "big")
        if number := int(row[at + 4 : at + 4 + size]):
            counts[reason] = number
        at += 4 + size
    return counts
