"""What all failovers of a process work with, given by the constructor.

Used by: failover.controller, failover.succession; composition.failing_over (makes it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from helios_trio.cluster.steward import Steward
from helios_trio.cluster.topology import Topology
from helios_trio.config.failover import FailoverSettings
from helios_trio.config.words import FailoverMode
from helios_trio.failover.alerts import Alerts
from helios_trio.failover.counters import FailoverCounters
from helios_trio.failover.examination import Examiner
from helios_trio.failover.fencing import Fencing
from helios_trio.failover.pacing import Flapping
from helios_trio.failover.redirection import Redirection
from helios_trio.failover.sessions import Sessions
from helios_trio.failover.tokens import AcknowledgedTokens, NoTokens, TokenCheck
from helios_trio.migration.events import EventLog


async def _nothing(source: str, target: str) -> None:
    await trio.lowlevel.checkpoint()


def _forget_nothing(source: str) -> None:
    """Nobody has noted anything."""


@define(kw_only=True)
class Means:
    """What failovers work with."""

    topology: Topology
    redirection: Redirection
    steward: Steward
    examiner: Examiner
    fencing: Fencing
    sessions: Sessions
    token_check: TokenCheck
    events: EventLog
    alerts: Alerts
    settings: FailoverSettings
    #: seconds since 1970 (UTC)
    clock: Callable[[], float]
    #: whether a planned switchover is under way
    switching: Callable[[], bool] = field(default=lambda: False)
    #: names of backends that are out of service
    out_of_service: Callable[[], set[str]] = field(factory=lambda: set)
    tokens: AcknowledgedTokens = field(factory=NoTokens)
    #: done on a new primary before anybody comes to it: names of the old one and the new one
    prepare: Callable[[str, str], Awaitable[None]] = field(default=_nothing)
    #: a suspect lives: what was noted for its successor is not needed
    forget: Callable[[str], None] = field(default=_forget_nothing)
    flapping: Flapping = field(factory=Flapping)
    counters: FailoverCounters = field(factory=FailoverCounters)
    #: looks at suspects that have begun; tells whether one began before or after something else
    looks: int = 0

    @property
    def promotes(self) -> bool:
        """Whether we promote standbys ourselves; otherwise somebody outside does (`Topology.appointment`)."""
        return self.settings.actions.promote_replica and self.topology.appointment is None

    @property
    def automatic(self) -> bool:
        """Whether a failover begins without an operator's order."""
        settings = self.settings
        return settings.mode is FailoverMode.AUTOMATIC and settings.triggers.connection_failure
