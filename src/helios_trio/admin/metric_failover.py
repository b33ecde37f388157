"""The metrics of failovers, and of what was done for sessions that lost their server.

Used by: admin.metric_table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from helios_trio.admin.metric_kinds import Sample, Section, counter, gauge, one, per_word
from helios_trio.admin.scrape import Scrape
from helios_trio.failover.counters import FailoverCounters
from helios_trio.failover.steps import FailoverOutcome


def _counters(scrape: Scrape) -> FailoverCounters:
    primaries = scrape.parts.primaries
    return FailoverCounters() if primaries is None else primaries.means.counters


def _active(scrape: Scrape) -> float:
    primaries = scrape.parts.primaries
    return primaries is not None and bool(primaries.active)


def _outcomes(scrape: Scrape) -> Mapping[str, float]:
    found = _counters(scrape).outcomes
    return {outcome.value: found[outcome.value] for outcome in FailoverOutcome}


def _commits(scrape: Scrape) -> Iterable[Sample]:
    replays = scrape.parts.replays
    yield ("committed",), replays.outcomes_committed
    yield ("replayed",), replays.outcomes_replayed
    yield ("unknown",), replays.outcomes_unknown


FAILOVERS: Final = Section(
    "Failovers",
    "What happened when a primary was lost, and what was done for the sessions that had lost it.",
    (
        gauge("helios_failover_active", "1 while a primary is being missed.", one(_active)),
        counter(
            "helios_failovers_total",
            "Losses of a primary, by how they ended: `recovered` is the old primary itself, `completed` a standby.",
            per_word(_outcomes),
            ("outcome",),
        ),
        counter(
            "helios_failover_false_alarms_total",
            "Primaries that were suspected, as connections had been lost, and found alive at the first look.",
            one(lambda scrape: _counters(scrape).false_alarms),
        ),
        counter(
            "helios_failover_pause_seconds_total",
            "Time from the first sign of trouble until a standby took writes, of all completed failovers together.",
            one(lambda scrape: _counters(scrape).seconds),
        ),
        counter(
            "helios_failover_step_seconds_total",
            "The same by step, those after it included.",
            per_word(lambda scrape: _counters(scrape).step_seconds),
            ("step",),
        ),
        counter(
            "helios_failover_sessions_moved_total",
            "Sessions without a server connection that were taken along.",
            one(lambda scrape: _counters(scrape).sessions_moved),
        ),
        counter(
            "helios_failover_tokens_missing_total",
            "Transactions that clients were told are committed, and that a standby lacked which was to take over.",
            one(lambda scrape: _counters(scrape).tokens_missing),
        ),
        counter(
            "helios_transactions_replayed_total",
            "Transactions that were done again on another server without their client noticing.",
            one(lambda scrape: scrape.parts.replays.transactions_replayed),
        ),
        counter(
            "helios_statements_replayed_total",
            "Statements of these transactions.",
            one(lambda scrape: scrape.parts.replays.statements_replayed),
        ),
        counter(
            "helios_replay_seconds_total",
            "Time from the loss of the server until such a transaction was done again, all of them together.",
            one(lambda scrape: scrape.parts.replays.seconds),
        ),
        counter(
            "helios_replay_mismatches_total",
            "Transactions that could not be done again, by why; their clients got an error.",
            per_word(lambda scrape: scrape.parts.replays.replay_mismatches),
            ("cause",),
        ),
        counter(
            "helios_commit_outcomes_total",
            "COMMITs whose answer was lost, by what was found out: they had happened, were done again, or nobody "
            "can tell.",
            _commits,
            ("outcome",),
        ),
    ),
)
