"""The commit guard: a transaction writes down its own name before it commits, so that it can be asked for (rule 29).

When a server dies between the COMMIT and its answer, nobody can tell from outside what became of it. So right in front
of a COMMIT, or of the Sync behind a single write, a call of `helios.note_commit` goes along (`helios setup` makes it):
in the same flush, answered unseen. An explicit transaction pays for one more request to the server and no round trip.

A single write must be answered before it is committed, as its tag and its rows cannot be had again afterwards: a Flush
stands between it and the call. A simple query has no such place, so one plain INSERT, UPDATE, DELETE or MERGE is
sent by the extended protocol, and its client gets what a simple query answers (rule 30): the tag only when the commit
is certain, as a constraint may be deferred. COPY FROM STDIN goes the same way: the call follows its CopyDone. When
PostgreSQL says that the COPY has failed it waits for a Sync, of which the client does not know: the proxy sends it.

Used by: session.requests (asks it), failover.recovery (what was under way?).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import Final

from attrs import define, field

from helios_trio.session.prepared import PREFIX
from helios_trio.session.server_side import ServerSide
from helios_trio.sql.facts import Facts
from helios_trio.sql.kinds import CopyDirection, CopyPeer
from helios_trio.wire import replies
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.frames import encode_frame
from helios_trio.wire.replies import Watcher

#: Statement and portal on every guarded connection; `pg_prepared_statements` shows it there.
NAME: Final = PREFIX + b"commit"
#: The id is written whether or not a row was: a NOTIFY, say, gets its transaction id only when it is committed.
_TEXT: Final = b"SELECT FROM helios.note_commit($1, true)"

_ASK_XID: Final = encode_frame(Frontend.QUERY, b"SELECT pg_catalog.txid_current_if_assigned()\0")
_PARSE: Final = encode_frame(Frontend.PARSE, NAME + b"\0" + _TEXT + b"\0\0\0")
_EXECUTE: Final = encode_frame(Frontend.EXECUTE, NAME + b"\0\0\0\0\0")
_BIND_HEAD: Final = NAME + b"\0" + NAME + b"\0\0\0\0\1"
_SYNC: Final = pack("!BI", Frontend.SYNC, 4)
_FLUSH: Final = pack("!BI", Frontend.FLUSH, 4)

#: Behind the Parse of a client's simple query: Bind, Describe and Execute of it, with every result as text.
_RUN_UNNAMED: Final = (
    encode_frame(Frontend.BIND, b"\0\0\0\0\0\0\0\0")
    + encode_frame(Frontend.DESCRIBE, b"P\0")
    + encode_frame(Frontend.EXECUTE, b"\0\0\0\0\0")
    + _FLUSH
)
#: The same of a COPY FROM STDIN: the server asks for the data by itself.
_RUN_COPY: Final = encode_frame(Frontend.BIND, b"\0\0\0\0\0\0\0\0") + encode_frame(
    Frontend.EXECUTE, b"\0\0\0\0\0"
)
#: A simple query leaves no unnamed statement behind.
_FORGET: Final = encode_frame(Frontend.CLOSE, b"S\0")
_QUIET: Final = frozenset(
    {Backend.PARSE_COMPLETE, Backend.BIND_COMPLETE, Backend.NO_DATA, Backend.CLOSE_COMPLETE}
)
#: A row cannot be written in the client's encoding: the write has been carried out by then.
_UNTRANSLATABLE: Final = b"\0C22P05\0"
#: Of a statement in a transaction that has failed already.
_FAILED_ALREADY: Final = b"\0C25P02\0"


def is_copy_in(facts: Facts) -> bool:
    """It is one COPY FROM STDIN, and calls nothing unknown."""
    if not (facts.plain and facts.writes and len(facts.statements) == 1):
        return False
    copy = facts.statements[0].copy
    return copy is not None and copy.direction is CopyDirection.IN and copy.peer is CopyPeer.STDIO


@define(eq=False)
class CommitGuard:
    """What one session does about the outcome of its commits."""

    #: makes a new id: a UUID in text form
    new_id: Callable[[], str]
    #: single writes are guarded, too
    singles: bool = True
    #: nothing is written down: what is asked for is the transaction's own id, in front of a COMMIT by a simple query
    by_xid: bool = False
    #: that id, once the server has told it
    xid: int | None = None
    #: id of the commit that is under way; None: there is none, or it has no id
    token: str | None = None
    #: id of the last one that was answered
    done: str | None = None
    #: CommandComplete of a guarded simple query, which its client has not got yet
    held: bytes = b""
    #: ErrorResponse of the call in front of a COMMIT: the transaction has failed by it
    failure: bytes = b""
    #: the open transaction may have changed something; without that, its COMMIT may be repeated as well as not
    wrote: bool = False
    #: it has been made read-only after its beginning: nothing can be written down in it any more
    closed: bool = False
    #: reads the answer to a COPY FROM STDIN whose end has not been sent yet
    _copy: _WriteWatcher | None = None

    def settled(self) -> None:
        """Nothing is under way any more."""
        self.token, self.done, self.held, self.failure = None, None, b"", b""
        self.xid = None
        self.wrote = self.closed = False
        self._copy = None

    def answered(self, token: str | None) -> None:
        """The request that this id belongs to was answered: it says nothing of any other."""
        self.xid = None
        if token is not None and self.token == token:
            self.done, self.token = token, None

    def note(self, facts: Facts) -> None:
        """A client is about to run this."""
        self.wrote |= facts.writes or facts.opaque
        self.closed |= not facts.plain and facts.turns_read_only

    @property
    def commits_matter(self) -> bool:
        """Whether a COMMIT now is one whose outcome must be found out, and can be."""
        return self.wrote and not self.closed

    # -- what is sent ------------------------------------------------------------------------------------------

    def before_commit(self, server: ServerSide) -> bytes:
        """Goes in front of a COMMIT that is a simple query."""
        if self.by_xid:
            server.replies.watch(replies.QUERY | replies.SWALLOW, _XidWatcher(self))
            return _ASK_XID
        frames = self._note(server, replies.SWALLOW, _CallWatcher(self))
        server.replies.push(replies.SYNC | replies.SWALLOW)
        return frames + _SYNC

    def in_batch(self, server: ServerSide) -> bytes:
        """Goes in front of the Execute of a COMMIT: if it fails, so does the client's batch."""
        if self.by_xid:
            return b""
        return self._note(server, 0, _CallInBatchWatcher())

    def before_sync(self, server: ServerSide) -> bytes:
        """Goes in front of the Sync of a batch that is a transaction by itself."""
        return _FLUSH + self.in_batch(server)

    def instead_of(self, text: bytes, server: ServerSide) -> bytes:
        """Goes in place of a simple query of one plain write."""
        watcher = _WriteWatcher(self)
        for kind in (replies.PARSE, replies.BIND, replies.DESCRIBE, replies.EXECUTE | replies.HEADED):
            server.replies.watch(kind, watcher)
        note = self._note(server, 0, watcher)
        watcher.token = self.token
        server.replies.watch(replies.CLOSE, watcher)
        server.replies.watch(replies.SYNC, watcher)
        return encode_frame(Frontend.PARSE, b"\0" + text + b"\0\0\0") + _RUN_UNNAMED + note + _FORGET + _SYNC

    def begin_copy(self, text: bytes, server: ServerSide, on_failure: Callable[[], None]) -> bytes:
        """Goes in place of a simple query of one COPY FROM STDIN; what ends it must be sent behind its data.

        `on_failure` is called when the server says that it has failed before that was sent.
        """
        self._copy = watcher = _WriteWatcher(self, on_failure)
        for kind in (replies.PARSE, replies.BIND, replies.EXECUTE):
            server.replies.watch(kind, watcher)
        return encode_frame(Frontend.PARSE, b"\0" + text + b"\0\0\0") + _RUN_COPY

    @property
    def copying(self) -> bool:
        """A COPY FROM STDIN is under way whose end has not been sent."""
        return self._copy is not None

    def awaits_end_of(self, watcher: Watcher) -> bool:
        """Whether the end of the COPY that it reads the answer to has not been sent."""
        return self._copy is watcher

    def end_copy(self, server: ServerSide) -> bytes:
        """Goes behind the CopyDone of a COPY."""
        watcher, self._copy = self._copy, None
        assert watcher is not None, "asked for by `copying`"
        note = self._note(server, 0, watcher)
        watcher.token = self.token
        server.replies.watch(replies.CLOSE, watcher)
        server.replies.watch(replies.SYNC, watcher)
        return _FLUSH + note + _FORGET + _SYNC

    def give_up_copy(self, server: ServerSide) -> bytes:
        """Goes behind the CopyFail of a COPY, or behind as much as was sent when it failed."""
        watcher, self._copy = self._copy, None
        assert watcher is not None, "asked for by `copying`"
        server.replies.watch(replies.SYNC, watcher)
        return _SYNC

    def watch_sync(self, server: ServerSide, inner: Watcher | None) -> None:
        """The Sync of a batch that the call stands in is about to be sent."""
        server.replies.watch(replies.SYNC, _SyncWatcher(self, self.token, inner))

    def _note(self, server: ServerSide, attended: int, watcher: Watcher) -> bytes:
        """The call itself, prepared on this connection if it is not yet."""
        self.token = token = self.new_id()
        self.failure = b""
        parse = b""
        if not server.guarded:
            server.guarded = True
            server.replies.watch(replies.PARSE | attended, _PrepareWatcher(server, watcher))
            parse = _PARSE
        server.replies.watch(replies.BIND | attended, watcher)
        server.replies.watch(replies.EXECUTE | attended, watcher)
        value = token.encode()
        return (
            parse
            + encode_frame(Frontend.BIND, _BIND_HEAD + pack("!I", len(value)) + value + b"\0\0")
            + _EXECUTE
        )


@define(eq=False)
class _PrepareWatcher:
    """Reads the answer to the Parse of the call: if it fails, it is sent again with the next call."""

    server: ServerSide
    #: of the call
    inner: Watcher

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.server.guarded = False
        return self.inner.on_reply(code, body)

    def on_skipped(self) -> None:
        """An earlier message of the batch has failed."""
        self.server.guarded = False
        self.inner.on_skipped()


@define(eq=False)
class _CallWatcher:
    """Reads the answers to a call that goes ahead of a COMMIT, all of which are swallowed."""

    guard: CommitGuard

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.guard.failure = encode_frame(code, body)
        return None

    def on_skipped(self) -> None:
        """An earlier message of the call has failed."""


@define(eq=False)
class _XidWatcher:
    """Reads the id of the transaction that is about to commit."""

    guard: CommitGuard

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.DATA_ROW and body[6:].isdigit():  # one column; empty where nothing was written
            self.guard.xid = int(body[6:])
        return None

    def on_skipped(self) -> None:
        """Cannot be: it is a request of its own."""


@define(eq=False)
class _CallInBatchWatcher:
    """Reads the answers to a call within the client's batch: nothing but an error is for the client."""

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        return None if code in (Backend.ERROR_RESPONSE, Backend.NOTICE_RESPONSE) else b""

    def on_skipped(self) -> None:
        """An earlier message of the batch has failed, and its client has been told."""


@define(eq=False)
class CommitWatcher:
    """Reads the answer to a COMMIT behind a call: one that became a rollback by the call's failure is no success."""

    guard: CommitGuard
    #: id that the call has written
    token: str | None
    #: who else wants to see it
    inner: Watcher | None

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        instead = None if self.inner is None else self.inner.on_reply(code, body)
        failure = self.guard.failure
        if code == Backend.READY_FOR_QUERY:
            self.guard.answered(self.token)
        elif code == Backend.COMMAND_COMPLETE and failure and body.startswith(b"ROLLBACK"):
            # where it had failed before, its client has been told
            return instead if _FAILED_ALREADY in failure else failure
        return instead

    def on_skipped(self) -> None:
        """A simple query inside a failed batch is discarded by the server."""
        if self.inner is not None:
            self.inner.on_skipped()


@define(eq=False)
class _WriteWatcher:
    """Makes of the answers to an extended batch what a simple query is answered, once it is committed.

    PostgreSQL carries out the whole of a write before it says to a simple query what the columns of its rows are.
    """

    guard: CommitGuard
    #: called when it fails and nothing more has been sent
    on_failure: Callable[[], None] | None = None
    #: id that the call has written
    token: str | None = None
    #: RowDescription that its client has not got yet
    _columns: bytes = b""
    _tags: list[bytes] = field(factory=list)

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code in _QUIET:
            return b""
        if code == Backend.ROW_DESCRIPTION:
            self._columns = encode_frame(code, body)
            return b""
        if code == Backend.DATA_ROW:
            return self._take_columns()
        if code == Backend.COMMAND_COMPLETE:
            self._hold(encode_frame(code, body))
            return self._take_columns()
        if code == Backend.ERROR_RESPONSE and b"\0VFATAL\0" not in body:
            self.guard.held = b""
            if self.on_failure is not None and self.guard.awaits_end_of(self):
                self.on_failure()
            if _UNTRANSLATABLE in body:
                return self._take_columns() + encode_frame(code, body)
        elif code == Backend.READY_FOR_QUERY:
            held, self.guard.held = self.guard.held, b""
            self.guard.answered(self.token)
            return held + encode_frame(code, body)
        return None

    def _take_columns(self) -> bytes:
        columns, self._columns = self._columns, b""
        return columns

    def _hold(self, tag: bytes) -> None:
        """The first is the client's; the other is that of the call."""
        if not self._tags:
            self.guard.held = tag
        self._tags.append(tag)

    def on_skipped(self) -> None:
        """An earlier message has failed, and its client has been told."""


@define(eq=False)
class _SyncWatcher:
    """Reads the answer to the Sync behind a call: what it has noted is decided."""

    guard: CommitGuard
    token: str | None
    #: who else wants to see it
    inner: Watcher | None

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.READY_FOR_QUERY:
            self.guard.answered(self.token)
        return None if self.inner is None else self.inner.on_reply(code, body)

    def on_skipped(self) -> None:
        """Cannot be: a Sync is where skipping ends."""
