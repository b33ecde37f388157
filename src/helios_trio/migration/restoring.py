"""Migrations of an earlier run of the proxy: made again from their records, and what they still divert.

What was under way is over: its sessions are gone with the old process. A completed migration goes on to place new
sessions of its source on its target, but only once both servers have said again that they are one (rule 23): names may
have been given to other servers meanwhile.

Used by: migration.orchestrator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from helios_trio.errors import BackendUnavailable
from helios_trio.migration.means import Means
from helios_trio.migration.migration import Migration
from helios_trio.migration.orders import DataMode, MigrationOrder
from helios_trio.migration.phases import ALL, diversion_of
from helios_trio.migration.records import Record

#: Seconds before servers that do not answer are asked again.
_ASK_AGAIN: Final = 5.0


def restored(
    record: Record,
    means: Means,
    admit: Callable[[MigrationOrder], Awaitable[object]],
    on_change: Callable[[Migration], None],
) -> Migration:
    """A migration as its record has it."""
    migration = Migration(
        id=record.id,
        order=record.order,
        means=means,
        admit=admit,
        on_change=on_change,
        state=record.state,
        changes=list(record.changes),
        phase=record.phase,
    )
    migration.there.ledger.note_restored(record.moved, record.errors, record.client_errors)
    if record.diverts:
        migration.to_restore = diversion_of(record.order, ALL)
    return migration


async def restore_diversion(
    migration: Migration, data_mode: Callable[[str, str], Awaitable[DataMode]]
) -> None:
    """Place new sessions of the source on the target again, as soon as both are known to be one server."""
    while migration.to_restore is not None:
        refusal = await _refusal(migration, data_mode)
        if refusal is None:
            await trio.sleep(_ASK_AGAIN)
        elif refusal:
            migration.give_up_diversion(refusal)
        else:
            migration.divert(migration.to_restore)


async def _refusal(migration: Migration, data_mode: Callable[[str, str], Awaitable[DataMode]]) -> str | None:
    """Why sessions must not be diverted; empty when they may, None while nobody can tell."""
    source, target = migration.order.source, migration.order.target
    for name in (source, target):
        if name not in migration.means.topology.nodes:
            return f"there is no backend {name} any more"
    try:
        found = await data_mode(source, target)
    except BackendUnavailable:
        return None
    return "" if found is DataMode.SHARED else f"{target} is not the same server as {source} any more"
