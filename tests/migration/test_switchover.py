"""A switchover in which anything goes wrong at any step: afterwards it is all old or all new. Time is made to jump."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from switchover_rig import (
    SOURCE,
    TARGET,
    Behaviour,
    Rig,
    World,
    fine,
    hang,
    kill_source,
    kill_target,
    lose,
    lose_after_promotion,
    observation,
    refuse,
    slow,
)

from helios_trio.cluster.steward import OpenTransaction, StewardError
from helios_trio.errors import BackendUnavailable
from helios_trio.migration.errors import Conflict, InvalidOrder, NotFound, OrderRefused
from helios_trio.migration.switchover_steps import (
    Step,
    SwitchoverOrder,
    SwitchoverOutcome,
    SwitchoverReport,
    SwitchoverSettings,
)
from helios_trio.pipeline.fleet import MoveOutcome

ORDER = SwitchoverOrder(target=TARGET, reason="new disks")
COMPLETED, ROLLED_BACK = SwitchoverOutcome.COMPLETED, SwitchoverOutcome.ROLLED_BACK

BEFORE_HOLDING = ("prepare", "warm")
WHILE_HELD = ("hold", "read_only", "open_transactions", "next_xid", "wait_replayed")
BEFORE_PROMOTION = BEFORE_HOLDING + WHILE_HELD

Clock = trio.testing.MockClock


def about(seconds: float) -> object:
    """Time only passes by waiting, and some of the waiting is for what takes no time."""
    return pytest.approx(seconds, abs=0.05)


async def switch(rig: Rig) -> SwitchoverReport:
    return await rig.switchover.run(ORDER)


def writer(pid: int = 7) -> OpenTransaction:
    return OpenTransaction(pid=pid, user="joe", application_name="psql", wrote=True)


def reader(pid: int = 8) -> OpenTransaction:
    return OpenTransaction(pid=pid, user="ann", application_name="pg_dump", wrote=False)


# -- when all goes well ----------------------------------------------------------------------------------------


async def test_all_sessions_end_up_on_the_new_primary(autojump_clock: Clock) -> None:
    """The steps come in the one safe order, and the report says what was done."""
    rig = Rig()
    report = await switch(rig)
    rig.assert_switched()
    assert rig.world.calls == [
        *("facts", "facts", "warm", "prepare", "last_lsn", "wait_replayed"),
        *("hold", "read_only", "open_transactions", "last_lsn", "next_xid", "wait_replayed", "next_xid"),
        *("promote", "wait_writable", *["move"] * 5, "release"),
        *("next_xid", "demote", "close"),
    ]
    assert (report.outcome, report.failure, report.errors) == (COMPLETED, "", ())
    assert (report.source, report.target, report.reason) == (SOURCE, TARGET, "new disks")
    assert (report.held, report.moved, report.lost, report.remaining) == (5, 5, 0, 0)
    assert (report.timeline, report.late_transactions) == (2, 0)
    assert rig.switchover.last is report
    assert not rig.world.topology.nodes[SOURCE].deposed


async def test_the_pause_lasts_from_holding_to_release(autojump_clock: Clock) -> None:
    """Neither what is done before nor what is done after keeps clients waiting; each step's time is told."""
    rig = Rig()
    for call in ("prepare", "warm", "hold", "promote", "release", "demote"):
        rig.world.let(call, slow)
    report = await switch(rig)
    assert report.write_pause == about(3.0)
    assert report.elapsed == about(6.0)
    assert report.seconds[Step.PREPARE] == about(2.0)
    for step in (Step.HOLD, Step.PROMOTE, Step.RELEASE, Step.DEMOTE):
        assert report.seconds[step] == about(1.0)
    assert sum(report.seconds.values()) == about(report.elapsed)


async def test_an_old_primary_that_cannot_rejoin_gets_no_write(autojump_clock: Clock) -> None:
    """With servers of somebody else it stays as it is, and the reason is shown."""
    rig = Rig()
    rig.world.rejoins = False
    report = await switch(rig)
    rig.assert_switched()
    assert report.demotion is not None
    assert rig.world.topology.nodes[SOURCE].deposed == report.demotion.note == "done"
    again = observation(in_recovery=False, timeline=9)  # somebody promotes it, too
    rig.world.topology.note_answer(SOURCE, again, trio.current_time())
    assert rig.writer == TARGET


async def test_back_again(autojump_clock: Clock) -> None:
    """What the first switchover has left behind does not stand in the way of the second."""
    rig = Rig()
    await switch(rig)
    topology, placement = rig.world.topology, rig.world.placement
    topology.note_answer(SOURCE, observation(in_recovery=True, timeline=2), trio.current_time())
    assert placement.place(SOURCE, 1, "") == TARGET
    back = Rig()
    back.switchover.topology, back.switchover.placement = topology, placement
    back.switchover._diversions = rig.switchover._diversions
    with back.switchover._alone(SwitchoverOrder(target=SOURCE)) as course:
        assert course.source == TARGET
        course.promoted = observation(in_recovery=False, timeline=3)
        back.switchover._redirect(course)
    assert {placement.place(name, 1, "") for name in (SOURCE, TARGET)} == {SOURCE}
    assert topology.writer is topology.nodes[SOURCE]


async def test_no_probe_turns_it_back(autojump_clock: Clock) -> None:
    """The answer to a question put before the promotion is old news, and so is what the old primary says."""
    rig = Rig()
    before = trio.current_time()
    rig.world.let("promote", slow)
    await switch(rig)
    topology = rig.world.topology
    assert not topology.note_answer(TARGET, observation(in_recovery=True), trio.current_time(), before)
    assert topology.writer is topology.nodes[TARGET]
    topology.note_answer(SOURCE, observation(in_recovery=False), trio.current_time())
    assert topology.writer is topology.nodes[TARGET]


async def test_sessions_are_moved_some_at_a_time(autojump_clock: Clock) -> None:
    """Never more than configured, and all of them."""
    rig = Rig(settings=SwitchoverSettings(move_concurrency=3))
    rig.world.sessions = dict.fromkeys(range(20), SOURCE)
    rig.world.let("move", *[slow] * 20)
    report = await switch(rig)
    assert (report.moved, rig.world.most_moving) == (20, 3)


async def test_sessions_that_come_while_others_are_moved(autojump_clock: Clock) -> None:
    """A client that was logging in when all were held is moved like the others, also at the very end."""

    async def arrive(world: World) -> None:
        world.sessions[len(world.sessions) + 1] = SOURCE

    rig = Rig()
    rig.world.let("move", arrive)
    rig.world.let("release", arrive)
    report = await switch(rig)
    rig.assert_switched()
    assert (report.moved, report.lost, len(rig.world.sessions)) == (7, 0, 7)


# -- before the promotion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", BEFORE_PROMOTION)
@pytest.mark.parametrize("behaviour", [refuse, lose, hang])
async def test_nothing_has_happened(autojump_clock: Clock, call: str, behaviour: Behaviour) -> None:
    """Whatever fails before the promotion, sessions go on where they were; the report says why."""
    rig = Rig()
    rig.world.let(call, behaviour)
    report = await switch(rig)
    rig.assert_as_before()
    assert (report.outcome, report.moved, report.lost) == (ROLLED_BACK, 0, 0)
    assert report.failure
    assert report.errors == ()
    assert "promote" not in rig.world.calls
    assert rig.world.calls.count("hold") == rig.world.calls.count("release")


@pytest.mark.parametrize("call", [*BEFORE_PROMOTION, "promote"])
async def test_fleet_and_steward_may_raise_any_error_of_ours(autojump_clock: Clock, call: str) -> None:
    """Not only a steward's own."""

    async def fail(_world: World) -> None:
        raise BackendUnavailable("no way there") if call in ("warm", "hold") else StewardError("no way there")

    rig = Rig()
    rig.world.let(call, fail)
    report = await switch(rig)
    rig.assert_as_before()
    assert report.failure == "no way there"


@pytest.mark.parametrize("call", BEFORE_PROMOTION)
async def test_cancelled_before_the_promotion(autojump_clock: Clock, call: str) -> None:
    """Ctrl-C undoes everything, within deadlines, and goes on being a cancellation."""
    rig = Rig()
    with trio.CancelScope() as scope:
        rig.world.on_call = lambda name: scope.cancel() if name == call else None
        await switch(rig)
    assert scope.cancelled_caught
    rig.assert_as_before()
    assert rig.switchover.last is not None
    assert rig.switchover.last.outcome is ROLLED_BACK
    assert "interrupted" in rig.switchover.last.failure


@pytest.mark.parametrize("call", BEFORE_PROMOTION)
async def test_given_up_before_the_promotion(autojump_clock: Clock, call: str) -> None:
    """An operator may think better of it."""
    rig = Rig()
    rig.world.let(call, hang)
    given_up = []
    rig.world.on_call = lambda name: given_up.append(rig.switchover.give_up()) if name == call else None
    report = await switch(rig)
    assert given_up == [True]
    rig.assert_as_before()
    assert (report.outcome, report.failure) == (ROLLED_BACK, "it was given up")


async def test_a_bug_does_not_leave_sessions_held(autojump_clock: Clock) -> None:
    """An error that nobody expected is not swallowed, and everything is undone."""

    async def stumble(_world: World) -> None:
        raise ZeroDivisionError

    rig = Rig()
    rig.world.let("open_transactions", stumble)
    with pytest.raises(ZeroDivisionError):
        await switch(rig)
    rig.assert_as_before()


async def test_busy_sessions_end_it(autojump_clock: Clock) -> None:
    """When not all come to a safe point in time, all go on, and the busy ones are named."""
    rig = Rig()
    rig.fleet.busy = {3: "idle in transaction"}
    report = await switch(rig)
    rig.assert_as_before()
    assert "3 (idle in transaction)" in report.failure
    assert "read_only" not in rig.world.calls
    assert report.write_pause == about(rig.settings.hold_time_limit)


async def test_clients_wait_no_longer_than_the_window(autojump_clock: Clock) -> None:
    """Steps that are slow together are too slow."""
    rig = Rig(settings=SwitchoverSettings(window=2.0))
    for call in ("hold", "read_only", "wait_replayed"):
        rig.world.let(call, slow)
    rig.world.let("wait_replayed", slow)
    report = await switch(rig)
    rig.assert_as_before()
    assert report.write_pause == about(2.0)


async def test_writable_again_is_insisted_on(autojump_clock: Clock) -> None:
    """A server that does not hear it at once is asked again before anybody is let go."""
    rig = Rig()
    rig.world.let("open_transactions", refuse)
    rig.world.let("writable_again", refuse, lose, slow)
    report = await switch(rig)
    rig.assert_as_before()
    assert report.errors == ()


@pytest.mark.parametrize("behaviour", [refuse, hang])
async def test_a_source_that_stays_read_only_is_reported(autojump_clock: Clock, behaviour: Behaviour) -> None:
    """Clients are let go all the same, and the operator reads what to do."""
    rig = Rig()
    rig.world.let("open_transactions", refuse)
    rig.world.let("writable_again", *[behaviour] * 1000)
    report = await switch(rig)
    assert not rig.world.held
    assert report.outcome is ROLLED_BACK
    assert "default_transaction_read_only" in report.errors[0]


@pytest.mark.parametrize("call", WHILE_HELD)
async def test_source_dies_before_the_target_has_all(autojump_clock: Clock, call: str) -> None:
    """Nobody can say that the target has everything: sessions stay, and the source is their problem."""
    rig = Rig()
    rig.world.let(call, kill_source)
    if call == "wait_replayed":
        rig.world.script[call].appendleft(fine)  # the one before holding
    report = await switch(rig)
    assert report.outcome is ROLLED_BACK
    assert not rig.world.held
    assert not rig.world.promoted
    assert "one is down" in report.failure
    assert rig.writer == SOURCE


@pytest.mark.parametrize("call", [*WHILE_HELD, "promote"])
async def test_target_dies_before_the_promotion(autojump_clock: Clock, call: str) -> None:
    """The source goes on."""
    rig = Rig()
    rig.world.let(call, kill_target)
    report = await switch(rig)
    rig.assert_as_before()
    assert "two is down" in report.failure


async def promote_behind_our_back(world: World) -> None:
    """Somebody else does it."""
    world.promoted = True


async def test_somebody_else_has_promoted_the_target(autojump_clock: Clock) -> None:
    """Nothing has been begun, so there is nothing to undo; what follows is for those who watch the servers."""
    rig = Rig()
    rig.world.let("wait_replayed", promote_behind_our_back)
    report = await switch(rig)
    assert report.outcome is ROLLED_BACK
    assert "hold" not in rig.world.calls
    assert "writable_again" not in rig.world.calls


async def test_somebody_else_promotes_the_target_meanwhile(autojump_clock: Clock) -> None:
    """Then there are two primaries: the one that we can keep from being written to stays so."""
    rig = Rig()
    rig.world.let("wait_replayed", fine, promote_behind_our_back)
    report = await switch(rig)
    assert report.outcome is SwitchoverOutcome.IN_DOUBT
    assert rig.world.read_only
    assert not rig.world.held


# -- writes past the proxy -------------------------------------------------------------------------------------


async def test_open_writes_are_waited_for(autojump_clock: Clock) -> None:
    """What others have begun to write is on the target, too; while it lasts, the status names them."""
    rig = Rig()
    rig.world.open = [writer()]
    seen = []

    async def look(world: World) -> None:
        status = rig.switchover.status()
        assert status is not None
        seen.append(status.waiting_for)

    async def end(world: World) -> None:
        world.open.clear()

    rig.world.let("open_transactions", fine, look, end)
    report = await switch(rig)
    rig.assert_switched()
    assert seen == [("pid 7 (joe, psql) has written",)]
    assert report.waiting_for == report.warnings == ()


async def test_writes_that_do_not_end_are_the_reason_to_go_back(autojump_clock: Clock) -> None:
    """By name."""
    rig = Rig()
    rig.world.open = [writer()]
    report = await switch(rig)
    rig.assert_as_before()
    assert "pid 7 (joe, psql) has written" in report.failure
    assert report.write_pause == about(rig.settings.window)


async def test_readers_are_waited_for_briefly(autojump_clock: Clock) -> None:
    """A long report must not keep everybody waiting; that it might have written is said."""
    rig = Rig()
    rig.world.open = [reader()]
    report = await switch(rig)
    rig.assert_switched()
    assert report.write_pause == about(rig.settings.readers_grace)
    assert report.warnings == ("not waited for: pid 8 (ann, pg_dump) may yet write",)


async def test_a_write_after_all_is_waited_for_too(autojump_clock: Clock) -> None:
    """One that comes between the last look and the promotion: the target must have that as well."""

    async def write(world: World) -> None:
        world.xid += 1

    rig = Rig()
    rig.world.let("wait_replayed", fine, write, write)
    report = await switch(rig)
    assert rig.world.calls.count("open_transactions") == 3
    assert report.late_transactions == 0


async def test_late_writes_are_reported(autojump_clock: Clock) -> None:
    """Somebody who overcomes the read-only setting of the old primary is found out, though not stopped."""

    async def write(world: World) -> None:
        world.xid += 2

    rig = Rig()
    rig.world.let("promote", write)
    report = await switch(rig)
    assert report.late_transactions == 2
    assert "2 transactions on one" in report.warnings[-1]


@pytest.mark.parametrize("behaviour", [refuse, hang])
async def test_an_old_primary_that_cannot_be_asked_about_late_writes(
    autojump_clock: Clock, behaviour: Behaviour
) -> None:
    """It is no reason to stop."""
    rig = Rig()
    rig.world.let("next_xid", fine, fine, behaviour)
    report = await switch(rig)
    rig.assert_switched()
    assert (report.late_transactions, report.errors) == (None, ())


# -- the promotion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [lose, lose_after_promotion])
async def test_a_lost_answer_to_promote_is_asked_for(autojump_clock: Clock, behaviour: Behaviour) -> None:
    """Whether it was heard or not, the target is primary in the end, and sessions move."""
    rig = Rig()
    rig.world.let("promote", behaviour)
    rig.world.let("wait_writable", refuse)
    report = await switch(rig)
    rig.assert_switched()
    assert (report.outcome, report.moved) == (COMPLETED, 5)


async def test_a_refusal_to_be_promoted_leaves_no_doubt(autojump_clock: Clock) -> None:
    """Nothing has happened, and the target may be asked another time."""
    rig = Rig()
    rig.world.let("promote", refuse)
    await switch(rig)
    rig.assert_as_before()
    assert not rig.world.topology.nodes[TARGET].deposed
    assert (await switch(rig)).outcome is COMPLETED


async def promoted_but_silent(world: World) -> None:
    """It does what it was asked for, and is never heard of again."""
    world.promote()
    await trio.sleep_forever()


NO_SIGN = pytest.mark.parametrize(
    "script",
    [(hang,), (promoted_but_silent,), (lose, kill_target), (lose, hang), (lose, *[refuse] * 1000)],
    ids=["hangs", "does it and hangs", "dies", "hangs when asked again", "refuses when asked again"],
)


@NO_SIGN
async def test_a_target_that_never_says_is_fenced(
    autojump_clock: Clock, script: tuple[Behaviour, ...]
) -> None:
    """Then it is no primary: sessions go on at the source, and it becomes a standby again if it can."""
    rig = Rig()
    rig.world.fences = True
    rig.world.let("promote", *script)
    report = await switch(rig)
    rig.assert_as_before()
    assert report.outcome is ROLLED_BACK
    assert report.seconds[Step.PROMOTE] == about(rig.settings.promotion_time_limit)
    assert report.demotion is not None
    assert report.demotion.rejoined
    assert not rig.world.topology.nodes[TARGET].deposed


async def test_a_fenced_target_that_cannot_rejoin(autojump_clock: Clock) -> None:
    """It gets nothing when somebody starts it again, though its timeline may be newer."""
    rig = Rig()
    rig.world.fences = True
    rig.world.let("promote", promoted_but_silent)
    rig.world.let("demote", refuse)
    await switch(rig)
    rig.assert_as_before()
    topology = rig.world.topology
    topology.note_answer(TARGET, observation(in_recovery=False, timeline=2), trio.current_time())
    assert rig.writer == SOURCE
    with pytest.raises(Conflict, match="may not be the primary"):
        await switch(rig)


@NO_SIGN
@pytest.mark.parametrize("fence", [fine, refuse, hang])
async def test_a_target_that_never_says_and_cannot_be_fenced(
    autojump_clock: Clock, script: tuple[Behaviour, ...], fence: Behaviour
) -> None:
    """Never two writable copies: the source stays read-only, nobody is held, and the target may still turn up."""
    rig = Rig()
    rig.world.let("promote", *script)
    rig.world.let("fence", fence)
    report = await switch(rig)
    assert report.outcome is SwitchoverOutcome.IN_DOUBT
    assert rig.world.read_only
    assert not rig.world.held
    assert set(rig.world.sessions.values()) == {SOURCE}
    assert "left read-only" in report.errors[-1]
    assert rig.writer == SOURCE
    topology = rig.world.topology
    topology.note_answer(TARGET, observation(in_recovery=False, timeline=2), trio.current_time())
    assert rig.writer == TARGET


async def test_source_dies_while_the_target_is_promoted(autojump_clock: Clock) -> None:
    """The target has all: forward."""
    rig = Rig()
    rig.world.rejoins = False
    rig.world.let("promote", kill_source)
    report = await switch(rig)
    rig.assert_switched()
    assert (report.outcome, report.moved, report.late_transactions) == (COMPLETED, 5, None)
    assert rig.world.topology.nodes[SOURCE].deposed


@pytest.mark.parametrize("call", ["promote", "wait_writable", "move", "release"])
async def test_cancelled_after_the_order_to_promote(autojump_clock: Clock, call: str) -> None:
    """There is no way back: sessions are moved and let go before the cancellation goes on."""
    rig = Rig()
    with trio.CancelScope() as scope:
        rig.world.let(call, slow)
        rig.world.on_call = lambda name: scope.cancel() if name == call else None
        await switch(rig)
    assert scope.cancelled_caught
    rig.assert_switched()
    report = rig.switchover.last
    assert report is not None
    assert (report.outcome, report.moved, report.lost) == (COMPLETED, 5, 0)
    assert rig.world.topology.nodes[SOURCE].deposed


async def test_it_cannot_be_given_up_after_the_order_to_promote(autojump_clock: Clock) -> None:
    """And says so."""
    rig = Rig()
    given_up = []
    rig.world.on_call = lambda name: (
        given_up.append(rig.switchover.give_up()) if name in ("promote", "move", "demote") else None
    )
    await switch(rig)
    rig.assert_switched()
    assert set(given_up) == {False}


# -- after the promotion ---------------------------------------------------------------------------------------


async def test_sessions_that_cannot_be_moved_are_told_and_counted(autojump_clock: Clock) -> None:
    """Their server goes: none is left there, and the report has all of them."""
    rig = Rig()
    rig.world.move_outcomes = {
        1: MoveOutcome.PINNED,
        2: MoveOutcome.BUSY,
        3: MoveOutcome.FAILED,
        4: MoveOutcome.LOST,
        5: MoveOutcome.GONE,
    }
    rig.world.sessions[6] = SOURCE
    report = await switch(rig)
    rig.assert_switched()
    assert (report.held, report.moved, report.lost, report.remaining) == (6, 1, 4, 0)
    assert set(rig.world.ended) == {1, 2, 3, 4, 5}
    for id in (1, 2, 3):
        assert "because" in rig.world.ended[id]
    assert len(report.errors) == 4


async def test_an_error_of_a_move_concerns_one_session(autojump_clock: Clock) -> None:
    """The others are moved."""

    async def fail(_world: World) -> None:
        raise BackendUnavailable("no connection")

    rig = Rig()
    rig.world.let("move", fail)
    report = await switch(rig)
    rig.assert_switched()
    assert (report.moved, report.lost) == (4, 1)
    assert "no connection" in next(iter(rig.world.ended.values()))


async def test_a_move_that_hangs_is_ended(autojump_clock: Clock) -> None:
    """The rest has been moved, and nobody waits for ever."""
    rig = Rig()
    rig.world.let("move", hang)
    report = await switch(rig)
    rig.assert_switched()
    assert (report.moved, report.moves[MoveOutcome.TERMINATED]) == (4, 1)
    assert report.seconds[Step.MOVE] == about(rig.settings.forward_time_limit)


async def test_told_to_stop_while_moves_hang(autojump_clock: Clock) -> None:
    """There are seconds left for them, not a minute."""
    rig = Rig()
    rig.world.let("move", hang)
    with trio.CancelScope() as scope:
        rig.world.on_call = lambda name: scope.cancel() if name == "move" else None
        await switch(rig)
    rig.assert_switched()
    report = rig.switchover.last
    assert report is not None
    assert report.seconds[Step.MOVE] == about(rig.settings.last_words)
    assert (report.moved, report.lost) == (4, 1)


async def test_target_dies_after_the_promotion(autojump_clock: Clock) -> None:
    """Sessions are lost and say so; nobody is sent back to the old primary, and none is left waiting."""
    rig = Rig()
    rig.world.let("wait_writable", fine)
    rig.world.let("move", kill_target)
    report = await switch(rig)
    assert not rig.world.held
    assert (report.outcome, report.moved, report.lost) == (COMPLETED, 0, 5)
    assert rig.writer == TARGET
    assert rig.world.topology.nodes[SOURCE].deposed


@pytest.mark.parametrize("behaviour", [refuse, hang])
async def test_a_release_that_fails_is_reported(autojump_clock: Clock, behaviour: Behaviour) -> None:
    """And has an end."""
    rig = Rig()
    rig.world.let("release", behaviour)
    report = await switch(rig)
    rig.assert_switched()
    assert "not all sessions were let go" in report.errors[0]


@pytest.mark.parametrize("behaviour", [refuse, lose, hang, kill_target])
async def test_a_demotion_that_fails(autojump_clock: Clock, behaviour: Behaviour) -> None:
    """The switchover is complete, and the old primary stays out."""
    rig = Rig()
    rig.world.let("demote", behaviour)
    report = await switch(rig)
    rig.assert_switched()
    assert report.outcome is COMPLETED
    assert report.demotion is not None
    assert not report.demotion.rejoined
    assert rig.world.topology.nodes[SOURCE].deposed == report.demotion.note
    assert len(report.errors) == 1


async def test_cancelled_while_the_old_primary_is_demoted(autojump_clock: Clock) -> None:
    """It is left as it is, and out of use."""
    rig = Rig()
    rig.world.let("demote", hang)
    with trio.CancelScope() as scope:
        rig.world.on_call = lambda name: scope.cancel() if name == "demote" else None
        await switch(rig)
    rig.assert_switched()
    assert rig.world.topology.nodes[SOURCE].deposed


# -- orders ----------------------------------------------------------------------------------------------------


async def test_one_at_a_time(autojump_clock: Clock, nursery: trio.Nursery) -> None:
    """A second one is refused while the first is under way, and welcome afterwards."""
    rig = Rig()
    rig.world.let("prepare", slow)
    status = await nursery.start(rig.switchover.run, ORDER)
    assert status.active
    with pytest.raises(Conflict, match="a switchover to two is under way"):
        await switch(rig)
    with pytest.raises(Conflict):
        await rig.switchover.check(ORDER)
    await trio.testing.wait_all_tasks_blocked()
    current = rig.switchover.status()
    assert current is not None
    assert (current.step, current.active) == (Step.PREPARE, True)
    await trio.sleep(10)
    assert rig.switchover.status() is rig.switchover.last
    rig.assert_switched()


async def test_status_while_sessions_move(autojump_clock: Clock) -> None:
    """Progress can be followed."""
    rig = Rig(settings=SwitchoverSettings(move_concurrency=1))
    seen = []

    def look(name: str) -> None:
        status = rig.switchover.status()
        if name == "move" and status is not None:
            seen.append((status.step, status.moved, status.remaining))

    rig.world.on_call = look
    await switch(rig)
    assert seen == [(Step.MOVE, done, 5 - done) for done in range(5)]


@pytest.mark.parametrize("behaviour", [refuse, lose, hang])
async def test_servers_that_cannot_be_asked(autojump_clock: Clock, behaviour: Behaviour) -> None:
    """Nothing is begun."""
    rig = Rig()
    rig.world.let("facts", behaviour)
    with pytest.raises(Conflict):
        await switch(rig)
    assert rig.switchover.status() is None
    rig.assert_as_before()


@pytest.mark.parametrize(
    ("target", "error"), [("three", NotFound), (SOURCE, InvalidOrder), (TARGET, None)], ids=str
)
async def test_orders_that_make_no_sense(
    autojump_clock: Clock, target: str, error: type[OrderRefused] | None
) -> None:
    """An unknown server, the primary itself; a standby is fine."""
    rig = Rig()
    if error is None:
        await rig.switchover.check(SwitchoverOrder(target=target))
    else:
        with pytest.raises(error, match=target):
            await rig.switchover.check(SwitchoverOrder(target=target))
    assert "hold" not in rig.world.calls
