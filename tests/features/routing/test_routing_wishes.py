"""Wishes from hints and settings: what counts, what is ignored."""

from __future__ import annotations

import pytest

from helios_trio.features.routing.wishes import NOTHING, wish_of_hints, wish_of_settings
from helios_trio.pipeline.routing import ANYTHING, Consistency, Wish
from helios_trio.sql.hints import NO_HINTS, hints_of

RYW = Consistency.READ_YOUR_WRITES


@pytest.mark.parametrize(
    ("hint", "wish"),
    [
        ("route=standby", Wish(route="standby")),
        ("route=n1 consistency=ryw", Wish(route="n1", consistency=RYW)),
        ("consistency=strong", Wish(consistency=Consistency.STRONG)),
        ("max_lag=500ms, timeout=2s", Wish(max_lag=0.5, timeout=2.0)),
        ("nonsense", ANYTHING),
    ],
)
def test_hints(hint: str, wish: Wish) -> None:
    assert wish_of_hints(hints_of(f"/*+ {hint} */ SELECT 1".encode()), {"n1"}).wish == wish


def test_no_hints_are_no_wish() -> None:
    assert wish_of_hints(NO_HINTS) is NOTHING
    assert NOTHING.wish is ANYTHING


def test_a_hint_to_a_server_that_there_is_not_is_ignored() -> None:
    hints = hints_of(b"/*+ route=n9 max_lag=1s what=ever */ SELECT 1")
    found = wish_of_hints(hints, {"n1"})
    assert found.wish == Wish(max_lag=1.0)
    assert (found.invalid, found.ignored) == (("what=ever", "route=n9"), 2)
    assert wish_of_hints(hints).wish.route == "n9"
    assert wish_of_hints(hints_of(b"/*+ route=nearest */ SELECT 1"), ()).wish.route == "nearest"


@pytest.mark.parametrize(
    ("settings", "wish", "invalid"),
    [
        ({}, ANYTHING, ()),
        ({"work_mem": "4MB", "helios.replay": "off"}, ANYTHING, ()),
        ({"helios.route": "Standby"}, Wish(route="standby"), ()),
        ({"helios.route": "n1"}, Wish(route="n1"), ()),
        ({"helios.route": "n9"}, ANYTHING, ("helios.route",)),
        ({"helios.route": ""}, ANYTHING, ()),
        ({"helios.route": "a b"}, ANYTHING, ("helios.route",)),
        ({"helios.consistency": "RYW"}, Wish(consistency=RYW), ()),
        ({"helios.consistency": "maybe"}, ANYTHING, ("helios.consistency",)),
        ({"helios.max_lag": "2s"}, Wish(max_lag=2.0), ()),
        ({"helios.max_staleness": "500ms"}, Wish(max_lag=0.5), ()),
        ({"helios.max_staleness": "500ms", "helios.max_lag": "2s"}, Wish(max_lag=0.5), ()),
        ({"helios.max_lag": "2"}, ANYTHING, ("helios.max_lag",)),
        ({"helios.route_timeout": "1s"}, Wish(timeout=1.0), ()),
        (
            {"helios.route_timeout": "soon", "helios.route": "primary"},
            Wish(route="primary"),
            ("helios.route_timeout",),
        ),
    ],
)
def test_settings(settings: dict[str, str], wish: Wish, invalid: tuple[str, ...]) -> None:
    found = wish_of_settings(settings, {"n1"})
    assert found.wish == wish
    assert found.invalid == invalid
    assert found.ignored == len(invalid)


def test_a_hint_counts_more_than_a_setting() -> None:
    hint = wish_of_hints(hints_of(b"/*+ route=primary */ SELECT 1")).wish
    setting = wish_of_settings({"helios.route": "standby", "helios.max_lag": "1s"}).wish
    assert hint.over(setting) == Wish(route="primary", max_lag=1.0)
