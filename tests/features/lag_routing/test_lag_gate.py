"""Standbys beyond the limits leave at once and come back late; nobody reads less than he may."""

from __future__ import annotations

import pytest
from attrs import define, evolve
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.features.lag_routing.gate import Gate, OwnWrites, Staleness
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.freshness import Floor
from helios_trio.pipeline.routing import ANYTHING, Node, Question, Wish

WRITER = Node(backend=Backend("p", "h", 1), writer=True, standby=False)
STANDBY = Node(backend=Backend("s", "h", 1), writer=False, standby=True, lag_seconds=0.1, seen_at=10.0)
QUESTION = Question(session=1, user="u", database="d", tenant="", must_write="", now=10.0)
FLOOR = Floor(position=5, timeline=1)


def test_beyond_the_limit_it_is_out_with_its_reason() -> None:
    """In seconds, or in bytes."""
    gate = Gate(max_lag=1.0, max_lag_bytes=100)
    assert not gate.note("s", 0.5, 50, 0.0)
    assert gate.refuses(QUESTION, STANDBY) == ""
    assert gate.note("s", 1.5, 50, 1.0)
    assert "1.5 s behind" in gate.refuses(QUESTION, STANDBY)
    assert "101 bytes" in Gate(max_lag_bytes=100)._beyond(0.0, 101, 1.0)
    assert gate.refuses(QUESTION, WRITER) == ""


def test_it_comes_back_when_it_was_well_below_for_a_while() -> None:
    """A standby that hovers at the limit stays out."""
    gate = Gate(max_lag=1.0, recover_after=5.0)
    gate.note("s", 2.0, None, 0.0)
    for now in range(1, 10):
        assert not gate.note("s", 0.9, None, float(now)), "below the limit is not well below it"
    assert not gate.note("s", 0.1, None, 10.0)
    assert not gate.note("s", 0.1, None, 14.9)
    assert not gate.note("s", 0.9, None, 14.95), "it begins anew"
    assert not gate.note("s", 0.1, None, 15.0)
    assert gate.out != {}
    assert gate.note("s", 0.1, None, 20.0)
    assert gate.out == {}


@pytest.mark.parametrize(("lag", "lag_bytes"), [(None, 0), (0.0, None)])
def test_what_is_not_known_is_beyond(lag: float | None, lag_bytes: int | None) -> None:
    """Only where there is a limit for it."""
    assert Gate(max_lag=1.0, max_lag_bytes=10).note("s", lag, lag_bytes, 0.0)
    assert not Gate().note("s", None, None, 0.0)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.01, 2)), max_size=60))
def test_who_was_beyond_the_limit_comes_back_only_after_the_time(steps: list[tuple[float, float]]) -> None:
    """Whatever it does in between: all that it did for `recover_after` before was well below."""
    gate, now = Gate(max_lag=1.0, recover_after=3.0), 0.0
    seen: list[tuple[float, float]] = []
    for lag, passed in steps:
        now += passed
        was_out = "s" in gate.out
        gate.note("s", lag, None, now)
        seen.append((now, lag))
        if was_out and "s" not in gate.out:
            well = [at for at, behind in reversed(seen) if behind <= 0.5]
            unbroken = next((n for n, (_, behind) in enumerate(reversed(seen)) if behind > 0.5), len(seen))
            assert now - seen[len(seen) - unbroken][0] >= 3.0
            assert len(well) >= unbroken
        assert ("s" in gate.out) or lag <= 1.0


def test_what_a_client_allows_counts_what_may_have_happened_since() -> None:
    """A probe of a second ago says how far behind it was then."""
    staleness = Staleness()
    asked = evolve(QUESTION, wish=Wish(max_lag=0.5))
    assert staleness.refuses(asked, STANDBY) == ""
    assert "1.1 s" in staleness.refuses(evolve(asked, now=11.0), STANDBY)
    assert staleness.refuses(evolve(asked, wish=ANYTHING, now=99.0), STANDBY) == ""
    assert staleness.refuses(evolve(asked, now=99.0), WRITER) == ""


@define
class Known:
    """Freshness that knows one server."""

    name: str
    replayed: int
    flushed: int

    async def floor(self) -> Floor:
        raise AssertionError("nobody asks here")

    def is_current(self, floor: Floor) -> bool:
        raise AssertionError("nobody asks here")

    def has(self, name: str, floor: Floor, *, flushed: bool = False) -> bool:
        return name == self.name and floor.position <= (self.flushed if flushed else self.replayed)

    async def look(self, names: object, floor: Floor, *, flushed: bool = False) -> bool:
        raise AssertionError("nobody asks here")


@pytest.mark.parametrize(
    ("replayed", "flushed", "only_flushed", "serves"),
    [(5, 5, False, True), (4, 9, False, False), (4, 5, True, True), (4, 4, True, False)],
)
def test_own_writes_must_be_there(replayed: int, flushed: int, only_flushed: bool, serves: bool) -> None:
    """Replayed, or on disk where that is enough."""
    own_writes = OwnWrites(Known("s", replayed, flushed))
    question = evolve(QUESTION, floor=FLOOR, flushed=only_flushed)
    assert (own_writes.refuses(question, STANDBY) == "") is serves
    assert own_writes.refuses(evolve(question, floor=None), STANDBY) == ""
    assert own_writes.refuses(question, WRITER) == ""
