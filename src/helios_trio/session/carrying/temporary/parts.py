"""What hangs on tables: constraints, indexes, statistics, rules, policies, triggers.

Used by: session.carrying.temporary.capture.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from helios_trio.session.carrying.temporary.catalog import Column, Constraint, Index, Table
from helios_trio.session.carrying.temporary.catalog_others import Policy, Rule, Statistics, Trigger
from helios_trio.session.carrying.temporary.closure import (
    CLASS,
    CONSTRAINT,
    POLICY,
    REWRITE,
    STATISTICS,
    TRIGGER,
)
from helios_trio.session.carrying.temporary.naming import storage_options, temp
from helios_trio.session.carrying.temporary.nodes import Kind, Node
from helios_trio.session.carrying.temporary.tables import named_constraint, named_constraints
from helios_trio.sql.quote import quote_identifier

_ENABLED = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


def index_node(index: Index, table: Table, details: IndexDetails) -> Node:
    """An index that no constraint makes."""
    return Node(
        key=(CLASS, index.oid),
        kind=Kind.INDEX,
        name=index.name,
        owner=table.owner,
        first=(index.definition, *details.statements(index, table)),
        named={(CLASS, index.oid, 0): f"INDEX {temp(index.name)}"},
    )


def constraint_node(constraint: Constraint, table: Table) -> Node:
    """A foreign key, which is passed on to partitions."""
    return Node(
        key=(CONSTRAINT, constraint.oid),
        kind=Kind.FOREIGN_KEY,
        name=f"{constraint.name} of {table.name}",
        owner=table.owner,
        first=(f"ALTER TABLE {temp(table.name)} ADD {named_constraint(constraint)}",),
        named=named_constraints(temp(table.name), [constraint]),
    )


def index_constraint_node(constraint: Constraint, table: Table, index: Index, details: IndexDetails) -> Node:
    """A constraint that makes an index. ONLY, because that of a partition is made by itself and attached."""
    return Node(
        key=(CONSTRAINT, constraint.oid),
        kind=Kind.CONSTRAINT,
        name=f"{constraint.name} of {table.name}",
        owner=table.owner,
        first=(
            f"ALTER TABLE ONLY {temp(table.name)} ADD {named_constraint(constraint)}",
            *_options(index),
            *details.statements(index, table),
        ),
        named={
            **named_constraints(temp(table.name), [constraint]),
            (CLASS, index.oid, 0): f"INDEX {temp(index.name)}",
        },
    )


@frozen
class IndexDetails:
    """What the definition of an index does not say."""

    #: name of the partitioned index it is attached to
    parent: str | None
    #: its columns that have a statistics target
    columns: tuple[Column, ...]

    def statements(self, index: Index, table: Table) -> Iterator[str]:
        """What completes the index."""
        name = temp(index.name)
        if self.parent is not None:
            yield f"ALTER INDEX {temp(self.parent)} ATTACH PARTITION {name}"
        if index.tablespace is not None:
            yield f"ALTER INDEX {name} SET TABLESPACE {index.tablespace}"
        for column in self.columns:
            yield f"ALTER INDEX {name} ALTER COLUMN {column.number} SET STATISTICS {column.statistics}"
        if index.clustered:
            yield f"ALTER TABLE {temp(table.name)} CLUSTER ON {quote_identifier(index.name)}"


def _options(index: Index) -> Iterator[str]:
    if index.options:
        yield f"ALTER INDEX {temp(index.name)} SET ({', '.join(storage_options(index.options))})"


def statistics_node(statistics: Statistics) -> Node:
    """An extended statistics object, without its data."""
    what = f"STATISTICS {temp(statistics.name)}"
    target = [f"ALTER {what} SET STATISTICS {statistics.target}"] if statistics.target else []
    return Node(
        key=(STATISTICS, statistics.oid),
        kind=Kind.STATISTICS,
        name=statistics.name,
        owner=statistics.owner,
        first=(statistics.definition, *target),
        named={(STATISTICS, statistics.oid, 0): what},
    )


def trigger_node(trigger: Trigger, relation: str, owner: str) -> Node:
    """A trigger of a table or view."""
    return Node(
        key=(TRIGGER, trigger.oid),
        kind=Kind.TRIGGER,
        name=f"{trigger.name} on {relation}",
        owner=owner,
        first=(trigger.definition, *_firing("TRIGGER", trigger.name, relation, trigger.enabled)),
        named={(TRIGGER, trigger.oid, 0): f"TRIGGER {quote_identifier(trigger.name)} ON {temp(relation)}"},
    )


def rule_node(rule: Rule, relation: str, owner: str) -> Node:
    """A rule of a table or view."""
    return Node(
        key=(REWRITE, rule.oid),
        kind=Kind.RULE,
        name=f"{rule.name} on {relation}",
        owner=owner,
        first=(rule.definition, *_firing("RULE", rule.name, relation, rule.enabled)),
        named={(REWRITE, rule.oid, 0): f"RULE {quote_identifier(rule.name)} ON {temp(relation)}"},
    )


def _firing(word: str, name: str, relation: str, enabled: str) -> Iterator[str]:
    if enabled in _ENABLED:
        yield f"ALTER TABLE {temp(relation)} {_ENABLED[enabled]} {word} {quote_identifier(name)}"


def policy_node(policy: Policy, table: Table) -> Node:
    """A policy; whether it applies is the table's business."""
    name = quote_identifier(policy.name)
    roles = ", ".join("PUBLIC" if each is None else quote_identifier(each) for each in policy.roles)
    text = (
        f"CREATE POLICY {name} ON {temp(table.name)} AS {'PERMISSIVE' if policy.permissive else 'RESTRICTIVE'}"
        f" FOR {_COMMANDS[policy.command]} TO {roles}"
    )
    if policy.using is not None:
        text += f" USING ({policy.using})"
    if policy.check is not None:
        text += f" WITH CHECK ({policy.check})"
    return Node(
        key=(POLICY, policy.oid),
        kind=Kind.POLICY,
        name=f"{policy.name} on {table.name}",
        owner=table.owner,
        first=(text,),
        named={(POLICY, policy.oid, 0): f"POLICY {name} ON {temp(table.name)}"},
    )
