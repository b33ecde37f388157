"""How far behind a standby is: what it says itself, and what its primary's positions say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.cluster.lag import KEPT, Bound, Positions, lag
from helios_trio.cluster.observation import Observation, application_name
from helios_trio.cluster.topology import Topology
from helios_trio.pipeline.backend import Backend

SYSTEM = "7"
HOUR = 3600.0


def history(*moments: tuple[float, int]) -> Positions:
    found = Positions()
    for at, position in moments:
        found.note(position, at, SYSTEM)
    return found


def test_standby_that_has_all_lacks_nothing() -> None:
    """Though something may have been written since the primary was asked."""
    assert history((1.0, 100), (2.0, 200)).bound(200, 2.25) == Bound(0.25, False)


def test_standby_is_not_further_behind_than_what_it_has() -> None:
    """It has all that the primary had at 1.0, and not what it had at 2.0."""
    assert history((1.0, 100), (2.0, 200)).bound(150, 2.5) == Bound(1.5, True)


def test_what_is_written_later_is_no_lag() -> None:
    """The primary has gone on after the standby was asked."""
    assert history((1.0, 100), (3.0, 300)).bound(100, 2.0) == Bound(1.0, False)


def test_before_all_that_is_known() -> None:
    """There is no bound."""
    assert history((1.0, 100)).bound(50, 2.0) is None
    assert Positions().bound(50, 2.0) is None


@pytest.mark.parametrize(("position", "system"), [(50, SYSTEM), (500, "8")], ids=["went back", "other data"])
def test_another_history_begins(position: int, system: str) -> None:
    """Positions of before cannot be compared with it."""
    found = history((1.0, 100))
    found.note(position, 2.0, system)
    assert found.bound(1000, 3.0) == Bound(1.0, False)
    assert found.bound(position - 1, 3.0) is None


@given(st.integers(1, 3 * KEPT))
def test_what_is_kept_is_bounded(count: int) -> None:
    """Old moments become sparse; the newest and the oldest are there."""
    found = history(*((float(at), at) for at in range(count)))
    assert len(found._times) <= KEPT
    assert found.bound(count - 1, float(count)) == Bound(1.0, False)
    assert found.bound(0, float(count)) is not None


@pytest.mark.parametrize(
    ("said", "bound", "expected"),
    [
        (None, Bound(1.0, True), None),
        (2.0, None, 2.0),
        (0.0, Bound(0.4, False), 0.0),
        (0.0, Bound(7.0, True), 7.0),  # cut off, and does not know what it has not received
        (HOUR, Bound(0.4, False), 0.4),  # nobody has committed for an hour
        (0.002, Bound(0.4, True), 0.002),
    ],
)
def test_both_are_limits(said: float | None, bound: Bound | None, expected: float | None) -> None:
    """The smaller one counts; but having replayed all that was received says nothing about what was not."""
    assert lag(said, bound) == expected


def standby(replayed: int, said: float, received: int | None = None) -> Observation:
    return Observation(True, received or replayed, replayed, said, 1, SYSTEM)


def primary(position: int) -> Observation:
    return Observation(False, position, None, None, 1, SYSTEM)


def test_idle_primary_makes_no_lag() -> None:
    """An hour without commits, then WAL without one (a checkpoint): the standby is as good as before."""
    topology = Topology.of([Backend("a", "h", 1), Backend("b", "h", 1)])
    b = topology.nodes["b"]
    for second in range(100):
        topology.note_answer("a", primary(1000), second)
        topology.note_answer("b", standby(1000, 0.0), second + 0.1)
        assert topology.lag_seconds(b) == 0
    topology.note_answer("a", primary(1100), 100.0)
    topology.note_answer("b", standby(1050, HOUR, received=1100), 100.1)
    found = topology.lag_seconds(b)
    assert found is not None
    assert found <= 1.2
    topology.note_answer("b", standby(1100, 0.0), 100.2)
    assert topology.lag_seconds(b) == 0


def test_standby_that_is_cut_off_falls_behind() -> None:
    """Its receiver waits for a primary that it cannot hear, and it has replayed all it has."""
    topology = Topology.of([Backend("a", "h", 1), Backend("b", "h", 1)])
    for second in range(10):
        topology.note_answer("a", primary(1000 + second), second)
        topology.note_answer("b", standby(1002, 0.0), second + 0.5)
    assert topology.lag_seconds(topology.nodes["b"]) == 7.5
    assert topology.lag_seconds(topology.nodes["a"]) is None


def test_standbys_are_found_by_the_name_they_have_at_their_primary() -> None:
    """Also when they have lost it."""
    topology = Topology.of([Backend("a", "h", 1), Backend("b", "h", 1)])
    rows = [["walreceiver", "streaming", "sync", 500], ["x", "startup", "async", None]]
    topology.note_answer(
        "a",
        Observation.from_row((False, 1000, None, None, 1, SYSTEM, "18.1", "walreceiver", rows, None)),
        1.0,
    )
    b = topology.nodes["b"]
    row = (True, 900, 900, 0.0, 1, SYSTEM, "18.1", None, None)
    topology.note_answer("b", Observation.from_row((*row, "host=h application_name=walreceiver")), 1.0)
    found = topology.seen_by_primary(b)
    assert found is not None
    assert (found.sync_state, found.flushed) == ("sync", 500)
    topology.note_answer("b", Observation.from_row((*row, None)), 2.0)
    assert topology.seen_by_primary(b) is found
    assert topology.seen_by_primary(topology.nodes["a"]) is None


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        ("user=u application_name=one fallback_application_name=two host=h", "one"),
        ("fallback_application_name=two", "two"),
        (r"application_name='it\'s \\ one' host=h", r"it's \ one"),
        ("host=h options='-c application_name=x'", None),
        ("application_name= fallback_application_name=two", "two"),
    ],
)
def test_application_names(conninfo: str, expected: str | None) -> None:
    """As `pg_stat_wal_receiver` shows them."""
    assert application_name(conninfo) == expected
