"""Sessions and pools of the API: pages, filters, one by one, moved, ended."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from admin_parts import AS_VIEWER, Api, FakeSlot, add_pool, add_slots, make_parts
from migration_rig import FakeSession, Rig, make_rig, running

from helios_trio.pipeline.fleet import MoveOutcome, SessionState
from helios_trio.pool.planner import SlotStatus


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Five sessions on blue."""
    async with running(make_rig(sessions=5)) as made:
        yield made


@pytest.fixture
def api(rig: Rig) -> Api:
    return Api.of(make_parts(rig))


async def test_a_session_is_shown(rig: Rig, api: Api) -> None:
    """All that an operator wants to know of it."""
    rig.fleet.present[3].pins = {"temporary tables": 2}
    status, body = await api.get("/api/v1/sessions/3")
    assert status == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body.pop("since"))
    assert body.pop("idle_seconds") >= 0
    assert body == {
        "id": 3,
        "user": "alice",
        "database": "shop",
        "application_name": "app",
        "tenant": "app",
        "address": "127.0.0.1:1",
        "backend": "blue",
        "home": "blue",
        "server_pid": None,
        "mode": "transaction",
        "state": "idle",
        "pins": {"temporary tables": 2},
        "immovable": [],
        "sizes": {},
    }


async def test_sessions_come_in_pages(rig: Rig, api: Api) -> None:
    """By id; the last page says that it is."""
    seen, path = [], "/api/v1/sessions?limit=2"
    for _ in range(3):
        _, body = await api.get(path)
        assert body["total"] == 5
        seen += [each["id"] for each in body["sessions"]]
        path = f"/api/v1/sessions?limit=2&after={body['next']}"
    assert (seen, body["next"]) == ([1, 2, 3, 4, 5], None)
    assert (await api.get("/api/v1/sessions?after=99"))[1] == {"sessions": [], "total": 5, "next": None}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("backend=green", [1]),
        ("tenant=acme", [2]),
        ("state=idle%20in%20transaction", [3]),
        ("pinned=true", [4]),
        ("pinned=false", [1, 2, 3, 5]),
        ("pinned=false&backend=blue&tenant=app", [3, 5]),
        ("user=alice&database=shop", [1, 2, 3, 4, 5]),
        ("user=bob", []),
    ],
)
async def test_sessions_can_be_filtered(rig: Rig, api: Api, query: str, ids: list[int]) -> None:
    """By all that is given."""
    present = rig.fleet.present
    present[1].backend, present[2].tenant = "green", "acme"
    present[3].state, present[4].pins = SessionState.IN_TRANSACTION, {"x": 1}
    _, body = await api.get(f"/api/v1/sessions?{query}")
    assert [each["id"] for each in body["sessions"]] == ids


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("state=mad", "state"),
        ("usr=x", "usr"),
    ],
)
async def test_queries_are_checked(api: Api, query: str, path: str) -> None:
    """A misspelt filter must not show everybody."""
    status, body = await api.get(f"/api/v1/sessions?{query}")
    assert (status, [each["path"] for each in body["errors"]]) == (422, [path])


async def test_a_session_is_moved(rig: Rig, api: Api) -> None:
    """The answer says what became of it, how long it took, and what was carried."""
    status, body = await api.post("/api/v1/sessions/2/migrate", {"target": "green", "reason": "test"})
    assert (status, body["result"], body["target"], body["carried"]) == (
        200,
        "moved",
        "green",
        {"settings": 2},
    )
    assert rig.fleet.present[2].backend == "green"
    _, events = await api.get("/api/v1/events")
    assert {**events["events"][0], "at": None} == {
        "id": 1,
        "at": None,
        "kind": "session moved",
        "who": "otto",
        "subject": "session 2",
        "reason": "test",
    }


async def test_a_session_that_stays_says_why(rig: Rig, api: Api) -> None:
    """That is an answer, not an error: the order was carried out as far as it could be."""
    rig.fleet.present[2].pins = {"setseed": 1}
    status, body = await api.post("/api/v1/sessions/2/migrate", {"target": "green"})
    assert (status, body["result"], body["reasons"]) == (200, MoveOutcome.PINNED, ["setseed: 1"])


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/v1/sessions/99/migrate", {"target": "green"}, 404, "there is no session 99"),
        ("/api/v1/sessions/1/migrate", {"target": "red"}, 422, 'there is no backend "red"'),
        ("/api/v1/sessions/1/migrate", {"target": "blue"}, 422, "another backend"),
        ("/api/v1/sessions/1/migrate", {"target": "gold"}, 409, "gold is a standby of blue"),
        ("/api/v1/sessions/1/migrate", {}, 422, "target: expected a value"),
        ("/api/v1/sessions/1/migrate", {"target": 5}, 422, "target: 5: expected a string"),
        ("/api/v1/sessions/x/migrate", {"target": "green"}, 404, ""),
    ],
)
async def test_moves_that_cannot_be(
    rig: Rig, api: Api, path: str, body: object, status: int, words: str
) -> None:
    """Nothing has happened."""
    found, problem = await api.post(path, body)
    text = problem["detail"] + "".join(
        f"{each['path']}: {each['message']}" for each in problem.get("errors", ())
    )
    assert found == status
    assert words in text
    assert rig.fleet.orders == []


async def test_a_session_is_ended(rig: Rig, api: Api) -> None:
    """With a reason that its client is told."""
    status, body = await api.ask("DELETE", "/api/v1/sessions/2?reason=too%20greedy")
    assert (status, body) == (200, {"id": 2, "ended": True})
    assert rig.fleet.terminated == {2: "too greedy"}
    assert (await api.ask("DELETE", "/api/v1/sessions/2"))[0] == 404
    assert [each.kind for each in rig.means.events.newest(9)] == ["session terminated"]


async def test_without_migrations_sessions_can_be_seen_and_ended_only() -> None:
    """session_migration.enabled = false: what is off has no routes."""
    parts = make_parts()
    parts.fleet.add(FakeSession(1))  # type: ignore[attr-defined]
    api = Api.of(parts)
    assert (await api.get("/api/v1/sessions/1"))[0] == 200
    assert (await api.post("/api/v1/sessions/1/migrate", {"target": "green"}))[0] == 404
    for path in ("/api/v1/migration", "/api/v1/failover/status"):
        assert (await api.get(path))[0] == 404
    assert (await api.post("/api/v1/nodes/node1/disable"))[0] == 404


async def test_pools_are_shown() -> None:
    """Connections by what they do, and what happened so far."""
    parts = make_parts()
    pool = add_pool(parts.pools, "ann")
    add_slots(pool, FakeSlot(SlotStatus.IDLE), FakeSlot(SlotStatus.ACTIVE), FakeSlot(SlotStatus.ACTIVE))
    pool.counters.waits, pool.counters.opened, pool.counters.closed = 5, 9, 6
    pool.counters.reasons_closed["lost"] = 6
    status, body = await Api.of(parts).get("/api/v1/pools", AS_VIEWER)
    (found,) = body["pools"]
    assert status == 200
    assert (found["backend"], found["database"], found["user"], found["mode"]) == (
        "node1",
        "shop",
        "ann",
        "transaction",
    )
    assert (found["idle"], found["active"], found["waiting"], found["max"]) == (1, 2, 0, 100)
    assert (found["waits"], found["created"], found["closed"]) == (5, 9, 6)
    assert found["closed_by_reason"] == {"lost": 6}
