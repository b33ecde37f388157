"""What the client believes its session to be (architecture: `VirtualSession`). Data and rules; no sockets, no clock.

`session.requests` asks it before something is sent, the watchers of `session.effects` tell it what PostgreSQL answered.
What it knows is what texts show; what function bodies do, `session.carrying` asks the server (rule 8).

Used by: proxy.session, session.requests, session.carrying (moving it), admin (explaining it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import define, field

from helios_trio.session.explaining import Explanation, explain
from helios_trio.session.objects import Objects
from helios_trio.session.pins import BEYOND_DISCARD, Bond
from helios_trio.session.prepared import Absence, PreparedStatement
from helios_trio.session.settings import Label, TransactionalState
from helios_trio.sql.facts import Facts
from helios_trio.sql.parse import parse

#: Names of one kind (temporary objects and cursors, statements prepared by SQL, two-phase transactions) that are
#: followed; a session with more is not movable (rule 16).
MAX_NAMES: Final = 10_000


@define(eq=False)
class SqlStatement:
    """What PREPARE has prepared, and what that does, found out when it is first executed."""

    #: the statement behind AS
    text: str | None
    #: the whole of PREPARE, where it is known
    source: bytes | None = None
    facts: Facts | None = None


@define(eq=False)
class VirtualSession:
    """The state of one client session."""

    #: number of the session, also its virtual process id where it has no server's
    id: int
    user: str
    database: str
    #: start-up parameters of the client, as given, without user and database
    startup: Mapping[str, str]
    state: TransactionalState
    #: protocol-level prepared statements by the client's name; b"" is the unnamed one
    statements: dict[bytes, PreparedStatement] = field(factory=dict)
    #: those of them that a move has left behind; session mode only
    left_behind: dict[bytes, Absence] = field(factory=dict)
    #: statements prepared by SQL, by name: one namespace with the protocol's (rule 9)
    sql_prepared: dict[bytes, SqlStatement] = field(factory=dict)
    #: portals bound to statements that have effects on the session
    portals: dict[bytes, Facts] = field(factory=dict)
    #: parameters as reported to the client (ParameterStatus), names in lower case
    reported: dict[str, str] = field(factory=dict)
    #: names of parameters with a dot that it has ever set (rule 7)
    placeholders: set[str] = field(factory=set)
    #: identifiers of transactions it has prepared and not ended (PREPARE TRANSACTION)
    two_phase: set[str] = field(factory=set)
    #: it has called a function that takes an advisory lock for the session, and may have it still (rule 12)
    may_hold_locks: bool = False
    #: it may have none: it has called a function that lets one go, or that may not have got it; the server knows
    locks_in_doubt: bool = False
    #: it has more names of one kind than are followed
    overfull: bool = False
    #: why the session must keep its server connection between transactions: what -> how many
    pins: dict[str, int] = field(factory=dict)
    #: the same for what no query can count: it lasts until its cause ends (`session.pins`)
    bound: dict[str, int] = field(factory=dict)
    #: only a connection opened with this session's own start-up parameters will do, for one transaction
    exact: bool = False
    #: something ran that may have made or ended a pin: ask the server before the connection is given back
    probe_wanted: bool = False
    #: what failed since the last ReadyForQuery outside a transaction: then the implicit transaction rolled back
    failed: bool = False
    #: an extended-protocol batch has been begun and its Sync not sent yet
    in_batch: bool = False

    #: the ends of transactions must be watched: something waits for them, or a reply that may make it so is owed
    following: bool = False
    #: watchers of statements with effects whose replies are owed
    outstanding: int = 0

    @property
    def variant(self) -> Mapping[str, str]:
        """What the pool opens a connection of its own for (`pool.planner.Claim`)."""
        return self.startup

    @property
    def label(self) -> Label:
        """Settings as the client believes them to be (`pool.planner.Claim`)."""
        return self.state.now.wanted

    @property
    def pinned(self) -> bool:
        """Whether the session must keep its connection between transactions."""
        return bool(self.pins) or bool(self.bound)

    def explain(self) -> Explanation:
        """All state by kind, and every reason why the session could not be moved now."""
        return explain(self)

    def lost_its_server(self, *, committed: bool) -> None:
        """The connection is gone, and the open transaction is over: committed, or taken back."""
        if committed:
            self.state.commit()
        else:
            self.state.rollback()
        self.portals.clear()
        self.outstanding = 0
        self.failed = self.in_batch = self.exact = self.probe_wanted = self.locks_in_doubt = False
        self.following = self.state.following

    # -- what binds it -----------------------------------------------------------------------------------------

    def bind(self, bond: Bond) -> None:
        """Something was done that only this server connection knows of."""
        self.bound[bond] = self.bound.get(bond, 0) + 1

    def unbind(self, bond: Bond) -> None:
        """One of these has ended."""
        left = self.bound.pop(bond, 1) - 1
        if left > 0:
            self.bound[bond] = left

    def has_room_for(self, objects: Objects) -> bool:
        """Whether so many names can be followed; if not, the session is not movable from now on (rule 16)."""
        self.overfull |= objects.count > MAX_NAMES
        return objects.count <= MAX_NAMES

    # -- prepared statements -----------------------------------------------------------------------------------

    def prepared_by_sql(self, name: str, statement: SqlStatement) -> None:
        """PREPARE has succeeded."""
        if len(self.sql_prepared) < MAX_NAMES:
            self.sql_prepared[name.encode()] = statement
        else:
            self.overfull = True

    def facts_of_prepared(self, name: bytes) -> Facts | None:
        """What EXECUTE of this name does; None when the statement is not known."""
        if name in self.statements:
            return self.statements[name].facts
        prepared = self.sql_prepared.get(name)
        if prepared is None or prepared.text is None:
            return None
        if prepared.facts is None:
            prepared.facts = parse(prepared.text.encode())
        return prepared.facts

    def forget_statements(self) -> None:
        """DEALLOCATE ALL or DISCARD ALL."""
        self.statements.clear()
        self.left_behind.clear()
        self.sql_prepared.clear()
        self.portals.clear()

    def discard_all(self) -> None:
        """DISCARD ALL: as at the start, but for what it does not end."""
        self.state.discard_all()
        self.forget_statements()
        self.may_hold_locks = self.locks_in_doubt = self.overfull = False
        for bond in [each for each in self.bound if each not in BEYOND_DISCARD]:
            del self.bound[bond]
