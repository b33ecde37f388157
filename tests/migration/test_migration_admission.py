"""Orders that are refused: each with its reason, and nothing has been started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve
from migration_rig import EPOCH, Rig, identity, make_rig, running, until_state

from helios_trio.cluster.observation import Observation
from helios_trio.config.words import MigrationMode
from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.migration.errors import Conflict, InvalidOrder, NotAvailable, NotFound, OrderRefused
from helios_trio.migration.identity import data_mode
from helios_trio.migration.orders import DataMode, Phase
from helios_trio.migration.states import ENDED, State, Turn


@pytest.fixture
async def rig(autojump_clock: object) -> AsyncIterator[Rig]:
    """Ten idle sessions on blue."""
    async with running(make_rig(sessions=10)) as made:
        yield made


async def refusal(rig: Rig, kind: type[HeliosError], **order: Any) -> str:
    """The message of the error; sees to it that nothing else happened."""
    before = (list(rig.migrations), rig.placement.diversions, rig.kinds())
    with pytest.raises(kind) as caught:
        await rig.start(**order)
    assert type(caught.value) is kind
    assert (list(rig.migrations), rig.placement.diversions, rig.kinds()) == before
    assert rig.fleet.orders == []
    return caught.value.message


GRADUAL = MigrationMode.GRADUAL


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"source": "red"}, 'source: there is no backend "red"; known are blue, green, teal, gold, other'),
        ({"target": "red"}, 'target: there is no backend "red"'),
        ({"target": "blue"}, "target: expected another backend than the source"),
        (
            {"mode": GRADUAL, "phases": (Phase(50.0), Phase(10.0), Phase(100.0))},
            "phases: expected percentages",
        ),
        ({"mode": GRADUAL, "phases": (Phase(10.0), Phase(50.0))}, "phases: expected 100 in the last phase"),
    ],
)
async def test_orders_that_make_no_sense(rig: Rig, order: dict[str, Any], words: str) -> None:
    """Invalid, whatever the servers do."""
    assert words in await refusal(rig, InvalidOrder, **order)


async def test_all_that_is_wrong_is_said_at_once(rig: Rig) -> None:
    """Each with the name of what was ordered."""
    with pytest.raises(InvalidOrder) as caught:
        await rig.start(source="red", target="red", mode=GRADUAL, phases=(Phase(5.0),))
    assert [each.path for each in caught.value.faults] == ["source", "target", "target", "phases"]


async def test_a_target_that_is_not_healthy(rig: Rig) -> None:
    """With the reason of the prober."""
    rig.topology.note_failure("green", "connection refused", 0.0)
    assert "target: green is not healthy: connection refused" in await refusal(rig, Conflict)


async def test_a_target_that_fails_a_required_check(rig: Rig) -> None:
    """Asked before it begins."""
    rig.examiner.complaints["green"] = "replication_lag_ms < 100"
    assert "replication_lag_ms < 100: it is 500" in await refusal(rig, Conflict)


async def test_a_target_of_an_older_version(rig: Rig) -> None:
    """Rule 21: unless it is allowed in so many words; a minor version does not matter."""
    rig.topology.note_answer("green", Observation(False, 1, 1, 0.0, 1, "7", "17.9"), 0.0)
    assert "PostgreSQL 17 is older than the source's 18" in await refusal(rig, Conflict)
    await until_state(await rig.start(allow_older=True), State.COMPLETED)
    assert rig.fleet.orders[0][1].allow_older
    rig.topology.note_answer("teal", Observation(False, 1, 1, 0.0, 1, "7", "18.0"), 0.0)
    await until_state(await rig.start(target="teal"), State.COMPLETED)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({}, "migration 1 is already moving sessions from blue"),
        ({"target": "teal"}, "migration 1 is already moving sessions from blue"),
        ({"source": "green", "target": "blue"}, "migration 1 is moving sessions from blue to green"),
        ({"source": "green", "target": "teal"}, "migration 1 is moving sessions from blue to green"),
        ({"source": "teal", "target": "blue"}, "migration 1 is moving sessions from blue to green"),
    ],
)
async def test_a_second_migration_of_the_same_sessions(rig: Rig, order: dict[str, Any], words: str) -> None:
    """From the same source, or against each other, also while the first is paused."""
    first = await rig.start(mode=GRADUAL, phases=(Phase(10.0, 1000.0), Phase(100.0)))
    await rig.migrations.command(first.id, Turn.PAUSE, "bob")
    rig.fleet.orders.clear()
    assert words in await refusal(rig, Conflict, **order)


async def test_different_sources_may_go_to_one_target(autojump_clock: object, rig: Rig) -> None:
    """At the same time."""
    first = await rig.start(mode=GRADUAL, phases=(Phase(10.0, 1000.0), Phase(100.0)))
    second = await rig.start(source="teal")
    await until_state(second, State.COMPLETED)
    await until_state(first, State.COMPLETED)


async def test_logical_data_are_not_available(rig: Rig) -> None:
    """Asked for, or found out."""
    assert "not available" in await refusal(rig, NotAvailable, data=DataMode.LOGICAL)
    message = await refusal(rig, NotAvailable, target="other")
    assert "other has other data than blue; logical migrations are not available" in message


@pytest.mark.parametrize("mode", [MigrationMode.GRADUAL, MigrationMode.MANUAL])
async def test_gradual_over_physical_needs_routed_sessions(rig: Rig, mode: MigrationMode) -> None:
    """Asked for, or found out; the setting is named."""
    phases = (Phase(10.0), Phase(100.0))
    for data in (DataMode.PHYSICAL, None):
        message = await refusal(rig, NotAvailable, target="gold", mode=mode, phases=phases, data=data)
        assert f"mode: {mode} moves reads before writes where the target is a standby" in message
        assert "routing.enabled = true" in message


async def test_one_phase_over_physical_needs_nothing(rig: Rig) -> None:
    """It is a switchover by another name."""
    order = {"target": "gold", "mode": GRADUAL, "phases": (Phase(100.0),)}
    assert "switchovers are not available" in await refusal(rig, NotAvailable, **order)
    assert "for all tenants" in await refusal(rig, NotAvailable, **order, tenants=("x",))


async def test_a_switchover_of_some_tenants_is_not_available(rig: Rig) -> None:
    """It is one switch for all (rule 23)."""
    assert "for all tenants" in await refusal(rig, NotAvailable, target="gold", tenants=("x",))


async def test_a_switchover_without_anybody_who_can(rig: Rig) -> None:
    """Said so, rather than begun."""
    assert "switchovers are not available" in await refusal(rig, NotAvailable, target="gold")


@pytest.mark.parametrize(
    ("data", "target", "words"),
    [
        (DataMode.SHARED, "gold", "shared was asked for, but gold is a standby of blue"),
        (
            DataMode.SHARED,
            "other",
            "shared was asked for, but other is neither blue itself nor a standby of it",
        ),
        (DataMode.PHYSICAL, "green", "physical was asked for, but both names lead to one server"),
    ],
)
async def test_data_are_what_the_servers_say(rig: Rig, data: DataMode, target: str, words: str) -> None:
    """Never what an order says (rule 23)."""
    assert words in await refusal(rig, Conflict, target=target, data=data)


async def test_a_copy_is_not_the_same_server(rig: Rig) -> None:
    """Same data, same port, same folder, started at another time: two writable copies."""
    one = identity("7")
    rig.identities["green"] = evolve(one, started_at=datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    assert "neither blue itself nor a standby" in await refusal(rig, Conflict, data=DataMode.SHARED)
    assert "green has other data than blue" in await refusal(rig, NotAvailable)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (identity("7"), identity("7"), DataMode.SHARED),
        (identity("7", in_recovery=True), identity("7", in_recovery=True), DataMode.SHARED),
        (identity("7"), identity("7", in_recovery=True), DataMode.PHYSICAL),
        (identity("7", in_recovery=True), identity("7"), DataMode.LOGICAL),
        (identity("7"), identity("7", port=5433), DataMode.LOGICAL),
        (identity("7", in_recovery=True), identity("7", in_recovery=True, port=5433), DataMode.LOGICAL),
        (identity("7"), identity("8", in_recovery=True), DataMode.LOGICAL),
    ],
)
def test_how_data_are_related(source: Any, target: Any, expected: DataMode) -> None:
    """One server, a primary and its standby, or nothing that this version can do anything with."""
    assert data_mode(source, target) is expected


async def test_a_server_that_does_not_say_who_it_is(rig: Rig) -> None:
    """Nothing is assumed."""
    del rig.identities["green"]
    assert "green: connection refused" in await refusal(rig, BackendUnavailable)


async def test_too_many_sessions(rig: Rig) -> None:
    """max_sessions."""
    rig.reconfigure(max_sessions=9)
    assert "blue has 10 sessions, more than" in await refusal(rig, Conflict)


@pytest.mark.parametrize(
    ("session", "target", "kind", "words"),
    [
        (99, "green", NotFound, "there is no session 99"),
        (1, "red", InvalidOrder, 'there is no backend "red"'),
        (1, "blue", InvalidOrder, "another backend than the one the session is on"),
        (1, "other", Conflict, "neither blue itself nor a standby"),
        (1, "gold", Conflict, "gold is a standby of blue"),
    ],
)
async def test_one_session_cannot_go_just_anywhere(
    rig: Rig, session: int, target: str, kind: type[OrderRefused], words: str
) -> None:
    """Not to other data, nor to itself; it has not been touched."""
    with pytest.raises(kind, match=words):
        await rig.migrations.move_session(session, target, "bob")
    assert rig.fleet.orders == []
    assert rig.kinds() == []


async def test_one_session_cannot_go_to_a_server_that_is_down(rig: Rig) -> None:
    """Nor to an older one."""
    rig.topology.note_answer("teal", Observation(False, 1, 1, 0.0, 1, "7", "16.1"), 0.0)
    with pytest.raises(Conflict, match="older"):
        await rig.migrations.move_session(1, "teal", "bob")
    rig.topology.note_failure("green", "connection refused", 0.0)
    with pytest.raises(Conflict, match="not healthy"):
        await rig.migrations.move_session(1, "green", "bob")


async def test_a_completed_migration_is_not_rolled_back_into_another(
    autojump_clock: object, rig: Rig
) -> None:
    """The other one would pull at the same sessions."""
    first = await rig.start()
    await until_state(first, *ENDED)
    start_at = datetime.fromtimestamp(EPOCH + 3600, UTC)
    await rig.start(source="green", target="blue", start_at=start_at)
    with pytest.raises(Conflict, match="migration 2 is moving sessions from green to blue"):
        await rig.migrations.command(first.id, Turn.ROLL_BACK, "bob")
    assert first.state is State.COMPLETED
