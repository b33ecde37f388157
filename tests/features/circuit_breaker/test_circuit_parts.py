"""Histogram, windows, outcomes, limits, ramp, shedding, patterns and users, each by itself."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from breaker_rig import settings
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config import BreakerMode
from helios_trio.features.circuit_breaker import histogram
from helios_trio.features.circuit_breaker.adaptive import BOUND, WARM, Baseline, limits_of
from helios_trio.features.circuit_breaker.cascade import Shedder, is_cascade
from helios_trio.features.circuit_breaker.health import (
    Dimension,
    Limits,
    Load,
    Pressure,
    breach_of_requests,
    breach_of_standstill,
    wilson_lower,
)
from helios_trio.features.circuit_breaker.histogram import Counts, bucket_of, seconds_of
from helios_trio.features.circuit_breaker.outcomes import is_servers_fault
from helios_trio.features.circuit_breaker.queries import MOST as MOST_PATTERNS
from helios_trio.features.circuit_breaker.queries import PatternBreakers
from helios_trio.features.circuit_breaker.ramp import Ramp, TokenBucket
from helios_trio.features.circuit_breaker.users import MOST as MOST_USERS
from helios_trio.features.circuit_breaker.users import SLOTS, UserBreakers
from helios_trio.features.circuit_breaker.windows import LONG, SHORT, Tally, Windows

TIMES = st.lists(st.floats(histogram.SHORTEST, histogram.LONGEST), min_size=1, max_size=200)


def counted(times: Sequence[float]) -> Counts:
    found: Counts = defaultdict(int)
    for each in times:
        found[bucket_of(each)] += 1
    return found


# -- histogram -----------------------------------------------------------------------------------------------------


@given(TIMES, st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_quantiles_are_as_near_as_promised(times: list[float], share: float) -> None:
    """Those of the sorted list (nearest rank), but for the accuracy of a bucket."""
    exact = sorted(times)[max(1, math.ceil(share * len(times))) - 1]
    (found,) = histogram.quantiles(counted(times), share)
    assert abs(found - exact) <= (histogram.ACCURACY + 1e-9) * exact


@given(TIMES, TIMES)
def test_histograms_are_added_and_subtracted(one: list[float], two: list[float]) -> None:
    """Merged they are that of both lists, and what is taken out again leaves the other."""
    merged = counted(one)
    histogram.add(merged, counted(two))
    assert merged == counted(one + two)
    histogram.subtract(merged, counted(one))
    assert merged == counted(two)


@given(TIMES, st.floats(histogram.SHORTEST, histogram.LONGEST))
def test_what_is_above_a_limit(times: list[float], limit: float) -> None:
    """All that are surely beyond are counted, none that is surely within."""
    found = histogram.above(counted(times), bucket_of(limit))
    assert sum(each > limit * 1.021 for each in times) <= found <= sum(each > limit for each in times)


def test_odd_times_are_counted() -> None:
    """A clock may stand still; a request may take for ever."""
    assert bucket_of(0.0) == bucket_of(-1.0) == bucket_of(histogram.SHORTEST)
    assert bucket_of(math.inf) == bucket_of(histogram.LONGEST)
    assert bucket_of(0.0) >= 0
    assert histogram.quantiles(counted([]), 0.5, 0.99) == (0.0, 0.0)
    assert seconds_of(bucket_of(1.0)) == pytest.approx(1.0, rel=0.02)


# -- windows -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60), st.sampled_from([0.5, 1.0]))
def test_windows_hold_what_they_promise(events: list[tuple[int, bool]], step: float) -> None:
    """At least all of the last seconds, at most one step more; whatever the pauses are."""
    windows, now, happened = Windows(step, 10.0), 0.0, []
    for eighths, failed in events:
        now += eighths / 8
        windows.turn(now)
        windows.current.times[5] += 1
        windows.current.answers += 1
        windows.current.errors += failed
        happened.append((now, failed))
        for size in (SHORT, 10.0, LONG):
            least = [bad for at, bad in happened if at > now - size]
            most = [bad for at, bad in happened if at > now - size - step]
            assert len(least) <= windows.requests(size) <= len(most)
            assert sum(least) <= windows.failures(size) <= sum(most)
            assert windows.slower(size, 4) == windows.requests(size)
            assert windows.slower(size, 5) == 0


def test_windows_forget() -> None:
    """What is old, and all of it when told to."""
    windows = Windows(1.0, 10.0)
    windows.turn(0.0)
    windows.current.answers, windows.current.lost = 10, 2
    assert (windows.requests(LONG), windows.failures(LONG), windows.empty) == (12, 2, False)
    windows.turn(1000.0)
    assert windows.empty
    windows.current.errors = 1
    windows.clear()
    assert windows.empty


def test_rate() -> None:
    """Requests per second of the time that has been seen."""
    windows = Windows(1.0, 10.0)
    for each in range(300):
        windows.turn(each / 100)
        windows.current.answers += 1
    assert windows.rate(LONG, 2.99) == pytest.approx(100, rel=0.02)


# -- outcomes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqlstate", "counts"),
    [
        *((each, True) for each in ("53100", "53200", "53300", "57P01", "57P02", "57P03", "58000", "58030")),
        *((each, True) for each in ("XX000", "XX001", "XX002", "08000", "08006", "08004", "08007")),
        *((each, False) for each in ("22012", "22P02", "23505", "23503", "42601", "42P01", "42501", "40001")),
        *((each, False) for each in ("40P01", "57014", "57P04", "57P05", "25006", "25P02", "55P03", "P0001")),
        *((each, False) for each in ("0A000", "26000", "54000", "54001", "28P01", "3D000", "HV00N", "00000")),
        # what statements bring about, although its class is the server's
        *((each, False) for each in ("08P01", "08001", "08003", "53400", "58P01", "58P02")),
    ],
)
def test_whose_fault_it_is(sqlstate: str, counts: bool) -> None:
    assert is_servers_fault(sqlstate) is counts


# -- health --------------------------------------------------------------------------------------------------------

LIMITS = Limits(
    p95=0.1, p99=0.5, error_rate=0.05, saturation=0.9, queue_depth=0, lag=math.inf, minimum=20, window=10.0
)


def windows_with(*times: tuple[float, int], errors: int = 0, ago: float = 2.5) -> Windows:
    """Requests that ended so long ago: in the window of 10 s, and beyond 2 s no longer in that of 1 s."""
    windows = Windows(1.0, 10.0)
    windows.turn(0.0)
    for seconds, count in times:
        windows.current.times[bucket_of(seconds)] += count
        windows.current.answers += count
    windows.current.errors = errors
    windows.turn(ago)
    return windows


@pytest.mark.parametrize(
    ("windows", "dimension"),
    [
        (windows_with((0.01, 100)), None),
        (windows_with((0.01, 95), (0.2, 5)), None),
        (windows_with((0.01, 94), (0.2, 6)), Dimension.LATENCY_P95),
        (windows_with((0.01, 990), (1.0, 10)), None),
        (windows_with((0.01, 989), (1.0, 11)), Dimension.LATENCY_P99),
        (windows_with((0.01, 97), (1.0, 2)), None),  # 99 requests have no p99
        (windows_with((0.2, 19)), None),  # fewer than minimum_requests
        (windows_with((0.2, 20)), Dimension.LATENCY_P95),
        (windows_with((0.01, 100), errors=5), None),
        (windows_with((0.01, 100), errors=6), Dimension.ERROR_RATE),
        # the window of one second: 2 of 20 may be chance, 4 of 20 are not
        (windows_with((0.01, 96), (0.2, 4), ago=0.0), None),
        (windows_with((0.01, 1)), None),
    ],
)
def test_what_is_beyond_a_limit(windows: Windows, dimension: Dimension | None) -> None:
    found = breach_of_requests(windows, LIMITS)
    assert (found and found.dimension) == dimension


def test_the_short_window_needs_certainty() -> None:
    """It is quick: a share that the long window has not seen yet counts in it, if chance is no explanation."""
    for bad, dimension in ((7, None), (20, Dimension.LATENCY_P95)):
        windows = windows_with((0.01, 10_000))
        windows.current.times[bucket_of(0.2)] += bad
        windows.current.times[bucket_of(0.01)] += 80
        windows.current.answers += bad + 80
        found = breach_of_requests(windows, LIMITS)
        assert (found and found.dimension) == dimension
        assert found is None or found.figures["window_seconds"] == SHORT


def test_requests_that_have_not_ended_count_as_slow() -> None:
    """Once they are older than a limit."""
    windows = windows_with((0.01, 50))
    assert breach_of_requests(windows, LIMITS, [0.09] * 10) is None
    found = breach_of_requests(windows, LIMITS, [0.11] * 10)
    assert found is not None
    assert found.dimension is Dimension.LATENCY_P95


@pytest.mark.parametrize(
    ("rate", "ages", "silence", "stands"),
    [
        (1000, [0.2] * 8, 0.2, True),
        (1000, [0.2] * 8, 0.05, False),  # something was answered meanwhile
        (1000, [0.2] * 2, 0.2, False),  # two may be slow by themselves
        (1000, [0.2] * 4 + [0.01] * 5, 0.2, False),  # most have only begun
        (10, [0.2] * 8, 0.2, False),  # 2 answers would have been due: too few
        (1000, [0.05] * 8, 60.0, False),  # nobody had asked for anything
        (1000, [], 60.0, False),
    ],
)
def test_standstill(rate: float, ages: list[float], silence: float, stands: bool) -> None:
    """A server that answers nothing shows in no window."""
    found = breach_of_standstill(LIMITS, rate, ages, silence)
    assert (found is not None) is stands


def test_wilson() -> None:
    """Against figures of the literature (z = 1.96: 0.0359 .. 0.4578 for 2 of 12 or so), and its limits."""
    assert wilson_lower(2, 12, 1.96) == pytest.approx(0.0470, abs=0.0005)
    assert wilson_lower(0, 50, 3.0) == pytest.approx(0.0, abs=1e-12)
    assert wilson_lower(500, 1000, 3.0) == pytest.approx(0.453, abs=0.001)


@pytest.mark.parametrize(
    ("load", "dimension"),
    [
        (Load(active=95, limit=100, waiting=1), Dimension.SATURATION),
        (Load(active=95, limit=100), None),
        (Load(active=89, limit=100, waiting=5), None),
        (Load(waiting=30), Dimension.QUEUE_DEPTH),
        (Load(waiting=29), None),
        (Load(lag=11.0), Dimension.LAG),
        (Load(lag=9.0), None),
        (Load(lag=None), None),
    ],
)
def test_load_must_be_beyond_for_a_second(load: Load, dimension: Dimension | None) -> None:
    """And without a break."""
    limits = Limits(
        p95=1, p99=1, error_rate=1, saturation=0.9, queue_depth=30, lag=10.0, minimum=1, window=10.0
    )
    pressure = Pressure()
    assert pressure.note(0.0, load, limits) is None
    assert pressure.note(0.9, load, limits) is None
    assert pressure.note(0.95, Load(), limits) is None
    assert pressure.note(1.0, load, limits) is None
    assert pressure.note(1.9, load, limits) is None
    found = pressure.note(2.1, load, limits)
    assert (found and found.dimension) == dimension


# -- adaptive ------------------------------------------------------------------------------------------------------


def step_of(generator: random.Random, median: float) -> Tally:
    tally = Tally()
    for _ in range(100):
        tally.times[bucket_of(generator.lognormvariate(math.log(median), 0.5))] += 1
    tally.answers = 100
    return tally


def learned(median: float, steps: int = 100) -> Baseline:
    baseline, generator = Baseline(), random.Random(1)
    for _ in range(steps):
        baseline.learn(step_of(generator, median))
    return baseline


def test_limits_follow_what_is_normal() -> None:
    """Three times its p95 (here 2.3 times the median); not before enough was seen, and within bounds."""
    assert learned(0.1).limit_p95(0.5) == pytest.approx(0.1 * 2.28 * 3, rel=0.15)
    assert learned(0.1, WARM - 1).limit_p95(0.5) == 0.5
    assert learned(0.001).limit_p95(0.5) == 0.5 / BOUND
    assert learned(60.0).limit_p95(0.5) == 0.5 * BOUND


def test_a_backend_that_is_normally_slow_has_other_limits() -> None:
    """In all modes but static."""
    baseline = learned(0.1)
    static = limits_of(settings(mode=BreakerMode.STATIC), baseline)
    assert (static.p95, static.p99, static.error_rate) == (0.5, 2.0, 0.05)
    adaptive = limits_of(settings(mode=BreakerMode.ADAPTIVE), baseline)
    assert adaptive.p95 > 0.5
    assert adaptive.p99 >= adaptive.p95


# -- ramp ----------------------------------------------------------------------------------------------------------


def test_shares_of_a_ramp() -> None:
    """Steps of equal length, each a share more, all of it at the end."""
    ramp = Ramp(100.0, duration=120.0, step=10.0, rate=1000.0)
    assert [round(ramp.share(100.0 + 12 * each), 6) for each in range(10)] == [
        each / 10 for each in range(1, 11)
    ]
    assert not ramp.done(207.9)
    assert ramp.done(208.1)
    uneven = Ramp(0.0, duration=40.0, step=30.0, rate=1.0)
    assert [uneven.share(each) for each in (0.0, 10.0, 20.0, 30.0, 40.0)] == [0.3, 0.6, 0.9, 1.0, 1.0]


@given(st.floats(20, 5000), st.sampled_from([5.0, 10.0, 25.0, 50.0]), st.floats(2, 60))
def test_a_ramp_never_lets_more_through(rate: float, step: float, duration: float) -> None:
    """In any step: its share of the rate, and a burst of a tenth of a second, however often somebody asks."""
    ramp = Ramp(0.0, duration, step, rate)
    length = duration / ramp.steps
    for number in range(ramp.steps - 1):
        passed, now, end = 0, number * length + 1e-6, (number + 1) * length - 1e-6
        share = ramp.share(now)
        for _ in range(min(2000, max(1, int(length * rate * 2)))):
            now += (end - now) / 50 if length * rate * 2 > 2000 else 1 / (2 * rate)
            if now >= end:
                break
            if ramp.may_take(now):
                ramp.take(now)
                passed += 1
        assert passed <= share * rate * (now - number * length) + max(1.0, 0.1 * share * rate) + 1


def test_a_ramp_lets_through_what_it_promises() -> None:
    """Not much less than its share, when somebody asks."""
    ramp, passed = Ramp(0.0, 100.0, 10.0, 200.0), 0
    for each in range(9 * 400):
        if ramp.may_take(each / 400):
            ramp.take(each / 400)
            passed += 1
    assert passed == pytest.approx(9 * 20, rel=0.05)


def test_a_ramp_gives_more_while_the_others_are_saturated() -> None:
    """Twice as much."""
    ramp, passed = Ramp(0.0, 100.0, 10.0, 200.0), 0
    ramp.press(True)
    for each in range(9 * 400):
        if ramp.may_take(each / 400):
            ramp.take(each / 400)
            passed += 1
    assert passed == pytest.approx(9 * 40, rel=0.05)


def test_takers_of_one_moment_leave_a_debt() -> None:
    """Several sessions may have been told at once that there is room; the next have to wait longer."""
    ramp = Ramp(0.0, 100.0, 10.0, 100.0)
    for _ in range(11):
        ramp.take(0.0)
    assert not ramp.may_take(0.9)
    assert ramp.may_take(1.2)


def test_token_bucket() -> None:
    """So many at once, then so many per second."""
    bucket = TokenBucket(rate=2.0, burst=3.0, tokens=3.0, at=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5) for _ in range(2)] == [True, False]
    assert [bucket.take(60.0) for _ in range(4)] == [True, True, True, False]


# -- cascade -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opened", "of", "cascade"),
    [(0, 3, False), (1, 1, False), (1, 2, False), (2, 3, True), (2, 4, True), (2, 5, False), (3, 5, True)],
)
def test_what_a_cascade_is(opened: int, of: int, cascade: bool) -> None:
    assert is_cascade(opened, of) is cascade


def refused(shedder: Shedder, count: int = 100) -> tuple[int, ...]:
    return tuple(sum(shedder.refuses(priority) for _ in range(count)) for priority in range(3))


def test_the_least_important_are_refused_first() -> None:
    """Then, while what is left is saturated, all but those who never are; less when it has room again."""
    shedder = Shedder()
    assert not shedder.note(0.0, open_circuits=1, backends=3, saturated=True)
    assert refused(shedder) == (0, 0, 0)
    assert shedder.note(1.0, open_circuits=2, backends=3, saturated=True)
    assert refused(shedder) == (50, 0, 0)
    shedder.note(2.0, open_circuits=2, backends=3, saturated=True)
    assert refused(shedder) == (100, 50, 0)
    shedder.note(9.0, open_circuits=2, backends=3, saturated=True)
    assert refused(shedder) == (100, 100, 0)
    shedder.note(13.0, open_circuits=2, backends=3, saturated=False)
    assert refused(shedder) == (100, 0, 0)
    shedder.note(60.0, open_circuits=2, backends=3, saturated=False)
    assert refused(shedder) == (0, 0, 0)
    assert shedder.note(61.0, open_circuits=1, backends=3, saturated=False)
    assert shedder.shed == 50 + 150 + 200 + 100


# -- patterns ------------------------------------------------------------------------------------------------------


def patterns() -> PatternBreakers:
    return PatternBreakers(slow_after=1.0, open_duration=10.0, max_open_duration=40.0)


def test_a_slow_pattern_is_refused_and_tried_again() -> None:
    """Others flow; each failed try doubles the time."""
    found = patterns()
    for each in range(4):
        assert found.note(float(each), "slow", 2.0, failed=False) == ""
    assert found.note(4.0, "slow", 2.0, failed=False).startswith("opened: 5 of 5 runs")
    refusal = found.admit(5.0, "slow")
    assert refusal is not None
    assert (refusal.sqlstate, refusal.severity, refusal.hint) == ("53400", "ERROR", "Retry in 9 s.")
    assert found.admit(5.0, "other") is None
    assert found.open_patterns() == ["slow"]
    assert found.note(6.0, "slow", 0.1, failed=False) == ""  # one that had begun before
    assert found.admit(14.5, "slow") is None
    assert found.admit(14.5, "slow") is not None
    assert found.note(16.0, "slow", 1.5, failed=False).startswith("opened")
    assert found.admit(35.0, "slow") is not None
    assert found.admit(36.5, "slow") is None
    assert found.note(37.0, "slow", 0.5, failed=False).startswith("closed")
    assert found.admit(37.0, "slow") is None
    assert found.open_patterns() == []


def test_a_failing_pattern_is_refused() -> None:
    """However quick it is; but most of its runs must be bad."""
    found = patterns()
    told = [found.note(1.0, "p", 0.0, failed=each % 2 == 0) for each in range(20)]
    assert told == [""] * 4 + [told[4]] + told[5:]
    assert told[4].startswith("opened: 3 of 5")
    healthy = patterns()
    assert not any(healthy.note(1.0, "p", 0.0, failed=each % 3 == 2) for each in range(60))


def test_old_runs_do_not_count() -> None:
    """Four bad ones, and long after that another."""
    found = patterns()
    for _ in range(4):
        found.note(0.0, "p", 2.0, failed=False)
    assert found.note(130.0, "p", 2.0, failed=False) == ""


def test_patterns_are_bounded() -> None:
    """The oldest are forgotten."""
    found = patterns()
    for each in range(2 * MOST_PATTERNS):
        found.note(0.0, str(each), 2.0, failed=False)
    assert len(found.patterns) == MOST_PATTERNS
    assert found.patterns.find("0") is None


# -- users ---------------------------------------------------------------------------------------------------------


def test_a_user_beyond_the_rate_is_isolated() -> None:
    """A few requests at a time, 53400 beyond them; others are served, and in the end all is as before."""
    users = UserBreakers(rate=10, isolate=True, duration=30.0)
    for _ in range(10):
        assert users.admit(0.0, "eve") == (None, "")
        users.release("eve")
    refusal, isolated = users.admit(0.0, "eve")
    assert refusal is None
    assert isolated == "more than 10 requests per second"
    for _ in range(SLOTS - 1):
        assert users.admit(0.1, "eve") == (None, "")
    refusal, isolated = users.admit(0.1, "eve")
    assert refusal is not None
    assert (refusal.sqlstate, refusal.hint, isolated) == ("53400", "Retry in 30 s.", "")
    users.release("eve")
    assert users.admit(0.2, "eve") == (None, "")
    assert users.admit(0.2, "bob") == (None, "")
    assert list(users.tick(29.0, False)) == []
    assert list(users.tick(31.0, False)) == [("eve", "")]
    for _ in range(SLOTS):
        users.release("eve")
    assert [users.admit(31.0, "eve") for _ in range(10)] == [(None, "")] * 10


def test_without_isolation_only_what_is_beyond_is_refused() -> None:
    users = UserBreakers(rate=10, isolate=False, duration=30.0)
    found = [users.admit(0.0, "eve")[0] for _ in range(12)]
    assert [each is None for each in found] == [True] * 10 + [False] * 2
    assert users.admit(0.1, "eve")[0] is None


def test_who_takes_most_of_a_saturated_backend_is_isolated() -> None:
    """Not while there is room for all, and not the only one."""
    users = UserBreakers(rate=1000, isolate=True, duration=30.0)
    users.note("eve", 9.0)
    assert list(users.tick(1.0, True)) == []
    users.note("bob", 1.0)
    assert list(users.tick(2.0, False)) == []
    assert list(users.tick(3.0, True)) == [("eve", "90 % of the time of a saturated backend")]
    assert list(users.tick(3.1, True)) == []


def test_what_users_did_long_ago_does_not_count() -> None:
    users = UserBreakers(rate=1000, isolate=True, duration=30.0)
    users.note("eve", 9.0)
    for each in range(5):
        list(users.tick(11.0 * each, False))
    users.note("eve", 1.0)
    users.note("bob", 1.0)
    assert list(users.tick(60.0, True)) == []


def test_users_are_bounded() -> None:
    users = UserBreakers(rate=10, isolate=True, duration=30.0)
    for each in range(2 * MOST_USERS):
        users.admit(0.0, str(each))
    assert len(users.users) == MOST_USERS
