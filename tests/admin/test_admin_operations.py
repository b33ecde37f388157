"""The proxy itself through the API: its configuration, a reload, events."""

from __future__ import annotations

import pytest
from admin_parts import Api, make_parts

from helios_trio.admin.parts import Reloaded
from helios_trio.config import MASK, Config, ControlSettings, InvalidConfig, Secret
from helios_trio.errors import ConfigError


async def test_the_configuration_is_shown_without_secrets() -> None:
    """As a file would have it (rule 39)."""
    parts = make_parts()
    parts.running.config = Config(control=ControlSettings(password=Secret("hunter2")))
    status, body = await Api.of(parts).get("/api/v1/config")
    assert (status, body["control"]["password"], body["pool"]["mode"]) == (200, MASK, "session")
    assert "hunter2" not in str(body)


async def test_a_reload_says_what_it_has_done() -> None:
    """And is an event."""
    parts = make_parts()

    async def reload() -> Reloaded:
        return Reloaded(changed=("pool.mode",), needing_restart=("proxy.listen_address",))

    parts.running.reload = reload
    api = Api.of(parts)
    status, body = await api.post("/api/v1/reload", {"reason": "new pool"})
    assert (status, body) == (200, {"changed": ["pool.mode"], "needing_restart": ["proxy.listen_address"]})
    _, events = await api.get("/api/v1/events")
    assert [(each["kind"], each["who"], each["reason"]) for each in events["events"]] == [
        ("configuration reloaded", "otto", "new pool")
    ]


@pytest.mark.parametrize("error", [InvalidConfig(["a: one", "b: two"]), ConfigError("a: one\nb: two")])
async def test_a_configuration_that_cannot_be_used_changes_nothing(error: ConfigError) -> None:
    """All that is wrong with it at once."""
    parts = make_parts()

    async def reload() -> Reloaded:
        raise error

    parts.running.reload = reload
    api = Api.of(parts)
    status, problem = await api.post("/api/v1/reload")
    assert (status, [each["message"] for each in problem["errors"]]) == (422, ["a: one", "b: two"])
    assert (await api.get("/api/v1/events"))[1] == {"events": [], "next": None}


async def test_events_come_in_pages() -> None:
    """Newest first."""
    parts = make_parts()
    for number in range(5):
        parts.events.note("thing", f"subject {number}", who="otto", reason="why")
    api = Api.of(parts)
    seen, path = [], "/api/v1/events?limit=2"
    for _ in range(3):
        _, body = await api.get(path)
        seen += [each["id"] for each in body["events"]]
        path = f"/api/v1/events?limit=2&before={body['next']}"
    assert (seen, body["next"]) == ([5, 4, 3, 2, 1], None)
    assert (await api.get("/api/v1/events?limit=0"))[0] == 422
