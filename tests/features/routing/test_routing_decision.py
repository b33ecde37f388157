"""Filters refuse, preferences narrow down, a strategy takes one; a write never goes to a standby."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import define, evolve
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.features.routing.decision import Decider, DefaultForReads, InService, Role, Wished
from helios_trio.features.routing.own_floor import OwnFloor
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.freshness import Floor
from helios_trio.pipeline.routing import Consistency, Node, Question, Wish


def node(name: str, *, writer: bool = False, out: str = "") -> Node:
    return Node(backend=Backend(name, "h", 1), writer=writer, standby=not writer, out=out)


PRIMARY = node("p", writer=True)
NODES = (PRIMARY, node("a"), node("b"))
READ = Question(session=1, user="u", database="d", tenant="", must_write="")
WRITE = evolve(READ, must_write="it may write")


@define
class First:
    """The first that is left."""

    name: str = "first"

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        return nodes[0]


def decider(word: str = "replica") -> Decider:
    return Decider([InService(), Role(), Wished()], [DefaultForReads(word)], First())


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (READ, "a"),
        (WRITE, "p"),
        (evolve(READ, wish=Wish(route="primary")), "p"),
        (evolve(READ, wish=Wish(route="b")), "b"),
        (evolve(READ, wish=Wish(route="standby")), "a"),
        (evolve(READ, wish=Wish(route="replica")), "a"),
        (evolve(READ, wish=Wish(route="nearest")), "p"),
        (evolve(READ, wish=Wish(consistency=Consistency.STRONG)), "p"),
        (evolve(READ, wish=Wish(consistency=Consistency.STRONG, route="a")), None),
        (evolve(WRITE, wish=Wish(route="b")), "p"),
        (evolve(WRITE, wish=Wish(route="standby")), "p"),
    ],
)
def test_wishes(question: Question, expected: str | None) -> None:
    """Of reads only (rule 36)."""
    assert decider().decide(question, NODES).backend == expected
    assert decider().explain(question, NODES).backend == expected


def test_reads_fall_back_to_the_primary() -> None:
    """When no standby is there; the decision says so."""
    nodes = (PRIMARY, node("a", out="it is not healthy"), node("b", out="it is out of service"))
    found = decider().explain(READ, nodes)
    assert (found.backend, found.fell_back) == ("p", True)
    assert found.steps[0].removed == {"a": "it is not healthy", "b": "it is out of service"}
    assert decider().decide(READ, nodes).fell_back
    assert decider("primary").decide(READ, NODES).backend == "p"
    assert decider("nearest").decide(READ, NODES).backend == "p"


def test_news_of_the_servers_count_at_once() -> None:
    """What is kept of one picture of them does not outlive it, nor is it said of writes."""
    deciding = decider()
    before = [PRIMARY, node("a"), node("b")]
    assert [deciding.decide(each, before).backend for each in (READ, WRITE, READ)] == ["a", "p", "a"]
    after = [PRIMARY, node("a", out="it is not healthy"), node("b")]
    assert [deciding.decide(each, after).backend for each in (READ, WRITE, READ)] == ["b", "p", "b"]
    assert deciding.decide(READ, before).backend == "a"


NAMES = st.sampled_from(["p", "a", "b", "primary", "standby", "replica", "nearest", "nobody"])
QUESTIONS = st.builds(
    lambda writes, route, consistency: evolve(
        WRITE if writes else READ, wish=Wish(route=route, consistency=consistency)
    ),
    st.booleans(),
    st.none() | NAMES,
    st.none() | st.sampled_from(Consistency),
)


@given(QUESTIONS, st.sets(st.sampled_from("ab")), st.sampled_from(["replica", "primary", "nearest"]))
def test_writes_go_to_the_primary_whatever_is_wished(question: Question, out: set[str], word: str) -> None:
    """And the explanation is of the same decision."""
    nodes = [PRIMARY, *(node(name, out="away" if name in out else "") for name in "ab")]
    found = decider(word).decide(question, nodes)
    assert found.backend not in out
    if question.must_write:
        assert found.backend == "p"
    explained = decider(word).explain(question, nodes)
    assert (explained.backend, explained.fell_back) == (found.backend, found.fell_back)
    left = {each.name for each in nodes}
    for step in explained.steps:
        assert set(step.left) | step.removed.keys() == left
        left = set(step.left)


@define
class Clock:
    """A primary whose WAL grows, on a timeline."""

    position: int = 1
    timeline: int = 1
    fails: bool = False

    async def floor(self) -> Floor:
        if self.fails:
            raise RuntimeError("away")
        return Floor(position=self.position, timeline=self.timeline)

    def is_current(self, floor: Floor) -> bool:
        return floor.timeline == self.timeline

    def has(self, name: str, floor: Floor, *, flushed: bool = False) -> bool:
        return True

    async def look(self, names: Sequence[str], floor: Floor, *, flushed: bool = False) -> bool:
        return True


async def test_a_floor_is_asked_for_once_after_each_write() -> None:
    """And again when the timeline has changed; one that could not be had is asked for again."""
    clock = Clock()
    own = OwnFloor(clock)
    assert own.is_known
    assert not await own.find()
    own.wrote = True
    assert await own.find()
    assert own.floor == Floor(position=1, timeline=1)
    assert not await own.find()
    clock.timeline, clock.position = 2, 9
    assert not own.is_known
    clock.fails = True
    with pytest.raises(RuntimeError):
        await own.find()
    assert not own.is_known
    clock.fails = False
    assert await own.find()
    assert own.floor == Floor(position=9, timeline=2)
