"""The table of states: what it must never allow, and that nothing in it is out of reach."""

from __future__ import annotations

import pytest

from helios_trio.migration.errors import Conflict
from helios_trio.migration.states import ENDED, OPERATORS, TABLE, State, Turn, after


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    """From pending, by some turns."""
    assert set(TABLE) == set(State)
    reached, new = set[State](), {State.PENDING}
    while new:
        reached |= new
        new = {to for state in new for to in TABLE[state].values()} - reached
    assert reached == set(State)


def test_only_a_completed_migration_can_be_taken_up_again() -> None:
    """What has ended stays so; a completed one can be rolled back."""
    assert {state: set(TABLE[state]) for state in ENDED} == {
        State.COMPLETED: {Turn.ROLL_BACK},
        State.ROLLED_BACK: set(),
        State.FAILED: set(),
        State.INTERRUPTED: set(),
    }


@pytest.mark.parametrize("state", [state for state in State if state not in ENDED])
def test_what_is_under_way_can_fail_and_be_interrupted(state: State) -> None:
    """Whatever it was doing."""
    assert after(state, Turn.FAIL) is State.FAILED
    assert after(state, Turn.INTERRUPT) is State.INTERRUPTED


@pytest.mark.parametrize(
    "state", [state for state in State if state not in ENDED and state is not State.PENDING]
)
def test_an_operator_can_always_get_out(state: State) -> None:
    """No state that lasts is a trap."""
    assert any(turn in TABLE[state] for turn in OPERATORS)


def test_a_turn_that_leads_nowhere_says_what_would() -> None:
    """For whoever gave the order."""
    with pytest.raises(
        Conflict, match="a migration that is paused cannot pause; possible: resume, rollback, complete"
    ):
        after(State.PAUSED, Turn.PAUSE)
    with pytest.raises(Conflict, match="possible: nothing"):
        after(State.FAILED, Turn.RESUME)
