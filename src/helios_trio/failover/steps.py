"""The steps of a failover as data: what leads to what, how long each took, how it ended. Pure: time is an argument.

Used by: failover.succession (goes through them), failover.controller, admin.failover (shows `FailoverReport`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from helios_trio.cluster.observation import Observation

#: Of errors so many are kept (rule 37).
ERRORS_KEPT: Final = 20


class FailoverStep(StrEnum):
    """What is being done."""

    EXAMINE = "examining the primary"
    WAIT = "waiting for the primary to come back"
    FOLLOW = "waiting for somebody else to promote a standby"
    ORDER = "waiting for an operator's order"
    BACK_OFF = "waiting, as failovers follow each other too fast"
    CHOOSE = "choosing a standby"
    VERIFY = "looking for acknowledged transactions"
    FENCE = "fencing the old primary"
    PROMOTE = "promoting the standby"
    REDIRECT = "redirecting sessions"
    RELEASE = "releasing sessions"


class FailoverOutcome(StrEnum):
    """What is true at the end."""

    #: the primary lives, or lives again
    RECOVERED = "recovered"
    #: another server is the primary
    COMPLETED = "completed"
    #: no server takes writes; the next sign of life or of death begins anew
    FAILED = "failed"


_WAITING: Final = frozenset(
    {FailoverStep.WAIT, FailoverStep.FOLLOW, FailoverStep.ORDER, FailoverStep.BACK_OFF}
)
_LOOK_AGAIN: Final = _WAITING | {FailoverStep.EXAMINE, FailoverStep.CHOOSE, FailoverStep.REDIRECT}

#: What may follow. Everything up to FENCE can be cut short without a trace; PROMOTE runs to its end (rule 25), and
#: from there it only goes back when it is certain that nobody was promoted.
TABLE: Final[Mapping[FailoverStep, frozenset[FailoverStep]]] = {
    **dict.fromkeys((FailoverStep.EXAMINE, *_WAITING), _LOOK_AGAIN),
    FailoverStep.CHOOSE: _LOOK_AGAIN | {FailoverStep.VERIFY, FailoverStep.FENCE},
    FailoverStep.VERIFY: _LOOK_AGAIN | {FailoverStep.FENCE},
    FailoverStep.FENCE: _LOOK_AGAIN | {FailoverStep.PROMOTE},
    FailoverStep.PROMOTE: _LOOK_AGAIN,
    FailoverStep.REDIRECT: frozenset({FailoverStep.RELEASE}),
    FailoverStep.RELEASE: frozenset(),
}

#: Steps in which a failover can be called off: nobody has been asked to become primary.
CANCELLABLE: Final = frozenset({FailoverStep.EXAMINE, FailoverStep.CHOOSE, FailoverStep.VERIFY}) | _WAITING


@frozen(kw_only=True)
class FailoverReport:
    """A picture of a failover, under way or over. Times in seconds."""

    id: int
    source: str
    target: str
    #: what made the primary suspicious
    reason: str
    #: seconds since 1970
    started_at: float
    step: FailoverStep
    elapsed: float
    #: per step, in order of first appearance
    seconds: Mapping[FailoverStep, float]
    outcome: FailoverOutcome | None
    #: why it failed, or what it waits for
    failure: str
    moved: int
    remaining: int
    lost: int
    errors: tuple[str, ...]
    #: how long clients may have waited; 0 while it is under way
    pause: float

    @property
    def active(self) -> bool:
        """Whether it is under way."""
        return self.outcome is None


@define(eq=False, kw_only=True)
class FailoverCourse:
    """How far one failover is."""

    id: int
    source: str
    reason: str
    #: Trio's clock; `started_at`: the same moment in seconds since 1970
    began: float
    started_at: float
    target: str = ""
    step: FailoverStep = FailoverStep.EXAMINE
    step_began: float = field(init=False)
    ended: float | None = None
    outcome: FailoverOutcome | None = None
    failure: str = ""
    seconds: dict[FailoverStep, float] = field(factory=dict)
    errors: list[str] = field(factory=list)
    #: the standby was asked to become primary, and what it said once it was
    promoted: Observation | None = None
    #: it may have been promoted without saying so: the old primary must not go on
    in_doubt: bool = False
    #: when the new primary took writes
    settled_at: float | None = None
    moved: int = 0
    remaining: int = 0
    lost: int = 0

    def __attrs_post_init__(self) -> None:
        self.step_began = self.began

    def enter(self, step: FailoverStep, now: float) -> bool:
        """Begin a step; False when it is the one under way. Raises ValueError: it cannot follow."""
        if step is self.step:
            return False
        if step not in TABLE[self.step]:
            raise ValueError(f"{step} cannot follow {self.step}")
        self._close_step(now)
        self.step = step
        return True

    def _close_step(self, now: float) -> None:
        self.seconds[self.step] = self.seconds.get(self.step, 0.0) + now - self.step_began
        self.step_began = now

    def note_error(self, text: str) -> bool:
        """Something went wrong; returns whether it had not been known."""
        self.failure = text
        if text in self.errors:
            return False
        self.errors = [*self.errors, text][-ERRORS_KEPT:]
        return True

    def end(self, outcome: FailoverOutcome, now: float) -> None:
        """It is over."""
        self._close_step(now)
        self.ended, self.outcome = now, outcome
        if outcome is not FailoverOutcome.FAILED:
            self.failure = ""

    @property
    def cancellable(self) -> bool:
        """Whether it can be called off now."""
        return self.outcome is None and self.step in CANCELLABLE and not self.in_doubt

    def report(self, now: float) -> FailoverReport:
        """A picture as of now, or as of its end."""
        until = now if self.ended is None else self.ended
        return FailoverReport(
            id=self.id,
            source=self.source,
            target=self.target,
            reason=self.reason,
            started_at=self.started_at,
            step=self.step,
            elapsed=until - self.began,
            seconds=dict(self.seconds),
            outcome=self.outcome,
            failure=self.failure,
            moved=self.moved,
            remaining=self.remaining,
            lost=self.lost,
            errors=tuple(self.errors),
            pause=0.0 if self.settled_at is None else self.settled_at - self.began,
        )
