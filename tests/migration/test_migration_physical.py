"""A migration to a standby is a switchover: begun by the orchestrator, and over when it says so."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from fake_switchover import REPORT, FakeSwitchover
from migration_rig import Rig, make_rig, running, until_state

from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.orders import DataMode
from helios_trio.migration.states import State, Turn
from helios_trio.migration.status import status_of
from helios_trio.migration.switchover_steps import SwitchoverOrder, SwitchoverOutcome


def rig_with(switchover: FakeSwitchover) -> Rig:
    return make_rig(switchover=switchover, sessions=10)


async def start(rig: Rig, **order: Any) -> Any:
    migration = await rig.start(target="gold", reason="upgrade", **order)
    await until_state(migration, State.RUNNING)
    return migration


async def test_the_switchover_does_it() -> None:
    """Its figures are those of the migration; nothing is diverted, as the primary itself has moved."""
    switchover = FakeSwitchover()
    async with running(rig_with(switchover)) as rig:
        migration = await start(rig)
        switchover.go_on.set()
        await until_state(migration, State.COMPLETED)
        assert switchover.orders == [SwitchoverOrder(target="gold", reason="upgrade")]
        status = status_of(migration)
        assert (status.data, status.sessions_migrated, status.client_errors) == (DataMode.PHYSICAL, 9, 1)
        assert (status.longest_pause_seconds, status.rollback_available) == (0.25, False)
        assert rig.placement.diversions == []
        assert rig.fleet.orders == []


async def test_one_that_takes_itself_back_is_rolled_back() -> None:
    """With its reason."""
    report = evolve(
        REPORT, outcome=SwitchoverOutcome.ROLLED_BACK, failure="the standby is behind", moved=0, lost=0
    )
    switchover = FakeSwitchover(report)
    async with running(rig_with(switchover)) as rig:
        migration = await start(rig)
        switchover.go_on.set()
        await until_state(migration, State.ROLLED_BACK)
        assert status_of(migration).status_reason == "the standby is behind"


@pytest.mark.long
@pytest.mark.parametrize("error", [Conflict([Fault("target", "no standby")]), ZeroDivisionError("a bug")])
async def test_one_that_cannot_begin_fails(error: Exception) -> None:
    """The proxy goes on."""
    switchover = FakeSwitchover(error=error)
    async with running(rig_with(switchover)) as rig:
        migration = await start(rig)
        switchover.go_on.set()
        await until_state(migration, State.FAILED)


async def test_an_operator_can_call_it_off_until_it_promotes() -> None:
    """Then there is only forward, and the answer says so."""
    switchover = FakeSwitchover()
    async with running(rig_with(switchover)) as rig:
        migration = await start(rig)
        switchover.reversible = False
        with pytest.raises(Conflict, match="gold is being promoted: there is only forward now"):
            await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
        assert migration.state is State.RUNNING
        switchover.reversible = True
        await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob", "not today")
        await until_state(migration, State.ROLLED_BACK)
        assert ("switchover given up", "bob") in [
            (each.kind, each.who) for each in rig.means.events.newest(9)
        ]


@pytest.mark.parametrize("turn", [Turn.PAUSE, Turn.COMPLETE])
async def test_it_cannot_be_stopped_halfway(turn: Turn) -> None:
    """Nor can a completed one be taken back: the old primary may not even be there."""
    switchover = FakeSwitchover()
    async with running(rig_with(switchover)) as rig:
        migration = await start(rig)
        with pytest.raises(Conflict, match="a switchover that is running cannot"):
            await rig.migrations.command(migration.id, turn, "bob")
        switchover.go_on.set()
        await until_state(migration, State.COMPLETED)
        with pytest.raises(Conflict, match="a switchover that is completed cannot rollback"):
            await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")


async def test_nothing_else_runs_beside_it() -> None:
    """One switch for all (rule 23)."""
    async with running(rig_with(FakeSwitchover())) as rig:
        await start(rig)
        with pytest.raises(Conflict, match="a switchover takes all sessions"):
            await rig.start(source="teal", target="green")
