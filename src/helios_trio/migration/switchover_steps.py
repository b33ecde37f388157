"""The steps of a switchover as data: what was ordered, how far it is, how it ended. Pure: time is an argument.

Used by: migration.switchover, migration.switchover_servers, migration.switchover_sessions (go through the steps), admin
(shows `SwitchoverStatus` and `SwitchoverReport`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import structlog
from attrs import define, field, frozen

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.steward import Demotion, OpenTransaction
from helios_trio.pipeline.fleet import MoveOrder, MoveOutcome, MoveReport

_log = structlog.get_logger(__name__)

#: Of errors so many are kept, the rest is counted only (rule 37).
ERRORS_KEPT: Final = 100
#: Of many sessions, errors or transactions so many are named in one text.
NAMED: Final = 5
#: The share of the window in which sessions may come to a safe point; the rest is for what follows.
_SHARE_FOR_HOLDING: Final = 0.75


class Step(StrEnum):
    """What is being done; the steps up to `PROMOTE` leave no trace when they fail."""

    CHECK = "checking the target"
    PREPARE = "opening connections"
    HOLD = "holding sessions"
    READ_ONLY = "making the source read-only"
    QUIESCE = "waiting for writes past the proxy"
    CATCH_UP = "waiting for the target to have all"
    PROMOTE = "promoting the target"
    MOVE = "moving sessions"
    RELEASE = "releasing sessions"
    DEMOTE = "demoting the old primary"
    ROLL_BACK = "undoing what was done"


class SwitchoverOutcome(StrEnum):
    """What is true at the end."""

    #: the target is the primary
    COMPLETED = "completed"
    #: the source is the primary, as before
    ROLLED_BACK = "rolled back"
    #: the target may be the primary, and does not say so; until it does, or an operator decides, nobody writes
    IN_DOUBT = "in doubt"


@frozen(kw_only=True)
class SwitchoverSettings:
    """How a switchover is carried out (config: [switchover_buffer], [session_migration]). Times in seconds."""

    #: the longest that clients wait before the promotion; then everything is undone
    window: float = 30.0
    #: how many sessions at a time are let go
    drain_concurrency: int = 32
    #: how many sessions at a time are moved
    move_concurrency: int = 32
    #: for one session
    move_time_limit: float = 30.0
    preserve: frozenset[str] | None = None
    max_state_size: int = 64 * 1024 * 1024
    #: bytes that the target may have left to replay when the switchover begins
    max_lag: int = 16 * 1024 * 1024
    #: open transactions that have not written are waited for so long; then they may go on, and are reported
    readers_grace: float = 0.25
    check_time_limit: float = 10.0
    prepare_time_limit: float = 60.0
    warm_time_limit: float = 15.0
    #: from the order to promote until the target takes writes; then it is fenced
    promotion_time_limit: float = 15.0
    fence_time_limit: float = 10.0
    #: for all sessions together, after the promotion
    forward_time_limit: float = 60.0
    #: the same, once the proxy is told to stop
    last_words: float = 5.0
    release_time_limit: float = 15.0
    demotion_time_limit: float = 300.0
    rollback_time_limit: float = 5.0

    @property
    def hold_time_limit(self) -> float:
        """Seconds for all sessions to come to a safe point."""
        return self.window * _SHARE_FOR_HOLDING

    def move_order(self, target: str) -> MoveOrder:
        """How each session is moved once the target is the only primary (rule 23)."""
        return MoveOrder(
            target=target,
            time_limit=self.move_time_limit,
            preserve=self.preserve,
            max_state_size=self.max_state_size,
            same_data=False,
            no_return=True,
        )


@frozen(kw_only=True)
class SwitchoverOrder:
    """What somebody wants: all sessions of the primary on this standby, and that to be the primary."""

    target: str
    #: why; for the log and the status
    reason: str = ""


@frozen(kw_only=True)
class SwitchoverStatus:
    """A picture of a switchover, under way or over. Times in seconds."""

    id: int
    source: str
    target: str
    reason: str
    #: seconds since 1970
    started_at: float
    step: Step
    elapsed: float
    step_elapsed: float
    outcome: SwitchoverOutcome | None
    #: why it was not completed
    failure: str
    #: connections that were opened on the target beforehand
    warmed: int
    held: int
    moved: int
    lost: int
    remaining: int
    #: transactions of others that keep it waiting
    waiting_for: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def active(self) -> bool:
        """Whether it is under way."""
        return self.outcome is None


@frozen(kw_only=True)
class SwitchoverReport(SwitchoverStatus):
    """What became of a switchover. Times in seconds."""

    #: from when the first request may have waited until the last session was let go; 0 when none was held
    write_pause: float
    #: per step, in order
    seconds: Mapping[Step, float]
    #: how the moves ended
    moves: Mapping[MoveOutcome, int]
    #: position of the source that the target had replayed before it was promoted; 0: it did not come to that
    last_lsn: int
    timeline: int | None
    #: transactions that may have written on the old primary after it was quiesced; None when it could not be asked
    late_transactions: int | None
    demotion: Demotion | None


@define(kw_only=True)
class Course:
    """How far one switchover is."""

    id: int
    source: str
    target: str
    reason: str
    #: Trio's clock; seconds
    began: float
    #: seconds since 1970
    started_at: float
    step: Step = Step.CHECK
    step_began: float
    seconds: dict[Step, float] = field(factory=dict)
    outcome: SwitchoverOutcome | None = None
    failure: str = ""
    #: when sessions were first held, and when all had been let go; nan: not yet
    held_at: float = math.nan
    released_at: float = math.nan
    held: int = 0
    warmed: int = 0
    moves: Counter[MoveOutcome] = field(factory=Counter)
    #: sessions whose move has been begun, and has ended
    tried: set[int] = field(factory=set)
    settled: set[int] = field(factory=set)
    waiting_for: tuple[str, ...] = ()
    errors: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    #: timeline of the source
    timeline: int = 0
    read_only_asked: bool = False
    #: since when new transactions on the source are read-only; its own clock
    read_only_since: float = 0.0
    #: how long those that have only read are waited for
    patient_until: float = 0.0
    #: the target may have heard the order to promote
    asked: bool = False
    #: there may be two primaries: the source must stay read-only
    in_doubt: bool = False
    #: the target was put to death, as nobody knew what it was
    fenced: bool = False
    last_lsn: int = 0
    next_xid: int | None = None
    late_transactions: int | None = None
    #: what the target said of itself as primary
    promoted: Observation | None = None
    demotion: Demotion | None = None
    ended: float | None = None

    # -- events ----------------------------------------------------------------------------------------------

    def enter(self, step: Step, now: float) -> None:
        """A step begins, and the one before has ended."""
        self._add_seconds(now)
        self.step, self.step_began = step, now
        _log.info("switchover step", step=step.value, source=self.source, target=self.target)

    def end(self, now: float) -> None:
        """It is over. Whether the target has been promoted is what counts."""
        self._add_seconds(now)
        self.ended, self.waiting_for = now, ()
        if self.promoted is not None:
            self.outcome = SwitchoverOutcome.COMPLETED
        else:
            self.outcome = SwitchoverOutcome.IN_DOUBT if self.in_doubt else SwitchoverOutcome.ROLLED_BACK

    def _add_seconds(self, now: float) -> None:
        self.seconds[self.step] = self.seconds.get(self.step, 0.0) + now - self.step_began

    def note_open(self, transactions: Sequence[OpenTransaction], now: float) -> None:
        """Transactions of others: writers are waited for, those that have only read so far for a while."""
        patient = now < self.patient_until
        waited = [str(each) for each in transactions if patient or each.wrote]
        self.waiting_for = tuple(waited[:ERRORS_KEPT])
        if not waited:
            self.warnings = [f"not waited for: {each}" for each in transactions[:ERRORS_KEPT]]

    def note_late(self, next_xid: int) -> None:
        """The old primary's next transaction id, when all have left it."""
        self.late_transactions = next_xid - (self.next_xid or next_xid)
        if self.late_transactions:
            self.warnings.append(
                f"{self.late_transactions} transactions on {self.source} got an id after {self.target} had all; "
                "if they were not maintenance, what they wrote is lost"
            )

    def note_move(self, report: MoveReport) -> None:
        """A session has been moved, or lost."""
        self.moves[report.outcome] += 1
        self.settled.add(report.session)
        if report.outcome not in (MoveOutcome.MOVED, MoveOutcome.GONE):
            self.note_error(f"session {report.session} {report.outcome}: {'; '.join(report.reasons)}")

    def note_error(self, text: str) -> None:
        """Something went wrong that does not stop it."""
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(text)

    # -- pictures --------------------------------------------------------------------------------------------

    @property
    def moved(self) -> int:
        """Sessions on the target."""
        return self.moves[MoveOutcome.MOVED]

    @property
    def lost(self) -> int:
        """Sessions whose clients got an error."""
        return self.moves.total() - self.moved - self.moves[MoveOutcome.GONE]

    @property
    def remaining(self) -> int:
        """Sessions that are held and not yet moved."""
        return max(0, self.held - self.moves.total()) if self.outcome is None else 0

    @property
    def write_pause(self) -> float:
        """Seconds for which clients may have waited."""
        pause = self.released_at - self.held_at
        return 0.0 if math.isnan(pause) else pause

    def status(self, now: float) -> SwitchoverStatus:
        """A picture as of now, or as of its end."""
        return SwitchoverStatus(**self._picture(now if self.ended is None else self.ended))

    def report(self) -> SwitchoverReport:
        """All that there is to say once it has ended."""
        assert self.ended is not None, "a report is made at the end"
        return SwitchoverReport(
            **self._picture(self.ended),
            write_pause=self.write_pause,
            seconds=dict(self.seconds),
            moves=dict(self.moves),
            last_lsn=self.last_lsn,
            timeline=self.promoted.timeline if self.promoted is not None else None,
            late_transactions=self.late_transactions,
            demotion=self.demotion,
        )

    def _picture(self, now: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "source": self.source,
            "target": self.target,
            "reason": self.reason,
            "started_at": self.started_at,
            "step": self.step,
            "elapsed": now - self.began,
            "step_elapsed": now - self.step_began,
            "outcome": self.outcome,
            "failure": self.failure,
            "warmed": self.warmed,
            "held": self.held,
            "moved": self.moved,
            "lost": self.lost,
            "remaining": self.remaining,
            "waiting_for": self.waiting_for,
            "errors": tuple(self.errors),
            "warnings": tuple(self.warnings),
        }
