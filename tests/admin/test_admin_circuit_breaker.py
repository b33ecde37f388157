"""Circuit breakers through the API: what is shown, orders, events, the topology and the metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from admin_parts import AS_VIEWER, Api, make_parts
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families

from helios_trio.admin.metrics import expose
from helios_trio.admin.parts import Parts
from helios_trio.config import CircuitBreaker
from helios_trio.features.circuit_breaker import relation
from helios_trio.features.circuit_breaker.breakers import Breakers

BASE = "/api/v1/circuit-breaker"


def make_breakers(**more: Any) -> Breakers:
    own = CircuitBreaker(enabled=True, **more)
    return Breakers.of(own, {"node1": own, "node2": own})


def with_breakers(breakers: Breakers) -> Parts:
    parts = evolve(make_parts(), breakers=breakers)
    breakers.listen(lambda happening: parts.events.note("told", getattr(happening, "backend", "")))
    return parts


async def statuses(api: Api) -> dict[str, Any]:
    status, body = await api.get(f"{BASE}/status")
    assert status == 200
    return {each["backend"]: each for each in body["backends"]}


async def test_absent_when_off() -> None:
    """Neither the routes nor what the topology would show."""
    api = Api.of(make_parts())
    for status, body in (await api.get(f"{BASE}/status"), await api.post(f"{BASE}/node1/open")):
        assert (status, body["status"]) == (404, 404)
    assert [each["circuit"] for each in (await api.get("/api/v1/topology"))[1]["nodes"]] == [None, None]
    assert "/circuit-breaker" not in str((await api.get("/api/v1/openapi.json"))[1]["paths"].keys())


async def test_what_is_shown() -> None:
    """Figures of the window, per backend; null where nothing was measured."""
    breakers = make_breakers()
    api, now = Api.of(with_breakers(breakers)), trio.current_time()
    tap = breakers.tap("node1")
    assert tap is not None
    for _ in range(99):
        tap.note_answer(now, 0.010, user="u", fingerprint=None)
    tap.note_error(now, "53200", user="u", fingerprint=None)
    tap.note_answer(now, 0.010, user="u", fingerprint=None)
    found = await statuses(api)
    one, two = found["node1"], found["node2"]
    assert one["circuit_state"] == two["circuit_state"] == "closed"
    assert one["latency_p95_ms"] == pytest.approx(10.0, rel=0.02)
    assert (one["error_rate"], one["connection_saturation"], one["failures"]) == (0.01, 0.0, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["last_failure_time"])
    assert (two["latency_p95_ms"], two["error_rate"], two["last_failure_time"]) == (None, 0.0, None)


async def test_orders() -> None:
    """Held open, held closed, and given back to the rules; each shows at once, and in the topology."""
    breakers = make_breakers()
    api = Api.of(with_breakers(breakers))
    for verb, state, held in (
        ("open", "open", "open"),
        ("close", "closed", "closed"),
        ("open", "open", "open"),
        ("reset", "closed", None),
    ):
        status, body = await api.post(f"{BASE}/node1/{verb}", {"reason": "disk is being exchanged"})
        assert (status, body["backend"]) == (200, "node1")
        assert (body["circuit_state"], body["held"], body["reason"]) == (
            state,
            held,
            "disk is being exchanged",
        )
        topology = (await api.get("/api/v1/topology"))[1]["nodes"]
        assert [each["circuit"] for each in topology] == [state, "closed"]
    assert (await statuses(api))["node2"]["circuit_state"] == "closed"


async def test_listeners_hear_who_ordered_it() -> None:
    """The name of the key, and the reason."""
    breakers = make_breakers()
    api, told = Api.of(with_breakers(breakers)), list[Any]()
    breakers.listen(told.append)
    await api.post(f"{BASE}/node2/open", {"reason": "why"})
    assert [(each.backend, each.who, each.reason, each.after) for each in told] == [
        ("node2", "otto", "why", "open")
    ]


async def test_bad_orders() -> None:
    """An unknown backend, a key that may only look, a body with other members."""
    api = Api.of(with_breakers(make_breakers()))
    status, body = await api.post(f"{BASE}/node9/open")
    assert (status, body["detail"]) == (404, 'there is no backend "node9" with a circuit breaker')
    assert (await api.post(f"{BASE}/node1/open", headers=AS_VIEWER))[0] == 403
    assert (await api.post(f"{BASE}/node1/open", {"why": "x"}))[0] == 422
    assert (await api.post(f"{BASE}/node1/explode"))[0] == 404
    assert (await statuses(api))["node1"]["circuit_state"] == "closed"


async def test_the_document_describes_them() -> None:
    """As all routes."""
    api = Api.of(with_breakers(make_breakers()))
    document = (await api.get("/api/v1/openapi.json"))[1]
    assert {
        f"{BASE}/status",
        f"{BASE}/{{name}}/open",
        f"{BASE}/{{name}}/close",
        f"{BASE}/{{name}}/reset",
    } <= set(document["paths"])
    view = document["components"]["schemas"]["CircuitView"]
    assert list(view["properties"])[:6] == list(relation.COLUMNS)[:6]


async def test_metrics() -> None:
    """Under the names that dashboards know."""
    breakers = make_breakers()
    parts, now = with_breakers(breakers), trio.current_time()
    breakers.tick(now)
    tap = breakers.tap("node1")
    assert tap is not None
    for _ in range(60):
        tap.note_error(now, "XX000", user="u", fingerprint=None)
        tap.note_answer(now, 0.020, user="u", fingerprint=None)
    page = (await expose(parts, ""))[0].decode()
    samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
    found = {each.name: each.value for each in samples if each.labels.get("backend") == "node1"}
    assert found["helios_circuit_breaker_state"] == 1
    assert found["helios_circuit_breaker_failures_total"] == 60
    assert found["helios_circuit_breaker_trips_total"] == 1
    assert found["helios_circuit_breaker_trip_duration_seconds"] >= 0
    assert found["helios_backend_latency_p95_milliseconds"] == pytest.approx(20, rel=0.02)
    assert found["helios_backend_error_rate"] == 1
    assert found["helios_backend_connection_saturation"] == 0


async def test_the_relation_has_the_columns_of_the_answer() -> None:
    """Each row has each column, and the values are those of the API."""
    breakers = make_breakers()
    api, now = Api.of(with_breakers(breakers)), trio.current_time()
    rows = relation.rows(breakers, now, 1_800_000_000.0 - now)
    assert [list(row) for row in rows] == [list(relation.COLUMNS)] * 2
    found = await statuses(api)
    for row in rows:
        assert {name: found[row["backend"]][name] for name in ("circuit_state", "failures", "reason")} == {
            name: row[name] for name in ("circuit_state", "failures", "reason")
        }
