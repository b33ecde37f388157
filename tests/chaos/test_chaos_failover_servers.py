"""Servers that end, stop, crash and come back at bad moments, under load (rules 24 to 31).

However it goes: one server takes writes, it has all that was acknowledged, once, and nobody sees an error where what
was lost can be done again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from chaos_bank import Bank
from chaos_failover import MODES, Stage, Stages
from chaos_moves import LONG_PATIENCE
from chaos_nodes import Node
from chaos_tools import until

pytestmark = pytest.mark.cluster

CLIENTS: Final = 10


def check_nobody_noticed(busy: Bank) -> None:
    """But for a pause."""
    assert busy.history.complaints() == []


# -- ways to die -----------------------------------------------------------------------------------------------

DEATHS: Final[list[Callable[[Node], None]]] = [Node.kill, Node.kill_postmaster, Node.stop_immediately]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("die", DEATHS, ids=lambda die: die.__name__)
def test_deaths_with_servers_of_our_own(stages: Stages, mode: str, die: Callable[[Node], None]) -> None:
    """The old primary comes back as a standby, and may succeed again."""
    stage = stages.own_cluster(mode)
    with stage.storm(CLIENTS) as busy:
        for number, name in enumerate(("node2", "node1"), 1):
            stage.until_there_is_a_standby()
            die(stage.primary)
            stage.until_succeeded(number)
            assert stage.primary.name == name
            busy.all_go_on()
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("die", DEATHS, ids=lambda die: die.__name__)
def test_deaths_with_servers_elsewhere(stages: Stages, mode: str, die: Callable[[Node], None]) -> None:
    """What is left of the old primary may still work for a while, and nobody listens to it."""
    stage = stages.elsewhere(mode)
    with stage.storm(CLIENTS) as busy:
        die(stage.primary)
        stage.until_succeeded()
        assert stage.primary.name == "node2"
        busy.all_go_on()
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
def test_stopped_processes(stages: Stages, mode: str) -> None:
    """SIGSTOP: connections stay and nothing answers; awake again, the old primary changes nothing any more."""
    stage = stages.elsewhere(mode)
    old = stage.primary
    with stage.storm(CLIENTS) as busy:
        with old.stopped():
            stage.until_succeeded()
            busy.all_go_on()
        busy.all_go_on()
        assert stage.primary.name == "node2"
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
def test_stopped_processes_of_our_own_servers(stages: Stages, mode: str) -> None:
    """They are killed where they stand, and the server becomes a standby."""
    stage = stages.own_cluster(mode)
    with stage.storm(CLIENTS) as busy:
        with stage.primary.stopped():
            stage.until_succeeded()
            busy.all_go_on()
        stage.until_there_is_a_standby()
        busy.all_go_on()
    check_nobody_noticed(busy)


# -- crashes from which a server comes back by itself ----------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_one_process_killed(stages: Stages, rounds: int, mode: str) -> None:
    """The postmaster ends all others, recovers and goes on: the same primary, or another, and all is there."""
    stage = stages.own_cluster(mode)
    with stage.storm(CLIENTS) as busy:
        for _ in range(3 * rounds):
            stage.until_there_is_a_standby()
            stage.primary.kill_one_backend("ledger")
            busy.all_go_on()
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
def test_connections_terminated(stages: Stages, rounds: int, mode: str) -> None:
    """pg_terminate_backend for all, again and again: the server lives, and does not give up its place."""
    stage = stages.elsewhere(mode)
    with stage.storm(CLIENTS) as busy:
        for _ in range(20 * rounds):
            assert stage.node("node1").terminate_backends() > 0
            busy.all_go_on()
    check_nobody_noticed(busy)
    assert stage.primary.name == "node1"
    assert stage.events("failover completed") == []


@pytest.mark.parametrize("mode", MODES)
def test_restart_of_the_primary(stages: Stages, mode: str) -> None:
    """Shut down in order and started again by its operator: clients wait for it, or for its successor."""
    stage = stages.elsewhere(mode)
    old = stage.primary
    with stage.storm(CLIENTS) as busy:
        stage.restart(old)
        busy.all_go_on()
    check_nobody_noticed(busy)


# -- more than one thing goes wrong ----------------------------------------------------------------------------


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe that a fence_command waits for."""
    made = tmp_path / "gate"
    os.mkfifo(made)
    return made


@contextmanager
def promoting(stage: Stage, gate: Path) -> Iterator[None]:
    """The primary is dead, and its standby was asked to succeed it and does not: until this ends."""
    stage.node("node1").kill()
    stage.until_event("failover: fencing the old primary")
    standby = stage.node("node2")
    with standby.deaf():
        gate.write_text("")  # returns when the fence_command has opened it
        until(lambda: standby.asked_to_promote, "the standby was asked", LONG_PATIENCE)
        yield


FENCE: Final = '[failover.actions]\nfence_command = "cat {}"\nfence_timeout = "60s"'


@pytest.mark.parametrize("mode", MODES)
def test_primary_back_during_the_promotion(stages: Stages, gate: Path, mode: str) -> None:
    """Started again by somebody while its successor is being promoted: it gets no write any more (rule 25)."""
    stage = stages.elsewhere(mode, FENCE.format(gate))
    with stage.storm(CLIENTS) as busy:
        with promoting(stage, gate):
            stage.start(stage.node("node1"))
        stage.until_succeeded()
        busy.all_go_on()
        assert stage.primary.name == "node2"
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
def test_primary_back_before_anybody_is_asked(stages: Stages, mode: str) -> None:
    """The standby is away: the old primary comes back, and is the primary as before."""
    stage = stages.elsewhere(mode)
    old, standby = stage.node("node1"), stage.node("node2")
    with stage.storm(CLIENTS) as busy:
        with standby.stopped():
            old.kill()
            stage.until_event("failover in difficulties")
            stage.start(old)
            stage.until_event("failover recovered")
        busy.all_go_on()
        assert stage.primary == old
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
def test_standby_killed_during_its_promotion(stages: Stages, gate: Path, mode: str) -> None:
    """Nobody is left; the old primary comes back, and has all."""
    stage = stages.elsewhere(mode, FENCE.format(gate))
    old, standby = stage.node("node1"), stage.node("node2")
    with stage.storm(CLIENTS) as busy:
        with promoting(stage, gate):
            standby.kill()
        stage.until_event("failover in difficulties", "ended while it was being promoted")
        stage.relax(old)
        stage.start(old)
        stage.until_event("failover recovered")
        busy.all_go_on()
        assert stage.primary == old
    check_nobody_noticed(busy)


@pytest.mark.parametrize("mode", MODES)
def test_both_down_then_back(stages: Stages, mode: str) -> None:
    """Clients wait."""
    stage = stages.elsewhere(mode)
    old, standby = stage.node("node1"), stage.node("node2")
    with stage.storm(CLIENTS) as busy:
        standby.kill()
        old.kill()
        stage.until_event("failover in difficulties")
        stage.relax(old)
        stage.start(old)
        stage.until_event("failover recovered")
        busy.all_go_on()
        stage.start(standby)
        busy.all_go_on()
    check_nobody_noticed(busy)
