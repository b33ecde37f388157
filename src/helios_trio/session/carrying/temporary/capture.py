"""Capture: what is in the temporary schema, asked in one tiny query and, if there is something, in two exchanges.

The first finds everything that depends on the schema (`closure`), the second reads the definitions of exactly those
objects, by OID. No catalog is read from one end to the other. Only rarities cost one more: sequences that draw ahead,
and objects that cannot be explained.

ON COMMIT is not in the catalogs. A table that has pages after a COMMIT that touched temporary tables has PRESERVE,
because DELETE ROWS leaves none; of others the caller must know it.

Used by: session.carrying.carry, through session.carrying.temporary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from helios_trio.session.carrying.errors import CarryFailed
from helios_trio.session.carrying.steps import Answer, Plan, Query, Side, ask, one_value
from helios_trio.session.carrying.temporary.assembly import assemble, nodes_of, unexplained
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
    Description,
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
from helios_trio.session.carrying.temporary.catalogs import Catalogs, Place
from helios_trio.session.carrying.temporary.closure import (
    CONSTRAINT,
    FUNCTION,
    POLICY,
    REWRITE,
    STATISTICS,
    TRIGGER,
    TYPE,
    Closure,
    Key,
    Relation,
    Server,
    closure_text,
    server_text,
)
from helios_trio.session.carrying.temporary.environment import (
    as_role,
    ascii_identifier,
    read_query,
    reading,
)
from helios_trio.session.carrying.temporary.objects import TemporaryObjects
from helios_trio.session.carrying.temporary.records import (
    Found,
    Record,
    key_rows,
    oid_array,
    records,
    sorted_out,
)
from helios_trio.sql.kinds import OnCommit


def capture_temporary(
    known_on_commit: Mapping[str, OnCommit], *, expected: bool = False
) -> Plan[TemporaryObjects]:
    """Everything in the old session's temporary schema, which stays as it is.

    Args:
        known_on_commit: name of a table -> what it was made with, as far as the client's statements have shown.
        expected: that something is there, so that no round trip is spent on asking; also when `known_on_commit`
            is not empty.

    Raises:
        CarryFailed: the server answered with an error.
    """
    server, closure = yield from _find(expected=expected or bool(known_on_commit))
    if closure is None:
        return TemporaryObjects()
    rows = yield from _read_definitions(server, closure)
    drawn = yield from _values_drawn(records(Sequence, rows))
    found = Catalogs.of(server, closure, rows, drawn, known_on_commit)
    nodes = nodes_of(found)
    dependents = yield from _describe(unexplained(found, nodes))
    return assemble(found, nodes, [each.replace(f"{server.schema}.", "pg_temp.") for each in dependents])


def _find(*, expected: bool) -> Plan[tuple[Server, Closure | None]]:
    """What there is: in one round trip if there is nothing, or if something is expected."""
    text = closure_text() if expected else ""
    (answer,) = yield from ask(Side.OLD, Query(reading(text, first=server_text())))
    found = _found(answer)
    (server,) = records(Server, found)
    if not server.occupied:
        return server, None
    if not expected:
        (answer,) = yield from ask(Side.OLD, read_query(closure_text()))
        found = _found(answer)
    return server, Closure.of(found)


def _read_definitions(server: Server, closure: Closure) -> Plan[Found]:
    """The definitions of all objects found, and where sequences stand."""
    sequences = [each for each in closure.relations("S") if each.may_take_owner]
    text = ";\n".join([*_selects(server.major, closure), *_places(sequences)])
    (answer,) = yield from ask(Side.OLD, read_query(text))
    return _found(answer)


def _values_drawn(sequences: Iterable[Sequence]) -> Plan[Mapping[int, int]]:
    """The values given last by sequences that draw several at once; by OID."""
    ahead = [each for each in sequences if each.cache > 1]
    answers = yield from ask(
        Side.OLD,
        *(
            read_query(f"SELECT pg_catalog.currval({each.oid}::pg_catalog.oid)", role=each.owner)
            for each in ahead
        ),
    )
    # one that this session never called has no current value, and has drawn nothing ahead either
    return {
        each.oid: int(one_value(answer) or 0)
        for each, answer in zip(ahead, answers, strict=True)
        if answer.error is None
    }


def _selects(major: int, closure: Closure) -> Iterator[str]:
    oids = _oids(closure)
    given = {name: oid_array(found) for name, found in oids.items()}
    given["keys"] = key_rows(closure.all_keys())
    given["spell_out"] = str(closure.surroundings.default_privileges)
    for kind in _wanted(closure, oids):
        yield kind.select(major, given)


def _oids(closure: Closure) -> Mapping[str, Collection[int]]:
    """The arrays that the record classes name in their `source`."""

    def of_kinds(kinds: str) -> list[int]:
        return [each.oid for each in closure.relations(kinds)]

    return {
        "tables": of_kinds("rp"),
        "triggered": of_kinds("rpv"),
        "columns": of_kinds("rpvciI"),
        "views": of_kinds("v"),
        "sequences": of_kinds("S"),
        "indexes": of_kinds("iI"),
        "types": closure.oids(TYPE),
        "functions": closure.oids(FUNCTION),
        "statistics": closure.oids(STATISTICS),
        "triggers": closure.oids(TRIGGER),
        "everything": {oid for _, oid in closure.all_keys()},
        "catalogs": {catalog for catalog, _ in closure.all_keys()},
    }


def _wanted(closure: Closure, has: Mapping[str, Collection[int]]) -> list[type[Record]]:
    """The records to read: kinds of objects that are not there cost nothing."""
    conditions: dict[type[Record], object] = {
        Table: has["tables"],
        Column: has["columns"],
        Inheritance: has["tables"],
        Constraint: closure.oids(CONSTRAINT),
        Index: has["indexes"],
        Sequence: has["sequences"],
        View: has["views"],
        Trigger: has["triggers"],
        InternalTrigger: closure.oids(TRIGGER, inner=True),
        Rule: closure.oids(REWRITE),
        Policy: closure.oids(POLICY),
        Statistics: has["statistics"],
        Type: has["types"],
        Function: has["functions"],
        DefaultGrantee: closure.surroundings.default_privileges,
        EventTrigger: closure.surroundings.event_triggers,
        Label: closure.surroundings.labels,
        BoundOwner: any(each.forced for each in closure.relations("rp")),
        Member: True,
        Comment: True,
    }
    return [kind for kind, wanted in conditions.items() if wanted]


def _places(sequences: Iterable[Relation]) -> Iterator[str]:
    """A sequence is read as a table is, by a role that may."""
    for each in sequences:
        yield as_role(each.owner)
        yield (
            f"SELECT '{Place.__name__}', {each.oid}, s.last_value, s.is_called"
            f" FROM pg_temp.{ascii_identifier(each.name)} s"
        )


def _describe(keys: tuple[Key, ...]) -> Plan[list[str]]:
    """What PostgreSQL calls these objects."""
    if not keys:
        return []
    text = Description.select(0, {"keys": key_rows(keys)})
    (answer,) = yield from ask(Side.OLD, read_query(text))
    return [each.name for each in records(Description, _found(answer))]


def _found(answer: Answer) -> Found:
    if answer.error is not None:
        raise CarryFailed("reading the temporary objects", answer.error)
    return sorted_out(answer.rows)
