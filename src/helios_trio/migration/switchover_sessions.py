"""What a switchover does to the sessions: holds them, moves them to the new primary, lets them go.

Every session ends up on a server that serves it, or its client is told why not; none is left waiting.

Used by: migration.switchover.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import trio
from attrs import frozen

from helios_trio.errors import HeliosError
from helios_trio.migration.switchover_steps import NAMED, Course, Step, SwitchoverSettings
from helios_trio.pipeline.fleet import Fleet, MoveOrder, MoveOutcome, MoveReport

#: Ends of a move after which a session is still on the old primary, which is about to go.
_STAYED: Final = frozenset({MoveOutcome.PINNED, MoveOutcome.BUSY, MoveOutcome.FAILED})


class StillBusy(HeliosError):
    """Sessions have not come to a safe point in time."""


@frozen
class Evacuation:
    """All sessions of the source of one switchover."""

    course: Course
    fleet: Fleet
    settings: SwitchoverSettings

    # -- before the promotion ----------------------------------------------------------------------------------

    async def warm(self) -> None:
        """Have connections on the target that will become writable with it."""
        self.course.enter(Step.PREPARE, trio.current_time())
        limit = self.settings.warm_time_limit
        with trio.fail_after(2 * limit):
            self.course.warmed = await self.fleet.warm(
                self.course.source, self.course.target, time_limit=limit
            )

    async def hold(self) -> None:
        """Bring every session to a safe point. Raises StillBusy."""
        course = self.course
        course.enter(Step.HOLD, trio.current_time())
        course.held_at = trio.current_time()
        limit = self.settings.hold_time_limit
        found = await self.fleet.hold(course.source, time_limit=limit)
        course.held = len(found.held)
        if found.busy:
            named = ", ".join(f"{id} ({why})" for id, why in islice(found.busy.items(), NAMED))
            raise StillBusy(f"{len(found.busy)} sessions had not ended their work after {limit:g} s: {named}")

    # -- after the promotion -----------------------------------------------------------------------------------

    async def move_all(self) -> None:
        """All that are on the source, and those that come there while this is done."""
        course, order = self.course, self.settings.move_order(self.course.target)
        while waiting := [id for id in self.fleet.on_backend(course.source) if id not in course.tried]:
            course.tried.update(waiting)
            queue = iter(waiting)
            async with trio.open_nursery() as nursery:
                for _ in range(min(len(waiting), self.settings.move_concurrency)):
                    nursery.start_soon(self._move_each, queue, order)

    async def _move_each(self, queue: Iterator[int], order: MoveOrder) -> None:
        for id in queue:
            try:
                report = await self.fleet.move(id, order)
            except HeliosError as error:
                report = MoveReport(session=id, outcome=MoveOutcome.FAILED, reasons=(error.message,))
            self.course.note_move(report)
            if report.outcome in _STAYED:
                self._end(id, "; ".join(report.reasons) or report.outcome)

    async def move_late_ones(self) -> None:
        """Those of clients who were logging in when all others were held."""
        with trio.move_on_after(self.settings.move_time_limit):
            await self.move_all()
        self.settle_rest()

    def settle_rest(self) -> None:
        """Sessions for which there was no time: those that have not left the old primary are ended."""
        course = self.course
        here = set(self.fleet.on_backend(course.source))
        for id in sorted((course.tried | here) - course.settled):
            reasons = ("there was no time left",)
            if id in here:
                self._end(id, *reasons)
                outcome = MoveOutcome.TERMINATED
            else:
                outcome = MoveOutcome.GONE if self.fleet.session(id) is None else MoveOutcome.MOVED
            course.note_move(MoveReport(session=id, outcome=outcome, reasons=reasons))

    def _end(self, id: int, why: str) -> None:
        self.fleet.terminate(id, f"its server has been succeeded by {self.course.target}: {why}")

    # -- in any case -------------------------------------------------------------------------------------------

    async def release(self) -> None:
        """Let sessions go on, wherever they are now. A limit for the whole, as some may not take what they get."""
        course, limit = self.course, self.settings.release_time_limit
        course.enter(Step.RELEASE, trio.current_time())
        with trio.move_on_after(limit, shield=True) as scope:
            try:
                await self.fleet.release(course.source, concurrency=self.settings.drain_concurrency)
            except HeliosError as error:
                course.note_error(f"not all sessions were let go: {error.message}")
        if scope.cancelled_caught:
            course.note_error(f"not all sessions were let go within {limit:g} s")
        course.released_at = trio.current_time()


@asynccontextmanager
async def finishing(limit: float, last_words: float) -> AsyncIterator[None]:
    """What is inside is not interrupted for `limit` seconds; once told to stop, it has `last_words` seconds left."""

    async def hurry(scope: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            scope.deadline = min(scope.deadline, trio.current_time() + last_words)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limit) as scope:
            nursery.start_soon(hurry, scope)
            yield
        nursery.cancel_scope.cancel()
