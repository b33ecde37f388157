"""Spans over a failover: each request of a client has one, whatever was repeated for it behind the scenes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tracing_rig import Collector, running_collector

from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CONFIG = """
[auth]
method = "trust"
[pool]
mode = "transaction"
[observability]
trace_sample_ratio = 1.0
otlp_endpoint = "{endpoint}"
"""
POSTMASTER = r"SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"/*traceparent='00-{TRACE}-{SPAN}-01'*/"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as found:
        yield found


@pytest.fixture
def proxy(collector: Collector) -> Iterator[ProxyProcess]:
    """With a cluster of its own: a primary and its standby."""
    with running_proxy(CONFIG.format(endpoint=collector.endpoint), ("--ephemeral",)) as found:
        yield found


def value(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def connect(proxy: ProxyProcess, database: str) -> psycopg.Connection:
    return psycopg.connect(proxy.dsn(database=database), autocommit=True)


def test_repeated_requests_have_one_span(proxy: ProxyProcess, collector: Collector) -> None:
    """Those of a transaction that is repeated, and one that was under way; the pause is in the span that waited."""
    with connect(proxy, "postgres") as other:
        other.execute("CREATE DATABASE spans")
        postmaster, old_port = value(other, POSTMASTER), int(value(other, "SHOW port"))
    with connect(proxy, "spans") as client, connect(proxy, "spans") as waiting:
        client.execute("CREATE TABLE t (id int)")
        client.execute(f"BEGIN {PARENT}".encode())
        client.execute(f"INSERT INTO t VALUES (1) {PARENT}".encode())
        under_way = threading.Thread(target=waiting.execute, args=("SELECT pg_sleep(2)",))
        under_way.start()
        os.kill(postmaster, signal.SIGKILL)
        client.execute(f"INSERT INTO t VALUES (2) {PARENT}".encode())
        client.execute(f"COMMIT {PARENT}".encode())
        under_way.join()
        assert value(client, "SELECT count(*) FROM t") == 2
        new_port = int(value(client, "SHOW port"))
    assert new_port != old_port
    found = collector.of("spans", 8)
    by_name = [each for each in found if each.operation in ("BEGIN", "INSERT", "COMMIT")]
    assert [each.operation for each in by_name] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    assert {each.trace for each in by_name} == {(TRACE, SPAN)}
    ports = [each.attributes["server.port"] for each in by_name]
    assert (ports[1], ports[-1]) == (old_port, new_port)
    (slept,) = [each for each in found if each.name.startswith("SELECT") and each.seconds >= 2]
    assert slept.attributes["server.port"] == new_port
    assert not any(each.failed for each in found)
    assert len(found) == 8
