"""Conditions of the configuration: read, printed, judged; and a target compared with its source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config.conditions import FACTS, FIGURES, Condition, Conditions, parse_condition
from helios_trio.config.kinds import Expected
from helios_trio.migration.checks import Tolerance, compare, complaints, evaluate
from helios_trio.migration.figures import Figures

CONDITIONS = st.one_of(
    st.builds(Condition, st.sampled_from(sorted(FACTS))),
    st.builds(
        Condition,
        st.sampled_from(sorted(FIGURES)),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.integers(0, 99_999).map(float) | st.sampled_from([0.5, 99.25]),
    ),
)
TOLERANCE = Tolerance(p99_factor=2.0, error_rate_increase=0.01, min_queries=100)


@given(CONDITIONS, st.sampled_from(["", " ", "  "]))
def test_what_is_printed_is_read_back(condition: Condition, space: str) -> None:
    """Also with other spaces."""
    assert parse_condition(str(condition)) == condition
    assert parse_condition(str(condition).replace(" ", space)) == condition


@pytest.mark.parametrize(
    "text",
    [
        "",
        "connection_success < 5",
        "replication_lag_ms",
        "replication_lag < 100",
        "replication_lag_ms < fast",
        "replication_lag_ms << 5",
        "replication_lag_ms < 5 ms",
        "100 > replication_lag_ms",
        "replication_lag_ms < -1",
    ],
)
def test_what_nothing_measures_is_refused(text: str) -> None:
    """And what is no condition; the configuration names what there is."""
    with pytest.raises(ValueError, match=r"condition|measures"):
        parse_condition(text)
    with pytest.raises(Expected, match="replication_lag_ms"):
        Conditions().read([text])


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_comparisons_mean_what_they_say(value: float, limit: float) -> None:
    """Each of the six."""
    held = {sign: Condition("x", sign, limit).holds(value) for sign in ("<", "<=", ">", ">=", "==", "!=")}
    assert held == {
        "<": value < limit,
        "<=": value <= limit,
        ">": value > limit,
        ">=": value >= limit,
        "==": value == limit,
        "!=": value != limit,
    }


def test_a_fact_must_be_true() -> None:
    """Not merely something that is no zero."""
    assert Condition("connection_success").holds(True)
    assert not Condition("connection_success").holds(False)
    assert not Condition("connection_success").holds(5.0)


def test_what_could_not_be_measured_has_not_passed() -> None:
    """Complaints say what was found, and are empty when all is well."""
    conditions = [Condition("connection_success"), Condition("replication_lag_ms", "<", 100.0)]
    assert complaints(evaluate(conditions, {"connection_success": True, "replication_lag_ms": 3.0})) == ()
    assert complaints(evaluate(conditions, {"connection_success": False})) == (
        "connection_success: it is false",
        "replication_lag_ms < 100: it is unknown",
    )
    assert complaints(evaluate(conditions[1:], {"replication_lag_ms": 250.5})) == (
        "replication_lag_ms < 100: it is 250.5",
    )


def figures(p99: float, errors: int = 0, queries: int = 1000) -> Figures:
    return Figures(queries, errors, (p99,) * 100)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (figures(0.010), figures(0.020), []),
        (figures(0.010), figures(0.021), ["p99"]),
        (figures(0.010, 10), figures(0.010, 20), []),
        (figures(0.010, 10), figures(0.010, 21), ["error rate"]),
        (figures(0.010), figures(1.000, 999), ["p99", "error rate"]),
        (figures(0.010, 0, 99), figures(1.000, 999), []),
        (figures(0.010), figures(1.000, 99, 99), []),
        (Figures(), Figures(), []),
    ],
)
def test_a_target_that_is_worse_is_found_out(source: Figures, target: Figures, words: list[str]) -> None:
    """By more than tolerated, and only when both have served enough."""
    found = compare(source, target, TOLERANCE)
    assert len(found) == len(words)
    assert all(text.startswith(word) for text, word in zip(found, words, strict=True))


def test_nothing_is_compared_with_a_factor_of_0() -> None:
    """Error rates are, still."""
    tolerance = Tolerance(p99_factor=0.0, error_rate_increase=0.01, min_queries=1)
    assert compare(figures(0.001), figures(9.0), tolerance) == []


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_p99_is_one_of_the_times_and_high(times: list[float]) -> None:
    """At least 99 of 100 are not above it, and it is not above the highest."""
    p99 = Figures(len(times), 0, tuple(times)).p99
    assert p99 in times
    assert sum(each <= p99 for each in times) >= 0.99 * len(times)
    assert Figures().p99 is None
    assert Figures().error_rate is None
