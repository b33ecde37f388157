"""Texts made to hurt: deep, long, broken. None may crash the process, take long, or be taken for harmless."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helios_trio.sql.cache import FactsCache
from helios_trio.sql.facts import UNPARSED
from helios_trio.sql.parse import parse

NESTINGS = {
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "unclosed": lambda n: "SELECT " + "(" * n,
    "not": lambda n: "SELECT " + "NOT " * n + "true",
    "sum": lambda n: "SELECT " + "1+" * n + "1",
    "subqueries": lambda n: "SELECT * FROM (" * n + "TABLE t" + ") AS x" * n,
    "case": lambda n: "SELECT " + "CASE WHEN a THEN " * n + "1" + " END" * n,
    "unions": lambda n: " UNION ALL ".join(["SELECT 1"] * n),
    "arrays": lambda n: "SELECT " + "ARRAY[" * n + "]" * n,
    "casts": lambda n: "SELECT a" + "::int" * n,
    "calls": lambda n: "SELECT " + "f(" * n + ")" * n,
    "joins": lambda n: "SELECT * FROM t" + " JOIN t ON true" * n,
    "with": lambda n: "WITH a AS (" * n + "SELECT 1" + ") SELECT 1" * n,
    "into": lambda n: "SELECT 1 INTO TEMP t " + "UNION SELECT 1 " * n,
}
WORDS = re.findall(
    r"\S+",
    """SELECT INSERT INTO VALUES FROM t a ( ) , ; = 1 'x' $1 * SET ROLE TO DEFAULT BEGIN READ ONLY COMMIT
    CREATE
    TEMP TABLE AS DROP EXPLAIN ANALYZE PREPARE EXECUTE DECLARE CURSOR FOR FETCH CLOSE ALL LISTEN COPY STDIN
    WITH f() COALESCE CASE WHEN THEN END NULL UPDATE DELETE MERGE USING ON DO CALL LOCK VACUUM REINDEX ALTER
    SYSTEM DATABASE RENAME GRANT DISCARD RESET SHOW SESSION LOCAL TIME ZONE INTERVAL CHARACTERISTICS
    GROUP ORDER BY LIMIT DISTINCT UNION JOIN OVER <-> helios_proxy.x (ROUTE) FOR IN EXISTS""",
)
DEPTHS = (100, 330, 1000, 5000, 20_000, 100_000)

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_sql_hostile import DEPTHS, NESTINGS
from helios_trio.sql.cache import FactsCache
cache = FactsCache(max_text=1 << 24, max_tree=1 << 26)
for depth in DEPTHS:
    cache.facts(NESTINGS[{name!r}](depth).encode())
print("survived")
"""


#: Of each kind of nesting that the parser goes down in another way, one.
_SHORT = ("parentheses", "subqueries", "case", "unions", "unclosed")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _SHORT else pytest.mark.long) for name in NESTINGS]
)
def test_deep_nesting_does_not_end_the_process(name: str) -> None:
    """Any depth, up to 100,000 levels, is parsed or refused; a crash would be seen as a signal here."""
    script = SCRIPT.format(folder=__file__.rpartition("/")[0], name=name)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


@pytest.mark.parametrize("name", NESTINGS)
def test_what_is_too_deep_is_opaque(name: str) -> None:
    """A text that nobody could look into is a write that may do anything."""
    facts = parse(NESTINGS[name](20_000).encode())
    assert facts is UNPARSED
    assert facts.writes
    assert facts.opaque
    assert not facts.plain
    assert facts.fingerprint is None
    assert facts.normalised is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"SELECT * FROM t WHERE a IN (" + b",".join(b"%d" % i for i in range(20_000)) + b")", 1),
        (b"SELECT " + b" AND ".join(b"a%d" % i for i in range(10_000)), 1),
        (b"SELECT 1;" * 5000, 5000),
        (b";" * 200_000 + b"SELECT 1", 1),
        (b"INSERT INTO t VALUES " + b",".join(b"(%d, lower('x'))" % i for i in range(5000)), 1),
        (b"SELECT a" + b"[1]" * 20_000, 1),
        (b"SELECT '" + b"''" * 100_000 + b"'", 1),
    ],
)
def test_long_texts_are_parsed(text: bytes, count: int) -> None:
    """Long is not deep: such texts have facts."""
    facts = FactsCache().facts(text)
    assert facts.parsed
    assert len(facts.statements) == count
    assert not facts.opaque


def test_a_tree_over_the_limit_is_opaque() -> None:
    """A short text with a large parse tree is not looked at, and that is remembered cheaply."""
    text = b"SELECT " + b"a," * 500 + b"a"
    assert parse(text).plain
    assert parse(text, max_tree=20_000) is UNPARSED
    cache = FactsCache(max_tree=20_000)
    assert cache.facts(text) is UNPARSED
    assert cache.facts(text) is UNPARSED
    assert cache.parsed_total == 1


def test_many_with_queries() -> None:
    """Thousands of WITH queries keep their names apart, in memory that grows with their number only."""
    queries = ", ".join(f"a{i} AS (SELECT * FROM a{i}, a{max(0, i - 1)})" for i in range(5000))
    (statement,) = parse(f"WITH {queries} SELECT * FROM a4999, a5000".encode(), max_tree=1 << 26).statements
    assert {relation.name for relation in statement.reads} == {f"a{i}" for i in range(5001)}


@pytest.mark.parametrize(
    "text",
    [
        b"SELEC 1",
        b"SELECT '",
        b"SELECT 1\0",
        b"SELECT 1\0; SET ROLE x",
        b"SELECT '\0'",
        b"SELECT '\xff'",
        b"SELECT '\xed\xa0\x80'",
        b"\xff",
        b"SELECT /* 1",
        b'SELECT "',
        b"SELECT $a$",
        b"SELECT 99999999999999999999.f(",
        b"SELECT $99999999999999999999",
    ],
)
def test_what_cannot_be_read_is_opaque(text: bytes) -> None:
    """Broken SQL, NULs and bytes that are not UTF-8 are forwarded as writes that may do anything."""
    assert parse(text) is UNPARSED
    cache = FactsCache()
    assert cache.facts(text) is UNPARSED
    assert cache.facts(text) is UNPARSED


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_have_facts(text: bytes) -> None:
    """Nothing raises, whatever the bytes."""
    facts = FactsCache().facts(text)
    assert facts.parsed or facts is UNPARSED


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=9))
def test_any_words_have_facts(words: list[str]) -> None:
    """Nothing raises, whatever statement the words happen to make, and every fact can be read."""
    facts = FactsCache().facts(" ".join(words).encode())
    assert facts.parsed == (facts.normalised is not None)
    assert facts.parsed == (facts.fingerprint is not None)
    assert facts.plain <= (not facts.opaque)
