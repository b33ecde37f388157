"""Where new sessions go: shares, chains, diversions against each other, backends out of service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.cluster.placement import Diversion, Placement, in_share
from helios_trio.errors import BackendUnavailable

NAMES = ("a", "b", "c", "d")
DIVERSIONS = st.builds(
    Diversion, st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from([0.0, 50.0, 100.0])
).filter(lambda each: each.source != each.target)


def placement(*diversions: Diversion) -> Placement:
    return Placement(list(diversions))


def test_without_a_diversion_everybody_goes_where_they_would() -> None:
    """Also to backends that nobody knows here."""
    assert placement().place("a", 1, "x") == "a"


@given(st.integers(0, 2**60), st.floats(0, 100))
def test_a_share_goes_to_the_target(session: int, percent: float) -> None:
    """Decided by the session's id."""
    place = placement(Diversion("a", "b", percent)).place("a", session, "x")
    assert place == ("b" if in_share(session, percent) else "a")


def test_the_way_back_wins_over_the_way_there() -> None:
    """Of two diversions against each other the later one has its way, from both names."""
    found = placement(Diversion("a", "b", 100.0), Diversion("b", "a", 100.0))
    assert (found.place("a", 1, "x"), found.place("b", 1, "x")) == ("a", "a")


@given(st.integers(0, 2**40))
def test_half_a_way_back_divides_both_names_alike(session: int) -> None:
    """A session is where its share says, whichever name it asks for."""
    found = placement(Diversion("a", "b", 100.0), Diversion("b", "a", 50.0))
    expected = "a" if in_share(session, 50.0) else "b"
    assert (found.place("a", session, "x"), found.place("b", session, "x")) == (expected, expected)


def test_chains_are_followed() -> None:
    """Whichever came first."""
    one, two = Diversion("a", "b", 100.0), Diversion("b", "c", 100.0)
    for found in (placement(one, two), placement(two, one)):
        assert (found.place("a", 1, "x"), found.place("b", 1, "x")) == ("c", "c")


def test_the_newest_of_one_source_is_asked_first() -> None:
    """Older ones get those that it does not take."""
    found = placement(
        Diversion("a", "b", 100.0, lambda tenant: tenant.startswith("t")),
        Diversion("a", "c", 100.0, lambda tenant: tenant == "test"),
    )
    assert [found.place("a", 1, tenant) for tenant in ("test", "t2", "x")] == ["c", "b", "a"]


def test_a_diversion_takes_the_place_of_an_earlier_form_of_it() -> None:
    """And can be ended."""
    found = placement()
    small, large = Diversion("a", "b", 10.0), Diversion("a", "b", 100.0)
    found.divert(small)
    found.divert(large, instead_of=small)
    assert found.diversions == [large]
    found.end(large)
    found.end(None)
    assert found.diversions == []


@given(st.lists(DIVERSIONS, max_size=6), st.sampled_from(NAMES), st.integers(0, 2**40))
def test_there_is_always_an_end(diversions: list[Diversion], backend: str, session: int) -> None:
    """Whatever diversions there are, also in circles."""
    assert placement(*diversions).place(backend, session, "x") in NAMES


def test_out_of_service_nobody_new_comes() -> None:
    """57P03, which clients may retry; a diversion leads past it."""
    found = placement()
    found.out_of_service.add("a")
    with pytest.raises(BackendUnavailable, match="out of service") as caught:
        found.place("a", 1, "x")
    assert caught.value.sqlstate == "57P03"
    found.divert(Diversion("a", "b", 100.0))
    assert found.place("a", 1, "x") == "b"
