"""Statements whose replay may have to give what sequences gave the first time: recognised by their parse tree. Pure.

Everything else is None, and replayed as it is; the comparison of results then finds what differs.

Used by: failover.sequences.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final

from attrs import frozen
from pglast import parser

from helios_trio.failover.sequence_places import Places, Unexpected, find_places
from helios_trio.sql.calls import function_name
from helios_trio.sql.constants import Node, integer_literal, names_of, string_literal, type_name
from helios_trio.sql.walk import walk

_PLAIN_SELECT: Final = frozenset({"targetList", "fromClause", "limitOption", "op"})
_PLAIN_VALUES: Final = frozenset({"valuesLists", "limitOption", "op"})
_ORDERED_SELECT: Final = _PLAIN_SELECT | {"sortClause"}


class Cell(Enum):
    """What stands for a value in a row of VALUES, where it is no call of nextval()."""

    GIVEN = "given"
    DEFAULT = "default"


@frozen
class Draws:
    """A SELECT that does nothing but call nextval()."""

    #: the name of the sequence, by column
    names: tuple[str, ...]


@frozen
class Insertion:
    """An INSERT of rows that are written out in it."""

    #: columns as listed; None: no list
    columns: tuple[str, ...] | None
    #: by row what each value is: a string is the name of a sequence, whose nextval() is inserted
    rows: tuple[tuple[Cell | str, ...], ...]
    #: which of these rows is returned first, second and so on
    order: tuple[int, ...]
    #: it has OVERRIDING SYSTEM VALUE
    overriding: bool
    #: columns of EXCLUDED that ON CONFLICT uses; None: all of them, perhaps
    excluded: frozenset[str] | None
    places: Places
    #: for INSERT ... SELECT: the name of the VALUES that it selects from
    source: str | None = None

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences that it calls by name."""
        return tuple({cell: None for row in self.rows for cell in row if isinstance(cell, str)})


def shape_of(text: str) -> Draws | Insertion | None:
    """Recognise one statement. It is read as with standard_conforming_strings on."""
    try:
        statements = json.loads(parser.parse_sql_json(text))["stmts"]
    except (parser.ParseError, RecursionError, UnicodeEncodeError):
        return None
    if len(statements) != 1:
        return None
    ((kind, node),) = statements[0]["stmt"].items()
    if kind == "SelectStmt":
        return _draws(node)
    if kind == "InsertStmt" and "returningClause" in node:
        try:
            return _insertion(text, node)
        except Unexpected:
            return None
    return None


# -- SELECT nextval(...) ---------------------------------------------------------------------------------------


def _draws(node: Node) -> Draws | None:
    if not node.keys() <= _PLAIN_SELECT or not all(map(_is_series, node.get("fromClause", ()))):
        return None
    names = [_drawn_from(target["ResTarget"].get("val", {})) for target in node.get("targetList", ())]
    known = tuple(name for name in names if name is not None)
    return Draws(known) if known and len(known) == len(names) else None


def _is_series(item: Node) -> bool:
    """`FROM generate_series(1, $1)`, by which many values are drawn at once."""
    functions = item.get("RangeFunction", {}).get("functions", [])
    if len(functions) != 1:
        return False
    call = functions[0]["List"]["items"][0].get("FuncCall")
    if call is None or function_name(call) != "generate_series":
        return False
    return all("ParamRef" in each or integer_literal(each) is not None for each in call.get("args", ()))


def _drawn_from(value: Node) -> str | None:
    """The name of the sequence, where a value is nextval() of it, perhaps with a cast behind."""
    if "TypeCast" in value:
        value = value["TypeCast"].get("arg", {})
    call = value.get("FuncCall")
    if call is None or function_name(call) != "nextval" or len(call.get("args", ())) != 1:
        return None
    (name,) = call["args"]
    cast = name.get("TypeCast")
    if cast is not None and type_name(cast["typeName"]) == "regclass":
        name = cast["arg"]
    return string_literal(name)


# -- INSERT ----------------------------------------------------------------------------------------------------


def _insertion(text: str, node: Node) -> Insertion | None:
    override = node.get("override", "OVERRIDING_NOT_SET")
    if override == "OVERRIDING_USER_VALUE" or _changes_elsewhere(node):
        return None
    columns = node.get("cols")
    select = node.get("selectStmt", {}).get("SelectStmt")
    described: dict[str, Any] = {
        "columns": None if columns is None else tuple(each["ResTarget"]["name"] for each in columns),
        "overriding": override == "OVERRIDING_SYSTEM_VALUE",
        "excluded": _excluded(node.get("onConflictClause")),
    }
    if any("indirection" in each["ResTarget"] for each in columns or ()):
        return None
    if select is None or select.keys() <= _PLAIN_VALUES:
        return _of_values(text, node, select, described)
    return _of_select(text, node, select, described) if select.keys() <= _ORDERED_SELECT else None


def _changes_elsewhere(node: Node) -> bool:
    """A query in its WITH clause changes data, too, and may draw from sequences."""
    return walk({"WithClause": node.get("withClause", {}).get("ctes", [])}).changes_data


def _places(text: str, node: Node, *, select: bool) -> Places:
    relation = node["relation"]
    return find_places(
        text,
        relation.get("location", 0),
        alias="alias" in relation,
        columns="cols" in node,
        select=select,
    )


def _of_values(text: str, node: Node, select: Node | None, described: dict[str, Any]) -> Insertion | None:
    places = _places(text, node, select=False)
    if select is None:
        return Insertion(rows=((),), order=(0,), places=places, **described)
    rows = tuple(tuple(map(_cell, _items(row))) for row in select["valuesLists"])
    if [len(row) for row in rows] != [len(row.values) for row in places.rows]:
        return None
    return Insertion(rows=rows, order=tuple(range(len(rows))), places=places, **described)


def _items(row: Node) -> list[Node]:
    found: list[Node] = row["List"]["items"]
    return found


def _cell(value: Node) -> Cell | str:
    if "SetToDefault" in value:
        return Cell.DEFAULT
    return _drawn_from(value) or Cell.GIVEN


def _of_select(text: str, node: Node, select: Node, described: dict[str, Any]) -> Insertion | None:
    """`SELECT p0::varchar FROM (VALUES ($1, 0), ($2, 1)) AS v (p0, counter) ORDER BY counter`, as SQLAlchemy has it."""
    (item,) = select.get("fromClause", ()) if len(select.get("fromClause", ())) == 1 else ({},)
    subselect = item.get("RangeSubselect", {})
    values = subselect.get("subquery", {}).get("SelectStmt", {})
    alias = subselect.get("alias", {})
    names = names_of(alias.get("colnames", []))
    if "valuesLists" not in values or not values.keys() <= _PLAIN_VALUES or "lateral" in subselect:
        return None
    rows = [_items(row) for row in values["valuesLists"]]
    order = _order(rows, names, select.get("sortClause", ()))
    if order is None or described["columns"] is None or len(names) != len(rows[0]):
        return None
    if any(_draws_in(each) for each in (values, {"List": select["targetList"]})):
        return None
    given = (Cell.GIVEN,) * len(described["columns"])
    places = _places(text, node, select=True)
    if [len(row) for row in rows] != [len(row.values) for row in places.rows]:
        return None
    return Insertion(
        rows=(given,) * len(rows), order=order, places=places, source=alias["aliasname"], **described
    )


def _order(rows: list[list[Node]], names: tuple[str, ...], sort: Any) -> tuple[int, ...] | None:
    """The order of rows by a column of different integers; None: it is not certain."""
    if len(rows) == 1:
        return (0,)
    by = sort[0]["SortBy"] if len(sort) == 1 else {}
    fields = names_of(by.get("node", {}).get("ColumnRef", {}).get("fields", []))
    ascending = by.get("sortby_dir") in ("SORTBY_DEFAULT", "SORTBY_ASC")
    if not fields or not ascending or names.count(fields[-1]) != 1:
        return None
    position = names.index(fields[-1])
    keys = [integer_literal(row[position]) for row in rows]
    known = [key for key in keys if key is not None]
    if len(set(known)) != len(rows):
        return None
    return tuple(sorted(range(len(rows)), key=known.__getitem__))


def _draws_in(node: Node) -> bool:
    return any(function_name(call) == "nextval" for call in walk(node).calls)


def _excluded(clause: Node | None) -> frozenset[str] | None:
    """The columns of EXCLUDED that ON CONFLICT DO UPDATE names."""
    found: set[str] = set()
    pending: list[Any] = [clause]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            fields = node.get("ColumnRef", {}).get("fields", ())
            names = names_of(list(fields))
            if "excluded" in names[:1]:
                if len(names) != 2:
                    return None
                found.add(names[1])
            pending += node.values()
    return frozenset(found)
