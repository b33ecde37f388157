"""What a client sends, cut into messages, followed, and made fit for the server connection it goes to. No I/O.

`RequestStream` is one per client and the other half of the relay's hot path (`wire.replies` is the first). It is fed
the bytes as they arrive and returns those for the server. When it cannot go on by itself it stops in front of a
message and says what it needs; its owner provides it and calls `resume`.

Used by: proxy.session.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import Final, Protocol

from helios_trio.errors import ProtocolViolation
from helios_trio.session import preparing
from helios_trio.session.effects import ExecuteWatcher, QueryWatcher, SyncWatcher
from helios_trio.session.guarding import CommitGuard, CommitWatcher, is_copy_in
from helios_trio.session.labels import plan
from helios_trio.session.prepared import NEVER_PREPARED, PreparedStatement
from helios_trio.session.server_side import ServerSide
from helios_trio.session.statement_watchers import (
    CloseWatcher,
    DescribeWatcher,
    NamedParseWatcher,
    RefusalWatcher,
    UnnamedWatcher,
)
from helios_trio.session.switching import LabelWatcher, query_frame
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.facts import UNPARSED, Facts, StatementFacts
from helios_trio.sql.kinds import DiscardTarget
from helios_trio.sql.quote import quote_literal
from helios_trio.wire import replies
from helios_trio.wire.codes import Frontend, Status
from helios_trio.wire.frames import FRONTEND

_length_at = Struct("!I").unpack_from
_head_at = Struct("!BI").unpack_from

#: Largest message that is kept whole so that its text can be parsed, in bytes; larger ones are streamed.
WHOLE_LIMIT: Final = 256 * 1024
#: Bytes of a streamed message that must be there so that its names can be read.
_HEAD_WANTED: Final = 1024


_QUERY: Final = Frontend.QUERY
_QUERY_REPLY: Final = replies.QUERY
#: How libpq, and what is built on it, ends nearly every batch: Describe and Execute of the portal, Sync.
_USUAL_END: Final = b"D\0\0\0\6P\0E\0\0\0\t\0\0\0\0\0S\0\0\0\4"
_USUAL_END_SIZE: Final = len(_USUAL_END)
#: Bytes of a Query message without a text.
_SHORTEST_QUERY: Final = 6

#: Reported settings that decide how the bytes of a statement must be read.
TEXT_SETTINGS: Final = ("standard_conforming_strings", "client_encoding")
_ASCII_SAFE: Final = ("UTF8", "SQL_ASCII")


class FactsSource(Protocol):
    """Knows what texts do (`sql.cache.FactsCache`)."""

    def facts(self, text: bytes) -> Facts:
        """Of a session with standard_conforming_strings on and client_encoding UTF8."""

    def facts_when_unsure(self, text: bytes) -> Facts:
        """Of any other session."""


class Need(Enum):
    """What stops a request stream."""

    NOTHING = "nothing"
    LEASE = "a server connection"
    ROUTE = "to be known where the request goes"
    RECOVERY = "what was lost with a server to be done again"
    EXACT_LEASE = "a server connection opened with the client's own start-up parameters"
    CONFIRMATION = "the server's word on settings or statements that were sent ahead"
    HUB = "the shared listener connection"
    STANDSTILL = "the session to go on"
    END = "the client has said goodbye"
    VIOLATION = "what the client sends is no PostgreSQL message: see `violation`"


# The member by itself: looking it up in its class costs as much as a call (Python 3.11), and it is per message.
_NOTHING: Final = Need.NOTHING
#: What is kept meanwhile begins with a request of which nothing has been sent.
_BETWEEN: Final = (Need.STANDSTILL, Need.ROUTE)


class _Batch(Enum):
    """What the commit guard must know of an extended batch, which is a transaction by itself if it began as one."""

    #: it began inside a transaction, or behind requests not answered yet; or nobody can tell what it does
    UNGUARDED = "unguarded"
    READS = "reads"
    WRITES = "writes"

    def with_(self, facts: Facts | None) -> _Batch:
        """The same with one more statement bound."""
        if facts is None or not (facts.is_single_write or (facts.plain and not facts.writes)):
            return _Batch.UNGUARDED
        return _Batch.WRITES if facts.writes else self


class RequestStream:
    """The client's side of one session, from bytes to bytes."""

    def __init__(
        self,
        session: VirtualSession,
        facts: FactsSource,
        lease_nowait: Callable[[], ServerSide | None],
        *,
        shared: bool,
        max_prepared: int = 200,
    ) -> None:
        self.session = session
        self.server: ServerSide | None = None
        self.need = Need.NOTHING
        #: connections are shared between sessions: rename statements, carry settings along
        self.shared = shared
        self.max_prepared = max_prepared
        #: what PostgreSQL would not read on from (Need.VIOLATION)
        self.violation: ProtocolViolation | None = None
        #: Terminate was passed on to the server: the connection ends with its last answer
        self.said_goodbye = False
        #: clean connections of whatever another session may have left, seen or not
        self.cleanse_always = False
        #: channels of a LISTEN that stopped the stream (Need.HUB)
        self.wanted_channels: tuple[str, ...] = ()
        self._facts = facts
        self._facts_of = facts.facts
        self._lease_nowait = lease_nowait
        self._gap = 0
        self._gap_forwarded = True
        #: sent when the message that is coming is whole
        self._behind_gap = b""
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._wanted = 0
        self._cleanse = False
        self._strange_sequences = False
        #: the connection is known to carry what the client believes
        self._settled = False
        #: called before each request with the bytes and where it begins: False when nobody knows yet where it goes.
        #: It may exchange `server`, or detach it. None: all goes to one place
        self.route: Callable[[bytes, int], bool] | None = None
        #: `route` has said where the request goes at which the stream has stopped
        self.routed = False
        #: where the request ends that `route` has answered itself: the stream goes on behind it; 0: it has not
        self.answered_to = 0
        #: sees to it that the outcome of commits can be found out; None: it cannot
        self.guard: CommitGuard | None = None
        self._batch = _Batch.UNGUARDED

    @property
    def facts_of(self) -> Callable[[bytes], Facts]:
        """Knows what a text does in the client's encoding."""
        return self._facts_of

    @property
    def at_boundary(self) -> bool:
        """No message is half sent to the server, and no extended batch is waiting for its Sync."""
        return not self._gap and not self.session.in_batch

    @property
    def between(self) -> bool:
        """Nothing is half sent or waiting for its Sync, and nothing is kept but what waits for a standstill's end."""
        if self._pieces and self.need not in _BETWEEN:
            return False
        return not (self._gap or self.session.in_batch)

    @property
    def holding(self) -> bool:
        """Whether bytes of the client are kept here."""
        return bool(self._pieces)

    @property
    def held(self) -> int:
        """How many bytes of the client are kept here."""
        return self._pieces_size if self._pieces else 0

    def note_text_settings(self) -> None:
        """The client was told of a setting that decides how its texts must be read."""
        reported = self.session.reported
        plain = (
            reported.get("standard_conforming_strings", "on") == "on"
            and reported.get("client_encoding", "UTF8") in _ASCII_SAFE
        )
        self._facts_of = self._facts.facts if plain else self._facts.facts_when_unsure

    def attach(self, server: ServerSide) -> None:
        """A server connection has been granted to the session."""
        self.server = server
        session = self.session
        strange = server.last_session != session.id
        server.last_session = session.id
        self._strange_sequences = strange
        self._cleanse = strange and (server.tainted or self.cleanse_always)
        if self.shared:
            state, label = session.state, server.label
            now = state.now
            if not (label is now.wanted is now.actual and server.base is state.base):
                state.adopt(server.base, label)
                now = state.now
            self._settled = now.wanted is now.actual and not (self._cleanse or session.placeholders)

    def detach(self) -> None:
        """The server connection is given back; it remembers what it carries."""
        server, session = self.server, self.session
        if server is not None:
            if self.shared:
                server.label = session.state.now.actual
            if self._cleanse:  # nothing was asked: what an earlier session left is still there
                server.last_session = 0
            self.server = None
            session.exact = False
            if session.portals:
                session.portals.clear()

    def stand_still(self) -> None:
        """Keep whatever comes from now on, until `resume`; only between messages (`at_boundary`)."""
        if not self._pieces:
            self._pieces.append(b"")
            self._pieces_size = self._wanted = 0
        self.need = Need.STANDSTILL

    def begin_anew(self) -> None:
        """The connection is gone: all that was not answered will be fed again, from its beginning."""
        self.detach()
        self._pieces.clear()
        self._pieces_size = self._wanted = self._gap = 0
        self._gap_forwarded = True
        self._behind_gap = b""
        self._settled = self._cleanse = self._strange_sequences = False
        self._batch = _Batch.UNGUARDED
        self.routed = False
        self.need = Need.RECOVERY
        if self.guard is not None:
            self.guard.settled()

    def pass_over(self, count: int) -> None:
        """Leave out as many bytes: the rest of a message that nobody waits for any more."""
        if count:
            self._gap, self._gap_forwarded = count, False

    def resume(self) -> bytes:
        """Go on with the bytes that were kept when the stream stopped."""
        self.need = Need.NOTHING
        return self.feed(b"") if self._pieces else b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the client; return those for the server. Look at `need` afterwards."""
        if not (self._pieces or self._gap) and self.route is None and self._is_plain_query(data):
            return data
        if self._pieces:
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size < self._wanted or self.need is not Need.NOTHING:
                return b""
            data = b"".join(self._pieces)
            self._pieces.clear()
        end = len(data)
        at = start = 0
        out: list[bytes] | None = None
        if self._gap:
            if self._gap > end:
                self._gap -= end
                return data if self._gap_forwarded else b""
            at = self._gap
            start = 0 if self._gap_forwarded else at
            self._gap = 0
            if self._behind_gap:
                out, start = [data[:at], self._behind_gap], at
                self._behind_gap = b""
        forwarded = self._gap_forwarded
        handlers, limits, server, route = _HANDLERS, _LENGTH_LIMITS, self.server, self.route
        while end - at >= 5:
            code, size = _head_at(data, at)
            following = at + 1 + size
            if not 4 <= size <= limits[code]:
                self.violation = _unreadable(code)
                self.need = Need.VIOLATION
                break
            if following > end and not self._may_begin(code, size, end - at):
                break
            if end - at == _USUAL_END_SIZE and data.endswith(_USUAL_END) and self._ends_batch_plainly():
                forwarded, at = True, end
                break
            if route is not None and not (self.session.in_batch or self.routed or code in _NEEDS_NO_SERVER):
                if not route(data, at):
                    self.need = Need.ROUTE
                    break
                if self.answered_to:
                    out = _cut(out, data, start, at)
                    start = at = self.answered_to
                    self.answered_to, forwarded = 0, False
                    server = self.server
                    continue
                if not at and following == end and self._is_plain_query(data):
                    return data
                server, self.routed = self.server, True
            if server is None and not self._take_server(code, size):
                if self.need is not _NOTHING:
                    break
                out = _cut(out, data, start, at)  # PostgreSQL ignores it outside of a COPY
                start = at = following
                forwarded = False
                continue
            forwarded, server = True, self.server
            instead = handlers[code](self, data, at, following)
            if instead is not None:
                out = _cut(out, data, start, at)
                out.append(instead)
                start = at if self.need is not _NOTHING else following
            if self.need is not _NOTHING:
                break
            at, self.routed = following, False
        if at > end:
            self._gap = at - end
            self._gap_forwarded = forwarded
        elif at < end:
            self._keep(data, at, end)
        if out is None:
            return data if start == 0 and at >= end else data[start:at]
        out.append(data[start:at])
        return b"".join(out)

    def _is_plain_query(self, data: bytes) -> bool:
        """Whether the bytes are just one simple query that nobody must follow; then it has been noted.

        By far the most frequent case that is no batch, without the loop. For everything else False: nothing has
        been done then but that the session may have been given its connection.
        """
        session = self.session
        end = len(data)
        if end < _SHORTEST_QUERY or data[0] != _QUERY or _length_at(data, 1)[0] != end - 1:
            return False
        if session.following or session.in_batch:
            return False
        facts = self._facts_of(data[5:-1])
        if not facts.plain or (self.guard is not None and facts.writes):
            return False
        server = self.server
        if server is None:
            server = self._lease_nowait()
            if server is None:
                return False
            self.attach(server)
        if self.shared:
            if not self._settled:
                return False
            server.unnamed = None
        if session.statements:
            session.statements.pop(b"", None)
        server.replies.push(_QUERY_REPLY)
        return True

    def _ends_batch_plainly(self) -> bool:
        """`_USUAL_END` is all that is left: whether nobody must follow any of it; then it has been noted."""
        session, server = self.session, self.server
        if server is None or not session.in_batch or session.portals or session.following:
            return False
        if self._batch is _Batch.WRITES or (self.guard is not None and self.guard.token is not None):
            return False
        self._batch = _Batch.UNGUARDED
        session.in_batch = False
        server.replies.push_usual_end()
        return True

    def _keep(self, data: bytes, at: int, end: int) -> None:
        """Keep what cannot be sent yet: the beginning of a message, or all from where the stream stopped."""
        self._pieces.append(data[at:])
        self._pieces_size = end - at
        self._wanted = 0
        if self.need is Need.NOTHING:
            size = _length_at(data, at + 1)[0] + 1 if end - at >= 5 else 5
            self._wanted = min(size, _HEAD_WANTED) if size > WHOLE_LIMIT else size

    def _may_begin(self, code: int, size: int, available: int) -> bool:
        """Whether an incomplete message may be sent on as it comes."""
        return code == Frontend.COPY_DATA or (size > WHOLE_LIMIT and available >= _HEAD_WANTED)

    def _take_server(self, code: int, size: int) -> bool:
        """Get the session a server connection for this message, if it needs one."""
        if code in _NEEDS_NO_SERVER and (size == _EMPTY or code != Frontend.FLUSH):
            if code == Frontend.TERMINATE:
                self.need = Need.END
            return False
        server = self._lease_nowait()
        if server is None:
            self.need = Need.LEASE
            return False
        self.attach(server)
        return True

    # -- settings ----------------------------------------------------------------------------------------------

    def settle(self) -> bytes | None:
        """Bring the connection's settings in line before a request; None when they are, b"" when it must wait."""
        session, server = self.session, self._attached
        state = session.state
        cleanse = self._cleanse
        emptied = self._emptied()
        if (
            not (state.differs or cleanse or emptied)
            or session.in_batch
            or server.replies.status == Status.FAILED
        ):
            return None
        if not server.replies.quiet:  # replies that are owed may still change the settings
            self.need = Need.CONFIRMATION
            return b""
        steps = plan(state.now.actual, state.now.wanted, server.base, cleanse=cleanse, emptied=emptied)
        self._cleanse = False
        server.tainted = server.tainted and not cleanse
        server.placeholders |= session.placeholders
        server.placeholders.update(name for name in state.now.wanted if "." in name)
        if steps is None:
            state.applied()
            return None
        server.unnamed = None
        server.replies.watch(replies.QUERY | replies.SWALLOW, LabelWatcher(session, server, self.on_label))
        state.applied()
        if steps.confirm:
            self.need = Need.CONFIRMATION
        return query_frame(steps.text)

    def _emptied(self) -> tuple[str, ...]:
        """Placeholders that read '' for the client and are unknown to the connection."""
        session, server = self.session, self._attached
        if session.placeholders <= server.placeholders:
            return ()
        return tuple(sorted(session.placeholders - server.placeholders - session.state.now.wanted.keys()))

    @property
    def _attached(self) -> ServerSide:
        assert self.server is not None
        return self.server

    # -- one method per message type: returns what is sent in its place, None to send it as it is ---------------

    def _query(self, data: bytes, at: int, following: int) -> bytes | None:
        session, server = self.session, self._attached
        whole = following <= len(data)
        facts = self._facts_of(data[at + 5 : following - 1]) if whole else UNPARSED
        if not facts.plain and (shown := self._asked_of_us(facts, data[at + 5 : following - 1])) is not None:
            frame = query_frame(shown)
            instead = self._query(frame, 0, len(frame))
            return frame if instead is None else instead
        lead: bytes | None = None
        if self.shared:
            if not facts.plain and self._waits_for_exact(facts):
                return None
            lead = None if self._settled else self.settle()
            if self.need is not Need.NOTHING:
                return lead
            server.unnamed = None
        session.statements.pop(b"", None)
        if self.guard is not None and self.guard.copying:  # its client breaks it off: it ends as it will
            session.in_batch = False
            lead = (lead or b"") + self.guard.give_up_copy(server)
        if session.in_batch:
            # PostgreSQL 18 is left in a state where the next Parse fails (XX000, "unexpected state STARTED")
            server.replies.uncertain = True
            session.in_batch = False
        guard = self.guard
        if guard is not None:
            guard.note(facts)
        single = guard is not None and guard.singles and facts.is_single_write and not session.following
        if guard is not None and single and self._is_free(server):
            return (lead or b"") + guard.instead_of(data[at + 5 : following - 1], server)
        if guard is not None and facts.writes and self._may_guard_copy(guard, facts, server):
            session.in_batch = True
            frames = guard.begin_copy(data[at + 5 : following - 1], server, self._on_copy_failed)
            return (lead or b"") + frames
        if facts.plain and not session.following:
            server.replies.push(replies.QUERY)
            return None if lead is None else lead + data[at:following]
        if guard is not None and facts.is_commit and self._is_guarded(guard, server):
            return self._guarded_commit(guard, data[at:following], facts, lead)
        return self._query_with_effects(data, at, following, facts, lead)

    def _begin_batch(self, guard: CommitGuard, server: ServerSide) -> None:
        free = guard.singles and self._is_free(server)
        self._batch = _Batch.READS if free else _Batch.UNGUARDED

    @staticmethod
    def _is_free(server: ServerSide) -> bool:
        """Whether what is sent now is a transaction by itself."""
        return server.replies.status == Status.IDLE and not server.replies.owes_client

    def _may_guard_copy(self, guard: CommitGuard, facts: Facts, server: ServerSide) -> bool:
        free = guard.singles and not self.session.following and self._is_free(server)
        return free and is_copy_in(facts)

    def _on_copy_failed(self) -> None:
        """A guarded COPY has failed: the server waits for a Sync, and its client knows of none."""
        server, guard = self._attached, self.guard
        assert guard is not None, "it has begun the copy"
        self.session.in_batch = False
        server.replies.push_copy_end()
        frames = guard.give_up_copy(server)
        if self._gap and self._gap_forwarded:
            self._behind_gap = frames
        else:
            self.on_ahead(frames)

    def _asked_of_us(self, facts: Facts, text: bytes) -> str | None:
        """A query for what only the proxy knows, with the answer in it; None: the text can be sent as it is."""
        name = facts.shows_of_ours
        if name is None:
            return self.on_question(facts, text) if facts.explains_route or facts.ours else None
        value = self.on_show(name)
        return None if value is None else f'SELECT {quote_literal(value)} AS "{name}"'

    @staticmethod
    def _is_guarded(guard: CommitGuard, server: ServerSide) -> bool:
        """Whether a COMMIT that is sent now is noted first."""
        return guard.commits_matter and server.replies.status != Status.FAILED

    def _guarded_commit(self, guard: CommitGuard, frame: bytes, facts: Facts, lead: bytes | None) -> bytes:
        """COMMIT by a simple query, behind the call that notes it."""
        session, server = self.session, self._attached
        note = guard.before_commit(server)
        inner = QueryWatcher(facts, session, server) if session.following else None
        if inner is not None:
            self._settled = False
            session.outstanding += 1
        server.replies.watch(replies.QUERY, CommitWatcher(guard, guard.token, inner))
        return (lead or b"") + note + frame

    def _query_with_effects(
        self, data: bytes, at: int, following: int, facts: Facts, lead: bytes | None
    ) -> bytes | None:
        session, server = self.session, self._attached
        if self._waits_for_hub(facts):
            return lead
        lead = self._forget_sequences(facts, lead)
        frame: bytes | None = None
        if self.shared and following <= len(data):
            refused = preparing.refused_prepare(facts, session)
            if refused is not None:
                server.replies.watch(replies.QUERY, RefusalWatcher(refused))
                return (lead or b"") + preparing.FAILING_QUERY
            renamed = preparing.rename_in_text(facts, data[at + 5 : following - 1], session, server)
            if renamed is not None:
                frame, server.unnamed = renamed, None
        self._mind(facts)
        self._settled = False
        if preparing.only_transaction_control(facts) and not session.following:
            server.replies.push(replies.QUERY)
        else:
            session.following = True
            session.outstanding += 1
            server.replies.watch(replies.QUERY, QueryWatcher(facts, session, server))
        if lead is None:
            return frame
        return lead + (frame if frame is not None else data[at:following])

    def _mind(self, facts: Facts) -> None:
        """What must be known before the statement runs, whether it will succeed or not."""
        server = self._attached
        if facts.opaque or not facts.parsed:
            server.tainted = True
        for statement in facts.statements:
            if statement.databases:
                self.on_databases_gone(statement.databases)
            if statement.loads_code or "setseed" in statement.session_functions:
                server.spoilt = True

    def _waits_for_hub(self, facts: Facts) -> bool:
        """LISTEN in a shared mode: the listener connection must listen before the statement runs."""
        if not self.shared:
            return False
        wanted = (statement.listens for statement in facts.statements)
        missing = tuple(name for name in wanted if name is not None and name not in self.hub_channels)
        if missing:
            self.wanted_channels = missing
            self.need = Need.HUB
        return bool(missing)

    def keep_sequences(self) -> None:
        """The session keeps its connection: what is drawn from sequences there is its own now."""
        self._strange_sequences = False

    def _forget_sequences(self, facts: Facts, lead: bytes | None) -> bytes | None:
        """currval() and lastval() must not tell what another session drew (rule 14)."""
        server = self._attached
        asked = (
            self.shared and self._strange_sequences and any(each.sequence_state for each in facts.statements)
        )
        if not asked or not server.replies.idle or self.session.in_batch:
            return lead
        self._strange_sequences = False
        self.session.bound["sequence values"] = 1
        server.replies.push(replies.QUERY | replies.SWALLOW)
        return (lead or b"") + query_frame("DISCARD SEQUENCES")

    def _waits_for_exact(self, facts: Facts) -> bool:
        """RESET goes back to what the connection was opened with: that must be what the client asked for.

        Inside a transaction it is too late; then the settings are right from the next request on.
        """
        session, server = self.session, self._attached
        free = server.replies.idle and not session.in_batch and not session.pinned
        if not self.shared or not free or server.base == session.state.startup:
            return False
        if not any(_resets(statement) for statement in facts.statements):
            return False
        session.exact = True
        self.need = Need.EXACT_LEASE
        return True

    def _parse(self, data: bytes, at: int, following: int) -> bytes | None:
        session, server = self.session, self._attached
        if self.guard is not None and not session.in_batch:
            self._begin_batch(self.guard, server)
        lead = None
        statement = preparing.read_parse(data, at, following, self._facts_of)
        if statement is not None and not statement.facts.plain:
            shown = self._asked_of_us(statement.facts, statement.text)
            if shown is not None:
                ours = preparing.parse_frame(statement.name, shown.encode(), statement.types)
                instead = self._parse(ours, 0, len(ours))
                return ours if instead is None else instead
        if statement is not None and not statement.facts.plain and self._waits_for_exact(statement.facts):
            return None
        if self.shared and not (self._settled or session.in_batch):
            lead = self.settle()
            if self.need is not _NOTHING:
                return lead
        if statement is None:  # malformed: PostgreSQL says so itself
            session.in_batch = True
            server.replies.push(replies.PARSE)
            return None if lead is None else lead + data[at:following]
        if not statement.facts.plain and self._waits_for_hub(statement.facts):
            return lead
        lead = lead if statement.facts.plain else self._forget_sequences(statement.facts, lead)
        first, session.in_batch = not session.in_batch, True
        if not statement.kept and self.shared:
            session.bound["very large prepared statements"] = 1
        frame: bytes | None = None
        if statement.name and self.shared:
            frame = preparing.parse_renamed(statement, session, server, self.max_prepared, data[at:following])
        else:
            self._push_parse(statement, first)
        if lead is None:
            return frame
        return lead + (frame if frame is not None else data[at:following])

    def _push_parse(self, statement: PreparedStatement, first: bool) -> None:
        """A Parse that goes as it is. In the middle of a batch it may be skipped: then nothing has changed."""
        session, server = self.session, self._attached
        before, on_server = session.statements.get(statement.name), server.unnamed
        session.statements[statement.name] = statement
        if statement.name:
            watching = NamedParseWatcher(before, statement.name, session)
            server.replies.watch(replies.PARSE, watching)
            return
        server.unnamed = statement
        if first or not self.shared:
            server.replies.push(replies.PARSE)
        else:
            watcher = UnnamedWatcher(before, on_server, session, server)
            server.replies.watch(replies.PARSE, watcher)

    def _bind(self, data: bytes, at: int, following: int) -> bytes | None:
        session, server = self.session, self._attached
        if self.guard is not None and not session.in_batch:
            self._begin_batch(self.guard, server)
        lead: bytes | None = None
        if self.shared and not (self._settled or session.in_batch):
            lead = self.settle()
            if self.need is not _NOTHING:
                return lead
        session.in_batch = True
        names = preparing.read_bind(data, at, following)
        if names is None:
            server.replies.push(replies.BIND)
            return None if lead is None else lead + data[at:following]
        portal, name, rest = names
        statement = session.statements.get(name)
        if statement is not None and not statement.facts.plain:
            session.portals[portal] = statement.facts
        elif session.portals:
            session.portals.pop(portal, None)
        if self.guard is not None:
            self.guard.note(UNPARSED if statement is None else statement.facts)
        if self._batch is not _Batch.UNGUARDED:
            self._batch = self._batch.with_(None if statement is None else statement.facts)
        frame: bytes | None = None
        if self.shared and server.unnamed is not statement:
            if statement is not None and preparing.stands(statement, server):
                frame = preparing.bind_renamed(data, at, following, portal, statement.server_name, rest)
            else:
                frame = self._bind_elsewhere(data, at, following, names, statement)
                if self.need is not _NOTHING:
                    return (lead or b"") + (frame or b"")
        elif session.left_behind and name in session.left_behind:
            frame = preparing.fetch_left_behind(name, session, server, data[at:following])
        server.replies.push(replies.BIND)
        if lead is None:
            return frame
        return lead + (frame if frame is not None else data[at:following])

    def _bind_elsewhere(
        self,
        data: bytes,
        at: int,
        following: int,
        names: tuple[bytes, bytes, int],
        statement: PreparedStatement | None,
    ) -> bytes | None:
        """A Bind of a statement that the connection lacks, or has with other columns than the client knows."""
        server = self._attached
        portal, name, rest = names
        needed = preparing.ensure(name, statement, self.session, server, self.max_prepared)
        if statement is None or not (name and statement.kept):
            return needed + data[at:following] if needed else None
        if preparing.changed_meanwhile(statement, server):
            check = preparing.check_description(statement, server, self.on_checked)
            if check is None:
                return needed + preparing.refuse_changed(server)
            self.need = Need.CONFIRMATION
            return needed + check
        return needed + preparing.bind_renamed(data, at, following, portal, statement.server_name, rest)

    def _describe(self, data: bytes, at: int, following: int) -> bytes | None:
        return self._named_target(data, at, following, replies.DESCRIBE)

    def _close(self, data: bytes, at: int, following: int) -> bytes | None:
        return self._named_target(data, at, following, replies.CLOSE)

    def _named_target(self, data: bytes, at: int, following: int, kind: int) -> bytes | None:
        """Describe or Close of a statement or portal."""
        session, server = self.session, self._attached
        if self.guard is not None and not session.in_batch:
            self._begin_batch(self.guard, server)
        lead: bytes | None = None
        if self.shared and not session.in_batch:
            lead = None if self._settled else self.settle()
            if self.need is not Need.NOTHING:
                return lead
        session.in_batch = True
        if kind == replies.DESCRIBE and following > at + 5 and data[at + 5] == preparing.PORTAL:
            server.replies.push(kind)
            return None if lead is None else lead + data[at:following]
        frame: bytes | None = None
        closed: PreparedStatement | None = None
        name = data[at + 6 : following - 1]
        if following < at + _SHORTEST_TARGET:  # malformed: PostgreSQL says so itself
            server.replies.push(kind)
            return None if lead is None else lead + data[at:following]
        if data[at + 5] == preparing.PORTAL:
            if kind == replies.CLOSE:
                session.portals.pop(name, None)
        elif kind == replies.CLOSE:
            closed = session.statements.pop(name, None)
            session.left_behind.pop(name, None)
            frame = self._close_statement(name, closed)
        elif self.shared:
            frame = self._describe_statement(name, data[at:following])
        elif name in session.left_behind:
            frame = preparing.fetch_left_behind(name, session, server, data[at:following])
        if closed is not None:
            server.replies.watch(kind, CloseWatcher(closed, session))
        elif kind == replies.DESCRIBE and self.shared and name and data[at + 5] == preparing.STATEMENT:
            self._push_describe(name)
        else:
            server.replies.push(kind)
        if lead is None:
            return frame
        return lead + (frame if frame is not None else data[at:following])

    def _push_describe(self, name: bytes) -> None:
        """The client learns the columns of a statement: they must stay the same on every connection."""
        session, server = self.session, self._attached
        statement = session.statements.get(name)
        if statement is None:
            server.replies.push(replies.DESCRIBE)
        else:
            server.replies.watch(replies.DESCRIBE, DescribeWatcher(statement, server))

    def _close_statement(self, name: bytes, statement: PreparedStatement | None) -> bytes | None:
        if not self.shared or not name or (statement is not None and not statement.kept):
            self._attached.unnamed = None if not name else self._attached.unnamed
            return None
        # others may use the same server-side statement: it stays until the connection's limit is reached
        return preparing.close_frame(NEVER_PREPARED) if statement is not None else None

    def _describe_statement(self, name: bytes, frame: bytes) -> bytes | None:
        statement = self.session.statements.get(name)
        if self._attached.unnamed is statement and not name:
            return None
        needed = preparing.ensure(name, statement, self.session, self._attached, self.max_prepared)
        if statement is not None and name and statement.kept:
            return needed + preparing.describe_frame(statement.server_name)
        return needed + frame if needed else None

    def _execute(self, data: bytes, at: int, following: int) -> bytes | None:
        session, server = self.session, self._attached
        session.in_batch = True
        facts = session.portals.get(data[at + 5 : data.find(0, at + 5)]) if session.portals else None
        guard, lead = self.guard, None
        commits = guard is not None and facts is not None and facts.is_commit
        if guard is not None and commits and self._is_guarded(guard, server) and not server.replies.owes_ends:
            lead = guard.in_batch(server) + data[at:following]
        if facts is None or (preparing.only_transaction_control(facts) and not session.following):
            server.replies.push(replies.EXECUTE)
            return lead
        self._mind(facts)
        self._settled = False
        session.following = True
        session.outstanding += 1
        watcher = ExecuteWatcher(facts.statements, facts.parsed, session, server, facts.text)
        server.replies.watch(replies.EXECUTE, watcher)
        return lead

    def _sync(self, data: bytes, at: int, following: int) -> bytes | None:
        session, server = self.session, self._attached
        note: bytes | None = None
        if self._batch is _Batch.WRITES and session.in_batch and self.guard is not None:
            note = self.guard.before_sync(server) + data[at:following]
        self._batch = _Batch.UNGUARDED
        session.in_batch = False
        inner = SyncWatcher(session, server) if session.following else None
        if self.guard is not None and self.guard.token is not None:
            self.guard.watch_sync(server, inner)
        elif inner is not None:
            server.replies.watch(replies.SYNC, inner)
        else:
            server.replies.push(replies.SYNC)
        return note

    def _function_call(self, data: bytes, at: int, following: int) -> bytes | None:
        lead: bytes | None = None
        if self.shared:
            lead = None if self._settled else self.settle()
            if self.need is not Need.NOTHING:
                return lead
        self._attached.tainted = True
        self.session.in_batch = False
        self.session.probe_wanted = True
        if self.guard is not None:
            self.guard.note(UNPARSED)
        self._attached.replies.push(replies.FUNCTION)
        return None if lead is None else lead + data[at:following]

    def _copy_end(self, data: bytes, at: int, following: int) -> bytes | None:
        server, guard = self._attached, self.guard
        server.replies.push_copy_end()
        if guard is None or not guard.copying:
            return None
        self.session.in_batch = False
        done = data[at] == Frontend.COPY_DONE
        return data[at:following] + (guard.end_copy(server) if done else guard.give_up_copy(server))

    def _pass(self, data: bytes, at: int, following: int) -> bytes | None:
        return None

    def _terminate(self, data: bytes, at: int, following: int) -> bytes | None:
        """Goodbye. While something is owed the server must hear it in its place: it answers what came before."""
        if not self._attached.replies.owes_client and not self.session.in_batch:
            self.need = Need.END
        else:
            self.said_goodbye = True
        return None

    #: called with what came of settings that were sent ahead; set by the owner
    on_label: Callable[[bytes | None, list[bytes]], None]
    #: called when a statement that had to be described again has been; set by the owner
    on_checked: Callable[[], None]
    #: sends the server what no client has asked for, between two messages; set by the owner
    on_ahead: Callable[[bytes], None]
    #: called with the name of a parameter of the proxy's own; gives its value, None when there is none of the name
    on_show: Callable[[str], str | None]
    #: called with a question about the proxy (EXPLAIN (ROUTE), a relation that exists nowhere) and its text; gives a
    #: query with the answer in it, None when there is none
    on_question: Callable[[Facts, bytes], str | None]
    #: called with names of databases that are about to be dropped or renamed; set by the owner
    on_databases_gone: Callable[[tuple[str, ...]], None]
    #: channels the shared listener connection listens to for this session
    hub_channels: frozenset[str] = frozenset()


_Handler = Callable[[RequestStream, bytes, int, int], "bytes | None"]


_BY_CODE: Final[dict[int, _Handler]] = {
    Frontend.QUERY: RequestStream._query,
    Frontend.PARSE: RequestStream._parse,
    Frontend.BIND: RequestStream._bind,
    Frontend.DESCRIBE: RequestStream._describe,
    Frontend.EXECUTE: RequestStream._execute,
    Frontend.CLOSE: RequestStream._close,
    Frontend.SYNC: RequestStream._sync,
    Frontend.FLUSH: RequestStream._pass,
    Frontend.FUNCTION_CALL: RequestStream._function_call,
    Frontend.COPY_DATA: RequestStream._pass,
    Frontend.COPY_DONE: RequestStream._copy_end,
    Frontend.COPY_FAIL: RequestStream._copy_end,
    Frontend.TERMINATE: RequestStream._terminate,
}
_HANDLERS: Final = tuple(_BY_CODE.get(code, RequestStream._pass) for code in range(256))
#: Largest length field by message type, as PostgreSQL has them (pqcomm.h); 0 for types that are not expected.
_LENGTH_LIMITS: Final = tuple(FRONTEND.limits[code] + 4 if code in _BY_CODE else 0 for code in range(256))
#: Bytes of a Describe or Close of a statement or portal without a name.
_SHORTEST_TARGET: Final = 7
#: Length field of a message without a body; others than that are for PostgreSQL to complain about.
_EMPTY: Final = 4
_NEEDS_NO_SERVER: Final = (
    Frontend.TERMINATE,
    Frontend.FLUSH,
    Frontend.COPY_DATA,
    Frontend.COPY_DONE,
    Frontend.COPY_FAIL,
)


def _resets(statement: StatementFacts) -> bool:
    """Whether a setting goes back to its value at the start of the session."""
    return statement.discards is DiscardTarget.ALL or any(
        change.value is None for change in statement.settings
    )


def _cut(out: list[bytes] | None, data: bytes, start: int, at: int) -> list[bytes]:
    """Put what stands before `at` on the list of what is sent."""
    out = [] if out is None else out
    if start < at:
        out.append(data[start:at])
    return out


def _unreadable(code: int) -> ProtocolViolation:
    if not _LENGTH_LIMITS[code]:
        return ProtocolViolation(f"invalid frontend message type {code}")
    return ProtocolViolation("invalid message length")
