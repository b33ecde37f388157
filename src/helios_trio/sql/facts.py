"""Facts about a text of SQL, as plain data: what the session, the pools, the router and the journal ask.

One `Facts` per text, one `StatementFacts` per statement in it. They say what the *text* shows; what a
function body, a trigger, a rule, a view, an operator or a cast does is invisible here (correctness rule 8),
and so is where search_path leads: a name without a schema is reported without one. Most facts of most
statements are empty, so the defaults are shared constants and a statement costs one small object.

Made by `helios_trio.sql.parse`, kept by `helios_trio.sql.cache`.
"""

from __future__ import annotations

from functools import cached_property

from attrs import field, frozen

from .kinds import (
    AdvisoryLevel,
    ChangeKind,
    CopyDirection,
    CopyPeer,
    DiscardTarget,
    Everything,
    OnCommit,
    Scope,
    StatementKind,
    TransactionVerb,
)
from .normalise import fingerprint_of, normalised_text
from .routes import NOT_PARSED, WriterNeed, need_of
from .workload import TRANSACTIONAL, Work


@frozen
class Relation:
    """A relation as the text names it; `schema` is None where the text relies on search_path."""

    name: str
    schema: str | None = None

    @property
    def is_temporary(self) -> bool:
        """Whether the name itself says so (`pg_temp.x`); an unqualified one may be temporary as well."""
        return self.schema is not None and (self.schema == "pg_temp" or self.schema.startswith("pg_temp_"))


@frozen
class SettingChange:
    """One parameter that a statement sets or resets.

    `name` is in lower case ("" for RESET ALL). `value` is what `set_config(name, value, ...)` would take to
    the same end, None for the default. `certain` is False where the text does not show that exactly this
    happens (set_config behind a WHERE, SET ... FROM CURRENT): then the server must be asked.
    SET SESSION AUTHORIZATION also resets the role; that rule belongs to the session.
    """

    name: str
    value: str | None = None
    scope: Scope = Scope.SESSION
    kind: ChangeKind = ChangeKind.SET
    certain: bool = True


@frozen
class TransactionControl:
    """One transaction command. None for `isolation`, `read_only`, `deferrable` means "not said".

    `name` is the savepoint's name, or the identifier of a prepared transaction.
    """

    verb: TransactionVerb
    name: str | None = None
    chain: bool = False
    isolation: str | None = None
    read_only: bool | None = None
    deferrable: bool | None = None


@frozen
class AdvisoryCall:
    """One call of an advisory lock function.

    `args` is None when the keys are not literals. `certain` is False where the call may run never or often
    (a FROM or WHERE stands beside it), so that counts must be asked of the server (correctness rule 12).
    """

    function: str
    args: tuple[int, ...] | None
    level: AdvisoryLevel = AdvisoryLevel.SESSION
    shared: bool = False
    is_try: bool = False
    unlock: bool = False
    unlock_all: bool = False
    certain: bool = True


@frozen
class CursorDeclaration:
    """DECLARE CURSOR; `scroll` is None where neither SCROLL nor NO SCROLL is written."""

    name: str
    hold: bool = False
    scroll: bool | None = None
    binary: bool = False


@frozen
class CopyFacts:
    """The direction of a COPY and its other end."""

    direction: CopyDirection
    peer: CopyPeer


@frozen
class Renaming:
    """ALTER ... RENAME TO of a relation."""

    relation: Relation
    new_name: str


#: How the names of the proxy's own parameters begin (SET helios.replay, SHOW helios.backend).
OURS = "helios."

_PLAIN_KINDS = frozenset(
    {
        StatementKind.SELECT,
        StatementKind.VALUES,
        StatementKind.INSERT,
        StatementKind.UPDATE,
        StatementKind.DELETE,
        StatementKind.MERGE,
        StatementKind.COPY,
        StatementKind.EXPLAIN,
        StatementKind.SHOW,
        StatementKind.LOCK,
        StatementKind.TRUNCATE,
        StatementKind.ANALYZE,
        StatementKind.SET_CONSTRAINTS,
    }
)


_CHANGING = frozenset({StatementKind.INSERT, StatementKind.UPDATE, StatementKind.DELETE, StatementKind.MERGE})


@frozen
class StatementFacts:
    """What one statement does, as far as its text shows.

    * `span` - byte offset and length within the text; None when it is the only statement (see `slice`).
    * `writes` - it may write or lock, or must not go to a standby for another reason the text shows.
    * `unknown_settings` - it may set parameters for the session which the text does not name or give.
    * `local_settings_unknown` - the same, for the current transaction only.
    * `prepares`, `prepared_text` - SQL PREPARE: the name, and the statement behind AS, whose own facts apply
      when it is executed.
    * `temporary` - names of what is created in the temporary schema (tables, views, sequences, functions,
      types), `on_commit` for the first kind. A CREATE without TEMP may be temporary as well when search_path
      begins with pg_temp, or for a view on a temporary table: compare `reads`, `written`.
    * `dropped` - names in a DROP of relations, functions or types.
    * `functions` - functions called, as written, without "pg_catalog."; `volatile_functions` those built-in
      ones that are volatile in any overload; `user_functions` those not known as PostgreSQL's own, which may
      do anything; `session_functions` built-in ones that change the session or run SQL handed to them.
    * `sequence_state` - currval() or lastval() is called (correctness rule 14).
    * `shows` - SHOW: the name of the parameter in lower case.
    * `notifies` - channels; None for pg_notify() whose channel is not a literal.
    * `databases` - those to which nobody may be connected when it runs: DROP, RENAME, TABLESPACE, TEMPLATE.
    * `outside_transaction` - PostgreSQL refuses it in a transaction block, or may.
    * `ends_transaction_itself` - CALL and DO may contain COMMIT.
    * `loads_code` - LOAD and extension scripts: anything may come with the library.
    * `changes_data` - INSERT, UPDATE, DELETE or MERGE, or one of them within it.
    * `analyses` - EXPLAIN ANALYZE: the kind of statement that it runs.
    * `explains_route` - EXPLAIN (ROUTE): the statement behind it, which the proxy is asked about.
    * `ours` - relations read that exist nowhere, which the proxy has to put in (see `relations`), as written.
    * `work` - what kind of work a query is; OLTP for everything else.
    """

    kind: StatementKind
    span: tuple[int, int] | None = None
    writes: bool = False
    row_locks: bool = False
    reads: tuple[Relation, ...] = ()
    written: tuple[Relation, ...] = ()
    functions: tuple[str, ...] = ()
    volatile_functions: tuple[str, ...] = ()
    user_functions: tuple[str, ...] = ()
    session_functions: tuple[str, ...] = ()
    sequence_state: bool = False
    settings: tuple[SettingChange, ...] = ()
    unknown_settings: bool = False
    local_settings_unknown: bool = False
    transaction: TransactionControl | None = None
    advisory: tuple[AdvisoryCall, ...] = ()
    prepares: str | None = None
    prepared_text: str | None = None
    executes: str | None = None
    deallocates: str | Everything | None = None
    declares: CursorDeclaration | None = None
    fetches: str | None = None
    closes: str | Everything | None = None
    listens: str | None = None
    unlistens: str | Everything | None = None
    shows: str | None = None
    notifies: tuple[str | None, ...] = ()
    temporary: tuple[Relation, ...] = ()
    on_commit: OnCommit | None = None
    dropped: tuple[Relation, ...] = ()
    renamed: Renaming | None = None
    databases: tuple[str, ...] = ()
    copy: CopyFacts | None = None
    discards: DiscardTarget | None = None
    outside_transaction: bool = False
    ends_transaction_itself: bool = False
    loads_code: bool = False
    changes_data: bool = False
    analyses: StatementKind | None = None
    explains_route: bytes | None = None
    ours: tuple[str, ...] = ()
    work: Work = TRANSACTIONAL

    @property
    def opaque(self) -> bool:
        """It may change the state of the session in ways that its text does not show."""
        return bool(
            self.user_functions
            or self.session_functions
            or self.unknown_settings
            or self.ends_transaction_itself
            or self.loads_code
        )

    @property
    def plain(self) -> bool:
        """Nothing in it needs to be followed by a virtual session or a pool.

        currval() and lastval() are not plain: they read what an earlier statement left in the session.
        """
        return self.kind in _PLAIN_KINDS and not (
            self.opaque
            or self.settings
            or self.local_settings_unknown
            or self.advisory
            or self.notifies
            or (self.written and any(each.name == "pg_settings" for each in self.written))
            or self.temporary
            or self.sequence_state
            or self.executes
            or self.outside_transaction
            or self.ours
            or self.explains_route is not None
            or (self.shows is not None and self.shows.startswith(OURS))
            or (self.copy is not None and self.copy.peer is not CopyPeer.STDIO)
        )

    def slice(self, text: bytes) -> bytes:
        """This statement's own part of the text that it was parsed from."""
        if self.span is None:
            return text
        start, length = self.span
        return text[start : start + length]


@frozen
class Facts:
    """What is known about one text, which may hold any number of statements (none in an empty query).

    * `parsed` - False: the parser refused the text, or did not get it (too large, not UTF-8, a NUL).
      Such a text is treated as a write that may do anything.
    * `plain` - every statement is; nobody has to follow the session for it.
    * `opaque` - one statement at least is, or the text is not parsed.
    * `text` - what the facts were taken from. For facts that several texts share this is their shape, in
      which constants are replaced: only `normalised` and `fingerprint` may be derived from it.
    """

    statements: tuple[StatementFacts, ...]
    parsed: bool
    writes: bool
    plain: bool
    opaque: bool
    text: bytes = field(repr=False)

    @cached_property
    def must_write(self) -> str:
        """Why it must go to the server that takes writes; empty: it only reads, and any server will do.

        As long as no function is declared safe and the client names no server: see `routes.must_write`.
        """
        return self.writer_need.reason()

    @cached_property
    def writer_need(self) -> WriterNeed:
        """All that `must_write` depends on."""
        return need_of(self.statements) if self.parsed else WriterNeed(firm=NOT_PARSED)

    @cached_property
    def begins_read_only(self) -> bool:
        """It begins a transaction that is READ ONLY and not SERIALIZABLE, and does nothing that a standby refuses."""
        controls = (statement.transaction for statement in self.statements)
        return not self.must_write and any(
            control is not None and control.verb is TransactionVerb.BEGIN for control in controls
        )

    @cached_property
    def explains_route(self) -> bytes | None:
        """The statement behind EXPLAIN (ROUTE), when it is that alone."""
        return self.statements[0].explains_route if len(self.statements) == 1 else None

    @cached_property
    def ours(self) -> tuple[str, ...]:
        """Relations read that exist nowhere, without their schema, each once."""
        return tuple(dict.fromkeys(name for statement in self.statements for name in statement.ours))

    @cached_property
    def shows_of_ours(self) -> str | None:
        """The parameter of the proxy's own, with its prefix, that it is one SHOW of."""
        name = self.statements[0].shows if len(self.statements) == 1 else None
        return name if name is not None and name.startswith(OURS) else None

    @cached_property
    def is_commit(self) -> bool:
        """It is one COMMIT that does not begin another transaction."""
        control = self.statements[0].transaction if len(self.statements) == 1 else None
        return control is not None and control.verb is TransactionVerb.COMMIT and not control.chain

    @cached_property
    def is_single_write(self) -> bool:
        """It is one statement that changes rows, calls nothing unknown, and can neither commit nor be refused in one.

        INSERT, UPDATE, DELETE, MERGE, or a query with one of them in its WITH.
        """
        if len(self.statements) != 1 or not self.plain:
            return False
        only = self.statements[0]
        return only.kind in _CHANGING or (only.kind is StatementKind.SELECT and bool(only.written))

    @cached_property
    def turns_read_only(self) -> bool:
        """It says of the transaction that is open already whether it may write (SET TRANSACTION READ ONLY)."""
        changes = (change.name for statement in self.statements for change in statement.settings)
        return "transaction_read_only" in changes

    @cached_property
    def fingerprint(self) -> str | None:
        """libpg_query's fingerprint, 16 hex digits: equal for texts that differ only in constants.

        None when the text is not parsed.
        """
        return fingerprint_of(self.text) if self.parsed else None

    @cached_property
    def normalised(self) -> str | None:
        """The text with every constant replaced by a parameter ($n), comments removed: safe to log (rule 39).

        None when the text is not parsed.
        """
        return normalised_text(self.text) if self.parsed else None


def facts_of(statements: tuple[StatementFacts, ...], text: bytes) -> Facts:
    """Sum up statements into the facts of their text."""
    return Facts(
        statements=statements,
        parsed=True,
        writes=any(statement.writes for statement in statements),
        plain=all(statement.plain for statement in statements),
        opaque=any(statement.opaque for statement in statements),
        text=text,
    )


UNPARSED = Facts(statements=(), parsed=False, writes=True, plain=False, opaque=True, text=b"")
