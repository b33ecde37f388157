"""Switchovers in which several things go wrong, at random: what must hold at the end holds for every combination."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from switchover_rig import (
    SOURCE,
    TARGET,
    Behaviour,
    Rig,
    fine,
    hang,
    kill_source,
    kill_target,
    lose,
    refuse,
    slow,
)

from helios_trio.migration.switchover_steps import SwitchoverOrder, SwitchoverOutcome
from helios_trio.pipeline.fleet import MoveOutcome

CALLS = (
    *("prepare", "warm", "hold", "read_only", "open_transactions", "last_lsn", "next_xid", "wait_replayed"),
    *("promote", "wait_writable", "fence", "move", "release", "writable_again", "demote"),
)
#: Seconds after which a switchover has ended, whatever happens: all limits together, and some more.
LONGEST = 600.0

behaviours = st.lists(
    st.sampled_from([fine, fine, slow, refuse, lose, hang, kill_source, kill_target]), min_size=1, max_size=4
)
scripts = st.dictionaries(st.sampled_from(CALLS), behaviours, max_size=3)
outcomes = st.dictionaries(st.integers(1, 5), st.sampled_from(MoveOutcome), max_size=3)


@settings(max_examples=150, deadline=None)
@given(script=scripts, outcomes=outcomes, cancel_at=st.none() | st.sampled_from(CALLS), fences=st.booleans())
def test_all_old_or_all_new(
    script: dict[str, list[Behaviour]],
    outcomes: dict[int, MoveOutcome],
    cancel_at: str | None,
    fences: bool,
) -> None:
    """Nobody waits any more, all sessions are on one side, and that is where writes go.

    `World` has checked meanwhile that there were never two servers to write to.
    """
    rig = Rig()
    world = rig.world
    world.move_outcomes, world.fences = outcomes, fences
    for call, queue in script.items():
        world.let(call, *queue)

    async def run() -> None:
        with trio.fail_after(LONGEST), trio.CancelScope() as scope:
            world.on_call = lambda name: scope.cancel() if name == cancel_at else None
            await rig.switchover.run(SwitchoverOrder(target=TARGET))

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    report = rig.switchover.last
    assert report is not None
    assert not world.held
    assert not world.moving
    assert not world.let_down or report.errors
    sides = set(world.sessions.values())
    if report.outcome is SwitchoverOutcome.COMPLETED:
        assert world.promoted
        assert sides <= {TARGET}
        assert rig.writer == TARGET
        assert sum(report.moves.values()) == 5
        assert report.moved == len(world.sessions)
    else:
        assert sides == {SOURCE}
        assert rig.writer == SOURCE
        assert not world.read_only or SOURCE in world.dead or report.errors
        assert not (world.promoted and not world.read_only and SOURCE not in world.dead)
    if report.outcome is SwitchoverOutcome.IN_DOUBT:
        assert not fences or "fence" in script
    assert len(world.sessions) + len(world.ended) == 5
