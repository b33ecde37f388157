"""Backends out of service: nobody new, and those who are there are moved or waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from migration_rig import Rig, identity, make_rig, running, until, until_state

from helios_trio.errors import BackendUnavailable
from helios_trio.migration.draining import Drains
from helios_trio.migration.errors import NotFound
from helios_trio.migration.states import State
from helios_trio.pipeline.fleet import SessionState


@pytest.fixture
async def rig(autojump_clock: object) -> AsyncIterator[Rig]:
    """Ten idle sessions on blue."""
    async with running(make_rig(sessions=10)) as made:
        yield made


async def test_sessions_go_to_another_name_of_the_server(autojump_clock: object, rig: Rig) -> None:
    """As a migration; new ones follow."""
    drain = await Drains(rig.migrations).drain("blue", "bob", "disk", wait=True, time_limit=60.0)
    assert (drain.remaining, drain.target, drain.in_service) == (0, "green", False)
    (migration,) = rig.migrations
    assert (drain.migration_id, migration.order.reason) == (migration.id, "disk")
    await until_state(migration, State.COMPLETED)
    assert rig.placement.place("blue", 50, "x") == "green"


async def test_what_is_waited_for_is_said(autojump_clock: object, rig: Rig) -> None:
    """When the time is over; the rest goes on."""
    rig.fleet.present[3].pins = {"setseed": 1}
    rig.fleet.present[4].state = SessionState.IN_TRANSACTION
    drains = Drains(rig.migrations)
    before = trio.current_time()
    drain = await drains.drain("blue", "bob", "", wait=True, time_limit=100.0)
    assert trio.current_time() - before < 101
    assert drain.remaining == 2
    assert {each.id: each.reason for each in drain.waiting_for} == {3: "setseed: 1", 4: "idle in transaction"}
    again = await drains.drain("blue", "bob", "", wait=False, time_limit=100.0)
    assert (again.remaining, again.migration_id) == (2, drain.migration_id)
    rig.fleet.present[3].pins, rig.fleet.present[4].state = {}, SessionState.IDLE
    await until(lambda: not rig.fleet.on_backend("blue"))


async def test_without_another_name_clients_are_waited_for(autojump_clock: object, rig: Rig) -> None:
    """Nobody is sent away, and nobody new comes."""
    for name in ("green", "teal"):
        rig.identities[name] = identity("8")
    drain = await Drains(rig.migrations).drain("blue", "bob", "", wait=False, time_limit=1.0)
    assert (drain.remaining, drain.target, drain.reason) == (10, None, "no other backend is the same server")
    with pytest.raises(BackendUnavailable, match="out of service"):
        rig.placement.place("blue", 50, "x")
    assert list(rig.migrations) == []


async def test_only_backends_in_service_that_answer_are_candidates(autojump_clock: object, rig: Rig) -> None:
    """The preferred one first."""
    drains = Drains(rig.migrations)
    await drains.disable("green", "bob", "")
    drain = await drains.drain("blue", "bob", "", wait=True, time_limit=60.0)
    assert drain.target == "teal"
    rig.topology.note_failure("blue", "refused", 0.0)
    drain = await drains.drain("teal", "bob", "", wait=False, time_limit=60.0)
    assert drain.target is None


async def test_enabled_again_it_gets_new_sessions(autojump_clock: object, rig: Rig) -> None:
    """Those that were moved stay where they are."""
    drains = Drains(rig.migrations)
    await drains.drain("blue", "bob", "", wait=True, time_limit=60.0)
    await drains.enable("blue", "bob", "disk replaced")
    assert rig.placement.place("blue", 50, "x") == "blue"
    assert len(rig.fleet.on_backend("green")) == 10
    assert [each.kind for each in rig.means.events.newest(1)] == ["backend in service"]


async def test_it_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """A node under repair does not come back by itself."""
    async with running(make_rig(tmp_path)) as rig:
        await Drains(rig.migrations).disable("blue", "bob", "")
        await Drains(rig.migrations).disable("gold", "bob", "")
        await Drains(rig.migrations).enable("gold", "bob", "")
    async with running(make_rig(tmp_path)) as rig:
        assert rig.placement.out_of_service == {"blue"}


async def test_there_must_be_such_a_backend(autojump_clock: object, rig: Rig) -> None:
    """Nothing has changed otherwise."""
    drains = Drains(rig.migrations)
    for order in (drains.enable, drains.disable):
        with pytest.raises(NotFound, match='no backend "red"'):
            await order("red", "bob", "")
    with pytest.raises(NotFound):
        await drains.drain("red", "bob", "", wait=False, time_limit=1.0)
    assert rig.kinds() == []
