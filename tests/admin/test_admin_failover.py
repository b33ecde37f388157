"""Planned switchovers through the API: begun, watched, over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import trio
from admin_parts import Api, make_parts
from fake_switchover import FakeSwitchover
from migration_rig import Rig, make_rig, running, until_state, wall_clock

from helios_trio.cluster.observation import Observation
from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.states import State, Turn


@pytest.fixture
def switchover() -> FakeSwitchover:
    return FakeSwitchover()


@pytest.fixture
async def rig(switchover: FakeSwitchover) -> AsyncIterator[Rig]:
    """Ten sessions on blue; `gold` is its standby."""
    async with running(make_rig(switchover=switchover, sessions=10)) as made:
        yield made


@pytest.fixture
def api(rig: Rig, switchover: FakeSwitchover) -> Api:
    return Api.of(make_parts(rig, switchover))


async def test_before_the_first_one_there_is_nothing_to_show(api: Api) -> None:
    """But the servers."""
    status, body = await api.get("/api/v1/failover/status")
    assert (status, body["failover_active"], body["source_backend"], body["migration_id"]) == (
        200,
        False,
        None,
        None,
    )
    assert [each["name"] for each in body["backends"]] == ["blue", "green", "teal", "gold", "other"]


async def test_a_switchover_is_begun_and_watched(rig: Rig, api: Api, switchover: FakeSwitchover) -> None:
    """It is a migration too."""
    status, body = await api.post("/api/v1/failover/start", {"target": "gold", "reason": "upgrade"})
    assert (status, body["failover_active"], body["migration_id"]) == (202, True, 1)
    await until_state(rig.migrations.find(1), State.RUNNING)
    while not switchover.orders:
        _, body = await api.get("/api/v1/failover/status")
    _, body = await api.get("/api/v1/failover/status")
    assert (body["source_backend"], body["target_backend"], body["trigger_reason"]) == (
        "blue",
        "gold",
        "upgrade",
    )
    assert (body["step"], body["sessions_remaining"], body["migration_progress"]) == (
        "holding sessions",
        10,
        0.0,
    )
    assert body["write_pause_seconds"] is None
    switchover.go_on.set()
    await until_state(rig.migrations.find(1), State.COMPLETED)
    _, body = await api.get("/api/v1/failover/status")
    assert (body["failover_active"], body["outcome"], body["failure"]) == (False, "completed", None)
    assert (body["sessions_migrated"], body["client_errors"], body["write_pause_seconds"]) == (9, 1, 0.25)
    assert body["migration_progress"] == 1.0
    _, migration = await api.get("/api/v1/migration/1/status")
    assert (migration["data"], migration["status"], migration["ordered_by"]) == (
        "physical",
        "completed",
        "otto",
    )


async def test_the_last_one_is_not_taken_for_the_next(rig: Rig, api: Api, switchover: FakeSwitchover) -> None:
    """Before it has begun there is nothing to show of it but where it goes."""
    switchover.go_on.set()
    await api.post("/api/v1/failover/start", {"target": "gold", "reason": "first"})
    await until_state(rig.migrations.find(1), State.COMPLETED)
    start_at = datetime.fromtimestamp(wall_clock() + 3600, UTC)
    second = await rig.start(target="gold", reason="second", start_at=start_at)
    _, body = await api.get("/api/v1/failover/status")
    assert (body["failover_active"], body["outcome"]) == (False, "completed")
    switchover.go_on = trio.Event()
    await rig.migrations.command(second.id, Turn.PAUSE, "bob")
    await rig.migrations.command(second.id, Turn.RESUME, "bob")
    _, body = await api.get("/api/v1/failover/status")
    assert (body["failover_active"], body["step"], body["outcome"]) == (True, None, None)
    assert (body["trigger_reason"], body["target_backend"], body["migration_id"]) == ("second", "gold", 2)


async def test_one_that_cannot_begin_says_why(rig: Rig, api: Api, switchover: FakeSwitchover) -> None:
    """Also when only the switchover itself has found out."""
    switchover.error = Conflict([Fault("target", "gold does not stream")])
    switchover.go_on.set()
    await api.post("/api/v1/failover/start", {"target": "gold"})
    await until_state(rig.migrations.find(1), State.FAILED)
    switchover.orders.clear()
    _, body = await api.get("/api/v1/failover/status")
    assert (body["failover_active"], body["failure"]) == (False, "target: gold does not stream")


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("red", 422, 'there is no backend "red"'),
        ("blue", 422, "another backend than the source"),
        ("green", 409, "physical was asked for, but both names lead to one server"),
        ("other", 409, "other is neither blue itself nor a standby of it"),
    ],
)
async def test_targets_that_cannot_be(rig: Rig, api: Api, target: str, status: int, words: str) -> None:
    """Nothing is begun."""
    found, problem = await api.post("/api/v1/failover/start", {"target": target})
    assert found == status
    assert words in problem["detail"]
    assert list(rig.migrations) == []


async def test_without_a_primary_there_is_nothing_to_switch_over_from(rig: Rig, api: Api) -> None:
    """All are standbys."""
    for name in rig.topology.nodes:
        rig.topology.note_answer(name, Observation(True, 1, 1, 0.0, 1, "7", "18.1"), 1.0)
    status, problem = await api.post("/api/v1/failover/start", {"target": "gold"})
    assert (status, problem["detail"]) == (
        409,
        "no server takes writes, so that there is nothing to switch over from",
    )
