"""How far behind a standby is, in seconds. Pure: times are arguments, in seconds on one clock.

What a standby says itself is the age of the last commit that it has replayed. On a primary where nobody commits that
age grows though nothing is missing, and a standby that is cut off does not know what it is missing. Where a primary
was, and when, limits it from the other side: a standby that has replayed all that the primary had at some moment is
not further behind than that moment.

Used by: cluster.topology.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from attrs import define, field, frozen

#: Moments that are remembered; with a probe every half second, ten minutes.
KEPT: Final = 1200


@frozen
class Bound:
    """What the primary's positions say of a standby's lag."""

    #: seconds that it is behind at most
    seconds: float
    #: it lacks something that the primary had before the standby was asked; otherwise nothing is known to be missing
    lacking: bool


@define
class Positions:
    """Where a primary was, and when, in the order of time."""

    system_identifier: str | None = None
    _times: list[float] = field(factory=list)
    _positions: list[int] = field(factory=list)

    def note(self, position: int, at: float, system_identifier: str | None) -> None:
        """The primary had WAL up to there at that time. One that has less, or other data, begins a new history."""
        if self._positions and (
            position < self._positions[-1] or system_identifier != self.system_identifier
        ):
            self._times.clear()
            self._positions.clear()
        self.system_identifier = system_identifier
        self._times.append(at)
        self._positions.append(position)
        if len(self._times) > KEPT:
            # every other one of the older half: what is long ago need not be known to the half second
            half = KEPT // 2
            self._times[:half] = self._times[:half:2]
            self._positions[:half] = self._positions[:half:2]

    def bound(self, replayed: int, at: float) -> Bound | None:
        """For a standby that had replayed up to there at that time; None where the history does not reach so far.

        What the primary wrote after `at` is no sign of lag.
        """
        known = bisect_right(self._times, at)
        had = bisect_right(self._positions, replayed, 0, known)
        if not had:
            return None
        return Bound(max(0.0, at - self._times[had - 1]), had < known)


def lag(said: float | None, bound: Bound | None) -> float | None:
    """Seconds, from what a standby says itself and what is known of its primary; None: unknown."""
    if said is None or bound is None:
        return said
    if said == 0.0:  # it has replayed all that it has received, which may not be all there is
        return bound.seconds if bound.lacking else 0.0
    return min(said, bound.seconds)
