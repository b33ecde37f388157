"""A real proxy before a real server: spans and the log of queries, in every pool mode, by a real driver."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from routing_rig import ask, replicated_cluster, value
from routing_rig import config as routed_config
from tracing_rig import Collector, Told, running_collector, until

from helios_trio.embedded import BlockingCluster
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CONFIG = """
[proxy]
log_format = "json"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = 10
[[pool.rules]]
database = "one_span_at_a_time"
mode = "transaction"
max_connections = 1
[observability]
trace_sample_ratio = 1.0
service_name = "tested"
{more}
"""
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Spans = Callable[[int], list[Told]]


def parent(flags: str = "01") -> str:
    return f"/*traceparent='00-{TRACE}-{SPAN}-{flags}'*/"


MODES = [
    "transaction",
    pytest.param("session", marks=pytest.mark.long),
    pytest.param("statement", marks=pytest.mark.long),
]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as found:
        yield found


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def proxy(mode: str, collector: Collector, direct_address: tuple[str, int]) -> Iterator[ProxyProcess]:
    more = f'otlp_endpoint = "{collector.endpoint}"'
    host, port = direct_address
    with running_proxy(CONFIG.format(host=host, port=port, mode=mode, more=more)) as found:
        yield found


@pytest.fixture
def database(request: pytest.FixtureRequest, mode: str, direct_dsn: str) -> Iterator[str]:
    """A database of this test, by which its spans are told from others."""
    name = f"traced_{mode}_{abs(hash(request.node.name)):x}"
    with psycopg.connect(direct_dsn, autocommit=True) as maintenance:
        maintenance.execute(f"CREATE DATABASE {name}".encode())
        yield name
        maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def spans(collector: Collector, database: str) -> Spans:
    """Waits for so many spans of this test."""
    return lambda number: collector.of(database, number)


@pytest.fixture
def client(proxy: ProxyProcess, database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(proxy.dsn(database=database), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def operations(found: list[Told]) -> list[str | None]:
    return [each.operation for each in found]


def test_simple_query(
    client: psycopg.Connection, spans: Spans, direct_address: tuple[str, int], database: str
) -> None:
    client.execute("SELECT 'a secret'")
    (found,) = spans(1)
    assert found.name == f"SELECT {database}"
    assert found.attributes["db.system.name"] == "postgresql"
    assert (found.attributes["server.address"], found.attributes["server.port"]) == direct_address
    assert found.attributes["helios.route"] == "primary"
    assert 0 <= found.attributes["helios.backend_seconds"] <= found.seconds + 1e-6
    assert found.resource["service.name"] == "tested"
    assert found.trace[1] == ""
    assert not found.failed
    assert b"secret" not in found.span.SerializeToString()


def test_extended_query(client: psycopg.Connection, spans: Spans) -> None:
    """One span for the batch, also when a prepared statement is prepared and used."""
    client.execute("CREATE TABLE t (n int)")
    client.execute("INSERT INTO t VALUES (%s)", (1,))
    for _ in range(2):
        client.execute("SELECT n FROM t WHERE n = %s", (1,), prepare=True)
    found = spans(4)
    assert operations(found)[:2] == ["CREATE TABLE", "INSERT"]
    assert operations(found)[-1] == "SELECT"
    assert set(operations(found)[2:]) <= {"PREPARE", "SELECT"}


def test_errors(client: psycopg.Connection, spans: Spans) -> None:
    for text, parameters in (("SELECT 1/0", None), ("SELECT 1/%s::int", (0,)), ("SELECT 'se', crets", None)):
        with pytest.raises(psycopg.Error):
            client.execute(text, parameters)
    found = spans(3)
    assert [each.attributes["db.response.status_code"] for each in found] == ["22012", "22012", "42703"]
    assert all(each.failed for each in found)
    assert not any(b"crets" in each.span.SerializeToString() for each in found)


def test_pipelined(client: psycopg.Connection, spans: Spans) -> None:
    """A span up to each Sync; an error is that of its own batch."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        ask_in_a_row(client)
    found = spans(3)
    assert operations(found)[:3] == ["SELECT", "BATCH", "SELECT"]
    assert found[1].attributes["db.operation.batch.size"] == 2
    assert [each.attributes.get("db.response.status_code") for each in found[:3]] == [None, None, "22012"]


def ask_in_a_row(client: psycopg.Connection) -> None:
    with client.pipeline() as pipeline:
        client.execute("SELECT 1")
        pipeline.sync()
        client.execute("SELECT 2")
        client.execute("SELECT 3")
        pipeline.sync()
        client.execute("SELECT 1/0")


def test_parents(client: psycopg.Connection, spans: Spans) -> None:
    client.execute(f"SELECT 1 {parent()}".encode())
    client.execute(f"SELECT 2 {parent('00')}".encode())
    client.execute(f"{parent()} SELECT %s".encode(), (3,))
    client.execute(b"SELECT 4 /*traceparent='00-zz'*/")
    first, third, fourth = spans(3)
    assert first.trace == third.trace == (TRACE, SPAN)
    assert first.span.span_id != third.span.span_id
    assert fourth.trace[0] not in (TRACE, "0" * 32)
    assert fourth.trace[1] == ""


def test_transactions(client: psycopg.Connection, spans: Spans, mode: str) -> None:
    if mode == "statement":
        pytest.skip("there are none in statement mode")
    with client.transaction():
        client.execute("CREATE TABLE t ()")
    client.execute("SELECT 1; SELECT 2")
    assert operations(spans(4)) == ["BEGIN", "CREATE TABLE", "COMMIT", "BATCH SELECT"]


def test_copy(client: psycopg.Connection, spans: Spans) -> None:
    client.execute("CREATE TABLE t (n int)")
    with client.cursor() as cursor:
        with cursor.copy("COPY t FROM STDIN") as copy:
            for number in range(20_000):
                copy.write_row((number,))
        with cursor.copy("COPY t TO STDOUT") as copy:
            assert sum(1 for _ in copy) > 0
    client.execute("SELECT repeat('x', 100) FROM generate_series(1, 20000)")
    client.execute("SELECT 1")
    assert operations(spans(5)) == ["CREATE TABLE", "COPY", "COPY", "SELECT", "SELECT"]


def test_cancel_request(client: psycopg.Connection, spans: Spans) -> None:
    client.execute("SELECT 1")
    timer = threading.Timer(0.2, client.cancel)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute("SELECT pg_sleep(30)")
    timer.join()
    assert spans(2)[1].attributes["db.response.status_code"] == "57014"


def test_client_that_leaves(proxy: ProxyProcess, database: str, spans: Spans) -> None:
    connection = psycopg.connect(proxy.dsn(database=database), autocommit=True)
    connection.execute("SELECT 1")
    connection.pgconn.send_query(b"SELECT pg_sleep(30)")
    connection.pgconn.flush()
    until(lambda: runs(database, proxy), "it runs")
    leave(connection)
    connection.close()
    found = spans(2)[1]
    assert found.failed
    assert found.attributes["error.type"] == "client lost"


def runs(database: str, proxy: ProxyProcess) -> bool:
    with psycopg.connect(proxy.dsn(), autocommit=True) as other:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%pg_sleep(30)'"
        return bool((other.execute(query, (database,)).fetchone() or (0,))[0])


def leave(connection: psycopg.Connection) -> None:
    """Gone without a word."""
    with socket.socket(fileno=connection.fileno()) as left:
        left.shutdown(socket.SHUT_RDWR)
        left.detach()


def test_waiting(proxy: ProxyProcess, collector: Collector, direct_dsn: str) -> None:
    with psycopg.connect(direct_dsn, autocommit=True) as maintenance:
        exists = maintenance.execute(
            "SELECT 1 FROM pg_database WHERE datname = 'one_span_at_a_time'"
        ).fetchone()
        if not exists:
            maintenance.execute("CREATE DATABASE one_span_at_a_time")
    dsn = proxy.dsn(database="one_span_at_a_time")
    before = len(
        [each for each in collector.spans if each.attributes["db.namespace"] == "one_span_at_a_time"]
    )
    with psycopg.connect(dsn) as first, psycopg.connect(dsn, autocommit=True) as second:
        first.execute("SELECT 1")
        second.pgconn.send_query(b"SELECT 2")
        until(lambda: figure(proxy, 'helios_clients{state="waiting"}') == 1, "it waits")
        first.commit()
        while second.pgconn.get_result() is not None:
            pass
    found = collector.of("one_span_at_a_time", before + 4)[before:]
    waits = {each.operation: each.attributes["helios.wait_seconds"] for each in found}
    waited = max(found, key=lambda each: float(each.attributes["helios.wait_seconds"]))
    assert waits["BEGIN"] == waits["COMMIT"] == 0
    assert 0 < waited.attributes["helios.wait_seconds"] <= waited.seconds


def figure(proxy: ProxyProcess, name: str) -> float | None:
    import urllib.request

    assert proxy.admin is not None
    with urllib.request.urlopen(f"http://{proxy.admin[0]}:{proxy.admin[1]}/metrics/prometheus") as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), None)


def test_metrics(client: psycopg.Connection, proxy: ProxyProcess, spans: Spans) -> None:
    before = figure(proxy, "helios_spans_exported_total") or 0
    client.execute("SELECT 1")
    spans(1)
    until(lambda: (figure(proxy, "helios_spans_exported_total") or 0) > before, "it is counted")
    assert figure(proxy, 'helios_spans_dropped_total{reason="no room"}') == 0


@pytest.mark.long
def test_route_and_why(collector: Collector) -> None:
    """Reads go to the standby, writes to the primary, and their spans say so."""
    more = f'[observability]\notlp_endpoint = "{collector.endpoint}"\ntrace_sample_ratio = 1.0'
    with replicated_cluster(standbys=1) as cluster, running_proxy(routed(cluster, more)) as proxy:
        cluster.execute("CREATE DATABASE routed_traces")
        names = [node.name for node in cluster.cluster.nodes]
        with psycopg.connect(proxy.dsn(database="routed_traces"), autocommit=True) as client:
            client.execute("CREATE TABLE t (n int)")
            until(
                lambda: value(client, "SHOW helios.last_route") == names[1] or reads(client), "it reads there"
            )
            client.execute("INSERT INTO t VALUES (1)")
        last = collector.of("routed_traces", 3)
        until(lambda: "INSERT" in operations(collector.of("routed_traces", 1)), "all are there")
        last = collector.of("routed_traces", 3)
        routes = {str(each.attributes["helios.route"]) for each in last if each.operation == "SELECT"}
        assert f"{names[1]}: a read" in routes
        insert = next(each for each in last if each.operation == "INSERT")
        where, _, why = insert.attributes["helios.route"].partition(": ")
        assert where == names[0]
        assert why not in ("", "a read")


def routed(cluster: BlockingCluster, more: str) -> str:
    return routed_config(cluster, "transaction", more)


def reads(client: psycopg.Connection) -> bool:
    client.execute("SELECT n FROM t")
    return False


# -- the log ---------------------------------------------------------------------------------------------------


def lines(proxy: ProxyProcess) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in proxy.log_since().splitlines() if line.startswith("{")]
    return [each for each in found if each.get("logger") == "helios_trio.queries"]


def logging_proxy(direct_address: tuple[str, int], mode: str, more: str) -> str:
    host, port = direct_address
    return CONFIG.format(host=host, port=port, mode=mode, more=more)


@pytest.mark.parametrize("pool_mode", [pytest.param("session", marks=pytest.mark.long), "transaction"])
def test_log_of_slow_queries(direct_address: tuple[str, int], pool_mode: str) -> None:
    """Without literals; and without any span."""
    more = 'log_queries = "slow"\nslow_query_threshold_ms = 200'
    with running_proxy(logging_proxy(direct_address, pool_mode, more)) as proxy:
        with psycopg.connect(proxy.dsn(), autocommit=True) as client:
            client.execute("SELECT 'fast secret'")
            client.execute("SELECT pg_sleep(0.3), 'slow secret'")
            client.execute("SELECT pg_sleep(%s), %s::text", (0.3, "third secret"))
            with pytest.raises(psycopg.Error):
                client.execute("SELECT pg_sleep(0.3), 'fourth secret', 1 / (random() * 0)::int")
        until(lambda: len(lines(proxy)) >= 3, "they are logged")
        found = lines(proxy)
        assert [each["text"] for each in found[:2]] == [
            "SELECT pg_sleep($1), $2",
            "SELECT pg_sleep($1), $2::text",
        ]
        assert found[0]["event"] == "query"
        assert found[0]["operation"] == "SELECT"
        assert (found[0]["user"], found[0]["database"], found[0]["backend"]) == (
            "postgres",
            "postgres",
            "primary",
        )
        assert found[2]["sqlstate"] == "22012"
        assert all(each["duration_ms"] >= 200 for each in found)
        assert "trace_id" not in found[0]
        assert "secret" not in proxy.log_since()


def test_log_of_all_queries(direct_address: tuple[str, int]) -> None:
    """With literals, if somebody wants them; parameters are never told; a reload changes that."""
    more = 'log_queries = "all"\nlog_literals = true'
    with running_proxy(logging_proxy(direct_address, "transaction", more)) as proxy:
        with psycopg.connect(proxy.dsn(), autocommit=True) as client:
            client.execute(f"SELECT 'told' {parent()}".encode())
            client.execute("SELECT %s::text", ("not told",))
            with pytest.raises(psycopg.Error):
                client.execute("SELECT 'syntax error' '' FROM")
        until(lambda: len(lines(proxy)) >= 3, "they are logged")
        first, second, third = lines(proxy)[:3]
        assert first["text"] == f"SELECT 'told' {parent()}"
        assert first["trace_id"] == TRACE
        assert second["text"] == "SELECT $1::text"
        assert third["sqlstate"] == "42601"
        assert "not told" not in proxy.log_since()
        assert ask(proxy, "GET", "/api/v1/sessions") is not None
