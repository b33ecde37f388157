"""How backends do, from the counters of their pools: queries, errors, times. For comparing a target with its source.

Where a target only reads, it is compared with what its source reads: a commit takes longer than any of that.

Used by: migration.migration (reads before and after), migration.checks (compares), admin.traffic (each second).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import define, field, frozen

from helios_trio.cluster.read_shares import ReadShares
from helios_trio.pool.counters import PoolCounters
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
        return percentile(sorted(self.times), 99)

    @property
    def error_rate(self) -> float | None:
        """Errors for each query; None when there was none."""
        return self.errors / self.queries if self.queries else None


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """What so many of 100 values do not exceed; `ordered`: small ones first. None when there is none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


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
        return self.all_since(earlier).get(backend, Figures())

    def all_since(self, earlier: Reading) -> Mapping[str, Figures]:
        """The same of all backends that have pools."""
        found: dict[str, Figures] = {}
        for pool in self.pools():
            queries, errors = _new(pool.counters, earlier.counts.get(_name(pool), (0, 0)))
            before = found.get(pool.name[0], Figures())
            times = before.times + tuple(_last(pool.counters, queries)) if queries else before.times
            found[pool.name[0]] = Figures(before.queries + queries, before.errors + errors, times)
        return found


@define(eq=False)
class ReadTraffic:
    """Requests of routed sessions that only read; counted while a share of the reads is being moved."""

    shares: ReadShares
    _backends: dict[str, PoolCounters] = field(factory=dict, init=False)

    @property
    def wanted(self) -> bool:
        """Whether anybody will ask."""
        return bool(self.shares.in_force)

    def note_answer(self, backend: str, seconds: float) -> None:
        """One was answered to its end, `seconds` after it was sent; without an error, or with one told before."""
        counters = self._of(backend)
        counters.queries += 1
        counters.times.append(seconds)

    def note_error(self, backend: str) -> None:
        """A client was told an error."""
        self._of(backend).errors += 1

    def _of(self, backend: str) -> PoolCounters:
        found = self._backends.get(backend)
        if found is None:
            found = self._backends[backend] = PoolCounters()
        return found

    def read(self) -> Reading:
        """See `Traffic`."""
        return Reading(
            {_of_reads(name): (each.queries, each.errors) for name, each in self._backends.items()}
        )

    def since(self, earlier: Reading, backend: str) -> Figures:
        """See `Traffic`."""
        counters = self._of(backend)
        queries, errors = _new(counters, earlier.counts.get(_of_reads(backend), (0, 0)))
        return Figures(queries, errors, tuple(_last(counters, queries)))


def _of_reads(backend: str) -> PoolName:
    return backend, "", "", False


def _name(pool: Pool) -> PoolName:
    return (*pool.name, pool.planner.shared)


def _last(counters: PoolCounters, queries: int) -> list[float]:
    return list(counters.times)[-queries:] if queries else []


def _new(counters: PoolCounters, before: tuple[int, int]) -> tuple[int, int]:
    """What was counted since; a pool that counts less than before was forgotten and made anew."""
    if counters.queries < before[0]:
        before = (0, 0)
    return counters.queries - before[0], max(0, counters.errors - before[1])
