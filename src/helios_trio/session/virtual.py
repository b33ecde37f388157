"""What the client believes its session to be (architecture: `VirtualSession`). Data and rules; no sockets, no clock.

`session.requests` asks it before something is sent, the watchers of `session.effects` tell it what PostgreSQL answered.

Used by: proxy.session, session.requests, admin (explaining pins).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.settings import Label, TransactionalState
from helios_trio.sql.facts import Facts


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
    #: names of statements prepared by SQL: one namespace with the protocol's (rule 9)
    sql_prepared: set[bytes] = field(factory=set)
    #: portals bound to statements that have effects on the session
    portals: dict[bytes, Facts] = field(factory=dict)
    #: parameters as reported to the client (ParameterStatus), names in lower case
    reported: dict[str, str] = field(factory=dict)
    #: names of parameters with a dot that it has ever set (rule 7)
    placeholders: set[str] = field(factory=set)
    #: why the session must keep its server connection between transactions: what -> how many
    pins: dict[str, int] = field(factory=dict)
    #: the same for what no query can count: it lasts until DISCARD ALL
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

    def forget_statements(self) -> None:
        """DEALLOCATE ALL or DISCARD ALL."""
        self.statements.clear()
        self.sql_prepared.clear()
        self.portals.clear()
