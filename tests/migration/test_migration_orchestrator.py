"""Migrations from order to end: phases, bounds, sessions that stay, rollback, completion. Time is made to jump."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
import trio.testing
from migration_rig import EPOCH, FakeSession, Rig, make_rig, running, until, until_state

from helios_trio.cluster.placement import in_share
from helios_trio.config.migration import SessionMigration
from helios_trio.config.words import Leftovers, MigrationMode, ShareOf, WhenOverdue, WhenUnhealthy
from helios_trio.migration.errors import Conflict, NotFound
from helios_trio.migration.figures import Figures
from helios_trio.migration.migration import Migration
from helios_trio.migration.orders import DataMode, Phase
from helios_trio.migration.states import ENDED, State, Turn
from helios_trio.migration.status import status_of
from helios_trio.pipeline.fleet import MoveOutcome, SessionState

PHASES = (Phase(10.0, 60.0), Phase(50.0, 120.0), Phase(100.0))
GRADUAL: dict[str, Any] = {"mode": MigrationMode.GRADUAL, "phases": PHASES}


@pytest.fixture
async def rig(autojump_clock: object) -> AsyncIterator[Rig]:
    """A hundred idle sessions on blue."""
    async with running(make_rig(sessions=100)) as made:
        yield made


async def finished(migration: Migration) -> Migration:
    await until_state(migration, *ENDED)
    return migration


def moved_ids(rig: Rig) -> set[int]:
    return set(rig.fleet.on_backend("green"))


# -- the ways through ------------------------------------------------------------------------------------------


async def test_an_immediate_migration_moves_everybody(autojump_clock: object, rig: Rig) -> None:
    """And says what it did; the servers were found to be one."""
    migration = await finished(await rig.start(reason="new machine"))
    assert migration.state is State.COMPLETED
    assert rig.fleet.on_backend("blue") == []
    status = status_of(migration)
    assert (status.sessions_migrated, status.sessions_remaining, status.error_count) == (100, 0, 0)
    assert (status.data, status.carried) == ("shared", {"settings": 200})
    assert [each.state for each in status.history] == [State.PENDING, State.RUNNING, State.COMPLETED]
    assert (status.history[0].who, status.history[0].reason) == ("ann", "new machine")


async def test_phases_follow_each_other(autojump_clock: object, rig: Rig) -> None:
    """Each lasts as long as it says, and has the sessions that its share has."""
    migration = await rig.start(**GRADUAL)
    await until(lambda: migration.phase == 0 and len(moved_ids(rig)) > 0)
    assert moved_ids(rig) == {id for id in range(1, 101) if in_share(id, 10.0)}
    assert status_of(migration).traffic_allocation == {"blue": 90.0, "green": 10.0}
    began = migration.began
    assert began is not None
    await until(lambda: migration.phase == 1)
    assert trio.current_time() - began >= 60
    await until(lambda: len(moved_ids(rig)) > 20)
    assert moved_ids(rig) == {id for id in range(1, 101) if in_share(id, 50.0)}
    await finished(migration)
    assert trio.current_time() - began >= 180
    assert moved_ids(rig) == set(range(1, 101))


async def test_new_sessions_are_placed_by_the_phase(autojump_clock: object, rig: Rig) -> None:
    """And by the completed migration, when it is over."""
    migration = await rig.start(**GRADUAL)
    await until(lambda: migration.phase == 1)
    placed = {id: rig.placement.place("blue", id, "app") for id in range(1000, 2000)}
    assert {id for id, backend in placed.items() if backend == "green"} == {
        id for id in placed if in_share(id, 50.0)
    }
    await finished(migration)
    assert rig.placement.place("blue", 1, "app") == "green"
    assert rig.placement.place("teal", 1, "app") == "teal"


async def test_manual_phases_wait_for_somebody(autojump_clock: object, rig: Rig) -> None:
    """Each begins with resume, the first with the start."""
    migration = await rig.start(mode=MigrationMode.MANUAL, phases=PHASES)
    for phase in (1, 2):
        await until_state(migration, State.PAUSED)
        assert migration.phase == phase
        await trio.sleep(10_000)
        assert migration.state is State.PAUSED
        await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    await finished(migration)
    assert migration.state is State.COMPLETED


async def test_a_schedule_is_kept(autojump_clock: object, rig: Rig) -> None:
    """By the time of day; the order is looked at again when its time comes."""
    start_at = datetime.fromtimestamp(EPOCH + 3600, UTC)
    migration = await rig.start(start_at=start_at)
    await until_state(migration, State.SCHEDULED)
    assert rig.examiner.examined == []
    await trio.sleep(3500)
    assert moved_ids(rig) == set()
    assert migration.state is State.SCHEDULED
    await finished(migration)
    assert migration.state is State.COMPLETED
    assert migration.changes[-1].at >= start_at


async def test_a_schedule_that_cannot_be_kept_fails(autojump_clock: object, rig: Rig) -> None:
    """With the reason; nothing has been moved."""
    migration = await rig.start(start_at=datetime.fromtimestamp(EPOCH + 3600, UTC))
    rig.topology.note_failure("green", "connection refused", 0.0)
    await finished(migration)
    assert migration.state is State.FAILED
    assert "connection refused" in migration.changes[-1].reason
    assert moved_ids(rig) == set()
    assert rig.placement.place("blue", 1, "app") == "blue"


async def test_tenants_are_chosen(autojump_clock: object, rig: Rig) -> None:
    """Those of others stay, and are placed where they were."""
    for id in range(1, 51):
        rig.fleet.present[id].tenant = "test_x"
    migration = await finished(await rig.start(tenants=("test_*",)))
    assert migration.state is State.COMPLETED
    assert moved_ids(rig) == set(range(1, 51))
    assert rig.placement.place("blue", 7, "test_y") == "green"
    assert rig.placement.place("blue", 7, "prod") == "blue"


async def test_a_share_can_be_one_of_tenants(autojump_clock: object, rig: Rig) -> None:
    """All sessions of a tenant, or none."""
    for id, session in rig.fleet.present.items():
        session.tenant = f"tenant {id % 10}"
    migration = await rig.start(**GRADUAL, share_of=ShareOf.TENANTS)
    await until(lambda: migration.phase == 2 or migration.ended)
    await until_state(migration, State.COMPLETED)
    assert len(rig.fleet.orders) == 100


async def test_the_share_of_tenants_grows_by_tenants(autojump_clock: object, rig: Rig) -> None:
    """In the middle of it, no tenant is on both."""
    for id, session in rig.fleet.present.items():
        session.tenant = f"tenant {id % 10}"
    migration = await rig.start(**GRADUAL, share_of=ShareOf.TENANTS)
    await until(lambda: migration.phase == 1)
    await trio.sleep(5)
    there = {rig.fleet.present[id].tenant for id in moved_ids(rig)}
    here = {rig.fleet.present[id].tenant for id in rig.fleet.on_backend("blue")}
    assert there
    assert here
    assert not there & here


# -- bounds ----------------------------------------------------------------------------------------------------


async def test_only_so_many_are_moved_at_the_same_time(autojump_clock: object, rig: Rig) -> None:
    """max_concurrent_migrations, over all migrations and single moves."""
    rig.reconfigure(max_concurrent_migrations=7)
    for session in rig.fleet.present.values():
        session.seconds = 1.0
    migration = await rig.start()
    await until(lambda: rig.fleet.moving == 7)
    assert len(status_of(migration).sessions_moving) == 7
    await finished(migration)
    assert rig.fleet.most_moving == 7
    assert migration.there.under_way == {}


async def test_the_order_for_a_session_is_that_of_the_configuration(autojump_clock: object, rig: Rig) -> None:
    """Limits, what is carried, what becomes of those who take too long."""
    rig.reconfigure(
        max_migration_time_per_session=7.0,
        on_timeout=WhenOverdue.TERMINATE,
        max_state_size=1000,
        migrate_temp_tables=False,
        buffer_queries_during_migration=False,
    )
    await finished(await rig.start())
    _, order = rig.fleet.orders[0]
    assert (order.target, order.time_limit, order.on_timeout) == ("green", 7.0, "terminate")
    assert (order.max_state_size, order.same_data, order.buffer) == (1000, True, False)
    assert order.preserve is not None
    assert "temporary_tables" not in order.preserve
    assert "prepared_statements" in order.preserve


async def test_connections_are_opened_ahead(autojump_clock: object, rig: Rig) -> None:
    """Before the first session comes."""
    await finished(await rig.start())
    assert rig.fleet.warmed == [("blue", "green")]


# -- sessions that stay ----------------------------------------------------------------------------------------


async def test_a_busy_session_is_waited_for(autojump_clock: object, rig: Rig) -> None:
    """Again and again, while everybody else goes; it is shown."""
    busy = rig.fleet.present[5]
    busy.state = SessionState.IN_TRANSACTION
    migration = await rig.start()
    await until(lambda: len(migration.there.ledger.staying) == 1)
    assert len(moved_ids(rig)) == 99
    await trio.sleep(300)
    status = status_of(migration)
    assert (status.status, status.sessions_remaining) == (State.RUNNING, 1)
    assert [(each.id, each.reason) for each in status.sessions_busy] == [(5, "idle in transaction")]
    assert status.sessions_busy[0].attempts >= 9
    busy.state = SessionState.IDLE
    await finished(migration)
    assert migration.state is State.COMPLETED
    assert status_of(migration).sessions_busy == ()


async def test_transactions_need_not_be_waited_for(autojump_clock: object, rig: Rig) -> None:
    """wait_for_transaction_boundary = false: who is in one is passed over, without being asked."""
    rig.reconfigure(wait_for_transaction_boundary=False)
    rig.fleet.present[5].state = SessionState.IN_TRANSACTION
    migration = await rig.start()
    await until(lambda: len(moved_ids(rig)) == 99)
    await trio.sleep(10)
    assert 5 not in [id for id, _ in rig.fleet.orders]
    assert [each.id for each in status_of(migration).sessions_busy] == [5]
    rig.fleet.present[5].state = SessionState.IDLE
    await finished(migration)
    assert moved_ids(rig) == set(range(1, 101))


async def test_a_pinned_session_is_listed_and_tried_when_its_pin_ends(
    autojump_clock: object, rig: Rig
) -> None:
    """It stays where it is until then, and is not asked all the time."""
    pinned = rig.fleet.present[9]
    pinned.pins = {"setseed": 1}
    migration = await rig.start()
    await until(lambda: len(migration.there.ledger.staying) == 1)
    await trio.sleep(20)
    assert [(each.id, each.reason) for each in status_of(migration).sessions_pinned] == [(9, "setseed: 1")]
    assert [id for id, _ in rig.fleet.orders].count(9) == 1
    pinned.pins = {}
    await finished(migration)
    assert moved_ids(rig) == set(range(1, 101))


async def test_a_failure_is_tried_again_and_counted(autojump_clock: object, rig: Rig) -> None:
    """The session is where it was meanwhile."""
    rig.fleet.present[3].outcomes = [MoveOutcome.FAILED, MoveOutcome.FAILED]
    migration = await rig.start()
    await until(lambda: len(migration.there.ledger.staying) == 1)
    assert [(each.id, each.reason) for each in status_of(migration).sessions_failed] == [(3, "no luck")]
    await finished(migration)
    assert (migration.state, status_of(migration).error_count) == (State.COMPLETED, 2)


async def test_a_bug_in_moving_a_session_stays_with_it(
    autojump_clock: object, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule 40: all others are moved."""
    rig.fleet.present[3].crash = ZeroDivisionError("a bug")
    migration = await rig.start()
    await until(lambda: len(moved_ids(rig)) == 99)
    assert [each.reason for each in status_of(migration).sessions_failed] == [
        "internal error: ZeroDivisionError"
    ]
    rig.fleet.present[3].crash = None
    await finished(migration)
    assert migration.state is State.COMPLETED


async def test_clients_that_got_an_error_are_counted(autojump_clock: object, rig: Rig) -> None:
    """Lost ones and terminated ones; those who left by themselves are not."""
    for id, outcome in ((1, MoveOutcome.LOST), (2, MoveOutcome.TERMINATED), (3, MoveOutcome.GONE)):
        rig.fleet.present[id].outcomes = [outcome]
    migration = await finished(await rig.start())
    status = status_of(migration)
    assert (status.status, status.client_errors, status.error_count) == (State.COMPLETED, 2, 1)
    assert status.sessions_migrated == 97


@pytest.mark.parametrize(
    ("leftovers", "left", "terminated"), [(Leftovers.LEAVE, [9], {}), (Leftovers.TERMINATE, [], {9: 1})]
)
async def test_leftovers_stay_or_are_terminated(
    autojump_clock: object, rig: Rig, leftovers: Leftovers, left: list[int], terminated: dict[int, int]
) -> None:
    """By the order; the default is to wait."""
    rig.fleet.present[9].pins = {"setseed": 1}
    migration = await finished(await rig.start(leftovers=leftovers))
    assert migration.state is State.COMPLETED
    assert rig.fleet.on_backend("blue") == left
    assert set(rig.fleet.terminated) == set(terminated)
    assert status_of(migration).client_errors == len(terminated)
    assert [each.id for each in status_of(migration).sessions_pinned] == left or terminated


async def test_sessions_of_others_that_come_to_the_source_are_moved_too(
    autojump_clock: object, rig: Rig
) -> None:
    """As long as the last phase waits for somebody."""
    rig.fleet.present[9].pins = {"setseed": 1}
    migration = await rig.start()
    await until(lambda: len(moved_ids(rig)) == 99)
    rig.fleet.add(FakeSession(500))
    await until(lambda: 500 in moved_ids(rig))
    assert migration.state is State.RUNNING


# -- what operators say ----------------------------------------------------------------------------------------


async def test_pause_stops_and_resume_goes_on(autojump_clock: object, rig: Rig) -> None:
    """The time of the phase stands still meanwhile; its share stays."""
    migration = await rig.start(**GRADUAL)
    await trio.sleep(40)
    await rig.migrations.command(migration.id, Turn.PAUSE, "bob", "lunch")
    there = moved_ids(rig)
    left = migration.left_of_phase
    assert 0 < left < 60
    await trio.sleep(10_000)
    assert (migration.state, moved_ids(rig)) == (State.PAUSED, there)
    assert status_of(migration).estimated_completion is None
    assert status_of(migration).status_reason == "lunch"
    assert rig.placement.place("blue", next(iter(there)), "app") == "green"
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    resumed = trio.current_time()
    await until(lambda: migration.phase == 1)
    assert left <= trio.current_time() - resumed <= left + 2
    await finished(migration)
    assert migration.state is State.COMPLETED


async def test_pausing_does_not_wait_for_slow_sessions(autojump_clock: object, rig: Rig) -> None:
    """They stay in one piece; those that had arrived are known."""
    rig.reconfigure(max_concurrent_migrations=10)
    for id, session in rig.fleet.present.items():
        session.seconds = 1.0 if id <= 10 else 1000.0
    migration = await rig.start()
    await until(lambda: len(moved_ids(rig)) == 10)
    await rig.migrations.command(migration.id, Turn.PAUSE, "bob")
    await until(lambda: rig.fleet.moving == 0)
    assert status_of(migration).sessions_moving == ()
    assert migration.there.ledger.moved == set(range(1, 11))
    for session in rig.fleet.present.values():
        session.seconds = 0.0
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    await finished(migration)
    assert moved_ids(rig) == set(range(1, 101))


async def test_rollback_takes_back_those_who_were_brought(autojump_clock: object, rig: Rig) -> None:
    """Moved ones, and those who were placed there since it began; not those who were there before or belong there."""
    rig.fleet.add(
        FakeSession(200, backend="green", home="green"), FakeSession(201, backend="green", home="blue")
    )
    await trio.sleep(1)
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    new = FakeSession(300, backend="green", home="blue", since=trio.current_time())
    rig.fleet.add(new)
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob", "not good")
    assert migration.state is State.ROLLING_BACK
    await finished(migration)
    assert migration.state is State.ROLLED_BACK
    assert moved_ids(rig) == {200, 201}
    assert rig.placement.diversions == []
    status = status_of(migration)
    assert (status.sessions_remaining, status.rollback_available) == (0, False)
    assert status.traffic_allocation == {"blue": 100.0, "green": 0.0}


async def test_rollback_waits_for_busy_sessions_unless_it_is_told_not_to(
    autojump_clock: object, rig: Rig
) -> None:
    """Complete, said to a rollback, leaves them where they are."""
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    stuck = min(moved_ids(rig))
    rig.fleet.present[stuck].state = SessionState.IN_TRANSACTION
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
    await trio.sleep(500)
    assert migration.state is State.ROLLING_BACK
    assert [each.id for each in status_of(migration).sessions_busy] == [stuck]
    await rig.migrations.command(migration.id, Turn.COMPLETE, "bob")
    await finished(migration)
    assert (migration.state, moved_ids(rig)) == (State.ROLLED_BACK, {stuck})


async def test_rollback_from_a_dead_target_does_not_last_for_ever(autojump_clock: object, rig: Rig) -> None:
    """Sessions that fail again and again are given up."""
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    for id in moved_ids(rig):
        rig.fleet.present[id].outcomes = [MoveOutcome.FAILED] * 100
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
    await finished(migration)
    assert migration.state is State.ROLLED_BACK
    assert status_of(migration).error_count == 3 * len(moved_ids(rig))


async def test_a_completed_migration_can_be_rolled_back(autojump_clock: object, rig: Rig) -> None:
    """As long as it is the last word; then new sessions stay on the source again."""
    migration = await finished(await rig.start())
    assert status_of(migration).rollback_available
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob", "second thoughts")
    await until_state(migration, State.ROLLED_BACK)
    assert moved_ids(rig) == set()
    assert rig.placement.place("blue", 1, "app") == "blue"


async def test_complete_skips_the_phases(autojump_clock: object, rig: Rig) -> None:
    """Everybody, now."""
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    before = trio.current_time()
    await rig.migrations.command(migration.id, Turn.COMPLETE, "bob")
    await finished(migration)
    assert (migration.state, moved_ids(rig)) == (State.COMPLETED, set(range(1, 101)))
    assert trio.current_time() - before < 10


async def test_complete_waits_for_the_last_unless_told_what_to_do(autojump_clock: object, rig: Rig) -> None:
    """Said again, with another word on the leftovers."""
    rig.fleet.present[9].pins = {"setseed": 1}
    migration = await rig.start(**GRADUAL)
    await rig.migrations.command(migration.id, Turn.COMPLETE, "bob")
    await trio.sleep(500)
    assert (migration.state, len(moved_ids(rig))) == (State.COMPLETING, 99)
    await rig.migrations.command(migration.id, Turn.COMPLETE, "bob", leftovers=Leftovers.LEAVE)
    await finished(migration)
    assert (migration.state, rig.fleet.on_backend("blue")) == (State.COMPLETED, [9])


async def test_complete_of_a_paused_one(autojump_clock: object, rig: Rig) -> None:
    """It need not be resumed first."""
    migration = await rig.start(**GRADUAL)
    await rig.migrations.command(migration.id, Turn.PAUSE, "bob")
    await rig.migrations.command(migration.id, Turn.COMPLETE, "bob")
    await finished(migration)
    assert moved_ids(rig) == set(range(1, 101))


async def test_orders_that_lead_nowhere_change_nothing(autojump_clock: object, rig: Rig) -> None:
    """With an error that says what is possible."""
    migration = await finished(await rig.start())
    for turn in (Turn.PAUSE, Turn.RESUME, Turn.COMPLETE):
        with pytest.raises(Conflict, match="completed cannot"):
            await rig.migrations.command(migration.id, turn, "bob")
    assert migration.state is State.COMPLETED
    with pytest.raises(NotFound, match="no migration 99"):
        await rig.migrations.command(99, Turn.PAUSE, "bob")


async def test_a_scheduled_one_can_be_called_off(autojump_clock: object, rig: Rig) -> None:
    """Nothing is moved at its time."""
    migration = await rig.start(start_at=datetime.fromtimestamp(EPOCH + 3600, UTC))
    await until_state(migration, State.SCHEDULED)
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "bob")
    await finished(migration)
    await trio.sleep(4000)
    assert (migration.state, moved_ids(rig)) == (State.ROLLED_BACK, set())


async def test_events_say_who_and_why(autojump_clock: object, rig: Rig) -> None:
    """In order."""
    migration = await rig.start(**GRADUAL, reason="upgrade")
    await rig.migrations.command(migration.id, Turn.PAUSE, "bob", "lunch")
    await rig.migrations.command(migration.id, Turn.ROLL_BACK, "eve", "no")
    await finished(migration)
    events = [each for each in reversed(rig.means.events.newest(100)) if each.who != "helios"]
    assert [(each.kind, each.who, each.reason) for each in events] == [
        ("migration ordered", "ann", "upgrade"),
        ("migration paused", "bob", "lunch"),
        ("migration rolling back", "eve", "no"),
    ]
    assert {each.subject for each in events} == {f"migration {migration.id}"}


# -- gates -----------------------------------------------------------------------------------------------------


async def test_a_target_that_is_not_well_pauses_and_gets_nobody_new(autojump_clock: object, rig: Rig) -> None:
    """Between phases; resume judges again."""
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    rig.examiner.complaints["green"] = "replication_lag_ms < 100"
    await until_state(migration, State.PAUSED)
    assert (migration.phase, status_of(migration).traffic_allocation) == (0, {"blue": 100.0, "green": 0.0})
    assert "replication_lag_ms < 100: it is 500" in migration.changes[-1].reason
    assert {rig.placement.place("blue", id, "app") for id in range(1, 101)} == {"blue"}
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    await until_state(migration, State.PAUSED)
    rig.examiner.complaints.clear()
    await rig.migrations.command(migration.id, Turn.RESUME, "bob")
    await finished(migration)
    assert migration.state is State.COMPLETED


async def test_a_target_that_is_not_well_can_mean_rollback(autojump_clock: object, rig: Rig) -> None:
    """By the configuration."""
    rig.reconfigure(on_unhealthy=WhenUnhealthy.ROLLBACK)
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    rig.examiner.complaints["green"] = "query_test_success"
    await finished(migration)
    assert (migration.state, moved_ids(rig)) == (State.ROLLED_BACK, set())
    assert "green: query_test_success" in migration.changes[-2].reason


async def test_a_target_that_is_not_well_can_be_put_up_with(autojump_clock: object, rig: Rig) -> None:
    """Then it is an event."""
    rig.reconfigure(on_unhealthy=WhenUnhealthy.CONTINUE)
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    rig.examiner.complaints["green"] = "query_test_success"
    rig.topology.note_failure("green", "refused", 0.0)
    await finished(migration)
    assert migration.state is State.COMPLETED
    assert "target not well" in rig.kinds()


@pytest.mark.parametrize(
    ("green", "words"),
    [(Figures(1000, 0, (0.5,) * 100), "p99"), (Figures(1000, 100, (0.001,) * 100), "error rate")],
)
async def test_a_target_that_does_worse_than_the_source_pauses(
    autojump_clock: object, rig: Rig, green: Figures, words: str
) -> None:
    """The comparison is part of the status."""
    rig.traffic.figures["blue"] = Figures(1000, 0, (0.001,) * 100)
    migration = await rig.start(**GRADUAL)
    await until(lambda: len(moved_ids(rig)) > 5)
    rig.traffic.figures["green"] = green
    await until_state(migration, State.PAUSED)
    assert words in migration.changes[-1].reason
    comparison = status_of(migration).performance_comparison
    assert comparison is not None
    assert (comparison.source.p99_ms, comparison.source.error_rate) == (1.0, 0.0)
    assert (comparison.target.p99_ms, comparison.target.error_rate) == (
        green.times[0] * 1000,
        green.errors / 1000,
    )


async def test_a_target_that_goes_down_is_noticed_within_a_phase(autojump_clock: object, rig: Rig) -> None:
    """Not only when the phase is over."""
    migration = await rig.start(mode=MigrationMode.GRADUAL, phases=(Phase(10.0, 86_400.0), Phase(100.0)))
    await until(lambda: len(moved_ids(rig)) > 5)
    rig.topology.note_failure("green", "connection refused", 0.0)
    rig.examiner.complaints["green"] = "connection_success"
    before = trio.current_time()
    await until_state(migration, State.PAUSED)
    assert trio.current_time() - before < 60


# -- one session -----------------------------------------------------------------------------------------------


async def test_one_session_is_moved(autojump_clock: object, rig: Rig) -> None:
    """By hand, with an event; nobody else is."""
    report = await rig.migrations.move_session(7, "green", "bob", "test")
    assert (report.outcome, moved_ids(rig)) == (MoveOutcome.MOVED, {7})
    event = rig.means.events.newest(1)[0]
    assert (event.kind, event.subject, event.who, event.reason) == (
        "session moved",
        "session 7",
        "bob",
        "test",
    )


async def test_settings_of_a_reload_hold_from_then_on(autojump_clock: object, rig: Rig) -> None:
    """For sessions that are moved afterwards, of running migrations too."""
    for session in rig.fleet.present.values():
        session.seconds = 1.0
    migration = await rig.start(mode=MigrationMode.GRADUAL, phases=(Phase(50.0, 30.0), Phase(100.0)))
    await until(lambda: migration.phase == 1)
    rig.fleet.most_moving = 0
    rig.migrations.reconfigure(SessionMigration(max_concurrent_migrations=3))
    await finished(migration)
    assert rig.fleet.most_moving <= 32
    assert (await rig.migrations.data_mode("blue", "green")) is DataMode.SHARED
