"""The proxy's own end: signals under load, its sudden death, and the next one at the same port."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from attrs import define, field
from chaos_tools import PATIENCE, MakeProxy, Observer, RawClient, chaos_proxy, clients, query, until

from helios_trio.testing.running import ProxyProcess

pytestmark = pytest.mark.cluster

WORKERS = 20


@define
class Load:
    """Clients that add rows in transactions, and what each of them was told was committed."""

    dsn: str
    over: threading.Event = field(factory=threading.Event)
    commits: list[int] = field(factory=lambda: [0] * WORKERS)
    errors: list[psycopg.Error] = field(factory=list)

    def work(self, at: int) -> None:
        """One client; it stops at the first error."""
        try:
            with psycopg.connect(self.dsn) as connection:
                while not self.over.is_set():
                    connection.execute("insert into ledger values (%s)", (at,))
                    connection.execute("select pg_sleep(0.005)")
                    connection.commit()
                    self.commits[at] += 1
        except psycopg.OperationalError as error:
            self.errors.append(error)


@contextmanager
def load(dsn: str) -> Iterator[Load]:
    """Clients at work, each having committed at least once."""
    made = Load(dsn)
    with ThreadPoolExecutor(WORKERS) as executor:
        working: list[Future[None]] = [executor.submit(made.work, at) for at in range(WORKERS)]
        try:
            until(lambda: min(made.commits), "every client works")
            yield made
        finally:
            made.over.set()
            for done in working:
                done.result(timeout=PATIENCE)


@pytest.fixture(autouse=True)
def ledger(observer: Observer) -> Iterator[None]:
    """A table to count commits in."""
    observer.execute("create table ledger (client int)")
    yield
    observer.execute("drop table ledger")


def exit_code(proxy: ProxyProcess) -> int:
    """Wait for the end of the process."""
    return proxy.process.wait(PATIENCE)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_sigterm_under_load(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer, mode: str
) -> None:
    """Transactions that are open end well; then every client is told 57P01, and nothing else."""
    proxy = make_proxy(address, mode=mode, max_connections=5 if mode == "transaction" else WORKERS)
    with load(proxy.dsn()) as running:
        proxy.process.send_signal(signal.SIGTERM)
        assert exit_code(proxy) == 0
    # None: libpq takes a FATAL that arrives before its next request for a notice, and then sees the end.
    assert {error.sqlstate for error in running.errors} <= {"57P01", None}
    assert len(running.errors) == WORKERS
    assert observer.execute("select count(*) from ledger") == [(sum(running.commits),)]


def test_sigterm_waits_for_a_transaction(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer
) -> None:
    """An open transaction may commit after SIGTERM; idle clients go at once, new ones are not let in."""
    proxy = make_proxy(address, max_connections=3, drain_timeout="60s")
    with RawClient((proxy.host, proxy.port)) as idle, RawClient((proxy.host, proxy.port)) as busy:
        idle.wait_for(b"Z")
        busy.wait_for(b"Z")
        busy.run("begin; insert into ledger values (1)")
        proxy.process.send_signal(signal.SIGTERM)
        assert idle.last_words()["C"] == "57P01"
        until(lambda: _refuses(proxy), "nobody listens any more")
        busy.run("insert into ledger values (2)")
        busy.send(query("commit"))
        assert busy.wait_for(b"C") == b"COMMIT\0"
        assert busy.last_words()["C"] == "57P01"
        assert exit_code(proxy) == 0
    assert observer.execute("select count(*) from ledger") == [(2,)]


def test_drain_timeout_ends_a_transaction(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer
) -> None:
    """After drain_timeout the rest is told 57P01 and rolled back, and the process ends well."""
    proxy = make_proxy(address, drain_timeout="200ms", max_connections=2)
    with RawClient((proxy.host, proxy.port)) as open_one, RawClient((proxy.host, proxy.port)) as asking:
        open_one.wait_for(b"Z")
        asking.wait_for(b"Z")
        open_one.run("begin; insert into ledger values (1)")
        asking.send(query("select pg_sleep(3600)"))
        until(lambda: observer.working("pg_sleep"), "the query runs")
        proxy.process.send_signal(signal.SIGTERM)
        assert open_one.last_words()["C"] == "57P01"
        assert asking.last_words()["C"] == "57P01"
        assert exit_code(proxy) == 0
    until(lambda: not observer.working("ledger") and not observer.working("pg_sleep"), "all is rolled back")


def test_second_sigterm_stops_at_once(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer
) -> None:
    """Whoever asks twice does not want to wait for drain_timeout."""
    proxy = make_proxy(address, drain_timeout="1h")
    with RawClient((proxy.host, proxy.port)) as client:
        client.wait_for(b"Z")
        client.run("begin; insert into ledger values (1)")
        proxy.process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(proxy), "the drain has begun")
        assert proxy.running
        proxy.process.send_signal(signal.SIGTERM)
        assert client.last_words()["C"] == "57P01"
        assert exit_code(proxy) == 0
    until(lambda: not observer.working("ledger"), "the transaction is rolled back")


def _refuses(proxy: ProxyProcess) -> bool:
    """Whether nobody listens at the proxy's port."""
    with socket.socket() as probe:
        return probe.connect_ex((proxy.host, proxy.port)) != 0


def test_sighup_under_load(make_proxy: MakeProxy, address: tuple[str, int], observer: Observer) -> None:
    """Reloading an unchanged configuration disturbs nobody."""
    proxy = make_proxy(address, max_connections=5)
    with load(proxy.dsn()) as running:
        for at in range(10):
            proxy.process.send_signal(signal.SIGHUP)
            until(lambda: proxy.log_since().count("configuration reloaded") > at, "it has reloaded")  # noqa: B023
        seen = list(running.commits)
        until(lambda: all(now > then for now, then in zip(running.commits, seen, strict=True)), "all go on")
    assert running.errors == []
    assert observer.execute("select count(*) from ledger") == [(sum(running.commits),)]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_sigkill_leaves_nothing_on_the_server(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer, mode: str
) -> None:
    """The server notices that its client is gone: sessions and transactions end."""
    proxy = make_proxy(address, mode=mode, max_connections=WORKERS)
    with load(proxy.dsn()) as running:
        os.kill(proxy.pid, signal.SIGKILL)
        assert exit_code(proxy) == -signal.SIGKILL
        until(lambda: len(running.errors) == WORKERS, "all clients have noticed")
    until(lambda: observer.backends() == [], "no server session is left")
    [(count,)] = observer.execute("select count(*) from ledger")
    assert sum(running.commits) <= count <= sum(running.commits) + WORKERS


def test_two_proxies_at_one_port(address: tuple[str, int], observer: Observer) -> None:
    """reuse_port: a new process takes new clients while the old one drains; no client is refused."""
    settings: dict[str, Any] = {"reuse_port": "true", "max_connections": 5, "drain_timeout": "30s"}
    with chaos_proxy(address, **settings) as old:
        listen = ("--listen", f"{old.host}:{old.port}")
        with RawClient((old.host, old.port)) as staying:
            staying.wait_for(b"Z")
            staying.run("begin; insert into ledger values (1)")
            with chaos_proxy(address, listen, **settings) as new:
                assert new.port == old.port
                old.process.send_signal(signal.SIGTERM)
                until(lambda: "draining" in old.log_since(), "the old one drains")
                for _ in range(20):
                    with psycopg.connect(new.dsn(), connect_timeout=10) as client:
                        assert client.execute("select 1").fetchone() == (1,)
                until(lambda: not sum(clients(new).values()), "the new one has served them")
                assert old.running
                staying.run("commit")
                assert staying.last_words()["C"] == "57P01"
                assert exit_code(old) == 0
    assert observer.execute("select count(*) from ledger") == [(1,)]
