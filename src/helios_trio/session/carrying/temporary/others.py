"""Sequences, types, functions and views.

Used by: session.carrying.temporary.capture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from attrs import frozen

from helios_trio.session.carrying.temporary.catalog import Column, Constraint
from helios_trio.session.carrying.temporary.catalog import Sequence as Counter
from helios_trio.session.carrying.temporary.catalog_others import Function, Type, View
from helios_trio.session.carrying.temporary.closure import CLASS, FUNCTION, TYPE
from helios_trio.session.carrying.temporary.naming import names, storage_options, temp
from helios_trio.session.carrying.temporary.nodes import Kind, Node
from helios_trio.session.carrying.temporary.privileges import grant_statements
from helios_trio.session.carrying.temporary.tables import (
    column_grants,
    named_columns,
    named_constraint,
    named_constraints,
    sequence_options,
)
from helios_trio.sql.quote import quote_identifier, quote_literal


@frozen
class OwningColumn:
    """The column that a sequence belongs to; `sql` is how OWNED BY names it."""

    sql: str
    identity: bool


def sequence_node(sequence: Counter, column: OwningColumn | None, default_grantees: tuple[str, ...]) -> Node:
    """A sequence; that of an identity column is made by its table and only completed here.

    The position comes with the rows.
    """
    what = f"SEQUENCE {temp(sequence.name)}"
    first: tuple[str, ...] = (f"CREATE TEMP {what} AS {sequence.type} {sequence_options(sequence)}",)
    owned: tuple[str, ...] = ()
    if column is not None:
        first, owned = ((), ()) if column.identity else (first, (f"ALTER {what} OWNED BY {column.sql}",))
    return Node(
        key=(CLASS, sequence.oid),
        kind=Kind.SEQUENCE,
        name=sequence.name,
        owner=sequence.owner,
        first=first,
        last=(*owned, *grant_statements(what, sequence.owner, sequence.grants, default_grantees)),
        named={(CLASS, sequence.oid, 0): what},
    )


def view_node(view: View, columns: Sequence[Column], default_grantees: tuple[str, ...]) -> Node:
    """A view."""
    name = temp(view.name)
    listed = f" ({names(each.name for each in columns)})" if columns else ""
    options = f" WITH ({', '.join(storage_options(view.options))})" if view.options else ""
    defaults = (
        f"ALTER VIEW {name} ALTER COLUMN {quote_identifier(each.name)} SET DEFAULT {each.default}"
        for each in columns
        if each.default is not None
    )
    return Node(
        key=(CLASS, view.oid),
        kind=Kind.VIEW,
        name=view.name,
        owner=view.owner,
        first=(f"CREATE TEMP VIEW {name}{listed}{options} AS {view.definition}", *defaults),
        last=(
            *grant_statements(f"TABLE {name}", view.owner, view.grants, default_grantees),
            *column_grants(f"TABLE {name}", view.owner, columns),
        ),
        named={(CLASS, view.oid, 0): f"VIEW {name}", **named_columns(name, columns)},
    )


def function_node(function: Function, default_grantees: tuple[str, ...]) -> Node:
    """A function or procedure."""
    signature = f"{temp(function.name)}({function.arguments})"
    what = f"{'PROCEDURE' if function.kind == 'p' else 'FUNCTION'} {signature}"
    return Node(
        key=(FUNCTION, function.oid),
        kind=Kind.FUNCTION,
        name=f"{function.name}({function.arguments})",
        owner=function.owner,
        first=(function.definition,),
        last=tuple(grant_statements(what, function.owner, function.grants, default_grantees)),
        named={(FUNCTION, function.oid, 0): what},
    )


def type_node(
    found: Type,
    columns: Sequence[Column],
    constraints: Sequence[Constraint],
    default_grantees: tuple[str, ...],
) -> Node:
    """A type of one of the kinds in `REBUILT`."""
    name = temp(found.name)
    what = f"{'DOMAIN' if found.kind == 'd' else 'TYPE'} {name}"
    return Node(
        key=(TYPE, found.oid),
        kind=Kind.TYPE,
        name=found.name,
        owner=found.owner,
        first=(_MAKERS[found.kind](found, columns, constraints),),
        last=(
            # values in the tables may be against them
            *(
                f"ALTER DOMAIN {name} ADD {named_constraint(each)}"
                for each in constraints
                if not each.validated
            ),
            *grant_statements(f"TYPE {name}", found.owner, found.grants, default_grantees),
        ),
        named={
            (TYPE, found.oid, 0): what,
            **named_columns(name, columns),
            **named_constraints(what, constraints),
        },
    )


def _composite(found: Type, columns: Sequence[Column], _: Sequence[Constraint]) -> str:
    listed = ", ".join(
        f"{quote_identifier(each.name)} {each.type}"
        + (f" COLLATE {each.collation}" if each.collation is not None else "")
        for each in columns
    )
    return f"CREATE TYPE {temp(found.name)} AS ({listed})"


def _enum(found: Type, _: Sequence[Column], __: Sequence[Constraint]) -> str:
    return f"CREATE TYPE {temp(found.name)} AS ENUM ({', '.join(map(quote_literal, found.labels))})"


def _range(found: Type, _: Sequence[Column], __: Sequence[Constraint]) -> str:
    options = {
        "SUBTYPE": found.subtype,
        "SUBTYPE_OPCLASS": found.operator_class and found.operator_class.rpartition(" USING ")[0],
        "COLLATION": found.range_collation,
        "SUBTYPE_DIFF": found.difference and found.difference.rpartition("(")[0],
        "MULTIRANGE_TYPE_NAME": found.multirange and temp(found.multirange),
    }
    given = ", ".join(f"{name} = {value}" for name, value in options.items() if value is not None)
    return f"CREATE TYPE {temp(found.name)} AS RANGE ({given})"


def _domain(found: Type, _: Sequence[Column], constraints: Sequence[Constraint]) -> str:
    text = f"CREATE DOMAIN {temp(found.name)} AS {found.base}"
    if found.collation is not None:
        text += f" COLLATE {found.collation}"
    if found.default is not None:
        text += f" DEFAULT {found.default}"
    if found.not_null and not any(each.type == "n" for each in constraints):
        text += " NOT NULL"  # before release 17 it has no name
    return " ".join([text, *(named_constraint(each) for each in constraints if each.validated)])


_Maker: TypeAlias = Callable[[Type, Sequence[Column], Sequence[Constraint]], str]
_MAKERS: Final[dict[str, _Maker]] = {"c": _composite, "e": _enum, "d": _domain, "r": _range}
#: the kinds of types that can be made again (pg_type.typtype)
REBUILT = frozenset(_MAKERS)
