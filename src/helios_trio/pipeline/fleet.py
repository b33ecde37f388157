"""`Fleet`: the port through which migration, switchover and the admin room reach sessions, by id.

Sessions live in this process today and may live in other processes tomorrow: nobody reaches into a `Session` from
outside. Data classes and the protocol only; `proxy.fleet` has the sessions of this process.

Used by: proxy.fleet (implements), migration, admin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from attrs import field, frozen


class SessionState(StrEnum):
    """What a session is doing."""

    IDLE = "idle"
    ACTIVE = "active"
    IN_TRANSACTION = "idle in transaction"
    WAITING = "waiting for a connection"
    HELD = "held"
    MOVING = "moving"


@frozen(kw_only=True)
class SessionInfo:
    """One client session, as an operator sees it. `since` and `active_since`: Trio's clock, seconds."""

    id: int
    user: str
    database: str
    application_name: str
    #: what tenant rules are matched with; the application_name unless configured otherwise
    tenant: str
    client: str
    #: the proxy's end of its connection, and the version of TLS on it; empty when not known, or without TLS
    local: str = ""
    tls: str = ""
    #: name of the backend it belongs to, whether it has a connection there now or not
    backend: str
    #: the backend where it would be without any move or diversion; empty when that is not known
    home: str = ""
    #: pid of its server process; None while it has none
    server_pid: int | None
    mode: str
    state: SessionState
    since: float
    active_since: float
    #: why it keeps its server connection between transactions: what -> how many
    pins: Mapping[str, int] = field(factory=dict)
    #: why it could not move now; empty when it could
    immovable: tuple[str, ...] = ()
    #: settings, prepared statements, channels ... -> how many
    sizes: Mapping[str, int] = field(factory=dict)


class OnTimeout(StrEnum):
    """What becomes of a session that has not reached a safe point in time."""

    SKIP = "skip"
    ABORT_TRANSACTION = "abort_transaction"
    TERMINATE = "terminate"


class MoveOutcome(StrEnum):
    """How an attempt to move a session ended."""

    MOVED = "moved"
    #: it is where it was: something it has cannot be carried (`reasons`)
    PINNED = "pinned"
    #: it is where it was: no safe point in time
    BUSY = "busy"
    #: it is where it was: an error on the way (`reasons`)
    FAILED = "failed"
    #: an error after the point of no return: the client has got FATAL 57P01
    LOST = "lost"
    #: ended by `OnTimeout.TERMINATE`
    TERMINATED = "terminated"
    #: the client left before it was moved
    GONE = "gone"


@frozen(kw_only=True)
class MoveOrder:
    """How a session is to be moved. Times in seconds, sizes in bytes."""

    target: str
    #: until the whole must be done, the wait for a safe point included
    time_limit: float = 30.0
    on_timeout: OnTimeout = OnTimeout.SKIP
    #: kinds of state that may be carried (config: preserve_state); a session with another kind stays
    preserve: frozenset[str] | None = None
    max_state_size: int = 64 * 1024 * 1024
    #: both names reach the same data (rule 12: advisory locks and notifications are handed over)
    same_data: bool = True
    #: the old server is about to be given up: an error leaves no way back (rule 23, after promotion)
    no_return: bool = False
    #: a target of an older major version is allowed (rule 21)
    allow_older: bool = False
    #: what the client sends meanwhile is kept (rule 19); False: the client is not read from
    buffer: bool = True


@frozen(kw_only=True)
class MoveReport:
    """What became of it. Times in seconds, sizes in bytes."""

    session: int
    outcome: MoveOutcome
    reasons: tuple[str, ...] = ()
    #: from the order to the end, and how long the client's requests were held of that
    seconds: float = 0.0
    pause: float = 0.0
    #: what was carried: kind -> how many
    carried: Mapping[str, int] = field(factory=dict)
    #: what capture found on the server that tracking had missed: kind -> how many (rule 8)
    missed: Mapping[str, int] = field(factory=dict)
    state_size: int = 0
    #: how often the client has sent something that was kept meanwhile
    buffered: int = 0


@frozen(kw_only=True)
class HoldReport:
    """Sessions that are held at a safe point, and those that could not be: id -> why."""

    held: Sequence[int]
    busy: Mapping[int, str]


class Fleet(Protocol):
    """All sessions there are."""

    def sessions(self) -> Sequence[SessionInfo]:
        """A picture of all of them."""

    def session(self, id: int) -> SessionInfo | None:
        """One of them; None when there is none of that id."""

    def on_backend(self, backend: str) -> Sequence[int]:
        """Ids of the sessions that belong to a backend."""

    async def move(self, id: int, order: MoveOrder) -> MoveReport:
        """Move a session to another backend; says what became of it. Cancelling leaves the session in one piece."""

    async def hold(self, backend: str, *, time_limit: float) -> HoldReport:
        """Let no session of a backend begin anything new; returns when all are at a safe point or time is over.

        What clients send meanwhile is buffered (rules 19 and 37); those who connect wait. Sessions that are busy go on
        to be held as soon as they can be.
        """

    async def release(self, backend: str, *, concurrency: int) -> None:
        """Let held sessions go on, so many at a time; those that have been moved go on on their new backend."""

    def terminate(self, id: int, reason: str) -> bool:
        """End a session with FATAL 57P01; False when there is none of that id."""

    async def warm(self, source: str, target: str, *, time_limit: float) -> int:
        """Have connections opened on the target for sessions of the source, as many as needed; returns how many."""
