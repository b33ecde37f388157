"""What a session has, asked of the old server and compared with what was tracked (rule 8).

The server's word counts, because function bodies change settings and make objects that no parser sees. What only
tracking knows is added to it: names of parameters with a dot, ON COMMIT of temporary tables.

Used by: session.carrying.carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from helios_trio.config.words import StateKind
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.carrying.sequences import NO_SEQUENCES, Sequences, capture_sequences
from helios_trio.session.carrying.state import IDENTITY, Prepared, PreparedBySql, SessionState, parse_tail
from helios_trio.session.carrying.steps import Answer, Plan, Query, Side, ask
from helios_trio.session.carrying.survey import LIMITS, PreparedThere, Survey, read_survey, survey_query
from helios_trio.session.carrying.tracked import NAME_BYTES, Tracked
from helios_trio.session.pins import Bond
from helios_trio.session.prepared import PREFIX
from helios_trio.sql.normalise import text_behind_as
from helios_trio.sql.parse import parse
from helios_trio.sql.quote import quote_identifier
from helios_trio.wire.layout import to_bytes

#: Causes that may be none, or have ended without the session's doing: rows when they are there.
_DOUBTS: Final = {
    Bond.SLOTS: "SELECT 'held' FROM pg_catalog.pg_replication_slots"
    " WHERE temporary AND active_pid = pg_catalog.pg_backend_pid()",
}


def survey_for(tracked: Tracked, settings: Iterable[str] = ()) -> Query:
    """The query that asks either side for what this session may have; `settings` are wanted besides those tracked."""
    names = {name for name in (*tracked.session.label, *settings) if "." not in name}
    return survey_query(names, tracked.placeholders)


def capture(tracked: Tracked) -> Plan[SessionState]:
    """Ask the old server: one exchange, and two more for a session that has asked for sequence values.

    Raises CarryFailed, CannotCarry.
    """
    (answer,) = yield from ask(Side.OLD, survey_for(tracked))
    sequences = NO_SEQUENCES
    if Bond.SEQUENCES in tracked.session.bound:
        sequences = yield from capture_sequences()
    return state_of(tracked, read_survey(answer), sequences)


def state_of(tracked: Tracked, survey: Survey, sequences: Sequences) -> SessionState:
    """What the old server said, and what only tracking knows. Raises CannotCarry."""
    settings = _settings(tracked, survey)
    theirs = [each for each in survey.prepared.values() if is_the_clients(each, tracked)]
    return SessionState(
        settings=settings,
        limits=survey.limits,
        emptied=sorted(
            name for name, value in survey.placeholders.items() if value == "" and name not in settings
        ),
        prepared=[_prepared(each) for each in theirs if not each.by_sql],
        by_sql=[_by_sql(each, tracked) for each in theirs if each.by_sql],
        unnamed=tracked.unnamed,
        channels=frozenset() if tracked.shared else survey.channels,
        cursors=list(survey.cursors.values()),
        locks=survey.locks,
        sequences=sequences.values,
        has_last=sequences.has_last,
        temporary=survey.temporary,
        missed=missed(tracked, survey, settings),
        seen=survey,
    )


def settle_doubts(tracked: Tracked) -> Plan[None]:
    """Ask for what binds the session and may have ended: a transaction that another session has ended."""
    session = tracked.session
    doubts = [(bond, Query(text)) for bond, text in _DOUBTS.items() if bond in session.bound]
    gids = Query("SELECT gid FROM pg_catalog.pg_prepared_xacts")
    questions = [query for _, query in doubts] + ([gids] if session.two_phase else [])
    answers: list[Answer] = list((yield from ask(Side.OLD, *questions)))
    if session.two_phase and (answer := answers.pop()).error is None:
        session.two_phase &= {row[0] or "" for row in answer.rows}
    for (bond, _), answer in zip(doubts, answers, strict=True):
        if answer.error is None and not answer.rows:
            del session.bound[bond]


def _settings(tracked: Tracked, survey: Survey) -> dict[str, str]:
    """Shared: the client's own, as tracked, and what function bodies have set besides."""
    found = {}
    if tracked.shared:
        found = {name: value for name, value in tracked.settings.items() if name not in LIMITS}
        found |= {name: survey.settings[name] for name in survey.listed - tracked.session.label.keys()}
    else:
        found = {name: survey.settings[name] for name in survey.listed}
    found |= {name: value for name, value in survey.placeholders.items() if value}
    if survey.session_user != survey.login:
        found["session_authorization"] = survey.session_user
    if survey.role != "none":
        found["role"] = survey.role
    return found


def is_the_clients(there: PreparedThere, tracked: Tracked) -> bool:
    """In shared modes most are kept under names of the proxy's own, and prepared again when they are needed."""
    return there.by_sql or not (tracked.shared and there.name.startswith(PREFIX.decode()))


def _prepared(there: PreparedThere) -> Prepared:
    """With the types that it was given then: inferred again today they might be others."""
    return Prepared(to_bytes(there.name), to_bytes(there.text), parse_tail(there.types))


def _by_sql(there: PreparedThere, tracked: Tracked) -> PreparedBySql:
    """The server keeps all that was sent together with PREPARE, which must not be said again."""
    inner = inner_text(there, tracked)
    if inner is None:
        raise CannotCarry(
            (f'the text of prepared statement "{there.name}" cannot be told from what came with it',)
        )
    types = f" ({there.type_names})" if there.type_names else ""
    return PreparedBySql(there.name, f"PREPARE {quote_identifier(there.name)}{types} AS {inner}")


def inner_text(there: PreparedThere, tracked: Tracked) -> str | None:
    """The statement behind AS: as tracked, or found in what was sent. None where it cannot be found."""
    known = tracked.session.sql_prepared.get(to_bytes(there.name))
    if known is not None and known.text is not None and known.text in there.text:
        return known.text
    found = {text for text in _inner_texts(there) if text is not None}
    return found.pop() if len(found) == 1 else None


def _inner_texts(there: PreparedThere) -> Iterator[str | None]:
    data = to_bytes(there.text)
    for statement in parse(data).statements:
        if statement.prepares == there.name:
            yield text_behind_as(statement.slice(data).decode())


# -- what tracking had missed --------------------------------------------------------------------------------------


def missed(tracked: Tracked, survey: Survey, settings: dict[str, str]) -> dict[str, int]:
    """Kind -> how many; in shared modes the proxy's own statements and listeners are no state of the client's."""
    session = tracked.session
    objects, known = session.state.now.objects, _known_names(tracked)
    pinned = session.pins
    found = {
        StateKind.SESSION_VARIABLES: len((settings.keys() ^ tracked.settings.keys()) - {*IDENTITY, *LIMITS}),
        StateKind.PREPARED_STATEMENTS: len(
            {name for name, each in survey.prepared.items() if is_the_clients(each, tracked)} - known
        ),
        StateKind.CURSORS: len(survey.cursors.keys() ^ objects.cursors.keys()),
        StateKind.CHANNELS: 0 if tracked.shared else len(survey.channels ^ session.state.listening),
        StateKind.ADVISORY_LOCKS: 0
        if session.may_hold_locks or "advisory locks" in pinned
        else len(survey.locks),
        StateKind.TEMPORARY_TABLES: int(
            bool(survey.temporary) and not objects.temporary and "temporary objects" not in pinned
        ),
    }
    return {kind: count for kind, count in found.items() if count}


def _known_names(tracked: Tracked) -> set[str]:
    session = tracked.session
    names: Iterable[bytes] = (*session.statements, *session.sql_prepared)
    return {tracked.text(name[:NAME_BYTES]) for name in names}
