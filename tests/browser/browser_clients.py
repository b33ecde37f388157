"""Clients at work, so that the console has something to show: two applications and somebody's reports.

They are ordinary psycopg connections, each in a thread of its own. What they do is the same in every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any, Final

import psycopg
from attrs import define, field, frozen

from helios_trio.testing.running import ProxyProcess

_JOIN_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.05

Connection = psycopg.Connection[Any]
#: Connect as (user, database, application_name).
Connect = Callable[[str, str, str], Connection]

DATABASES: Final = {
    "shop": (
        "CREATE TABLE orders (id int PRIMARY KEY, customer int, amount numeric)",
        "CREATE TABLE stock (id int PRIMARY KEY, pieces int)",
        "INSERT INTO orders SELECT n, n % 50, n * 1.5 FROM generate_series(1, 2000) n",
        "INSERT INTO stock SELECT n, 1000 FROM generate_series(1, 100) n",
    ),
    "billing": (
        "CREATE TABLE invoices (id int PRIMARY KEY, amount numeric, paid bool DEFAULT false)",
        "INSERT INTO invoices SELECT n, n * 2.5 FROM generate_series(1, 2000) n",
    ),
}
USERS: Final = {"shop": "shop", "billing": "billing", "reports": "billing"}


@frozen
class Job:
    """What one client does over and over."""

    user: str
    application: str
    statements: Sequence[str]

    @property
    def database(self) -> str:
        """Where it does it."""
        return USERS[self.user]


_READ_SHOP = "SELECT sum(amount) FROM orders WHERE customer = 7"
_WRITE_SHOP = "UPDATE stock SET pieces = pieces - 1 WHERE id = 3"
_READ_BILLS = "SELECT count(*) FROM invoices WHERE NOT paid"
_WRITE_BILLS = "UPDATE invoices SET paid = NOT paid WHERE id = 11"
_REPORT = "SELECT paid, avg(amount) FROM invoices GROUP BY paid"
_WRONG = "SELECT amount / 0 FROM invoices WHERE id = 1"

JOBS: Final = (
    *(Job("shop", f"shop-web-{number}", [_READ_SHOP] * 3 + [_WRITE_SHOP]) for number in (1, 2, 3)),
    *(Job("billing", f"billing-api-{number}", [_READ_BILLS, _WRITE_BILLS]) for number in (1, 2)),
    Job("reports", "monthly-report", [_REPORT] * 60 + [_WRONG]),
)


def connect_to(proxy: ProxyProcess, user: str, database: str, application: str) -> Connection:
    """A connection through the proxy, in autocommit."""
    return psycopg.connect(
        host=proxy.host,
        port=proxy.port,
        user=user,
        dbname=database,
        application_name=application,
        autocommit=True,
        connect_timeout=30,
    )


def prepare(connect: Connect, routes: Sequence[str]) -> None:
    """Users, databases and tables of the clients, on all of these servers."""
    with connect("postgres", "postgres", "setup") as maintenance:
        for user in USERS:
            maintenance.execute(
                f"CREATE ROLE {user} LOGIN IN ROLE pg_read_all_data, pg_write_all_data".encode()
            )
        for database in DATABASES:
            maintenance.execute(f"CREATE DATABASE {database}".encode())
    for database, objects in DATABASES.items():
        with connect("postgres", database, "setup") as connection:
            for statement in objects:
                connection.execute(statement.encode())
            for route in routes:  # a session reads nowhere before its own writes are there
                connection.execute(f"SET helios.route = '{route}'".encode())
                connection.execute("SELECT count(*) FROM pg_class")


@contextmanager
def holding(connect: Connect) -> Iterator[None]:
    """Sessions that keep their connection: a lock, a temporary table, an open transaction."""
    with ExitStack() as held:
        nightly = held.enter_context(connect("billing", "billing", "nightly-run"))
        nightly.execute("SELECT pg_advisory_lock(42)")
        cart = held.enter_context(connect("shop", "shop", "cart-export"))
        cart.execute("CREATE TEMP TABLE cart AS SELECT * FROM orders WHERE customer = 7")
        shell = held.enter_context(connect("shop", "shop", "psql"))
        shell.execute("BEGIN")
        shell.execute("SELECT id FROM stock WHERE id = 99 FOR UPDATE")
        yield


@define(eq=False)
class Clients:
    """Those at work."""

    connect: Connect
    #: statements that were carried out
    done: int = 0
    #: why connections ended before their time
    lost: list[str] = field(factory=list)
    _over: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock)

    @contextmanager
    def at_work(self) -> Iterator[Clients]:
        """Until the block ends."""
        threads = [threading.Thread(target=self._work, args=(job,), daemon=True) for job in JOBS]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join(_JOIN_SECONDS)

    def _work(self, job: Job) -> None:
        while not self._over.is_set():
            try:
                with self.connect(job.user, job.database, job.application) as connection:
                    self._repeat(connection, job.statements)
            except psycopg.Error as error:
                self.lost.append(f"{job.application}: {error}")
                self._over.wait(_PAUSE_SECONDS)

    def _repeat(self, connection: Connection, statements: Sequence[str]) -> None:
        for statement in cycle(statements):
            try:
                connection.execute(statement.encode())
            except psycopg.DataError:
                pass  # one of them is wrong on purpose
            with self._lock:
                self.done += 1
            if self._over.wait(_PAUSE_SECONDS):
                return
