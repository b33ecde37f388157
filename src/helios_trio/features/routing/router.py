"""`Router`: what a session asks where its next request goes, and what the answers have come to.

Pure but for the pools it finds connections in: deciding never waits. What must be waited for - a floor, a standby that
is nearly there, a pool that does not exist yet - is done by the session's own task (`features.routing.session`).

Used by: composition.directing (makes it), features.routing.session (asks), admin (shows the counters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from attrs import define, evolve, field

from helios_trio.features.routing.decision import Decider
from helios_trio.features.routing.nodes import Nodes
from helios_trio.features.routing.wishes import wish_of_hints, wish_of_settings
from helios_trio.migration.figures import ReadTraffic
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
from helios_trio.pool.pools import Destination, PoolKey, Pools
from helios_trio.proxy.session import Session, SessionPolicy
from helios_trio.session.batches import Asked
from helios_trio.session.settings import Label
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.facts import Facts
from helios_trio.sql.hints import NO_HINTS, Hints, hints_of
from helios_trio.sql.routes import must_write, settings_must_write

#: The setting by which a session says what its reads wait for.
SYNC_MODE: Final = "helios.sync_mode"


class RoutedClient(Protocol):
    """What must be known of a session to decide about its requests."""

    virtual: VirtualSession
    destination: Destination
    pool: Pool
    policy: SessionPolicy
    #: what its settings said when it was last asked; None: it never was
    manner: Manner | None


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


@define(eq=False, kw_only=True)
class Manner:
    """What a session's settings say about its requests; holds until it sets another, or the configuration changes."""

    #: what it was read from
    label: Label
    configured: RoutePolicy
    destination: Destination
    tenant: str
    wish: Wish
    #: settings that could not be understood
    ignored: int
    #: why all that the session does goes to the server that takes writes; empty: nothing
    must_write: str
    policy: RoutePolicy
    #: where to look for connections to a backend
    pool_keys: dict[str, PoolKey] = field(factory=dict)


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
    tenant_of: Callable[[VirtualSession], str] = lambda session: ""
    learned: Learned | None = None
    #: who wants to know how a backend answers; None: nobody
    tap: Callable[[str], BackendTap | None] = lambda backend: None
    #: who says whether a backend may be asked; None: everybody may
    admission: Admission | None = None
    #: told what a standby has refused: database, the text, SQLSTATE
    learn: Callable[[str, Facts, str], None] = lambda database, facts, sqlstate: None
    #: finds the pool of a session on a backend, or makes it
    open_pool: Callable[[Session, str], Awaitable[Pool]]
    #: who counts how reads are answered while a migration moves them; None: nobody ever does
    read_traffic: ReadTraffic | None = None
    #: looks at a server that behaves as if it were dead
    suspect: Callable[[str, str], None] = lambda backend, reason: None
    counters: RouteCounters = field(factory=RouteCounters)

    def manner_of(self, session: RoutedClient) -> Manner:
        """What a session's settings say now. Labels are never changed but replaced, and so are policies."""
        known, label = session.manner, session.virtual.state.now.wanted
        if (
            known is None
            or known.label is not label
            or known.configured is not self.policy
            or known.destination is not session.destination
        ):
            known = session.manner = self._read_manner(session, label)
        return known

    def _read_manner(self, session: RoutedClient, label: Label) -> Manner:
        wished = wish_of_settings(label, self.nodes.topology.nodes)
        return Manner(
            label=label,
            configured=self.policy,
            destination=session.destination,
            tenant=self.tenant_of(session.virtual),
            wish=wished.wish,
            ignored=wished.ignored,
            must_write=settings_must_write(label),
            policy=self.by_sync_mode.get(label.get(SYNC_MODE, "").lower(), self.policy),
        )

    def question(self, session: RoutedClient, asked: Asked, now: float) -> Question:
        """What must be known of a request to decide, but for what its session has written."""
        manner, virtual = self.manner_of(session), session.virtual
        wish, texts, source = manner.wish, asked.texts, asked.source
        self.counters.hints_ignored += manner.ignored
        if self.hints and (hints := hints_of(source)) is not NO_HINTS:
            wish = self._hinted(hints, wish)
        alone = len(texts) == 1
        return Question(
            session=virtual.id,
            user=virtual.user,
            database=virtual.database,
            tenant=manner.tenant,
            must_write=self.why_writer(session, asked, wish),
            statements=texts[0].statements
            if alone
            else [each for facts in texts for each in facts.statements],
            wish=wish,
            text=source if alone else b"",
            flushed=manner.policy.flushed,
            now=now,
        )

    def _hinted(self, hints: Hints, wish: Wish) -> Wish:
        """What the client asks for; what makes no sense in a hint is ignored, and counted."""
        hinted = wish_of_hints(hints, self.nodes.topology.nodes)
        self.counters.hints_ignored += hinted.ignored
        return hinted.wish.over(wish)

    def why_writer(self, session: RoutedClient, asked: Asked, wish: Wish = ANYTHING) -> str:
        """Why a request goes to the server that takes writes; empty: any will do."""
        if not asked.texts:
            return "nobody knows what it does"
        wished = wish.route not in (None, PRIMARY, NEAREST)
        for facts in asked.texts:
            if facts.must_write and (reason := must_write(facts, self.safe, wished=wished)):
                return reason
        if reason := self.manner_of(session).must_write:
            return reason
        if self.learned is not None and len(self.learned):
            for facts in asked.texts:
                if facts.fingerprint and self.learned.writes(session.destination.database, facts.fingerprint):
                    return "a standby has refused it before"
        return ""

    def policy_of(self, session: RoutedClient) -> RoutePolicy:
        """What holds for a session."""
        return self.manner_of(session).policy

    def wants_own_writes(self, session: RoutedClient, question: Question) -> bool:
        """Whether a standby must have what the session has written."""
        consistency = question.wish.consistency or self.policy_of(session).consistency
        return self.freshness is not None and consistency is not Consistency.EVENTUAL

    def may_read_elsewhere(self, question: Question) -> bool:
        """Whether there is anything to decide."""
        return self.policy.routes and not question.must_write and question.wish.route != PRIMARY

    def decide(self, session: RoutedClient, question: Question) -> Decision:
        """Where it goes."""
        return self.decider.decide(question, self.nodes.of(session.destination.backend.name))

    def explain(self, session: RoutedClient, question: Question) -> Decision:
        """The same, and how that came about."""
        return self.decider.explain(question, self.nodes.of(session.destination.backend.name))

    def shall_be_waited_for(self, session: RoutedClient, question: Question, decision: Decision) -> bool:
        """Whether a standby would be better than what was decided, if it only had what the session has written."""
        floor, freshness = question.floor, self.freshness
        if floor is None or freshness is None:
            return False
        if not self.policy_of(session).wait_for_standby:
            return decision.fell_back
        wanted = self.wanted(session, question)
        return wanted is not None and not freshness.has(wanted, floor, flushed=question.flushed)

    def wanted(self, session: RoutedClient, question: Question) -> str | None:
        """The standby that would serve a read if it had what the session has written; None: it is none."""
        name = self.decide(session, evolve(question, floor=None)).backend
        return None if name == session.destination.backend.name else name

    def late_standbys(self, session: RoutedClient, question: Question) -> Sequence[str]:
        """Names of standbys that would do but for what the session has written, which they might have by now."""
        anyhow = evolve(question, floor=None)
        nodes = self.nodes.of(session.destination.backend.name)
        return [node.name for node in nodes if node.standby and not self.decider.refuses(anyhow, node)]

    def pool_of(self, session: RoutedClient, backend: str) -> Pool | None:
        """The pool where a session gets connections to a backend; None: it must be opened first."""
        destination = session.destination
        if backend == destination.backend.name:
            return session.pool
        keys = self.manner_of(session).pool_keys
        key = keys.get(backend)
        if key is None:
            key = keys[backend] = evolve(destination.key, backend=backend)
        return self.pools.find(key)
