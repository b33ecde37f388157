"""SHOW POOLS of the admin console: a row for each database and user. Pure.

A database may be served by several servers; their pools stand together in one row, as exporters make one series of
each database and user.

Used by: admin.console_tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define

from helios_trio.admin.console_frames import Row
from helios_trio.admin.console_scene import Scene
from helios_trio.admin.scrape import PoolFigures
from helios_trio.config.words import PoolMode
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool

_MICRO: Final = 1_000_000


@define
class _Figures:
    """The pools of one database and user."""

    mode: str
    clients: int = 0
    waiting: int = 0
    active: int = 0
    cancelled: int = 0
    idle: int = 0
    busy: int = 0
    connecting: int = 0
    longest: float = 0.0

    def add(self, pool: Pool, clock: float) -> None:
        """One more. `clock`: Trio's, seconds."""
        figures = PoolFigures.of(pool)
        waiting = figures.waiting
        self.clients += max(0, pool.sessions - (waiting if figures.shared else 0))
        self.waiting += waiting
        self.active += figures.connections.get(SlotStatus.ACTIVE.value, 0)
        self.idle += figures.connections.get(SlotStatus.IDLE.value, 0)
        cancelled = sum(each.status is SlotStatus.BUSY and each.cancels > 0 for each in pool.planner.slots)
        self.cancelled += cancelled
        self.busy += figures.connections.get(SlotStatus.BUSY.value, 0) - cancelled
        self.connecting += figures.connections.get("connecting", 0)
        for ticket in pool.planner.waiting:
            self.longest = max(self.longest, clock - ticket.waiting_since)

    def row(self, database: str, user: str) -> Row:
        """As PgBouncer's columns have it."""
        return [
            database,
            user,
            self.clients,
            self.waiting,
            0,
            0,
            self.active,
            0,
            self.cancelled,
            self.idle,
            0,
            self.busy,
            self.connecting,
            int(self.longest),
            int(self.longest % 1 * _MICRO),
            self.mode,
        ]


def pools(scene: Scene) -> Iterator[Row]:
    """The console's own, as PgBouncer has it, and all that there are, by database and user."""
    yield _Figures("statement", clients=len(scene.consoles())).row(scene.console, scene.console)
    found: dict[tuple[str, str], _Figures] = {}
    for pool, asked in scene.parts.pools.named():
        if asked not in found:
            found[asked] = _Figures(_mode(scene, pool, *asked))
        found[asked].add(pool, scene.clock)
    for (database, user), figures in sorted(found.items()):
        yield figures.row(database, user)


def _mode(scene: Scene, pool: Pool, database: str, user: str) -> str:
    """As configured; routed sessions share connections whatever stands there."""
    mode = scene.parts.running.config.pool.for_(database, user).mode
    return PoolMode.TRANSACTION.value if pool.planner.shared and mode is PoolMode.SESSION else mode.value
