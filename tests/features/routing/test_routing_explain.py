"""EXPLAIN (ROUTE): recognised, explained in lines, answered by a query of literals."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from helios_trio.features.routing.explain import explaining_query, explanation
from helios_trio.pipeline.routing import Consistency, Decision, Question, Step, Wish
from helios_trio.sql.parse import parse


@pytest.mark.parametrize(
    ("text", "behind"),
    [
        ("EXPLAIN (ROUTE) SELECT 1", "SELECT 1"),
        ("explain ( route ) select * from t where a = ')'", "select * from t where a = ')'"),
        ("EXPLAIN (ROUTE true) INSERT INTO t VALUES (1);", "INSERT INTO t VALUES (1);"),
        ("/* é) */ EXPLAIN /* ( */ (ROUTE on) -- )\n SELECT 'é'", "-- )\n SELECT 'é'"),
        ('EXPLAIN ("route") (SELECT (1))', "(SELECT (1))"),
        ("EXPLAIN (ROUTE) /*+ route=n1 */ SELECT 1", "/*+ route=n1 */ SELECT 1"),
        ("EXPLAIN (ROUTE off) SELECT 1", None),
        ("EXPLAIN (ROUTE, ANALYZE) SELECT 1", None),
        ("EXPLAIN (ROUTE, FORMAT json) SELECT 1", None),
        ("EXPLAIN (COSTS off) SELECT 1", None),
        ("EXPLAIN SELECT 1", None),
        ("SELECT 1", None),
        ("EXPLAIN (ROUTE) SELECT 1; SELECT 2", None),
    ],
)
def test_recognised(text: str, behind: str | None) -> None:
    facts = parse(text.encode())
    assert facts.explains_route == (None if behind is None else behind.encode())
    assert not (facts.plain and behind is not None)


def question(text: str, **more: object) -> Question:
    facts = parse(text.encode())
    basics = {"session": 1, "user": "u", "database": "d", "tenant": "acme"}
    return Question(**basics, must_write=facts.must_write, statements=facts.statements, **more)  # type: ignore[arg-type]


STEPS = (
    Step(by="in service", left=("n1", "n2", "n3")),
    Step(by="lag", left=("n1", "n2"), removed={"n3": "it is 3.2 s behind"}),
    Step(by="default for reads", left=("n2",), removed={"n1": "others are preferred"}),
)


def test_lines() -> None:
    wish = Wish(route="replica", consistency=Consistency.EVENTUAL, max_lag=0.5, timeout=2.0)
    lines = explanation(Decision(backend="n2", steps=STEPS), question("SELECT count(*) FROM t", wish=wish))
    assert lines == [
        "Route to n2",
        "  Needs: any server, it only reads",
        "  Wish: route=replica, consistency=eventual, max_lag=0.5s, timeout=2s",
        "  Tenant: acme",
        "  Workload: olap (aggregate)",
        "  Candidates: n1, n2, n3",
        "  ->  in service: n1, n2, n3",
        "  ->  lag: n1, n2",
        "        Removed n3: it is 3.2 s behind",
        "  ->  default for reads: n2",
        "        Removed n1: others are preferred",
    ]


def test_a_write() -> None:
    lines = explanation(Decision(backend="n1"), question("INSERT INTO t VALUES (1)"))
    assert lines[:2] == ["Route to n1", "  Needs: the server that takes writes (it writes (INSERT))"]
    assert "  Candidates: none" in lines


def test_nothing_left_and_no_standby() -> None:
    step = Step(by="role", left=(), removed={"n1": "it takes no writes", "n2": "it takes no writes"})
    lines = explanation(Decision(backend=None, steps=(step,)), question("SELECT 1"))
    assert lines[0] == "Route to no server: none is left"
    assert lines[-4:] == [
        "  Candidates: n1, n2",
        "  ->  role: none left",
        "        Removed n1: it takes no writes",
        "        Removed n2: it takes no writes",
    ]
    lines = explanation(Decision(backend="n1", fell_back=True), question("SELECT 1"))
    assert lines[0] == "Route to n1  (no standby would do)"


@pytest.fixture(scope="module")
def server(create_database: Callable[[str, str], psycopg.Connection]) -> psycopg.Connection:
    return create_database("explaining", "SELECT 1")


LINES = ["Route to n1", "  Tenant: it's \\ é", "", "a\0b\nc"]
SEEN = [("Route to n1",), ("  Tenant: it's \\ \\xe9",), ("",), ("ab c",)]


@pytest.mark.cluster
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_answered_by_a_server(server: psycopg.Connection, conforming: str) -> None:
    """The lines come in their order, under EXPLAIN's own heading, as text."""
    server.execute(f"SET standard_conforming_strings = {conforming}")
    found = server.execute(explaining_query(LINES).encode())
    assert found.description is not None
    assert [(column.name, column.type_code) for column in found.description] == [("QUERY PLAN", 25)]
    assert found.fetchall() == SEEN


@pytest.mark.cluster
def test_answered_with_parameters(server: psycopg.Connection) -> None:
    """A client that binds what the explained statement takes is not refused, with declared types or without."""
    text = explaining_query(LINES, parameters=2).encode()
    for types in (None, [23, 1184]):
        found = server.pgconn.exec_params(text, [b"7", b"2026-01-01"], types)
        assert found.error_message == b""
        assert found.ntuples == len(LINES)
