"""What a migration works with, given by the constructor: the sessions, where they are placed, how servers do.

Used by: migration.migration, migration.movement, migration.orchestrator; composition.moving (makes it).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import trio
from attrs import define, field

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.read_shares import ReadShares
from helios_trio.cluster.topology import Topology
from helios_trio.config.migration import SessionMigration
from helios_trio.migration.checks import Tolerance
from helios_trio.migration.events import EventLog
from helios_trio.migration.examination import Examiner
from helios_trio.migration.figures import ReadTraffic, Traffic
from helios_trio.migration.switchover_steps import SwitchoverOrder, SwitchoverReport, SwitchoverStatus
from helios_trio.pipeline.fleet import Fleet, MoveOrder, OnTimeout


class Switchover(Protocol):
    """Makes a standby the primary and takes all sessions there (`migration.switchover`)."""

    async def run(self, order: SwitchoverOrder) -> SwitchoverReport:
        """Carry it out. Raises OrderRefused: nothing has been begun."""

    def give_up(self) -> bool:
        """Go back, if there still is a way back; returns whether there is."""

    def status(self) -> SwitchoverStatus | None:
        """The one under way, else the last one; None when there was none."""


@define(kw_only=True)
class Means:
    """What all migrations of this process share."""

    fleet: Fleet
    placement: Placement
    topology: Topology
    examiner: Examiner
    traffic: Traffic
    events: EventLog
    settings: SessionMigration
    #: None: there is nothing to switch over to
    switchover: Switchover | None
    #: seconds since 1970 (UTC)
    clock: Callable[[], float]
    #: whose reads go to a standby before the writes do, and how these reads do
    read_shares: ReadShares = field(factory=ReadShares)
    read_traffic: ReadTraffic = field(init=False)
    #: sessions that may still be moved at the same time
    slots: trio.Semaphore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.read_traffic = ReadTraffic(self.read_shares)
        self.slots = trio.Semaphore(self.settings.max_concurrent_migrations)

    def reconfigure(self, settings: SessionMigration) -> None:
        """Take over other settings, for what begins from now on."""
        if settings.max_concurrent_migrations != self.settings.max_concurrent_migrations:
            self.slots = trio.Semaphore(settings.max_concurrent_migrations)
        self.settings = settings

    @property
    def now(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.clock(), UTC)

    @property
    def tolerance(self) -> Tolerance:
        """How much worse than its source a target may do, by the configuration."""
        settings = self.settings
        return Tolerance(
            p99_factor=settings.max_p99_factor,
            error_rate_increase=settings.max_error_rate_increase,
            min_queries=settings.min_compared_queries,
        )

    def move_order(self, target: str, *, allow_older: bool = False) -> MoveOrder:
        """How a session is moved to that backend, by the configuration."""
        settings = self.settings
        return MoveOrder(
            target=target,
            time_limit=settings.max_migration_time_per_session,
            on_timeout=OnTimeout(settings.on_timeout.value),
            preserve=frozenset(str(each) for each in settings.preserved),
            max_state_size=settings.max_state_size,
            same_data=True,
            allow_older=allow_older,
            buffer=settings.buffer_queries_during_migration,
        )
