"""How long is waited for the next attempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from helios_trio.features.alerts.pacing import FIRST, LONGEST, LONGEST_WISH, pause
from helios_trio.net.post import seconds_of

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def test_doubles_up_to_a_limit() -> None:
    """And stays there, for ever."""
    assert [pause(number, 1.0, None) for number in (1, 2, 3, 4)] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert pause(10_000_000, 1.0, None) == LONGEST


@given(st.integers(1, 10**6), st.floats(0, 1), st.none() | st.floats(0, 1e12))
def test_bounds(attempt: int, chance: float, wish: float | None) -> None:
    """Never below what the receiver wants, unless that is nonsense, and never for too long."""
    found = pause(attempt, chance, wish)
    assert FIRST / 2 <= found <= max(LONGEST, LONGEST_WISH)
    assert found >= min(wish or 0.0, LONGEST_WISH)


def test_retry_after() -> None:
    """Seconds, or a moment compared with the answer's own; nonsense is none at all."""
    assert seconds_of("120") == 120
    assert seconds_of("0") == 0
    assert seconds_of("9" * 400) == 999_999_999_999
    assert seconds_of("Sun, 06 Nov 1994 08:50:07 GMT", DATE) == 30
    assert seconds_of("Sun, 06 Nov 1994 08:49:07 GMT", DATE) == 0
    nonsense = ["", "-5", "1.5", "soon", "٣", "Sun, 99 Nov 1994 08:50:07 GMT", "1e9", "inf"]
    assert [seconds_of(each, DATE) for each in nonsense] == [None] * len(nonsense)
    assert seconds_of(DATE, None) is None
    assert seconds_of("Sun, 06 Nov 1994 08:50:07", DATE) is None
    assert seconds_of(None) is None
