"""What kind of work a query is for the server: few rows by key (OLTP), many rows (OLAP), or nearest vectors.

From the parse tree alone, without sizes and statistics: a guess for rules about where queries should run, never one
that anything's correctness hangs on. Looked at are the query, the subqueries in its FROM and WITH, and the parts of
a UNION; a call of an aggregate counts wherever it stands. Called by `parse`, once per text.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

from .constants import Node, names_of


class Workload(StrEnum):
    """Who is good at it."""

    OLTP = "oltp"
    OLAP = "olap"
    VECTOR = "vector"


@frozen
class Work:
    """The class of a statement and what in its text has decided that."""

    kind: Workload
    why: str


TRANSACTIONAL: Final = Work(Workload.OLTP, "nothing in it asks for many rows")
_NEAREST: Final = Work(Workload.VECTOR, "ordered by distance")
_WINDOWS: Final = Work(Workload.OLAP, "window function")
_GROUPS: Final = Work(Workload.OLAP, "GROUP BY")
_AGGREGATES: Final = Work(Workload.OLAP, "aggregate")
_DISTINCT: Final = Work(Workload.OLAP, "DISTINCT")
_UNITED: Final = Work(Workload.OLAP, "UNION, INTERSECT or EXCEPT")
_JOINED: Final = Work(Workload.OLAP, "many joins")
_RANGE: Final = Work(Workload.OLAP, "a range of rows without LIMIT")

#: That many joins make a report of a look-up.
MANY_JOINS: Final = 4
# pgvector's, of which <-> is PostGIS's and pg_trgm's as well: they want an index of the same kind.
_DISTANCES: Final = frozenset({"<->", "<=>", "<#>", "<+>", "<~>", "<%>"})
_AGGREGATE_WORDS: Final = """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every
    json_agg json_agg_strict json_object_agg json_object_agg_strict json_object_agg_unique
    json_object_agg_unique_strict jsonb_agg jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict
    jsonb_object_agg_unique jsonb_object_agg_unique_strict max min mode percentile_cont percentile_disc range_agg
    range_intersect_agg regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
    stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance xmlagg
    """
_AGGREGATE_NAMES: Final = frozenset(_AGGREGATE_WORDS.split())
# Only aggregates are called with these.
_AGGREGATE_FIELDS: Final = ("agg_star", "agg_filter", "agg_within_group", "agg_distinct", "agg_order")
_STRUCTURE: Final = frozenset({"groupClause", "distinctClause", "larg", "withClause"})
_PICKING: Final = frozenset({"AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_IN"})
# So many nodes of a condition are looked at; it was made by somebody who may mean harm.
_LOOKED_AT: Final = 200


def query_in(name: str, node: Node) -> Node | None:
    """The query that a statement consists of (a SelectStmt without its wrapper), or None."""
    if name == "SelectStmt":
        return node
    if name in ("CopyStmt", "DeclareCursorStmt", "CreateTableAsStmt"):
        found: Node | None = node.get("query", {}).get("SelectStmt")
        return found
    return None


def work_of(query: Node, calls: list[Node]) -> Work:
    """The class of a query, of which `calls` are all the FuncCall nodes."""
    if "sortClause" in query and _is_nearest(query):
        return _NEAREST
    if calls and (found := _of_calls(calls)) is not None:
        return found
    if not _is_single(query) and (found := _of_structure(query)) is not None:
        return found
    return _RANGE if _is_range(query) else TRANSACTIONAL


def _is_single(query: Node) -> bool:
    """Whether it reads one relation or none, and nothing more: the most frequent case, quickly."""
    sources = query.get("fromClause")
    if sources is not None and (len(sources) > 1 or "RangeVar" not in sources[0]):
        return False
    return _STRUCTURE.isdisjoint(query)


def _of_calls(calls: list[Node]) -> Work | None:
    found: Work | None = None
    for call in calls:
        if "over" in call:
            return _WINDOWS
        if names_of(call["funcname"])[-1] in _AGGREGATE_NAMES or any(
            map(call.__contains__, _AGGREGATE_FIELDS)
        ):
            found = _AGGREGATES
    return found


def _of_structure(query: Node) -> Work | None:
    joins = -1
    for select in _levels(query):
        if "groupClause" in select:
            return _GROUPS
        if "distinctClause" in select:
            return _DISTINCT
        if "larg" in select:
            return _UNITED
        joins = max(joins, sum(1 for _ in _leaves(select.get("fromClause", []))) - 1)
    return _JOINED if joins >= MANY_JOINS else None


def _levels(query: Node) -> Iterator[Node]:
    """The query and those in its FROM and WITH, from the outside; the parts of a UNION are its own affair."""
    pending = [query]
    while pending:
        select = pending.pop()
        yield select
        pending += _selects(leaf.get("RangeSubselect", {}).get("subquery") for leaf in _leaves(_from(select)))
        ctes = select.get("withClause", {}).get("ctes", [])
        pending += _selects(item["CommonTableExpr"]["ctequery"] for item in ctes)


def _selects(nodes: Iterator[Any]) -> list[Node]:
    return [node["SelectStmt"] for node in nodes if node is not None and "SelectStmt" in node]


def _from(select: Node) -> list[Node]:
    found: list[Node] = select.get("fromClause", [])
    return found


def _leaves(items: list[Node]) -> Iterator[Node]:
    """What is joined, whether with JOIN or with a comma."""
    pending = list(items)
    while pending:
        item = pending.pop()
        join = item.get("JoinExpr")
        if join is None:
            yield item
        else:
            pending += (join["larg"], join["rarg"])


def _is_range(query: Node) -> bool:
    """Whether it reads a relation without a limit and without a condition that picks rows by their value."""
    if "limitCount" in query or "fromClause" not in query or _picks(query.get("whereClause")):
        return False
    return any("RangeVar" in leaf for leaf in _leaves(query["fromClause"]))


def _picks(condition: Node | None) -> bool:
    """Whether an equality, IN, or a subquery stands in a condition; a condition of a shape too large counts as one."""
    if condition is None:
        return False
    if "A_Expr" in condition:
        return _is_equality(condition["A_Expr"])
    pending = [condition]
    for _ in range(_LOOKED_AT):
        if not pending:
            return False
        ((name, node),) = pending.pop().items()
        if name == "BoolExpr":
            pending += node["args"]
        elif name in ("SubLink", "CurrentOfExpr") or (name == "A_Expr" and _is_equality(node)):
            return True
    return True


def _is_equality(expression: Node) -> bool:
    return expression["kind"] in _PICKING and names_of(expression["name"])[-1] == "="


def _is_nearest(query: Node) -> bool:
    """Whether it is ordered by a distance, written out or under the name of an output column."""
    return any(_is_distance(item["SortBy"]["node"], query) for item in query.get("sortClause", []))


def _is_distance(expression: Node, query: Node) -> bool:
    if "ColumnRef" in expression:
        name = names_of(expression["ColumnRef"]["fields"])
        return any(_is_operator(value) for value in _columns_named(query, name))
    return _is_operator(expression)


def _columns_named(query: Node, name: tuple[str, ...]) -> Iterator[Node]:
    for item in query.get("targetList", []):
        target = item["ResTarget"]
        if (target.get("name"),) == name and "val" in target:
            yield target["val"]


def _is_operator(expression: Node) -> bool:
    found = expression.get("A_Expr")
    return found is not None and names_of(found["name"])[-1] in _DISTANCES
