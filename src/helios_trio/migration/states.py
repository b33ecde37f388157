"""The states of a migration and what leads from one to another: a table, with its rules.

* An operator pauses, resumes, completes and takes back; everything else happens.
* A migration that was under way when the proxy stopped is `interrupted` at the next start: its clients are gone, and
  new ones are where the configuration puts them.
* A completed one can still be rolled back, as its source may still be there.

Used by: migration.migration (lives by it), migration.records, admin.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from helios_trio.migration.errors import Conflict, Fault


class State(StrEnum):
    """Where a migration stands."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    COMPLETING = "completing"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Turn(StrEnum):
    """What leads to another state: the first four are an operator's words, the others happen."""

    PAUSE = "pause"
    RESUME = "resume"
    ROLL_BACK = "rollback"
    COMPLETE = "complete"
    SCHEDULE = "schedule"
    BEGIN = "begin"
    FINISH = "finish"
    #: a switchover has taken itself back
    UNDO = "undo"
    FAIL = "fail"
    INTERRUPT = "interrupt"


#: What an operator can say.
OPERATORS: Final = (Turn.PAUSE, Turn.RESUME, Turn.ROLL_BACK, Turn.COMPLETE)

_UNDER_WAY: Final = {Turn.FAIL: State.FAILED, Turn.INTERRUPT: State.INTERRUPTED}

TABLE: Final[dict[State, dict[Turn, State]]] = {
    State.PENDING: {
        **_UNDER_WAY,
        Turn.SCHEDULE: State.SCHEDULED,
        Turn.BEGIN: State.RUNNING,
    },
    State.SCHEDULED: {
        **_UNDER_WAY,
        Turn.BEGIN: State.RUNNING,
        Turn.PAUSE: State.PAUSED,
        Turn.ROLL_BACK: State.ROLLING_BACK,
    },
    State.RUNNING: {
        **_UNDER_WAY,
        Turn.PAUSE: State.PAUSED,
        Turn.ROLL_BACK: State.ROLLING_BACK,
        Turn.COMPLETE: State.COMPLETING,
        Turn.FINISH: State.COMPLETED,
        Turn.UNDO: State.ROLLED_BACK,
    },
    State.PAUSED: {
        **_UNDER_WAY,
        Turn.RESUME: State.RUNNING,
        Turn.ROLL_BACK: State.ROLLING_BACK,
        Turn.COMPLETE: State.COMPLETING,
    },
    State.COMPLETING: {
        **_UNDER_WAY,
        Turn.PAUSE: State.PAUSED,
        Turn.ROLL_BACK: State.ROLLING_BACK,
        Turn.COMPLETE: State.COMPLETING,  # with another word on what becomes of the rest
        Turn.FINISH: State.COMPLETED,
        Turn.UNDO: State.ROLLED_BACK,
    },
    State.ROLLING_BACK: {
        **_UNDER_WAY,
        Turn.COMPLETE: State.ROLLED_BACK,  # whoever cannot go back stays
        Turn.FINISH: State.ROLLED_BACK,
    },
    State.COMPLETED: {Turn.ROLL_BACK: State.ROLLING_BACK},
    State.ROLLED_BACK: {},
    State.FAILED: {},
    State.INTERRUPTED: {},
}

#: States that nothing leads out of by itself.
ENDED: Final = frozenset({State.ROLLED_BACK, State.COMPLETED, State.FAILED, State.INTERRUPTED})


def after(state: State, turn: Turn) -> State:
    """The state that a turn leads to. Raises Conflict: it does not lead anywhere from here."""
    found = TABLE[state].get(turn)
    if found is None:
        possible = ", ".join(each for each in TABLE[state] if each in OPERATORS) or "nothing"
        raise Conflict([Fault("", f"a migration that is {state} cannot {turn}; possible: {possible}")])
    return found
