"""What the admin console answers with, as messages of the protocol: tables, notices, errors, tags. Pure.

Used by: admin.console_session, and the modules with its tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from helios_trio.errors import HeliosError
from helios_trio.wire.backend_messages import (
    DataRow,
    FieldDescription,
    NoticeResponse,
    RowDescription,
    error_response,
)
from helios_trio.wire.error_fields import ErrorFields

Row = Sequence[str | int | float | None]

#: Name -> oid and size of the types there are (pg_type).
_TYPES: Final = {
    "bytea": (17, -1),
    "int8": (20, 8),
    "int4": (23, 4),
    "text": (25, -1),
    "numeric": (1700, -1),
}
_INT4_MAX: Final = 2**31 - 1


@frozen
class Column:
    """A column of a table: its name, and PostgreSQL's name of its type."""

    name: str
    type: str = "text"

    @property
    def described(self) -> FieldDescription:
        """As RowDescription has it."""
        oid, size = _TYPES[self.type]
        return FieldDescription(self.name, 0, 0, oid, size, -1, 0)


def columns(**types: str) -> tuple[Column, ...]:
    """Columns in order, from names and types."""
    return tuple(Column(name, type) for name, type in types.items())


def row_description(columns: Sequence[Column]) -> bytes:
    """The message in front of the rows."""
    return RowDescription(tuple(each.described for each in columns)).encode()


def data_rows(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """A message for each row, made when it is asked for."""
    small = [each.type == "int4" for each in columns]
    for row in rows:
        yield DataRow(tuple(map(_text, row, small))).encode()


def _text(value: str | int | float | None, small: bool) -> bytes | None:
    """A value in text format; what does not fit in an int4 column is the most that does."""
    if value is None:
        return None
    if small and isinstance(value, int) and value > _INT4_MAX:
        value = _INT4_MAX
    return str(value).replace("\0", "").encode("utf-8", "surrogateescape")


def notice(message: str, detail: str = "") -> bytes:
    """A NOTICE."""
    fields = {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": message}
    if detail:
        fields["D"] = detail
    return NoticeResponse(ErrorFields.of(fields)).encode()


def failure(error: HeliosError, severity: str = "ERROR") -> bytes:
    """An ErrorResponse."""
    return error_response({**error.fields(), "S": severity, "V": severity})
