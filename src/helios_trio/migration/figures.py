"""How backends do, from the counters of their pools: queries, errors, times. For comparing a target with its source.

Used by: migration.migration (reads before and after), migration.checks (compares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from attrs import frozen

from helios_trio.pool.pool import Pool

#: One pool: backend, database, user, and whether it is shared.
PoolName = tuple[str, str, str, bool]


@frozen
class Figures:
    """What a backend did in some time."""

    queries: int = 0
    errors: int = 0
    #: seconds that queries took, a sample of the last ones
    times: tuple[float, ...] = ()

    @property
    def p99(self) -> float | None:
        """Seconds within which 99 of 100 queries ended; None when there was none."""
        if not self.times:
            return None
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]

    @property
    def error_rate(self) -> float | None:
        """Errors for each query; None when there was none."""
        return self.errors / self.queries if self.queries else None


@frozen
class Reading:
    """Queries and errors of each pool up to a moment."""

    counts: Mapping[PoolName, tuple[int, int]]


class Traffic(Protocol):
    """Who knows what backends do."""

    def read(self) -> Reading:
        """The counters now."""

    def since(self, earlier: Reading, backend: str) -> Figures:
        """What a backend has done since."""


@frozen
class PoolTraffic:
    """The pools of this process."""

    #: all pools there are
    pools: Callable[[], Iterable[Pool]]

    def read(self) -> Reading:
        """See `Traffic`."""
        return Reading({_name(pool): (pool.counters.queries, pool.counters.errors) for pool in self.pools()})

    def since(self, earlier: Reading, backend: str) -> Figures:
        """See `Traffic`."""
        queries, errors, times = 0, 0, []
        for pool in self.pools():
            if pool.name[0] == backend:
                before = earlier.counts.get(_name(pool), (0, 0))
                new = _new(pool, before)
                queries, errors = queries + new[0], errors + new[1]
                times += list(pool.counters.times)[-new[0] :] if new[0] else []
        return Figures(queries, errors, tuple(times))


def _name(pool: Pool) -> PoolName:
    return (*pool.name, pool.planner.shared)


def _new(pool: Pool, before: tuple[int, int]) -> tuple[int, int]:
    """What was counted since; a pool that counts less than before was forgotten and made anew."""
    counters = pool.counters
    if counters.queries < before[0]:
        before = (0, 0)
    return counters.queries - before[0], max(0, counters.errors - before[1])
