"""What kind of work a query is for the server."""

from __future__ import annotations

import pytest

from helios_trio.sql.cache import FactsCache
from helios_trio.sql.parse import parse
from helios_trio.sql.workload import Work, Workload

OLTP, OLAP, VECTOR = Workload.OLTP, Workload.OLAP, Workload.VECTOR
JOINS = "SELECT 1 FROM t1 JOIN t2 USING (i) JOIN t3 USING (i) JOIN t4 USING (i)"


def work_of(text: str) -> Work:
    (statement,) = parse(text.encode()).statements
    return statement.work


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("SELECT 1", OLTP, "nothing"),
        ("SELECT * FROM t WHERE id = $1", OLTP, "nothing"),
        ("SELECT * FROM t WHERE id IN (1, 2)", OLTP, "nothing"),
        ("SELECT * FROM t WHERE id = ANY ($1)", OLTP, "nothing"),
        ("SELECT * FROM t WHERE a > 1 AND b = 2", OLTP, "nothing"),
        ("SELECT * FROM t WHERE id IN (SELECT i FROM s)", OLTP, "nothing"),
        ("SELECT * FROM t WHERE at > now() ORDER BY at LIMIT 10", OLTP, "nothing"),
        ("SELECT * FROM t LIMIT 1", OLTP, "nothing"),
        ("SELECT lower(a) FROM t WHERE id = 1", OLTP, "nothing"),
        ("SELECT * FROM generate_series(1, 10)", OLTP, "nothing"),
        ("SELECT t.a FROM t JOIN s ON s.i = t.i WHERE t.id = 1", OLTP, "nothing"),
        (JOINS + " WHERE t1.i = 1", OLTP, "nothing"),
        ("VALUES (1)", OLTP, "nothing"),
        ("INSERT INTO t SELECT count(*) FROM s", OLTP, "nothing"),
        ("UPDATE t SET a = 1", OLTP, "nothing"),
        ("SHOW work_mem", OLTP, "nothing"),
        ("BEGIN", OLTP, "nothing"),
        ("SELECT count(*) FROM t", OLAP, "aggregate"),
        ("SELECT sum(a), avg(b) FROM t WHERE id = 1", OLAP, "aggregate"),
        ("SELECT (SELECT max(a) FROM t)", OLAP, "aggregate"),
        ("SELECT my_aggregate(a ORDER BY b) FROM t", OLAP, "aggregate"),
        ("SELECT my_aggregate(a) FILTER (WHERE b) FROM t", OLAP, "aggregate"),
        ("SELECT count(DISTINCT a) FROM t", OLAP, "aggregate"),
        ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t", OLAP, "aggregate"),
        ("SELECT a FROM t GROUP BY a", OLAP, "GROUP BY"),
        ("SELECT * FROM (SELECT a FROM t GROUP BY a) AS x WHERE a = 1", OLAP, "GROUP BY"),
        ("WITH x AS (SELECT a FROM t GROUP BY a) SELECT * FROM x WHERE a = 1", OLAP, "GROUP BY"),
        ("SELECT rank() OVER (ORDER BY a) FROM t WHERE id = 1", OLAP, "window function"),
        ("SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY a)", OLAP, "window function"),
        ("SELECT DISTINCT a FROM t WHERE id = 1", OLAP, "DISTINCT"),
        ("SELECT DISTINCT ON (a) a FROM t WHERE id = 1", OLAP, "DISTINCT"),
        ("SELECT 1 UNION SELECT 2", OLAP, "UNION"),
        ("SELECT 1 EXCEPT ALL SELECT 2", OLAP, "UNION"),
        (JOINS + " JOIN t5 USING (i) WHERE t1.i = 1", OLAP, "many joins"),
        ("SELECT 1 FROM a, b, c, d, e WHERE a.i = b.i", OLAP, "many joins"),
        ("SELECT * FROM t", OLAP, "range"),
        ("TABLE t", OLAP, "range"),
        ("SELECT * FROM t WHERE a > 1", OLAP, "range"),
        ("SELECT * FROM t WHERE a BETWEEN 1 AND 2 OR b < 3 ORDER BY c", OLAP, "range"),
        ("SELECT * FROM t WHERE name LIKE 'a%'", OLAP, "range"),
        ("COPY (SELECT count(*) FROM t) TO STDOUT", OLAP, "aggregate"),
        ("DECLARE c CURSOR FOR SELECT * FROM t", OLAP, "range"),
        ("EXPLAIN SELECT count(*) FROM t", OLAP, "aggregate"),
        ("EXPLAIN ANALYZE SELECT count(*) FROM t", OLAP, "aggregate"),
        ("SELECT * FROM t ORDER BY embedding <-> $1 LIMIT 5", VECTOR, "distance"),
        ("SELECT * FROM t ORDER BY embedding <=> '[1,2]' LIMIT 5", VECTOR, "distance"),
        ("SELECT id FROM t WHERE a = 1 ORDER BY embedding <#> $1, id", VECTOR, "distance"),
        ("SELECT id, embedding <-> $1 AS distance FROM t ORDER BY distance LIMIT 5", VECTOR, "distance"),
        ("SELECT count(*) FROM t ORDER BY min(a) <-> 1", VECTOR, "distance"),
        ("SELECT id FROM t WHERE embedding <-> $1 < 5 LIMIT 5", OLTP, "nothing"),
        ("SELECT id AS distance FROM t ORDER BY distance LIMIT 5", OLTP, "nothing"),
    ],
)
def test_kind(text: str, kind: Workload, why: str) -> None:
    found = work_of(text)
    assert found.kind is kind
    assert why in found.why


def test_a_condition_made_to_hurt_is_no_range() -> None:
    """Only so much of it is looked at; a text too deep for the parser has no facts at all."""
    assert work_of("SELECT * FROM t WHERE " + " OR ".join(["a > 1"] * 5000)).kind is OLTP


def test_texts_of_one_shape_have_one_kind() -> None:
    cache = FactsCache()
    for number in range(20):
        (found,) = cache.facts(b"SELECT sum(a) FROM t WHERE b > %d" % number).statements
        assert found.work.kind is OLAP
    assert cache.parsed_total == 1
