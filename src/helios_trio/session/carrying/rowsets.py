"""Rows as one SELECT that gives them again: with the same names, types and modifiers of columns, without any table.

Each column becomes one array literal, which PostgreSQL reads with the input function of the column's own type, and
`unnest` makes rows of them. So nothing is created, no privilege is needed, and it works on a standby. There is no array
of arrays: those columns are read as text and cast.

Used by: session.carrying.cursors, session.carrying.parking (types of columns).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from helios_trio.session.carrying.steps import Answer, Column, Query, Row
from helios_trio.sql.quote import quote_identifier, quote_literal


@frozen
class ShapeOfColumns:
    """One column, with its type as SQL has it."""

    column: Column
    #: the type with its modifier, qualified where it must be
    type_name: str
    #: the type of its arrays; None where there is none
    array_name: str | None
    #: between elements of such an array
    delimiter: str

    @property
    def label(self) -> str:
        """Its name as an output column."""
        return quote_identifier(self.column.name)


def shape_query(columns: Sequence[Column]) -> Query:
    """Asks how the types of these columns are written."""
    oids = ", ".join(str(each.type) for each in columns)
    modifiers = ", ".join(str(each.modifier) for each in columns)
    return Query(
        "SET LOCAL search_path = pg_catalog;"
        " SELECT format_type(o, m), CASE WHEN typarray <> 0 THEN format_type(typarray, -1) END, typdelim"
        f" FROM unnest(ARRAY[{oids}]::oid[], ARRAY[{modifiers}]::int4[]) WITH ORDINALITY AS c(o, m, n)"
        " JOIN pg_type AS t ON t.oid = o ORDER BY n"
    )


def read_shapes(columns: Sequence[Column], answer: Answer) -> tuple[ShapeOfColumns, ...]:
    """The answer to `shape_query`."""
    return tuple(
        ShapeOfColumns(column, type_name or "", array_name, delimiter or ",")
        for column, (type_name, array_name, delimiter) in zip(columns, answer.rows, strict=True)
    )


@frozen
class Rowset:
    """Rows of text under these columns."""

    shapes: Sequence[ShapeOfColumns]
    rows: Sequence[Row]

    @property
    def query(self) -> str:
        """The SELECT. Read it with the settings that the values were written with."""
        if not self.shapes:
            return f"SELECT FROM pg_catalog.generate_series(1, {len(self.rows)})"
        output = (
            f"c{number}{_cast(each)} AS {each.label}" for number, each in enumerate(self.shapes, start=1)
        )
        arrays = (f"pg_catalog.unnest({self._array(at, each)})" for at, each in enumerate(self.shapes))
        names = ", ".join(f"c{number}" for number in range(1, len(self.shapes) + 1))
        return f"SELECT {', '.join(output)} FROM ROWS FROM ({', '.join(arrays)}) AS r({names})"

    def _array(self, at: int, shape: ShapeOfColumns) -> str:
        values = (row[at] for row in self.rows)
        delimiter = shape.delimiter if shape.array_name else ","
        literal = "{" + delimiter.join(_elements(values)) + "}"
        return f"{quote_literal(literal)}::{shape.array_name or 'pg_catalog.text[]'}"


def _cast(shape: ShapeOfColumns) -> str:
    """Elements of an array have lost their modifier; what was read as text has its type to get."""
    if shape.array_name is None or shape.column.modifier >= 0:
        return f"::{shape.type_name}"
    return ""


def _elements(values: Iterable[str | None]) -> Iterator[str]:
    """Values as elements of an array literal (PostgreSQL docs, "Array Input and Output Syntax")."""
    for value in values:
        if value is None:
            yield "NULL"
        else:
            yield '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
