"""Transparent write routing: a database tied to a standby is read there and written on the primary."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from routing_rig import PORT, config, port_of, replicated_cluster, until, value

from helios_trio.embedded import BlockingCluster
from helios_trio.features.transparent_write_routing.learned import LearnedWriter, LearnedWriters
from helios_trio.testing.running import ProxyProcess, running_proxy

#: Milliseconds that a read waits for the standby at most.
PATIENCE = 300
WEST = f"""
[transparent_write_routing]
enabled = true
forward_timeout_ms = {PATIENCE}
[[databases]]
name = "west"
database = "postgres"
backend = "node3"
[[databases]]
name = "*"
"""


@pytest.fixture(scope="module")
def replicated() -> Iterator[BlockingCluster]:
    """All tests of this module share it."""
    with replicated_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def proxy(replicated: BlockingCluster) -> Iterator[ProxyProcess]:
    """In front of all three."""
    with running_proxy(config(replicated, "transaction", WEST)) as found:
        yield found


@pytest.fixture
def west(proxy: ProxyProcess) -> Iterator[psycopg.Connection]:
    """A client of the tied database."""
    with psycopg.connect(proxy.dsn(database="west"), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute("CREATE TABLE t (n int)")
        yield connection


@pytest.fixture
def stale(replicated: BlockingCluster, west: psycopg.Connection) -> Iterator[None]:
    """The standby of that database applies nothing."""
    until(lambda: value(west, "SELECT count(*) FROM t") == 0, "the table is not there")
    replicated.execute("SELECT pg_wal_replay_pause()", "node3")
    try:
        yield
    finally:
        replicated.execute("SELECT pg_wal_replay_resume()", "node3")


@pytest.mark.cluster
def test_reads_stay_and_writes_reach_the_primary(
    west: psycopg.Connection, replicated: BlockingCluster
) -> None:
    """Each write is read at once, on the standby that it was made for."""
    here = port_of(replicated, "node3")
    for n in range(20):
        west.execute("INSERT INTO t VALUES (%s)", (n,))
        assert west.execute(f"SELECT max(n), ({PORT}) FROM t".encode()).fetchone() == (n, here)


@pytest.mark.cluster
@pytest.mark.usefixtures("stale")
def test_sync_gives_up_waiting_and_reads_on_the_primary(
    west: psycopg.Connection, replicated: BlockingCluster
) -> None:
    """A standby that does not come along costs time, and no truth."""
    west.execute("INSERT INTO t VALUES (1)")
    row = west.execute(f"SELECT count(*), ({PORT}) FROM t".encode()).fetchone()
    assert row is not None
    assert row[0] == 1
    assert row[1] != port_of(replicated, "node3")


@pytest.mark.cluster
@pytest.mark.usefixtures("stale")
@pytest.mark.parametrize("mode", ["async", "semi_sync"])
def test_who_does_not_wait_may_read_what_was(
    mode: str, west: psycopg.Connection, replicated: BlockingCluster
) -> None:
    """semi_sync waits until the standby has it on disk, async for nothing; neither sees it there."""
    west.execute(f"SET helios.sync_mode = '{mode}'".encode())
    west.execute("INSERT INTO t VALUES (1)")
    here = port_of(replicated, "node3")
    assert west.execute(f"SELECT count(*), ({PORT}) FROM t".encode()).fetchone() == (0, here)


def a_writer(fingerprint: str, database: str = "d") -> LearnedWriter:
    return LearnedWriter(database, fingerprint, "SELECT f()", "25006", 0.0)


def test_writers_are_learned_by_database_and_forgotten() -> None:
    """One by one, or all; what was asked for least lately falls out."""
    learned = LearnedWriters(capacity=2)
    learned.learn(a_writer("a"))
    learned.learn(a_writer("b"))
    assert learned.writes("d", "a")
    assert not learned.writes("other", "a")
    learned.learn(a_writer("c"))
    assert [each.fingerprint for each in learned.all()] == ["a", "c"]
    assert learned.forget("a") == 1
    assert not learned.writes("d", "a")
    assert learned.forget() == 1
    assert len(learned) == 0
