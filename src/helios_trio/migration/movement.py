"""Moving many sessions to one backend: a bounded number at a time, and what became of each goes into the ledger.

Used by: migration.migration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog
import trio
from attrs import define, field

from helios_trio.migration.ledger import Ledger
from helios_trio.migration.means import Means
from helios_trio.migration.phases import in_order
from helios_trio.pipeline.fleet import MoveOutcome, MoveReport, SessionInfo, SessionState

_log = structlog.get_logger(__name__)

#: States in which a session is not asked to move when transactions are not waited for.
_BUSY: Final = {SessionState.ACTIVE, SessionState.IN_TRANSACTION}


@define
class Movement:
    """Sessions on their way to `target`."""

    means: Means
    target: str
    allow_older: bool = False
    ledger: Ledger = field(factory=Ledger)
    #: ids of sessions that are being moved, and since when on Trio's clock (seconds)
    under_way: dict[int, float] = field(factory=dict)

    async def move_all(self, sessions: Iterable[SessionInfo]) -> None:
        """Try everyone who is worth it once; returns when every attempt has ended."""
        slots = self.means.slots
        async with trio.open_nursery() as nursery:
            for info in self._worth_a_try(sessions):
                await slots.acquire()
                nursery.start_soon(self._move_in, slots, info)

    def _worth_a_try(self, sessions: Iterable[SessionInfo]) -> Sequence[SessionInfo]:
        now, waits = trio.current_time(), self.means.settings.wait_for_transaction_boundary
        found = []
        for info in in_order(sessions):
            if not waits and info.state in _BUSY:
                report = MoveReport(session=info.id, outcome=MoveOutcome.BUSY, reasons=(str(info.state),))
                self.ledger.note(report, info, now)
            elif self.ledger.is_worth_a_try(info, now):
                found.append(info)
        return found

    async def _move_in(self, slots: trio.Semaphore, info: SessionInfo) -> None:
        try:
            await self._move(info)
        finally:
            slots.release()

    async def _move(self, info: SessionInfo) -> None:
        """Move one session. A bug in moving it stays with it (rule 40)."""
        fleet, id = self.means.fleet, info.id
        self.under_way[id] = trio.current_time()
        info = fleet.session(id) or info
        try:
            report = await fleet.move(id, self.means.move_order(self.target, allow_older=self.allow_older))
        except trio.Cancelled:
            self._note_if_arrived(id)
            raise
        except Exception as error:
            _log.exception("moving a session failed", session=id, target=self.target)
            reason = f"internal error: {type(error).__name__}"
            report = MoveReport(session=id, outcome=MoveOutcome.FAILED, reasons=(reason,))
        finally:
            del self.under_way[id]
        self.ledger.note(report, info, trio.current_time())

    def _note_if_arrived(self, id: int) -> None:
        """The attempt was given up, perhaps just after it had succeeded."""
        now_there = self.means.fleet.session(id)
        if now_there is not None and now_there.backend == self.target:
            self.ledger.note_moved(id)
