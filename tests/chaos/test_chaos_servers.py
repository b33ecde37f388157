"""Servers that are killed, that stall, that are not there: nobody hangs, idle sessions notice nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import trio
from chaos_tools import PATIENCE, MakeProxy, RawClient, clients, query, until

from helios_trio.embedded import BlockingCluster
from helios_trio.testing.running import ProxyProcess

#: What befalls a server is what its sessions see, as with PostgreSQL itself; failover has tests of its own.
SETTINGS = {"failover": "false"}

pytestmark = pytest.mark.cluster

Client = psycopg.Connection[Any]


@pytest.fixture(autouse=True)
def running(mortal: BlockingCluster) -> Iterator[None]:
    """The server runs, whatever a test did to it."""
    start(mortal)
    yield
    trio.run(mortal.cluster.resume, mortal.cluster.primary.name)
    start(mortal)


def start(mortal: BlockingCluster) -> None:
    """Start the server, unless it runs."""
    trio.run(mortal.cluster.start_node, mortal.cluster.primary.name)


def kill(mortal: BlockingCluster) -> None:
    """SIGKILL all processes of the server."""
    trio.run(mortal.cluster.kill_node, mortal.cluster.primary.name)


@contextmanager
def paused(mortal: BlockingCluster) -> Iterator[None]:
    """SIGSTOP all processes of the server."""
    name = mortal.cluster.primary.name
    trio.run(mortal.cluster.pause, name)
    try:
        yield
    finally:
        trio.run(mortal.cluster.resume, name)


def connect(proxy: ProxyProcess) -> Client:
    """A client in autocommit."""
    return psycopg.connect(proxy.dsn(), autocommit=True, connect_timeout=30)


def answer(client: Client) -> Any:
    """The answer to a small question."""
    return client.execute("select 42").fetchone()


def complaint(work: Callable[[], object]) -> psycopg.OperationalError:
    """The error with which `work` fails."""
    with pytest.raises(psycopg.OperationalError) as caught:
        work()
    return caught.value


def wait_idle(proxy: ProxyProcess) -> None:
    """No client has or wants a server connection (transaction mode)."""
    until(lambda: not clients(proxy)["active"] + clients(proxy)["waiting"], "all clients are idle")


# -- killed ----------------------------------------------------------------------------------------------------


def test_idle_session_survives_the_death_of_its_server(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int]
) -> None:
    """Transaction mode: killed and started again, and the next query simply works."""
    proxy = make_proxy(mortal_address, max_connections=3)
    with connect(proxy) as one, connect(proxy) as two:
        one.execute("set application_name = 'one'")
        assert answer(two) == (42,)
        kill(mortal)
        start(mortal)
        assert answer(two) == (42,)
        assert one.execute("show application_name").fetchone() == ("one",)


def test_query_waits_for_the_server(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int]
) -> None:
    """Transaction mode: a query sent while the server is down is answered when it is back in time."""
    proxy = make_proxy(mortal_address, queue_timeout="30s")
    with connect(proxy) as client, ThreadPoolExecutor(1) as executor:
        assert answer(client) == (42,)
        kill(mortal)
        asked = executor.submit(answer, client)
        until(lambda: clients(proxy)["waiting"] == 1, "the query waits")
        start(mortal)
        assert asked.result(timeout=PATIENCE) == (42,)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_open_transaction_dies_with_its_server(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int], mode: str
) -> None:
    """The client is told at once that its connection is over; afterwards the pool serves others."""
    proxy = make_proxy(mortal_address, mode=mode)
    with RawClient((proxy.host, proxy.port)) as raw:
        raw.wait_for(b"Z")
        raw.run("begin; select 1")
        kill(mortal)
        said = raw.last_words()
    assert said["V"] == "FATAL"
    assert said["C"] in ("08006", "57P01", "57P02")
    start(mortal)
    with connect(proxy) as following:
        assert answer(following) == (42,)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_running_query_dies_with_its_server(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int], mode: str
) -> None:
    """As an open transaction: nobody waits for an answer that cannot come."""
    proxy = make_proxy(mortal_address, mode=mode)
    with RawClient((proxy.host, proxy.port)) as raw:
        raw.wait_for(b"Z")
        raw.send(query("select pg_sleep(3600)"))
        until(lambda: clients(proxy)["active"] == 1, "the query runs")
        kill(mortal)
        said = raw.last_words()
    assert said["C"] in ("08006", "57P01", "57P02")


def test_idle_session_in_session_mode_hears_of_it(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int]
) -> None:
    """Session mode: its connection is the server's, so it ends with it."""
    proxy = make_proxy(mortal_address, mode="session")
    with RawClient((proxy.host, proxy.port)) as raw:
        raw.wait_for(b"Z")
        kill(mortal)
        assert raw.last_words()["C"] in ("08006", "57P01", "57P02")
    until(lambda: not sum(clients(proxy).values()), "the metrics count no client")


def test_session_mode_passes_on_the_servers_own_words(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int]
) -> None:
    """Session mode: pg_terminate_backend is told in PostgreSQL's words."""
    proxy = make_proxy(mortal_address, mode="session")
    with RawClient((proxy.host, proxy.port)) as raw:
        raw.wait_for(b"Z")
        mortal.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = ''"
            " and backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        said = raw.last_words()
    assert (said["C"], said["R"]) == ("57P01", "ProcessInterrupts")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_one_killed_backend(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int], mode: str
) -> None:
    """SIGKILL of one backend crashes the server's shared memory: all reconnect after its recovery."""
    proxy = make_proxy(mortal_address, mode=mode, max_connections=3, queue_timeout="30s")
    with RawClient((proxy.host, proxy.port)) as victim, connect(proxy) as idle:
        victim.wait_for(b"Z")
        victim.run("begin")
        victim.send(query("select pg_backend_pid()"))
        pid = int(victim.wait_for(b"D")[6:])
        assert answer(idle) == (42,)
        os.kill(pid, signal.SIGKILL)
        assert victim.last_words()["C"] in ("08006", "57P02")
        until(partial(_recovered, mortal), "the server has recovered")
        if mode == "transaction":
            assert answer(idle) == (42,)
        else:
            assert complaint(partial(answer, idle)).sqlstate in ("08006", "57P02", None)
    with connect(proxy) as following:
        assert answer(following) == (42,)


def _recovered(mortal: BlockingCluster) -> bool:
    try:
        return mortal.execute("select 1") == [(1,)]
    except psycopg.OperationalError:
        return False


def test_crash_under_load(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int], rounds: int
) -> None:
    """Twenty clients at work, the server dies and comes back: each sees an error or an answer, and goes on."""
    proxy = make_proxy(mortal_address, max_connections=5, queue_timeout="30s")
    served = [0] * 20
    told: set[str | None] = set()
    over = threading.Event()

    def work(at: int) -> None:
        while not over.is_set():
            try:
                with connect(proxy) as client:
                    while not over.is_set():
                        with client.transaction():
                            assert client.execute("select %s + 0", (at,)).fetchone() == (at,)
                        served[at] += 1
            except psycopg.OperationalError as error:
                told.add(error.sqlstate)

    with ThreadPoolExecutor(len(served)) as executor:
        working = [executor.submit(work, at) for at in range(len(served))]
        try:
            for _ in range(2 * rounds):
                until(lambda: min(served), "everybody has been served")
                kill(mortal)
                start(mortal)
                served[:] = [0] * len(served)
            until(lambda: min(served), "everybody is served after the last start")
        finally:
            over.set()
        for done in working:
            done.result(timeout=PATIENCE)
    assert told <= {"08006", "57P01", "57P02", "57P03", None}


# -- stalled ---------------------------------------------------------------------------------------------------


def test_stalled_server(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int]
) -> None:
    """Who waits for a connection gives up after queue_timeout; who was being served is, once it goes on."""
    proxy = make_proxy(mortal_address, queue_timeout="500ms")
    with connect(proxy) as busy, connect(proxy) as other, ThreadPoolExecutor(1) as executor:
        assert answer(busy) == answer(other) == (42,)
        with paused(mortal):
            asked = executor.submit(answer, busy)
            until(lambda: clients(proxy)["active"] == 1, "the query is with the server")
            refused = complaint(partial(answer, other))
            assert refused.sqlstate == "08006"
            assert not asked.done()
        assert asked.result(timeout=PATIENCE) == (42,)
    with connect(proxy) as following:
        assert answer(following) == (42,)


def test_connecting_to_a_stalled_server(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int]
) -> None:
    """The kernel accepts for a stopped postmaster: the client is told 08006 and later ones are served."""
    proxy = make_proxy(mortal_address, queue_timeout="500ms")
    with paused(mortal), RawClient((proxy.host, proxy.port)) as raw:
        assert raw.last_words()["C"] == "08006"
    until(lambda: _works(proxy), "clients are served again")


def _works(proxy: ProxyProcess) -> bool:
    try:
        with connect(proxy) as client:
            return bool(answer(client) == (42,))
    except psycopg.OperationalError:
        return False


# -- absent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_server_down_at_start(
    make_proxy: MakeProxy, mortal: BlockingCluster, mortal_address: tuple[str, int], mode: str
) -> None:
    """The proxy starts; clients get 08006 with the reason after queue_timeout, and are served once it is up."""
    kill(mortal)
    proxy = make_proxy(mortal_address, mode=mode, queue_timeout="300ms")
    with RawClient((proxy.host, proxy.port)) as raw:
        said = raw.last_words()
    assert (said["V"], said["C"]) == ("FATAL", "08006")
    assert "refused" in said["M"]
    patient = make_proxy(mortal_address, mode=mode, queue_timeout="30s")
    with ThreadPoolExecutor(1) as executor:
        connecting = executor.submit(connect, patient)
        until(lambda: sum(clients(patient).values()) == 1, "the client waits")
        start(mortal)
        with connecting.result(timeout=PATIENCE) as client:
            assert answer(client) == (42,)
    with connect(proxy) as client:
        assert answer(client) == (42,)
