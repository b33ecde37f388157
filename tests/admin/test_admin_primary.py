"""An operator says which server is primary, through the API and the topology it shows."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from admin_parts import AS_VIEWER, Api, make_parts
from attrs import evolve

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.provider_manual import ManualProvider
from helios_trio.cluster.topology import Topology
from helios_trio.config import Config, TopologyProvider, TopologySettings
from helios_trio.pipeline.backend import Backend

PATH = "/api/v1/failover/primary"


def primary(timeline: int) -> Observation:
    return Observation(False, 1000, None, None, timeline, "77", "18.6")


@pytest.fixture
def api(autojump_clock: trio.testing.MockClock) -> Api:
    """Two servers; node1 is configured as active, and node2 answers as a primary once it is looked at."""
    topology = Topology.of(
        [Backend("node1", "10.0.0.1", 5432, role="active"), Backend("node2", "10.0.0.2", 5432)]
    )

    def look(name: str) -> None:
        if name == "node2":
            topology.note_answer(name, primary(2), trio.current_time())

    parts = evolve(make_parts(), topology=topology, manual=ManualProvider(topology, look))
    parts.running.config = Config(topology=TopologySettings(provider=TopologyProvider.MANUAL))
    return Api.of(parts)


def view(name: str | None, status: str) -> dict[str, Any]:
    return {"provider": "manual", "primary": name, "status": status}


async def shown(api: Api) -> tuple[str | None, str, str | None]:
    status, body = await api.get("/api/v1/topology")
    assert (status, body["provider"]) == (200, "manual")
    return body["primary"], body["primary_status"], body["pending_primary"]


async def test_life_of_a_primary(autojump_clock: trio.testing.MockClock, api: Api) -> None:
    """Set, confirmed, cleared; the topology and the events show it."""
    assert await shown(api) == ("node1", "confirmed", None)
    order = {"action": "set", "name": "node2", "reason": "node1 is on fire"}
    assert await api.post(PATH, order) == (200, view("node2", "pending"))
    assert await shown(api) == (None, "pending", "node2")
    assert await api.post(PATH, {"action": "confirm", "name": "node2"}) == (200, view("node2", "confirmed"))
    assert await shown(api) == ("node2", "confirmed", None)
    assert await api.post(PATH, {"action": "clear"}) == (200, view(None, "none"))
    assert await shown(api) == (None, "none", None)
    _, body = await api.get("/api/v1/events")
    found = [(each["kind"], each["subject"], each["who"], each["reason"]) for each in body["events"]]
    assert found == [
        ("primary: clear", "", "otto", ""),
        ("primary: confirm", "node2", "otto", ""),
        ("primary: set", "node2", "otto", "node1 is on fire"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"action": "confirm", "name": "node2"}, 409, "node2 has not been set as the primary: that is node1"),
        ({"action": "clear", "name": "node2"}, 409, "node2 is not the primary"),
        ({"action": "set", "name": "node9"}, 404, 'there is no backend "node9"'),
        ({"action": "set"}, 422, "expected the name of a server"),
        ({"action": "crown", "name": "node1"}, 422, "one of set, confirm, clear"),
        ({"name": "node1"}, 422, "action"),
    ],
)
async def test_orders_that_make_no_sense(
    autojump_clock: trio.testing.MockClock, api: Api, body: Any, status: int, detail: str
) -> None:
    """They are refused with the reason, and nothing changes."""
    found, answer = await api.post(PATH, body)
    assert found == status
    assert detail in str(answer)
    assert await shown(api) == ("node1", "confirmed", None)


async def test_server_that_is_no_primary_is_not_confirmed(
    autojump_clock: trio.testing.MockClock, api: Api
) -> None:
    """Nobody has ever seen node1 answer."""
    await api.post(PATH, {"action": "set", "name": "node2"})
    await api.post(PATH, {"action": "set", "name": "node1"})
    status, answer = await api.post(PATH, {"action": "confirm", "name": "node1"})
    assert status == 409
    assert "node1 cannot be the primary: it has not been asked yet" in str(answer)
    assert await shown(api) == (None, "pending", "node1")


async def test_viewers_may_not(autojump_clock: trio.testing.MockClock, api: Api) -> None:
    """It is an order."""
    status, _ = await api.post(PATH, {"action": "clear"}, AS_VIEWER)
    assert status == 403


async def test_there_is_no_such_order_with_another_provider() -> None:
    """The route is absent."""
    status, _ = await Api.of(make_parts()).post(PATH, {"action": "clear"})
    assert status == 404
