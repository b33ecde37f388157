"""Counts how moves of sessions end, whoever ordered them: a fleet around the fleet.

Used by: composition.moving (puts it around the real one), admin.metric_table (shows the counters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from helios_trio.pipeline.fleet import Fleet, HoldReport, MoveOrder, MoveOutcome, MoveReport, SessionInfo


@define
class MoveCounters:
    """Moves since the proxy started."""

    outcomes: Counter[MoveOutcome] = field(factory=Counter)
    #: of sessions that were moved: seconds in all, and those in which their clients' requests were held
    seconds: float = 0.0
    paused_seconds: float = 0.0
    state_bytes: int = 0
    #: requests that waited meanwhile
    buffered: int = 0
    #: kind of state -> how many were carried, and how many of them tracking had missed (rule 8)
    carried: Counter[str] = field(factory=Counter)
    missed: Counter[str] = field(factory=Counter)
    #: kind of pin -> how often a session with one could not be moved; "other" where none can be seen from outside
    pinned: Counter[str] = field(factory=Counter)

    def note(self, report: MoveReport, pins: Iterable[str]) -> None:
        """An attempt has ended; `pins` are those of the session afterwards."""
        self.outcomes[report.outcome] += 1
        if report.outcome is MoveOutcome.PINNED:
            self.pinned.update(set(pins) or {"other"})
        self.missed.update(report.missed)
        if report.outcome is MoveOutcome.MOVED:
            self.seconds += report.seconds
            self.paused_seconds += report.pause
            self.state_bytes += report.state_size
            self.buffered += report.buffered
            self.carried.update(report.carried)


@frozen
class CountedFleet:
    """See `pipeline.fleet.Fleet`."""

    fleet: Fleet
    counters: MoveCounters

    def sessions(self) -> Sequence[SessionInfo]:
        """See `pipeline.fleet.Fleet`."""
        return self.fleet.sessions()

    def session(self, id: int) -> SessionInfo | None:
        """See `pipeline.fleet.Fleet`."""
        return self.fleet.session(id)

    def on_backend(self, backend: str) -> Sequence[int]:
        """See `pipeline.fleet.Fleet`."""
        return self.fleet.on_backend(backend)

    async def move(self, id: int, order: MoveOrder) -> MoveReport:
        """See `pipeline.fleet.Fleet`."""
        report = await self.fleet.move(id, order)
        info = self.fleet.session(id)
        self.counters.note(report, () if info is None else info.pins)
        return report

    async def hold(self, backend: str, *, time_limit: float) -> HoldReport:
        """See `pipeline.fleet.Fleet`."""
        return await self.fleet.hold(backend, time_limit=time_limit)

    async def release(self, backend: str, *, concurrency: int) -> None:
        """See `pipeline.fleet.Fleet`."""
        await self.fleet.release(backend, concurrency=concurrency)

    def terminate(self, id: int, reason: str) -> bool:
        """See `pipeline.fleet.Fleet`."""
        return self.fleet.terminate(id, reason)

    async def warm(self, source: str, target: str, *, time_limit: float) -> int:
        """See `pipeline.fleet.Fleet`."""
        return await self.fleet.warm(source, target, time_limit=time_limit)
