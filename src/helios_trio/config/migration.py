"""`[session_migration]` and `[switchover_buffer]`: how sessions are moved, and what is kept of clients meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from attrs import frozen

from helios_trio.config.keys import REQUIRED, key, tables
from helios_trio.config.kinds import Bytes, Count, Lapse, Percent, PositiveCount, Seconds, Switch, Weight
from helios_trio.config.words import (
    Leftovers,
    LeftoversWord,
    MigrationMode,
    MigrationModeWord,
    StateKind,
    StateKinds,
    TempTableSnapshots,
    TempTableSnapshotsWord,
    WhenOverdue,
    WhenOverdueWord,
    WhenUnhealthy,
    WhenUnhealthyWord,
)

_ALL: Final = 100.0


@frozen(kw_only=True)
class GradualPhase:
    """One phase of a gradual migration. Without any: 10 % for 5m, 50 % for 10m, then all."""

    traffic_percent: Percent = key(
        REQUIRED, "share of the sessions that belong to the target from this phase on", example=10
    )
    duration: Lapse = key(0.0, "how long this phase lasts at least before the next is judged")


#: Used where the configuration and the order for a migration name none.
DEFAULT_PHASES: Final = (
    GradualPhase(traffic_percent=10.0, duration=300.0),
    GradualPhase(traffic_percent=50.0, duration=600.0),
    GradualPhase(traffic_percent=_ALL),
)


def what_is_wrong_with(percents: Sequence[float]) -> str:
    """Why these shares make no sequence of phases; empty when they do."""
    if any(later <= earlier for earlier, later in pairwise(percents)):
        return "percentages that rise from phase to phase"
    if percents and percents[-1] != _ALL:
        return "100 in the last phase"
    return ""


@frozen(kw_only=True)
class SessionMigration:
    """How sessions are moved from one backend to another while their clients stay connected."""

    enabled: Switch = key(True, "whether sessions can be moved at all", live=False)
    migration_mode: MigrationModeWord = key(
        MigrationMode.GRADUAL,
        "gradual goes through the phases, immediate moves all at once, manual waits for resume after each phase",
    )
    preserve_state: StateKinds = key(
        frozenset(StateKind), "kinds of state that are carried; a session with another kind stays where it is"
    )
    migrate_temp_tables: Switch = key(
        True, "false: sessions with temporary tables stay where they are, whatever preserve_state says"
    )
    temp_table_snapshots: TempTableSnapshotsWord = key(
        TempTableSnapshots.OFF,
        "no copies of temporary tables are kept in the proxy; this version knows no other",
    )
    wait_for_transaction_boundary: Switch = key(
        True,
        "an open transaction is waited for, up to max_migration_time_per_session; false: a session that is in one is "
        "passed over, and tried again later",
    )
    max_migration_time_per_session: Seconds = key(
        30.0, "from the decision to move a session until it is done, the wait for its transaction included"
    )
    on_timeout: WhenOverdueWord = key(
        WhenOverdue.SKIP,
        "what becomes of a session whose transaction has not ended by then: skip tries it again later, "
        "abort_transaction rolls it back, terminate ends the session with 57P01",
    )
    buffer_queries_during_migration: Switch = key(
        True,
        "keep what a client sends while it is moved; false: it is not read from, and its own socket buffers",
    )
    max_concurrent_migrations: PositiveCount = key(32, "sessions that are being moved at the same time")
    max_sessions: PositiveCount = key(10000, "a backend with more sessions than that is not migrated")
    max_state_size: Bytes = key(64 * 1024 * 1024, "a session with more state than that stays where it is")
    leftovers: LeftoversWord = key(
        Leftovers.WAIT,
        "sessions that cannot be moved when all others have been: wait for them, leave them where they are, or "
        "terminate them with 57P01",
    )
    on_unhealthy: WhenUnhealthyWord = key(
        WhenUnhealthy.PAUSE,
        "when the target fails required_checks or is worse than the source: pause, rollback or continue",
    )
    max_p99_factor: Weight = key(
        2.0,
        "the target is worse when its p99 of the time of a query is more than so many times the source's; 0: not "
        "compared",
    )
    max_error_rate_increase: Weight = key(
        0.01, "the target is worse when its share of queries that fail is higher by more than this"
    )
    min_compared_queries: Count = key(100, "queries that both must have served before they are compared")
    gradual_phases: tuple[GradualPhase, ...] = tables()

    @property
    def phases(self) -> tuple[GradualPhase, ...]:
        """The phases of the configuration, or the usual ones."""
        return self.gradual_phases or DEFAULT_PHASES

    @property
    def preserved(self) -> frozenset[StateKind]:
        """Kinds of state that are carried."""
        if self.migrate_temp_tables:
            return self.preserve_state
        return self.preserve_state - {StateKind.TEMPORARY_TABLES}


@frozen(kw_only=True)
class SwitchoverBuffer:
    """What is kept of clients that wait while a backend is exchanged; beyond it they are not read from."""

    max_requests: PositiveCount = key(10000, "requests that are kept, of all clients together")
    max_bytes: Bytes = key(64 * 1024 * 1024, "bytes that are kept, of all clients together")
    window: Seconds = key(30.0, "how long clients are kept waiting at most")
    drain_concurrency: PositiveCount = key(32, "sessions that are let go at the same time afterwards")
