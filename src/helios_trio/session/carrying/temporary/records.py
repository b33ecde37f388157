"""Records read from the catalogs: each class has, beside every field, the expression that gives it.

A record class says once what is asked and what comes back, and where an expression needs a certain release:

    @frozen
    class Column(Record):
        source = "pg_catalog.pg_attribute a WHERE a.attrelid = ANY ({tables})"
        name: str = text("a.attname")
        compression: str = text("a.attcompression", since=14)

All statements of one simple query put their rows into one answer; the first column tells them apart.

Used by: session.carrying.temporary (catalog, capture).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, cast

import attrs
from attrs import frozen

from helios_trio.session.carrying.steps import Row

R = TypeVar("R", bound="Record")


@frozen
class Record:
    """A row of a catalog. `source` is what follows FROM; names in braces are given by the caller."""

    source: ClassVar[str]

    @classmethod
    def select(cls, major: int, given: Mapping[str, str]) -> str:
        """The statement that reads these records from a server of this major version."""
        return _template(cast(Hashable, cls), major).format_map(given)

    @classmethod
    def of(cls, row: Row) -> Self:
        """The record in a row, whose first value is the class's name."""
        return cls(*row[1:])


#: the rows of one answer by the name of their record class
Found: TypeAlias = Mapping[str, Sequence[Row]]


def sorted_out(rows: Iterable[Row]) -> Found:
    """Rows of many kinds, told apart by their first value."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0] or ""].append(row)
    return found


def records(kind: type[R], found: Found) -> tuple[R, ...]:
    """All records of one kind."""
    return tuple(map(kind.of, found.get(kind.__name__, ())))


def oid_array(oids: Iterable[int]) -> str:
    """An array of OIDs, for `= ANY (...)`: found through an index, whatever the settings."""
    return "'{" + ",".join(map(str, sorted(oids))) + "}'::pg_catalog.oid[]"


def key_rows(keys: Iterable[tuple[int, int]]) -> str:
    """A sub-select of catalogs and OIDs; several arrays need ROWS FROM where unnest's schema is named."""
    catalogs, oids = zip(*keys, strict=True)
    columns = ("'{" + ",".join(map(str, each)) + "}'::pg_catalog.oid[]" for each in (catalogs, oids))
    return f"SELECT * FROM ROWS FROM ({', '.join(f'pg_catalog.unnest({each})' for each in columns)}) r"


def text(expression: str, *, since: int = 0) -> Any:
    """A field of text that is never NULL; '' before the release that knows it."""
    return _field(expression, since, "''", None)


def maybe(expression: str, *, since: int = 0) -> Any:
    """A field of text, or None."""
    return _field(expression, since, "NULL", None)


def integer(expression: str, *, since: int = 0) -> Any:
    """A whole number; 0 before the release that knows it."""
    return _field(expression, since, "0", int)


def flag(expression: str, *, since: int = 0, otherwise: bool = False) -> Any:
    """A truth value; NULL is false."""
    return _field(expression, since, str(otherwise).lower(), _is_true)


def listed(expression: str, *, since: int = 0) -> Any:
    """A JSON array, or None for NULL; arrays in it become tuples."""
    return _field(expression, since, "NULL", _from_json)


def _field(expression: str, since: int, otherwise: str, converter: Callable[[Any], Any] | None) -> Any:
    return attrs.field(converter=converter, metadata={"sql": (expression, since, otherwise)})


@cache
def _template(kind: Any, major: int) -> str:
    columns = [f"'{kind.__name__}'", *(_expression(each, major) for each in attrs.fields(kind))]
    return f"SELECT {', '.join(columns)} FROM {kind.source}"


def _expression(attribute: attrs.Attribute[Any], major: int) -> str:
    expression, since, otherwise = attribute.metadata["sql"]
    return str(expression if major >= since else otherwise)


def _is_true(value: str | None) -> bool:
    return value == "t"


def _from_json(value: str | None) -> Any:
    return None if value is None else _tupled(json.loads(value))


def _tupled(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(_tupled, value))
    return value
