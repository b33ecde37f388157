"""The primary is killed under load, again and again: nobody notices anything but a pause (rules 24 to 31)."""

from __future__ import annotations

import pytest
from chaos_failover import MODES, Stage, Stages

pytestmark = pytest.mark.cluster


def kill_primary(stage: Stage, number: int) -> None:
    """All its processes at once, when there is somebody to succeed; returns when that has happened."""
    stage.until_there_is_a_standby()
    stage.primary.kill()
    stage.until_succeeded(number)


@pytest.mark.parametrize("mode", MODES)
def test_primaries_killed_under_load(stages: Stages, rounds: int, mode: str) -> None:
    """No client sees an error; all that was acknowledged is there, once. `--long`: 100 clients, 10 kills."""
    clients, kills = (100, 10) if rounds > 1 else (10, 2)
    stage = stages.own_cluster(mode)
    with stage.storm(clients) as busy:
        for number in range(kills):
            kill_primary(stage, number + 1)
            busy.all_go_on()
    assert busy.history.complaints() == []
