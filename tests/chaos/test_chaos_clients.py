"""Clients that vanish at the worst moment: what they had begun is undone, what they held is free."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest
from chaos_tools import MakeProxy, Observer, RawClient, chaos_proxy, clients, frame, query, until

from helios_trio.testing.running import ProxyProcess

pytestmark = pytest.mark.cluster

MODES = ("transaction", "session")
VANISH: dict[str, Callable[[RawClient], None]] = {"reset": RawClient.reset, "close": RawClient.close}


def sit_idle(client: RawClient) -> None:
    """Has done something, does nothing."""
    client.run("select 1")


def open_transaction(client: RawClient) -> None:
    """In a transaction, holding a lock."""
    client.run("begin; insert into vanishing values (1)")


def fail_transaction(client: RawClient) -> None:
    """In a transaction that has failed."""
    client.run("begin; insert into vanishing values (1)")
    client.run("nonsense")


def run_long(client: RawClient) -> None:
    """In a long query that holds a lock."""
    client.send(query("insert into vanishing select 1 from pg_sleep(3600)"))


def copy_in(client: RawClient) -> None:
    """In COPY FROM STDIN, with data on the way."""
    client.send(query("copy vanishing from stdin"))
    client.wait_for(b"G")
    client.send(frame(b"d", b"1\n"))


def copy_out(client: RawClient) -> None:
    """In an endless COPY TO STDOUT."""
    client.send(query("copy (select repeat('x', 1000), generate_series(1, 100000000)) to stdout"))
    client.wait_for(b"d")


def half_frame(client: RawClient) -> None:
    """The first half of a Query, in a transaction."""
    open_transaction(client)
    client.send(query("insert into vanishing values (2)")[:11])


def half_length(client: RawClient) -> None:
    """Two bytes of a message."""
    client.send(b"Q\0")


def unsynced_batch(client: RawClient) -> None:
    """An extended batch without its Sync."""
    client.send(frame(b"P", b"\0insert into vanishing values (3)\0\0\0"))
    client.send(frame(b"B", b"\0\0\0\0\0\0\0\0") + frame(b"E", b"\0" + struct.pack("!I", 0)) + frame(b"H"))
    client.wait_for(b"C")


def wait_for_row(client: RawClient) -> None:
    """In a query that another transaction keeps waiting."""
    client.send(query("begin; insert into vanishing values (4); select pg_advisory_xact_lock(4711)"))


SITUATIONS = [
    sit_idle,
    open_transaction,
    fail_transaction,
    run_long,
    copy_in,
    copy_out,
    half_frame,
    half_length,
    unsynced_batch,
    wait_for_row,
]


@pytest.fixture(scope="module", params=MODES)
def narrow(request: pytest.FixtureRequest, address: tuple[str, int]) -> Iterator[ProxyProcess]:
    """A proxy with one server connection."""
    with chaos_proxy(address, mode=request.param, queue_timeout="60s") as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def table(observer: Observer) -> Iterator[None]:
    """A table that nobody has written to; a test that fails leaves nothing to the next."""
    observer.execute("create table vanishing (n int)")
    observer.execute("select pg_advisory_lock(4711)")
    yield
    observer.execute("select pg_advisory_unlock_all()")
    for pid, _, _ in observer.backends():
        observer.execute(f"select pg_terminate_backend({pid}, 5000)")
    observer.execute("drop table vanishing")


@pytest.mark.parametrize("vanish", VANISH)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_vanished_client_leaves_nothing(
    narrow: ProxyProcess, observer: Observer, situation: Callable[[RawClient], None], vanish: str
) -> None:
    """Its transaction is rolled back, its locks are gone, and the only connection serves the next client."""
    gone = RawClient((narrow.host, narrow.port))
    gone.wait_for(b"Z")
    situation(gone)
    VANISH[vanish](gone)
    with psycopg.connect(narrow.dsn(), autocommit=True, connect_timeout=20) as following:
        assert following.execute("select count(*) from vanishing").fetchone() == (0,)
    until(lambda: not sum(clients(narrow).values()), "the metrics count no client")
    until(lambda: len(observer.backends()) <= 1, "no more than one server connection")
    assert not [row for row in observer.backends() if row[1] != "idle"]
    locks = (
        "select pid, mode from pg_locks where relation = 'vanishing'::regclass and pid <> pg_backend_pid()"
    )
    assert observer.execute(locks) == []


@pytest.mark.parametrize("vanish", VANISH)
def test_vanished_client_that_waited(narrow: ProxyProcess, observer: Observer, vanish: str) -> None:
    """A client that goes while it waits for a connection is never served."""
    with psycopg.connect(narrow.dsn()) as holder:
        holder.execute("select 1")
        gone = RawClient((narrow.host, narrow.port))
        waiting = clients(narrow)
        gone.send(query("insert into vanishing values (1)"))
        until(lambda: sum(clients(narrow).values()) == 2 and clients(narrow).get("active") == 1, str(waiting))
        VANISH[vanish](gone)
        until(lambda: sum(clients(narrow).values()) == 1, "the waiting client is gone")
    with psycopg.connect(narrow.dsn()) as following:
        assert following.execute("select count(*) from vanishing").fetchone() == (0,)


def test_killed_client_process(narrow: ProxyProcess, observer: Observer) -> None:
    """SIGKILL of a client's process is noticed like a disconnect."""
    program = (
        "import psycopg, sys; c = psycopg.connect(sys.argv[1]);"
        "c.execute('insert into vanishing values (1)'); c.execute('select pg_sleep(3600)')"
    )
    process = subprocess.Popen([sys.executable, "-c", program, narrow.dsn()])
    try:
        until(lambda: observer.working("pg_sleep(3600)"), "the client's query runs")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with psycopg.connect(narrow.dsn(), connect_timeout=20) as following:
        assert following.execute("select count(*) from vanishing").fetchone() == (0,)
    until(lambda: not observer.working("pg_sleep"), "the query has ended")


def test_vanishing_clients_in_numbers(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer, rounds: int
) -> None:
    """Whatever hundred clients leave behind, the pool is whole afterwards."""
    proxy = make_proxy(address, max_connections=3, queue_timeout="30s")
    for at in range(20 * rounds):
        situation = SITUATIONS[at % len(SITUATIONS)]
        with RawClient((proxy.host, proxy.port)) as client:
            client.wait_for(b"Z")
            situation(client)
            client.reset()
    with psycopg.connect(proxy.dsn(), connect_timeout=30) as following:
        assert following.execute("select count(*) from vanishing").fetchone() == (0,)
    until(lambda: not sum(clients(proxy).values()), "the metrics count no client")
    until(lambda: len(observer.backends()) <= 4, "no more server connections than the pools may have")
