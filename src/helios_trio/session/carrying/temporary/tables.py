"""CREATE TABLE and what completes it, from what the catalogs say.

Inheritance comes in two ways. A partition is made with all its columns and attached, as its columns may stand in
another order than its parent's. A child of an ordinary parent is made with INHERITS, which remembers which columns
are its own, if that gives the columns in their order; else with all columns, and joined to its parents afterwards,
which is right only if all columns are its own.

Columns that were dropped are left out: numbers of columns change, as they do with pg_dump.

Used by: session.carrying.temporary.capture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen

from helios_trio.session.carrying.temporary.catalog import Column, Constraint, Inheritance, Table
from helios_trio.session.carrying.temporary.catalog import Sequence as Counter
from helios_trio.session.carrying.temporary.closure import CLASS, CONSTRAINT
from helios_trio.session.carrying.temporary.naming import storage_options, temp
from helios_trio.session.carrying.temporary.nodes import Kind, Node, Part
from helios_trio.session.carrying.temporary.privileges import grant_statements
from helios_trio.sql.kinds import OnCommit
from helios_trio.sql.quote import quote_identifier

#: the first release in which NOT NULL is a constraint with a name
NAMED_NOT_NULL_SINCE = 18
_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "x": "EXTENDED", "m": "MAIN"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


@frozen
class TableParts:
    """A table with what belongs to it. `major` is the version of the server it was read from."""

    table: Table
    columns: tuple[Column, ...]
    parents: tuple[Inheritance, ...]
    constraints: tuple[Constraint, ...]
    #: number of a column -> the sequence of its identity
    identities: Mapping[int, Counter]
    on_commit: OnCommit
    major: int

    @property
    def inherits(self) -> bool:
        """Whether INHERITS gives the columns in their order."""
        if self.table.bound is not None or not self.parents:
            return False
        merged = dict.fromkeys(name for parent in self.parents for name in parent.columns)
        merged |= dict.fromkeys(each.name for each in self.columns if each.local)
        return list(merged) == [each.name for each in self.columns]

    @property
    def joins(self) -> bool:
        """Whether it is made by itself and joined to its parents."""
        return bool(self.parents) and self.table.bound is None and not self.inherits

    @property
    def can_be_made(self) -> bool:
        """Whether one of the ways gives the same table."""
        if not self.joins:
            return True
        inherited = [each.local for each in self.constraints if each.type in "cn"]
        return all(each.local for each in self.columns) and all(inherited)

    def is_own(self, part: Column | Constraint) -> bool:
        """Whether CREATE TABLE says it; else it comes with a parent."""
        return part.local or not self.inherits


def table_node(parts: TableParts, default_grantees: tuple[str, ...]) -> Node:
    """The table without its rows, and without the constraints that can wait for them."""
    table = parts.table
    what = f"TABLE {temp(table.name)}"
    return Node(
        key=(CLASS, table.oid),
        kind=Kind.TABLE,
        name=table.name,
        owner=table.owner,
        first=(_create(parts), *_joined(parts), *_altered(parts)),
        last=(
            *_checks_not_validated(parts),
            *_row_security(table),
            *grant_statements(what, table.owner, table.grants, default_grantees),
            *column_grants(what, table.owner, parts.columns),
        ),
        named={
            (CLASS, table.oid, 0): what,
            **named_columns(temp(table.name), parts.columns),
            **named_constraints(temp(table.name), (each for each in parts.constraints if each.type in "cn")),
        },
    )


def column_grants(what: str, owner: str, columns: Iterable[Column]) -> Iterator[str]:
    """Privileges on columns of a table or view."""
    for each in columns:
        yield from grant_statements(what, owner, each.grants, column=each.name)


def named_columns(relation: str, columns: Iterable[Column]) -> dict[Part, str]:
    """Columns as COMMENT names them."""
    return {
        (CLASS, each.relation, each.number): f"COLUMN {relation}.{quote_identifier(each.name)}"
        for each in columns
    }


def named_constraints(where: str, constraints: Iterable[Constraint]) -> dict[Part, str]:
    """Constraints of a table, or of "DOMAIN pg_temp.d", as COMMENT names them."""
    return {
        (CONSTRAINT, each.oid, 0): f"CONSTRAINT {quote_identifier(each.name)} ON {where}"
        for each in constraints
    }


def _create(parts: TableParts) -> str:
    table = parts.table
    elements = [_column(parts, each) for each in parts.columns if parts.is_own(each)]
    elements += [
        named_constraint(each) for each in parts.constraints if is_inline(each) and parts.is_own(each)
    ]
    text = f"CREATE TEMP TABLE {temp(table.name)} ({', '.join(elements)})"
    if parts.inherits:
        text += f" INHERITS ({', '.join(each.parent_sql for each in parts.parents)})"
    if table.partition_key is not None:
        text += f" PARTITION BY {table.partition_key}"
    if table.access_method is not None:
        text += f" USING {table.access_method}"
    options = storage_options(table.options or ()) + storage_options(table.toast_options or (), "toast.")
    if options:
        text += f" WITH ({', '.join(options)})"
    if parts.on_commit is OnCommit.DELETE:
        text += " ON COMMIT DELETE ROWS"
    if table.tablespace is not None:
        text += f" TABLESPACE {table.tablespace}"
    return text


def is_inline(constraint: Constraint) -> bool:
    """Whether it is made with the table: rows are checked as they come, with the client's own search_path.

    In CREATE TABLE every constraint becomes a validated one.
    """
    return constraint.type in "cn" and (constraint.validated or not constraint.enforced)


def _column(parts: TableParts, column: Column) -> str:
    text = f"{quote_identifier(column.name)} {column.type}"
    if column.collation is not None:
        text += f" COLLATE {column.collation}"
    if column.generated:
        text += (
            f" GENERATED ALWAYS AS ({column.default}) {'STORED' if column.generated == 's' else 'VIRTUAL'}"
        )
    elif column.default is not None:
        text += f" DEFAULT {column.default}"
    if (sequence := parts.identities.get(column.number)) is not None:
        text += f" {_identity(column, sequence)}"
    if column.not_null and parts.major < NAMED_NOT_NULL_SINCE:
        text += " NOT NULL"
    return text


def _identity(column: Column, sequence: Counter) -> str:
    how = "ALWAYS" if column.identity == "a" else "BY DEFAULT"
    return f"GENERATED {how} AS IDENTITY (SEQUENCE NAME {temp(sequence.name)} {sequence_options(sequence)})"


def sequence_options(sequence: Counter) -> str:
    """What ALTER SEQUENCE can set, other than the position."""
    return (
        f"INCREMENT BY {sequence.increment} MINVALUE {sequence.minimum} MAXVALUE {sequence.maximum}"
        f" START WITH {sequence.start} CACHE {sequence.cache} {'CYCLE' if sequence.cycle else 'NO CYCLE'}"
    )


def named_constraint(constraint: Constraint) -> str:
    """A constraint as an element of CREATE TABLE, or after ADD."""
    return f"CONSTRAINT {quote_identifier(constraint.name)} {constraint.definition}"


def _joined(parts: TableParts) -> Iterator[str]:
    """To its parents and its row type, where CREATE TABLE did not do that."""
    name = temp(parts.table.name)
    for each in parts.parents:
        if parts.table.bound is not None:
            yield f"ALTER TABLE ONLY {each.parent_sql} ATTACH PARTITION {name} {parts.table.bound}"
        elif parts.joins:
            yield f"ALTER TABLE ONLY {name} INHERIT {each.parent_sql}"
    if parts.table.of_type is not None:
        yield f"ALTER TABLE ONLY {name} OF {parts.table.of_type}"


def _altered(parts: TableParts) -> Iterator[str]:
    """Properties of columns that CREATE TABLE does not take, or that an inherited column has of its own."""
    changes = [change for each in parts.columns for change in _changes(parts, each)]
    if changes:
        yield f"ALTER TABLE ONLY {temp(parts.table.name)} {', '.join(changes)}"


def _changes(parts: TableParts, column: Column) -> Iterator[str]:
    alter = f"ALTER COLUMN {quote_identifier(column.name)}"
    if not parts.is_own(column):
        if not column.generated:
            yield f"{alter} " + (
                f"SET DEFAULT {column.default}" if column.default is not None else "DROP DEFAULT"
            )
        if column.not_null and parts.major < NAMED_NOT_NULL_SINCE:
            yield f"{alter} SET NOT NULL"
    if column.storage is not None:
        yield f"{alter} SET STORAGE {_STORAGE[column.storage]}"
    if column.compression:
        yield f"{alter} SET COMPRESSION {_COMPRESSION[column.compression]}"
    if column.statistics is not None:
        yield f"{alter} SET STATISTICS {column.statistics}"
    if column.options:
        yield f"{alter} SET ({', '.join(storage_options(column.options))})"


def _checks_not_validated(parts: TableParts) -> Iterator[str]:
    for each in parts.constraints:
        if each.type in "cn" and not is_inline(each) and parts.is_own(each):
            yield f"ALTER TABLE {temp(parts.table.name)} ADD {named_constraint(each)}"


def _row_security(table: Table) -> Iterator[str]:
    if table.row_security:
        yield f"ALTER TABLE ONLY {temp(table.name)} ENABLE ROW LEVEL SECURITY"
    if table.forced:
        yield f"ALTER TABLE ONLY {temp(table.name)} FORCE ROW LEVEL SECURITY"
