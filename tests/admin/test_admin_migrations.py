"""Migrations, switchovers and drains through the API: orders, answers, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from admin_parts import Api, make_parts
from migration_rig import Rig, make_rig, running, until, until_state, wall_clock

from helios_trio.admin.plain import rfc3339
from helios_trio.migration.states import State

START = {"source": "blue", "target": "green"}
PHASES = [
    {"traffic_percent": 10, "duration": "1m"},
    {"traffic_percent": 50, "duration": "2m"},
    {"traffic_percent": 100},
]


@pytest.fixture
async def rig(autojump_clock: object) -> AsyncIterator[Rig]:
    """Fifty idle sessions on blue."""
    async with running(make_rig(sessions=50)) as made:
        yield made


@pytest.fixture
def api(rig: Rig) -> Api:
    return Api.of(make_parts(rig))


async def test_a_migration_is_started_and_watched(autojump_clock: object, rig: Rig, api: Api) -> None:
    """From the first answer to the last."""
    status, body = await api.post(
        "/api/v1/migration/start", {**START, "phases": PHASES, "reason": "new machine"}
    )
    assert status == 202
    assert (body["migration_id"], body["status"], body["mode"], body["data"]) == (
        1,
        "running",
        "gradual",
        "shared",
    )
    assert body["current_phase"]["of"] == 3
    assert (body["sessions_migrated"], body["sessions_remaining"]) == (0, 50)
    assert body["estimated_completion"] >= rfc3339(wall_clock() + 180)
    assert (body["ordered_by"], body["reason"]) == ("otto", "new machine")
    await trio.sleep(90)
    _, body = await api.get("/api/v1/migration/1/status")
    assert (body["current_phase"]["number"], body["traffic_allocation"]) == (2, {"blue": 50.0, "green": 50.0})
    assert body["sessions_migrated"] + body["sessions_remaining"] == 50
    assert body["performance_comparison"] == {
        "source": {"queries": 0, "p99_ms": None, "error_rate": None},
        "target": {"queries": 0, "p99_ms": None, "error_rate": None},
    }
    await until_state(rig.migrations.find(1), State.COMPLETED)
    _, body = await api.get("/api/v1/migration")
    (found,) = body["migrations"]
    assert (found["status"], found["sessions_migrated"], found["estimated_completion"]) == (
        "completed",
        50,
        None,
    )
    assert [each["state"] for each in found["history"]] == ["pending", "running", "completed"]


async def test_what_is_not_given_is_as_configured(rig: Rig, api: Api) -> None:
    """Mode, phases, leftovers."""
    _, body = await api.post("/api/v1/migration/start", START)
    order = rig.migrations.find(1).order
    assert (body["mode"], body["leftovers"]) == ("gradual", "wait")
    assert [each.percent for each in order.phases] == [10.0, 50.0, 100.0]


async def test_everything_can_be_given(rig: Rig, api: Api) -> None:
    """And stands in the status; null is the same as nothing."""
    schedule = rfc3339(wall_clock() + 3600)
    body = {
        **START,
        "mode": "manual",
        "phases": PHASES,
        "tenant_filter": ["test_*"],
        "share_of": "tenants",
        "schedule": schedule,
        "data": "shared",
        "allow_older": True,
        "leftovers": "leave",
        "reason": None,
    }
    status, found = await api.post("/api/v1/migration/start", body)
    assert (status, found["status"], found["scheduled_for"]) == (202, "scheduled", schedule)
    assert (found["tenant_filter"], found["share_of"]) == (["test_*"], "tenants")
    assert (found["leftovers"], found["mode"], found["reason"]) == ("leave", "manual", "")
    order = rig.migrations.find(1).order
    assert order.allow_older
    assert order.phases[0].duration == 60.0


async def test_an_operator_has_the_last_word(autojump_clock: object, rig: Rig, api: Api) -> None:
    """Pause, resume, complete, rollback: each answers with the status."""
    await api.post("/api/v1/migration/start", {**START, "phases": PHASES})
    await until(lambda: len(rig.fleet.on_backend("green")) > 1)
    for turn, state in (("pause", "paused"), ("resume", "running"), ("complete", "completing")):
        status, body = await api.post(f"/api/v1/migration/1/{turn}", {"reason": f"to {turn}"})
        assert (status, body["status"], body["status_reason"]) == (200, state, f"to {turn}")
    await until_state(rig.migrations.find(1), State.COMPLETED)
    _, body = await api.post("/api/v1/migration/1/rollback")
    assert body["status"] == "rolling_back"
    await until_state(rig.migrations.find(1), State.ROLLED_BACK)
    _, events = await api.get("/api/v1/events")
    assert [each["reason"] for each in events["events"] if each["who"] == "otto"][::-1][1:4] == [
        "to pause",
        "to resume",
        "to complete",
    ]


async def test_leftovers_are_decided_at_the_end(autojump_clock: object, rig: Rig, api: Api) -> None:
    """Complete, with another word."""
    rig.fleet.present[3].pins = {"setseed": 1}
    await api.post("/api/v1/migration/start", {**START, "mode": "immediate"})
    await until(lambda: len(rig.fleet.on_backend("green")) == 49)
    _, body = await api.get("/api/v1/migration/1/status")
    assert body["sessions_pinned"] == [{"id": 3, "reason": "setseed: 1", "attempts": 1}]
    _, body = await api.post("/api/v1/migration/1/complete", {"leftovers": "leave"})
    assert body["leftovers"] == "leave"
    await until_state(rig.migrations.find(1), State.COMPLETED)


@pytest.mark.parametrize(
    ("body", "status", "faults"),
    [
        ({**START, "source": "red"}, 422, [("source", 'there is no backend "red"')]),
        ({**START, "target": "blue"}, 422, [("target", "expected another backend than the source")]),
        ({**START, "phases": PHASES[:2]}, 422, [("phases", "expected 100 in the last phase")]),
        (
            {**START, "phases": [PHASES[1], PHASES[0], PHASES[2]]},
            422,
            [("phases", "rise from phase to phase")],
        ),
        ({**START, "target": "gold"}, 422, [("mode", "gradual moves reads before writes")]),
        ({**START, "target": "other"}, 422, [("target", "logical migrations are not available")]),
        ({**START, "data": "logical"}, 422, [("data", "not available")]),
        ({**START, "target": "gold", "data": "shared"}, 409, [("data", "gold is a standby of blue")]),
        ({}, 422, [("source", "expected a value"), ("target", "expected a value")]),
        ({**START, "mode": "fast"}, 422, [("mode", "expected one of gradual, immediate, manual")]),
        ({**START, "phases": 5}, 422, [("phases", "expected an array of objects")]),
        ({**START, "phases": [7]}, 422, [("phases.0", "expected an object")]),
        (
            {**START, "phases": [{"traffic_percent": 101, "duration": 5}]},
            422,
            [("phases.0.traffic_percent", "at most 100"), ("phases.0.duration", "expected a duration")],
        ),
        ({**START, "schedule": "tomorrow"}, 422, [("schedule", "expected a time such as")]),
        ({**START, "schedule": "2030-01-01"}, 422, [("schedule", "expected a time such as")]),
        ({**START, "schedule": "2030-01-01T00:00:00"}, 422, [("schedule", "expected a time such as")]),
        ({**START, "tenant_filter": "x"}, 422, [("tenant_filter", "expected a list of strings")]),
        ({**START, "allow_older": "yes"}, 422, [("allow_older", "expected true or false")]),
        (
            {**START, "trget": "x", "reason": 7},
            422,
            [("reason", "expected a text"), ("trget", "unknown key")],
        ),
    ],
)
async def test_orders_that_are_refused(
    rig: Rig, api: Api, body: Any, status: int, faults: list[tuple[str, str]]
) -> None:
    """Everything that is wrong at once, each with its place; nothing is started."""
    found, problem = await api.post("/api/v1/migration/start", body)
    assert (found, problem["status"]) == (status, status)
    errors = {each["path"]: each["message"] for each in problem["errors"]}
    assert set(errors) == {path for path, _ in faults}
    for path, words in faults:
        assert words in errors[path]
    assert list(rig.migrations) == []
    assert rig.fleet.orders == []


async def test_a_target_that_is_not_healthy_or_older_is_a_conflict(rig: Rig, api: Api) -> None:
    """With the reason."""
    rig.topology.note_failure("green", "connection refused", 0.0)
    status, problem = await api.post("/api/v1/migration/start", START)
    assert (status, problem["code"]) == (409, "conflict")
    assert problem["detail"] == "target: green is not healthy: connection refused"


async def test_a_second_migration_of_the_same_source_is_a_conflict(rig: Rig, api: Api) -> None:
    """It names the first."""
    await api.post("/api/v1/migration/start", {**START, "phases": PHASES})
    status, problem = await api.post("/api/v1/migration/start", START)
    assert (status, problem["detail"]) == (409, "source: migration 1 is already moving sessions from blue")


async def test_a_server_that_cannot_be_asked_is_a_conflict(rig: Rig, api: Api) -> None:
    """Nothing is assumed about its data."""
    del rig.identities["green"]
    assert (await api.post("/api/v1/migration/start", START))[0] == 409


async def test_what_cannot_be_recorded_is_not_begun(tmp_path: Path) -> None:
    """503, with what to do about it."""
    (tmp_path / "file").write_text("")
    async with running(make_rig(tmp_path / "file", sessions=1)) as rig:
        status, problem = await Api.of(make_parts(rig)).post("/api/v1/migration/start", START)
    assert status == 503
    assert "cannot be recorded" in problem["detail"]
    assert "proxy.state_dir" in problem["hint"]


async def test_turns_that_lead_nowhere_are_conflicts(rig: Rig, api: Api) -> None:
    """404 for a migration that is not there."""
    await api.post("/api/v1/migration/start", {**START, "phases": PHASES})
    status, problem = await api.post("/api/v1/migration/1/resume")
    assert (status, problem["detail"]) == (
        409,
        "a migration that is running cannot resume; possible: pause, rollback, complete",
    )
    for path in ("99/pause", "99/status"):
        status, problem = await api.ask("GET" if "status" in path else "POST", f"/api/v1/migration/{path}")
        assert (status, problem["detail"]) == (404, "there is no migration 99")


@pytest.mark.parametrize(
    ("data", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 422),
        (b'"x"', "application/json", 422),
        (b"\xff", "application/json", 400),
        (b"source=blue", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b" " * 70_000 + b"{}", "application/json", 413),
        (b"[" * 60_000, "application/json", 400),
    ],
)
async def test_bodies_that_are_none(api: Api, data: bytes, media_type: str, status: int) -> None:
    """Problem details, never a trace."""
    headers = {"X-API-Key": "helios_operator", "Content-Type": media_type}
    response = await api.client.post("/api/v1/migration/start", data=data, headers=headers)
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")


# -- servers ---------------------------------------------------------------------------------------------------


async def test_a_backend_is_drained_and_enabled(autojump_clock: object, rig: Rig, api: Api) -> None:
    """Drained by a migration; enabled, it gets new sessions again."""
    status, body = await api.post("/api/v1/backends/blue/drain", {"timeout": "1m", "reason": "disk"})
    assert (status, body["remaining"], body["target"], body["in_service"]) == (200, 0, "green", False)
    _, node = await api.get("/api/v1/nodes/blue")
    assert (node["in_service"], node["diverted_to"], node["sessions"]) == (False, ["green"], 0)
    await until_state(rig.migrations.find(body["migration_id"]), State.COMPLETED)
    _, node = await api.post("/api/v1/nodes/blue/enable", {"reason": "done"})
    assert (node["in_service"], node["diverted_to"]) == (True, [])
    _, node = await api.post("/api/v1/nodes/blue/disable")
    assert node["in_service"] is False
    _, events = await api.get("/api/v1/events")
    assert [(each["kind"], each["who"]) for each in events["events"] if each["subject"] == "blue"] == [
        ("backend out of service", "otto"),
        ("backend in service", "otto"),
        ("backend out of service", "otto"),
    ]


async def test_a_drain_need_not_be_waited_for(autojump_clock: object, rig: Rig, api: Api) -> None:
    """The answer says who is left, and why."""
    rig.fleet.present[1].pins = {"setseed": 1}
    for session in rig.fleet.present.values():
        session.seconds = 5.0
    _, body = await api.post("/api/v1/backends/blue/drain", {"wait_for_idle": False})
    assert body["remaining"] == 50
    await until(lambda: len(rig.fleet.on_backend("blue")) == 1)
    _, body = await api.post("/api/v1/backends/blue/drain", {"wait_for_idle": False})
    assert body["waiting_for"] == [{"id": 1, "reason": "setseed: 1"}]


async def test_the_health_of_a_backend(rig: Rig, api: Api) -> None:
    """By the required checks, now."""
    status, body = await api.get("/api/v1/backends/green/health")
    assert (status, body["status"], body["ready_for_migration"]) == (200, "healthy", True)
    rig.examiner.complaints["green"] = "replication_lag_ms < 100"
    _, body = await api.get("/api/v1/backends/green/health")
    assert (body["status"], body["ready_for_migration"]) == ("unhealthy", False)
    assert body["reason"] == "replication_lag_ms < 100: it is 500"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/backends/red/health"),
        ("GET", "/api/v1/nodes/red"),
        ("POST", "/api/v1/backends/red/drain"),
        ("POST", "/api/v1/nodes/red/enable"),
        ("POST", "/api/v1/nodes/red/disable"),
    ],
)
async def test_backends_that_are_not_there(api: Api, method: str, path: str) -> None:
    """404, with the name."""
    status, problem = await api.ask(method, path)
    assert (status, problem["detail"]) == (404, 'there is no backend "red"')


async def test_all_nodes(api: Api) -> None:
    """The same as in the topology."""
    _, nodes = await api.get("/api/v1/nodes")
    assert [each["name"] for each in nodes["nodes"]] == ["blue", "green", "teal", "gold", "other"]
