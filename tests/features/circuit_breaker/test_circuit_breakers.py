"""Breakers as the rest of the proxy sees them: what opens a circuit, what comes through, how it recovers."""

from __future__ import annotations

import random

import pytest
from breaker_rig import CLOSED, HALF_OPEN, OPEN, TICK, Rig, settings

from helios_trio.config import BreakerMode
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.circuit import Signal, Transition
from helios_trio.features.circuit_breaker.ramp import LEAST_RATE
from helios_trio.features.circuit_breaker.users import SLOTS
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.routing import Node, Question


def question(must_write: str = "") -> Question:
    return Question(session=1, user="u", database="d", tenant="t", must_write=must_write)


def node(name: str = "a") -> Node:
    return Node(backend=Backend(name, "h", 1), writer=False, standby=True)


# -- opening -------------------------------------------------------------------------------------------------------


def test_it_opens_with_the_very_failure_that_is_too_much() -> None:
    """No tick in between; what is told has the figures."""
    rig = Rig.of(minimum_requests=20, failure_threshold_percentage=10)
    rig.answer(count=90)
    rig.error("53200", 10)
    assert rig.state is CLOSED
    rig.breaker().note_error(rig.now, "XX000", user="u", fingerprint=None)
    assert rig.state is OPEN
    (told,) = rig.told
    assert isinstance(told, Transition)
    assert told.figures["error_rate"] == pytest.approx(11 / 101)
    assert "error rate 10.9 % > 10 %" in told.reason


def test_it_opens_with_the_very_answer_that_is_too_slow() -> None:
    """The p95 of the window is beyond its limit from this one on."""
    rig = Rig.of(latency_threshold_p95_ms=100)
    rig.answer(0.01, 95)
    rig.answer(0.2, 5)
    assert rig.state is CLOSED
    rig.answer(0.2)
    assert rig.state is OPEN


@pytest.mark.parametrize("sqlstate", ["22012", "23505", "42601", "40001", "40P01", "57014", "58P01", "P0001"])
def test_mistakes_of_clients_never_count(sqlstate: str) -> None:
    """However many."""
    rig = Rig.of()
    rig.error(sqlstate, 1000)
    rig.pass_time(0.1)
    assert (rig.state, rig.breaker().failures, rig.breaker().last_failure) == (CLOSED, 0, None)


def test_lost_connections_count() -> None:
    """Each for a request."""
    rig = Rig.of(minimum_requests=20)
    rig.lose(19)
    assert rig.state is CLOSED
    rig.lose()
    assert rig.state is OPEN


def test_whether_a_primary_is_dead_is_not_for_its_circuit_to_say() -> None:
    """While somebody takes over from it, its clients wait for that; what it answers counts as ever."""
    rig = Rig.of(minimum_requests=20)
    rig.breaker().has_successor = lambda: True
    rig.serve(5, rate=100)
    rig.lose(100)
    rig.error("57P01", 100)
    for _ in range(300):
        rig.now += TICK
        rig.tick(active=20, limit=20, waiting=5, ages=[1.0] * 20)
    assert rig.state is CLOSED
    rig.error("53100", 100)
    assert rig.state is OPEN


def test_few_requests_are_not_judged() -> None:
    """minimum_requests, in the window."""
    rig = Rig.of(minimum_requests=50)
    rig.error("XX000", 49)
    assert rig.state is CLOSED
    rig.pass_time(12)
    rig.error("XX000", 49)
    assert rig.state is CLOSED
    rig.error("XX000")
    assert rig.state is OPEN


def test_a_standstill_is_seen_by_what_does_not_end() -> None:
    """After as long as a slow request takes; a backend that nobody asks stands still, too, and is well."""
    rig = Rig.of(latency_threshold_p95_ms=200)
    rig.serve(5, rate=500)
    rig.pass_time(1)
    assert rig.state is CLOSED
    begin = rig.now
    while rig.state is CLOSED and rig.now < begin + 1:
        rig.now += TICK
        rig.tick(active=8, limit=20, ages=[rig.now - begin] * 8)
    assert rig.state is OPEN
    assert rig.now - begin == pytest.approx(0.2, abs=2 * TICK)


def test_a_server_that_health_checks_have_given_up_is_open_at_once() -> None:
    """Nobody is sent there any more who could find out."""
    rig = Rig.of()
    rig.tick(gone="health checks fail: timeout")
    assert rig.state is OPEN
    assert "timeout" in rig.breaker().circuit.reason


@pytest.mark.parametrize(
    "load",
    [{"active": 20, "limit": 20, "waiting": 3}, {"waiting": 40}, {"lag": 31.0}],
    ids=["saturated", "queue", "lag"],
)
def test_load_opens_when_it_lasts(load: dict[str, float]) -> None:
    """A second, without any request ending."""
    rig = Rig.of(queue_depth_threshold=40, lag_threshold=30.0)
    rig.pass_time(0.9, **load)
    assert rig.state is CLOSED
    rig.pass_time(0.2, **load)
    assert rig.state is OPEN


def test_a_saturated_pool_is_no_reason_while_nobody_waits() -> None:
    rig = Rig.of()
    rig.pass_time(5, active=20, limit=20)
    assert rig.state is CLOSED


# -- refusing ------------------------------------------------------------------------------------------------------


def test_what_an_open_circuit_says() -> None:
    """To routing a reason, to a client that asks for this backend an error that ends by itself."""
    rig = Rig.of("a", "b", open_duration=30.0)
    assert rig.breakers.refuses(question(), node()) == ""
    rig.open()
    assert rig.breakers.refuses(question(), node()).startswith("circuit is open: error rate")
    assert rig.breakers.refuses(question(), node("b")) == ""
    assert rig.breakers.refuses(question(), node("stranger")) == ""
    refusal = rig.breakers.admit("a", "u", None, rig.now + 10)
    assert refusal is not None
    assert (refusal.sqlstate, refusal.severity, refusal.hint) == ("57P03", "ERROR", "Retry in 20 s.")
    assert rig.breakers.admit("b", "u", None, rig.now) is None
    assert rig.breakers.admit("stranger", "u", None, rig.now) is None
    assert rig.breakers.tap("stranger") is None


def test_half_open_lets_a_few_try() -> None:
    """Nobody before the first probe; then so many at a time, each for one that has ended."""
    rig = Rig.of(half_open_max_concurrent=3)
    rig.half_open()
    assert "not probed" in rig.breakers.refuses(question(), node())
    assert rig.breakers.admit("a", "u", None, rig.now) is not None
    rig.probe()
    assert [rig.breakers.admit("a", "u", None, rig.now) is None for _ in range(5)] == [True] * 3 + [False] * 2
    assert "3 requests try it" in rig.breakers.refuses(question(), node())
    rig.breakers.release("a", "u")
    assert rig.breakers.refuses(question(), node()) == ""


def test_trials_that_nobody_ends_are_given_up() -> None:
    """A session may have been moved away meanwhile."""
    rig = Rig.of(half_open_max_concurrent=1)
    rig.half_open()
    rig.probe()
    assert rig.breakers.admit("a", "u", None, rig.now) is None
    assert rig.breakers.refuses(question(), node())
    rig.pass_time(61)
    assert rig.breakers.refuses(question(), node()) == ""


# -- recovering ----------------------------------------------------------------------------------------------------


def test_a_whole_life() -> None:
    """Closed, open, half-open, closed in steps, and then as if nothing had been."""
    rig = Rig.of(open_duration=30.0, recovery_ramp_up_duration=60.0)
    rig.recover()
    assert rig.transitions == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]
    ramp = rig.breaker().ramp
    assert ramp is not None
    assert ramp.share(rig.now) == 0.1
    rig.pass_time(61)
    assert rig.breaker().ramp is None
    assert rig.notices == ["circuit recovered"]
    assert rig.breaker().trip_duration(rig.now) == pytest.approx(30.0, abs=0.1)


def test_it_fails_its_trial_at_once_when_it_cannot_pass_any_more() -> None:
    """10 results, 80 % of them: the third failure decides, and the next opening is twice as long."""
    rig = Rig.of(open_duration=30.0)
    rig.half_open()
    rig.probe()
    rig.answer(count=3)
    rig.error("XX000", 2)
    assert rig.state is HALF_OPEN
    rig.error("XX000")
    assert rig.state is OPEN
    assert rig.breaker().circuit.open_until - rig.now == pytest.approx(60.0)


def test_a_slow_answer_fails_a_trial() -> None:
    """Slower than the p95 may be; those of requests that had begun before say nothing."""
    rig = Rig.of(half_open_max_concurrent=2, half_open_success_threshold=100)
    rig.half_open()
    rig.probe()
    rig.now += 0.3
    rig.answer(2.0)
    assert rig.state is HALF_OPEN
    rig.now += 1.0
    rig.answer(0.9)
    assert rig.state is OPEN


@pytest.mark.parametrize(("passed", "seconds"), [(False, 0.001), (True, 0.6)])
def test_the_first_probe_decides_if_it_fails(passed: bool, seconds: float) -> None:
    """A slow one has failed."""
    rig = Rig.of()
    rig.half_open()
    rig.probe(passed, seconds)
    assert rig.state is OPEN


def test_probes_alone_close_it_where_nobody_asks() -> None:
    """The second, an interval after the first."""
    rig = Rig.of(half_open_probe_interval=5.0)
    rig.half_open()
    rig.probe()
    rig.pass_time(4.9)
    assert rig.breakers.probes_due(rig.now) == []
    rig.pass_time(0.2)
    rig.probe()
    assert rig.state is CLOSED


def test_each_failed_try_doubles_the_time() -> None:
    """Up to max_open_duration; a healthy period makes it short again."""
    rig = Rig.of(open_duration=10.0, max_open_duration=60.0, gradual_recovery_enabled=False)
    rig.open()
    durations = []
    for _ in range(5):
        durations.append(rig.breaker().circuit.open_until - rig.now)
        rig.pass_time(durations[-1] + TICK)
        rig.probe(passed=False)
    assert durations == pytest.approx([10, 20, 40, 60, 60], abs=0.01)
    rig.pass_time(60 + TICK)
    rig.probe()
    rig.answer(count=9)
    rig.pass_time(11)
    rig.open()
    assert rig.breaker().circuit.open_until - rig.now == pytest.approx(10.0)


def test_without_gradual_recovery_all_comes_back_at_once() -> None:
    rig = Rig.of(gradual_recovery_enabled=False)
    rig.recover()
    assert rig.breaker().ramp is None
    assert all(rig.breakers.admit("a", "u", None, rig.now) is None for _ in range(1000))
    assert rig.breakers.refuses(question(), node()) == ""


def test_overshoot_of_a_recovery() -> None:
    """Three times as many ask as it served before: each step lets its share through, and hardly more.

    What must be written is not kept back: no other backend takes it.
    """
    rig = Rig.of(recovery_ramp_up_duration=10.0, recovery_step_percentage=25)
    rig.serve(60, rate=100)
    rig.half_open()
    rig.probe()
    rig.answer(count=9)
    begin, let_in = rig.now, [0, 0, 0, 0]
    rate = rig.breaker().rate_before
    for _ in range(749):
        rig.now += 0.01
        rig.tick()
        for _ in range(3):
            if not rig.breakers.refuses(question(), node()):
                assert rig.breakers.admit("a", "u", None, rig.now) is None
                let_in[int((rig.now - begin) / 2.5)] += 1
        assert rig.breakers.refuses(question("it is an INSERT"), node()) == ""
    for number, count in enumerate(let_in[:3], start=1):
        assert count == pytest.approx(2.5 * 0.25 * number * rate, rel=0.1)


def test_a_relapse_while_it_recovers_opens_for_longer() -> None:
    """The healthy period has not been."""
    rig = Rig.of(open_duration=10.0)
    rig.recover()
    rig.pass_time(5)
    rig.open()
    assert rig.breaker().circuit.open_until - rig.now == pytest.approx(20.0)
    assert rig.breaker().ramp is None


def test_a_backend_that_had_no_traffic_recovers_too() -> None:
    """From hardly any requests per second a share would be none at all."""
    rig = Rig.of()
    rig.recover()
    ramp = rig.breaker().ramp
    assert ramp is not None
    assert ramp.rate >= LEAST_RATE


# -- operators -----------------------------------------------------------------------------------------------------


def test_held_open_and_held_closed() -> None:
    """Whatever is measured, and for however long; reset gives it back."""
    rig = Rig.of()
    rig.breakers.force("a", Signal.FORCED_OPEN, rig.now, who="otto", reason="maintenance")
    rig.pass_time(100)
    assert rig.state is OPEN
    assert rig.breakers.refuses(question(), node()) == "circuit is open: maintenance"
    refusal = rig.breakers.admit("a", "u", None, rig.now)
    assert refusal is not None
    assert refusal.hint == "Retry later."
    rig.breakers.force("a", Signal.FORCED_CLOSED, rig.now, who="otto", reason="must run")
    rig.error("XX000", 100)
    rig.pass_time(1)
    assert rig.state is CLOSED
    rig.breakers.force("a", Signal.RESET, rig.now, who="otto", reason="done")
    assert rig.state is CLOSED
    rig.open()


def test_unknown_backends_cannot_be_forced() -> None:
    with pytest.raises(KeyError):
        Rig.of().breakers.force("x", Signal.RESET, 0.0, who="otto", reason="")


# -- several at once -----------------------------------------------------------------------------------------------


def test_a_cascade_sheds_load() -> None:
    """Two of three open: 53300 for the least important; told once at its beginning and its end."""
    rig = Rig.of("a", "b", "c", shed_first=("batch*",), shed_last=("checkout",))
    rig.open("a")
    rig.tick()
    assert rig.breakers.admit("c", "batch1", None, rig.now) is None
    rig.open("b")
    rig.tick()
    assert rig.notices == ["circuit cascade"]
    shed = [rig.breakers.admit("c", "batch1", None, rig.now) for _ in range(100)]
    refusals = [each for each in shed if each is not None]
    assert len(refusals) == pytest.approx(50, abs=2)
    assert {each.sqlstate for each in refusals} == {"53300"}
    assert [rig.breakers.admit("c", user, None, rig.now) for user in ("anna", "checkout")] == [None, None]
    rig.breakers.force("a", Signal.RESET, rig.now, who="otto", reason="")
    rig.tick()
    assert rig.notices == ["circuit cascade", "circuit cascade is over"]
    assert all(rig.breakers.admit("c", "batch1", None, rig.now) is None for _ in range(100))


# -- patterns and users --------------------------------------------------------------------------------------------


def test_a_pattern_has_a_circuit_of_its_own() -> None:
    """The backend's stays closed, and other statements flow."""
    rig = Rig.of(query_level_breakers_enabled=True, slow_query_threshold_ms=100, latency_threshold_p95_ms=400)
    rig.answer(0.001, 1000, pattern="quick")
    rig.answer(0.3, 5, pattern="slow")
    assert rig.state is CLOSED
    assert rig.notices == ["statement pattern opened"]
    refusal = rig.breakers.admit("a", "u", "slow", rig.now)
    assert refusal is not None
    assert refusal.sqlstate == "53400"
    assert rig.breakers.admit("a", "u", "quick", rig.now) is None
    assert rig.breakers.admit("a", "u", None, rig.now) is None
    rig.error("XX000", 5, pattern="crash")
    assert rig.breakers.admit("a", "u", "crash", rig.now) is not None


def test_a_user_that_asks_too_often_is_isolated() -> None:
    """Told once; a few at a time then."""
    rig = Rig.of(user_level_breakers_enabled=True, per_user_rate_limit=100)
    let_in = sum(rig.breakers.admit("a", "eve", None, rig.now) is None for _ in range(200))
    assert let_in == 100
    for _ in range(100):
        rig.breakers.release("a", "eve")
    found = [rig.breakers.admit("a", "eve", None, rig.now) for _ in range(10)]
    assert [each is None for each in found] == [True] * SLOTS + [False] * (10 - SLOTS)
    assert found[-1] is not None
    assert found[-1].sqlstate == "53400"
    assert rig.breakers.admit("a", "bob", None, rig.now) is None
    rig.pass_time(31)
    assert rig.notices == ["user isolated", "user isolated no longer"]


def test_who_saturates_a_backend_is_isolated() -> None:
    """By the time that its requests take."""
    rig = Rig.of("a", "b", user_level_breakers_enabled=True, connection_saturation_threshold=0.9)
    rig.answer(0.4, 50, user="eve")
    rig.answer(0.4, 5, user="bob")
    rig.pass_time(0.1, active=20, limit=20, waiting=3)
    assert rig.notices == ["user isolated"]


# -- modes ---------------------------------------------------------------------------------------------------------


def test_adaptive_limits_follow_a_backend() -> None:
    """One that answers in 20 ms is opened at 150 ms already, where the configuration has 500."""
    rig = Rig.of(mode=BreakerMode.ADAPTIVE)
    rig.serve(60, rate=100, latency=0.02)
    assert rig.state is CLOSED
    rig.serve(3, rate=100, latency=0.15)
    assert rig.state is OPEN
    static = Rig.of(mode=BreakerMode.STATIC)
    static.serve(60, rate=100, latency=0.02)
    static.serve(3, rate=100, latency=0.15)
    assert static.state is CLOSED


def rising(rig: Rig, seconds: float, generator: random.Random) -> float:
    """Times that double each second, from 20 ms on, with noise; when it opened."""
    begin = rig.now
    while rig.state is CLOSED and rig.now < begin + seconds:
        rig.now += 0.005
        rig.answer(generator.lognormvariate(0.0, 0.3) * 0.02 * 2 ** (rig.now - begin))
        rig.tick()
    return rig.now - begin


def test_predictive_opens_before_the_limit() -> None:
    """On the way to 500 ms, while an adaptive one waits for it."""
    opened = {}
    for mode in (BreakerMode.ADAPTIVE, BreakerMode.PREDICTIVE):
        rig, generator = Rig.of(mode=mode), random.Random(3)
        for _ in range(60 * 200):
            rig.now += 0.005
            rig.answer(generator.lognormvariate(0.0, 0.3) * 0.02)
            rig.tick()
        assert rig.state is CLOSED
        opened[mode] = rising(rig, 10.0, generator)
        assert rig.state is OPEN
    told = rig.told[-1]
    assert isinstance(told, Transition)
    assert "rises" in told.reason
    assert told.figures["latency_p95_ms"] < told.figures["limit_ms"]
    assert opened[BreakerMode.PREDICTIVE] < opened[BreakerMode.ADAPTIVE]


def test_predictive_opens_on_more_failures_than_normal() -> None:
    """Before they are the 5 % of the window."""
    rig = Rig.of(mode=BreakerMode.PREDICTIVE)
    rig.serve(60, rate=200)
    begin = rig.now
    while rig.state is CLOSED and rig.now < begin + 20:
        for number in range(10):
            rig.now += 0.005
            if number == 0:
                rig.error("53200")
            else:
                rig.answer()
            rig.tick()
    told = rig.told[-1]
    assert isinstance(told, Transition)
    assert "likelier" in told.reason
    assert rig.now - begin < 5


# -- settings ------------------------------------------------------------------------------------------------------


def test_backends_that_are_not_enabled_have_none() -> None:
    """And nothing is refused there."""
    breakers = Breakers.of(settings(), {"a": settings(), "b": settings().for_backend(Overrides())})
    assert [each.backend for each in breakers] == ["a"]
    assert breakers.admit("b", "u", None, 0.0) is None


class Overrides:
    """A backend's own keys, of which only one is given."""

    name = "b"
    circuit_breaker_enabled = False

    def __getattr__(self, name: str) -> None:
        return None


def test_a_reload_changes_thresholds() -> None:
    """What is open stays open; what was counted in windows of another size is forgotten."""
    rig = Rig.of("a", "b", minimum_requests=200)
    rig.error("XX000", 100)
    changed = settings(minimum_requests=20, metrics_window_size=20.0)
    rig.breakers.reconfigure(changed, {"a": changed, "b": changed})
    assert rig.state is CLOSED
    rig.error("XX000", 20)
    assert rig.state is OPEN
    again = settings(open_duration=5.0)
    rig.breakers.reconfigure(again, {"a": again, "b": again})
    assert rig.state is OPEN


# -- rest ----------------------------------------------------------------------------------------------------------


def test_quiet_when_nothing_happens() -> None:
    """A minute after the last request; the next one wakes, and is counted."""
    rig, woken = Rig.of(), list[float]()
    rig.breakers.wake = lambda: woken.append(rig.now)
    rig.answer()
    assert woken == [0.0]
    rig.pass_time(30)
    assert not rig.breakers.quiet
    rig.pass_time(33)
    assert rig.breakers.quiet
    rig.breakers.rest()
    rig.now += 1000
    rig.answer(count=2)
    assert woken == [0.0, rig.now]
    assert rig.breaker().whole(10.0).answers == 2
    assert not rig.breakers.quiet


def test_an_open_circuit_is_watched() -> None:
    """Until it is closed; one that is held open needs no watching."""
    rig = Rig.of("a", "b")
    rig.open()
    rig.pass_time(29)
    assert not rig.breakers.quiet
    rig.breakers.force("a", Signal.FORCED_OPEN, rig.now, who="otto", reason="")
    assert rig.breakers.quiet
