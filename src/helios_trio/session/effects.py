"""What a statement does to its session once PostgreSQL has said that it succeeded.

The watchers here stand in the queue of expected replies. They are used only for statements whose facts are not plain,
and, while a transaction holds something that its end may take back, for everything else too.

Used by: session.requests.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from helios_trio.session.server_side import ServerSide
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.facts import Facts, StatementFacts, TransactionControl
from helios_trio.sql.kinds import ALL, AdvisoryLevel, DiscardTarget, StatementKind, TransactionVerb
from helios_trio.wire.codes import Backend, Status

_DONE = (Backend.COMMAND_COMPLETE, Backend.EMPTY_QUERY_RESPONSE)
_ENDS_EXECUTE = (*_DONE, Backend.PORTAL_SUSPENDED, Backend.ERROR_RESPONSE)


def apply(statement: StatementFacts, tag: bytes, session: VirtualSession, server: ServerSide) -> None:
    """Note the effects of one statement that completed with `tag`."""
    state = session.state
    if statement.transaction is not None:
        _end_or_begin(statement.transaction, tag, session)
    for change in statement.settings:
        if "." in change.name:
            server.placeholders.add(change.name)
            session.placeholders.add(change.name)
        if change.certain:
            state.change(change)
        else:
            _unknown_settings(session, server)
    if statement.sequence_state:
        session.bound["sequence values"] = 1
    if server.spoilt:
        session.bound["random seed or loaded code"] = 1
    if statement.unknown_settings or any(each.name == "pg_settings" for each in statement.written):
        _unknown_settings(session, server)
    if statement.listens is not None:
        state.listen(statement.listens)
        server.tainted = True  # it must not listen for whoever gets it next
    if statement.unlistens is not None:
        state.unlisten(None if statement.unlistens is ALL else statement.unlistens)
    if statement.discards is DiscardTarget.ALL:
        state.discard_all()
        session.forget_statements()
        session.bound.clear()
        server.forget_prepared()
    elif statement.deallocates is ALL:
        session.forget_statements()
        server.forget_prepared()
    if statement.prepares is not None:
        session.sql_prepared.add(statement.prepares.encode())
    elif isinstance(statement.deallocates, str):
        session.sql_prepared.discard(statement.deallocates.encode())
    if _may_pin(statement) or _may_be_temporary(statement, session):
        session.probe_wanted = True


def _unknown_settings(session: VirtualSession, server: ServerSide) -> None:
    """Settings were changed to what the text does not show: only this connection has them."""
    server.tainted = True
    session.bound["settings that the text does not show"] = 1


def _end_or_begin(control: TransactionControl, tag: bytes, session: VirtualSession) -> None:
    """Transaction control, as answered: COMMIT of a failed transaction is answered ROLLBACK (rule 6)."""
    state = session.state
    match control.verb:
        case TransactionVerb.COMMIT | TransactionVerb.ROLLBACK | TransactionVerb.PREPARE:
            if tag.startswith(b"ROLLBACK"):
                state.rollback()
            else:
                state.commit()
        case TransactionVerb.SAVEPOINT:
            state.savepoint(control.name or "")
        case TransactionVerb.RELEASE:
            state.release(control.name or "")
        case TransactionVerb.ROLLBACK_TO:
            state.rollback_to(control.name or "")
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


def _may_be_temporary(statement: StatementFacts, session: VirtualSession) -> bool:
    """Whether it creates something where search_path puts it, and that may be the temporary schema."""
    return statement.kind in _CREATES and "pg_temp" in session.label.get("search_path", "")


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
                apply(self.facts.statements[self.at], body, self.session, self.server)
            self.at += 1
        elif code == Backend.ERROR_RESPONSE:
            self.session.failed = True
            self.session.probe_wanted |= self.facts.opaque
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

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.COMMAND_COMPLETE:
            for statement in self.statements:
                apply(statement, body, self.session, self.server)
            self.session.probe_wanted |= not self.parsed
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
