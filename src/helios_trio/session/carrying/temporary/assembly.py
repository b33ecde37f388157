"""From catalog records to `TemporaryObjects`: nodes are made, put in order, and written down as statements.

Used by: session.carrying.temporary.capture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence

from helios_trio.session.carrying.temporary.catalogs import Catalogs
from helios_trio.session.carrying.temporary.closure import (
    CONSTRAINT,
    FUNCTION,
    POLICY,
    REWRITE,
    STATISTICS,
    TRIGGER,
    TYPE,
    Key,
)
from helios_trio.session.carrying.temporary.facts import Presence
from helios_trio.session.carrying.temporary.naming import temp, without_schema
from helios_trio.session.carrying.temporary.nodes import (
    Circular,
    Node,
    Statement,
    in_order,
    needs_of,
    split_at_tables,
)
from helios_trio.session.carrying.temporary.objects import Position, TableRows, TemporaryObjects
from helios_trio.session.carrying.temporary.others import function_node, sequence_node, type_node, view_node
from helios_trio.session.carrying.temporary.parts import (
    constraint_node,
    index_constraint_node,
    index_node,
    policy_node,
    rule_node,
    statistics_node,
    trigger_node,
)
from helios_trio.session.carrying.temporary.reasons import objections, refusals
from helios_trio.session.carrying.temporary.tables import table_node
from helios_trio.sql.quote import quote_literal


def nodes_of(found: Catalogs) -> tuple[Node, ...]:
    """A node for each object that can be made again."""
    refused = refusals(found)
    return tuple(
        node
        for node in (*_relations(found), *_others(found, refused), *_hanging(found))
        if node.key not in refused
    )


def unexplained(found: Catalogs, nodes: Iterable[Node]) -> tuple[Key, ...]:
    """What depends on the temporary schema and is neither a node, nor a part of one, nor refused already."""
    known = frozenset(each.key for each in nodes) | refusals(found).keys()
    return tuple(key for key in found.closure.all_keys() if found.closure.home(key, known) is None)


def assemble(found: Catalogs, nodes: Sequence[Node], dependents: Iterable[str]) -> TemporaryObjects:
    """The whole. `dependents` describes what is unexplained."""
    reasons = [*refusals(found).values(), *objections(found, nodes)]
    reasons += [f"{each} depends on a temporary object" for each in dependents]
    before, after = _statements(found, nodes, reasons)
    return TemporaryObjects(
        counts=Counter(node.kind.word for node in nodes),
        reasons=tuple(dict.fromkeys(reasons)),
        before=before,
        tables=tuple(_rows(found)),
        positions=tuple(_positions(found)),
        after=after,
        sizes={each.name: each.size for each in found.tables.values()},
        owners={each.name: each.owner for each in found.tables.values()},
        present=_present(found),
        major=found.major,
        search_path=found.server.search_path,
        temp_buffers=found.server.temp_buffers,
    )


def _statements(
    found: Catalogs, nodes: Sequence[Node], reasons: list[str]
) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
    """What is done before the rows are copied, and what afterwards; adds to the reasons why it cannot be done."""
    needs = needs_of(nodes, found.closure)
    try:
        ordered = in_order(nodes, needs)
    except Circular as error:
        reasons.append(f"{' and '.join(node.about for node in error.nodes)} refer to each other")
        return (), ()
    early, late = split_at_tables(ordered, needs)
    before = [each for node in early for each in node.statements(node.first)]
    after = [each for node in late for each in node.statements(node.first)]
    after += [each for node in ordered for each in node.statements((*_comments(found, node), *node.last))]
    after += [
        Statement(f"table {each.name}", each.owner, f"ANALYZE {temp(each.name)}")
        for each in found.tables.values()
        if each.analysed
    ]
    schema = found.server.schema
    return tuple(_portable(before, schema, reasons)), tuple(_portable(after, schema, reasons))


def _comments(found: Catalogs, node: Node) -> Iterator[str]:
    for part, what in node.named.items():
        if part in found.comments:
            yield f"COMMENT ON {what} IS {quote_literal(found.comments[part])}"


def _portable(statements: Iterable[Statement], schema: str, reasons: list[str]) -> Iterator[Statement]:
    """With the temporary schema called pg_temp, and as text that any connection takes."""
    for each in statements:
        text = without_schema(each.text, schema)
        if text is None:
            reasons.append(f"{each.about}: a string in its definition says {schema}")
        elif not _is_unicode(text):
            reasons.append(f"{each.about}: its definition is not valid UTF-8")
        else:
            yield Statement(each.about, each.owner, text)


def _is_unicode(text: str) -> bool:
    """Whether no byte in it stands for itself because it was not valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _relations(found: Catalogs) -> Iterator[Node]:
    for parts in found.table_parts():
        yield table_node(parts, found.default_grantees(parts.table.owner))
    for sequence in found.sequences:
        yield sequence_node(sequence, found.owning_column(sequence), found.default_grantees(sequence.owner))
    for view in found.views.values():
        yield view_node(view, found.columns.get(view.oid, ()), found.default_grantees(view.owner))


def _others(found: Catalogs, refused: Container[Key]) -> Iterator[Node]:
    for function in found.functions:
        yield function_node(function, found.default_grantees(function.owner))
    for each in found.types:
        if (TYPE, each.oid) not in refused:
            columns = found.columns.get(each.relation, ())
            constraints = found.domain_constraints.get(each.oid, ())
            yield type_node(each, columns, constraints, found.default_grantees(each.owner))


def _hanging(found: Catalogs) -> Iterator[Node]:
    """What hangs on tables and views."""
    made_by_constraints = set()
    for table in found.tables.values():
        for constraint in found.constraints.get(table.oid, ()):
            if constraint.type in "pux":
                made_by_constraints.add(constraint.index)
                index = found.indexes[constraint.index]
                yield index_constraint_node(constraint, table, index, found.index_details(index))
            elif constraint.type == "f" and not constraint.parent:
                yield constraint_node(constraint, table)
    for index in found.indexes.values():
        if index.oid not in made_by_constraints and index.relation in found.tables:
            yield index_node(index, found.tables[index.relation], found.index_details(index))
    yield from map(statistics_node, found.statistics)
    for policy in found.policies:
        yield policy_node(policy, found.tables[policy.relation])
    for rule in found.rules:
        relation = found.relation(rule.relation)
        yield rule_node(rule, relation.name, relation.owner)
    for trigger in found.triggers:
        relation = found.relation(trigger.relation)
        yield trigger_node(trigger, relation.name, relation.owner)


def _rows(found: Catalogs) -> Iterator[TableRows]:
    """The tables to copy: without pages there are no rows."""
    for table in found.tables.values():
        if table.pages:
            columns = [each for each in found.columns.get(table.oid, ()) if not each.generated]
            binary = all(each.binary for each in columns)
            yield TableRows(table.name, table.owner, tuple(each.name for each in columns), binary, table.size)


def _positions(found: Catalogs) -> Iterator[Position]:
    for each in found.sequences:
        if (place := found.places.get(each.oid)) is not None:
            drawn = found.drawn.get(each.oid) if place.is_called else None
            last_value = place.last_value if drawn is None else drawn
            yield Position(each.name, each.owner, last_value, place.is_called, drawn is not None)


def _present(found: Catalogs) -> frozenset[Presence]:
    """By what depends on the schema, not by what was read about it: the digest shall find what was not read."""
    closure = found.closure
    there = {
        Presence.PARENTS: bool(found.parents),
        Presence.SEQUENCES: bool(closure.relations("S")),
        Presence.CONSTRAINTS: bool(closure.oids(CONSTRAINT)),
        Presence.INDEXES: bool(closure.relations("iI")),
        Presence.TRIGGERS: bool(closure.oids(TRIGGER)),
        Presence.RULES: bool(closure.oids(REWRITE)),
        Presence.POLICIES: bool(closure.oids(POLICY)),
        Presence.STATISTICS: bool(closure.oids(STATISTICS)),
        Presence.TYPES: bool(closure.oids(TYPE)),
        Presence.FUNCTIONS: bool(closure.oids(FUNCTION)),
        Presence.COMMENTS: bool(found.comments),
    }
    return frozenset(each for each, is_there in there.items() if is_there)
