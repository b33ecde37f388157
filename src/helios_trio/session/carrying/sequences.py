"""currval() and lastval() on the new connection (rule 14).

No catalog says which sequences a session has used, so it is tried: currval() of one that was not used fails. The value
is given to the new connection by restarting the sequence there and drawing the value, in a transaction that is rolled
back: what a session remembers of sequences is not transactional, and nobody else sees anything of it.

Used by: session.carrying.capture, session.carrying.restore.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.state import SequenceValue, SessionState
from helios_trio.session.carrying.steps import Answer, Plan, Query, Side, ask, one_value
from helios_trio.sql.quote import quote_literal

#: Sequences that are tried; who has the use of more stays where it is once it has asked for currval() or lastval().
MAX_SEQUENCES: Final = 1000
#: PostgreSQL's "object not in prerequisite state": not used in this session.
_NOT_USED: Final = "55000"
#: Somebody who holds the sequence for longer than that (milliseconds) has us give up.
_LOCK_TIMEOUT: Final = 50

_CANDIDATES: Final = Query(
    "SELECT c.oid, CASE WHEN c.relpersistence = 't' THEN pg_catalog.format('pg_temp.%I', c.relname)"
    " ELSE pg_catalog.format('%I.%I', n.nspname, c.relname) END"
    " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'S' AND (c.relpersistence <> 't' OR n.oid = pg_catalog.pg_my_temp_schema())"
    # nothing else keeps the planner from asking for the privilege before it knows that it is a sequence: an error
    " AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'USAGE,SELECT') END"
    f" AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') LIMIT {MAX_SEQUENCES + 1}"
)
_LAST: Final = Query("SELECT pg_catalog.lastval()")


@frozen
class Sequences:
    """What a session remembers of sequences; the one that lastval() speaks of stands last."""

    values: tuple[SequenceValue, ...]
    has_last: bool


NO_SEQUENCES: Final = Sequences((), False)


def capture_sequences() -> Plan[Sequences]:
    """Ask the old side for all values. Raises CannotCarry, CarryFailed."""
    candidates, last = yield from ask(Side.OLD, _CANDIDATES, _LAST)
    _check(candidates, "looking for sequences")
    if len(candidates.rows) > MAX_SEQUENCES:
        raise CannotCarry(
            (f"it has asked for sequence values, and may use more than {MAX_SEQUENCES} sequences",)
        )
    tries = [Query(f"SELECT pg_catalog.currval({oid}::pg_catalog.regclass)") for oid, _ in candidates.rows]
    answers = yield from ask(Side.OLD, *tries)
    found = [
        SequenceValue(row[1] or "", int(one_value(answer) or 0))
        for row, answer in zip(candidates.rows, answers, strict=True)
        if _is_used(answer)
    ]
    if not _is_used(last):
        return Sequences(tuple(found), False)
    return Sequences(_with_last(found, int(one_value(last) or 0)), True)


def _is_used(answer: Answer) -> bool:
    """Whether the session has a value. Raises CarryFailed."""
    if answer.error is not None and answer.error.sqlstate == _NOT_USED:
        return False
    _check(answer, "asking for sequence values")
    return True


def _with_last(found: list[SequenceValue], last: int) -> tuple[SequenceValue, ...]:
    """Only the value of lastval() can be asked for: any sequence with that value will do."""
    for each in found:
        if each.value == last:
            return (*(other for other in found if other is not each), each)
    raise CannotCarry(("lastval() speaks of a sequence that its role may not use any more",))


def restore_sequences(state: SessionState) -> Plan[None]:
    """Give the new side the values, in this order. Raises CannotCarry naming the sequence that is not given."""
    for each in state.sequences:
        (answer,) = yield from ask(Side.NEW, _give(each))
        if answer.error is not None:
            yield from ask(Side.NEW, Query("ROLLBACK"))
            raise CannotCarry(
                (f"currval of sequence {each.name} cannot be restored: {answer.error.message}",)
            )
    if state.sequences:
        yield from _verify(state)


def _give(each: SequenceValue) -> Query:
    return Query(
        f"BEGIN READ WRITE; SET LOCAL lock_timeout = {_LOCK_TIMEOUT}; SET LOCAL statement_timeout = 0;"
        f" ALTER SEQUENCE {each.name} RESTART WITH {each.value};"
        f" SELECT pg_catalog.nextval({_regclass(each)}); ROLLBACK"
    )


def _verify(state: SessionState) -> Plan[None]:
    expected = [each.value for each in state.sequences]
    questions = [Query(f"SELECT pg_catalog.currval({_regclass(each)})") for each in state.sequences]
    if state.has_last:
        expected.append(state.sequences[-1].value)
        questions.append(_LAST)
    answers = yield from ask(Side.NEW, *questions)
    for value, answer in zip(expected, answers, strict=True):
        _check(answer, "verifying sequence values")
        if one_value(answer) != str(value):
            raise CannotCarry(("sequence values of the new connection are not those of the old one",))


def _regclass(each: SequenceValue) -> str:
    return f"{quote_literal(each.name)}::pg_catalog.regclass"


def _check(answer: Answer, what: str) -> None:
    if answer.error is not None:
        raise CarryFailed(what, answer.error)
