"""Events, and the figures of backends from the counters of pools."""

from __future__ import annotations

from typing import Any, cast

import trio
from attrs import define, field
from migration_rig import make_rig
from trio.testing import MockClock

from helios_trio.migration.events import Event, EventLog
from helios_trio.migration.figures import Figures, PoolTraffic
from helios_trio.migration.judge import Judge
from helios_trio.migration.orders import MigrationOrder
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


def test_listeners_hear_of_events_in_order() -> None:
    """Also where one of them notes something itself, and whatever becomes of another."""
    log = EventLog(lambda: 5.0)
    heard: list[int] = []

    def answers(event: Event) -> None:
        if event.kind == "question":
            log.note("answer", event.subject)

    def fails(event: Event) -> None:
        raise RuntimeError("cannot bear to hear of it")

    with log.listening(answers), log.listening(fails), log.listening(lambda event: heard.append(event.id)):
        log.note("question", "one")
        log.note("question", "two")
    log.note("question", "nobody listens")
    assert heard == [1, 2, 3, 4]
    assert [each.kind for each in log.since(2)] == ["question", "answer", "question"]


async def test_a_target_that_is_late_for_a_moment_is_looked_at_again(autojump_clock: MockClock) -> None:
    """One that stays so is complained about."""
    rig = make_rig()
    judge = Judge(rig.means, MigrationOrder(source="blue", target="green"))
    rig.examiner.complaints["green"] = "replication_lag_ms < 100"
    assert await judge.complaints(compared=False)
    looked = len(rig.examiner.examined)
    assert looked > 1

    async def catch_up() -> None:
        await trio.sleep(0.2)
        rig.examiner.complaints.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(catch_up)
        assert not await judge.complaints(compared=False)
    assert len(rig.examiner.examined) == looked + 2
