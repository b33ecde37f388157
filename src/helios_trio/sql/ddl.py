"""Data definition: what is temporary, dropped or renamed, and what cannot run inside a transaction.

Handlers like those of `statements`, which merges `DDL_HANDLERS` into its own table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .constants import Node, names_of
from .facts import Relation, Renaming
from .kinds import OnCommit, StatementKind
from .walk import relation_of

Draft = dict[str, Any]

_ON_COMMIT: Final = {
    "ONCOMMIT_PRESERVE_ROWS": OnCommit.PRESERVE,
    "ONCOMMIT_DELETE_ROWS": OnCommit.DELETE,
    "ONCOMMIT_DROP": OnCommit.DROP,
}
_RELATION_OBJECTS: Final = frozenset(
    {
        "OBJECT_TABLE",
        "OBJECT_VIEW",
        "OBJECT_SEQUENCE",
        "OBJECT_MATVIEW",
        "OBJECT_INDEX",
        "OBJECT_FOREIGN_TABLE",
    }
)
_WHOLE_REINDEX: Final = frozenset(
    {"REINDEX_OBJECT_DATABASE", "REINDEX_OBJECT_SCHEMA", "REINDEX_OBJECT_SYSTEM"}
)


def note_created(relation: Node, on_commit: str | None, draft: Draft) -> None:
    """Note a new relation when its text makes it temporary, and what ON COMMIT does to its rows."""
    found = relation_of(relation)
    action = _ON_COMMIT.get(on_commit or "")
    if relation.get("relpersistence") == "t" or found.is_temporary:
        draft["temporary"] = (found,)
        action = action or OnCommit.PRESERVE
    draft["on_commit"] = action


def _create_table(node: Node, draft: Draft) -> None:
    node = node.get("base", node)
    note_created(node["relation"], node.get("oncommit"), draft)


def _create_table_as(node: Node, draft: Draft) -> None:
    note_created(node["into"]["rel"], node["into"].get("onCommit"), draft)
    execute = node["query"].get("ExecuteStmt")
    if execute is not None:
        draft["executes"] = execute["name"]


def _create_view(node: Node, draft: Draft) -> None:
    _note_temporary(node["view"], draft)


def _create_sequence(node: Node, draft: Draft) -> None:
    _note_temporary(node["sequence"], draft)


def _create_composite(node: Node, draft: Draft) -> None:
    _note_temporary(node["typevar"], draft)


def _note_temporary(relation: Node, draft: Draft) -> None:
    found = relation_of(relation)
    if relation.get("relpersistence") == "t" or found.is_temporary:
        draft["temporary"] = (found,)


def _create_named(field: str) -> Callable[[Node, Draft], None]:
    """A handler for statements that name their object in a list of strings, such as CREATE FUNCTION."""

    def handler(node: Node, draft: Draft) -> None:
        found = _qualified(names_of(node.get(field, [])))
        if found is not None and found.is_temporary:
            draft["temporary"] = (found,)

    return handler


def _qualified(names: tuple[str, ...]) -> Relation | None:
    """The last two parts of a name; the database in front of them can only be the current one."""
    if not names:
        return None
    return Relation(names[-1], names[-2] if len(names) > 1 else None)


def _drop(node: Node, draft: Draft) -> None:
    names = (_qualified(_object_name(item)) for item in node.get("objects", []))
    dropped = tuple(name for name in names if name is not None)
    draft["dropped"] = dropped
    if node["removeType"] in _RELATION_OBJECTS:
        draft["written"] = dropped
    draft["outside_transaction"] = bool(node.get("concurrent"))


def _object_name(item: Node) -> tuple[str, ...]:
    """The name in one of the shapes DROP uses: a list, a function with arguments, a type."""
    if "List" in item:
        return names_of(item["List"]["items"])
    if "ObjectWithArgs" in item:
        return names_of(item["ObjectWithArgs"].get("objname", []))
    if "TypeName" in item:
        return names_of(item["TypeName"].get("names", []))
    return ()


def _rename(node: Node, draft: Draft) -> None:
    if node["renameType"] == "OBJECT_DATABASE":
        draft.update(kind=StatementKind.ALTER_DATABASE, databases=(node["subname"],))
    elif node["renameType"] in _RELATION_OBJECTS:
        draft["renamed"] = Renaming(relation_of(node["relation"]), node["newname"])


def _create_database(node: Node, draft: Draft) -> None:
    draft["outside_transaction"] = True
    draft["databases"] = tuple(
        element["arg"]["String"]["sval"]
        for element in _options(node, "options")
        if element["defname"] == "template" and "String" in element.get("arg", ())
    )


def _drop_database(node: Node, draft: Draft) -> None:
    draft.update(databases=(node["dbname"],), outside_transaction=True)


def _alter_database(node: Node, draft: Draft) -> None:
    if any(element["defname"] == "tablespace" for element in _options(node, "options")):
        draft.update(databases=(node["dbname"],), outside_transaction=True)


def _outside(node: Node, draft: Draft) -> None:
    draft["outside_transaction"] = True


def _create_index(node: Node, draft: Draft) -> None:
    draft["outside_transaction"] = bool(node.get("concurrent"))


def _vacuum(node: Node, draft: Draft) -> None:
    vacuum = bool(node.get("is_vacuumcmd"))
    draft.update(kind=StatementKind.VACUUM if vacuum else StatementKind.ANALYZE, outside_transaction=vacuum)


def _cluster(node: Node, draft: Draft) -> None:
    draft["outside_transaction"] = "relation" not in node


def _reindex(node: Node, draft: Draft) -> None:
    concurrently = any(option["defname"] == "concurrently" for option in _options(node, "params"))
    draft["outside_transaction"] = concurrently or node["kind"] in _WHOLE_REINDEX


def _alter_table(node: Node, draft: Draft) -> None:
    definitions = (command["AlterTableCmd"].get("def", {}) for command in node.get("cmds", []))
    draft["outside_transaction"] = any(
        definition.get("PartitionCmd", {}).get("concurrent", False) for definition in definitions
    )


def _options(node: Node, field: str) -> list[Node]:
    return [item["DefElem"] for item in node.get(field, [])]


DDL_HANDLERS: Final[dict[str, Callable[[Node, Draft], None]]] = {
    "CreateStmt": _create_table,
    "CreateForeignTableStmt": _create_table,
    "CreateTableAsStmt": _create_table_as,
    "ViewStmt": _create_view,
    "CreateSeqStmt": _create_sequence,
    "CompositeTypeStmt": _create_composite,
    "CreateFunctionStmt": _create_named("funcname"),
    "CreateDomainStmt": _create_named("domainname"),
    "CreateEnumStmt": _create_named("typeName"),
    "CreateRangeStmt": _create_named("typeName"),
    "DefineStmt": _create_named("defnames"),
    "DropStmt": _drop,
    "RenameStmt": _rename,
    "CreatedbStmt": _create_database,
    "DropdbStmt": _drop_database,
    "AlterDatabaseStmt": _alter_database,
    "AlterSystemStmt": _outside,
    "CreateTableSpaceStmt": _outside,
    "DropTableSpaceStmt": _outside,
    "CreateSubscriptionStmt": _outside,
    "AlterSubscriptionStmt": _outside,
    "DropSubscriptionStmt": _outside,
    "IndexStmt": _create_index,
    "VacuumStmt": _vacuum,
    "ClusterStmt": _cluster,
    "ReindexStmt": _reindex,
    "AlterTableStmt": _alter_table,
}
