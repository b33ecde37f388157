"""What in a temporary schema cannot be rebuilt, by name and why.

Used by: session.carrying.temporary (capture, assembly).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from helios_trio.session.carrying.temporary.catalog import Grants, Sequence, Table
from helios_trio.session.carrying.temporary.catalog_others import Function, Type, View
from helios_trio.session.carrying.temporary.catalogs import Catalogs
from helios_trio.session.carrying.temporary.closure import CLASS, FUNCTION, TYPE, Key
from helios_trio.session.carrying.temporary.nodes import Node
from helios_trio.session.carrying.temporary.others import REBUILT
from helios_trio.session.carrying.temporary.privileges import foreign_grantors
from helios_trio.session.carrying.temporary.tables import TableParts

#: relkind -> what it is called
_FOREIGN_KINDS = {"f": "foreign table", "m": "materialized view"}
#: what only a superuser may name, and only a file on the server knows
_CODE = frozenset({"c", "internal"})


def refusals(found: Catalogs) -> Mapping[Key, str]:
    """Objects that cannot be made again at all."""
    refused = {
        (CLASS, each.oid): f"{_FOREIGN_KINDS[each.kind]} {each.name}: it cannot be made again"
        for each in found.closure.relations("".join(_FOREIGN_KINDS))
    }
    for function in found.functions:
        if (why := _against_function(function)) is not None:
            refused[FUNCTION, function.oid] = f"function {function.name}({function.arguments}): {why}"
    for each in found.types:
        if (why := _against_type(each)) is not None:
            refused[TYPE, each.oid] = f"type {each.name}: {why}"
    return refused


def objections(found: Catalogs, nodes: Iterable[Node]) -> Iterator[str]:
    """What speaks against the others."""
    for parts in found.table_parts():
        yield from (f"table {parts.table.name}: {why}" for why in _against_table(found, parts))
    for each in found.closure.relations("rpvS"):
        if not each.may_take_owner:
            yield f"{each.name} belongs to the role {each.owner}, which the session may not take"
    for name, owner, grants in _privileges(found):
        for grantor in foreign_grantors(owner, grants):
            yield f"{name}: privileges were granted by {grantor}, who is not its owner"
    for trigger in found.internal_triggers:
        yield f"table {trigger.table}: a trigger of a constraint is disabled"
    for event in found.event_triggers:
        yield f"event trigger {event.name}: it would run again"
    for label in found.labels:
        yield f"{label.about}: it has a security label"
    about = {each.key: each.about for each in nodes}
    for name in _foreign_comments(found, nodes, about):
        yield f"{name}: it has a comment that cannot be given again"
    for name in _of_extensions(found, about):
        yield f"{name}: it belongs to an extension, or goes with one"


def _against_table(found: Catalogs, parts: TableParts) -> Iterator[str]:
    table = parts.table
    if found.on_commit(table) is None:
        yield "it is empty, and whether it was made with ON COMMIT DELETE ROWS is not known"
    if table.oid in found.bound_owners:
        yield "row level security is forced on its owner, so that its rows cannot be copied"
    if not table.owner_may_read:
        yield f"its owner {table.owner} has no right to read it"
    if any(each.detaching for each in parts.parents):
        yield "it is being detached from its parent"
    if not parts.can_be_made:
        yield "its columns stand in another order than its parents'"


def _against_function(function: Function) -> str | None:
    if function.kind == "a":
        return "aggregates cannot be made again"
    if function.language in _CODE:
        return f"its language is {function.language}"
    return None


def _against_type(found: Type) -> str | None:
    if found.kind not in REBUILT:
        return "base types cannot be made again"
    if found.canonical:
        return "it has a canonical function"
    return None


def _of_extensions(found: Catalogs, about: Mapping[Key, str]) -> Iterator[str]:
    known = frozenset(about)
    for each in found.members:
        home = found.closure.home((each.catalog, each.oid), known)
        if home is not None:
            yield about[home]


def _foreign_comments(found: Catalogs, nodes: Iterable[Node], about: Mapping[Key, str]) -> Iterator[str]:
    """OIDs are looked for without their catalog, so that there may be comments on something else among them."""
    named = {part for node in nodes for part in node.named}
    known, ours = frozenset(about), frozenset(found.closure.all_keys())
    for catalog, oid, _ in found.comments.keys() - named:
        home = found.closure.home((catalog, oid), known) if (catalog, oid) in ours else None
        if home is not None:
            yield about[home]


def _privileges(found: Catalogs) -> Iterator[tuple[str, str, Grants]]:
    """Name, owner and privileges of whatever has them."""
    relations: tuple[Table | View, ...] = (*found.tables.values(), *found.views.values())
    others: tuple[Sequence | Type | Function, ...] = (*found.sequences, *found.types, *found.functions)
    for relation in relations:
        yield relation.name, relation.owner, relation.grants
        for column in found.columns.get(relation.oid, ()):
            yield f"{relation.name}.{column.name}", relation.owner, column.grants
    for each in others:
        yield each.name, each.owner, each.grants
