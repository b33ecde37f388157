"""Setting a cursor aside: a scrollable copy of its rows, made by the server, under a name of our own (rule 11).

Reading a cursor that only scans forward destroys it, and one that gives binary rows has no text to carry. A copy made
inside the server can be measured, read, and read again. The same step the other way round makes the client's cursor of
the copy: on the new side to end the move, on the old side to take it back.

The copy is made by a temporary function, because SQL cannot select from a cursor. A role that may not have temporary
objects keeps its session where it is.

Used by: session.carrying.cursors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.rowsets import ShapeOfColumns
from helios_trio.session.carrying.steps import Plan, Query, Side, ask
from helios_trio.session.carrying.survey import UNHURRIED, CursorThere
from helios_trio.session.carrying.undo import CannotGiveBack, Undo
from helios_trio.sql.quote import quote_identifier, quote_literal

_FUNCTION: Final = "pg_temp.helios_rows_of"
#: A session may be read only by its settings: that is about tables.
_BEGIN: Final = f"SET LOCAL transaction_read_only = off; {UNHURRIED}"
_CREATE: Final = (
    f"CREATE FUNCTION {_FUNCTION}(pg_catalog.refcursor) RETURNS SETOF pg_catalog.record LANGUAGE plpgsql AS $$"
    "DECLARE r pg_catalog.record; BEGIN LOOP FETCH $1 INTO r; EXIT WHEN NOT FOUND; RETURN NEXT r; END LOOP; END$$; "
)
#: The rows are read at the end of the transaction: behind this statement the tag of DECLARE is known.
_END: Final = "; SELECT 1"
_DROP: Final = Query(
    f"SET LOCAL transaction_read_only = off; DROP FUNCTION IF EXISTS {_FUNCTION}(pg_catalog.refcursor)"
)


@frozen
class Parking:
    """The copy of a cursor."""

    portal: str

    @classmethod
    def number(cls, number: int) -> Parking:
        """The copy of a session's cursor of this number, counted by us."""
        return cls(f"helios_parked_{number}")

    @property
    def name(self) -> str:
        """As it is written in SQL."""
        return quote_identifier(self.portal)


def park(there: CursorThere, shapes: Sequence[ShapeOfColumns], number: int, undo: Undo) -> Plan[Parking]:
    """A copy of what is left of a cursor of the old side, which has no rows left afterwards.

    Raises CannotCarry, and CannotGiveBack for a server that failed between the rows.
    """
    if not shapes:
        raise CannotCarry((f'cursor "{there.name}" has no columns',))
    parking = Parking.number(number)
    copy = f"DECLARE {parking.name} SCROLL CURSOR WITH HOLD FOR {_rows_of(there.name, shapes)}"
    answer, _ = yield from ask(Side.OLD, Query(_BEGIN + _CREATE + copy + _END), _DROP)
    if answer.error is not None:
        reason = f'cursor "{there.name}" cannot be read without losing it: {answer.error.message}'
        if "DECLARE CURSOR" in answer.tags:
            raise CannotGiveBack(reason)
        raise CannotCarry((reason,))
    undo.add(lambda: _give_back(there, shapes, parking))
    return parking


def _rows_of(portal: str, shapes: Sequence[ShapeOfColumns]) -> str:
    output = ", ".join(f"c{number} AS {each.label}" for number, each in enumerate(shapes, start=1))
    types = ", ".join(f"c{number} {each.type_name}" for number, each in enumerate(shapes, start=1))
    return f"SELECT {output} FROM {_FUNCTION}({quote_literal(portal)}) AS r({types})"


def unpark_requests(
    there: CursorThere, shapes: Sequence[ShapeOfColumns], parking: Parking
) -> tuple[Query, ...]:
    """The client's cursor from the copy, which is closed."""
    kind = f"{'BINARY ' if there.binary else ''}{'SCROLL' if there.scrollable else 'NO SCROLL'}"
    declare = f"DECLARE {quote_identifier(there.name)} {kind} CURSOR WITH HOLD FOR {_rows_of(parking.portal, shapes)}"
    rewind = Query(f"MOVE ABSOLUTE 0 FROM {parking.name}")
    return rewind, Query(_BEGIN + _CREATE + declare + _END), _DROP, Query(f"CLOSE {parking.name}")


def _give_back(there: CursorThere, shapes: Sequence[ShapeOfColumns], parking: Parking) -> Plan[None]:
    """On the old side. One that scrolls was only read."""
    requests: tuple[Query, ...] = (Query(f"CLOSE {parking.name}"),)
    if not there.scrollable:
        close = Query(f"CLOSE {quote_identifier(there.name)}")
        requests = (close, *unpark_requests(there, shapes, parking))
    for answer in (yield from ask(Side.OLD, *requests)):
        if answer.error is not None:
            raise CarryFailed(f'giving back cursor "{there.name}"', answer.error)
