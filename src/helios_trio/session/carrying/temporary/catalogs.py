"""All records read about one temporary schema, and who belongs to whom.

Used by: session.carrying.temporary (capture fills it; assembly and reasons read it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from attrs import frozen

from helios_trio.session.carrying.temporary.catalog import (
    Column,
    Constraint,
    Index,
    Inheritance,
    Sequence,
    Table,
)
from helios_trio.session.carrying.temporary.catalog_others import (
    BoundOwner,
    Comment,
    DefaultGrantee,
    EventTrigger,
    Function,
    InternalTrigger,
    Label,
    Member,
    Policy,
    Rule,
    Statistics,
    Trigger,
    Type,
    View,
)
from helios_trio.session.carrying.temporary.closure import Closure, Server
from helios_trio.session.carrying.temporary.naming import temp
from helios_trio.session.carrying.temporary.nodes import Part
from helios_trio.session.carrying.temporary.others import OwningColumn
from helios_trio.session.carrying.temporary.parts import IndexDetails
from helios_trio.session.carrying.temporary.records import Found, Record, flag, integer, records
from helios_trio.session.carrying.temporary.tables import TableParts
from helios_trio.sql.kinds import OnCommit
from helios_trio.sql.quote import quote_identifier

R = TypeVar("R")


@frozen
class Place(Record):
    """Where a sequence stands: read from the sequence itself, as a table is."""

    oid: int = integer("")
    last_value: int = integer("")
    is_called: bool = flag("")


@frozen
class Catalogs:
    """Records by OID, or by the OID of what they belong to."""

    server: Server
    closure: Closure
    known_on_commit: Mapping[str, OnCommit]
    tables: Mapping[int, Table]
    columns: Mapping[int, tuple[Column, ...]]
    parents: Mapping[int, tuple[Inheritance, ...]]
    constraints: Mapping[int, tuple[Constraint, ...]]
    domain_constraints: Mapping[int, tuple[Constraint, ...]]
    indexes: Mapping[int, Index]
    sequences: tuple[Sequence, ...]
    places: Mapping[int, Place]
    #: values of currval()
    drawn: Mapping[int, int]
    views: Mapping[int, View]
    triggers: tuple[Trigger, ...]
    rules: tuple[Rule, ...]
    policies: tuple[Policy, ...]
    statistics: tuple[Statistics, ...]
    types: tuple[Type, ...]
    functions: tuple[Function, ...]
    grantees: tuple[DefaultGrantee, ...]
    internal_triggers: tuple[InternalTrigger, ...]
    event_triggers: tuple[EventTrigger, ...]
    labels: tuple[Label, ...]
    bound_owners: frozenset[int]
    members: tuple[Member, ...]
    comments: Mapping[Part, str]

    @classmethod
    def of(
        cls,
        server: Server,
        closure: Closure,
        rows: Found,
        drawn: Mapping[int, int],
        known_on_commit: Mapping[str, OnCommit],
    ) -> Catalogs:
        """From the answer to `capture`'s second exchange."""
        constraints = records(Constraint, rows)
        return cls(
            server,
            closure,
            known_on_commit,
            tables={each.oid: each for each in records(Table, rows)},
            columns=_grouped(records(Column, rows), lambda each: each.relation),
            parents=_grouped(records(Inheritance, rows), lambda each: each.child),
            constraints=_grouped(constraints, lambda each: each.relation),
            domain_constraints=_grouped(constraints, lambda each: each.domain),
            indexes={each.oid: each for each in records(Index, rows)},
            sequences=records(Sequence, rows),
            places={each.oid: each for each in records(Place, rows)},
            drawn=drawn,
            views={each.oid: each for each in records(View, rows)},
            triggers=tuple(each for each in records(Trigger, rows) if not each.parent),
            rules=records(Rule, rows),
            policies=records(Policy, rows),
            statistics=records(Statistics, rows),
            types=records(Type, rows),
            functions=records(Function, rows),
            grantees=records(DefaultGrantee, rows),
            internal_triggers=records(InternalTrigger, rows),
            event_triggers=records(EventTrigger, rows),
            labels=records(Label, rows),
            bound_owners=frozenset(each.table for each in records(BoundOwner, rows)),
            members=records(Member, rows),
            comments={(each.catalog, each.oid, each.number): each.text for each in records(Comment, rows)},
        )

    @property
    def major(self) -> int:
        """Major version of the server."""
        return self.server.major

    def table_parts(self) -> Iterator[TableParts]:
        """Each table with what CREATE TABLE says."""
        identities = self._identities()
        for table in self.tables.values():
            yield TableParts(
                table,
                self.columns.get(table.oid, ()),
                self.parents.get(table.oid, ()),
                self.constraints.get(table.oid, ()),
                identities.get(table.oid, {}),
                self.on_commit(table) or OnCommit.PRESERVE,
                self.major,
            )

    def on_commit(self, table: Table) -> OnCommit | None:
        """What a table was made with; None when nobody knows.

        A partitioned table has no rows of its own, and DROP cannot be: the table would not be there.
        """
        if table.pages or table.partitioned:
            return OnCommit.PRESERVE
        known = self.known_on_commit.get(table.name)
        return None if known is OnCommit.DROP else known

    def _identities(self) -> Mapping[int, Mapping[int, Sequence]]:
        """OID of a table -> number of a column -> its sequence."""
        found: dict[int, dict[int, Sequence]] = defaultdict(dict)
        for each in self.sequences:
            owner = self.closure.owners.get(each.oid)
            if owner is not None and owner.identity:
                found[owner.table][owner.number] = each
        return found

    def owning_column(self, sequence: Sequence) -> OwningColumn | None:
        """The column that a sequence belongs to."""
        owner = self.closure.owners.get(sequence.oid)
        if owner is None:
            return None
        (column,) = (each.name for each in self.columns[owner.table] if each.number == owner.number)
        return OwningColumn(
            f"{temp(self.tables[owner.table].name)}.{quote_identifier(column)}", owner.identity
        )

    def index_details(self, index: Index) -> IndexDetails:
        """What the definition of an index does not say."""
        parent = self.closure.parent_indexes.get(index.oid)
        return IndexDetails(
            None if parent is None else self.indexes[parent].name, self.columns.get(index.oid, ())
        )

    def default_grantees(self, owner: str) -> tuple[str, ...]:
        """Who gets privileges on whatever `owner` makes."""
        return tuple(dict.fromkeys(each.grantee for each in self.grantees if each.owner == owner))

    def relation(self, oid: int) -> Table | View:
        """The table or view with this OID."""
        return self.tables.get(oid) or self.views[oid]


def _grouped(found: Iterable[R], key: Callable[[R], int]) -> Mapping[int, tuple[R, ...]]:
    groups: dict[int, list[R]] = defaultdict(list)
    for each in found:
        groups[key(each)].append(each)
    return {oid: tuple(group) for oid, group in groups.items()}
