"""Replays of statements that draw from sequences: the client keeps the numbers it was told (correctness rule 31). Pure.

A server logs sequences ahead, so its successor gives other numbers, and a sequence may even stand before those that
clients have seen. So `INSERT ... RETURNING id` is replayed with the ids that it returned, `SELECT nextval('s')` is not
sent but answered as before, and sequences are moved past both.

In two steps, as the second needs the catalog: `wanted` says what to ask, and `plan` decides.

Limits: a rewritten statement leaves currval() and lastval() as they were; texts are read as with
standard_conforming_strings on and in UTF-8; numbers that the client was not shown are drawn anew.

Used by: failover's replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from helios_trio.errors import ProtocolViolation
from helios_trio.failover.sequence_catalog import Catalog, ColumnFacts, SequenceFacts, catalog_query
from helios_trio.failover.sequence_places import spliced
from helios_trio.failover.sequence_shapes import Cell, Draws, Insertion, shape_of
from helios_trio.sql.quote import quote_identifier
from helios_trio.wire.backend_messages import DataRow, FieldDescription, RowDescription

#: int8, int2, int4
_INTEGERS: Final = frozenset({20, 21, 23})


class ReplayMode(StrEnum):
    """How a statement is done again."""

    AS_IT_IS = "as it is"
    #: another text is sent in its place, with the same parameters
    REWRITTEN = "rewritten"
    #: nothing is sent: it did nothing else than draw what its answer tells
    FROM_RECORD = "from record"


@frozen
class Recorded:
    """What the client was answered."""

    #: body of the RowDescription that describes the rows
    columns: bytes
    #: bodies of the DataRows
    rows: Sequence[bytes]
    #: result formats as in the Bind; None: those in `columns`
    formats: Sequence[int] | None = None


@frozen
class ReplayPlan:
    """How to replay one statement."""

    mode: ReplayMode
    #: what to send, where it is rewritten
    text: bytes | None = None
    #: values that these sequences must have passed before anybody else draws from them
    must_pass: Mapping[SequenceFacts, int] = field(factory=dict)


AS_IT_IS: Final = ReplayPlan(ReplayMode.AS_IT_IS)


@frozen
class Wanted:
    """A statement that may have to be replayed otherwise than it is, and what the catalog must tell for that."""

    text: str
    shape: Draws | Insertion
    fields: tuple[FieldDescription, ...]
    #: by row the integers returned, None for what is no integer
    values: tuple[tuple[int | None, ...], ...]

    @property
    def tables(self) -> tuple[int, ...]:
        """OIDs of tables."""
        return tuple(sorted({each.table_oid for each in self.fields if each.table_oid}))

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of sequences, as the client wrote them."""
        return self.shape.names if isinstance(self.shape, Draws) else self.shape.sequences

    @property
    def query(self) -> str:
        """What to ask, in the session that replays; its rows make a `Catalog`."""
        return catalog_query(self.tables, tuple(dict.fromkeys(self.sequences)))


def wanted(text: bytes, recorded: Recorded) -> Wanted | None:
    """Look at a statement and its answer; None: it is replayed as it is."""
    try:
        statement = text.decode()
        shape = shape_of(statement)
        if shape is None or not recorded.rows:
            return None
        fields = RowDescription.decode(recorded.columns).fields
        values = tuple(_integers(fields, row, recorded.formats) for row in recorded.rows)
    except (ValueError, ProtocolViolation):  # not UTF-8; a number in the other format than was said
        return None
    found = Wanted(statement, shape, fields, values)
    if isinstance(shape, Draws):
        complete = len(fields) == len(shape.names) and all(None not in row for row in values)
        return found if complete else None
    return found if len(found.tables) == 1 and len(values) == len(shape.order) else None


def plan(found: Wanted, catalog: Catalog) -> ReplayPlan:
    """Decide, now that the catalog is known."""
    if isinstance(found.shape, Draws):
        return _plan_draws(found.shape, found, catalog)
    return _plan_insertion(found.shape, found, catalog)


def _plan_draws(shape: Draws, found: Wanted, catalog: Catalog) -> ReplayPlan:
    passed = _Passed()
    for name, column in zip(shape.names, zip(*found.values, strict=True), strict=True):
        sequence = catalog.names.get(name)
        if sequence is None or sequence.cycles:
            return AS_IT_IS
        passed.note(sequence, [value for value in column if value is not None])
    return ReplayPlan(ReplayMode.FROM_RECORD, None, passed.furthest)


@define
class _Passed:
    """What each sequence has given."""

    furthest: dict[SequenceFacts, int] = field(factory=dict)

    def note(self, sequence: SequenceFacts, values: Iterable[int]) -> None:
        known = [self.furthest[sequence]] if sequence in self.furthest else []
        self.furthest[sequence] = sequence.furthest([*known, *values])


@define
class _Filling:
    """What is put into an INSERT: values for columns it does not list, and in place of DEFAULT and nextval()."""

    added: list[tuple[ColumnFacts, list[int]]] = field(factory=list)
    #: by row and position in it
    replaced: dict[tuple[int, int], int] = field(factory=dict)
    passed: _Passed = field(factory=_Passed)
    overriding: bool = False


def _plan_insertion(shape: Insertion, found: Wanted, catalog: Catalog) -> ReplayPlan:
    (oid,) = found.tables
    columns = catalog.tables.get(oid, [])
    names = _listed(shape, columns)
    filling = _Filling()
    for column in columns:
        values = _returned(found, column.number)
        if values is None:
            continue
        if names is None or not _fill(filling, shape, names, column, values, catalog):
            return AS_IT_IS
    if not filling.added and not filling.replaced:
        return AS_IT_IS
    text = spliced(found.text, _changes(shape, names or (), filling))
    return ReplayPlan(ReplayMode.REWRITTEN, text.encode(), filling.passed.furthest)


def _listed(shape: Insertion, columns: Sequence[ColumnFacts]) -> tuple[str, ...] | None:
    """The columns that get the values; without a list, the first ones of the table."""
    if shape.columns is not None:
        return shape.columns
    count = len(shape.rows[0])
    return tuple(column.name for column in columns[:count]) if count <= len(columns) else None


def _returned(found: Wanted, number: int) -> list[int] | None:
    """By row of VALUES what a column was returned as; None: it was not, or not as one certain integer."""
    positions = [at for at, each in enumerate(found.fields) if each.column == number and each.table_oid]
    if not positions or not isinstance(found.shape, Insertion):
        return None
    values: dict[int, int] = {}
    for row, returned in zip(found.shape.order, found.values, strict=True):
        different = {returned[at] for at in positions}
        known = [value for value in different if value is not None]  # RETURNING old.id is null
        if len(known) != 1:
            return None
        values[row] = known[0]
    return [values[row] for row in range(len(values))]


def _fill(
    filling: _Filling,
    shape: Insertion,
    names: tuple[str, ...],
    column: ColumnFacts,
    values: list[int],
    catalog: Catalog,
) -> bool:
    """Note what a returned column has to be given; false: that is not certain."""
    changed: list[tuple[SequenceFacts, int]] = []
    if column.name not in names:
        if column.sequence is None:
            return True
        filling.added.append((column, values))
        changed = [(column.sequence, value) for value in values]
    else:
        position = names.index(column.name)
        for number, row in enumerate(shape.rows):
            cell = row[position]
            sequence = column.sequence if cell is Cell.DEFAULT else catalog.names.get(str(cell))
            if isinstance(cell, str) and sequence is None:
                return False
            if cell is not Cell.GIVEN and sequence is not None:
                filling.replaced[number, position] = values[number]
                changed.append((sequence, values[number]))
    for sequence, value in changed:
        filling.passed.note(sequence, [value])
    filling.overriding |= bool(changed) and column.always
    used = shape.excluded is None or column.name in shape.excluded
    return not changed or not (used or any(sequence.cycles for sequence, _ in changed))


def _changes(shape: Insertion, names: Sequence[str], filling: _Filling) -> list[tuple[int, int, str]]:
    """What to put where."""
    places, found = shape.places, []
    for (row, position), value in filling.replaced.items():
        found.append((*places.rows[row].values[position], str(value)))
    added = [quote_identifier(column.name) for column, _ in filling.added]
    head = "OVERRIDING SYSTEM VALUE " if filling.overriding and not shape.overriding else ""
    if added and places.columns_end is None:
        head = f"({', '.join([*map(quote_identifier, names), *added])}) {head}"
    elif added and places.columns_end is not None:
        found.append((places.columns_end, places.columns_end, "".join(f", {name}" for name in added)))
    if places.default_end is not None:
        values = ", ".join(str(column_values[0]) for _, column_values in filling.added)
        return [*found, (places.source, places.default_end, f"{head}VALUES ({values})")]
    if head:
        found.append((places.source, places.source, head))
    for number, place in enumerate(places.rows):
        literals = [_literal(values[number], shape) for _, values in filling.added]
        if literals:
            found.append((place.end, place.end, "".join(f", {literal}" for literal in literals)))
    return [*found, *_selected(shape, len(added))]


def _literal(value: int, shape: Insertion) -> str:
    """Columns of a VALUES in FROM have types of their own."""
    return str(value) if shape.source is None else f"'{value}'::pg_catalog.int8"


def _selected(shape: Insertion, count: int) -> list[tuple[int, int, str]]:
    """INSERT ... SELECT: names for what was added to its VALUES, and their selection."""
    places = shape.places
    if not count or shape.source is None or places.select_from is None or places.names_end is None:
        return []
    names = [f"helios_{number}" for number in range(count)]
    source = quote_identifier(shape.source)
    chosen = "".join(f", {source}.{name}" for name in names)
    return [
        (places.select_from, places.select_from, f"{chosen} "),
        (places.names_end, places.names_end, "".join(f", {name}" for name in names)),
    ]


def _integers(
    fields: Sequence[FieldDescription], row: bytes, formats: Sequence[int] | None
) -> tuple[int | None, ...]:
    values = DataRow.decode(row).values
    found = []
    for at, (each, value) in enumerate(zip(fields, values, strict=False)):
        binary = each.format if formats is None else _format(formats, at)
        found.append(_integer(each.type_oid, value, bool(binary)))
    return tuple(found)


def _format(formats: Sequence[int], at: int) -> int:
    """As in Bind: none means text, one is for all."""
    if not formats:
        return 0
    return formats[at] if len(formats) > 1 else formats[0]


def _integer(type_oid: int, value: bytes | None, binary: bool) -> int | None:
    if value is None or type_oid not in _INTEGERS:
        return None
    return int.from_bytes(value, "big", signed=True) if binary else int(value)
