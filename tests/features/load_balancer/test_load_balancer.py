"""Strategies: shares, fairness, ties, never a server that was not offered; and the times behind one of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config.routing import Balancing, LoadBalancer
from helios_trio.features.load_balancer.latency import Latencies, Latency
from helios_trio.features.load_balancer.strategies import EXPLORED, Fastest, loads, strategy_of
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.routing import Node, Question, Strategy

QUESTION = Question(session=1, user="ann", database="shop", tenant="t", must_write="")


def node(
    name: str, *, weight: float = 1.0, active: int = 0, limit: int = 10, latency: float | None = None
) -> Node:
    backend = Backend(name, "10.0.0.1", 5432, weight=weight)
    return Node(backend=backend, writer=False, standby=True, active=active, limit=limit, latency=latency)


def named(names: str, **more: float) -> list[Node]:
    return [node(name, weight=more.get(name, 1.0)) for name in names]


def make(word: Balancing, seed: int = 1) -> Strategy:
    return strategy_of(LoadBalancer(strategy=word), Random(seed))


def chosen(strategy: Strategy, nodes: Sequence[Node], times: int) -> str:
    """The names of servers that are chosen one after the other."""
    return "".join(strategy.choose(QUESTION, nodes).name for _ in range(times))


every_strategy = pytest.mark.parametrize("word", list(Balancing))

NODES = st.lists(
    st.builds(
        node,
        st.sampled_from("abcdefg"),
        weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        active=st.integers(0, 20),
        limit=st.sampled_from([0, 1, 10]),
        latency=st.none() | st.floats(0.0, 10.0),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda each: each.name,
)


@given(st.sampled_from(list(Balancing)), st.integers(), st.lists(NODES, min_size=1, max_size=20))
def test_never_another_than_those_offered(word: Balancing, seed: int, offers: list[list[Node]]) -> None:
    """Whoever was offered before; and none of weight 0 where there is another."""
    strategy = make(word, seed)
    for nodes in offers:
        found = strategy.choose(QUESTION, nodes)
        assert any(found is each for each in nodes)
        assert found.backend.weight or not any(each.backend.weight for each in nodes)


@every_strategy
def test_it_bears_its_own_name(word: Balancing) -> None:
    """The one that the configuration has, so that people recognise it."""
    assert make(word).name == word


@every_strategy
def test_only_one_is_taken_without_ado(word: Balancing) -> None:
    """Even with weight 0."""
    assert chosen(make(word), named("a", a=0.0), 3) == "aaa"


@every_strategy
def test_equals_get_equal_shares(word: Balancing) -> None:
    """Nobody is favoured for standing first."""
    counts = Counter(chosen(make(word), named("abc"), 3000))
    assert all(900 <= counts[name] <= 1100 for name in "abc"), counts


@given(st.lists(st.sampled_from(["ab", "bc", "abc", "ca", "abcd"]), min_size=1, max_size=200))
def test_round_robin_takes_the_one_that_waits_longest(offers: list[str]) -> None:
    """Whatever servers come and go: nobody who is offered is passed by for another that was taken later."""
    strategy = make(Balancing.ROUND_ROBIN)
    last = dict.fromkeys("abcd", -1)
    for turn, offer in enumerate(offers):
        found = strategy.choose(QUESTION, named(offer)).name
        assert last[found] == min(last[name] for name in offer)
        last[found] = turn


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_weights_are_kept_to_the_letter(weights: list[int]) -> None:
    """In each round of as many choices as there are weights, everybody gets his own; and nobody is far behind."""
    shares = dict(zip("abcde", map(float, weights), strict=False))
    strategy, total = make(Balancing.WEIGHTED), sum(weights)
    nodes = named("".join(shares), **shares)
    found = chosen(strategy, nodes, total * 2)
    assert Counter(found[:total]) == Counter(found[total:]) == Counter({n: int(w) for n, w in shares.items()})
    for count in range(1, total + 1):
        for name, weight in shares.items():
            assert abs(found[:count].count(name) - count * weight / total) <= len(weights)


def test_weights_are_spread() -> None:
    """The example of nginx: 5, 1, 1."""
    assert chosen(make(Balancing.WEIGHTED), named("abc", a=5.0), 7) == "aabacaa"


def test_fractions_are_weights_too() -> None:
    """Only their relation counts."""
    assert Counter(chosen(make(Balancing.WEIGHTED), named("ab", a=0.75, b=0.25), 400)) == {"a": 300, "b": 100}


@given(NODES)
def test_least_connections_takes_none_that_is_more_loaded(nodes: list[Node]) -> None:
    """By its share of what it can have, and its weight."""
    found = make(Balancing.LEAST_CONNECTIONS).choose(QUESTION, nodes)
    usable = [each for each in nodes if each.backend.weight] or nodes
    assert loads([found])[0] == min(loads(usable))


def test_weight_and_limit_divide_connections() -> None:
    """Those that stay: twice the weight, or twice the limit, twice the connections."""
    nodes = [node("a", limit=10), node("b", limit=20), node("c", limit=10, weight=2.0)]
    strategy = make(Balancing.LEAST_CONNECTIONS)
    for _ in range(25):
        strategy.choose(QUESTION, nodes).active += 1
    assert [each.active for each in nodes] == [5, 10, 10]


def test_ties_go_round() -> None:
    """As long as nobody has anything to do."""
    assert chosen(make(Balancing.LEAST_CONNECTIONS), named("abc"), 6) == "abcabc"


def test_the_fastest_gets_most() -> None:
    """And the others are tried now and then, in turn."""
    nodes = [node("a", latency=0.1), node("b", latency=0.001), node("c", latency=0.2)]
    counts = Counter(chosen(make(Balancing.LATENCY), nodes, 10_000))
    assert counts["b"] > 9000
    tried = counts["a"] + counts["c"]
    assert 0.5 * EXPLORED < tried / 10_000 < 1.5 * EXPLORED
    assert abs(counts["a"] - counts["c"]) <= 2


def test_one_that_was_slow_is_found_again() -> None:
    """Its time is measured anew although it is not the fastest, and then it is."""
    latencies = {"a": Latency(1.0), "b": Latency(1.0)}
    strategy, now = make(Balancing.LATENCY), 0.0
    latencies["a"].note_answer(now, 5.0, user="", fingerprint=None)
    latencies["b"].note_answer(now, 0.02, user="", fingerprint=None)
    found = ""
    for _ in range(2000):
        now += 0.05
        nodes = [node(name, latency=each.value) for name, each in latencies.items()]
        name = strategy.choose(QUESTION, nodes).name
        latencies[name].note_answer(now, {"a": 0.01, "b": 0.02}[name], user="", fingerprint=None)
        found += name
    assert found[:3] == "bbb"
    assert found[-200:].count("a") > 150


def test_what_waits_there_counts() -> None:
    """The fastest is not run down: three times as fast is not four times as much at once."""
    nodes = [node("a", latency=0.01, active=3), node("b", latency=0.03)]
    strategy = Fastest(Never())
    assert strategy.choose(QUESTION, nodes).name == "b"
    nodes[0].active = 1
    assert strategy.choose(QUESTION, nodes).name == "a"


class Never(Random):
    """Chance never strikes."""

    def random(self) -> float:
        return 1.0


def test_unmeasured_counts_as_fast_as_the_fastest() -> None:
    """So that it is tried, and not by everybody at once."""
    nodes = [node("a", latency=0.01), node("b", latency=None), node("c", latency=0.5)]
    strategy = Fastest(Never())
    found = ""
    for _ in range(4):
        taken = strategy.choose(QUESTION, nodes)
        taken.active += 1
        found += taken.name
    assert Counter(found) == {"a": 2, "b": 2}
    assert chosen(Fastest(Never()), named("abc"), 3) == "abc"


@given(st.integers(), st.integers(0, 9), st.integers(0, 9))
def test_random_two_takes_the_less_loaded(seed: int, one: int, other: int) -> None:
    """Of two there is no choice but the better one."""
    nodes = [node("a", active=one), node("b", active=other)]
    found = make(Balancing.RANDOM_TWO, seed).choose(QUESTION, nodes)
    assert found.active == min(one, other)


def test_random_two_spares_the_most_loaded() -> None:
    """It can only be taken if it were drawn twice, and nobody is."""
    nodes = [node("a", active=1), node("b", active=2), node("c", active=3)]
    counts = Counter(chosen(make(Balancing.RANDOM_TWO), nodes, 3000))
    assert counts["c"] == 0
    assert 1800 < counts["a"] < 2200


def test_the_same_seed_decides_the_same() -> None:
    """Chance comes from outside."""
    nodes = named("abcde")
    one, other, third = (chosen(make(Balancing.RANDOM_TWO, seed), nodes, 50) for seed in (7, 7, 8))
    assert one == other != third


# -- smoothed times --------------------------------------------------------------------------------------------


def test_nothing_is_known_before_the_first_answer() -> None:
    """Errors are none."""
    latencies = Latencies(10.0)
    assert latencies.of("a") is None
    tap = latencies.tap("a")
    tap.note_error(1.0, "42601", user="ann", fingerprint=None)
    assert (latencies.of("a"), latencies.all()) == (None, {})
    tap.note_answer(2.0, 0.5, user="ann", fingerprint=None)
    assert (latencies.of("a"), latencies.all()) == (0.5, {"a": 0.5})
    assert latencies.tap("a") is tap


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 10.0)), min_size=1), st.floats(0.1, 100.0))
def test_it_is_the_decaying_mean(answers: list[tuple[float, float]], half_life: float) -> None:
    """Against the definition: each time counts as half as much after each half life."""
    answers.sort(key=lambda each: each[0])
    found, end = Latency(half_life), answers[-1][0]
    for at, seconds in answers:
        found.note_answer(at, seconds, user="", fingerprint=None)
    weights = [0.5 ** ((end - at) / half_life) for at, _ in answers]
    mean = sum(weight * seconds for weight, (_, seconds) in zip(weights, answers, strict=True)) / sum(weights)
    assert found.value == pytest.approx(mean, rel=1e-6, abs=1e-6)


def test_half_of_the_way_after_a_half_life() -> None:
    """One answer before, one after."""
    found = Latency(10.0)
    found.note_answer(0.0, 1.0, user="", fingerprint=None)
    found.note_answer(10.0, 4.0, user="", fingerprint=None)
    assert found.value == pytest.approx((0.5 * 1.0 + 4.0) / 1.5)


def test_long_silence_leaves_nothing_but_the_newest() -> None:
    """And no number that is none."""
    found = Latency(0.001)
    found.note_answer(0.0, 100.0, user="", fingerprint=None)
    found.note_answer(1e9, 0.25, user="", fingerprint=None)
    assert found.value == 0.25
    assert not math.isnan(found.value)


def test_lost_server_is_measured_anew() -> None:
    """Whatever comes back in its place may be another machine."""
    latencies = Latencies(10.0)
    tap = latencies.tap("a")
    tap.note_answer(0.0, 9.0, user="", fingerprint=None)
    tap.note_lost(1.0, "reset by peer")
    assert latencies.of("a") is None
    tap.note_answer(2.0, 0.1, user="", fingerprint=None)
    assert latencies.of("a") == pytest.approx(0.1)


def test_another_half_life_holds_from_then_on() -> None:
    """For servers that are known already, too."""
    latencies = Latencies(1000.0)
    tap = latencies.tap("a")
    tap.note_answer(0.0, 1.0, user="", fingerprint=None)
    latencies.reconfigure(1.0)
    tap.note_answer(30.0, 2.0, user="", fingerprint=None)
    assert latencies.of("a") == pytest.approx(2.0)
    assert latencies.tap("b").half_life == 1.0
