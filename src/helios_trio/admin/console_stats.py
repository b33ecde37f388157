"""What SHOW STATS counts: totals per database since the proxy started, averages over the last whole minute. Pure.

Pools come and go, so what they have counted is added up here from time to time. The time of queries is kept by a pool
for the last thousand of them only; where there were more, these stand for all.

Used by: admin.console (takes readings), admin.console_tables (shows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

from attrs import define, field

from helios_trio.admin.console_columns import COUNTED
from helios_trio.admin.console_frames import Row
from helios_trio.admin.scrape import PoolFigures
from helios_trio.pool.pool import Pool

#: Seconds over which averages are made (stats_period of PgBouncer).
PERIOD: Final = 60.0
#: Databases that are told apart; clients choose the names. What is counted of others stands under `*`.
_DATABASES_KEPT: Final = 1000
_OTHERS: Final = "*"
_MICRO: Final = 1_000_000

#: One number for each of `COUNTED`; bytes, and times in seconds.
Counts: TypeAlias = tuple[float, ...]
_NOTHING: Final[Counts] = (0,) * len(COUNTED)
_XACTS, _QUERIES, _XACT_TIME, _QUERY_TIME = (
    COUNTED.index(name) for name in ("xact_count", "query_count", "xact_time", "query_time")
)


@define(eq=False)
class Statistics:
    """Totals and averages per database."""

    totals: dict[str, Counts] = field(factory=dict)
    averages: Mapping[str, Counts] = field(factory=dict)
    _last: dict[Pool, Counts] = field(factory=dict)
    _period: Mapping[str, Counts] = field(factory=dict)
    _since: float | None = None

    def read(self, pools: Iterable[tuple[Pool, str]], now: float) -> None:
        """Add what pools have counted since the last reading; each with its database. `now`: any clock, seconds."""
        seen: dict[Pool, Counts] = {}
        for pool, database in pools:
            before = self._last.get(pool, _NOTHING)
            counts = seen[pool] = _counts_of(pool, before)
            self._add(database, tuple(new - old for new, old in zip(counts, before, strict=True)))
        self._last = seen
        self._close_period(now)

    def count_command(self, console: str) -> None:
        """A command was given in a console, which is a database in these tables too."""
        one = [1.0 if index in (_XACTS, _QUERIES) else 0.0 for index in range(len(COUNTED))]
        self._add(console, tuple(one))

    def _add(self, database: str, counts: Counts) -> None:
        if database not in self.totals and len(self.totals) >= _DATABASES_KEPT:
            database = _OTHERS
        before = self.totals.get(database, _NOTHING)
        self.totals[database] = tuple(map(sum, zip(before, counts, strict=True)))

    def _close_period(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elif now - self._since >= PERIOD:
            seconds = now - self._since
            self.averages = {
                database: _average(counts, self._period.get(database, _NOTHING), seconds)
                for database, counts in self.totals.items()
            }
            self._period, self._since = dict(self.totals), now

    def databases(self) -> Iterator[tuple[str, Counts, Counts]]:
        """Each database with its totals and its averages, by name."""
        for database in sorted(self.totals):
            yield database, self.totals[database], self.averages.get(database, _NOTHING)


def _counts_of(pool: Pool, before: Counts) -> Counts:
    figures, counters = PoolFigures.of(pool), pool.counters
    new = counters.queries - int(before[_QUERIES])
    times = list(islice(reversed(counters.times), max(0, new)))
    busy = before[_QUERY_TIME] + (sum(times) / len(times) * new if times else 0.0)
    return (
        counters.transactions,
        counters.queries,
        figures.sent_bytes,
        figures.received_bytes,
        busy,
        busy,
        counters.wait_seconds,
    )


def _average(counts: Counts, before: Counts, seconds: float) -> Counts:
    """Numbers, bytes and waits per second; the time of transactions and queries for each of them."""
    new = [each - old for each, old in zip(counts, before, strict=True)]
    found = [each / seconds for each in new]
    found[_XACT_TIME] = new[_XACT_TIME] / new[_XACTS] if new[_XACTS] else 0.0
    found[_QUERY_TIME] = new[_QUERY_TIME] / new[_QUERIES] if new[_QUERIES] else 0.0
    return tuple(found)


def shown(counts: Counts) -> Row:
    """The numbers as PgBouncer shows them: whole, and times in microseconds."""
    return [
        round(each * _MICRO) if name.endswith("_time") else round(each)
        for name, each in zip(COUNTED, counts, strict=True)
    ]


def total_rows(statistics: Statistics) -> Iterator[Row]:
    """SHOW TOTALS: all databases together."""
    names = [_TOTAL_NAMES.get(name, name) for name in COUNTED]
    every = list(statistics.databases())
    for prefix, index in (("total", 1), ("avg", 2)):
        sums = [sum(column) for column in zip(_NOTHING, *(each[index] for each in every), strict=True)]
        for name, value in zip(names, shown(tuple(sums)), strict=True):
            yield [f"{prefix}_{name}", value]


_TOTAL_NAMES: Final = {"bytes_received": "client_bytes", "bytes_sent": "server_bytes"}
