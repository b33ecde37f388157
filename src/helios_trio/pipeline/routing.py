"""The ports of routing: what is asked about a request, what is known of the servers, and who has a say.

A `Question` is put once for each transaction or single request, when its session needs a server connection. `Filter`s
refuse servers, each with a reason; `Preference`s narrow down what is left, never to nothing; a `Strategy` takes one of
the rest. All of them are pure and synchronous: they look at `Node`s, which are pictures of the servers at that moment.
Features contribute them and do not know each other.

Used by: features (implement), routing core (asks).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from attrs import define, field, frozen

from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.freshness import Floor
from helios_trio.sql.facts import StatementFacts


class Consistency(StrEnum):
    """How fresh the data must be that a request reads."""

    #: only the server that takes writes knows
    STRONG = "strong"
    #: whatever this session has written itself must be there (rule 34)
    READ_YOUR_WRITES = "ryw"
    #: any state that was once true
    EVENTUAL = "eventual"


#: Words for `Wish.route` besides the names of backends; "standby" and "replica" mean the same.
PRIMARY, STANDBY, REPLICA, NEAREST = "primary", "standby", "replica", "nearest"
ROUTE_WORDS = frozenset({PRIMARY, STANDBY, REPLICA, NEAREST})


@frozen(kw_only=True)
class Wish:
    """What a client asks for, by a hint or by `SET helios.route` and the like; None: nothing. Times in seconds."""

    route: str | None = None
    consistency: Consistency | None = None
    #: how far behind a standby may be
    max_lag: float | None = None
    #: how long to wait for a server that will do
    timeout: float | None = None

    def over(self, other: Wish) -> Wish:
        """Both together; this one counts where they differ."""
        return Wish(
            route=self.route if self.route is not None else other.route,
            consistency=self.consistency if self.consistency is not None else other.consistency,
            max_lag=self.max_lag if self.max_lag is not None else other.max_lag,
            timeout=self.timeout if self.timeout is not None else other.timeout,
        )


#: No wish at all.
ANYTHING = Wish()


@define(kw_only=True)  # not frozen, as that takes three times as long to make
class Question:
    """A request, or the beginning of a transaction, that needs a server."""

    session: int
    user: str
    database: str
    #: what rules are matched with
    tenant: str
    #: why it must go to the server that takes writes; empty: it only reads, and any server will do
    must_write: str
    statements: Sequence[StatementFacts] = ()
    wish: Wish = ANYTHING
    #: the statement as the client wrote it; empty where that is not known, or there are several
    text: bytes = b""
    #: Trio's clock, seconds
    now: float = 0.0
    #: what a standby must have replayed; None: any state will do
    floor: Floor | None = None
    #: it need only have that on disk
    flushed: bool = False


@define(kw_only=True, eq=False)
class Node:
    """One server as it is known at this moment. Times in seconds, positions in bytes of WAL."""

    backend: Backend
    #: it takes the writes
    writer: bool
    #: it says that it is in recovery, and of which data it has a copy
    standby: bool
    #: why nobody may be sent there (unreachable, drained, disabled, fenced); empty: one may
    out: str = ""
    #: end of the WAL that it has replayed; None: not known
    replayed: int | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    #: when that was seen, on Trio's clock: by now it may be as much further behind
    seen_at: float = 0.0
    #: connections that work for sessions now, and how many there may be
    active: int = 0
    limit: int = 0
    #: smoothed time of a query; None: none was seen yet
    latency: float | None = None

    @property
    def name(self) -> str:
        """Of its backend."""
        return self.backend.name


class Filter(Protocol):
    """Says which servers must not serve a request."""

    #: one word, shown by EXPLAIN (ROUTE)
    name: str
    #: it looks at the servers only: what it says of one read it says of all, until there are other pictures of them
    lasting: bool

    def concerns(self, question: Question) -> bool:
        """Whether it may refuse a server for this question now; cheaper than to have it look at all of them."""

    def refuses(self, question: Question, node: Node) -> str:
        """Why not this one; empty: nothing against it."""


class Preference(Protocol):
    """Says which of several servers that would do are better."""

    name: str

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """Those that are better, or all of them; never none of at least one."""


class Strategy(Protocol):
    """Takes one of several servers that are equally good."""

    name: str

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        """One of at least one."""


@frozen(kw_only=True)
class Step:
    """What one filter, preference or strategy did: which servers it left, and why others fell out."""

    by: str
    left: tuple[str, ...]
    removed: dict[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Decision:
    """Where a request goes, and how that came about."""

    #: the backend's name; None: no server is left
    backend: str | None
    #: a standby was wanted and the server that takes writes has to do
    fell_back: bool = False
    steps: tuple[Step, ...] = ()
