"""Hints in the leading comment: what is read, what is ignored, and that nothing can hurt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.sql.hints import LOOKED_AT, NO_HINTS, TOLD, TOLD_LENGTH, Hints, hints_of, seconds_of


def read(text: str) -> tuple[str | None, str | None, float | None, float | None]:
    found = hints_of(text.encode())
    return found.route, found.consistency, found.max_lag, found.timeout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/*+ route=primary */ SELECT 1", ("primary", None, None, None)),
        ("/*+ ROUTE=Standby */ SELECT 1", ("standby", None, None, None)),
        ("/*+route=replica*/SELECT 1", ("replica", None, None, None)),
        ("/*+ route=nearest, consistency=ryw */ SELECT 1", ("nearest", "ryw", None, None)),
        ("/*+ consistency=STRONG max_lag=500ms timeout=1s */", (None, "strong", 0.5, 1.0)),
        ("/*+ max_lag = 2s,timeout= 1.5m */", (None, None, 2.0, 90.0)),
        ("/*+\n\troute=eu-west_1.db\n*/ SELECT 1", ("eu-west_1.db", None, None, None)),
        ('/*+ route="Node2" */', ("Node2", None, None, None)),
        ("/*+ route=primary route=standby */", ("standby", None, None, None)),
        ("  \n /*+ route=primary */ SELECT 1", ("primary", None, None, None)),
        (
            "-- one\n/* two /* nested */ */ -- three\n /*+ route=primary */ SELECT 1",
            ("primary", None, None, None),
        ),
        ("--/*+ route=standby */\n/*+ route=primary */ SELECT 1", ("primary", None, None, None)),
        ("/*+ route=x */ /*+ route=y */ SELECT 1", ("x", None, None, None)),
        ("SELECT /*+ route=primary */ 1", (None, None, None, None)),
        ("SELECT 1 /*+ route=primary */", (None, None, None, None)),
        ("'/*+ route=primary */'", (None, None, None, None)),
        ("/* + route=primary */ SELECT 1", (None, None, None, None)),
        ("/* route=primary */ SELECT 1", (None, None, None, None)),
        ("-- /*+ route=primary */", (None, None, None, None)),
        ("/*+ route=primary", (None, None, None, None)),
        ("/*+ route=primary /* */ SELECT 1", (None, None, None, None)),
        ("", (None, None, None, None)),
        ("/*+ */", (None, None, None, None)),
    ],
)
def test_read(text: str, expected: tuple[str | None, str | None, float | None, float | None]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("/*+ SeqScan(t) route=primary */", ("SeqScan(t)",)),
        ("/*+ max_lag=5 */", ("max_lag=5",)),
        ("/*+ max_lag=-1s timeout=soon */", ("max_lag=-1s", "timeout=soon")),
        ("/*+ consistency=sometimes, route= */", ("consistency=sometimes", "route=")),
        ('/*+ route="a b" */', ('route="a b"',)),
        ("/*+ lag=1s */", ("lag=1s",)),
        ("/*+ route=primary /* route=standby */ */", ("route=primary /* route=standby */",)),
    ],
)
def test_what_is_not_understood_is_told(text: str, ignored: tuple[str, ...]) -> None:
    found = hints_of(text.encode())
    assert found.not_understood == ignored
    assert found.ignored == len(ignored)


def test_what_is_told_is_bounded() -> None:
    text = "/*+ " + " ".join(f"{'x' * 100}{i}" for i in range(20)) + " */"
    found = hints_of(text.encode())
    assert found.ignored == 20
    assert len(found.not_understood) == TOLD
    assert all(len(part) == TOLD_LENGTH for part in found.not_understood)


def test_the_statement_is_behind_the_hint() -> None:
    text = b" /* a */ /*+ route=primary */SELECT 1"
    assert text[hints_of(text).size :] == b"SELECT 1"
    assert hints_of(b"SELECT 1").size == 0


def test_a_text_without_a_comment_in_front_costs_nothing_but_a_look() -> None:
    assert hints_of(b"SELECT 1 /*+ route=x */") is NO_HINTS
    assert hints_of(b"  SELECT 1") is NO_HINTS


def test_a_hint_behind_very_long_comments_is_not_looked_for() -> None:
    assert hints_of(b"/*" + b"x" * LOOKED_AT + b"*/ /*+ route=primary */") is NO_HINTS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("1.5m", 90.0),
        ("1min", 60.0),
        ("1H", 3600.0),
        ("1d", 86400.0),
        ("5us", 5e-6),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1 s 2", "-1s", "1e3s", "inf", "nans", "1,5s", "9" * 400 + "s", "١s"]
)
def test_no_durations(text: str) -> None:
    assert seconds_of(text) is None


WORDS = [
    "/*",
    "*/",
    "/*+",
    "--",
    "\n",
    " ",
    ",",
    "=",
    '"',
    "route",
    "max_lag",
    "primary",
    "1s",
    "SELECT",
    "é",
    "\0",
]


@given(
    st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(WORDS)).map(lambda w: "".join(w).encode()))
)
def test_nothing_is_raised(text: bytes) -> None:
    """Any bytes, also with the beginning of a hint in front."""
    for each in (text, b"/*+" + text, b"/*+" + text + b"*/"):
        found = hints_of(each)
        assert isinstance(found, Hints)
        assert found.ignored >= len(found.not_understood)
        assert found.size <= len(each)


@given(
    st.sampled_from(["primary", "standby", "n1"]),
    st.integers(1, 999),
    st.lists(st.sampled_from([" ", "\n", "/* c */", "-- c\n", "/*/**/*/"])),
    st.sampled_from([",", " ", " , ", "\n"]),
)
def test_what_is_written_is_read(route: str, lag: int, before: list[str], between: str) -> None:
    text = "".join(before) + f"/*+route={route}{between}max_lag={lag}ms*/SELECT 1"
    found = hints_of(text.encode())
    assert (found.route, found.max_lag, found.ignored) == (route, pytest.approx(lag / 1000), 0)
    assert text.encode()[found.size :] == b"SELECT 1"


@pytest.mark.parametrize(
    "piece", [b"/*", b"/* */", b"--\n", b" ", b"/*+", b"a ", b"= ", b'"', b"route=", b"*/"]
)
def test_hostile_texts_are_looked_at_up_to_a_bound(piece: bytes) -> None:
    """A megabyte of anything is over at once: only its beginning is looked at."""
    for text in (piece * (1 << 17), b"/*+" + piece * (1 << 17) + b"*/"):
        found = hints_of(text)
        assert found.size <= LOOKED_AT
        assert sum(map(len, found.not_understood)) <= TOLD * TOLD_LENGTH
