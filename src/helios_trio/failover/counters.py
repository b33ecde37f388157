"""What has been done for sessions whose server died, counted.

Used by: failover (counts), admin.failover, admin.metric_failover (show it).
"""

from __future__ import annotations

from collections import Counter, defaultdict

from attrs import define, field

from helios_trio.failover.steps import FailoverOutcome, FailoverReport
from helios_trio.pipeline.rescue import CommitOutcome


@define
class ReplayCounters:
    """Transactions that were done again, and COMMITs whose outcome was looked up, since the proxy started."""

    transactions_replayed: int = 0
    #: of these transactions
    statements_replayed: int = 0
    #: seconds from the loss of the server until the replay was through, all of them together
    seconds: float = 0.0
    #: why transactions were not replayed, or their replay was given up -> how many
    replay_mismatches: Counter[str] = field(factory=Counter)
    #: COMMITs without an answer: found to have happened, done again, or answered with 08007
    outcomes_committed: int = 0
    outcomes_replayed: int = 0
    outcomes_unknown: int = 0

    def note_replay(self, seconds: float, statements: int) -> None:
        """A transaction was done again."""
        self.transactions_replayed += 1
        self.statements_replayed += statements
        self.seconds += seconds

    def note_mismatch(self, kind: str) -> None:
        """A transaction was not, for this kind of reason."""
        self.replay_mismatches[kind] += 1

    def note_outcome(self, outcome: CommitOutcome) -> None:
        """It was found out what became of a COMMIT; one that has not happened is done again."""
        match outcome:
            case CommitOutcome.COMMITTED:
                self.outcomes_committed += 1
            case CommitOutcome.NOT_COMMITTED:
                self.outcomes_replayed += 1
            case CommitOutcome.UNKNOWN:
                self.outcomes_unknown += 1


@define
class FailoverCounters:
    """Failovers since the proxy started. Times in seconds."""

    #: how they ended -> how many
    outcomes: Counter[str] = field(factory=Counter)
    #: primaries that were suspected and found alive
    false_alarms: int = 0
    #: from the first sign of trouble until the new primary took writes, of all that were completed
    seconds: float = 0.0
    #: of those, in each step
    step_seconds: defaultdict[str, float] = field(factory=lambda: defaultdict(float))
    #: sessions without a connection that were taken along
    sessions_moved: int = 0
    #: acknowledged transactions that a candidate lacked
    tokens_missing: int = 0

    def note(self, report: FailoverReport) -> None:
        """One that was more than a false alarm has ended."""
        assert report.outcome is not None, "it has ended"
        self.outcomes[report.outcome.value] += 1
        self.sessions_moved += report.moved
        if report.outcome is FailoverOutcome.COMPLETED:
            self.seconds += report.pause
            for step, seconds in report.seconds.items():
                self.step_seconds[step.value] += seconds
