"""The failover of the API: planned switchovers, begun and watched, and failovers, watched and, if need be, ordered.

A switchover is a migration too: it stands in that list, with its figures, and is recorded like any other. A failover
happens to a primary that is dead; of the two, what is shown is the one under way, else the later one.

Used by: admin.api.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeGuard

import trio
from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.admin.views import NodeView, topology_view
from helios_trio.config.keys import REQUIRED, key
from helios_trio.config.kinds import Name, Switch
from helios_trio.config.words import MigrationMode
from helios_trio.failover.steps import FailoverReport, FailoverStep
from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.means import Switchover
from helios_trio.migration.migration import Migration
from helios_trio.migration.orchestrator import Migrations
from helios_trio.migration.orders import DataMode, MigrationOrder
from helios_trio.migration.states import State
from helios_trio.migration.switchover_steps import Step, SwitchoverReport, SwitchoverStatus


@frozen(kw_only=True)
class StepView:
    """One step and its time."""

    step: str
    seconds: float


@frozen(kw_only=True)
class OutcomesView:
    """What became of COMMITs whose answer was lost, since the proxy started."""

    #: they had happened
    committed: int
    #: they had not, and were done again
    replayed: int
    #: nobody can tell; their clients got 08007
    unknown: int


@frozen(kw_only=True)
class FailoverStatus:
    """The switchover or failover that is under way, else the last one; null and 0 where there was none."""

    failover_active: bool
    #: switchover, planned, or failover of a primary that died; null: there was neither
    kind: str | None
    trigger_reason: str | None
    source_backend: str | None
    target_backend: str | None
    #: what is being done, or was done last
    step: str | None
    outcome: str | None
    #: why it did not succeed
    failure: str | None
    elapsed_seconds: float
    #: how long each step took
    steps: tuple[StepView, ...]
    #: how long writes were held; null while it is under way
    write_pause_seconds: float | None
    sessions_migrated: int
    sessions_remaining: int
    #: 0 to 1
    migration_progress: float
    migration_errors: tuple[str, ...]
    warnings: tuple[str, ...]
    client_errors: int
    #: transactions that are waited for
    waiting_for: tuple[str, ...]
    #: the migration that it is; null: it is a failover
    migration_id: int | None
    #: since the proxy started: transactions done again on another server, and those that could not be
    transactions_replayed: int
    replay_mismatches: int
    outcomes: OutcomesView
    backends: tuple[NodeView, ...]


@frozen(kw_only=True)
class FailoverBody:
    """Which standby becomes the primary."""

    target: Name = key(REQUIRED, "name of the standby", example="node2")
    reason: Why = key("", "why; stands in the events")
    allow_older: Switch = key(False, "also where it is of an older major version of PostgreSQL")


def routes(parts: Parts, migrations: Migrations | None, switchover: Switchover | None) -> Iterator[Route]:
    """Switchovers and failovers."""

    async def status(_: Call) -> FailoverStatus:
        return failover_status(parts, migrations, switchover)

    async def start(call: Call) -> FailoverStatus:
        await order_failover(parts, call.body, call.who)
        return failover_status(parts, migrations, switchover)

    what = "Look at the switchover or failover, or the last one"
    yield reads("/api/v1/failover/status", what, FailoverStatus, status)
    yield changes(
        "/api/v1/failover/start",
        "Make a standby the primary, and take all sessions there",
        FailoverStatus,
        start,
        body=FailoverBody,
        status=HTTPStatus.ACCEPTED,
    )


async def order_failover(parts: Parts, body: FailoverBody, who: str) -> None:
    """Begin a switchover, or say who succeeds a primary that is being missed. Raises HeliosError."""
    if parts.primaries is not None and parts.primaries.active:
        parts.primaries.order(body.target, who=who, reason=body.reason)
    elif parts.migrations is not None:
        await parts.migrations.start(_order(parts, body, who))
    else:
        raise Conflict([Fault("", "no primary is being missed, and session_migration is not enabled")])


def _order(parts: Parts, body: FailoverBody, who: str) -> MigrationOrder:
    writer = parts.topology.writer
    if writer is None:
        raise Conflict([Fault("", "no server takes writes, so that there is nothing to switch over from")])
    return MigrationOrder(
        source=writer.backend.name,
        target=body.target,
        mode=MigrationMode.IMMEDIATE,
        data=DataMode.PHYSICAL,
        allow_older=body.allow_older,
        who=who,
        reason=body.reason,
    )


def failover_status(
    parts: Parts, migrations: Migrations | None, switchover: Switchover | None
) -> FailoverStatus:
    """The whole picture, now."""
    planned = None if switchover is None else switchover.status()
    report = None if parts.primaries is None else parts.primaries.report()
    if report is not None and (report.active or planned is None or _is_later(report, planned)):
        return _of_failover(parts, report)
    return _of_switchover(parts, migrations, planned)


def _is_later(report: FailoverReport, planned: SwitchoverStatus) -> bool:
    return not planned.active and report.started_at > planned.started_at


def _of_failover(parts: Parts, report: FailoverReport) -> FailoverStatus:
    done = report.moved + report.lost
    return FailoverStatus(
        failover_active=report.active,
        kind="failover",
        trigger_reason=report.reason,
        source_backend=report.source,
        target_backend=report.target or None,
        step=report.step.value,
        outcome=report.outcome.value if report.outcome else None,
        failure=report.failure or None,
        elapsed_seconds=report.elapsed,
        steps=_steps(report.seconds),
        write_pause_seconds=None if report.active else report.pause,
        sessions_migrated=report.moved,
        sessions_remaining=report.remaining,
        migration_progress=done / (done + report.remaining) if done + report.remaining else 0.0,
        migration_errors=report.errors,
        warnings=(),
        client_errors=report.lost,
        waiting_for=(),
        migration_id=None,
        **_in_any_case(parts),
    )


def _steps(seconds: Mapping[FailoverStep, float] | Mapping[Step, float]) -> tuple[StepView, ...]:
    return tuple(StepView(step=step.value, seconds=each) for step, each in seconds.items())


def _in_any_case(parts: Parts) -> dict[str, Any]:
    """What does not depend on the last failover."""
    replays = parts.replays
    return {
        "transactions_replayed": replays.transactions_replayed,
        "replay_mismatches": replays.replay_mismatches.total(),
        "outcomes": OutcomesView(
            committed=replays.outcomes_committed,
            replayed=replays.outcomes_replayed,
            unknown=replays.outcomes_unknown,
        ),
        "backends": topology_view(parts, now=time.time(), clock=trio.current_time()).nodes,
    }


def _of_switchover(
    parts: Parts, migrations: Migrations | None, found: SwitchoverStatus | None
) -> FailoverStatus:
    migration = None if migrations is None else _last(migrations)
    begun = migration is not None and migration.state in (State.PENDING, State.RUNNING)
    if begun and not (found is not None and found.active):
        found = None  # it is about to begin, and what is known is of an earlier one
    ordered = migration.order if migration is not None and found is None else None
    done = found.moved + found.lost if found is not None else 0
    remaining = found.remaining if found is not None else 0
    return FailoverStatus(
        failover_active=begun or (found is not None and found.active),
        kind="switchover" if found or ordered else None,
        trigger_reason=found.reason if found else ordered.reason if ordered else None,
        source_backend=found.source if found else ordered.source if ordered else None,
        target_backend=found.target if found else ordered.target if ordered else None,
        step=found.step if found else None,
        outcome=found.outcome if found else None,
        failure=_failure(migration, found),
        elapsed_seconds=found.elapsed if found else 0.0,
        steps=_steps(found.seconds) if _is_over(found) else (),
        write_pause_seconds=found.write_pause if _is_over(found) else None,
        sessions_migrated=found.moved if found else 0,
        sessions_remaining=remaining,
        migration_progress=done / (done + remaining) if done + remaining else 0.0,
        migration_errors=found.errors if found else (),
        warnings=found.warnings if found else (),
        client_errors=found.lost if found else 0,
        waiting_for=found.waiting_for if found else (),
        migration_id=migration.id if migration is not None else None,
        **_in_any_case(parts),
    )


def _is_over(found: SwitchoverStatus | None) -> TypeGuard[SwitchoverReport]:
    return isinstance(found, SwitchoverReport) and not found.active


def _last(migrations: Migrations) -> Migration | None:
    """The last migration that was a switchover."""
    physical = [each for each in migrations if each.order.data is DataMode.PHYSICAL]
    return physical[-1] if physical else None


def _failure(migration: Migration | None, found: SwitchoverStatus | None) -> str | None:
    """What the switchover says, or, where it could not even begin, the migration."""
    if found is not None and found.failure:
        return found.failure
    if migration is not None and migration.ended and migration.changes[-1].reason:
        return migration.changes[-1].reason
    return None
