"""What the catalog knows of sequences: which columns they fill, and which way they count. Pure: text and rows.

`catalog_query` is asked in the session that replays, so that names mean what they meant to its client; `Catalog` reads
its rows. `pass_query` moves a sequence past a value.

Used by: failover.sequences; the replay of sessions runs the queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from helios_trio.sql.quote import quote_literal

#: How often one statement draws at most: servers log 32 values ahead, so that more are seldom needed.
MAX_DRAWS: Final = 10_000

_SEQUENCE: Final = """s.seqrelid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(r.relname),
       s.seqincrement, s.seqcycle
"""
_SEQUENCE_FROM: Final = """pg_catalog.pg_sequence AS s JOIN pg_catalog.pg_class AS r ON r.oid = s.seqrelid
       JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace"""

# A default counts if it is nextval() of one sequence and nothing else. Identity columns own theirs.
_COLUMNS: Final = f"""
SELECT a.attrelid, a.attnum, a.attname::text, a.attidentity::text, {_SEQUENCE}
  FROM pg_catalog.pg_attribute AS a
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relhasrules
  LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '^nextval[(]''([^'']|'''')+''::regclass[)]$'
  LEFT JOIN pg_catalog.pg_depend AS p
       ON a.attidentity <> '' AND p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid = a.attrelid
          AND p.refobjsubid = a.attnum AND p.classid = 'pg_catalog.pg_class'::regclass AND p.deptype = 'i'
       OR d.oid IS NOT NULL AND p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
          AND p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid <> a.attrelid
  LEFT JOIN ({_SEQUENCE_FROM})
       ON s.seqrelid = CASE a.attidentity WHEN '' THEN p.refobjid ELSE p.objid END
 WHERE a.attrelid IN ({{tables}}) AND a.attnum > 0 AND NOT a.attisdropped
"""
_NAMES: Final = f"""
SELECT 0, 0, w.name, '', {_SEQUENCE}
  FROM (VALUES {{names}}) AS w (name), {_SEQUENCE_FROM}
 WHERE s.seqrelid = pg_catalog.to_regclass(w.name)
"""


@frozen
class SequenceFacts:
    """One sequence."""

    oid: int
    #: with its schema, quoted where needed
    name: str
    increment: int
    #: it begins anew at its end, so that there is no "past" a value
    cycles: bool

    def furthest(self, values: Iterable[int]) -> int:
        """The one of these values that it comes to last."""
        return max(values) if self.increment > 0 else min(values)


@frozen
class ColumnFacts:
    """One column of a table."""

    number: int
    name: str
    #: an explicit value needs OVERRIDING SYSTEM VALUE
    always: bool
    #: what fills it where no value is given
    sequence: SequenceFacts | None


@define
class Catalog:
    """What the queries have told; empty where there was nothing to ask."""

    #: columns in order, by the table's OID
    tables: dict[int, list[ColumnFacts]] = field(factory=dict)
    #: by the name that the client has used
    names: dict[str, SequenceFacts] = field(factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Sequence[bytes | None]]) -> Catalog:
        """From the rows of `catalog_query`, in text format."""
        catalog = cls()
        for row in rows:
            table, number, name, identity, *rest = [None if each is None else each.decode() for each in row]
            assert table is not None
            assert number is not None
            assert name is not None
            sequence = _sequence(rest)
            if table != "0":
                column = ColumnFacts(int(number), name, identity == "a", sequence)
                catalog.tables.setdefault(int(table), []).append(column)
            elif sequence is not None:
                catalog.names[name] = sequence
        for columns in catalog.tables.values():
            columns.sort(key=lambda column: column.number)
        return catalog


def _sequence(columns: Sequence[str | None]) -> SequenceFacts | None:
    oid, name, increment, cycles = columns
    if oid is None or name is None or increment is None:
        return None
    return SequenceFacts(int(oid), name, int(increment), cycles == "t")


def catalog_query(tables: Sequence[int], names: Sequence[str]) -> str:
    """The query for these tables and sequences; one statement without parameters."""
    parts = []
    if tables:
        parts.append(_COLUMNS.format(tables=", ".join(map(str, tables))))
    if names:
        parts.append(_NAMES.format(names=", ".join(f"({quote_literal(name)}::text)" for name in names)))
    return "UNION ALL".join(parts)


def pass_query(sequence: SequenceFacts, value: int) -> str:
    """Draw from a sequence until what it gives next comes after `value`; others may draw meanwhile.

    One row with a boolean: false after MAX_DRAWS values that did not get there. At least one value is drawn.
    """
    name = quote_literal(sequence.name)
    before, after = ("<", ">=") if sequence.increment > 0 else (">", "<=")
    draw = f"pg_catalog.nextval({name}::regclass)"
    return (
        f"WITH RECURSIVE drawn (number, value) AS (SELECT 1, {draw} UNION ALL SELECT number + 1, {draw} FROM drawn"
        f" WHERE value {before} {value} AND number < {MAX_DRAWS})"
        f" SELECT pg_catalog.bool_or(value {after} {value}) FROM drawn"
    )


def merged(plans: Iterable[Mapping[SequenceFacts, int]]) -> dict[SequenceFacts, int]:
    """What sequences must pass for all of these."""
    found: dict[SequenceFacts, int] = {}
    for each in plans:
        for sequence, value in each.items():
            found[sequence] = sequence.furthest((value, found.get(sequence, value)))
    return found
