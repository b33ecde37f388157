"""Events, and the figures of backends from the counters of pools."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field

from helios_trio.migration.events import EventLog
from helios_trio.migration.figures import Figures, PoolTraffic
from helios_trio.pool.counters import PoolCounters
from helios_trio.pool.pool import Pool


@define
class FakePlanner:
    shared: bool = True


@define(eq=False)
class FakePool:
    """A pool, as far as figures are read from it."""

    name: tuple[str, str, str]
    counters: PoolCounters = field(factory=PoolCounters)
    planner: FakePlanner = field(factory=FakePlanner)

    def serve(self, *times: float, errors: int = 0) -> None:
        self.counters.queries += len(times)
        self.counters.errors += errors
        self.counters.times.extend(times)


def traffic(*pools: FakePool) -> PoolTraffic:
    return PoolTraffic(lambda: cast(list[Pool], pools))


def test_figures_are_those_since_the_reading() -> None:
    """Of one backend, all its pools together."""
    one, two = FakePool(("blue", "shop", "ann")), FakePool(("blue", "shop", "bob"))
    other = FakePool(("green", "shop", "ann"))
    one.serve(9.0, 9.0, errors=1)
    found = traffic(one, two, other)
    before = found.read()
    one.serve(0.1)
    two.serve(0.2, 0.3, errors=2)
    other.serve(5.0)
    assert found.since(before, "blue") == Figures(3, 2, (0.1, 0.2, 0.3))
    assert found.since(before, "red") == Figures()


def test_a_pool_that_was_forgotten_and_made_anew_counts_from_0() -> None:
    """Its counters are smaller than before."""
    old, new = FakePool(("blue", "shop", "ann")), FakePool(("blue", "shop", "ann"))
    old.serve(*[9.0] * 10)
    before = traffic(old).read()
    new.serve(0.1, errors=1)
    assert traffic(new).since(before, "blue") == Figures(1, 1, (0.1,))


def test_only_the_last_times_are_kept() -> None:
    """Queries are all counted."""
    pool = FakePool(("blue", "shop", "ann"))
    before = traffic(pool).read()
    pool.serve(*[0.1] * 5000)
    found = traffic(pool).since(before, "blue")
    assert (found.queries, len(found.times)) == (5000, 1024)


def test_events_are_newest_first_and_bounded() -> None:
    """Pages are read on by id."""
    log = EventLog(lambda: 5.0, kept=10)
    for number in range(25):
        log.note("thing", f"subject {number}", who="ann", reason="why", detail="for the log")
    assert [each.id for each in log.newest(4)] == [25, 24, 23, 22]
    assert [each.id for each in log.newest(100, before=22)] == [21, 20, 19, 18, 17, 16]
    newest: Any = log.newest(1)[0]
    assert (newest.at, newest.kind, newest.subject, newest.who, newest.reason) == (
        5.0,
        "thing",
        "subject 24",
        "ann",
        "why",
    )
