"""What there is to see of a migration, while it runs and afterwards: the answer of the API, made from the migration.

Used by: admin.migrations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import trio
from attrs import frozen

from helios_trio.migration.figures import Figures
from helios_trio.migration.judge import PhaseFigures
from helios_trio.migration.ledger import Staying
from helios_trio.migration.migration import Migration
from helios_trio.migration.orders import DataMode, MigrationOrder
from helios_trio.migration.phases import ALL, estimated_end
from helios_trio.migration.records import Change
from helios_trio.migration.states import TABLE, State, Turn
from helios_trio.pipeline.fleet import MoveOutcome


@frozen(kw_only=True)
class PhaseStatus:
    """The phase a migration is in, or was in last."""

    #: counted from 1
    number: int
    of: int
    traffic_percent: float
    duration_seconds: float
    remaining_seconds: float


@frozen(kw_only=True)
class StayingSession:
    """A session that could not be moved yet, and why."""

    id: int
    reason: str
    attempts: int


@frozen(kw_only=True)
class MovingSession:
    """A session that is being moved now, or waited for."""

    id: int
    seconds: float


@frozen(kw_only=True)
class SidePerformance:
    """How one of the two backends does; null is unknown."""

    queries: int
    p99_ms: float | None
    error_rate: float | None


@frozen(kw_only=True)
class PerformanceComparison:
    """The source since the migration began, and the target since the phase began; over a standby: their reads."""

    source: SidePerformance
    target: SidePerformance


@frozen(kw_only=True)
class PhasePerformance:
    """The same comparison, at the end of a phase that is over."""

    traffic_percent: float
    source: SidePerformance
    target: SidePerformance


@frozen(kw_only=True)
class MigrationStatus:
    """One migration."""

    migration_id: int
    status: State
    #: why it is in this state
    status_reason: str
    source: str
    target: str
    mode: str
    data: str
    tenant_filter: tuple[str, ...]
    share_of: str
    leftovers: str
    ordered_by: str
    reason: str
    current_phase: PhaseStatus
    #: share of the source's new and present sessions that belong to each backend, in percent; over a standby: of the
    #: sessions whose reads go there
    traffic_allocation: Mapping[str, float]
    #: the same of what writes: over a standby all of it goes to the source until the switchover
    write_allocation: Mapping[str, float]
    #: null when it is not under way
    estimated_completion: datetime | None
    scheduled_for: datetime | None
    sessions_migrated: int
    sessions_remaining: int
    sessions_moving: tuple[MovingSession, ...]
    sessions_pinned: tuple[StayingSession, ...]
    #: in transactions that are waited for
    sessions_busy: tuple[StayingSession, ...]
    sessions_failed: tuple[StayingSession, ...]
    error_count: int
    client_errors: int
    #: what was carried: kind of state -> how many
    carried: Mapping[str, int]
    mean_seconds: float
    longest_pause_seconds: float
    rollback_available: bool
    #: null before the first phase
    performance_comparison: PerformanceComparison | None
    #: of phases that are over, in this run of the proxy
    performance_by_phase: tuple[PhasePerformance, ...]
    history: tuple[Change, ...]


def status_of(migration: Migration) -> MigrationStatus:
    """A picture of it, now."""
    order, ledger = migration.order, migration.movement.ledger
    remaining = migration.remaining()
    return MigrationStatus(
        migration_id=migration.id,
        status=migration.state,
        status_reason=migration.changes[-1].reason,
        source=order.source,
        target=order.target,
        mode=order.mode,
        data=order.data or "",
        tenant_filter=order.tenants,
        share_of=order.share_of,
        leftovers=migration.leftovers,
        ordered_by=order.who,
        reason=order.reason,
        current_phase=_phase(migration),
        traffic_allocation=_allocation(order, migration.percent),
        write_allocation=_allocation(order, migration.write_percent),
        estimated_completion=_estimate(migration, len(remaining)),
        scheduled_for=order.start_at,
        sessions_migrated=ledger.migrated,
        sessions_remaining=len(remaining),
        sessions_moving=_moving(migration),
        sessions_pinned=_staying(ledger.staying.values(), MoveOutcome.PINNED),
        sessions_busy=_staying(ledger.staying.values(), MoveOutcome.BUSY),
        sessions_failed=_staying(ledger.staying.values(), MoveOutcome.FAILED),
        error_count=ledger.errors,
        client_errors=ledger.client_errors,
        carried=dict(ledger.carried),
        mean_seconds=ledger.seconds_each,
        longest_pause_seconds=ledger.longest_pause,
        rollback_available=_can_be_rolled_back(migration),
        performance_comparison=_comparison(migration),
        performance_by_phase=tuple(map(_of_phase, migration.judge.phases)),
        history=tuple(migration.changes),
    )


def _allocation(order: MigrationOrder, percent: float) -> Mapping[str, float]:
    return {order.source: ALL - percent, order.target: percent}


def _phase(migration: Migration) -> PhaseStatus:
    phase = migration.current_phase
    return PhaseStatus(
        number=migration.phase + 1,
        of=len(migration.phases),
        traffic_percent=phase.percent,
        duration_seconds=phase.duration,
        remaining_seconds=0.0 if migration.ended else migration.left_of_phase,
    )


def _estimate(migration: Migration, remaining: int) -> datetime | None:
    if migration.state not in (State.RUNNING, State.COMPLETING):
        return None
    return estimated_end(
        migration.means.now,
        migration.phases[migration.phase + 1 :],
        migration.left_of_phase,
        remaining,
        migration.there.ledger.seconds_each,
        migration.means.settings.max_concurrent_migrations,
    )


def _moving(migration: Migration) -> tuple[MovingSession, ...]:
    now = trio.current_time()
    return tuple(
        MovingSession(id=id, seconds=now - since) for id, since in migration.movement.under_way.items()
    )


def _staying(sessions: Iterable[Staying], outcome: MoveOutcome) -> tuple[StayingSession, ...]:
    return tuple(
        StayingSession(id=each.session, reason="; ".join(each.reasons), attempts=each.attempts)
        for each in sessions
        if each.outcome is outcome
    )


def _can_be_rolled_back(migration: Migration) -> bool:
    """Of a switchover only it knows whether it is too late: then the answer to the order is a refusal."""
    if Turn.ROLL_BACK not in TABLE[migration.state]:
        return False
    return migration.order.data is not DataMode.PHYSICAL or migration.state is not State.COMPLETED


def _comparison(migration: Migration) -> PerformanceComparison | None:
    figures = migration.judge.figures()
    if figures is None:
        return None
    return PerformanceComparison(source=_side(figures[0]), target=_side(figures[1]))


def _of_phase(figures: PhaseFigures) -> PhasePerformance:
    return PhasePerformance(
        traffic_percent=figures.percent, source=_side(figures.source), target=_side(figures.target)
    )


def _side(figures: Figures) -> SidePerformance:
    p99 = figures.p99
    return SidePerformance(
        queries=figures.queries,
        p99_ms=None if p99 is None else p99 * 1000,
        error_rate=figures.error_rate,
    )
