"""Random operators, sessions and servers: whatever happens, in whatever order, a migration ends in order."""

from __future__ import annotations

from typing import Any

import structlog
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from migration_rig import FakeSession, Rig, make_rig, running, until

from helios_trio.config.migration import SessionMigration
from helios_trio.config.words import Leftovers, MigrationMode, WhenUnhealthy
from helios_trio.migration.errors import Conflict
from helios_trio.migration.migration import Migration
from helios_trio.migration.orders import Phase
from helios_trio.migration.states import ENDED, OPERATORS, TABLE, State, Turn
from helios_trio.migration.status import status_of
from helios_trio.pipeline.fleet import MoveOutcome, SessionState

SESSIONS = 12
IDS = st.integers(1, SESSIONS)
PHASES = (Phase(30.0, 20.0), Phase(70.0, 20.0), Phase(100.0, 10.0))
STEPS = st.one_of(
    st.tuples(st.just("turn"), st.sampled_from(OPERATORS)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.5, 15.0, 100.0])),
    st.tuples(st.just("pin"), IDS),
    st.tuples(st.just("unpin"), IDS),
    st.tuples(st.just("begin"), IDS),
    st.tuples(st.just("commit"), IDS),
    st.tuples(st.just("fail"), IDS),
    st.tuples(st.just("lose"), IDS),
    st.tuples(st.just("leave"), IDS),
    st.tuples(st.just("slow"), IDS),
    st.tuples(st.just("connect"), st.just(0)),
    st.tuples(st.just("ill"), st.booleans()),
    st.tuples(st.just("down"), st.booleans()),
)
ORDERS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(MigrationMode),
        "leftovers": st.sampled_from(Leftovers),
        "phases": st.sampled_from([PHASES, (Phase(100.0),)]),
    }
)


async def do(rig: Rig, migration: Migration, what: str, value: Any) -> None:
    """One step of a story."""
    session = rig.fleet.present.get(value) if isinstance(value, int) else None
    match what:
        case "turn":
            await say(rig, migration, value)
        case "wait":
            await trio.sleep(value)
        case "ill":
            rig.examiner.complaints = {"green": "query_test_success"} if value else {}
        case "down":
            rig.topology.nodes["green"].healthy = not value
        case "connect":
            id = max(rig.fleet.present, default=0) + 1
            place = rig.placement.place("blue", id, "app")
            rig.fleet.add(FakeSession(id, backend=place, since=trio.current_time()))
        case _ if session is not None:
            change(rig, session, what)


def change(rig: Rig, session: FakeSession, what: str) -> None:
    match what:
        case "pin":
            session.pins = {"setseed": 1}
        case "unpin":
            session.pins = {}
        case "begin":
            session.state = SessionState.IN_TRANSACTION
        case "commit":
            session.state = SessionState.IDLE
        case "fail":
            session.outcomes = [MoveOutcome.FAILED]
        case "lose":
            session.outcomes = [MoveOutcome.LOST]
        case "slow":
            session.seconds = 5.0
        case "leave":
            rig.fleet.present.pop(session.id)


async def say(rig: Rig, migration: Migration, turn: Turn) -> None:
    """What the table allows is taken, and nothing else."""
    allowed = turn in TABLE[migration.state]
    try:
        await rig.migrations.command(migration.id, turn, "ann")
    except Conflict:
        assert not allowed
    else:
        assert allowed


def check(rig: Rig, migration: Migration) -> None:
    """What must be true at any moment."""
    status = status_of(migration)
    assert {each.backend for each in rig.fleet.present.values()} <= {"blue", "green"}
    assert status.sessions_remaining == len(migration.remaining())
    assert sum(status.traffic_allocation.values()) == 100.0
    assert len(rig.placement.diversions) == (migration.diversion is not None)
    staying = {each.id for each in (*status.sessions_pinned, *status.sessions_busy, *status.sessions_failed)}
    assert len(staying) == len(status.sessions_pinned) + len(status.sessions_busy) + len(
        status.sessions_failed
    )
    if migration.ended:
        assert rig.fleet.moving == 0 or migration.state is not State.COMPLETED


def clear(rig: Rig) -> None:
    """Nothing is in the way any more."""
    rig.examiner.complaints = {}
    rig.topology.nodes["green"].healthy = True
    for session in rig.fleet.present.values():
        session.pins, session.state, session.seconds = {}, SessionState.IDLE, 0.0
        session.outcomes = [each for each in session.outcomes if each is not MoveOutcome.LOST]


async def tell(
    order: dict[str, Any], on_unhealthy: WhenUnhealthy, steps: list[tuple[str, Any]], last: Turn
) -> None:
    rig = make_rig(settings=SessionMigration(on_unhealthy=on_unhealthy), sessions=SESSIONS)
    async with running(rig):
        migration = await rig.start(**order)
        for what, value in steps:
            await do(rig, migration, what, value)
            check(rig, migration)
        clear(rig)
        if last in TABLE[migration.state]:
            await say(rig, migration, last)
        if migration.state is State.PAUSED:
            await say(rig, migration, Turn.COMPLETE)
        await end(rig, migration)


async def end(rig: Rig, migration: Migration) -> None:
    """It comes to an end of its own, manual phases aside, and everybody is where they should be."""
    while migration.state is not State.COMPLETED and not migration.ended:
        await until(lambda: migration.ended or migration.state is State.PAUSED)
        if migration.state is State.PAUSED:
            await say(rig, migration, Turn.RESUME)
    check(rig, migration)
    await trio.sleep(5)
    assert rig.fleet.moving == 0
    if migration.state is State.FAILED:  # its target was down when it was to begin
        assert (migration.began, rig.fleet.orders) == (None, [])
        return
    assert migration.state in (State.COMPLETED, State.ROLLED_BACK)
    here, there = rig.fleet.on_backend("blue"), rig.fleet.on_backend("green")
    if migration.state is State.COMPLETED:
        assert here == [] or migration.leftovers is not Leftovers.WAIT
        assert rig.placement.place("blue", 1, "app") == "green"
    else:
        assert there == [] or migration.leftovers is not Leftovers.WAIT or was_left(migration)
        assert rig.placement.place("blue", 1, "app") == "blue"


def was_left(migration: Migration) -> bool:
    """Somebody said that those who could not go back shall stay, or they failed again and again."""
    return any(each.who == "ann" for each in migration.changes[-1:]) or bool(migration.back.ledger.staying)


@settings(max_examples=150, deadline=None)
@given(ORDERS, st.sampled_from(WhenUnhealthy), st.lists(STEPS, max_size=25), st.sampled_from(OPERATORS))
@example(  # the target is down for a moment, and well again when it is looked at
    {"mode": MigrationMode.GRADUAL, "leftovers": Leftovers.WAIT, "phases": PHASES},
    WhenUnhealthy.PAUSE,
    [("wait", 0.0), ("wait", 0.0), ("down", True), ("wait", 0.0)],
    Turn.PAUSE,
)
def test_a_migration_always_ends_in_order(
    order: dict[str, Any], on_unhealthy: WhenUnhealthy, steps: list[tuple[str, Any]], last: Turn
) -> None:
    """Commands are taken as the table says, the status adds up at any moment, and nobody is left in between."""
    with structlog.testing.capture_logs():
        trio.run(tell, order, on_unhealthy, steps, last, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_states_that_can_be_reached_are_reached() -> None:
    """So that the test above means something: one story for each way through."""
    stories: dict[State, list[tuple[str, Any]]] = {
        State.PAUSED: [("turn", Turn.PAUSE)],
        State.COMPLETING: [("pin", 1), ("turn", Turn.COMPLETE)],
        State.ROLLING_BACK: [("wait", 15.0), ("turn", Turn.ROLL_BACK)],
        State.COMPLETED: [("wait", 100.0)],
    }
    for state, steps in stories.items():

        async def story(steps: list[tuple[str, Any]] = steps, state: State = state) -> None:
            rig = make_rig(sessions=SESSIONS)
            async with running(rig):
                migration = await rig.start(phases=PHASES, mode=MigrationMode.GRADUAL)
                for what, value in steps:
                    await do(rig, migration, what, value)
                assert migration.state is state
                assert (state in ENDED) is migration.ended

        trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))
