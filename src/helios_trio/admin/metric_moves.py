"""The metrics of moving sessions.

Used by: admin.metric_table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from helios_trio.admin.metric_kinds import Sample, Section, counter, gauge, one, per_word
from helios_trio.admin.scrape import Scrape
from helios_trio.migration.states import State
from helios_trio.pipeline.fleet import MoveOutcome


def _outcomes(scrape: Scrape) -> Iterable[Sample]:
    return (((outcome.value,), scrape.parts.moves.outcomes[outcome]) for outcome in MoveOutcome)


def _migrations(scrape: Scrape) -> Mapping[str, float]:
    known = scrape.parts.migrations
    found = Counter(each.state.value for each in known) if known is not None else Counter[str]()
    return {state.value: found[state.value] for state in State}


MOVES: Final = Section(
    "Moving sessions",
    "Moves of single sessions, whoever ordered them: a migration, a switchover or somebody by hand.",
    (
        gauge(
            "helios_migrations",
            "Migrations that are known, those of earlier runs included, by state.",
            per_word(_migrations),
            ("state",),
        ),
        counter(
            "helios_session_moves_total",
            "Attempts to move a session, by how they ended; only `moved`, `lost` and `terminated` are seen by clients.",
            _outcomes,
            ("outcome",),
        ),
        counter(
            "helios_session_move_seconds_total",
            "Time that moving sessions took, all of them together; only of those that were moved.",
            one(lambda scrape: scrape.parts.moves.seconds),
        ),
        counter(
            "helios_session_move_pause_seconds_total",
            "Time for which requests of clients were held meanwhile, all of them together.",
            one(lambda scrape: scrape.parts.moves.paused_seconds),
        ),
        counter(
            "helios_session_move_state_bytes_total",
            "Session state that was carried.",
            one(lambda scrape: scrape.parts.moves.state_bytes),
        ),
        counter(
            "helios_session_move_buffered_requests_total",
            "Requests that waited meanwhile.",
            one(lambda scrape: scrape.parts.moves.buffered),
        ),
        counter(
            "helios_session_state_carried_total",
            "Session state that was carried, by kind.",
            per_word(lambda scrape: scrape.parts.moves.carried),
            ("kind",),
        ),
        counter(
            "helios_session_state_missed_total",
            "Session state that was found on the server although no statement had shown it, by kind.",
            per_word(lambda scrape: scrape.parts.moves.missed),
            ("kind",),
        ),
        counter(
            "helios_session_pinned_total",
            "Attempts that failed because something cannot be carried, by what pinned the session.",
            per_word(lambda scrape: scrape.parts.moves.pinned),
            ("pin",),
        ),
    ),
)
