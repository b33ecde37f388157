"""What a statement does to its session once PostgreSQL has said that it succeeded.

The watchers here stand in the queue of expected replies. They are used only for statements whose facts are not plain,
and, while a transaction holds something that its end may take back, for everything else too.

Used by: session.requests.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from helios_trio.session.pins import ENDING, MAKING, Bond
from helios_trio.session.server_side import ServerSide
from helios_trio.session.virtual import SqlStatement, VirtualSession
from helios_trio.sql.facts import Facts, StatementFacts, TransactionControl
from helios_trio.sql.kinds import ALL, AdvisoryLevel, DiscardTarget, StatementKind, TransactionVerb
from helios_trio.wire.codes import Backend, Status

_DONE = (Backend.COMMAND_COMPLETE, Backend.EMPTY_QUERY_RESPONSE)
_ENDS_EXECUTE = (*_DONE, Backend.PORTAL_SUSPENDED, Backend.ERROR_RESPONSE)


def apply(
    statement: StatementFacts, tag: bytes, session: VirtualSession, server: ServerSide, text: bytes = b""
) -> None:
    """Note the effects of one statement that completed with `tag`; `text` is what it was parsed from, if known."""
    if statement.transaction is not None:
        _end_or_begin(statement.transaction, tag, session)
    _note_settings(statement, session, server)
    _note_channels(statement, session, server)
    _note_discards(statement, session, server)
    _note_prepared(statement, session, text)
    _note_objects(statement, session)
    _note_bonds(statement, session, server)
    if _may_pin(statement) or _may_be_temporary(statement, session):
        session.probe_wanted = True
    if statement.executes is not None and statement.kind in _EXECUTING:
        _apply_executed(statement.executes, session, server)


def _apply_executed(name: str, session: VirtualSession, server: ServerSide) -> None:
    """EXECUTE does what the statement does that was prepared (PREPARE cannot be prepared: no further than this)."""
    facts = session.facts_of_prepared(name.encode())
    if facts is None or facts.opaque:
        session.probe_wanted = server.tainted = True
    for each in facts.statements if facts is not None else ():
        apply(each, b"", session, server)


def _note_settings(statement: StatementFacts, session: VirtualSession, server: ServerSide) -> None:
    uncertain = False
    for change in statement.settings:
        if change.name == "seed":  # no value that could be set again: it is setseed() by another name
            session.bind(Bond.SEED)
            server.spoilt = True
            continue
        if "." in change.name:
            server.placeholders.add(change.name)
            session.placeholders.add(change.name)
        if change.certain:
            session.state.change(change)
        else:
            uncertain = True
            _unknown_settings(session, server)
    if statement.unknown_settings or any(each.name == "pg_settings" for each in statement.written):
        _unknown_settings(session, server)
    if statement.unknown_settings and not uncertain:
        session.bind(Bond.NAMELESS_SETTINGS)


def _unknown_settings(session: VirtualSession, server: ServerSide) -> None:
    """Settings were changed to what the text does not show: only this connection has them."""
    server.tainted = True
    session.bind(Bond.UNSEEN_SETTINGS)


def _note_channels(statement: StatementFacts, session: VirtualSession, server: ServerSide) -> None:
    if statement.listens is not None:
        session.state.listen(statement.listens)
        server.tainted = True  # it must not listen for whoever gets it next
    if statement.unlistens is not None:
        session.state.unlisten(None if statement.unlistens is ALL else statement.unlistens)


def _note_discards(statement: StatementFacts, session: VirtualSession, server: ServerSide) -> None:
    if statement.discards is DiscardTarget.ALL:
        session.discard_all()
        server.forget_prepared()
    elif statement.discards is DiscardTarget.SEQUENCES:
        session.bound.pop(Bond.SEQUENCES, None)
    elif statement.discards is DiscardTarget.TEMP:
        session.state.alter(session.state.now.objects.discarded())
    if statement.deallocates is ALL:
        session.forget_statements()
        server.forget_prepared()


def _note_prepared(statement: StatementFacts, session: VirtualSession, text: bytes) -> None:
    """Not taken back by a rollback (rule 9)."""
    if statement.prepares is not None:
        source = statement.slice(text) if text else None
        session.prepared_by_sql(statement.prepares, SqlStatement(statement.prepared_text, source))
    elif isinstance(statement.deallocates, str):
        name = statement.deallocates.encode()
        session.sql_prepared.pop(name, None)
        session.statements.pop(name, None)
        session.left_behind.pop(name, None)


def _note_objects(statement: StatementFacts, session: VirtualSession) -> None:
    """Temporary objects and held cursors (rules 10 and 11)."""
    objects = session.state.now.objects
    # only temporary tables have ON COMMIT: without TEMP it was search_path that made it one
    made = statement.temporary or (statement.written if statement.on_commit is not None else ())
    if made:
        objects = objects.created((each.name for each in made), statement.on_commit)
    gone = [each.name for each in statement.dropped if each.schema is None or each.is_temporary]
    if gone:
        objects = objects.dropped(gone, relations=bool(statement.written))
    if statement.renamed is not None:
        objects = objects.renamed(statement.renamed.relation.name, statement.renamed.new_name)
    if statement.declares is not None and statement.declares.hold:
        objects = objects.declared(statement.declares.name)
    if statement.closes is not None and objects.cursors:
        objects = objects.closed(None if statement.closes is ALL else statement.closes)
    if session.has_room_for(objects):
        session.state.alter(objects)
    for call in statement.advisory:
        if call.unlock_all and call.certain:
            session.may_hold_locks = session.locks_in_doubt = False
        elif call.level is AdvisoryLevel.SESSION:
            lets_go = call.unlock or call.unlock_all
            session.may_hold_locks |= not lets_go
            session.locks_in_doubt |= session.may_hold_locks and (lets_go or call.is_try)


def _note_bonds(statement: StatementFacts, session: VirtualSession, server: ServerSide) -> None:
    """What binds the session to its connection (rules 14 and 15)."""
    if statement.sequence_state:
        session.bind(Bond.SEQUENCES)
    if statement.loads_code:
        session.bind(Bond.CODE)
        server.spoilt = True
    for function in statement.functions:
        name = function.rpartition(".")[2]
        if name in MAKING:
            session.bind(MAKING[name])
            server.spoilt |= MAKING[name] is Bond.SEED
        elif name in ENDING:
            session.unbind(ENDING[name])


def _end_or_begin(control: TransactionControl, tag: bytes, session: VirtualSession) -> None:
    """Transaction control, as answered: COMMIT of a failed transaction is answered ROLLBACK (rule 6)."""
    state = session.state
    name = control.name or ""
    match control.verb:
        case TransactionVerb.COMMIT | TransactionVerb.ROLLBACK | TransactionVerb.PREPARE:
            session.failed = False
            if tag.startswith(b"ROLLBACK"):
                state.rollback()
                return
            state.commit()
            if control.verb is TransactionVerb.PREPARE:
                session.two_phase.add(name)
        case TransactionVerb.COMMIT_PREPARED | TransactionVerb.ROLLBACK_PREPARED:
            session.two_phase.discard(name)
        case TransactionVerb.SAVEPOINT:
            state.savepoint(name)
        case TransactionVerb.RELEASE:
            state.release(name)
        case TransactionVerb.ROLLBACK_TO:
            session.failed = False
            state.rollback_to(name)
        case _:
            pass


def _may_pin(statement: StatementFacts) -> bool:
    """Whether the statement may have made, or ended, state that only its connection has."""
    return bool(
        statement.temporary
        or statement.dropped
        or statement.prepares
        or statement.deallocates
        or (statement.declares is not None and statement.declares.hold)
        or statement.closes
        or statement.discards
        or any(call.level is AdvisoryLevel.SESSION for call in statement.advisory)
        or statement.opaque
    )


_CREATES = (
    StatementKind.CREATE_TABLE,
    StatementKind.CREATE_TABLE_AS,
    StatementKind.CREATE_VIEW,
    StatementKind.CREATE_SEQUENCE,
    StatementKind.SELECT,
)
#: EXPLAIN EXECUTE only plans.
_EXECUTING = (StatementKind.EXECUTE, StatementKind.CREATE_TABLE_AS)


def _may_be_temporary(statement: StatementFacts, session: VirtualSession) -> bool:
    """Whether it creates something where search_path puts it, and that may be the temporary schema."""
    return statement.kind in _CREATES and "pg_temp" in session.label.get("search_path", "")


def _note_unread(tag: bytes, session: VirtualSession) -> None:
    """A statement whose text could not be read was answered: of a SET nobody knows what it set."""
    session.probe_wanted = True
    if tag.startswith(b"SET\0"):
        session.bind(Bond.UNREAD_SETTINGS)


def _note_failure(facts: Facts, session: VirtualSession) -> None:
    """A text failed; but setseed() may have been called before that, and no rollback takes it back."""
    session.failed = True
    session.probe_wanted |= facts.opaque
    if any("setseed" in statement.session_functions for statement in facts.statements):
        session.bind(Bond.SEED)


def finish_unit(status: int, session: VirtualSession, server: ServerSide) -> None:
    """ReadyForQuery: the implicit transaction, if that is what it was, has ended."""
    session.state.reported(server.parameters)
    if status == Status.IDLE:
        if session.failed:
            session.state.rollback()
        else:
            session.state.commit()
        session.failed = False
    session.following = session.state.following or session.outstanding > 0


@define(eq=False)
class QueryWatcher:
    """Follows a simple query: one CommandComplete for each of its statements, then ReadyForQuery."""

    facts: Facts
    session: VirtualSession
    server: ServerSide
    at: int = 0

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code in _DONE:
            if self.at < len(self.facts.statements):
                statement = self.facts.statements[self.at]
                apply(statement, body, self.session, self.server, self.facts.text)
            elif not self.facts.parsed:
                _note_unread(body, self.session)
            self.at += 1
        elif code == Backend.ERROR_RESPONSE:
            _note_failure(self.facts, self.session)
        elif code == Backend.READY_FOR_QUERY:
            self.session.probe_wanted |= not self.facts.parsed
            self.session.outstanding -= 1
            finish_unit(body[0], self.session, self.server)
        return None

    def on_skipped(self) -> None:
        """A simple query inside a failed batch is discarded by the server."""
        self.session.outstanding -= 1


@define(eq=False)
class ExecuteWatcher:
    """Follows one Execute of a portal whose statement has effects."""

    statements: Sequence[StatementFacts]
    parsed: bool
    session: VirtualSession
    server: ServerSide
    #: what the statements were parsed from, if known
    text: bytes = b""

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.COMMAND_COMPLETE:
            for statement in self.statements:
                apply(statement, body, self.session, self.server, self.text)
            if not self.parsed:
                _note_unread(body, self.session)
        elif code == Backend.ERROR_RESPONSE:
            self.session.failed = True
        if code in _ENDS_EXECUTE:
            self.session.outstanding -= 1
        return None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed."""
        self.session.failed = True
        self.session.outstanding -= 1


@define(eq=False)
class SyncWatcher:
    """Follows a Sync while the session holds what the end of a transaction may take back."""

    session: VirtualSession
    server: ServerSide

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.session.failed = True
        elif code == Backend.READY_FOR_QUERY:
            finish_unit(body[0], self.session, self.server)
        return None

    def on_skipped(self) -> None:
        """Cannot be: a Sync is where skipping ends."""
