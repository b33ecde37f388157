"""`Judge`: how the target of a migration does, by the required checks and beside its source.

A standby that reads are moved to is examined within a phase too: no move of a session would fail there and tell.

Used by: migration.migration (asks between phases and within them), migration.status (shows the figures).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio
from attrs import define, field, frozen

from helios_trio.cluster.topology import NodeRole
from helios_trio.config.words import WhenUnhealthy
from helios_trio.errors import HeliosError
from helios_trio.migration.checks import compare
from helios_trio.migration.figures import Figures, Reading, Traffic
from helios_trio.migration.means import Means
from helios_trio.migration.orders import DataMode, MigrationOrder

#: Seconds between examinations of a standby that reads are moved to.
EXAMINE_AGAIN: Final = 10.0
#: How often a target is examined once more that has failed a check, and the seconds before each time.
_SECOND_LOOKS, _LOOK_AGAIN = 3, 0.5


@frozen
class PhaseFigures:
    """How both did until a phase was over: the source since the migration began, the target in the phase."""

    percent: float
    source: Figures
    target: Figures


@define
class Judge:
    """See the module."""

    means: Means
    order: MigrationOrder
    #: of the phases that are over
    phases: list[PhaseFigures] = field(factory=list)
    _from_start: Reading | None = None
    _from_phase: Reading | None = None
    _examine_at: float = 0.0

    @property
    def _physical(self) -> bool:
        return self.order.data is DataMode.PHYSICAL

    @property
    def _traffic(self) -> Traffic:
        """Only reads are compared where only reads move."""
        return self.means.read_traffic if self._physical else self.means.traffic

    def begin(self) -> None:
        """The migration begins."""
        self._from_start = self._traffic.read()

    def begin_phase(self) -> None:
        """A phase begins, or goes on."""
        self._from_phase = self._traffic.read()
        self._examine_at = trio.current_time() + EXAMINE_AGAIN

    def end_phase(self, percent: float) -> None:
        """It is over: keep its figures."""
        if (figures := self.figures()) is not None:
            self.phases.append(PhaseFigures(percent, *figures))

    def figures(self) -> tuple[Figures, Figures] | None:
        """What source (since the beginning) and target (in this phase) have done; None before the beginning."""
        if self._from_start is None or self._from_phase is None:
            return None
        traffic, order = self._traffic, self.order
        return traffic.since(self._from_start, order.source), traffic.since(self._from_phase, order.target)

    async def complaints(self, *, compared: bool) -> Sequence[str]:
        """What speaks against the target: by the required checks, and beside the source if that is wanted."""
        found = (await self.means.examiner.examine(self.order.target)).complaints
        for _ in range(_SECOND_LOOKS if found else 0):  # a standby that is late for a moment is no trouble
            await trio.sleep(_LOOK_AGAIN)
            found = (await self.means.examiner.examine(self.order.target)).complaints
            if not found:
                break
        figures = self.figures() if compared else None
        return found if figures is None else [*found, *compare(*figures, self.means.tolerance)]

    async def sees_trouble(self) -> bool:
        """Whether a phase has to be left before its time.

        Raises HeliosError: the source is no primary any more, so that its standby has nobody to succeed.
        """
        source, target = (self.means.topology.nodes[name] for name in (self.order.source, self.order.target))
        if self._physical and (source.deposed or source.role is NodeRole.STANDBY):
            raise HeliosError(f"{self.order.source} is not the primary any more")
        if self.means.settings.on_unhealthy is WhenUnhealthy.CONTINUE:
            return False
        if target.healthy is False:
            return True
        if not self._physical or trio.current_time() < self._examine_at:
            return False
        self._examine_at = trio.current_time() + EXAMINE_AGAIN
        return bool(await self.complaints(compared=True))
