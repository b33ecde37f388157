"""Gradual over `physical`: reads go to the standby phase by phase, all writes follow at once in the last one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from fake_switchover import FakeSwitchover
from migration_rig import Rig, make_rig, running, until, until_state

from helios_trio.cluster.observation import Observation
from helios_trio.config.words import MigrationMode, ShareOf, WhenUnhealthy
from helios_trio.migration.errors import Conflict
from helios_trio.migration.migration import Migration
from helios_trio.migration.orders import Phase
from helios_trio.migration.states import ENDED, State, Turn
from helios_trio.migration.status import status_of

PHASES = (Phase(10.0, 60.0), Phase(50.0, 60.0), Phase(100.0))
IDS = range(1, 1001)


@pytest.fixture
def switchover() -> FakeSwitchover:
    return FakeSwitchover()


@pytest.fixture
async def rig(autojump_clock: object, switchover: FakeSwitchover) -> AsyncIterator[Rig]:
    """Ten sessions on blue, whose requests are routed."""
    made = make_rig(switchover=switchover, sessions=10)
    made.means.read_shares.asked = True
    async with running(made):
        yield made


async def start(rig: Rig, **order: Any) -> Migration:
    given = {"target": "gold", "mode": MigrationMode.GRADUAL, "phases": PHASES, **order}
    migration = await rig.start(**given)
    await until(lambda: bool(rig.means.read_shares.in_force))
    return migration


def readers(rig: Rig, tenant: str = "app", source: str = "blue") -> set[int]:
    """Sessions whose reads are the target's."""
    return {id for id in IDS if rig.means.read_shares.target(source, id, tenant) == "gold"}


def allocation(migration: Migration) -> tuple[float, float]:
    """The target's share of reads and of writes."""
    status = status_of(migration)
    assert sum(status.traffic_allocation.values()) == sum(status.write_allocation.values()) == 100.0
    return status.traffic_allocation["gold"], status.write_allocation["gold"]


def assert_taken_back(rig: Rig, migration: Migration) -> None:
    assert readers(rig) == set()
    assert allocation(migration) == (0.0, 0.0)


async def test_reads_go_phase_by_phase_and_writes_at_once(
    autojump_clock: object, rig: Rig, switchover: FakeSwitchover
) -> None:
    """No session moves before the switchover, and nobody is placed elsewhere."""
    migration = await start(rig)
    first = readers(rig)
    assert (allocation(migration), 50 < len(first) < 150) == ((10.0, 0.0), True)
    await until(lambda: migration.phase == 1)
    await trio.sleep(1.0)
    second = readers(rig)
    assert (allocation(migration), 400 < len(second) < 600, first < second) == ((50.0, 0.0), True, True)
    assert readers(rig, source="green") == set()
    assert switchover.orders == []
    await until(lambda: bool(switchover.orders))
    assert readers(rig) == second
    switchover.go_on.set()
    await until_state(migration, State.COMPLETED)
    assert (readers(rig), allocation(migration)) == (set(), (100.0, 100.0))
    assert (rig.fleet.orders, rig.placement.diversions) == ([], [])
    assert status_of(migration).sessions_migrated == 9


async def test_tenants_go_by_themselves(autojump_clock: object, rig: Rig) -> None:
    """The others read where they did; in the end all are taken over, as there is one primary."""
    await start(rig, tenants=("acme*",))
    assert readers(rig, "app") == set()
    assert len(readers(rig, "acme-1")) > 50


async def test_shares_of_tenants(autojump_clock: object, rig: Rig) -> None:
    """All sessions of a tenant, or none; the share that is shown is that of the phase."""
    migration = await start(rig, share_of=ShareOf.TENANTS)
    found = [len(readers(rig, f"tenant {number}")) for number in range(40)]
    assert set(found) == {0, len(IDS)}
    assert allocation(migration) == (10.0, 0.0)


async def test_manual_waits_before_the_switchover(
    autojump_clock: object, rig: Rig, switchover: FakeSwitchover
) -> None:
    """Reads stay as they are, and the status does not promise more."""
    migration = await start(rig, mode=MigrationMode.MANUAL, phases=(Phase(50.0, 5.0), Phase(100.0)))
    await until_state(migration, State.PAUSED)
    assert (migration.phase, allocation(migration), switchover.orders) == (1, (50.0, 0.0), [])
    assert len(readers(rig)) > 400
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    switchover.go_on.set()
    await until_state(migration, State.COMPLETED)


async def test_a_target_that_is_not_well_before_the_switchover(
    autojump_clock: object, rig: Rig, switchover: FakeSwitchover
) -> None:
    """Is not switched over to: the migration waits, and reads go back meanwhile."""
    migration = await start(rig, mode=MigrationMode.MANUAL, phases=(Phase(50.0, 5.0), Phase(100.0)))
    await until_state(migration, State.PAUSED)
    rig.examiner.complaints["gold"] = "replication_lag_ms < 100"
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    await until_state(migration, State.PAUSED)
    assert "replication_lag_ms < 100: it is 500" in status_of(migration).status_reason
    assert switchover.orders == []
    assert_taken_back(rig, migration)


async def test_rollback_takes_the_reads_back(
    autojump_clock: object, rig: Rig, switchover: FakeSwitchover
) -> None:
    """At once, and for good."""
    migration = await start(rig)
    assert status_of(migration).rollback_available
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob", "not today")
    assert_taken_back(rig, migration)
    await until_state(migration, State.ROLLED_BACK)
    await trio.sleep(1000.0)
    assert_taken_back(rig, migration)
    assert switchover.orders == []


async def test_a_pause_leaves_the_reads(autojump_clock: object, rig: Rig) -> None:
    """Time does not go on until somebody says so."""
    migration = await start(rig)
    before = readers(rig)
    await rig.migrations.command(migration.id, Turn.PAUSE, "bob")
    await trio.sleep(1000.0)
    assert (readers(rig), migration.phase, allocation(migration)) == (before, 0, (10.0, 0.0))
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    await until(lambda: migration.phase == 1)


async def test_complete_switches_over_at_once(
    autojump_clock: object, rig: Rig, switchover: FakeSwitchover
) -> None:
    """From any phase; from then on it has the switchover's own end."""
    migration = await start(rig)
    await rig.migrations.command(migration.id, Turn.COMPLETE, "bob")
    await until(lambda: bool(switchover.orders))
    with pytest.raises(Conflict, match="a switchover that is completing cannot pause"):
        await rig.migrations.command(migration.id, Turn.PAUSE, "bob")
    switchover.reversible = False
    with pytest.raises(Conflict, match="only forward now"):
        await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
    switchover.reversible = True
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
    await until_state(migration, State.ROLLED_BACK)
    assert_taken_back(rig, migration)


async def test_a_switchover_that_cannot_begin(
    autojump_clock: object, rig: Rig, switchover: FakeSwitchover
) -> None:
    """Fails the migration, and the reads go back."""
    switchover.error = Conflict([])
    switchover.go_on.set()
    migration = await start(rig)
    await until_state(migration, *ENDED)
    assert migration.state is State.FAILED
    assert_taken_back(rig, migration)


@pytest.mark.parametrize(
    ("on_unhealthy", "state"),
    [(WhenUnhealthy.PAUSE, State.PAUSED), (WhenUnhealthy.ROLLBACK, State.ROLLED_BACK)],
)
async def test_a_standby_that_falls_behind_is_noticed_within_a_phase(
    autojump_clock: object, rig: Rig, on_unhealthy: WhenUnhealthy, state: State
) -> None:
    """Not only when the phase is over."""
    rig.reconfigure(on_unhealthy=on_unhealthy)
    migration = await start(rig, phases=(Phase(50.0, 86_400.0), Phase(100.0)))
    rig.examiner.complaints["gold"] = "replication_lag_ms < 100"
    before = trio.current_time()
    await until_state(migration, state)
    assert trio.current_time() - before < 60
    assert_taken_back(rig, migration)


async def test_reads_that_are_slower_or_fail_pause_the_phase(autojump_clock: object, rig: Rig) -> None:
    """Reads beside reads; what is not counted yet speaks against nobody."""
    migration = await start(rig, phases=(Phase(50.0, 86_400.0), Phase(100.0)))
    traffic = rig.means.read_traffic
    for _ in range(200):
        traffic.note_answer("blue", 0.001)
        traffic.note_answer("gold", 0.5)
    traffic.note_error("gold")
    await until_state(migration, State.PAUSED)
    assert "p99 of 500 ms" in status_of(migration).status_reason
    comparison = status_of(migration).performance_comparison
    assert comparison is not None
    assert (comparison.source.queries, comparison.source.p99_ms, comparison.source.error_rate) == (
        200,
        1.0,
        0.0,
    )
    assert (comparison.target.p99_ms, comparison.target.error_rate) == (500.0, 0.005)


async def test_each_phase_leaves_its_figures(autojump_clock: object, rig: Rig) -> None:
    """Those of the target from its own time only."""
    migration = await start(rig)
    traffic = rig.means.read_traffic
    traffic.note_answer("blue", 0.002)
    traffic.note_answer("gold", 0.001)
    await until(lambda: migration.phase == 1)
    await trio.sleep(1.0)
    traffic.note_answer("gold", 0.003)
    (first,) = status_of(migration).performance_by_phase
    assert (first.traffic_percent, first.source.p99_ms, first.target.p99_ms) == (10.0, 2.0, 1.0)
    comparison = status_of(migration).performance_comparison
    assert comparison is not None
    assert (comparison.target.queries, comparison.target.p99_ms) == (1, 3.0)


async def test_a_source_that_is_no_primary_any_more(autojump_clock: object, rig: Rig) -> None:
    """A failover has come first: nobody is left to be succeeded."""
    migration = await start(rig)
    rig.topology.note_answer("blue", Observation(True, 1000, 1000, 0.0, 2, "7", "18.1"), 0.0)
    await until_state(migration, *ENDED)
    assert (migration.state, status_of(migration).status_reason) == (
        State.FAILED,
        "blue is not the primary any more",
    )
    assert_taken_back(rig, migration)


async def test_reads_are_counted_while_they_are_moved(autojump_clock: object, rig: Rig) -> None:
    """At no other time does anybody ask."""
    assert not rig.means.read_traffic.wanted
    migration = await start(rig)
    assert rig.means.read_traffic.wanted
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
    assert not rig.means.read_traffic.wanted
