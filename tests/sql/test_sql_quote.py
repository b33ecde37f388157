"""What is written as SQL is read back by PostgreSQL as it was meant."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pglast import parser

from helios_trio.sql.facts import SettingChange
from helios_trio.sql.kinds import ChangeKind
from helios_trio.sql.parse import parse
from helios_trio.sql.quote import quote_identifier, quote_literal, set_statement, split_identifiers

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("a", "a"),
        ("_a1", "_a1"),
        ("A", '"A"'),
        ("1a", '"1a"'),
        ("a$", '"a$"'),
        ("é", '"é"'),
        ("", '""'),
        ('a"b', '"a""b"'),
        ("select", '"select"'),
        ("between", '"between"'),
        ("left", '"left"'),
        ("abort", "abort"),
        ("a\n", '"a\n"'),
    ],
)
def test_quote_identifier(name: str, quoted: str) -> None:
    """Quoted where PostgreSQL's quote_ident() quotes, and nowhere else."""
    assert quote_identifier(name) == quoted


@given(TEXTS)
def test_a_quoted_literal_is_read_back(value: str) -> None:
    """PostgreSQL's own parser finds the value in the literal."""
    tree = json.loads(parser.parse_sql_json(f"SELECT {quote_literal(value)}"))
    constant = tree["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]["A_Const"]
    assert constant["sval"]["sval"] == value


@given(TEXTS.filter(lambda name: 0 < len(name.encode()) < 64))
def test_a_quoted_identifier_is_read_back(name: str) -> None:
    """PostgreSQL's own parser finds the name in the identifier."""
    (statement,) = parse(f"SELECT * FROM {quote_identifier(name)}".encode()).statements
    assert [relation.name for relation in statement.reads] == [name]


def test_a_nul_is_refused() -> None:
    """No text of PostgreSQL can hold one."""
    for write in (quote_literal, quote_identifier):
        with pytest.raises(ValueError, match="NUL"):
            write("a\0b")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("  ", []),
        ('""', [""]),
        ('"$user", public', ["$user", "public"]),
        ('A , "B c","d""e"', ["a", "B c", 'd"e']),
        ("a,", None),
        ('"a', None),
        ("a b", None),
    ],
)
def test_split_identifiers(value: str, names: list[str] | None) -> None:
    """Lists of identifiers are read as PostgreSQL's SplitIdentifierString reads them."""
    assert split_identifiers(value) == names


@pytest.mark.parametrize(
    ("name", "value", "statement"),
    [
        ("work_mem", "4MB", "SET work_mem TO '4MB'"),
        ("Work_Mem", None, "RESET work_mem"),
        ("app.Tenant", "it's", "SET app.tenant TO 'it''s'"),
        ("app.select", "\\", "SET app.\"select\" TO E'\\\\'"),
        ("search_path", '"$user", public', "SET search_path TO '$user', 'public'"),
        ("search_path", "", "SET search_path TO ''"),
        ("DateStyle", "ISO, MDY", "SET datestyle TO 'ISO, MDY'"),
        ("role", "Bob", "SET ROLE 'Bob'"),
        ("role", "none", "SET ROLE 'none'"),
        ("role", None, "RESET ROLE"),
        ("session_authorization", "Bob", "SET SESSION AUTHORIZATION 'Bob'"),
        ("session_authorization", None, "RESET SESSION AUTHORIZATION"),
    ],
)
def test_set_statement(name: str, value: str | None, statement: str) -> None:
    """The spelling of each kind of parameter."""
    assert set_statement(name, value) == statement


PARAMETERS = st.sampled_from(
    ["work_mem", "search_path", "role", "session_authorization", "timezone", "app.x"]
)


@given(PARAMETERS, TEXTS)
def test_facts_of_a_set_statement_are_its_arguments(name: str, value: str) -> None:
    """Reading what was written gives name and value again (lists: the same names)."""
    (statement,) = parse(set_statement(name, value).encode()).statements
    (change,) = statement.settings
    assert (change.name, change.kind, change.certain) == (name, ChangeKind.SET, True)
    names = split_identifiers(value) if name == "search_path" else None
    if names is None:
        assert change.value is not None
        found = split_identifiers(change.value) if name == "search_path" else change.value
        assert found in (value, [value])
    else:
        assert split_identifiers(change.value or "") == (names or [""])


@pytest.fixture(scope="module")
def connection(direct_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to PostgreSQL itself, with roles whose names need care."""
    with psycopg.connect(direct_dsn, autocommit=True) as found:
        for role in ("Sql Odd\"Rôle'", "sql_plain"):
            found.execute(f"DROP ROLE IF EXISTS {quote_identifier(role)}".encode())
            found.execute(f"CREATE ROLE {quote_identifier(role)} SUPERUSER".encode())
        yield found


def current(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    value: str = row[0]
    return value


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("work_mem", "8MB"),
        ("statement_timeout", "1min"),
        ("seq_page_cost", "1.5"),
        ("enable_seqscan", "off"),
        ("DateStyle", "SQL, DMY"),
        ("IntervalStyle", "iso_8601"),
        ("TimeZone", "Europe/Berlin"),
        ("TimeZone", "<-08>+08"),
        ("client_encoding", "LATIN1"),
        ("application_name", "a'b\\c\"d"),
        ("search_path", '"$user", public'),
        ("search_path", '""'),
        ("search_path", 'a, "B, c", "d""e", "é", "select"'),
        ("temp_tablespaces", '""'),
        ("app.tenant", 'x\'y\\z, "w" é'),
        ("app.tenant", ""),
        ("app.Select.Odd", "1"),
        ("role", "Sql Odd\"Rôle'"),
        ("role", "none"),
        ("session_authorization", "sql_plain"),
        ("default_transaction_isolation", "serializable"),
        ("standard_conforming_strings", "off"),
    ],
)
def test_settings_round_trip_through_a_server(connection: psycopg.Connection, name: str, value: str) -> None:
    """current_setting() gives the value that was set, whatever standard_conforming_strings says."""
    try:
        for strings in ("on", "off"):
            connection.execute(f"SET standard_conforming_strings TO {strings}".encode())
            connection.execute(set_statement(name, value).encode())
            assert current(connection, name) == value
        connection.execute(set_statement(name, None).encode())
    finally:
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("RESET ALL")


SPELLINGS = [
    "SET search_path = a, \"B c\", '$user', ''",
    "SET SCHEMA 'x y'",
    "SET datestyle = sql, dmy",
    "SET TIME ZONE -7",
    "SET TIME ZONE 5.5",
    "SET TIME ZONE 'UTC'",
    "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
    "SET TIME ZONE INTERVAL '5 hours'",
    "SET work_mem = 4096",
    "SET work_mem = '64MB'",
    "SET seq_page_cost = 1.50",
    "SET enable_seqscan = false",
    "SET NAMES 'latin1'",
    "SET XML OPTION DOCUMENT",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET ROLE sql_plain",
    "SET ROLE NONE",
    "SET SESSION AUTHORIZATION sql_plain",
    "SELECT set_config('Search_Path', 'A, \"B\"', false)",
]


@pytest.mark.cluster
@pytest.mark.parametrize("sql", SPELLINGS)
def test_the_noted_value_gives_the_same_setting(connection: psycopg.Connection, sql: str) -> None:
    """set_config() with the value in the facts does what the statement itself did."""
    (statement,) = parse(sql.encode()).statements
    change: SettingChange = statement.settings[0]
    try:
        connection.execute(sql.encode())
        expected = current(connection, change.name)
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("RESET ALL")
        connection.execute("SELECT set_config(%s, %s, false)", [change.name, change.value])
        assert current(connection, change.name) == expected
    finally:
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("RESET ALL")


@pytest.mark.cluster
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_quoting_is_the_servers_own(connection: psycopg.Connection, text: str) -> None:
    """Identifiers are quoted as quote_ident() quotes; literals and custom settings arrive unchanged."""
    row = connection.execute("SELECT quote_ident(%s)", [text]).fetchone()
    assert row == (quote_identifier(text),)
    assert connection.execute(f"SELECT {quote_literal(text)}".encode()).fetchone() == (text,)
    connection.execute(set_statement("app.text", text).encode())
    assert current(connection, "app.text") == text
