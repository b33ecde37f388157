"""Prepared statements on shared connections: renamed by text, prepared where they are missing, errors as PostgreSQL's.

Every function returns frames to be sent, and pushes what will answer them. PostgreSQL keeps the order, so nothing is
ever answered by the proxy itself: a Close that must not close becomes the Close of a name that was never prepared.

Used by: session.requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from struct import pack
from typing import Final

from helios_trio.session.prepared import NEVER_PREPARED, Absence, PreparedStatement
from helios_trio.session.server_side import ServerSide
from helios_trio.session.statement_watchers import (
    DescribeWatcher,
    LateParseWatcher,
    ParseWatcher,
    RefusalWatcher,
    ServerCloseWatcher,
)
from helios_trio.session.switching import query_frame
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.facts import UNPARSED, Facts
from helios_trio.sql.kinds import StatementKind
from helios_trio.wire import replies
from helios_trio.wire.backend_messages import error_response
from helios_trio.wire.codes import Frontend, Status
from helios_trio.wire.frames import encode_frame as frame

PORTAL: Final = ord("P")
STATEMENT: Final = ord("S")

_SYNC: Final = pack("!BI", Frontend.SYNC, 4)
_FLUSH: Final = pack("!BI", Frontend.FLUSH, 4)


def only_transaction_control(facts: Facts) -> bool:
    """One BEGIN, COMMIT or ROLLBACK: without anything to take back it has no effect on the session."""
    return (
        len(facts.statements) == 1
        and facts.statements[0].kind is StatementKind.TRANSACTION
        and facts.statements[0].transaction is not None
        and not facts.statements[0].transaction.name
    )


def close_frame(name: bytes) -> bytes:
    """Close of a prepared statement."""
    return frame(Frontend.CLOSE, b"S" + name + b"\0")


def parse_frame(name: bytes, text: bytes, types: bytes) -> bytes:
    """Parse of a statement; `types` is the tail of the message, with its parameter types."""
    return frame(Frontend.PARSE, name + b"\0" + text + b"\0" + types)


def describe_frame(name: bytes) -> bytes:
    """Describe of a prepared statement."""
    return frame(Frontend.DESCRIBE, b"S" + name + b"\0")


def read_parse(
    data: bytes, at: int, following: int, facts_of: Callable[[bytes], Facts]
) -> PreparedStatement | None:
    """The statement of a Parse message; None when it is malformed. Of a streamed one only the name is known."""
    end = min(following, len(data))
    name_end = data.find(0, at + 5, end)
    if name_end < 0:
        return None
    name = data[at + 5 : name_end]
    if following > end:
        return PreparedStatement(name, b"", b"", UNPARSED, kept=False)
    text_end = data.find(0, name_end + 1, end)
    if text_end < 0:
        return None
    text = data[name_end + 1 : text_end]
    return PreparedStatement(name, text, data[text_end + 1 : following], facts_of(text))


def read_bind(data: bytes, at: int, following: int) -> tuple[bytes, bytes, int] | None:
    """Portal, statement name and where the rest of a Bind message begins; None when it is malformed."""
    if data[at + 5 : at + 7] == b"\0\0" and following >= at + 7:
        return b"", b"", at + 7
    portal_end = data.find(0, at + 5, following)
    name_end = data.find(0, portal_end + 1, following)
    if portal_end < 0 or name_end < 0:
        return None
    return data[at + 5 : portal_end], data[portal_end + 1 : name_end], name_end + 1


def bind_renamed(data: bytes, at: int, following: int, portal: bytes, name: bytes, rest: int) -> bytes:
    """The Bind message at `at` with another statement name; what of it is still to come keeps its length."""
    size = 4 + len(portal) + 1 + len(name) + 1 + (following - rest)
    return pack("!BI", Frontend.BIND, size) + portal + b"\0" + name + b"\0" + data[rest:following]


def parse_renamed(
    statement: PreparedStatement, session: VirtualSession, server: ServerSide, limit: int, original: bytes
) -> bytes:
    """The client's own Parse of a named statement.

    It always reaches the server, so that its errors are PostgreSQL's; an equal statement of an earlier client is
    replaced.
    """
    if not statement.kept:
        session.statements[statement.name] = statement
        server.tainted = True
        server.replies.push(replies.PARSE)
        return original
    if statement.name in session.statements or statement.name in session.sql_prepared:
        server.replies.watch(replies.BIND | replies.SWALLOW, RefusalWatcher(already_exists(statement.name)))
        return _FAILING_BIND
    name = statement.server_name
    replaces = name in server.prepared
    lead = _close_on_server(name, server) if replaces else b""
    lead += _make_room(server, limit)
    session.statements[statement.name] = statement
    server.prepared[name] = None
    server.replies.watch(replies.PARSE, ParseWatcher(statement, session, server, False, replaces))
    return lead + parse_frame(name, statement.text, statement.types)


def ensure(
    name: bytes,
    statement: PreparedStatement | None,
    session: VirtualSession,
    server: ServerSide,
    limit: int,
) -> bytes:
    """Frames after which the statement is prepared on the connection; b"" when it is."""
    if not name:
        return _ensure_unnamed(statement, session, server)
    if statement is None or not statement.kept:
        return b""
    if statement.server_name in server.prepared:
        server.prepared.move_to_end(statement.server_name)
        return b""
    lead = _make_room(server, limit)
    server.prepared[statement.server_name] = None
    watcher = ParseWatcher(statement, session, server, True)
    server.replies.watch(replies.PARSE | replies.SWALLOW, watcher)
    body = statement.server_name + b"\0" + statement.text + b"\0" + statement.types
    return lead + frame(Frontend.PARSE, body)


def _ensure_unnamed(
    statement: PreparedStatement | None, session: VirtualSession, server: ServerSide
) -> bytes:
    """Another session's unnamed statement may stand on the connection: it must never be run for this one."""
    if statement is not None and not statement.kept:
        statement = None
    server.unnamed = statement
    if statement is None:
        server.replies.push(replies.CLOSE | replies.SWALLOW)
        return close_frame(b"")
    watcher = ParseWatcher(statement, session, server, True)
    server.replies.watch(replies.PARSE | replies.SWALLOW, watcher)
    return frame(Frontend.PARSE, b"\0" + statement.text + b"\0" + statement.types)


def stands(statement: PreparedStatement, server: ServerSide) -> bool:
    """Whether a named statement is prepared on the connection just as its client knows it; the usual case."""
    name = statement.server_name
    if not statement.name or name not in server.prepared:
        return False
    server.prepared.move_to_end(name)
    return statement.described is None or server.prepared[name] == statement.described


def changed_meanwhile(statement: PreparedStatement, server: ServerSide) -> bool:
    """Whether the statement may give other columns here than its client was told of."""
    return (
        bool(statement.name)
        and statement.described is not None
        and server.prepared.get(statement.server_name) != statement.described
    )


def check_description(
    statement: PreparedStatement, server: ServerSide, done: Callable[[], None]
) -> bytes | None:
    """Frames that have the statement described on this connection; None when it is known to differ."""
    if server.prepared.get(statement.server_name) is not None:
        return None
    watcher = DescribeWatcher(statement, server, done)
    server.replies.watch(replies.DESCRIBE | replies.SWALLOW, watcher)
    return describe_frame(statement.server_name) + _FLUSH


def refuse_changed(server: ServerSide) -> bytes:
    """What PostgreSQL says when a statement's columns have changed since it was prepared."""
    fields = {
        "S": "ERROR",
        "V": "ERROR",
        "C": "0A000",
        "M": "cached plan must not change result type",
        "R": "RevalidateCachedQuery",  # asyncpg prepares anew when it reads this, and knows no other sign
    }
    server.replies.watch(replies.BIND | replies.SWALLOW, RefusalWatcher(error_response(fields)))
    return _FAILING_BIND


def fetch_left_behind(name: bytes, session: VirtualSession, server: ServerSide, request: bytes) -> bytes:
    """A Bind or Describe of a statement that a move has left behind: what is sent instead.

    PostgreSQL itself says what is wrong with a text that it did not parse, or parses it by now.
    """
    if session.left_behind[name] is Absence.CHANGED:
        return refuse_changed(server)
    statement = session.statements[name]
    server.replies.watch(replies.PARSE | replies.SWALLOW, LateParseWatcher(name, session))
    return parse_frame(name, statement.text, statement.types) + request


def _make_room(server: ServerSide, limit: int) -> bytes:
    """Close what was not used for longest, so that the connection keeps at most `limit` statements."""
    surplus = max(0, len(server.prepared) - limit + 1)
    return b"".join(_close_on_server(name, server) for name in list(islice(server.prepared, surplus)))


def _close_on_server(name: bytes, server: ServerSide) -> bytes:
    """Close one of the statements on the connection."""
    watcher = ServerCloseWatcher(name, server.prepared.pop(name), server)
    server.replies.watch(replies.CLOSE | replies.SWALLOW, watcher)
    return close_frame(name)


def already_exists(name: bytes) -> bytes:
    """PostgreSQL's error for a second statement of that name, as a whole message."""
    fields = {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42P05",
        "M": f'prepared statement "{name.decode("utf-8", "replace")}" already exists',
    }
    return error_response(fields)


#: Makes the server fail here, so that it skips to the next Sync; a `RefusalWatcher` gives the client another error.
_FAILING_BIND: Final = frame(Frontend.BIND, b"\0" + NEVER_PREPARED + b"\0" + bytes(6))
#: The same as a simple query.
FAILING_QUERY: Final = query_frame(f"EXECUTE {NEVER_PREPARED.decode()}")


def refused_prepare(facts: Facts, session: VirtualSession) -> bytes | None:
    """The error for a PREPARE whose name the client has used in the protocol already; None when it is free."""
    name = facts.statements[0].prepares if len(facts.statements) == 1 else None
    if name is None or name.encode() not in session.statements:
        return None
    return already_exists(name.encode())


_NAMED_STATEMENT = re.compile(
    rb"(?is)\A(\s*(?:execute|deallocate(?:\s+prepare)?)\s+)(\"(?:[^\"]|\"\")+\"|[^\s(;]+)"
)


def rename_in_text(facts: Facts, text: bytes, session: VirtualSession, server: ServerSide) -> bytes | None:
    """EXECUTE or DEALLOCATE, by SQL, of a statement that the client prepared by protocol: one namespace (rule 9).

    Returns the frames to send instead, None when the text needs no change. Only for a text of one statement.
    """
    if len(facts.statements) != 1 or server.replies.status == Status.FAILED:
        return None
    only = facts.statements[0]
    name = only.executes or only.deallocates
    if not isinstance(name, str):
        return None
    statement = session.statements.get(name.encode())
    found = _NAMED_STATEMENT.match(text)
    if statement is None or found is None or not statement.kept:
        return None
    lead = b""
    if statement.server_name not in server.prepared:
        lead = ensure(statement.name, statement, session, server, len(server.prepared) + 1)
        server.replies.push(replies.SYNC | replies.SWALLOW)
        lead += _SYNC
    if only.deallocates:
        del session.statements[statement.name]
        server.prepared.pop(statement.server_name, None)
    renamed = found[1] + statement.server_name + text[found.end() :]
    return lead + query_frame(renamed.decode("utf-8", "surrogateescape"))
