"""More clients than connections, all at once; and cancel requests in swarms."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from chaos_tools import MakeProxy, Observer, clients, until

pytestmark = pytest.mark.cluster

CLIENTS = 300
CONNECTIONS = 5
TURNS = 3


def together(number: int, work: Callable[[int], None]) -> None:
    """Run `work` in as many threads at once; raises what any of them raised."""
    barrier = threading.Barrier(number, timeout=60)

    def start(at: int) -> None:
        barrier.wait()
        work(at)

    with ThreadPoolExecutor(number) as executor:
        for done in [executor.submit(start, at) for at in range(number)]:
            done.result()


class Census(threading.Thread):
    """Counts server connections as long as it runs."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._observer = observer
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, len(self._observer.backends()))

    def __enter__(self) -> Census:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_connection_storm(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer, mode: str
) -> None:
    """All are served, by no more server connections than the pool may have, and nobody starves."""
    proxy = make_proxy(address, mode=mode, max_connections=CONNECTIONS, queue_timeout="50s")
    served: list[int] = []

    def work(at: int) -> None:
        for _ in range(TURNS if mode == "transaction" else 1):
            with psycopg.connect(proxy.dsn(), autocommit=True, connect_timeout=60) as connection:
                assert connection.execute("select %s + 0", (at,)).fetchone() == (at,)
                served.append(at)

    with Census(observer) as census:
        together(CLIENTS, work)
    assert 1 <= census.most <= CONNECTIONS
    assert set(served) == set(range(CLIENTS))
    until(lambda: not sum(clients(proxy).values()), "the metrics count no client")


def test_waiting_clients_are_served_in_turn(make_proxy: MakeProxy, address: tuple[str, int]) -> None:
    """Greedy clients that ask again at once do not push back those who wait."""
    proxy = make_proxy(address, max_connections=1, queue_timeout="50s")
    counts = [0] * 20
    enough = threading.Event()

    def work(at: int) -> None:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            while not enough.is_set():
                connection.execute("select 1")
                counts[at] += 1
                if min(counts) >= 20:
                    enough.set()

    together(len(counts), work)
    assert max(counts) <= 3 * min(counts)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_cancel_storm(make_proxy: MakeProxy, address: tuple[str, int], rounds: int, mode: str) -> None:
    """A cancel request stops only the query of the client that sent it (rule 4)."""
    sleepers, workers = (50, 10) if mode == "transaction" else (4, 1)
    proxy = make_proxy(address, mode=mode, max_connections=CONNECTIONS, queue_timeout="50s")
    chance = random.Random(4)
    moments = [[chance.uniform(0, 0.06) for _ in range(4 * rounds)] for _ in range(sleepers)]
    over = threading.Event()
    cancelled: list[int] = []
    innocent: list[int] = []
    left = [sleepers]

    def sleep(at: int) -> None:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            for moment in moments[at]:
                canceller = threading.Timer(moment, connection.cancel_safe)
                canceller.start()
                try:
                    connection.execute("select pg_sleep(0.03)")
                except psycopg.errors.QueryCanceled:
                    cancelled.append(at)
                finally:
                    canceller.join()
            if at == 0:  # on a busy machine all cancels of the storm may come too late
                cancelled.append(stubborn_cancel(connection))

    def work() -> None:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            while not over.is_set():
                connection.execute("select pg_sleep(0.001)")
                innocent.append(1)

    def both(at: int) -> None:
        if at >= sleepers:
            work()
            return
        try:
            sleep(at)
        finally:
            left[0] -= 1
            if left[0] == 0:
                over.set()

    together(sleepers + workers, both)
    assert cancelled
    assert innocent


def stubborn_cancel(connection: psycopg.Connection) -> int:
    """Cancel a long query until it is cancelled; 1 when it was, and raises when it ended by itself."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.05):
            connection.cancel_safe()

    canceller = threading.Thread(target=go_on)
    canceller.start()
    try:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(60)")
    finally:
        over.set()
        canceller.join()
    return 1


def test_cancel_of_nobody(make_proxy: MakeProxy, address: tuple[str, int]) -> None:
    """A client between two transactions that sends cancel requests stops nobody (rule 4)."""
    proxy = make_proxy(address, max_connections=1)
    with (
        psycopg.connect(proxy.dsn(), autocommit=True) as loud,
        psycopg.connect(proxy.dsn(), autocommit=True) as quiet,
    ):
        loud.execute("select 1")
        enough = threading.Event()

        def shout() -> None:
            while not enough.is_set():
                loud.cancel_safe()

        shouting = threading.Thread(target=shout)
        shouting.start()
        try:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                quiet.execute("select pg_sleep(0.002)")
        finally:
            enough.set()
            shouting.join()
