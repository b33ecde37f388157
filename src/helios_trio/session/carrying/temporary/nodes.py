"""What is rebuilt, object by object: its statements, what they need, and the order that follows.

Used by: session.carrying.temporary (tables, parts and others make nodes; capture puts them in order).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import TypeAlias

from attrs import field, frozen

from helios_trio.session.carrying.temporary.closure import Closure, Key

#: catalog, OID and number of a column or 0: as pg_description has them
Part: TypeAlias = tuple[int, int, int]


class Kind(IntEnum):
    """Kinds of objects, in the order in which they are made as far as nothing asks for another one."""

    TYPE = 1
    SEQUENCE = 2
    FUNCTION = 3
    TABLE = 4
    INDEX = 5
    CONSTRAINT = 6
    STATISTICS = 7
    VIEW = 8
    FOREIGN_KEY = 9
    RULE = 10
    POLICY = 11
    TRIGGER = 12

    @property
    def word(self) -> str:
        """For people."""
        return self.name.lower().replace("_", " ")


@frozen
class Statement:
    """One statement for the new side. `about` names the object, `owner` is the role that runs it."""

    about: str
    owner: str
    text: str


@frozen(kw_only=True)
class Node:
    """One object."""

    key: Key
    kind: Kind
    name: str
    owner: str
    #: make it
    first: tuple[str, ...]
    #: what would stand in the way of the others: privileges, row security, ownership
    last: tuple[str, ...] = ()
    #: the object and its parts as COMMENT names them: "COLUMN pg_temp.t.c"
    named: Mapping[Part, str] = field(factory=dict)

    @property
    def about(self) -> str:
        """The object, for people."""
        return f"{self.kind.word} {self.name}"

    def statements(self, texts: Iterable[str]) -> tuple[Statement, ...]:
        """Some of its texts as statements."""
        return tuple(Statement(self.about, self.owner, each) for each in texts)


class Circular(Exception):
    """These objects refer to each other."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        self.nodes = nodes


def needs_of(nodes: Iterable[Node], closure: Closure) -> Mapping[Key, frozenset[Key]]:
    """Which nodes each node needs, by pg_depend; parts count for what they are parts of."""
    known = frozenset(each.key for each in nodes)
    sequences = {each.key for each in nodes if each.kind is Kind.SEQUENCE}
    needs: dict[Key, set[Key]] = {key: set() for key in known}
    for each in closure.dependencies:
        if each.key in sequences and each.type == "a":
            continue  # OWNED BY: comes last, the table may need the sequence for a default
        dependent, on = closure.home(each.key, known), closure.home(each.on, known)
        if dependent is not None and on is not None and dependent != on:
            needs[dependent].add(on)
    return {key: frozenset(found) for key, found in needs.items()}


def in_order(nodes: Iterable[Node], needs: Mapping[Key, frozenset[Key]]) -> list[Node]:
    """Everything after what it needs, otherwise by kind and age.

    Raises:
        Circular: there is no such order.
    """
    by_key = {each.key: each for each in nodes}
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise Circular([by_key[key] for key in dict.fromkeys(error.args[1])]) from None
    ready: list[tuple[Kind, Key]] = []
    ordered = []
    while sorter.is_active():
        for key in sorter.get_ready():
            heappush(ready, (by_key[key].kind, key))
        _, key = heappop(ready)
        ordered.append(by_key[key])
        sorter.done(key)
    return ordered


def split_at_tables(
    nodes: Sequence[Node], needs: Mapping[Key, frozenset[Key]]
) -> tuple[list[Node], list[Node]]:
    """Nodes in order, as two lists: tables and sequences and all that they need; what can wait for the rows."""
    wanted = {each.key for each in nodes if each.kind in (Kind.TABLE, Kind.SEQUENCE)}
    for each in reversed(nodes):
        if each.key in wanted:
            wanted |= needs[each.key]

    return [each for each in nodes if each.key in wanted], [each for each in nodes if each.key not in wanted]
