"""Why a text must go to the server that takes writes (correctness rule 35), from its facts alone.

Three kinds of reasons. A firm one holds whatever anybody wishes. A doubtful one is a function that nobody knows:
the configuration may declare it safe. A soft one is a question about the server itself: it means the server that
takes writes unless the client names another. Reasons are words of this module and names of functions, never
constants, because texts that differ in constants share their facts.

What a text cannot show (functions behind views, operators and triggers, unlogged tables, a name that search_path
leads to a temporary table) is for the router to learn and for the session to know. What runs within a transaction
that is open already goes where that is, and is not asked here.

Used by: `facts`, which keeps the answer; the router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from .kinds import CopyDirection, CopyPeer, Scope, StatementKind, TransactionVerb
from .standby import HARMLESS, LOCAL_STATE, WRITER_ONLY, is_function_about_server, is_relation_about_server

if TYPE_CHECKING:
    from .facts import CopyFacts, Facts, StatementFacts, TransactionControl

SERIALIZABLE: Final = "SERIALIZABLE"
NOT_PARSED: Final = "not parsed"
MAY_WRITE: Final = "transaction that may write"

# Kinds that are decided by what stands in them.
_BY_CONTENT: Final = frozenset(
    {
        StatementKind.SELECT,
        StatementKind.VALUES,
        StatementKind.EXPLAIN,
        StatementKind.COPY,
        StatementKind.SHOW,
    }
)
# Kinds that belong to the session, which is followed on the connection that takes its writes.
_OF_THE_SESSION: Final = {
    StatementKind.SET: "it sets a session setting",
    StatementKind.RESET: "it sets a session setting",
    StatementKind.SET_CONSTRAINTS: "it changes the transaction",
    StatementKind.DISCARD: "it discards what the session has",
    StatementKind.PREPARE: "statement prepared by SQL",
    StatementKind.EXECUTE: "statement prepared by SQL",
    StatementKind.DEALLOCATE: "statement prepared by SQL",
    StatementKind.DECLARE: "cursor",
    StatementKind.FETCH: "cursor",
    StatementKind.MOVE: "cursor",
    StatementKind.CLOSE: "cursor",
    StatementKind.LISTEN: "LISTEN",
    StatementKind.UNLISTEN: "UNLISTEN",
    StatementKind.NOTIFY: "NOTIFY",
    StatementKind.LOCK: "it locks a table",
    StatementKind.DO: "DO may write",
    StatementKind.CALL: "CALL may write",
    StatementKind.LOAD: "it loads code",
    StatementKind.OTHER: "it may write",
}
_ENDINGS: Final = frozenset({TransactionVerb.COMMIT, TransactionVerb.ROLLBACK, TransactionVerb.PREPARE})
_OUTSIDE_DATA: Final = frozenset(
    {TransactionVerb.PREPARE, TransactionVerb.COMMIT_PREPARED, TransactionVerb.ROLLBACK_PREPARED}
)
# Settings of the transaction itself; a standby refuses some of their values.
_OF_THE_TRANSACTION: Final = frozenset({"transaction_read_only", "transaction_isolation"})


@frozen
class WriterNeed:
    """Why a text must go to the server that takes writes. All empty: it only reads, and any server will do."""

    #: what no wish and no configuration changes
    firm: str = ""
    #: functions that are not known to be safe, as in `StatementFacts.functions`
    doubtful: tuple[str, ...] = ()
    #: what counts only as long as the client does not name a server itself
    soft: str = ""

    def reason(self, safe: Callable[[str], bool] | None = None, *, wished: bool = False) -> str:
        """The first reason that holds; empty: none does.

        Args:
            safe: whether a function is declared to be free of effects.
            wished: whether the client has asked for a standby or for a server by name.
        """
        if self.firm:
            return self.firm
        for name in self.doubtful:
            if safe is None or not safe(name):
                return f"it calls {name}, which is not known to be safe"
        return "" if wished else self.soft


def must_write(facts: Facts, safe: Callable[[str], bool] | None = None, *, wished: bool = False) -> str:
    """`Facts.must_write` for a configuration that declares functions safe, or a client that names a server.

    Empty: it only reads, and any server will do. See `WriterNeed.reason`.
    """
    return facts.must_write and facts.writer_need.reason(safe, wished=wished)


def settings_must_write(settings: Mapping[str, str]) -> str:
    """Why whatever a session with these settings does must go to the server that takes writes; empty: nothing.

    A standby refuses every statement while default_transaction_isolation is serializable.
    """
    isolation = settings.get("default_transaction_isolation", "")
    return SERIALIZABLE if isolation.lower() == "serializable" else ""


@define
class SafeFunctions:
    """Functions that the configuration declares free of effects: patterns of fnmatch, such as "geo.*" or "st_*".

    A name is matched as the text has it: an unqualified call by "f", a qualified one by "schema.f".
    """

    patterns: Sequence[str]
    _known: dict[str, bool] = field(factory=dict, init=False)

    #: names kept; the texts choose them
    LIMIT = 4096

    def __call__(self, name: str) -> bool:
        """Whether one of the patterns matches."""
        known = self._known.get(name)
        if known is None:
            known = any(fnmatchcase(name, pattern) for pattern in self.patterns)
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            self._known[name] = known
        return known


# -- a text ----------------------------------------------------------------------------------------------------


@define
class _Passage:
    """What the statements of a text before the one looked at have opened: a reading transaction and its cursors."""

    reading: bool = False
    cursors: set[str] = field(factory=set)

    def note(self, statement: StatementFacts) -> None:
        control = statement.transaction
        if control is not None:
            self._note_transaction(control)
        elif statement.declares is not None and self.reading:
            self.cursors.add(statement.declares.name)

    def _note_transaction(self, control: TransactionControl) -> None:
        if control.verb is TransactionVerb.BEGIN:
            self.reading = self.reading or only_reads(control)
        elif control.verb in _ENDINGS and not control.chain:
            self.reading = False
            self.cursors.clear()

    def contains(self, statement: StatementFacts) -> bool:
        """Whether a statement of the session does nothing that outlives the reading transaction."""
        if not self.reading:
            return False
        if statement.declares is not None:
            return not statement.declares.hold
        if statement.settings:
            return all(
                change.scope is not Scope.SESSION and change.name not in _OF_THE_TRANSACTION
                for change in statement.settings
            )
        used = statement.fetches or statement.closes
        return used is not None and used in self.cursors


def need_of(statements: Iterable[StatementFacts]) -> WriterNeed:
    """The reasons in the statements of one text, which run one after the other."""
    passage = _Passage()
    doubtful: dict[str, None] = {}
    soft = ""
    for statement in statements:
        firm = _firm(statement, passage)
        if firm:
            return WriterNeed(firm=firm)
        doubtful |= dict.fromkeys(statement.user_functions)
        soft = soft or _soft(statement)
        passage.note(statement)
    return WriterNeed("", tuple(doubtful), soft)


def only_reads(control: TransactionControl) -> bool:
    """Whether it begins a transaction that a standby accepts."""
    return control.read_only is True and control.isolation != "serializable"


# -- a statement -----------------------------------------------------------------------------------------------


def _firm(statement: StatementFacts, passage: _Passage) -> str:
    if statement.transaction is not None:
        return _of_transaction(statement.transaction)
    if statement.analyses is not None and statement.analyses not in _BY_CONTENT:
        return f"EXPLAIN ANALYZE: {_of_kind(statement.analyses)}"
    if statement.kind not in _BY_CONTENT and not passage.contains(statement):
        return _of_kind(statement.kind)
    return _of_content(statement)


def _of_transaction(control: TransactionControl) -> str:
    if control.verb in _OUTSIDE_DATA:
        return control.verb.value
    if control.verb is not TransactionVerb.BEGIN or only_reads(control):
        return ""
    return SERIALIZABLE if control.isolation == "serializable" else MAY_WRITE


def _of_kind(kind: StatementKind) -> str:
    return _OF_THE_SESSION.get(kind) or f"it writes ({kind.value})"


def _of_content(statement: StatementFacts) -> str:
    if statement.copy is not None and (reason := _of_copy(statement.copy)):
        return reason
    if statement.changes_data:
        return "it writes in a query"
    if statement.row_locks:
        return "it locks rows"
    if statement.executes is not None:
        return "statement prepared by SQL"
    if any(relation.is_temporary for relation in statement.reads):
        return "it uses a temporary table"
    if statement.advisory:
        return "advisory lock"
    return _of_functions(statement)


def _of_copy(copy: CopyFacts) -> str:
    if copy.direction is CopyDirection.IN:
        return "COPY FROM"
    return "" if copy.peer is CopyPeer.STDIO else "COPY with files or programs of the server"


def _of_functions(statement: StatementFacts) -> str:
    for name in statement.functions:
        if name in WRITER_ONLY:
            return f"a standby refuses {name}"
    for name in statement.volatile_functions:
        if name not in HARMLESS and not is_function_about_server(name):
            return LOCAL_STATE.get(name) or f"it calls volatile function {name}"
    return ""


def _soft(statement: StatementFacts) -> str:
    if statement.kind is StatementKind.SHOW:
        return "it shows a setting, which may differ between servers"
    for name in statement.functions:
        if is_function_about_server(name):
            return f"{name} tells about the server"
    for relation in statement.reads:
        if is_relation_about_server(relation.name, relation.schema):
            return f"{relation.name} tells about the server"
    return ""
