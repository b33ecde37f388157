"""Phases of a migration: which share of the sessions belongs to the target, and who is next. Pure.

Used by: migration.migration, migration.admission.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from helios_trio.cluster.placement import Diversion
from helios_trio.config.words import MigrationMode, ShareOf
from helios_trio.migration.orders import MigrationOrder, Phase
from helios_trio.migration.tenants import tenant_filter, tenant_in_share
from helios_trio.pipeline.fleet import SessionInfo, SessionState

ALL: Final = 100.0

#: Who is moved first: those that can be moved at once.
_ORDER: Final = {
    SessionState.IDLE: 0,
    SessionState.HELD: 0,
    SessionState.WAITING: 1,
    SessionState.ACTIVE: 2,
    SessionState.IN_TRANSACTION: 3,
    SessionState.MOVING: 4,
}


def phases_of(mode: MigrationMode, phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """The phases that a migration goes through; an immediate one has a single phase."""
    return (Phase(ALL),) if mode is MigrationMode.IMMEDIATE else tuple(phases)


def diversion_of(order: MigrationOrder, percent: float) -> Diversion:
    """Where sessions of the source belong while so many percent are the target's."""
    chosen = tenant_filter(order.tenants)
    if order.share_of is ShareOf.SESSIONS or percent >= ALL:
        return Diversion(order.source, order.target, percent, chosen)
    return Diversion(order.source, order.target, ALL, _tenants_in(chosen, percent))


def _tenants_in(chosen: Callable[[str], bool] | None, percent: float) -> Callable[[str], bool]:
    return lambda tenant: (chosen is None or chosen(tenant)) and tenant_in_share(tenant, percent)


def belonging(sessions: Iterable[SessionInfo], diversion: Diversion) -> list[SessionInfo]:
    """Those that are on the source and belong to the target."""
    return [
        each
        for each in sessions
        if each.backend == diversion.source and diversion.takes(each.id, each.tenant)
    ]


def brought(
    sessions: Iterable[SessionInfo], order: MigrationOrder, moved: Container[int], since: float | None
) -> list[SessionInfo]:
    """Those that are on the target because of a migration: moved, or placed there since it began (Trio's clock)."""
    scope = diversion_of(order, ALL)

    def was_brought(each: SessionInfo) -> bool:
        if each.id in moved:
            return True
        in_scope = each.home == order.source and scope.takes(each.id, each.tenant)
        return in_scope and (since is None or each.since >= since)

    return [each for each in sessions if each.backend == order.target and was_brought(each)]


def in_order(sessions: Iterable[SessionInfo]) -> list[SessionInfo]:
    """Those that can be moved at once first, then by id: the oldest sessions first."""
    return sorted(sessions, key=lambda each: (_ORDER[each.state], each.id))


def estimated_end(
    now: datetime,
    phases: Sequence[Phase],
    current_left: float,
    sessions_left: int,
    seconds_each: float,
    slots: int,
) -> datetime:
    """When a migration will be done if nothing comes in the way.

    Args:
        now: the moment the estimate is made.
        phases: those that are to come, without the current one.
        current_left: seconds that the current phase still lasts.
        sessions_left: sessions that are still to be moved, over all phases.
        seconds_each: what moving one has taken so far; 0 when none has been moved yet.
        slots: how many are moved at the same time.
    """
    waiting = current_left + sum(each.duration for each in phases)
    return now + timedelta(seconds=waiting + sessions_left * seconds_each / max(1, slots))
