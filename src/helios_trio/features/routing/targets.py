"""Servers that are preferred for kinds of reads and for tables, as [routing.workload] and [[routing.tables]] say. Pure.

They are preferences and not filters: all servers that are offered have the same data, so that any of them can answer
when the preferred one cannot.

Used by: routing core (asks for each request).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from attrs import define, field, frozen

from helios_trio.config.patterns import compiled
from helios_trio.config.routing import RoutingSettings, TableTarget, WorkloadTargets
from helios_trio.pipeline.routing import PRIMARY, REPLICA, STANDBY, Node, Question
from helios_trio.sql.facts import Relation

#: How old the newest row is that a question asks for, by a column (seconds); None: not known, or any row.
AgeOf = Callable[[Question, str], float | None]

#: Where search_path leads unless somebody has changed it.
_USUAL_SCHEMA: Final = "public"
#: Tables whose entries are remembered.
_REMEMBERED: Final = 4096


def meant(target: str, nodes: Iterable[Node]) -> Sequence[Node]:
    """The servers that are the target: the name of a backend or, before that, the word of a role."""
    if target == PRIMARY:
        return [node for node in nodes if node.writer]
    if target in (STANDBY, REPLICA):
        return [node for node in nodes if node.standby]
    return [node for node in nodes if node.backend.name == target]


@define
class WorkloadPreference:
    """`pipeline.routing.Preference`: the target of the kind of read that this is."""

    targets: WorkloadTargets
    #: oltp, olap or vector
    workload_of: Callable[[Question], str]
    name: str = "workload"

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        target = self._target(self.workload_of(question))
        return nodes if target is None else meant(target, nodes) or nodes

    def _target(self, workload: str) -> str | None:
        found: str | None = getattr(self.targets, f"{workload}_target")
        return found

    def why(self, question: Question) -> str:
        """In words, for people."""
        workload = self.workload_of(question)
        target = self._target(workload)
        return f"it is {workload}" + (
            ", for which there is no target" if target is None else f", for {target}"
        )


@frozen
class Entry:
    """An item of [[routing.tables]]."""

    settings: TableTarget
    target: str
    #: None: any schema
    schema: re.Pattern[str] | None
    table: re.Pattern[str]

    @classmethod
    def of(cls, settings: TableTarget, target: str) -> Entry:
        """The item, whose target is found already."""
        schema, _, table = settings.pattern.rpartition(".")
        return cls(settings, target, compiled(schema) if schema else None, compiled(table))

    def matches(self, relation: Relation) -> bool:
        """Whether it is about that table; one that is named without its schema is taken to be in public."""
        if self.table.fullmatch(relation.name) is None:
            return False
        return self.schema is None or bool(self.schema.fullmatch(relation.schema or _USUAL_SCHEMA))

    def __str__(self) -> str:
        also = f", rows older than {self.settings.older_than:g} s" if self.settings.older_than else ""
        return f"{self.settings.pattern}{also} -> {self.target}"


def entries_of(settings: RoutingSettings) -> tuple[Entry, ...]:
    """All items, in their order."""
    found = []
    for each in settings.tables:
        target = each.backend
        if each.temperature is not None:
            target = settings.temperatures.target(each.temperature)
        assert target is not None, "checked with the configuration"
        found.append(Entry.of(each, target))
    return tuple(found)


@define
class TablePreference:
    """`pipeline.routing.Preference`: the target of the tables that are read.

    Tables about which nothing is said have no say; where others have different targets, none counts.
    """

    entries: Sequence[Entry]
    age_of: AgeOf
    name: str = "tables"
    _known: dict[Relation, tuple[Entry, ...]] = field(factory=dict, init=False)

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        targets = {entry.target for entry in self._for(question)}
        return meant(targets.pop(), nodes) or nodes if len(targets) == 1 else nodes

    def why(self, question: Question) -> str:
        """In words, for people."""
        found = list(dict.fromkeys(self._for(question)))
        if not found:
            return "nothing is said about the tables that are read"
        said = "; ".join(map(str, found))
        differ = len({each.target for each in found}) > 1
        return (
            f"the tables that are read have different targets, so that none counts: {said}"
            if differ
            else said
        )

    def _for(self, question: Question) -> Iterator[Entry]:
        """What counts for each table about which something is said."""
        for statement in question.statements:
            for relation in statement.reads:
                for entry in self._about(relation):
                    if self._is_old_enough(entry.settings, question):
                        yield entry
                        break

    def _about(self, relation: Relation) -> tuple[Entry, ...]:
        found = self._known.get(relation)
        if found is None:
            if len(self._known) >= _REMEMBERED:  # names come from clients
                self._known.clear()
            found = self._known[relation] = tuple(each for each in self.entries if each.matches(relation))
        return found

    def _is_old_enough(self, settings: TableTarget, question: Question) -> bool:
        if settings.column is None or settings.older_than is None:
            return True
        age = self.age_of(question, settings.column)
        return age is not None and age >= settings.older_than
