"""Who gets which server connection: decided synchronously, without a socket, a clock or a task.

One planner per pool, that is per (backend, database, user). It knows slots (server connections, in exactly one status
each, moved by one function) and tickets (sessions that wait, first come first served), and answers every event with
what is to be done. `pool.pool` does it. After httpcore's connection pool: assign first, act afterwards.

Used by: pool.pool; tests drive it with random events.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Set
from enum import Enum
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from attrs import define, field, frozen

from helios_trio.errors import TooManyConnections

#: Settings a connection was opened with. In session mode only an equal one will do.
Variant = Mapping[str, str]


class SlotStatus(Enum):
    """Where a server connection is. `SHOW SERVERS` of PgBouncer has the same words where they mean the same."""

    NEW = "new"
    IDLE = "idle"
    ACTIVE = "active"
    #: reset query or a cancel under way: not to be handed on yet
    BUSY = "busy"
    CLOSED = "closed"


# The members by themselves: looking them up in their class costs as much as a call (Python 3.11), per query.
_IDLE: Final = SlotStatus.IDLE
_ACTIVE: Final = SlotStatus.ACTIVE
_CLOSED: Final = SlotStatus.CLOSED


class Claim(Protocol):
    """What a session wants of a server connection."""

    @property
    def variant(self) -> Variant:
        """Start-up settings of the client."""

    @property
    def label(self) -> Variant:
        """Settings as they are now."""

    @property
    def exact(self) -> bool:
        """Only a connection opened with the same settings will do, also in a shared mode."""

    @property
    def placeholders(self) -> Set[str]:
        """Names of settings with a dot that the session has ever set."""


class Slot(Protocol):
    """What the planner must know of a server connection."""

    status: SlotStatus
    variant: Variant
    opened_at: float
    idle_since: float

    @property
    def label(self) -> Variant:
        """Settings it carries."""

    @property
    def placeholders(self) -> Set[str]:
        """Settings with a dot that were ever set on it; only who set them too may have it (rule 7)."""


S = TypeVar("S", bound=Slot)

#: How many idle connections are compared with the settings of a session before any that may be had is taken.
_LABELS_COMPARED: Final = 8


@define(eq=False)
class Ticket(Generic[S]):
    """One session waiting for a server connection."""

    claim: Claim
    #: when it gives up, on the pool's clock (seconds)
    deadline: float
    granted: Callable[[S], None]
    refused: Callable[[Exception], None]
    #: another server would do, too: refused as soon as this one cannot be reached
    elsewhere: bool = False
    waiting_since: float = 0.0
    done: bool = False


@frozen
class PoolLimits:
    """Limits of one pool. Times in seconds; infinity is none."""

    max_connections: int
    min_connections: int = 0
    max_connecting: int = 4
    queue_max: int = 10_000
    idle_timeout: float = float("inf")
    max_lifetime: float = float("inf")
    #: connections opened ahead for a variant in demand when used ones are not reused
    spare_max: int = 8


@define(eq=False)
class Planner(Generic[S]):
    """The connections of one pool and those who wait for them."""

    limits: PoolLimits
    #: any idle connection will do (transaction and statement mode)
    shared: bool
    slots: set[S] = field(factory=set)
    waiting: deque[Ticket[S]] = field(factory=deque)
    connecting: Counter[frozenset[tuple[str, str]]] = field(factory=Counter)
    #: variant -> how many to keep ready, when used connections are not reused
    spare: dict[frozenset[tuple[str, str]], int] = field(factory=dict)
    variants: dict[frozenset[tuple[str, str]], Variant] = field(factory=dict)
    _idle: dict[S, None] = field(factory=dict)

    # -- counting ----------------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Server connections that exist or are being opened."""
        return len(self.slots) + self.connecting.total()

    @property
    def idle(self) -> int:
        """Server connections that nobody uses."""
        return len(self._idle)

    def idle_slots(self) -> Iterator[S]:
        """Those that nobody uses, longest unused first."""
        return iter(tuple(self._idle))

    # -- events ------------------------------------------------------------------------------------------------

    def take_nowait(self, claim: Claim) -> S | None:
        """An idle connection, unless somebody has been waiting for one longer."""
        if not self._idle:
            return None
        slot = self._choose(claim)
        if slot is not None and self.waiting and any(self._fits(slot, each.claim) for each in self.waiting):
            return None
        if slot is not None:
            self.move(slot, _ACTIVE)
        return slot

    def take_again_nowait(self, slot: S) -> bool:
        """Take a certain idle connection, unless somebody has been waiting."""
        if self.waiting or slot.status is not _IDLE:
            return False
        del self._idle[slot]
        slot.status = _ACTIVE
        return True

    def wait(self, ticket: Ticket[S]) -> None:
        """Queue a session. Raises TooManyConnections when the queue is full (rule 37)."""
        if len(self.waiting) >= self.limits.queue_max:
            raise TooManyConnections(
                "too many clients are waiting for a server connection",
                hint="Retry later, or raise pool.max_connections.",
            )
        self.waiting.append(ticket)

    def withdraw(self, ticket: Ticket[S]) -> None:
        """The session does not wait any more."""
        ticket.done = True
        try:
            self.waiting.remove(ticket)
        except ValueError:
            pass

    def give_back(self, slot: S, now: float, *, reusable: bool = True) -> Ticket[S] | None:
        """A connection is free: returns who gets it, None when nobody does; look at its status (IDLE or CLOSED)."""
        limits = self.limits
        if (
            not reusable
            or now - slot.opened_at >= limits.max_lifetime
            or len(self.slots) > limits.max_connections  # the limit was lowered
        ):
            self.move(slot, _CLOSED)
            return None
        slot.idle_since = now
        if not self.waiting and slot.status is _ACTIVE:
            slot.status = _IDLE
            self._idle[slot] = None
            return None
        ticket = self._next_for(slot) if self.waiting else None
        self.move(slot, _IDLE if ticket is None else _ACTIVE)
        return ticket

    def opened(self, slot: S, variant: Variant, now: float) -> Ticket[S] | None:
        """A connection that `to_open` asked for is there."""
        self._connecting_less(variant)
        self.slots.add(slot)
        return self.give_back(slot, now)

    def open_failed(self, variant: Variant) -> None:
        """A connection that `to_open` asked for could not be had."""
        self._connecting_less(variant)

    def to_open(self, room: int) -> list[Variant]:
        """Variants of connections to open now; each counts as connecting from here. `room`: the backend's limit."""
        found: list[Variant] = []
        room = min(room, self.limits.max_connections - self.total)
        parallel = self.limits.max_connecting - self.connecting.total()
        if min(room, parallel) <= 0:
            return found
        for variant in self._demand():
            if len(found) >= min(room, parallel):
                break
            self.connecting[_key(variant)] += 1
            found.append(variant)
        return found

    def to_evict(self) -> S | None:
        """An idle connection that stands in the way: the pool is full, and none that is idle suits who waits."""
        if not self._idle or self.total < self.limits.max_connections or self.connecting:
            return None
        if next(iter(self._demand()), None) is None:
            return None
        return next(iter(self._idle))

    def expired(self, now: float) -> list[S]:
        """Idle connections past their time; the minimum is kept, except by those past their lifetime."""
        old = [slot for slot in self._idle if now - slot.opened_at >= self.limits.max_lifetime]
        unused = [
            slot
            for slot in self._idle
            if slot not in old and now - slot.idle_since >= self.limits.idle_timeout
        ]
        keep = max(0, self.limits.min_connections - (self.total - len(old) - len(unused)))
        if unused:
            self.spare.clear()
        return old + unused[: max(0, len(unused) - keep)]

    def overdue(self, now: float) -> list[Ticket[S]]:
        """Tickets whose deadline has passed; they are out of the queue."""
        late = [ticket for ticket in self.waiting if ticket.deadline <= now]
        for ticket in late:
            self.withdraw(ticket)
        return late

    def next_deadline(self) -> float:
        """When the first waiting session gives up; infinity when nobody waits."""
        return min((ticket.deadline for ticket in self.waiting), default=float("inf"))

    def want_spare(self, variant: Variant) -> None:
        """Somebody had to wait for a fresh connection of this variant: keep more of them ready."""
        key = _key(variant)
        self.variants[key] = variant
        self.spare[key] = min(self.spare.get(key, 0) + 1, self.limits.spare_max)

    def keep_ready(self, variant: Variant, count: int) -> None:
        """Keep so many of this variant idle, until they have not been wanted for the idle time."""
        key = _key(variant)
        self.variants[key] = variant
        self.spare[key] = max(self.spare.get(key, 0), count)

    def keep_no_longer(self, variant: Variant) -> None:
        """Those that are idle stay for their time; no more are opened."""
        self.spare.pop(_key(variant), None)

    def move(self, slot: S, status: SlotStatus) -> None:
        """THE way a connection changes its status: it is in exactly one list."""
        if slot.status is _IDLE:
            del self._idle[slot]
        slot.status = status
        if status is _IDLE:
            self._idle[slot] = None
        elif status is _CLOSED:
            self.slots.discard(slot)

    # -- decisions ---------------------------------------------------------------------------------------------

    def _choose(self, claim: Claim) -> S | None:
        """The last used connection is warmest; one that carries the session's settings already is better still."""
        last = next(reversed(self._idle))
        if last.label is claim.label and self._fits(last, claim):
            return last
        some: S | None = None
        looked_at = 0
        for slot in reversed(self._idle):
            if self._fits(slot, claim):
                if slot.label == claim.label:
                    return slot
                some = some or slot
                looked_at += 1
                if looked_at == _LABELS_COMPARED:
                    break
        return some

    def _fits(self, slot: S, claim: Claim) -> bool:
        """Whether the session may have the connection at all.

        One opened with start-up settings cannot be brought back to the server's defaults, so it is only for clients
        who asked for the same.
        """
        if slot.placeholders and not slot.placeholders <= claim.placeholders:
            return False
        if self.shared and not claim.exact and not slot.variant:
            return True
        return slot.variant == claim.variant

    def _next_for(self, slot: S) -> Ticket[S] | None:
        """The session that has waited longest of those who may have the connection."""
        for ticket in self.waiting:
            if self._fits(slot, ticket.claim):
                self.waiting.remove(ticket)
                return ticket
        return None

    def _demand(self) -> Iterator[Variant]:
        """Variants that more connections are wanted of: those waiting, then the minimum, then spares."""
        if self.shared:
            yield from self._shared_demand()
        else:
            coming = Counter(self.connecting)
            for ticket in self.waiting:
                key = _key(ticket.claim.variant)
                if coming[key] > 0:
                    coming[key] -= 1
                else:
                    yield ticket.claim.variant
            yield from self._spares()

    def _shared_demand(self) -> Iterator[Variant]:
        for ticket in islice(self.waiting, self.connecting.total(), None):
            yield ticket.claim.variant if ticket.claim.exact else {}
        for _ in range(self.limits.min_connections - self.total):
            yield {}
        yield from self._spares()

    def _spares(self) -> Iterator[Variant]:
        ready = Counter(_key(slot.variant) for slot in self._idle) + self.connecting
        for key, wanted in self.spare.items():
            for _ in range(wanted - ready[key]):
                yield self.variants[key]

    def _connecting_less(self, variant: Variant) -> None:
        key = _key(variant)
        self.connecting[key] -= 1
        if self.connecting[key] <= 0:
            del self.connecting[key]


def _key(variant: Variant) -> frozenset[tuple[str, str]]:
    return frozenset(variant.items())
