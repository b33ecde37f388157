"""One pass over a parse tree for what may stand anywhere in it: calls, relations, data changes, row locks.

Iterative, because clients choose how deep and how long their statements are. Names of WITH queries are kept
in scope, so that they are not taken for relations. Called by `parse` per statement.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import Factory, define, frozen

from .constants import Node
from .facts import Relation

_CHANGES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
# Fields that hold a RangeVar without its wrapper: the relation a command works on.
_TARGETS: Final = frozenset({"relation", "rel", "view", "sequence", "table", "pktable", "name"})
# Nothing of interest below these; `lockedRels` repeats aliases of the FROM clause.
_LEAVES: Final = frozenset(
    {"A_Const", "ColumnRef", "ParamRef", "typeName", "TypeName", "String", "lockedRels", "withClause"}
)


@frozen
class _Names:
    """The WITH queries that a place sees: the first `visible` ones of a clause, then those of the outer one.

    All queries of one clause share `positions`: copies would cost the square of their number.
    """

    positions: dict[str, int]
    visible: int
    outer: _Names | None

    def __contains__(self, name: str) -> bool:
        names: _Names | None = self
        while names is not None:
            if names.positions.get(name, names.visible) < names.visible:
                return True
            names = names.outer
        return False


_NO_NAMES: Final = _Names({}, 0, None)

_Pending = tuple[Any, _Names]


@define
class Findings:
    """What a walk has found. The dictionaries are used as ordered sets; `sources` are the RangeVars of `reads`."""

    calls: list[Node] = Factory(list)
    value_functions: dict[str, None] = Factory(dict)
    reads: dict[Relation, None] = Factory(dict)
    written: dict[Relation, None] = Factory(dict)
    sources: list[Node] = Factory(list)
    changes_data: bool = False
    row_locks: bool = False


def relation_of(node: Node) -> Relation:
    """The relation that a RangeVar (without its wrapper) names."""
    return Relation(node.get("relname", ""), node.get("schemaname"))


def walk(root: Node) -> Findings:
    """Visit every node below `root`, in the order of the tree."""
    findings = Findings()
    stack: list[_Pending] = [(root, _NO_NAMES)]
    while stack:
        node, scope = stack.pop()
        if type(node) is list:
            stack.extend([(item, scope) for item in reversed(node) if type(item) is dict])
        else:
            stack.extend(_visit(node, scope, findings))
    return findings


def _visit(node: Node, scope: _Names, findings: Findings) -> list[_Pending]:
    """Note what this dictionary says itself; returns what is below it, last first."""
    below: list[_Pending] = []
    if "withClause" in node:
        below, scope = _with_queries(node["withClause"], scope)
    for key, value in node.items():
        if type(value) is not dict and type(value) is not list:
            continue
        if key not in _LEAVES and _note(key, value, scope, findings):
            below.append((value, scope))
    below.reverse()
    return below


def _note(key: str, value: Any, scope: _Names, findings: Findings) -> bool:
    """Note what a field says; returns whether to look below it."""
    if key == "FuncCall":
        findings.calls.append(value)
    elif key == "RangeVar":
        if "schemaname" in value or value.get("relname") not in scope:
            findings.reads[relation_of(value)] = None
            findings.sources.append(value)
        return False
    elif key in _TARGETS:
        if "relname" in value:
            findings.written[relation_of(value)] = None
            return False
    elif key in _CHANGES:
        findings.changes_data = True
    elif key == "lockingClause":
        findings.row_locks = True
    elif key == "TableLikeClause":
        findings.reads[relation_of(value["relation"])] = None
        return False
    elif key == "SQLValueFunction":
        findings.value_functions[_value_function(value)] = None
        return False
    return True


def _value_function(node: Node) -> str:
    """`SVFOP_CURRENT_TIMESTAMP_N` -> current_timestamp."""
    name: str = node["op"].removeprefix("SVFOP_").lower()
    return name.removesuffix("_n")


def _with_queries(clause: Node, outer: _Names) -> tuple[list[_Pending], _Names]:
    """The queries of a WITH clause, each with the names it sees, and the names the main query sees.

    PostgreSQL docs, "WITH Queries": without RECURSIVE a query sees only those before it.
    """
    ctes = [item["CommonTableExpr"] for item in clause.get("ctes", ())]
    positions = {cte["ctename"]: position for position, cte in enumerate(ctes)}
    everyone = _Names(positions, len(ctes), outer)
    if clause.get("recursive"):
        return [(cte["ctequery"], everyone) for cte in ctes], everyone
    return [(cte["ctequery"], _Names(positions, i, outer)) for i, cte in enumerate(ctes)], everyone
