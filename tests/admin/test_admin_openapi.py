"""The OpenAPI document: complete, consistent, and true of what is really answered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from admin_parts import AS_VIEWER, Api, add_pool, make_parts
from fake_switchover import FakeSwitchover
from migration_rig import Rig, make_rig, running, until_state

from helios_trio.admin.api import all_routes
from helios_trio.admin.live import Live
from helios_trio.config.words import MigrationMode
from helios_trio.migration.states import State

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def faults(schema: Any, value: Any, schemas: Any, path: str = "$") -> Iterator[str]:
    """Where a value is not as its schema says; knows as much of JSON Schema as the document uses."""
    if "$ref" in schema:
        yield from faults(schemas[schema["$ref"].rpartition("/")[2]], value, schemas, path)
    elif "anyOf" in schema:
        if all(list(faults(option, value, schemas, path)) for option in schema["anyOf"]):
            yield f"{path}: {value!r} is none of its options"
    elif "type" in schema:
        known = TYPES[schema["type"]]
        if not isinstance(value, known) or (isinstance(value, bool) and bool not in known):
            yield f"{path}: {value!r} is no {schema['type']}"
            return
        yield from inner_faults(schema, value, schemas, path)


def inner_faults(schema: Any, value: Any, schemas: Any, path: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        yield f"{path}: {value!r} is no time"
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from faults(schema["items"], each, schemas, f"{path}.{index}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, each in value.items():
            if name in known:
                yield from faults(known[name], each, schemas, f"{path}.{name}")
            elif isinstance(extra := schema.get("additionalProperties"), dict):
                yield from faults(extra, each, schemas, f"{path}.{name}")
            elif known:
                yield f"{path}: {name} is not documented"


@pytest.fixture
async def rig(autojump_clock: object) -> AsyncIterator[Rig]:
    """Sessions, a pool, a migration that is under way, and one that is over."""
    async with running(make_rig(switchover=FakeSwitchover(), sessions=20)) as made:
        made.fleet.present[3].pins = {"setseed": 1}
        made.fleet.present[4].seconds = 1e6
        await until_state(await made.start(source="teal", reason="first"), State.COMPLETED)
        await made.start(mode=MigrationMode.IMMEDIATE)
        yield made


@pytest.fixture
def api(rig: Rig) -> Api:
    parts = make_parts(rig, rig.means.switchover)
    add_pool(parts.pools, "ann")
    return Api.of(parts)


async def document_of(api: Api) -> Any:
    status, found = await api.get("/api/v1/openapi.json")
    assert status == 200
    return found


async def test_every_route_is_documented(autojump_clock: object, rig: Rig, api: Api) -> None:
    """With what it does, what it takes, and which role it needs."""
    found = await document_of(api)
    documented = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    parts = make_parts(rig, rig.means.switchover)
    routes = list(all_routes(parts, Live.of(parts)))
    documented.remove(("GET", "/api/v1/stream"))
    assert documented == {(each.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.path)) for each in routes}
    for methods in found["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert "role viewer" in operation["description"] or "role operator" in operation["description"]
    identifiers = [each["operationId"] for methods in found["paths"].values() for each in methods.values()]
    assert len(identifiers) == len(set(identifiers))


async def test_every_reference_leads_somewhere(autojump_clock: object, api: Api) -> None:
    """And every schema is described."""
    found = await document_of(api)
    schemas = found["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/(\w+)", str(found)))
    assert references == set(schemas)
    assert all(each["description"] for each in schemas.values())


READS = [
    "/api/v1/traffic",
    "/api/v1/metrics",
    "/api/v1/console",
    "/health",
    "/health/live",
    "/health/ready",
    "/api/v1/version",
    "/api/v1/config",
    "/api/v1/events",
    "/api/v1/topology",
    "/api/v1/nodes",
    "/api/v1/nodes/{name}",
    "/api/v1/backends/{name}/health",
    "/api/v1/pools",
    "/api/v1/sessions",
    "/api/v1/sessions/{id}",
    "/api/v1/migration",
    "/api/v1/migration/{id}/status",
    "/api/v1/failover/status",
]


async def test_answers_are_what_is_documented(autojump_clock: object, rig: Rig, api: Api) -> None:
    """All that can be read, with something in it; and some of what is changed."""
    found = await document_of(api)
    schemas = found["components"]["schemas"]
    assert {path for path, methods in found["paths"].items() if "get" in methods} == {
        *READS,
        "/api/v1/stream",
    }
    for path in READS:
        for number in (1, 2):
            concrete = path.replace("{name}", "blue").replace("{id}", str(number))
            _, body = await api.get(concrete, AS_VIEWER)
            answer = found["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            assert list(faults(answer, body, schemas)) == [], path
    changes: list[tuple[str, str, Any]] = [
        ("/api/v1/sessions/{id}/migrate", "/api/v1/sessions/5/migrate", {"target": "teal"}),
        ("/api/v1/migration/{id}/pause", "/api/v1/migration/2/pause", {}),
        ("/api/v1/backends/{name}/drain", "/api/v1/backends/other/drain", {"wait_for_idle": False}),
        ("/api/v1/nodes/{name}/disable", "/api/v1/nodes/blue/disable", {}),
        ("/api/v1/reload", "/api/v1/reload", {}),
    ]
    for path, concrete, body in changes:
        status, body = await api.post(concrete, body)
        answer = found["paths"][path]["post"]["responses"][str(status)]["content"]["application/json"][
            "schema"
        ]
        assert list(faults(answer, body, schemas)) == [], path


async def test_problems_are_what_is_documented(autojump_clock: object, api: Api) -> None:
    """Whatever is wrong."""
    schemas = (await document_of(api))["components"]["schemas"]
    for method, path, body in (
        ("GET", "/api/v1/nothing", None),
        ("GET", "/api/v1/sessions/999", None),
        ("POST", "/api/v1/migration/start", {"x": 1}),
        ("PUT", "/api/v1/migration", None),
    ):
        _, problem = await api.ask(method, path, body)
        assert list(faults(schemas["Problem"], problem, schemas)) == []
    _, problem = await api.get("/api/v1/version", {})
    assert list(faults(schemas["Problem"], problem, schemas)) == []


async def test_bodies_are_documented_as_they_are_read(autojump_clock: object, api: Api) -> None:
    """Required keys, words, defaults; nothing else is taken."""
    schemas = (await document_of(api))["components"]["schemas"]
    body = schemas["MigrationBody"]
    assert body["required"] == ["source", "target"]
    assert body["additionalProperties"] is False
    assert body["properties"]["mode"]["enum"] == ["gradual", "immediate", "manual", None]
    assert body["properties"]["share_of"]["default"] == "sessions"
    assert body["properties"]["phases"]["items"] == {"$ref": "#/components/schemas/GradualPhase"}
    assert schemas["GradualPhase"]["required"] == ["traffic_percent"]
    assert schemas["GradualPhase"]["properties"]["traffic_percent"]["maximum"] == 100


def test_the_checker_finds_faults() -> None:
    """So that the tests above mean something."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for wrong in ({}, {"a": "x"}, {"a": True}, {"a": 1, "b": 2}, []):
        assert list(faults(schema, wrong, {}))
    assert list(faults(schema, {"a": 1}, {})) == []
    assert list(faults({"anyOf": [{"type": "string"}, {"type": "null"}]}, 5, {}))
