"""The cache gives what the parser would give, remembers what repeats, and stays within its bounds."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helios_trio.sql import shape
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.facts import UNPARSED, Facts, StatementFacts
from helios_trio.sql.parse import parse

Visible = tuple[tuple[StatementFacts, ...], bool, bool, bool, bool]


def visible(facts: Facts) -> Visible:
    return facts.statements, facts.parsed, facts.writes, facts.plain, facts.opaque


def assert_like_the_parser(texts: Iterable[bytes]) -> None:
    """One cache for all texts, asked twice, so that each may meet the shape of another."""
    cache = FactsCache()
    asked = list(texts)
    for text in asked + asked:
        cached, exact = cache.facts(text), parse(text)
        assert visible(cached) == visible(exact), text
        assert cached.fingerprint == exact.fingerprint, text
        assert cached.normalised == exact.normalised, text


LITERALS = st.one_of(
    st.integers(0, 10**12).map(str),
    st.sampled_from(
        [
            "1.5", ".5", "5.", "1e5", "1e-5", "1.5E+3", "1_000", "0x1F", "0b101", "0o17", "007", "-3", "$1",
            "$23", "'1 day'::interval", "interval '3' day", "interval(3) '1'", "E'a b'", "B'101'", "X'1F'",
            "N'x'",
            "U&'d'", "'a'\n'b'", "'a' \n 'b'", "E'a'\n'b'", "''", "''''", "'it''s'", "'--'", "'/*'", "'\"'",
            "'$$'", "'é1'", "'1'", "1.1.1", "cast(1 as float(24))", "'1'::numeric(10, 2)", "1::bit(3)",
            "date '2020-01-01'", "$$1$$", "$a$ 'b' $a$", "E'\\'1'", "'\\'", "U&'d!0061' UESCAPE '!'",
            "array[1,2]", "1 -- '2'\n", "/* 3 ' */ 4", '"5"', "a$1", "t1.c2", "é1", "_1", "a1b2", "null",
        ]
    ),
    st.text(st.sampled_from("a1 '_$%é.-"), max_size=6).map(lambda s: "'" + s.replace("'", "''") + "'"),
)  # fmt: skip

TEMPLATES = st.sampled_from(
    [
        "SELECT {}",
        "SELECT {}, {} FROM t1 WHERE a2 = {} ORDER BY 1 LIMIT 10",
        "SELECT * FROM t WHERE a IN ({}, {}, 1)",
        "INSERT INTO t (a, b1) VALUES ({}, {}), ({}, 2)",
        "UPDATE t SET a = {} WHERE b = {};",
        "DELETE FROM t WHERE a BETWEEN {} AND {} -- 1",
        "VALUES ({}), ({})",
        "WITH x AS (SELECT {}) SELECT * FROM x, y1 FOR UPDATE",
        "SELECT nextval({}), f1({})",
        "SELECT set_config({}, {}, false)",
        "SELECT pg_advisory_lock({})",
        "SELECT pg_notify({}, {})",
        "SET work_mem = {}",
        "EXPLAIN (ANALYZE {}) SELECT {}",
        "SELECT {}; SELECT {}",
        "EXECUTE p({})",
        "COPY (SELECT {}) TO STDOUT",
        "SELECT {}{}",
        "SELECT a{} FROM b{}",
    ]
)


@st.composite
def similar_texts(draw: st.DrawFn) -> list[bytes]:
    """Texts of one template: some share a shape, others only look as if they did."""
    template = draw(TEMPLATES)
    fillings = draw(st.lists(st.tuples(LITERALS, LITERALS, LITERALS), min_size=1, max_size=4))
    return [template.format(*filling).encode() for filling in fillings]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(similar_texts())
def test_facts_by_shape_are_those_of_the_parser(texts: list[bytes]) -> None:
    """Whatever literals a statement holds, its facts are those that parsing it gives."""
    assert_like_the_parser(texts)


TOKENS = st.sampled_from(
    [
        b"'", b"'", b"''", b"\\", b'"', b"--", b"/*", b"*/", b"$1", b"$a$", b"$$", b"$", b"E'", b"U&'", b"B'",
        b" uescape ", b"\n", b" ", b" ", b"1", b"23", b"1.5", b"a1", "é".encode(), b"\xff", b"\0", b"a", b",",
        b"(", b")", b";", b"1e5", b"0x1", b"1_0", b"set_config", b".", b"-", b"+", b" from ", b" set role a ",
        b" select ", b"::", b"[", b"]", b":", b"x'1'", b"'a'", b"'a'",
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(TOKENS, max_size=9).map(lambda parts: b"select " + b"".join(parts)), max_size=3))
def test_facts_of_arbitrary_tokens_are_those_of_the_parser(texts: list[bytes]) -> None:
    """No sequence of quotes, comments, escapes and digits gets other facts than by parsing."""
    assert_like_the_parser(texts)


@pytest.mark.parametrize(
    ("harmless", "other"),
    [
        (b"SELECT 'a', 'b'", b"SELECT 'a\\', 'b'; SET ROLE x; --'"),
        (b"SELECT 'x' 'y'", b"SELECT 'x' -- '\n; SET ROLE x; SELECT 'y'"),
        (b"SELECT 1 FROM t1", b"SELECT 1 FROM t2"),
        (b"SELECT $1", b"SELECT $2"),
        (b"SELECT * FROM t WHERE a = 1", b"SELECT * FROM t12 WHERE a = "),
        (b"SELECT $$'$$, 1", b"SELECT $$'$$, set_config('a.b', '1', false), '1'"),
        (b'SELECT "\'", 1', b"SELECT \"'\", set_config('a.b', '1', false), \"'\""),
        (b"SELECT /*'*/ 1 /*'*/", b"SELECT /*'*/ set_config('a.b', '1', false) /*'*/"),
        (b"SELECT E'a'", b"SELECT E'\\'', set_config('a.b', E'\\'', false)"),
    ],
)
def test_look_alikes_are_told_apart(harmless: bytes, other: bytes) -> None:
    """A text that hides something behind what looks like constants does not get another text's facts."""
    cache = FactsCache()
    for text in (harmless, other, harmless, other):
        assert visible(cache.facts(text)) == visible(parse(text))


def test_invalid_utf8_in_a_constant_is_opaque() -> None:
    """A text that is not UTF-8 is not parsed, even when one of the same shape was."""
    cache = FactsCache()
    assert cache.facts(b"SELECT 'a'").plain
    assert cache.facts("SELECT 'é'".encode()).plain
    assert cache.facts(b"SELECT '\xe9'") is UNPARSED


def test_texts_that_differ_in_constants_are_parsed_once() -> None:
    """Ten thousand look-ups with their own constants cost one parse per shape, and no entry per text."""
    cache = FactsCache()
    for i in range(10_000):
        cache.facts(b"SELECT abalance FROM pgbench_accounts WHERE aid = %d;" % i)
        cache.facts(b"SELECT * FROM users WHERE name = 'n''%d' AND age > %d" % (i, i % 90))
    assert cache.parsed_total == 2
    assert len(cache) <= 4


def test_texts_that_repeat_are_parsed_once() -> None:
    """The same text gives the same object."""
    cache = FactsCache()
    first = cache.facts(b"BEGIN ISOLATION LEVEL SERIALIZABLE")
    assert all(cache.facts(b"BEGIN ISOLATION LEVEL SERIALIZABLE") is first for _ in range(10))
    assert cache.parsed_total == 1


def test_constants_of_statements_that_are_not_plain_are_kept() -> None:
    """Facts that hold a constant are each text's own, also when entries come back from the old generation."""
    cache = FactsCache(max_entries=8)
    order = [*range(8), *range(7, -1, -1), *range(0, 8, 3), *range(8)]
    values = [cache.facts(b"SET work_mem = %d" % i).statements[0].settings[0].value for i in order]
    assert values == [str(i) for i in order]


def test_rows_of_an_insert_are_parsed_as_one() -> None:
    """Many rows cost the parser no more than one, and give the same facts."""
    rows = b", ".join(b"(%d, 'name %d', 1.5, now())" % (i, i) for i in range(2000))
    text = b"INSERT INTO t (a, b, c, d) VALUES " + rows
    assert len(shape.shortened(shape.shape_of(text))) < 100
    assert visible(FactsCache().facts(text)) == visible(parse(text))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (b"VALUES (23),(23),(1)", b"VALUES (23),(1)"),
        (b"VALUES (23),(23) , x", b"VALUES (23) , x"),
        (b"VALUES (f(1)(2),(3))", b"VALUES (f(1)(2),(3))"),
        (b"IN (1,1,1,a)", b"IN (1,a)"),
        (b"IN (1,1,1.5)", b"IN (1,1.5)"),
    ],
)
def test_what_follows_a_list_stays_as_it_is(text: bytes, short: bytes) -> None:
    """With its comma, which a repetition that fails half-way has read (Python before 3.11.5 keeps it)."""
    padding = b" -- " + b"x" * 1100
    assert shape.shortened(text + padding) == short + padding


LISTS = st.lists(
    st.sampled_from(["1", "23", "'a'", "1.5", "1e5", "E'a'", "NULL", "a1", "(1)", "f(1)", "f(g(1))"]),
    min_size=1,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=8), st.sampled_from([",", ", ", " ,\n"]))
def test_shortening_changes_no_fact(rows: list[list[str]], comma: str) -> None:
    """Taking repetitions out of lists leaves the facts as they were."""
    row_list = comma.join(f"({comma.join(row)})" for row in rows)
    text = f"INSERT INTO t VALUES {row_list}{comma}(1) ON CONFLICT DO NOTHING -- {'x' * 1100}".encode()
    short = shape.shortened(text)
    assert visible(parse(short)) == visible(parse(text))


def test_texts_over_the_limit_are_not_parsed() -> None:
    """The limit counts bytes; what is over it is opaque and costs no parse."""
    cache = FactsCache(max_text=100)
    text = b"SELECT '%s'" % (b"x" * 91)
    assert len(text) == 100
    assert cache.facts(text).plain
    parsed = cache.parsed_total
    assert cache.facts(text + b" ") is UNPARSED
    assert cache.parsed_total == parsed


def test_sessions_with_other_ways_of_reading_strings() -> None:
    """With other string or encoding rules, backslashes and bytes above 127 make a text opaque."""
    cache = FactsCache()
    assert cache.facts_when_unsure(b"SELECT 'a' FROM t").plain
    assert cache.facts_when_unsure(b"SELECT 'a\\' FROM t'") is UNPARSED
    assert cache.facts_when_unsure("SELECT 'é'".encode()) is UNPARSED


def test_entries_and_bytes_are_bounded() -> None:
    """However many different texts come, both bounds hold."""
    cache = FactsCache(max_entries=100, max_bytes=200_000)
    for i in range(2000):
        cache.facts(b"SET app.s%d = 'x'" % i)
        cache.facts(b"SELECT a FROM t%d WHERE b = %d" % (i, i))
        cache.facts(b"SELECT column%s FROM t%d WHERE b = 'x'" % (b"x" * (i % 500), i))
        assert len(cache) <= 300
        assert cache.size <= 200_000
    assert len(cache) > 50


def test_an_entry_too_large_for_the_cache_is_not_kept() -> None:
    """One text cannot take the room of all others."""
    cache = FactsCache(max_entries=100, max_bytes=100_000)
    kept = cache.facts(b"BEGIN")
    cache.facts(b"SET a.b = '%s'" % (b"x" * 60_000))
    assert cache.facts(b"BEGIN") is kept
    assert cache.size < 10_000


def test_what_is_asked_for_often_stays() -> None:
    """Texts in use survive any number of texts that are seen once."""
    cache = FactsCache(max_entries=64)
    kept = [cache.facts(b"SET app.kept%d = on" % i) for i in range(4)]
    for i in range(1000):
        cache.facts(b"SET app.once%d = on" % i)
        assert cache.facts(b"SET app.kept%d = on" % (i % 4)) is kept[i % 4]


def test_estimated_memory_is_not_below_the_real() -> None:
    """The estimate that bounds the cache covers what Python really allocates."""
    chance = random.Random(1)
    texts = [_random_text(i, chance) for i in range(1500)]
    cache = FactsCache(max_bytes=1 << 30)
    cache.facts(b"SELECT 1")
    tracemalloc.start()
    try:
        for text in texts:
            facts = cache.facts(bytes(bytearray(text)))
            assert facts.fingerprint or facts.normalised
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used <= 1.2 * cache.size


def _random_text(i: int, chance: random.Random) -> bytes:
    columns = b", ".join(b"c%d" % chance.randrange(100) for _ in range(chance.randrange(1, 30)))
    return chance.choice(
        [
            b"SELECT %s FROM t%d, u WHERE lower(a) = 'x' AND b = 12",
            b"SET app.x = '%s %d'",
            b"BEGIN; INSERT INTO t (%s) SELECT * FROM u%d; COMMIT",
            b"DECLARE c%.1s CURSOR WITH HOLD FOR SELECT %d",
            b"INSERT INTO t (%s) VALUES (%d)",
        ]
    ) % (columns, i)
