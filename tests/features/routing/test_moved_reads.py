"""Reads that a migration has moved: preferred, never forced, and never what writes."""

from __future__ import annotations

import pytest
from attrs import evolve

from helios_trio.cluster.placement import Diversion, in_share
from helios_trio.cluster.read_shares import ReadShares
from helios_trio.features.lag_routing.gate import Gate
from helios_trio.features.routing.decision import Decider, DefaultForReads, InService, Role, Wished
from helios_trio.features.routing.moved_reads import MovedReads
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.routing import Node, Question, Wish

BLUE, GOLD, THIRD = (
    Node(backend=Backend(name, "127.0.0.1", 5432), writer=name == "blue", standby=name != "blue")
    for name in ("blue", "gold", "third")
)
ALL = [BLUE, GOLD, THIRD]
READ = Question(session=1, user="u", database="d", tenant="acme", must_write="")


class First:
    name = "first"

    def choose(self, question: Question, nodes: list[Node]) -> Node:
        return nodes[0]


@pytest.fixture
def shares() -> ReadShares:
    return ReadShares()


@pytest.fixture
def gate() -> Gate:
    return Gate(max_lag=1.0)


@pytest.fixture
def decider(shares: ReadShares, gate: Gate) -> Decider:
    """Reads go to the primary unless the migration has them go elsewhere."""
    preferences = [MovedReads(shares), DefaultForReads("primary")]
    return Decider([InService(), Role(), Wished(), gate], preferences, First())


def test_half_of_the_sessions_read_on_the_target(shares: ReadShares, decider: Decider) -> None:
    """The half that the hash says; the others as before, and so does everybody when it is over."""
    share = Diversion("blue", "gold", 50.0)
    shares.divert(share)
    for session in range(1, 200):
        expected = "gold" if in_share(session, 50.0) else "blue"
        assert decider.decide(evolve(READ, session=session), ALL).backend == expected
    shares.end(share)
    assert decider.decide(READ, ALL).backend == "blue"


def test_writes_stay(shares: ReadShares, decider: Decider) -> None:
    """Whatever the share."""
    shares.divert(Diversion("blue", "gold", 100.0))
    assert decider.decide(evolve(READ, must_write="INSERT"), ALL).backend == "blue"
    assert decider.explain(evolve(READ, must_write="INSERT"), ALL).backend == "blue"


def test_a_target_that_is_refused_costs_nobody_an_error(
    shares: ReadShares, gate: Gate, decider: Decider
) -> None:
    """It lags: the primary serves."""
    shares.divert(Diversion("blue", "gold", 100.0))
    gate.note("gold", 5.0, 100, 0.0)
    assert decider.decide(READ, ALL).backend == "blue"
    assert decider.decide(READ, [BLUE]).backend == "blue"


def test_what_a_client_asks_for_comes_first(shares: ReadShares, decider: Decider) -> None:
    """By a hint, or by SET helios.route."""
    shares.divert(Diversion("blue", "gold", 100.0))
    asked = evolve(READ, wish=Wish(route="third"))
    assert decider.decide(asked, ALL).backend == "third"
    assert decider.decide(evolve(READ, wish=Wish(route="primary")), ALL).backend == "blue"


def test_other_tenants_and_other_sources_are_left_alone(shares: ReadShares, decider: Decider) -> None:
    """Of the tenants that are moved, and of sessions of the source."""
    shares.divert(Diversion("blue", "gold", 100.0, lambda tenant: tenant == "other"))
    assert decider.decide(READ, ALL).backend == "blue"
    assert decider.decide(evolve(READ, tenant="other"), ALL).backend == "gold"
    green = Node(backend=Backend("green", "127.0.0.1", 5432), writer=True, standby=False)
    assert decider.decide(evolve(READ, tenant="other"), [green, GOLD]).backend == "green"


def test_explain_says_so(shares: ReadShares, decider: Decider) -> None:
    """With the reason for the others."""
    shares.divert(Diversion("blue", "gold", 100.0))
    found = decider.explain(READ, ALL)
    step = next(step for step in found.steps if step.by == "migration")
    assert (found.backend, step.left) == ("gold", ("gold",))
    assert step.removed["blue"] == "a migration has moved the reads of this session"
