"""Rules through the API: listed, added, deleted, refused with what is wrong; sessions that are moved along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from admin_parts import AS_VIEWER, Api, make_parts
from attrs import evolve
from migration_rig import FakeSession, Rig, make_rig, running

from helios_trio.config.routing import GeoRuleSettings, RoutingRuleSettings, RoutingSettings
from helios_trio.features.routing.rule_book import RuleBook
from helios_trio.features.routing.rule_store import RuleStore
from helios_trio.features.routing.standings import Standings
from helios_trio.pipeline.fleet import SessionState

RULES, GEO = "/api/v1/routing/rules", "/api/v1/routing/geo-rules"
FILE = RoutingSettings(
    rules=(RoutingRuleSettings(tenant_pattern="old", backend="gold"),),
    geo_rules=(GeoRuleSettings(tenant_pattern="eu_*", preferred_backend="gold", fallback_backend="blue"),),
)


def book_of(rig: Rig, path: Path | None) -> RuleBook:
    standings = Standings(rig.topology, rig.placement)
    rig.topology.followers.append(standings.on_news)
    return RuleBook(FILE, RuleStore(path), standings)


@pytest.fixture
async def rig(autojump_clock: object) -> AsyncIterator[Rig]:
    """blue is the primary, green and teal are other names of it, gold is its standby, other is another cluster."""
    async with running(make_rig()) as made:
        for id, tenant in enumerate(("acme", "acme", "acme", "eu_1", "old", "x"), 1):
            made.fleet.add(FakeSession(id, tenant=tenant))
        yield made


@pytest.fixture
def api(rig: Rig, tmp_path: Path) -> Api:
    return Api.of(evolve(make_parts(rig), rule_book=book_of(rig, tmp_path / "rules.json")))


def on(rig: Rig, backend: str) -> list[int]:
    return sorted(rig.fleet.on_backend(backend))


async def test_rules_are_listed(api: Api) -> None:
    """With what each is said of, and where it comes from."""
    status, body = await api.get(RULES)
    assert (status, body) == (
        200,
        {
            "rules": [
                {
                    "id": "file-0",
                    "tenant_pattern": "old",
                    "database": "*",
                    "user": "*",
                    "backend": "gold",
                    "applies_to": "reads",
                    "source": "file",
                    "who": "",
                    "at": None,
                    "reason": "",
                }
            ],
            "kept": True,
        },
    )
    status, body = await api.get(GEO)
    (found,) = body["rules"]
    assert (found["id"], found["preferred_backend"], found["fallback_backend"]) == ("file-0", "gold", "blue")


async def test_life_of_a_rule(api: Api, rig: Rig) -> None:
    """Added before another one, in force for the next session, in the events, deleted."""
    status, first = await api.post(RULES, {"tenant_pattern": "test_*", "backend": "other", "reason": "trial"})
    assert status == 201
    assert (first["id"], first["applies_to"], first["who"], first["reason"]) == (
        "api-1",
        "whole sessions",
        "otto",
        "trial",
    )
    assert datetime.fromisoformat(first["at"]).tzinfo is not None
    assert first["moves"] is None
    order = {"tenant_pattern": "test_1", "backend": "gold", "database": "shop", "before": "api-1"}
    _, second = await api.post(RULES, order)
    _, body = await api.get(RULES)
    assert [each["id"] for each in body["rules"]] == [second["id"], first["id"], "file-0"]
    status, gone = await api.ask("DELETE", f"{RULES}/{first['id']}?reason=over")
    assert (status, gone["id"], gone["tenant_pattern"]) == (200, "api-1", "test_*")
    status, gone = await api.ask("DELETE", f"{RULES}?id={second['id']}")
    assert (status, gone["id"]) == (200, "api-2")
    _, body = await api.get(RULES)
    assert [each["id"] for each in body["rules"]] == ["file-0"]
    _, body = await api.get("/api/v1/events")
    assert [(each["kind"], each["subject"], each["who"], each["reason"]) for each in body["events"]] == [
        ("routing rule deleted", "rule api-2: tenants test_1, database shop -> gold", "otto", ""),
        ("routing rule deleted", "rule api-1: tenants test_* -> other", "otto", "over"),
        ("routing rule added", "rule api-2: tenants test_1, database shop -> gold", "otto", ""),
        ("routing rule added", "rule api-1: tenants test_* -> other", "otto", "trial"),
    ]


async def test_life_of_a_geo_rule(api: Api, rig: Rig, tmp_path: Path) -> None:
    """The same; and it outlives the proxy."""
    order = {"tenant_pattern": "us_*", "preferred_backend": "other", "fallback_backend": "gold"}
    status, found = await api.post(GEO, order)
    assert (status, found["id"], found["source"]) == (201, "api-1", "api")
    again = Api.of(evolve(make_parts(rig), rule_book=book_of(rig, tmp_path / "rules.json")))
    _, body = await again.get(GEO)
    assert [each["id"] for each in body["rules"]] == ["api-1", "file-0"]
    status, _ = await again.ask("DELETE", f"{GEO}/api-1")
    assert status == 200
    status, body = await again.ask("DELETE", f"{GEO}/api-1")
    assert (status, body["errors"][0]["message"]) == (404, 'there is no rule "api-1"')


@pytest.mark.parametrize(
    ("path", "body", "status", "where", "words"),
    [
        (RULES, {"tenant_pattern": "a"}, 422, "backend", "expected a value"),
        (RULES, {"tenant_pattern": "[a]", "backend": "gold"}, 422, "tenant_pattern", "without brackets"),
        (
            RULES,
            {"tenant_pattern": "a", "backend": "red"},
            422,
            "backend",
            'there is no backend "red"; known are blue',
        ),
        (RULES, {"tenant_pattern": "a", "backend": "gold", "x": 1}, 422, "x", "unknown key"),
        (RULES, {"tenant_pattern": "a", "backend": "gold", "before": "api-3"}, 404, "before", "no rule"),
        (
            RULES,
            {"tenant_pattern": "a", "backend": "gold", "before": "file-0"},
            409,
            "before",
            "stands in the",
        ),
        (
            GEO,
            {"tenant_pattern": "eu_1", "preferred_backend": "blue"},
            409,
            "tenant_pattern",
            "overlaps with file-0",
        ),
        (GEO, {"tenant_pattern": "us", "preferred_backend": "red"}, 422, "preferred_backend", "no backend"),
        (
            GEO,
            {"tenant_pattern": "us", "preferred_backend": "blue", "fallback_backend": "blue"},
            422,
            "fallback_backend",
            "another backend",
        ),
    ],
)
async def test_what_is_refused(api: Api, path: str, body: Any, status: int, where: str, words: str) -> None:
    """As problem details that name the key and what was expected; nothing is changed, nothing in the events."""
    _, before = await api.get(path)
    found, answer = await api.post(path, body)
    assert found == status
    assert [each["path"] for each in answer["errors"]] == [where]
    assert words in answer["errors"][0]["message"]
    assert (await api.get(path))[1] == before
    assert (await api.get("/api/v1/events"))[1]["events"] == []


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (f"{RULES}/api-1", 404, 'there is no rule "api-1"'),
        (f"{RULES}/file-0", 409, "stands in the configuration file"),
        (f"{GEO}/file-0", 409, "stands in the configuration file"),
        (RULES, 422, "expected a value"),
        (f"{RULES}/api-1?reson=x", 422, "unknown key"),
    ],
)
async def test_what_cannot_be_deleted(api: Api, path: str, status: int, words: str) -> None:
    """With the reason."""
    found, answer = await api.ask("DELETE", path)
    assert (found, words in str(answer["errors"])) == (status, True)


async def test_viewers_may_look_and_nothing_else(api: Api) -> None:
    """Rules send other people's sessions elsewhere."""
    assert (await api.get(RULES, AS_VIEWER))[0] == 200
    assert (await api.post(RULES, {"tenant_pattern": "a", "backend": "gold"}, AS_VIEWER))[0] == 403
    assert (await api.ask("DELETE", f"{GEO}/file-0", headers=AS_VIEWER))[0] == 403


async def test_no_routes_where_nothing_is_routed(rig: Rig) -> None:
    """They would have no effect."""
    assert (await Api.of(make_parts(rig)).get(RULES))[0] == 404


# -- existing sessions -----------------------------------------------------------------------------------------


async def move(api: Api, **body: Any) -> Any:
    status, found = await api.post(RULES, {"apply_to_existing": True, **body})
    assert status == 201
    return found["moves"]


async def test_existing_sessions_are_moved_when_asked(api: Api, rig: Rig) -> None:
    """Those of the tenant, to where the rule places them; without being asked nobody is."""
    _, found = await api.post(RULES, {"tenant_pattern": "x", "backend": "green"})
    assert (found["moves"], on(rig, "green")) == (None, [])
    moves = await move(api, tenant_pattern="acme", backend="green")
    assert moves == {"in_place": 0, "moved": 3, "remaining": 0, "reasons": {}, "gone": 0}
    assert (on(rig, "green"), on(rig, "blue")) == ([1, 2, 3], [4, 5, 6])


async def test_deleted_rule_takes_them_back(api: Api, rig: Rig) -> None:
    """To where they would be without it."""
    await move(api, tenant_pattern="acme", backend="green")
    status, body = await api.ask("DELETE", f"{RULES}/api-1?apply_to_existing=true")
    assert (status, body["moves"]["moved"], on(rig, "green")) == (200, 3, [])


async def test_rule_about_a_standby_moves_nobody(api: Api, rig: Rig) -> None:
    """Reads follow by themselves, and a session on a standby could not write (rule 36)."""
    assert (await move(api, tenant_pattern="acme", backend="gold"))["in_place"] == 3
    assert on(rig, "blue") == [1, 2, 3, 4, 5, 6]


async def test_nobody_is_moved_to_other_data(api: Api, rig: Rig) -> None:
    """Rule 23: another cluster does not have what the session has seen; new sessions go there all the same."""
    moves = await move(api, tenant_pattern="acme", backend="other")
    assert (moves["moved"], moves["remaining"]) == (0, 3)
    assert "other is neither blue itself nor a standby of it" in moves["reasons"]["1"]
    assert on(rig, "other") == []


async def test_who_cannot_be_moved_is_named(api: Api, rig: Rig) -> None:
    """With why; who leaves meanwhile is counted."""
    rig.fleet.present[1].pins = {"setseed": 1}
    rig.fleet.present[2].crash = RuntimeError("a bug")
    moves = await move(api, tenant_pattern="acme", backend="green")
    assert (moves["moved"], moves["remaining"]) == (1, 2)
    assert moves["reasons"] == {"1": "setseed: 1", "2": "internal error: RuntimeError"}


async def test_moving_takes_no_longer_than_is_said(autojump_clock: object, api: Api, rig: Rig) -> None:
    """Whoever is not there by then stays."""
    rig.fleet.present[1].state = SessionState.IN_TRANSACTION
    moves = await move(api, tenant_pattern="acme", backend="green", time_limit="10s")
    assert (moves["moved"], moves["remaining"]) == (2, 1)
    assert moves["reasons"] == {"1": "the time was over before it could be moved"}


async def test_number_of_moves_at_once_is_bounded(autojump_clock: object, api: Api, rig: Rig) -> None:
    """By the configuration, as for every migration."""
    rig.reconfigure(max_concurrent_migrations=2)
    rig.fleet.add(*(FakeSession(id, tenant="many", seconds=1.0) for id in range(100, 120)))
    moves = await move(api, tenant_pattern="many", backend="green")
    assert (moves["moved"], rig.fleet.most_moving) == (20, 2)


async def test_geo_rule_moves_too(api: Api, rig: Rig) -> None:
    """To its preferred backend, where that is a primary."""
    order = {"tenant_pattern": "acm*", "preferred_backend": "teal", "apply_to_existing": True}
    status, found = await api.post(GEO, order)
    assert (status, found["moves"]["moved"], on(rig, "teal")) == (201, 3, [1, 2, 3])


async def test_where_sessions_cannot_be_moved_the_rule_is_not_added(rig: Rig, tmp_path: Path) -> None:
    """It would be half of what was asked for."""
    parts = evolve(make_parts(rig), rule_book=book_of(rig, None), migrations=None)
    api = Api.of(parts)
    order = {"tenant_pattern": "acme", "backend": "green", "apply_to_existing": True}
    status, body = await api.post(RULES, order)
    assert (status, body["errors"][0]["path"]) == (422, "apply_to_existing")
    assert (await api.get(RULES))[1] == {"rules": (await api.get(RULES))[1]["rules"][:1], "kept": False}


async def test_answers_are_documented(api: Api) -> None:
    """The OpenAPI document has the routes, their bodies and their answers."""
    _, document = await api.get("/api/v1/openapi.json")
    for path in (RULES, GEO):
        assert set(document["paths"][path]) == {"get", "post", "delete"}
        assert set(document["paths"][f"{path}/{{id}}"]) == {"delete"}
    schemas = document["components"]["schemas"]
    assert schemas["RuleBody"]["required"] == ["tenant_pattern", "backend"]
    _, found = await api.post(
        RULES, {"tenant_pattern": "acme", "backend": "green", "apply_to_existing": True}
    )
    assert set(found) == set(schemas["RuleChangeView"]["properties"])
    assert set(found["moves"]) == set(schemas["MovesView"]["properties"])
    assert list(schemas["RuleView"]["properties"]) == list((await api.get(RULES))[1]["rules"][0])
