"""What the recovery of a session needs of the rest of the proxy, and how it is configured.

Used by: failover.recovery, failover.repetition, composition.recovering (makes them).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, frozen

from helios_trio.failover.counters import ReplayCounters
from helios_trio.failover.sequence_marks import SequenceMarks
from helios_trio.failover.sequence_moves import SequenceMover
from helios_trio.failover.session import RecoverableSession
from helios_trio.migration.transfer import Place
from helios_trio.pipeline.rescue import Outcomes, Primaries


@frozen(kw_only=True)
class ReplaySettings:
    """How sessions are recovered (config: [transaction_replay], [failover]). Times in seconds, sizes in bytes."""

    enabled: bool = True
    verify_results: bool = True
    #: for each statement that is done again
    statement_timeout: float = 30.0
    max_retries: int = 3
    #: for the whole of one session
    time_limit: float = 60.0
    max_state_size: int = 64 * 1024 * 1024


@define(eq=False)
class RecoveryMeans:
    """See the module."""

    primaries: Primaries
    outcomes: Outcomes
    place_of: Callable[[RecoverableSession, str], Awaitable[Place]]
    settings: ReplaySettings
    counters: ReplayCounters
    sequences: SequenceMover
    marks: SequenceMarks
