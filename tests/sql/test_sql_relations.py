"""Relations that exist nowhere: written into queries, which a real PostgreSQL then runs."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.sql.parse import parse
from helios_trio.sql.relations import Rows, rewritten

COLUMNS = [
    ("backend", "text"),
    ("p95", "float8"),
    ("requests", "bigint"),
    ("at", "timestamptz"),
    ("Open", "boolean"),
]
ROWS = [
    ("one", 1.5, 10, "2026-01-02T03:04:05Z", False),
    ("two", float("nan"), 2**40, None, True),
    ("it's \\ \"é€\n\0$$", float("inf"), 0, None, None),
]


def rows_of(name: str) -> Rows | None:
    return Rows(COLUMNS, ROWS) if name in ("status", "heliosproxy_stats", "Odd Name") else None


def asked(text: str) -> bytes:
    return rewritten(text.encode(), rows_of)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("SELECT * FROM helios_proxy.status", ("status",)),
        ("SELECT * FROM heliosproxy_stats", ("heliosproxy_stats",)),
        ("SELECT 1 FROM helios_proxy.a, helios_proxy.b, helios_proxy.a AS c", ("a", "b")),
        ("SELECT 1; SELECT * FROM helios_proxy.status", ("status",)),
        ("SELECT * FROM t WHERE id IN (SELECT 1 FROM helios_proxy.status)", ("status",)),
        ("WITH x AS (SELECT * FROM helios_proxy.status) SELECT * FROM x", ("status",)),
        ("WITH heliosproxy_stats AS (SELECT 1) SELECT * FROM heliosproxy_stats", ()),
        ("INSERT INTO t SELECT 1 FROM helios_proxy.status", ("status",)),
        ("EXPLAIN SELECT * FROM helios_proxy.status", ("status",)),
        ("COPY (SELECT * FROM helios_proxy.status) TO STDOUT", ("status",)),
        ("COPY helios_proxy.status TO STDOUT", ()),
        ("SELECT * FROM ONLY helios_proxy.status", ()),
        ("SELECT * FROM db.helios_proxy.status", ()),
        ("INSERT INTO helios_proxy.status VALUES (1)", ()),
        ("LOCK TABLE helios_proxy.status", ()),
        ("DROP TABLE helios_proxy.status", ()),
        ("CREATE VIEW v AS SELECT * FROM helios_proxy.status", ()),
        ("PREPARE p AS SELECT * FROM helios_proxy.status", ()),
        ("SELECT 'helios_proxy.status'", ()),
        ("SELECT helios_proxy.status()", ()),
    ],
)
def test_found(text: str, ours: tuple[str, ...]) -> None:
    facts = parse(text.encode())
    assert facts.ours == ours
    assert not (facts.ours and facts.plain)
    assert bool(facts.ours) or asked(text) == text.encode()


@pytest.fixture(scope="module")
def server(create_database: Callable[[str, str], psycopg.Connection]) -> psycopg.Connection:
    """A real server with a table to join with."""
    return create_database(
        "relations", "CREATE TABLE t (id int, name text); INSERT INTO t VALUES (1, 'one'), (2, 'two')"
    )


QUERIES = [
    ("SELECT backend FROM helios_proxy.status WHERE p95 < 2", [("one",)]),
    ("SELECT s.backend FROM helios_proxy.status AS s ORDER BY s.requests DESC LIMIT 1", [("two",)]),
    ("SELECT s.backend FROM helios_proxy.status s WHERE requests = 10", [("one",)]),
    ("SELECT a FROM helios_proxy.status AS x (a, b) WHERE b = 1.5", [("one",)]),
    ("SELECT status.backend FROM helios_proxy.status WHERE status.p95 < 2", [("one",)]),
    ("SELECT helios_proxy.status.backend FROM helios_proxy.status WHERE helios_proxy.status.p95 = 1.5", [("one",)]),
    ("SELECT count(helios_proxy . status.*) FROM helios_proxy /* c */ . -- d\n \"status\"", [(3,)]),
    ("SELECT 'é€😀', backend FROM helios_proxy.status WHERE backend = 'one' AND 'ü' <> 'u'", [("é€😀", "one")]),
    ("/* ééé */ SELECT \"Open\" FROM helios_proxy.status WHERE backend = 'two' -- é", [(True,)]),
    ("SELECT id FROM t JOIN helios_proxy.status ON name = backend ORDER BY 1", [(1,), (2,)]),
    ("SELECT id FROM t LEFT JOIN helios_proxy.status s ON backend = name AND p95 = 'NaN' WHERE p95 IS NULL", [(1,)]),
    ("SELECT a.backend FROM helios_proxy.status a, heliosproxy_stats b WHERE a.p95 < 2 AND b.p95 = 'inf'", [("one",)]),
    ("WITH x AS (SELECT * FROM helios_proxy.status) SELECT count(*) FROM x", [(3,)]),
    ("SELECT (SELECT count(*) FROM helios_proxy.status), count(*) FROM t", [(3, 2)]),
    ("SELECT count(*) FROM (TABLE helios_proxy.status) AS x", [(3,)]),
    ("TABLE helios_proxy.nothing LIMIT 0", None),
    ("SELECT count(*) FROM helios_proxy.status *", [(3,)]),
    ("SELECT count(*) FROM (TABLE helios_proxy.status * LIMIT 2) AS x", [(2,)]),
    ("SELECT count(*) FROM helios_proxy.\"Odd Name\" WHERE \"Odd Name\".p95 > 1", [(3,)]),
    ("SELECT count(*) FROM heliosproxy_stats WHERE heliosproxy_stats.requests >= 0", [(3,)]),
    ("SELECT backend FROM helios_proxy.status WHERE requests::text = '10'", [("one",)]),
    ("SELECT at AT TIME ZONE 'UTC' > '2026-01-01' FROM helios_proxy.status WHERE at IS NOT NULL", [(True,)]),
    ("SELECT backend FROM helios_proxy.status WHERE strpos(backend, 'it''s') = 1", [("it's \\ \"é€\n$$",)]),
    ("SELECT \"Open\", count(*) FROM helios_proxy.status GROUP BY 1 HAVING count(*) > 0 ORDER BY 1",
     [(False, 1), (True, 1), (None, 1)]),
    ("SELECT x.backend FROM t, LATERAL (SELECT * FROM helios_proxy.status WHERE backend = name) AS x ORDER BY 1",
     [("one",), ("two",)]),
    ("DELETE FROM t USING helios_proxy.status WHERE false RETURNING id", []),
]  # fmt: skip


@pytest.mark.cluster
@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize(("text", "expected"), QUERIES)
def test_run_by_a_server(
    server: psycopg.Connection, text: str, expected: list[tuple[object, ...]] | None, conforming: str
) -> None:
    """Whatever surrounds the name, and however the session reads strings."""
    server.execute(f"SET standard_conforming_strings = {conforming}")
    server.execute("SET escape_string_warning = off")
    if expected is None:
        assert asked(text) == text.encode()
        with pytest.raises(psycopg.errors.UndefinedTable):
            server.execute(asked(text))
    else:
        assert server.execute(asked(text)).fetchall() == expected


@pytest.mark.cluster
def test_parameters_and_several_statements(server: psycopg.Connection) -> None:
    """Parameters keep their numbers; each statement of a text is looked at."""
    sql = asked("SELECT backend FROM helios_proxy.status WHERE requests = $1 OR backend = $2 ORDER BY 1")
    found = server.pgconn.exec_params(sql, [b"10", b"two"])
    assert [found.get_value(row, 0) for row in range(found.ntuples)] == [b"one", b"two"]
    several = server.pgconn.exec_(
        asked("SELECT 1; SELECT 'é' FROM helios_proxy.status; SELECT * FROM heliosproxy_stats")
    )
    assert several.ntuples == 3


@pytest.mark.cluster
def test_no_rows(server: psycopg.Connection) -> None:
    text = rewritten(b"SELECT count(backend) FROM helios_proxy.status", lambda _: Rows(COLUMNS, []))
    assert server.execute(text).fetchone() == (0,)


@pytest.mark.cluster
def test_any_values(server: psycopg.Connection) -> None:
    """What goes in comes out, but for NUL and halves of characters, which no PostgreSQL text can hold."""

    @given(
        st.lists(st.tuples(st.text(max_size=20), st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=4)
    )
    def check(rows: list[tuple[str, float, int]]) -> None:
        given_rows = Rows([("a", "text"), ("b b", "float8"), ("select", "bigint")], rows)
        text = rewritten(b"SELECT * FROM helios_proxy.x", lambda _: given_rows)
        found = server.execute(text).fetchall()
        expected = [(a.replace("\0", ""), repr(b), c) for a, b, c in rows]
        assert [(a, repr(b), c) for a, b, c in found] == expected

    check()


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.text("éß€😀 \t", max_size=5),
)
def test_the_rest_of_the_text_stays_as_it_is(literal: str, comment: str) -> None:
    """Characters of any width before the name do not move the place."""
    quoted = literal.replace("'", "''")
    before, after = (
        f"SELECT /*{comment}*/ '{quoted}' AS \"{comment}x\" FROM ",
        f" WHERE backend <> '{quoted}'",
    )
    found = asked(before + "helios_proxy.status" + after)
    assert found.startswith(before.encode() + b"(SELECT * FROM pg_catalog.json_to_recordset(")
    assert found.endswith(b") AS status" + after.encode())


SOURCES = st.sampled_from(
    [
        "helios_proxy.status", "helios_proxy.status AS a", "heliosproxy_stats", "t", "helios_proxy.other x (i)",
        'helios_proxy."Odd Name"', "ONLY helios_proxy.status", "(TABLE helios_proxy.status) AS é",
        "helios_proxy.status *",
        "(SELECT helios_proxy.status.p95 FROM helios_proxy.status) AS y", "/* é */ helios_proxy -- é\n . status",
    ]
)  # fmt: skip
TEXTS = st.sampled_from(
    [
        "SELECT 'é', {}.* FROM {}, {} WHERE i IN (SELECT 1 FROM {})",
        "WITH status AS (SELECT * FROM {}) SELECT * FROM {} JOIN {} ON true ORDER BY helios_proxy.status.p95",
        "INSERT INTO t SELECT * FROM {} RETURNING (SELECT 1 FROM {})",
        "UPDATE t SET a = 'é' FROM {} WHERE b IN (SELECT c FROM {})",
        "DELETE FROM t USING {}; MERGE INTO t USING {} ON true WHEN MATCHED THEN DELETE",
        "COPY (SELECT * FROM {} UNION SELECT 1 FROM {}) TO STDOUT",
        "DECLARE c CURSOR FOR SELECT * FROM {}; CREATE TABLE n AS SELECT * FROM {}",
        "EXPLAIN ANALYZE SELECT * FROM {} LEFT JOIN LATERAL (SELECT * FROM {}) AS z ON true FOR UPDATE",
        "CREATE VIEW w AS SELECT * FROM {}; SELECT 1 FROM {}",
    ]
)


@given(TEXTS, st.lists(SOURCES, min_size=4, max_size=4))
def test_what_is_rewritten_is_sql_and_asks_for_nothing_more(template: str, sources: list[str]) -> None:
    """What is left of such relations is what `rows_of` does not know; done twice is done once."""
    text = template.replace("{}.*", "1").format(*sources)
    facts = parse(text.encode())
    assert facts.parsed
    once = asked(text)
    assert parse(once).parsed
    assert set(parse(once).ours) <= {"other"}
    assert (once != text.encode()) == bool(set(facts.ours) - {"other"})
    assert rewritten(once, rows_of) == once
