"""Held cursors: their rows read from the old connection, and a cursor like it made on the new one (rule 11).

A held cursor is a materialised snapshot, so its query cannot be run again: other rows would come. What is carried are
the rows, as text, with the columns' types; on the new side a cursor of the same name is declared over them and moved to
the same position. It differs from the old one in `pg_cursors.statement` and `creation_time`, and its columns have no
table of origin in RowDescription.

A scrollable cursor is read whole and moved back, which leaves it as it was. One that only scans forward, or gives its
rows in binary, is set aside first (`parking`): then the rows that are left are read from a copy. The position of one
that only scans forward is counted from the move on.

Used by: session.carrying.carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, frozen

from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.parking import Parking, park, unpark_requests
from helios_trio.session.carrying.rowsets import Rowset, ShapeOfColumns, read_shapes, shape_query
from helios_trio.session.carrying.steps import Answer, DescribePortal, Plan, Query, Row, Side, ask
from helios_trio.session.carrying.survey import UNHURRIED, CursorThere
from helios_trio.session.carrying.undo import Undo
from helios_trio.sql.quote import quote_identifier

#: Values are read and written in spellings that lose nothing and do not depend on the session's settings.
EXACT: Final = (
    UNHURRIED
    + "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC';"
    " SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C';"
    " SET LOCAL xmloption = 'content'; SET LOCAL search_path = pg_catalog; "
)
#: Rows of the first read; after that as many as make a piece of this many bytes, by what they have had so far.
_FIRST_ROWS: Final = 100
_PIECE: Final = 1 << 20
#: PostgreSQL's words for a cursor whose last FETCH failed: it can only be closed.
_CANNOT_BE_RUN: Final = "55000"


@frozen
class Position:
    """Where a cursor stands: so many rows lie before it, and whether it is on a row."""

    before: int
    on_row: bool

    def move(self, name: str) -> Query:
        """Go there from anywhere."""
        where = f"ABSOLUTE {self.before + 1 if self.on_row else 0}"
        if self.before and not self.on_row:
            where = "FORWARD ALL"
        return Query(f"MOVE {where} FROM {name}")


@frozen
class ReadCursor:
    """A cursor with all that is needed to make another one like it."""

    there: CursorThere
    shapes: Sequence[ShapeOfColumns] = ()
    rows: Sequence[Row] = ()
    position: Position = Position(0, False)
    #: its last FETCH failed, so that it has no rows for anybody
    broken: bool = False
    #: the copy that stands for it, on both sides under the same name
    parking: Parking | None = None
    size: int = 0

    @property
    def name(self) -> str:
        """As it is written in SQL."""
        return quote_identifier(self.there.name)


@define
class _Budget:
    """Bytes that may still be read, of all cursors of the session together."""

    left: int

    def take(self, rows: Sequence[Row], cursor: str) -> int:
        """Bytes of these rows. Raises CannotCarry above the limit."""
        size = sum(len(value) for row in rows for value in row if value is not None)
        self.left -= size
        if self.left < 0:
            raise CannotCarry((f"with the rows of cursor {cursor} its state is larger than max_state_size",))
        return size


# -- reading -------------------------------------------------------------------------------------------------------


def read_cursors(
    cursors: Sequence[CursorThere], limit: int, undo: Undo, *, given_up: bool = False
) -> Plan[list[ReadCursor]]:
    """All cursors of the old side; those that scroll stand where they stood afterwards.

    Where the old side is `given_up`, those that only scan forward need not be set aside.
    Raises CannotCarry, CannotGiveBack.
    """
    budget, found = _Budget(limit), []
    for number, there in enumerate(sorted(cursors, key=lambda each: not each.scrollable)):
        found.append((yield from _read(there, number, budget, undo, given_up)))
    return found


def _read(there: CursorThere, number: int, budget: _Budget, undo: Undo, given_up: bool) -> Plan[ReadCursor]:
    cursor = ReadCursor(there)
    described, stands = yield from ask(
        Side.OLD, DescribePortal(there.name), Query(f"MOVE FORWARD 0 FROM {cursor.name}")
    )
    if stands.error is not None and stands.error.sqlstate == _CANNOT_BE_RUN:
        return evolve(cursor, broken=True)
    _check(cursor, described, stands)
    shaped = yield from ask(Side.OLD, shape_query(described.columns))
    _check(cursor, *shaped)
    cursor = evolve(cursor, shapes=read_shapes(described.columns, shaped[0]))
    if there.scrollable:
        return (yield from _read_scrollable(cursor, stands.tags[-1] == "MOVE 1", number, budget, undo))
    if given_up and not there.binary:
        rows, size = yield from _read_rows(cursor.name, budget)
        return evolve(cursor, rows=rows, size=size, parking=Parking.number(number))
    parking = yield from park(there, cursor.shapes, number, undo)
    rows, size = yield from _read_rows(parking.name, budget)
    return evolve(cursor, rows=rows, size=size, parking=parking)


def _read_scrollable(
    cursor: ReadCursor, on_row: bool, number: int, budget: _Budget, undo: Undo
) -> Plan[ReadCursor]:
    """From its beginning, and back to where it stood."""
    (moved,) = yield from ask(Side.OLD, Query(f"MOVE BACKWARD ALL FROM {cursor.name}"))
    _check(cursor, moved)
    position = Position(int(moved.tags[-1].rpartition(" ")[2]), on_row)
    back = undo.add(lambda: _move_back(cursor, position))
    parking = None
    if cursor.there.binary:
        parking = yield from park(cursor.there, cursor.shapes, number, undo)
    rows, size = yield from _read_rows(parking.name if parking else cursor.name, budget)
    yield from _move_back(cursor, position)
    undo.done(back)
    return evolve(cursor, rows=rows, size=size, position=position, parking=parking)


def _move_back(cursor: ReadCursor, position: Position) -> Plan[None]:
    (answer,) = yield from ask(Side.OLD, position.move(cursor.name))
    _check(cursor, answer)


def _read_rows(name: str, budget: _Budget) -> Plan[tuple[list[Row], int]]:
    """All rows from where it stands, and their size in bytes."""
    found: list[Row] = []
    size, number = 0, _FIRST_ROWS
    while True:
        (answer,) = yield from ask(Side.OLD, Query(f"{EXACT}FETCH FORWARD {number} FROM {name}"))
        if answer.error is not None:
            raise CarryFailed(f"reading cursor {name}", answer.error)
        size += budget.take(answer.rows, name)
        found += answer.rows
        if len(answer.rows) < number:
            return found, size
        number = max(1, _PIECE * len(found) // max(1, size))


# -- making --------------------------------------------------------------------------------------------------------


def make_cursor(cursor: ReadCursor) -> Plan[None]:
    """A cursor like it on the new side, verified, and standing at the same row. Raises CannotCarry."""
    if cursor.broken:
        yield from _make_broken(cursor)
        return
    name = cursor.parking.name if cursor.parking else cursor.name
    rowset = Rowset(cursor.shapes, cursor.rows)
    (answer,) = yield from ask(
        Side.NEW, Query(f"{EXACT}DECLARE {name} SCROLL CURSOR WITH HOLD FOR {rowset.query}")
    )
    _check(cursor, answer)
    yield from _verify_rows(cursor, name)
    requests: tuple[Query, ...] = ()
    if cursor.parking is not None:
        requests = unpark_requests(cursor.there, cursor.shapes, cursor.parking)
    if cursor.there.scrollable:
        requests = (*requests, cursor.position.move(cursor.name))
    *answers, described = yield from ask(Side.NEW, *requests, DescribePortal(cursor.there.name))
    _check(cursor, *answers, described)
    if described.columns != tuple(each.column for each in cursor.shapes):
        raise CannotCarry((f"cursor {cursor.name} would have other columns",))


def _make_broken(cursor: ReadCursor) -> Plan[None]:
    """Have it fail the way it did: by reading a row again that only comes once."""
    _, _, failed = yield from ask(
        Side.NEW,
        Query(f"DECLARE {cursor.name} NO SCROLL CURSOR WITH HOLD FOR SELECT 1"),
        Query(f"MOVE FORWARD 1 FROM {cursor.name}"),
        Query(f"FETCH FORWARD 0 FROM {cursor.name}"),
    )
    if failed.error is None or failed.error.sqlstate != _CANNOT_BE_RUN:
        raise CannotCarry(
            (f"cursor {cursor.name} cannot be run any more, and no other one could be made so",)
        )


def _verify_rows(cursor: ReadCursor, name: str) -> Plan[None]:
    """The new side's cursor gives the rows that were read, and no more."""
    start, step = 0, max(1, _PIECE * len(cursor.rows) // max(1, cursor.size))
    while True:
        (answer,) = yield from ask(Side.NEW, Query(f"{EXACT}FETCH FORWARD {step} FROM {name}"))
        _check(cursor, answer)
        if answer.rows != tuple(cursor.rows[start : start + step]):
            raise CannotCarry((f"cursor {cursor.name} would have other rows",))
        if len(answer.rows) < step:
            return
        start += step


def _check(cursor: ReadCursor, *answers: Answer) -> None:
    for answer in answers:
        if answer.error is not None:
            raise CannotCarry((f"cursor {cursor.name}: {answer.error.message}",))
