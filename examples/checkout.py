"""A shop that sells 5,000 baskets while one of its three servers is ill, and no customer sees an error.

    python examples/checkout.py [--checkouts N] [--workers N] [--ill SECONDS] [--rest SECONDS] [--mode MODE] [--json]

Fifty workers check out at the same time. Each checkout is a transaction - take from the stock, enter the order and its
items, enter the payment - and then what a shop shows: the order that was just made, the orders of this customer, what
sells best. The proxy sends the transactions to the primary and the reads to two standbys (`read_write_split`); the
order that was just made must be seen at once, wherever it is looked for.

When a fifth of the work is done a standby falls ill: its processes are stopped and continued again and again, so that
it answers, but late. Its circuit opens, and reads go elsewhere; when it is well again the circuit is tried, closes, and
the standby has its share of the reads back. What is printed:

* for each tenth of the checkouts how many there were per second, how long they took (half of them less than p50), and
  how many requests each server got;
* when the standby was ill, and what its circuit did about it, with the figures that made it do so;
* the books: each checkout that was acknowledged is there once, with its items and its payment, the stock has fallen by
  what was sold, and no read has missed the order that was made before.

The exit code is 0 only when all of them have succeeded, and the books are right.

It starts everything that it needs: a proxy with an embedded PostgreSQL cluster of a primary and two standbys.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg

from helios_trio.testing.running import ProxyProcess, running_proxy

PRODUCTS, STOCK, CUSTOMERS = 200, 1_000_000, 500
#: Seconds for which the ill server is stopped, and works, in turn.
STOPPED, WORKING = 2.5, 0.2
#: Seconds after which what is waited for counts as never happening.
PATIENCE = 120.0
#: How many lines the table has, and after which of them a standby falls ill.
LINES, ILL_AFTER = 10, 2

# The circuit is tried, and closes, sooner than it would by default: this is a short day.
CONFIG = """
[pool]
mode = "{mode}"
max_connections = {connections}
[routing]
read_write_split = true
[circuit_breaker]
enabled = true
latency_threshold_p95_ms = 1500
latency_threshold_p99_ms = 10000
metrics_window_size = "3s"
metrics_bucket_size = "200ms"
minimum_requests = 10
open_duration = "1s"
half_open_probe_interval = "200ms"
recovery_ramp_up_duration = "2s"
"""
SHOP = f"""
CREATE TABLE products (id int PRIMARY KEY, price int NOT NULL, stock int NOT NULL CHECK (stock >= 0));
INSERT INTO products SELECT id, 1 + id % 90, {STOCK} FROM generate_series(1, {PRODUCTS}) AS id;
CREATE TABLE orders (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, checkout int NOT NULL, customer int NOT NULL, total int NOT NULL
);
CREATE INDEX ON orders (customer);
CREATE TABLE items (order_id int NOT NULL REFERENCES orders, product int NOT NULL, quantity int NOT NULL);
CREATE INDEX ON items (order_id);
CREATE TABLE payments (order_id int PRIMARY KEY REFERENCES orders, amount int NOT NULL);
"""
TAKE = "UPDATE products SET stock = stock - %s WHERE id = %s RETURNING price"
ENTER = "INSERT INTO orders (checkout, customer, total) VALUES (%s, %s, %s) RETURNING id"
ITEM = "INSERT INTO items VALUES (%s, %s, %s)"
PAY = "INSERT INTO payments VALUES (%s, %s)"
ORDER = """
SELECT o.checkout, o.total, count(i.*), sum(i.quantity * p.price), (SELECT amount FROM payments WHERE order_id = o.id)
  FROM orders AS o JOIN items AS i ON i.order_id = o.id JOIN products AS p ON p.id = i.product
 WHERE o.id = %s GROUP BY o.id
"""
OF_CUSTOMER = "SELECT id FROM orders WHERE customer = %s ORDER BY id DESC LIMIT 20"
# Anybody may be a little behind with this, the ill server too.
BEST = """
/*+ consistency=eventual */ SELECT product, sum(quantity) AS sold FROM items WHERE order_id > %s - 100
 GROUP BY product ORDER BY sold DESC LIMIT 5
"""
# What must be 0 when all is over.
BOOKS = {
    "pieces that were sold and not taken from the stock": f"""
        SELECT (SELECT sum({STOCK} - stock) FROM products) - (SELECT coalesce(sum(quantity), 0) FROM items)
    """,
    "orders without three items": """
        SELECT count(*) FROM orders AS o WHERE (SELECT count(*) FROM items WHERE order_id = o.id) <> 3
    """,
    "orders whose total was not paid": """
        SELECT count(*) FROM orders AS o LEFT JOIN payments AS p ON p.order_id = o.id
         WHERE p.amount IS DISTINCT FROM o.total
    """,
}


def main(options: Namespace) -> int:
    """Sell everything, with a server that falls ill meanwhile; 0 when all was as it should be."""
    connections = options.workers + 10 if options.mode == "session" else 40
    config = CONFIG.format(mode=options.mode, connections=connections)
    more = ("--ephemeral", "--standbys", "2")
    with running_proxy(config, more, ready_seconds=PATIENCE, stop_seconds=60) as proxy:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            connection.execute(SHOP)
        shop, illness = (
            Shop(proxy.dsn(), options.checkouts, options.rest),
            Illness(proxy, "node2", options.ill),
        )
        with closing(Watcher(proxy)) as watcher, ThreadPoolExecutor(options.workers) as executor:
            print(headline(options), flush=True)
            working = [executor.submit(shop.work, number) for number in range(options.workers)]
            sell(shop, illness, watcher)
            for each in working:
                each.result()
            illness.end()
            watcher.wait_for("circuit closed", illness)
            return report(options, shop, illness, watcher)


def sell(shop: Shop, illness: Illness, watcher: Watcher) -> None:
    """Watch the shop until all is sold, a line for each tenth; a standby falls ill after the second."""
    for tenth in range(1, LINES + 1):
        began, seen = time.monotonic(), len(shop.done)
        while len(shop.done) < shop.checkouts * tenth // LINES and not shop.errors:
            time.sleep(0.01)
        ended = shop.done[seen:]
        print(line(ended, time.monotonic() - began, watcher.requests(), illness), flush=True)
        if tenth == ILL_AFTER:
            illness.begin()


# -- who buys --------------------------------------------------------------------------------------------------


class Done(NamedTuple):
    """A checkout that was acknowledged."""

    checkout: int
    order: int
    seconds: float


class Shop:
    """The work, and who does it."""

    def __init__(self, dsn: str, checkouts: int, rest: float) -> None:
        self.dsn, self.checkouts, self._rest = dsn, checkouts, rest
        self.done: list[Done] = []
        self.errors: list[str] = []
        #: reads that did not see what their worker had written
        self.stale: list[str] = []
        self._numbers = itertools.count(1)

    def work(self, worker: int) -> None:
        """One worker: checkouts, until there are no more."""
        chance = random.Random(worker)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while (checkout := next(self._numbers)) <= self.checkouts:
                began = time.monotonic()
                try:
                    order = self._check_out(connection, checkout, chance)
                except psycopg.Error as error:
                    self.errors.append(f"{error.sqlstate}: {error}")
                    return
                self.done.append(Done(checkout, order, time.monotonic() - began))
                time.sleep(self._rest)

    def _check_out(self, connection: psycopg.Connection, checkout: int, chance: random.Random) -> int:
        # in the order of their ids, so that no two baskets wait for each other
        basket = [(each, chance.randint(1, 3)) for each in sorted(chance.sample(range(1, PRODUCTS + 1), 3))]
        customer = chance.randint(1, CUSTOMERS)
        with connection.transaction():
            prices = [one(connection, TAKE, quantity, product)[0] for product, quantity in basket]
            total = sum(price * quantity for price, (_, quantity) in zip(prices, basket, strict=True))
            (order,) = one(connection, ENTER, checkout, customer, total)
            for product, quantity in basket:
                connection.execute(ITEM, (order, product, quantity))
            connection.execute(PAY, (order, total))
        seen = connection.execute(ORDER, (order,)).fetchall()
        if seen != [(checkout, total, len(basket), total, total)]:
            self.stale.append(f"order {order}: {seen}")
        if (order,) not in connection.execute(OF_CUSTOMER, (customer,)).fetchall():
            self.stale.append(f"order {order} is not among those of its customer")
        connection.execute(BEST, (order,)).fetchall()
        return int(order)


def one(connection: psycopg.Connection, text: str, *values: int) -> tuple[Any, ...]:
    """The only row of a statement."""
    (row,) = connection.execute(text, values).fetchall()
    return row


# -- what befalls a server -------------------------------------------------------------------------------------


class Illness(threading.Thread):
    """Stops the processes of a server and continues them, again and again."""

    def __init__(self, proxy: ProxyProcess, name: str, seconds: float) -> None:
        super().__init__(name=f"{name} is ill")
        self.victim, self._seconds = name, seconds
        self._folder = next(Path(each["data_dir"]) for each in proxy.ready["nodes"] if each["name"] == name)
        self._over = threading.Event()
        #: Unix time
        self.began = self.ended = 0.0

    @property
    def acute(self) -> bool:
        """Whether it is ill now."""
        return self.began > 0 and not self.ended

    def begin(self) -> None:
        """Fall ill."""
        self.began = time.time()
        self.start()

    def run(self) -> None:
        """Until the time is over, or the work is done."""
        deadline = time.monotonic() + self._seconds
        while not self._over.is_set() and time.monotonic() < deadline:
            self._send(signal.SIGSTOP)
            self._over.wait(STOPPED)
            self._send(signal.SIGCONT)
            self._over.wait(WORKING)
        self.ended = time.time()

    def _send(self, number: signal.Signals) -> None:
        postmaster = int((self._folder / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        """Be well again."""
        self._over.set()
        if self.began:
            self.join()


# -- what is seen of it ----------------------------------------------------------------------------------------


class Watcher:
    """Asks the proxy where requests went, and what circuits did."""

    def __init__(self, proxy: ProxyProcess) -> None:
        assert proxy.admin is not None
        host, port = proxy.admin
        key = {"X-API-Key": proxy.ready["admin_key"]}
        self._api = httpx.Client(base_url=f"http://{host}:{port}", headers=key, timeout=PATIENCE)
        self._before = self._requests()

    def close(self) -> None:
        """Hang up."""
        self._api.close()

    def requests(self) -> dict[str, int]:
        """Requests that each server got since this was asked before."""
        before, self._before = self._before, self._requests()
        return {name: count - before.get(name, 0) for name, count in self._before.items()}

    def _requests(self) -> dict[str, int]:
        page = self._api.get("/metrics/prometheus").raise_for_status().text
        found = re.findall(r'^helios_routed_requests_total\{backend="(\w+)"\} ([\d.]+)', page, re.MULTILINE)
        return {name: int(float(count)) for name, count in found}

    def circuit_events(self) -> list[dict[str, Any]]:
        """What circuits did, in order."""
        events = self._api.get("/api/v1/events", params={"limit": 1000}).raise_for_status().json()["events"]
        return [each for each in reversed(events) if each["kind"].startswith(("circuit", "sessions moved"))]

    def wait_for(self, kind: str, illness: Illness) -> None:
        """Until a circuit that has opened has done this since the illness was over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            kinds = [each["kind"] for each in self.circuit_events() if each["subject"] == illness.victim]
            if "circuit opened" not in kinds or kind in kinds[-kinds[::-1].index("circuit opened") :]:
                return
            time.sleep(0.05)
        raise TimeoutError(f"not within {PATIENCE:g} s: {kind}")


# -- what is printed -------------------------------------------------------------------------------------------


def headline(options: Namespace) -> str:
    """What is going to happen, and the head of the table."""
    return (
        f"{options.workers} workers, {options.checkouts:,} checkouts ({options.mode} pooling).\n\n"
        f"{'checkouts,':>12}{'took, ms':>21}{'requests to':>30}\n"
        f"{'per second':>12}{'p50':>7}{'p99':>7}{'max':>7}{'node1':>11}{'node2':>9}{'node3':>9}"
    )


def line(ended: Sequence[Done], seconds: float, requests: dict[str, int], illness: Illness) -> str:
    """A tenth of the work."""
    times = sorted(1000 * each.seconds for each in ended) or [0.0]
    p50, p99, longest = (times[int((len(times) - 1) * share)] for share in (0.5, 0.99, 1))
    counts = [requests.get(name, 0) for name in ("node1", "node2", "node3")]
    return (
        f"{len(ended) / seconds:12,.0f}{p50:7.0f}{p99:7.0f}{longest:7.0f}"
        f"{counts[0]:11,}{counts[1]:9,}{counts[2]:9,}{'   node2 is ill' if illness.acute else ''}"
    )


def story(illness: Illness, events: Sequence[dict[str, Any]]) -> list[str]:
    """What happened when, in seconds from the beginning of the illness."""
    told = [
        (illness.began, f"{illness.victim} falls ill"),
        (illness.ended, f"{illness.victim} is well again"),
    ]
    for each in events:
        moment = datetime.fromisoformat(each["at"]).timestamp()
        told.append((moment, f"{each['kind']}: {each['subject']} - {each['reason']}"))
    return [f"{moment - illness.began:+8.2f} s  {text}" for moment, text in sorted(told)]


def errors_in_the_books(shop: Shop) -> Iterator[str]:
    """Where the database does not say what the workers were told."""
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        found = Counter(connection.execute("SELECT checkout, id FROM orders").fetchall())
        told = Counter((each.checkout, each.order) for each in shop.done)
        if found != told:
            yield f"{(told - found).total()} orders are missing, {(found - told).total()} are too many"
        for what, text in BOOKS.items():
            if (count := one(connection, text)[0]) != 0:
                yield f"{what}: {count}"


def report(options: Namespace, shop: Shop, illness: Illness, watcher: Watcher) -> int:
    """Print what was found; the exit code."""
    events, wrong = watcher.circuit_events(), list(errors_in_the_books(shop))
    print("", *story(illness, events), "", sep="\n")
    print(
        f"{len(shop.done):,} of {options.checkouts:,} checkouts succeeded; errors seen: {len(shop.errors)}."
    )
    print(f"Reads that missed the order made before: {len(shop.stale)}.")
    print(f"The books: {'; '.join(wrong) or 'right'}.")
    for text in [*shop.errors, *shop.stale][:10]:
        print(f"  {text}", file=sys.stderr)
    if options.json:
        kinds = Counter(each["kind"] for each in events if each["subject"] == illness.victim)
        facts = {"errors": len(shop.errors), "stale": len(shop.stale), "wrong": wrong, "events": kinds}
        print(json.dumps({"checkouts": len(shop.done), **facts}))
    return 1 if shop.errors or shop.stale or wrong or len(shop.done) != options.checkouts else 0


def arguments() -> Namespace:
    """What was asked for."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkouts", type=int, default=5000, help="how many (%(default)s)")
    parser.add_argument("--workers", type=int, default=50, help="who work at the same time (%(default)s)")
    parser.add_argument("--ill", type=float, default=10.0, help="seconds that a standby is ill (%(default)s)")
    parser.add_argument(
        "--rest", type=float, default=0.0, help="seconds of a worker between two (%(default)s)"
    )
    parser.add_argument(
        "--mode", choices=["session", "transaction"], default="transaction", help="of the pool"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(arguments()))
