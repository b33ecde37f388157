"""What became of each session in a migration, and who is worth another try. Pure: time is an argument.

* Busy sessions are tried again at every look.
* A pinned one is tried again as soon as what pins it has changed, and now and then in any case: not everything that
  pins a session can be seen from outside.
* One that failed is tried again after a pause that grows.

Used by: migration.migration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define, field, frozen

from helios_trio.pipeline.fleet import MoveOutcome, MoveReport, SessionInfo

#: Attempts at a session that fails, where its failure must not hold everything up.
ATTEMPTS: Final = 3
#: Seconds after which a pinned session is tried again although nothing seems to have changed.
PINNED_AGAIN: Final = 30.0
#: Seconds after a failure before the next attempt, doubled with each, and at most as long as for a pinned one.
FAILED_AGAIN: Final = 1.0

#: A session's pins, and what else keeps it.
_Ties = tuple[tuple[tuple[str, int], ...], tuple[str, ...]]

_STAYS: Final = {MoveOutcome.PINNED, MoveOutcome.BUSY, MoveOutcome.FAILED}


@frozen(kw_only=True)
class Staying:
    """A session that could not be moved yet."""

    session: int
    outcome: MoveOutcome
    reasons: tuple[str, ...]
    attempts: int
    #: when it was last tried, on Trio's clock (seconds)
    at: float
    ties: _Ties


@define
class Ledger:
    """What became of the sessions of one migration, in one direction."""

    moved: set[int] = field(factory=set)
    staying: dict[int, Staying] = field(factory=dict)
    outcomes: Counter[MoveOutcome] = field(factory=Counter)
    #: seconds that sessions that were moved took, and the longest that requests of one were held
    seconds: float = 0.0
    longest_pause: float = 0.0
    #: kind of state -> how many were carried
    carried: Counter[str] = field(factory=Counter)

    @property
    def seconds_each(self) -> float:
        """What moving one session has taken on average."""
        return self.seconds / self.migrated if self.migrated else 0.0

    @property
    def migrated(self) -> int:
        """Sessions that were moved."""
        return self.outcomes[MoveOutcome.MOVED]

    @property
    def client_errors(self) -> int:
        """Clients that were told that their session is over."""
        return self.outcomes[MoveOutcome.LOST] + self.outcomes[MoveOutcome.TERMINATED]

    @property
    def errors(self) -> int:
        """Attempts that failed, and sessions that were lost."""
        return self.outcomes[MoveOutcome.FAILED] + self.outcomes[MoveOutcome.LOST]

    def note(self, report: MoveReport, info: SessionInfo | None, now: float) -> None:
        """An attempt has ended; `info` is the session as it was just before."""
        before = self.staying.pop(report.session, None)
        if report.outcome is MoveOutcome.MOVED:
            self.note_moved(report.session)
            self.seconds += report.seconds
            self.longest_pause = max(self.longest_pause, report.pause)
            self.carried.update(report.carried)
            return
        self.outcomes[report.outcome] += 1
        if report.outcome in _STAYS and info is not None:
            self.staying[report.session] = Staying(
                session=report.session,
                outcome=report.outcome,
                reasons=report.reasons or (str(info.state),),
                attempts=1 + (before.attempts if before and before.outcome is report.outcome else 0),
                at=now,
                ties=_ties(info),
            )

    def note_moved(self, session: int) -> None:
        """It has arrived, however."""
        self.outcomes[MoveOutcome.MOVED] += 1
        self.moved.add(session)
        self.staying.pop(session, None)

    def note_switchover(self, moved: int, lost: int, pause: float) -> None:
        """All sessions together were moved, or lost. `pause`: seconds that requests were held."""
        self.outcomes[MoveOutcome.MOVED] += moved
        self.outcomes[MoveOutcome.LOST] += lost
        self.longest_pause = max(self.longest_pause, pause)

    def note_restored(self, moved: int, errors: int, client_errors: int) -> None:
        """What was counted before the proxy was restarted; its sessions are gone."""
        self.outcomes.update(
            {
                MoveOutcome.MOVED: moved,
                MoveOutcome.FAILED: errors,
                MoveOutcome.TERMINATED: client_errors,
            }
        )

    def is_worth_a_try(self, info: SessionInfo, now: float) -> bool:
        """Whether a session that should be moved is to be tried now."""
        known = self.staying.get(info.id)
        if known is None or known.outcome is MoveOutcome.BUSY:
            return True
        if known.outcome is MoveOutcome.PINNED:
            return known.ties != _ties(info) or now - known.at >= PINNED_AGAIN
        pause = FAILED_AGAIN * 2.0 ** min(known.attempts - 1, ATTEMPTS * 2)
        return now - known.at >= min(PINNED_AGAIN, pause)

    def is_given_up(self, session: int) -> bool:
        """Whether it has failed as often as is tolerated where its failure holds everything up."""
        known = self.staying.get(session)
        return known is not None and known.outcome is MoveOutcome.FAILED and known.attempts >= ATTEMPTS

    def keep_only(self, sessions: Iterable[int]) -> None:
        """Forget those who stayed and are not there any more."""
        present = set(sessions)
        self.staying = {id: each for id, each in self.staying.items() if id in present}


def _ties(info: SessionInfo) -> _Ties:
    pins: Mapping[str, int] = info.pins
    return tuple(sorted(pins.items())), info.immovable
