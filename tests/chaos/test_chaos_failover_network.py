"""The network between the proxy and its primary fails, under load, and both live on (rules 25, 29).

The old primary does not know that anything is wrong, and may still commit what it has got: whatever becomes of that,
it is there once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from chaos_bank import SINGLE, Bank, enter_returning
from chaos_failover import MODES, Stage, Stages, make_asynchronous
from chaos_network import DIRECTIONS, Network, network_to
from histories import Outcome

pytestmark = pytest.mark.cluster

CLIENTS: Final = 10
SINGLE_WRITES: Final = {way.__name__ for way in (*SINGLE, enter_returning)}


def check_nothing_else(busy: Bank) -> None:
    """A pause; and of a single write whose answer the network has taken, that it has happened."""
    assert busy.history.complaints(Outcome.COMMITTED_UNANSWERED) == []
    assert {each.way for each in busy.history.errors()} <= SINGLE_WRITES


@contextmanager
def staged(stages: Stages, mode: str, *, synchronous: bool = True) -> Iterator[tuple[Stage, Network]]:
    """A proxy that reaches its servers through a network; they reach each other directly."""
    cluster = stages.cluster()
    if not synchronous:
        make_asynchronous(cluster)
    targets = {each.name: (each.host, each.port) for each in cluster.cluster.nodes}
    network = stages.stack.enter_context(network_to(targets))
    yield stages.elsewhere(mode, cluster=cluster, through=network.addresses), network


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_packets_to_the_primary_are_dropped(stages: Stages, mode: str, direction: str) -> None:
    """It waits for a standby that has left it, so that it can be succeeded; healed, nobody listens to it."""
    with staged(stages, mode) as (stage, network), stage.storm(CLIENTS) as busy:
        network.drop("node1", direction)
        stage.until_succeeded()
        busy.all_go_on()
        network.heal("node1")
        busy.all_go_on()
        assert stage.primary.name == "node2"
    check_nothing_else(busy)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_packets_of_a_primary_that_cannot_be_fenced(stages: Stages, mode: str, direction: str) -> None:
    """Its commits wait for nobody, so that nobody may succeed it; healed, it is what it was, and all is there once."""
    with staged(stages, mode, synchronous=False) as (stage, network):
        with stage.storm(CLIENTS) as busy:
            network.drop("node1", direction)
            stage.until_event("failover in difficulties", "could not be fenced")
            network.heal("node1")
            stage.until_event("failover recovered")
            busy.all_go_on()
        check_nothing_else(busy)
        assert stage.primary.name == "node1"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("break_it", [Network.cut, Network.sever], ids=lambda each: each.__name__)
def test_connections_reset(
    stages: Stages, rounds: int, mode: str, break_it: Callable[[Network, str], None]
) -> None:
    """Again and again, in the middle of anything; with `sever` the server is not told, and keeps its locks."""
    with staged(stages, mode) as (stage, network), stage.storm(CLIENTS) as busy:
        for _ in range(10 * rounds):
            break_it(network, "node1")
            busy.all_go_on()
        assert stage.primary.name == "node1"
    check_nothing_else(busy)
