"""Which servers there are, what is known of each, and which of them takes writes. Pure: time is an argument.

A server is what the configuration says it is; only one whose role is `auto` is what it says itself. What is
known stays known while a server does not answer: a primary that is down is still the place for writes, and
clients wait for it. A server that was deposed is watched, but never given a write. Where somebody outside says who is
primary (`cluster.appointment`), the servers' own word decides only whether it is so yet.

Used by: cluster.prober (tells what it saw), app (asks for the writer), migration.switchover (says who is primary
now), admin (shows it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final

from attrs import define, evolve, field

from helios_trio.cluster.appointment import Appointment, PrimaryStatus
from helios_trio.cluster.lag import Positions, lag
from helios_trio.cluster.observation import Observation, Standby
from helios_trio.pipeline.backend import Backend

#: Probes without an answer after which a server counts as down, by default. One that refuses does so at once.
TIMEOUTS_TOLERATED: Final = 3


class NodeRole(StrEnum):
    """What a server is in its cluster."""

    PRIMARY = "primary"
    STANDBY = "standby"
    UNKNOWN = "unknown"


#: The words of the configuration, and `primary` for those who make a `Backend` themselves.
_CONFIGURED: Final = {
    "primary": NodeRole.PRIMARY,
    "active": NodeRole.PRIMARY,
    "standby": NodeRole.STANDBY,
    "replica": NodeRole.STANDBY,
    "auto": NodeRole.UNKNOWN,
}


@define
class NodeState:
    """What is known of one server."""

    backend: Backend
    role: NodeRole = field(default=NodeRole.UNKNOWN, converter=NodeRole)
    #: None: not asked yet
    healthy: bool | None = None
    #: why it is not healthy, or not what the configuration says; empty when all is well
    reason: str = ""
    #: what it said when it last answered
    observed: Observation | None = None
    #: when it was last asked, on Trio's clock (seconds)
    checked_at: float | None = None
    #: when the question was put whose answer is `observed`, on the same clock
    asked_at: float = -math.inf
    #: probes without an answer since the last one with
    timeouts: int = 0
    #: why it must get no write although it may call itself primary; empty: it may
    deposed: str = ""

    @property
    def writable(self) -> bool:
        """Whether writes sent to it may succeed; True while nobody has looked."""
        return self.role is NodeRole.PRIMARY and not (self.observed and self.observed.in_recovery)

    @property
    def standing(self) -> tuple[NodeRole, bool | None, str]:
        """What is news when it changes: role, health, and why a server that answers is not what it should be.

        A server that does not answer says so in many words, by turns: who asks it anew is refused, who has asked it
        before waits in vain. Those are one and the same news.
        """
        return self.role, self.healthy, self.reason if self.healthy else ""

    def supersedes(self, other: NodeState) -> bool:
        """Whether this is a primary with newer data than another copy of the same (rule 25)."""
        return (
            self.role is NodeRole.PRIMARY
            and not self.deposed
            and self.system_identifier is not None
            and self.system_identifier == other.system_identifier
            and (self.timeline or 0) > (other.timeline or 0)
        )

    @property
    def timeline(self) -> int | None:
        """The timeline it is on, if it said so."""
        return self.observed.timeline if self.observed else None

    @property
    def system_identifier(self) -> str | None:
        """Equal for servers that hold copies of the same data; None if it has not said so."""
        return self.observed.system_identifier if self.observed else None

    @property
    def _rank(self) -> tuple[bool, bool, int]:
        """Preference among servers that hold different data, or whose data nobody has seen."""
        configured = _CONFIGURED[self.backend.role] is NodeRole.PRIMARY
        return configured, self.observed is not None, self.backend.priority

    @property
    def _rank_in_system(self) -> tuple[int, bool, int]:
        """Preference among copies of the same data: an older timeline never gets a write (rule 25)."""
        return self.timeline or 0, self.healthy is True, self.backend.priority


@define
class Topology:
    """All servers by name, in the order of the configuration."""

    nodes: dict[str, NodeState] = field(factory=dict)
    #: probes in a row without an answer after which a server counts as down
    failure_threshold: int = TIMEOUTS_TOLERATED
    #: called with the name of a server whenever something has been learned of it
    observer: Callable[[str], None] | None = None
    #: called likewise, also when an order has been given
    followers: list[Callable[[str], None]] = field(factory=list)
    #: who is primary by the word of somebody outside; None: what the servers say counts
    appointment: Appointment | None = None
    #: where the writer was, and when
    _positions: Positions = field(factory=Positions, init=False)

    @classmethod
    def of(cls, backends: Iterable[Backend]) -> Topology:
        """Nothing is known yet but what the configuration says."""
        return cls({each.name: NodeState(each, _CONFIGURED[each.role]) for each in backends})

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self.nodes.values())

    # -- questions -------------------------------------------------------------------------------------------

    @property
    def writer(self) -> NodeState | None:
        """Where writes go, healthy or not; while no primary is known, a server whose role nobody knows.

        None when all servers are known to be standbys, or are deposed. Where somebody outside says who is primary:
        that one, once it is confirmed.
        """
        if self.appointment is not None:
            return self._appointed(self.appointment)
        eligible = [node for node in self if not node.deposed]
        primaries = [node for node in eligible if node.role is NodeRole.PRIMARY]
        if not primaries:
            unknown = (node for node in eligible if node.role is NodeRole.UNKNOWN)
            return max(unknown, key=lambda node: node._rank, default=None)
        first = max(primaries, key=lambda node: node._rank)
        if first.system_identifier is None:
            return first
        copies = (node for node in primaries if node.system_identifier == first.system_identifier)
        return max(copies, key=lambda node: node._rank_in_system)

    def _appointed(self, appointment: Appointment) -> NodeState | None:
        """The one that is confirmed, unless another has newer data, whatever anybody says (rule 25)."""
        node = self.nodes.get(appointment.confirmed or "")
        if node is None or node.deposed:
            return None
        return None if any(each.supersedes(node) for each in self) else node

    @property
    def primary_name(self) -> str | None:
        """The server that is primary, or is about to be."""
        if self.appointment is not None:
            return self.appointment.name
        return None if self.writer is None else self.writer.backend.name

    @property
    def primary_status(self) -> PrimaryStatus:
        """How far it is with the primary; confirmed by itself, unless somebody outside says who it is."""
        if self.appointment is not None:
            return self.appointment.status
        writer = self.writer
        if writer is None:
            return PrimaryStatus.NONE
        return PrimaryStatus.CONFIRMED if writer.observed and writer.writable else PrimaryStatus.PENDING

    @property
    def ready(self) -> bool:
        """Whether writes can be served now: the writer answers and takes them."""
        writer = self.writer
        return writer is not None and writer.healthy is True and writer.writable

    def lag_bytes(self, node: NodeState) -> int | None:
        """Bytes of WAL that a standby has not replayed of what its primary had when last asked.

        None when that cannot be known: not a standby, or no primary of the same data has said where it is.
        The two were not asked at the same moment, so this is exact to what is written between two probes.
        """
        seen, writer = node.observed, self.writer
        if seen is None or seen.replayed is None or writer is None or writer.observed is None:
            return None
        if writer.observed.position is None or writer.system_identifier != node.system_identifier:
            return None
        return max(0, writer.observed.position - seen.replayed)

    def lag_seconds(self, node: NodeState) -> float | None:
        """Seconds that a standby is behind; None when unknown, or not a standby. See `cluster.lag`."""
        return None if node.observed is None else self.lag_of(node.observed, node.asked_at)

    def lag_of(self, seen: Observation, asked_at: float) -> float | None:
        """The same of an answer to a question put at that time (Trio's clock)."""
        if seen.replayed is None or seen.system_identifier != self._positions.system_identifier:
            return seen.lag_seconds
        return lag(seen.lag_seconds, self._positions.bound(seen.replayed, asked_at))

    def seen_by_primary(self, node: NodeState) -> Standby | None:
        """A standby as its primary saw it when last asked; None: not connected there, or nobody tells."""
        writer, seen = self.writer, node.observed
        if writer is None or writer.observed is None or seen is None:
            return None
        names = {seen.standby_name, node.backend.name} - {None}
        return next((each for each in writer.observed.standbys if each.name in names), None)

    # -- news ------------------------------------------------------------------------------------------------

    def note_answer(self, name: str, seen: Observation, now: float, asked_at: float | None = None) -> bool:
        """A server has answered a probe; returns whether that is news (`NodeState.standing`).

        An answer to a question put before that of the last answer is overtaken news, and ignored: a probe under way
        while a standby is promoted would make it a standby again. `asked_at`: when it was put; default: just now.
        """
        node = self.nodes[name]
        asked_at = now if asked_at is None else asked_at
        if asked_at < node.asked_at:
            return False
        before = node.standing
        if seen.standby_name is None and node.observed is not None:
            # without its primary a standby has no name, but is still the one that had it
            seen = evolve(seen, standby_name=node.observed.standby_name)
        node.observed, node.checked_at, node.asked_at = seen, now, asked_at
        node.healthy, node.timeouts = True, 0
        asked = NodeRole.STANDBY if seen.in_recovery else NodeRole.PRIMARY
        configured = NodeRole.UNKNOWN if self.appointment is not None else _CONFIGURED[node.backend.role]
        node.role = asked if configured is NodeRole.UNKNOWN else configured
        node.reason = "" if node.role is asked else f"configured as {node.backend.role}, but it is a {asked}"
        if node is self.writer and not seen.in_recovery and seen.position is not None:
            self._positions.note(seen.position, asked_at, seen.system_identifier)
        self._tell(name)
        return node.standing != before

    def note_failure(self, name: str, reason: str, now: float) -> bool:
        """A server cannot be reached or does not let us ask; returns as `note_answer` does."""
        node = self.nodes[name]
        before = node.standing
        node.checked_at = now
        node.healthy, node.reason = False, reason
        self._tell(name)
        return node.standing != before

    def note_timeout(self, name: str, reason: str, now: float) -> bool:
        """A server has not answered in time, as busy ones do now and then; returns as `note_answer` does."""
        node = self.nodes[name]
        node.timeouts += 1
        if node.healthy is True and node.timeouts < self.failure_threshold:
            node.checked_at = now
            self._tell(name)
            return False
        return self.note_failure(name, reason, now)

    def _tell(self, name: str) -> None:
        if self.observer is not None:
            self.observer(name)
        self._follow(name)

    def _follow(self, name: str) -> None:
        for follower in self.followers:
            follower(name)

    # -- orders ----------------------------------------------------------------------------------------------

    def depose(self, name: str, reason: str) -> None:
        """Give a server no write from now on, whatever it says of itself."""
        self.nodes[name].deposed = reason
        self._follow(name)

    def reinstate(self, name: str) -> None:
        """A server is again what it says it is."""
        self.nodes[name].deposed = ""
        self._follow(name)

    # -- who is primary, by the word of somebody outside -------------------------------------------------------

    def appoint(self, name: str) -> bool:
        """A server is said to be the primary; returns whether that is news. Only with an `appointment`."""
        assert self.appointment is not None
        news = self.appointment.appoint(name)
        self._follow(name)
        return news

    def confirm(self, name: str) -> None:
        """It gets the writes. Raises AppointmentRefused."""
        assert self.appointment is not None
        self.appointment.confirm(name)
        self._follow(name)

    def dismiss(self) -> bool:
        """Nobody is primary; returns whether that is news."""
        assert self.appointment is not None
        name = self.appointment.name
        news = self.appointment.clear()
        if name is not None:
            self._follow(name)
        return news
