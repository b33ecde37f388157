"""Parts of carrying temporary objects that need no server: names, privileges, order, statements that read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parse_sql, parser

from helios_trio.session.carrying.temporary import catalog, catalog_others
from helios_trio.session.carrying.temporary.closure import Closure, Dependency, Surroundings
from helios_trio.session.carrying.temporary.environment import ascii_identifier, ascii_literal
from helios_trio.session.carrying.temporary.naming import without_schema
from helios_trio.session.carrying.temporary.nodes import (
    Circular,
    Kind,
    Node,
    in_order,
    needs_of,
    split_at_tables,
)
from helios_trio.session.carrying.temporary.privileges import (
    Grant,
    foreign_grantors,
    grant_statements,
    read_grants,
)
from helios_trio.session.carrying.temporary.records import Record

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)
RECORDS = [
    each
    for module in (catalog, catalog_others)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Record) and each is not Record
]


@given(NAMES)
def test_ascii_identifier_is_the_name(name: str) -> None:
    """PostgreSQL's parser reads the same name."""
    written = ascii_identifier(name)
    assert written.isascii()
    (statement,) = parse_sql(f"select {written}.x")
    assert statement.stmt.targetList[0].val.fields[0].sval == name


@given(NAMES)
def test_ascii_literal_is_ascii(text: str) -> None:
    """And an expression."""
    written = ascii_literal(text)
    assert written.isascii()
    parse_sql(f"select {written}")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1", "select 1"),
        ("create index i on pg_temp_3.t (a)", "create index i on pg_temp.t (a)"),
        ('select pg_temp_3.f(x), "pg_temp_3" . y', "select pg_temp.f(x), pg_temp . y"),
        ('select pg_temp_3, "pg_temp_33".x, pg_temp_31.y', 'select pg_temp_3, "pg_temp_33".x, pg_temp_31.y'),
        ("select 'ü' as \"é\", pg_temp_3.t.a", "select 'ü' as \"é\", pg_temp.t.a"),
        ("select 'pg_temp_3.t'::regclass", None),
        ("create function f() as $$ select pg_temp_3.x $$", None),
        ("select 1 -- pg_temp_3.t", "select 1 -- pg_temp_3.t"),
    ],
)
def test_real_name_of_the_schema(sql: str, expected: str | None) -> None:
    """Exchanged where it is a name, refused inside strings."""
    assert without_schema(sql, "pg_temp_3") == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (("postgres=arwdDxtm/postgres", "=r/postgres"), "ALL"),
        (('"a b"=r*w/"x""y"',), [Grant("a b", "SELECT", True, 'x"y'), Grant("a b", "UPDATE", False, 'x"y')]),
        (('"="=U/"/"',), [Grant("=", "USAGE", False, "/")]),
        ((), []),
        (None, []),
    ],
)
def test_aclitems_are_read(items: tuple[str, ...] | None, expected: object) -> None:
    """As PostgreSQL writes them."""
    found = list(read_grants(items))
    if expected == "ALL":
        assert len(found) == 9
        assert found[-1] == Grant("", "SELECT", False, "postgres")
    else:
        assert found == expected


def test_privileges_are_given_as_they_were() -> None:
    """Everything is taken away first; PUBLIC is a word, not a name."""
    assert grant_statements("TABLE pg_temp.t", "me", ("me=r/me", "=w/me", '"You"=r*/me'), ("other",)) == [
        "REVOKE ALL ON TABLE pg_temp.t FROM PUBLIC, me, other",
        "GRANT SELECT ON TABLE pg_temp.t TO me",
        "GRANT UPDATE ON TABLE pg_temp.t TO PUBLIC",
        'GRANT SELECT ON TABLE pg_temp.t TO "You" WITH GRANT OPTION',
    ]
    assert grant_statements("TABLE pg_temp.t", "me", ("x=r/me",), column="A") == [
        'GRANT SELECT ("A") ON TABLE pg_temp.t TO x'
    ]
    assert grant_statements("TABLE pg_temp.t", "me", None) == []
    assert foreign_grantors("me", ("x=r/me", "y=r/you", "z=w/you")) == ("you",)


def test_an_unknown_aclitem_is_an_error() -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not an aclitem"):
        list(read_grants(("nonsense",)))


def node(oid: int, kind: Kind) -> Node:
    """A node of no content."""
    return Node(key=(1, oid), kind=kind, name=str(oid), owner="me", first=())


def dependency(dependent: int, on: int, type: str = "n", catalog: int = 1) -> Dependency:
    """One row of pg_depend."""
    return Dependency(catalog, dependent, 1, on, 0, type, None, None, None, "f", "f", "f", None)


def closure(*dependencies: Dependency) -> Closure:
    """A closure of these."""
    return Closure.over(Surroundings("f", "f", "f"), dependencies)


def test_order_follows_needs_then_kinds_then_age() -> None:
    """A view that a table needs comes first, with what it needs itself."""
    nodes = [
        node(1, Kind.TABLE),
        node(2, Kind.VIEW),
        node(3, Kind.TABLE),
        node(4, Kind.INDEX),
        node(5, Kind.TYPE),
    ]
    needs = needs_of(nodes, closure(dependency(1, 2), dependency(2, 3), dependency(4, 1)))
    ordered = in_order(nodes, needs)
    assert [each.name for each in ordered] == ["5", "3", "2", "1", "4"]
    before, after = split_at_tables(ordered, needs)
    assert [each.name for each in before] == ["3", "2", "1"]
    assert [each.name for each in after] == ["5", "4"]


def test_parts_count_for_what_they_are_parts_of() -> None:
    """A default (no node of its own) of table 1 needs function 2."""
    nodes = [node(1, Kind.TABLE), node(2, Kind.FUNCTION)]
    needs = needs_of(nodes, closure(dependency(9, 1, "a", catalog=2604), dependency(9, 2, catalog=2604)))
    assert needs[1, 1] == {(1, 2)}


def test_a_circle_is_told() -> None:
    """With all that are in it, and nobody else."""
    nodes = [node(1, Kind.TABLE), node(2, Kind.FUNCTION), node(3, Kind.VIEW)]
    with pytest.raises(Circular) as found:
        in_order(nodes, needs_of(nodes, closure(dependency(1, 2), dependency(2, 1), dependency(3, 1))))
    assert {each.name for each in found.value.nodes} == {"1", "2"}


def test_what_is_part_of_nothing_known_has_no_home() -> None:
    """A dependent that nobody rebuilds."""
    found = closure(dependency(8, 1), dependency(7, 1, "a"), dependency(6, 7, "i"))
    known = frozenset({(1, 1)})
    assert found.home((1, 8), known) is None
    assert found.home((1, 6), known) == (1, 1)


@pytest.mark.parametrize("major", range(12, 20))
@pytest.mark.parametrize("record", RECORDS, ids=lambda each: each.__name__)
def test_statements_that_read_are_sql(record: type[Record], major: int) -> None:
    """For each release, with as many columns as the record has fields."""

    class Given(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return "SELECT 1, 2" if name == "keys" else "true" if name == "spell_out" else "'{1}'"

    parser.parse_sql_json(record.select(major, Given()))
