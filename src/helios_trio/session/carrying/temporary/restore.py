"""Restore: everything built again on the new connection, in one transaction, and the rows streamed into it.

    exchange   BEGIN and settings; types, sequences, functions, tables
    streams    one for each table that has rows
    exchange   positions of sequences; indexes, constraints, views, rules, policies, triggers; what would stand in the
               way of the others: privileges, row security; ANALYZE where that was done; COMMIT

Tables come with their CHECK and NOT NULL constraints, so that rows are checked as they come; what can be built faster
over the rows is built after them. No trigger or rule exists while rows are copied.

The new connection is the login role's, without the client's settings. Everything is made by the role that owns it.
When a step fails the transaction is rolled back; a connection on which that happened is to be reset or closed.

Used by: session.carrying.carry, through session.carrying.temporary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.steps import Answer, Answers, Plan, Query, Side, ask, ask_both, stream
from helios_trio.session.carrying.temporary.digest import digest_temporary, temporary_differences
from helios_trio.session.carrying.temporary.environment import (
    TEMPORARY_FIRST,
    as_role,
    begin_building,
    major_of,
)
from helios_trio.session.carrying.temporary.naming import temp
from helios_trio.session.carrying.temporary.nodes import Statement
from helios_trio.session.carrying.temporary.objects import Position, TemporaryObjects
from helios_trio.session.carrying.temporary.rows import copy_in, copy_out
from helios_trio.sql.quote import quote_literal


@frozen
class Restored:
    """What became of it: rows copied, and what is not as it is on the old side, by name."""

    rows: int = 0
    differences: tuple[str, ...] = ()


def restore_temporary(objects: TemporaryObjects) -> Plan[int]:
    """Build the objects on the new connection; gives how many rows were copied.

    Raises:
        CannotCarry: there are reasons against it; nothing was done.
        CarryFailed: a statement failed; the error names its object, and the new connection has nothing of all this.
    """
    rows, _ = yield from _restore(objects, ())
    return rows


def restore_and_compare(objects: TemporaryObjects) -> Plan[Restored]:
    """The same, and the digests of both sides with the last round trip of it.

    Raises: as `restore_temporary`.
    """
    rows, digests = yield from _restore(objects, digest_temporary(objects))
    return Restored(rows, temporary_differences(digests.old, digests.new))


def _restore(objects: TemporaryObjects, digest: tuple[Query, ...]) -> Plan[tuple[int, Answers]]:
    if objects.reasons:
        raise CannotCarry(objects.reasons)
    if not objects:
        return 0, Answers()
    try:
        major = yield from _begin(objects)
        rows = yield from _copy(objects, binary=major == objects.major)
        digests = yield from _complete(objects, digest)
    except CarryFailed:
        yield from ask(Side.NEW, Query("ROLLBACK"))
        raise
    return rows, digests


def _begin(objects: TemporaryObjects) -> Plan[int]:
    """Everything up to the tables; gives the new server's major version."""
    begun, *built = yield from ask(
        Side.NEW, begin_building(), _temp_buffers(objects), *_queries(objects.before)
    )
    _check("beginning on the new connection", begun)
    _check("temp_buffers", built[0])
    _check_all(objects.before, built[1:])
    return major_of(begun.rows[-1][0] or "")


def _temp_buffers(objects: TemporaryObjects) -> Query:
    """As on the old connection, for the session: once there is a temporary table it cannot be set any more."""
    value = quote_literal(objects.temp_buffers)
    return Query(
        f"SELECT pg_catalog.set_config('temp_buffers', {value}, false)"
        f" WHERE pg_catalog.current_setting('temp_buffers') <> {value}"
    )


def _copy(objects: TemporaryObjects, *, binary: bool) -> Plan[int]:
    rows = 0
    for table in objects.tables:
        in_binary = binary and table.binary
        streamed = yield from stream(
            copy_out(table, binary=in_binary),
            copy_in(table, search_path=objects.search_path, binary=in_binary),
        )
        if streamed.error is not None:
            raise CarryFailed(f"rows of table {table.name}", streamed.error)
        rows += streamed.rows
    return rows


def _complete(objects: TemporaryObjects, digest: tuple[Query, ...]) -> Plan[Answers]:
    """All that can wait for the rows, and the end of the transaction; gives the answers to `digest`."""
    positions = [_set_position(each) for each in objects.positions]
    statements = (*positions, *objects.after)
    building = (Query(TEMPORARY_FIRST), *_queries(statements), Query("COMMIT"))
    answers = yield from ask_both(digest, (*building, *digest))
    path, *done, committed = answers.new[: len(building)]
    _check("search_path", path)
    _check_all(statements, done)
    _check("COMMIT", committed)
    return Answers(answers.old, answers.new[len(building) :])


def _set_position(position: Position) -> Statement:
    name = quote_literal(temp(position.name))
    called = "true" if position.is_called else "false"
    text = f"SELECT pg_catalog.setval({name}::pg_catalog.regclass, {position.last_value}, {called})"
    return Statement(f"sequence {position.name}", position.owner, text)


def _queries(statements: Iterable[Statement]) -> list[Query]:
    """Each statement by itself, so that an error names its object; the role goes with it."""
    return [Query(f"{as_role(each.owner)};\n{each.text}") for each in statements]


def _check_all(statements: Sequence[Statement], answers: Sequence[Answer]) -> None:
    for statement, answer in zip(statements, answers, strict=True):
        _check(statement.about, answer)


def _check(what: str, answer: Answer) -> None:
    if answer.error is not None:
        raise CarryFailed(what, answer.error)
