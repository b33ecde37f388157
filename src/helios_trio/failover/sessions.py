"""What a failover does to sessions: lets nobody new in, closes the dead server's connections, takes idle ones along.

A session that loses its connection recovers by itself (it awaits `Primaries.settled`). One that has none, between two
transactions in a shared mode, would only find out with its next request: it is moved.

Used by: failover.succession, failover.controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import trio
from attrs import define

from helios_trio.errors import HeliosError
from helios_trio.failover.steps import FailoverCourse
from helios_trio.migration.switchover_steps import SwitchoverSettings
from helios_trio.pipeline.fleet import Fleet, MoveOrder, MoveOutcome, SessionState
from helios_trio.pool.pools import Pools
from helios_trio.proxy.holding import Holds

#: Seconds for letting go those who came meanwhile.
_RELEASE_TIME_LIMIT: Final = 15.0


class Sessions(Protocol):
    """All sessions of this process."""

    def hold(self, backend: str) -> None:
        """Whoever comes for a backend waits."""

    async def release(self, backend: str) -> None:
        """They wait no more, and go where they belong by now."""

    def cut_off(self, backend: str, reason: str) -> None:
        """Close all connections to a backend, and open none; nothing that it says counts any more (rule 25)."""

    def reopen(self, backend: str) -> None:
        """Connections to it may be opened again, at once."""

    async def move_idle(self, course: FailoverCourse, target: str) -> None:
        """Take along those that have no connection now."""


@define
class LocalSessions:
    """See `Sessions`."""

    fleet: Fleet
    holds: Holds
    pools: Pools
    settings: SwitchoverSettings

    def hold(self, backend: str) -> None:
        """See `Sessions`."""
        self.holds.begin(backend)

    async def release(self, backend: str) -> None:
        """See `Sessions`."""
        with trio.move_on_after(_RELEASE_TIME_LIMIT, shield=True):
            await self.fleet.release(backend, concurrency=self.settings.drain_concurrency)

    def cut_off(self, backend: str, reason: str) -> None:
        """See `Sessions`."""
        self.pools.cut_off(backend, f"{backend}: {reason}")

    def reopen(self, backend: str) -> None:
        """See `Sessions`."""
        self.pools.reopen(backend)

    async def move_idle(self, course: FailoverCourse, target: str) -> None:
        """See `Sessions`."""
        waiting = [id for id in self.fleet.on_backend(course.source) if self._is_idle(id)]
        course.remaining = len(waiting)
        queue, order = iter(waiting), self.settings.move_order(target)
        async with trio.open_nursery() as nursery:
            for _ in range(min(len(waiting), self.settings.drain_concurrency)):
                nursery.start_soon(self._move_each, course, queue, order)

    async def _move_each(self, course: FailoverCourse, queue: Iterator[int], order: MoveOrder) -> None:
        for id in queue:
            if self._is_idle(id):  # else it has begun something, and looks after itself
                try:
                    outcome = (await self.fleet.move(id, order)).outcome
                except HeliosError as error:
                    course.note_error(f"session {id}: {error.message}")
                else:
                    course.moved += outcome is MoveOutcome.MOVED
                    course.lost += outcome is MoveOutcome.LOST
            course.remaining -= 1

    def _is_idle(self, id: int) -> bool:
        found = self.fleet.session(id)
        return (
            found is not None
            and found.server_pid is None
            and found.state in (SessionState.IDLE, SessionState.HELD)
        )
