"""The COPY texts that bring a table's rows across.

Binary where both servers are of one release and the types allow it (`Column.binary`), else text. Rows come in the
order in which the old table has them.

The texts begin with SET LOCAL statements: those of the old side make it one implicit transaction, as everything on that
side is, and those of the new side belong to the transaction that builds the objects. So no further round trip is needed
for roles and settings.

Used by: session.carrying.temporary.restore.
"""

from __future__ import annotations

from helios_trio.session.carrying.temporary.environment import (
    TEMPORARY_FIRST,
    as_role,
    ascii_identifier,
    reading,
)
from helios_trio.session.carrying.temporary.objects import TableRows
from helios_trio.sql.quote import set_statement


def copy_out(table: TableRows, *, binary: bool) -> str:
    """The old side's text."""
    return reading(f"COPY {_target(table)} TO STDOUT{_format(binary)}", role=table.owner)


def copy_in(table: TableRows, *, search_path: str, binary: bool) -> str:
    """The new side's text. Functions in constraints and generated columns find what they did for the client.

    Unless the names of tables may be among the values (regclass): those are read as they were written.
    """
    path = TEMPORARY_FIRST
    if table.binary:
        path = set_statement("search_path", search_path).replace("SET", "SET LOCAL", 1)
    return f"{path};\n{as_role(table.owner)};\nCOPY {_target(table)} FROM STDIN{_format(binary)}"


def _target(table: TableRows) -> str:
    """The table and its columns; one without columns has rows as well, and cannot list them."""
    columns = f" ({', '.join(map(ascii_identifier, table.columns))})" if table.columns else ""
    return f"pg_temp.{ascii_identifier(table.name)}{columns}"


def _format(binary: bool) -> str:
    return " (FORMAT binary)" if binary else ""
