"""`Router`: what a session asks where its next request goes, and what the answers have come to.

Pure but for the pools it finds connections in: deciding never waits. What must be waited for - a floor, a standby that
is nearly there, a pool that does not exist yet - is done by the session's own task (`features.routing.session`).

Used by: directing (makes it), features.routing.session (asks), admin (shows the counters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from attrs import define, field

from helios_trio.features.routing.decision import Decider
from helios_trio.features.routing.nodes import Nodes
from helios_trio.features.routing.wishes import wish_of_hints, wish_of_settings
from helios_trio.pipeline.freshness import Freshness
from helios_trio.pipeline.routing import (
    ANYTHING,
    NEAREST,
    PRIMARY,
    Consistency,
    Decision,
    Question,
    Wish,
)
from helios_trio.pipeline.taps import Admission, BackendTap
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import PoolKey, Pools
from helios_trio.proxy.session import Session
from helios_trio.session.batches import Asked
from helios_trio.sql.facts import Facts
from helios_trio.sql.hints import NO_HINTS, hints_of
from helios_trio.sql.routes import must_write, settings_must_write


#: The setting by which a session says what its reads wait for.
SYNC_MODE: Final = "helios.sync_mode"


class Learned(Protocol):
    """Knows which statements a standby has refused."""

    def __len__(self) -> int:
        """How many there are."""

    def writes(self, database: str, fingerprint: str) -> bool:
        """Whether it has refused this one."""


@define(kw_only=True)
class RoutePolicy:
    """What the configuration says; changed by a reload. Times in seconds."""

    #: there is anything to decide; False: all goes where the session belongs
    routes: bool = True
    consistency: Consistency = Consistency.READ_YOUR_WRITES
    #: how long a read waits for a standby to have what its session has written; 0: the primary serves it instead
    wait_for_standby: float = 0.0
    #: it need only have it on disk
    flushed: bool = False
    #: how long a request waits for any server that will do
    queue_timeout: float = 30.0


@define
class RouteCounters:
    """What has become of the requests of routed sessions since the proxy started."""

    #: requests by the backend that served them
    by_backend: Counter[str] = field(factory=Counter)
    #: reads that the server which takes writes had to serve although others were wanted
    fell_back: int = 0
    floors: int = 0
    waits: int = 0
    #: statements that a standby has refused and the primary has done
    refused: int = 0
    #: reads that lost their server, or were cancelled by its recovery, and were sent to the primary
    resent: int = 0
    #: requests that a circuit, or a limit, has refused
    not_admitted: int = 0
    #: parts of hints and settings that could not be understood, or name no server
    hints_ignored: int = 0


@define(eq=False, kw_only=True)
class Router:
    """See the module."""

    nodes: Nodes
    decider: Decider
    policy: RoutePolicy
    #: what holds instead for sessions that have said so (`SET helios.sync_mode`), by the word
    by_sync_mode: Mapping[str, RoutePolicy] = field(factory=dict)
    freshness: Freshness | None
    pools: Pools
    #: functions that the configuration declares safe
    safe: Callable[[str], bool] | None = None
    #: obey hints in front of a statement
    hints: bool = True
    tenant_of: Callable[[Session], str] = lambda session: ""
    learned: Learned | None = None
    #: who wants to know how a backend answers; None: nobody
    tap: Callable[[str], BackendTap | None] = lambda backend: None
    #: who says whether a backend may be asked; None: everybody may
    admission: Admission | None = None
    #: told what a standby has refused: database, the text, SQLSTATE
    learn: Callable[[str, Facts, str], None] = lambda database, facts, sqlstate: None
    #: finds the pool of a session on a backend, or makes it
    open_pool: Callable[[Session, str], Awaitable[Pool]]
    #: looks at a server that behaves as if it were dead
    suspect: Callable[[str, str], None] = lambda backend, reason: None
    counters: RouteCounters = field(factory=RouteCounters)

    def question(self, session: Session, asked: Asked, now: float) -> Question:
        """What must be known of a request to decide."""
        wish = self._wish(session, asked.source)
        return Question(
            session=session.virtual.id,
            user=session.virtual.user,
            database=session.virtual.database,
            tenant=self.tenant_of(session),
            must_write=self.why_writer(session, asked, wish),
            statements=[each for facts in asked.texts for each in facts.statements],
            wish=wish,
            text=asked.source if len(asked.texts) == 1 else b"",
            flushed=self.policy_of(session).flushed,
            now=now,
        )

    def _wish(self, session: Session, source: bytes) -> Wish:
        """What the client asks for, by a hint or by its settings; what makes no sense is ignored, and counted."""
        label = session.virtual.label
        wished = wish_of_settings(label, self.nodes.topology.nodes)
        found = wished.wish
        self.counters.hints_ignored += wished.ignored
        if self.hints and (hints := hints_of(source)) is not NO_HINTS:
            hinted = wish_of_hints(hints, self.nodes.topology.nodes)
            self.counters.hints_ignored += hinted.ignored
            found = hinted.wish.over(found)
        return found

    def why_writer(self, session: Session, asked: Asked, wish: Wish = ANYTHING) -> str:
        """Why a request goes to the server that takes writes; empty: any will do."""
        if not asked.texts:
            return "nobody knows what it does"
        wished = wish.route not in (None, PRIMARY, NEAREST)
        for facts in asked.texts:
            if facts.must_write and (reason := must_write(facts, self.safe, wished=wished)):
                return reason
        if reason := settings_must_write(session.virtual.label):
            return reason
        if self.learned is not None and len(self.learned):
            for facts in asked.texts:
                if facts.fingerprint and self.learned.writes(session.destination.database, facts.fingerprint):
                    return "a standby has refused it before"
        return ""

    def policy_of(self, session: Session) -> RoutePolicy:
        """What holds for a session."""
        if not self.by_sync_mode:
            return self.policy
        word = session.virtual.label.get(SYNC_MODE, "").lower()
        return self.by_sync_mode.get(word, self.policy)

    def wants_own_writes(self, session: Session, question: Question) -> bool:
        """Whether a standby must have what the session has written."""
        consistency = question.wish.consistency or self.policy_of(session).consistency
        return self.freshness is not None and consistency is not Consistency.EVENTUAL

    def may_read_elsewhere(self, question: Question) -> bool:
        """Whether there is anything to decide."""
        return self.policy.routes and not question.must_write and question.wish.route != PRIMARY

    def decide(self, session: Session, question: Question) -> Decision:
        """Where it goes."""
        return self.decider.decide(question, self.nodes.of(session.destination.backend.name))

    def explain(self, session: Session, question: Question) -> Decision:
        """The same, and how that came about."""
        return self.decider.explain(question, self.nodes.of(session.destination.backend.name))

    def late_standbys(self, session: Session) -> Sequence[str]:
        """Names of standbys that might have what a session has written, if they were asked now."""
        return [
            node.name
            for node in self.nodes.of(session.destination.backend.name)
            if node.standby and not node.out
        ]

    def pool_of(self, session: Session, backend: str) -> Pool | None:
        """The pool where a session gets connections to a backend; None: it must be opened first."""
        if backend == session.destination.backend.name:
            return session.pool
        at = session.destination.key
        return self.pools.find(PoolKey(backend, at.database, at.user, at.shared))
