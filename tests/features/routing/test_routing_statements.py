"""Which statements may go to a standby: a table, tried on a real standby as well, and what a table cannot say."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq
from routing_statements import PRIMARY, READS, REPLICA, SCHEMA, WRITES, table

from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.sql.builtins import Volatility, volatility
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.facts import UNPARSED
from helios_trio.sql.parse import parse
from helios_trio.sql.routes import SafeFunctions, must_write, settings_must_write
from helios_trio.sql.standby import HARMLESS, LOCAL_STATE, WRITER_ONLY

#: A standby refuses it: it is read only, or it cannot do such things in recovery.
REFUSALS = {"25006", "0A000", "55000"}


@pytest.mark.parametrize(("text", "target"), table())
def test_target(text: str, target: str) -> None:
    """The reason is there exactly when the statement must not go to a standby."""
    facts = parse(text.encode())
    assert (PRIMARY if facts.must_write else REPLICA) == target, facts.must_write
    assert facts.must_write == must_write(facts)


def test_the_table_is_large_and_has_no_text_twice() -> None:
    texts = [text for text, _ in table()]
    assert len(set(texts)) == len(texts) >= 150


def test_whatever_writes_by_the_other_facts_must_go_to_the_primary() -> None:
    """`writes` is coarser: the reads among what it says are calls of harmless functions only."""
    for text in READS.strip("\n").split("\n"):
        for statement in parse(text.encode()).statements:
            assert not statement.writes or set(statement.volatile_functions) <= HARMLESS, text


@pytest.fixture(scope="module")
def pair() -> Iterator[BlockingCluster]:
    """A primary with the schema, and a standby that has it."""
    cluster = start_blocking(standbys=1)
    try:
        cluster.execute(SCHEMA)
        position = cluster.execute("SELECT pg_current_wal_insert_lsn()::text")[0][0]
        with psycopg.connect(cluster.cluster.dsn("node2"), autocommit=True) as standby:
            standby.execute("SET statement_timeout = '60s'")
            standby.execute(
                "DO $$ BEGIN WHILE pg_last_wal_replay_lsn() < "
                f"'{position}' LOOP PERFORM pg_sleep(0.02); END LOOP; END $$"
            )
        yield cluster
    finally:
        cluster.stop()


@pytest.mark.cluster
def test_a_standby_takes_every_read_of_the_table(pair: BlockingCluster) -> None:
    """None is refused because the server is in recovery, and none fails for another reason."""
    with psycopg.connect(pair.cluster.dsn("node2"), autocommit=True) as standby:
        assert standby.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        failed = {text: state for text in _lines(READS) if (state := _sqlstate(standby, text))}
    assert failed == {}


@pytest.mark.cluster
def test_a_standby_refuses_writes_of_the_table(pair: BlockingCluster) -> None:
    """The other half is not there out of caution alone: what is called a write in it is refused."""
    with psycopg.connect(pair.cluster.dsn("node2"), autocommit=True) as standby:
        taken = [
            text
            for text in _lines(WRITES)
            if parse(text.encode()).must_write.startswith(("it writes", "it locks", "a standby refuses"))
            and "CONCURRENTLY" not in text
            and _sqlstate(standby, text) not in REFUSALS
        ]
    # its configuration is its own; it makes restart points, and takes weak locks within a transaction
    assert taken == ["LOCK TABLE t IN ACCESS SHARE MODE", "ALTER SYSTEM SET work_mem = '4MB'", "CHECKPOINT"]


def _sqlstate(connection: psycopg.Connection, text: str) -> str:
    """Run a text and put the connection back to where it was; empty: it was no error."""
    found = connection.pgconn.exec_(text.encode())
    if found.status == pq.ExecStatus.COPY_OUT:
        while connection.pgconn.get_copy_data(0)[0] > 0:
            pass
        found = connection.pgconn.get_result() or found
        while connection.pgconn.get_result() is not None:
            pass
    state = found.error_field(pq.DiagnosticField.SQLSTATE)
    connection.pgconn.exec_(b"ROLLBACK")
    return "" if state is None else state.decode()


def _lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def test_functions_declared_safe() -> None:
    """They free a statement of calls only, and by the name that the text gives."""
    safe = SafeFunctions(["f", "app.*"])
    assert must_write(parse(b"SELECT f(1), app.f(1)"), safe) == ""
    assert must_write(parse(b"SELECT f(1), g(1)"), safe) == "it calls g, which is not known to be safe"
    assert (
        must_write(parse(b"SELECT public.f(1)"), safe) == "it calls public.f, which is not known to be safe"
    )
    assert must_write(parse(b"INSERT INTO t VALUES (f(1))"), safe) == "it writes (INSERT)"
    assert must_write(parse(b"SELECT f(1) FROM t FOR UPDATE"), safe) == "it locks rows"
    assert must_write(parse(b"CALL f(1)"), safe) == "CALL may write"
    assert must_write(parse(b"SELECT nextval('q')"), SafeFunctions(["*"])) != ""
    assert must_write(parse(b"SELECT 1"), safe) == ""


def test_patterns_of_safe_functions_are_remembered_within_bounds() -> None:
    safe = SafeFunctions(["st_*"])
    for number in range(2 * SafeFunctions.LIMIT):
        assert safe(f"st_{number}")
    assert not safe("touch")
    assert len(safe._known) <= SafeFunctions.LIMIT


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_is_in_recovery()",
        "SELECT * FROM pg_stat_wal_receiver",
        "SHOW in_hot_standby",
        "SELECT pg_backend_pid()",
    ],
)
def test_questions_about_the_server_go_where_the_client_wants(text: str) -> None:
    """They mean the server that takes writes, unless the client names another."""
    facts = parse(text.encode())
    assert facts.must_write
    assert must_write(facts, wished=True) == ""


@pytest.mark.parametrize(
    "text", ["SELECT pg_is_in_recovery(), nextval('q')", "SELECT f(1)", "INSERT INTO t VALUES (1)"]
)
def test_a_wish_sends_no_write_to_a_standby(text: str) -> None:
    """Rule 36."""
    assert must_write(parse(text.encode()), wished=True)


def test_a_text_that_is_not_parsed_must_go_to_the_primary() -> None:
    assert UNPARSED.must_write == "not parsed"
    assert must_write(UNPARSED, SafeFunctions(["*"]), wished=True) == "not parsed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BEGIN READ ONLY", True),
        ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", True),
        ("BEGIN READ ONLY; SELECT 1", True),
        ("BEGIN", False),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", False),
        ("BEGIN READ ONLY; SELECT nextval('q')", False),
        ("SELECT 1", False),
        ("COMMIT", False),
    ],
)
def test_begins_read_only(text: str, expected: bool) -> None:
    assert parse(text.encode()).begins_read_only is expected


def test_a_session_that_wants_serializable_belongs_to_the_primary() -> None:
    assert settings_must_write({"default_transaction_isolation": "Serializable"}) == "SERIALIZABLE"
    assert settings_must_write({"default_transaction_isolation": "repeatable read"}) == ""
    assert settings_must_write({}) == ""


@given(st.sampled_from(_lines(READS) + _lines(WRITES)), st.integers(2, 10**9))
def test_texts_that_share_their_facts_have_one_reason(text: str, number: int) -> None:
    """The reason does not hang on constants, and has none in it."""
    other = text.replace("1", str(number)).encode()
    cache = FactsCache()
    cache.facts(text.encode())
    reason = cache.facts(other).must_write
    assert reason == parse(other).must_write
    assert str(number) not in reason or number < 10


def test_the_tables_of_functions_name_those_that_there_are() -> None:
    """A slip of the pen in a name would be a function that is never found."""
    assert all(volatility(name) is Volatility.VOLATILE for name in HARMLESS | LOCAL_STATE.keys())
    assert all(volatility(name) not in (None, Volatility.VOLATILE) for name in WRITER_ONLY)
    assert not HARMLESS & LOCAL_STATE.keys()
