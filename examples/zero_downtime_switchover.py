"""A bank that does not close: its primary is exchanged three times while it works, and no client sees an error.

    python examples/zero_downtime_switchover.py [seconds [clients]]

Twenty clients transfer money all the time: in transactions and in single statements, some with prepared statements,
some with a temporary table in which they keep their own books. Meanwhile the standby becomes the primary, and the old
primary its standby, and back, and once more. For each switchover it prints how long writes waited. At the end it
checks that no money was lost or made, and that every transfer that was acknowledged is there exactly once.

It starts everything that it needs: a proxy with an embedded PostgreSQL cluster of a primary and a standby.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import httpx
import psycopg

from helios_trio.testing.running import ProxyProcess, running_proxy

T = TypeVar("T")

SWITCHOVERS = 3
ACCOUNTS = 100
BALANCE = 1000
#: Seconds after which something that should happen by itself counts as never happening.
PATIENCE = 120.0
#: Seconds between looks at what is waited for.
LOOK = 0.05

# A standby that lags for a moment is no reason to wait: a switchover begins by letting it catch up.
CONFIG = """
[health_checks]
required_checks = ["connection_success", "replication_lag_ms < 10000", "query_test_success"]
"""
BANK = f"""
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
INSERT INTO accounts SELECT id, {BALANCE} FROM generate_series(1, {ACCOUNTS}) AS id;
CREATE TABLE transfers (client int NOT NULL, number int NOT NULL);
CREATE FUNCTION transfer(client int, number int, giver int, taker int, amount int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM accounts WHERE id IN (giver, taker) ORDER BY id FOR UPDATE;
    UPDATE accounts SET balance = balance - amount WHERE id = giver;
    UPDATE accounts SET balance = balance + amount WHERE id = taker;
    INSERT INTO transfers VALUES (client, number);
END $$;
"""


def main(seconds: float, clients: int) -> int:
    """Run the bank for about so many seconds besides the switchovers; 0 when all was as it should be."""
    with running_proxy(
        CONFIG, ("--ephemeral", "--standbys", "1"), ready_seconds=PATIENCE, stop_seconds=60
    ) as proxy:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            connection.execute(BANK)
        bank = Bank(proxy.dsn(), clients)
        with bank, Operator(proxy) as operator:
            for number in range(1, SWITCHOVERS + 1):
                bank.work(seconds / (SWITCHOVERS + 1))
                print(f"switchover {number}: {operator.switch_over()}", flush=True)
            bank.work(seconds / (SWITCHOVERS + 1))
        return report(bank, operator)


class Client(threading.Thread):
    """One client; it transfers money until the bank closes, and stops at the first error."""

    def __init__(self, bank: Bank, number: int) -> None:
        super().__init__(name=f"client {number}")
        self.number = number
        self.acknowledged = 0
        self.longest = 0.0
        self.error: Exception | None = None
        self._bank = bank
        self._chance = random.Random(number)

    def run(self) -> None:
        """Transfer, in the way of this client."""
        way = WAYS[self.number % len(WAYS)]
        try:
            with psycopg.connect(self._bank.dsn, autocommit=True, application_name=self.name) as connection:
                connection.execute("CREATE TEMP TABLE books (number int)" if way is keep_books else "")
                while not self._bank.closing.is_set():
                    self._transfer(way, connection)
        except Exception as error:
            self.error = error
            self._bank.failed.set()

    def _transfer(self, way: Way, connection: psycopg.Connection) -> None:
        giver, taker = self._chance.sample(range(1, ACCOUNTS + 1), 2)
        began = time.monotonic()
        way(connection, self.number, self.acknowledged + 1, giver, taker, self._chance.randint(1, 10))
        self.acknowledged += 1
        self.longest = max(self.longest, time.monotonic() - began)


# -- ways to transfer ------------------------------------------------------------------------------------------

#: client, number of its transfer, giver, taker, amount
Way = Callable[[psycopg.Connection, int, int, int, int, int], None]


def in_transaction(
    connection: psycopg.Connection, client: int, number: int, giver: int, taker: int, amount: int
) -> None:
    """Statement by statement; accounts in the order of their ids, so that no two clients wait for each other."""
    with connection.transaction():
        for account, change in sorted([(giver, -amount), (taker, amount)]):
            connection.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (change, account))
        connection.execute("INSERT INTO transfers VALUES (%s, %s)", (client, number))


def in_one_statement(connection: psycopg.Connection, *transfer: int) -> None:
    """Committed by itself."""
    connection.execute("SELECT transfer(%s, %s, %s, %s, %s)", transfer, prepare=False)


def prepared(connection: psycopg.Connection, *transfer: int) -> None:
    """The same, by a statement that is prepared once."""
    connection.execute("SELECT transfer(%s, %s, %s, %s, %s)", transfer, prepare=True)


def keep_books(connection: psycopg.Connection, client: int, number: int, *transfer: int) -> None:
    """In a transaction, with a note in a temporary table of one's own."""
    with connection.transaction():
        connection.execute("INSERT INTO books VALUES (%s)", (number,))
        prepared(connection, client, number, *transfer)
    noted = connection.execute("SELECT count(*), max(number) FROM books").fetchone()
    assert noted == (number, number), f"the temporary table has {noted} after {number} transfers"


WAYS: Sequence[Way] = (in_transaction, in_one_statement, prepared, keep_books)


# -- the bank --------------------------------------------------------------------------------------------------


class Bank:
    """All clients; they come when the block begins, and have gone when it ends."""

    def __init__(self, dsn: str, clients: int) -> None:
        self.dsn = dsn
        self.closing = threading.Event()
        self.failed = threading.Event()
        self.clients = [Client(self, number) for number in range(clients)]

    def __enter__(self) -> Bank:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for client in self.clients:
            client.join()

    def work(self, seconds: float) -> None:
        """Let them work, and wait until each has got something done; not if one of them has failed."""
        before = [client.acknowledged for client in self.clients]
        self.failed.wait(seconds)
        wait_for(lambda: self.failed.is_set() or self._all_got_further(before), "every client gets further")

    def _all_got_further(self, before: Sequence[int]) -> bool:
        return all(client.acknowledged > then for client, then in zip(self.clients, before, strict=True))

    def complaints(self) -> list[str]:
        """What is not as it should be; empty when all is well."""
        found = [f"{each.name}: {each.error}" for each in self.clients if each.error is not None]
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            total = connection.execute("SELECT sum(balance)::bigint FROM accounts").fetchone()
            if total != (ACCOUNTS * BALANCE,):
                found.append(f"the accounts have {total}, not {ACCOUNTS * BALANCE}")
            for client in self.clients:
                query = "SELECT number FROM transfers WHERE client = %s ORDER BY number"
                there = [number for (number,) in connection.execute(query, (client.number,))]
                if there != list(range(1, client.acknowledged + 1)):
                    found.append(
                        f"{client.name}: {client.acknowledged} were acknowledged, {len(there)} are there"
                    )
        return found


# -- who exchanges the primary ---------------------------------------------------------------------------------


class Operator:
    """Gives orders to the proxy, through its API; `helios switchover --to NAME` does the same."""

    def __init__(self, proxy: ProxyProcess) -> None:
        assert proxy.admin is not None
        host, port = proxy.admin
        self._api = httpx.Client(
            base_url=f"http://{host}:{port}/api/v1",
            headers={"X-API-Key": proxy.ready["admin_key"]},
            timeout=PATIENCE,
        )
        #: what was not as it should be
        self.complaints: list[str] = []

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def switch_over(self) -> str:
        """Make the standby the primary; what became of that."""
        target = wait_for(self._standby, "there is a healthy standby")
        answer = self._api.post("/failover/start", json={"target": target, "reason": "because we can"})
        if answer.is_error:
            return self._complain(f"refused: {answer.text}")
        status = wait_for(self._ended, "the switchover ends")
        if status["outcome"] != "completed" or status["client_errors"] or status["migration_errors"]:
            return self._complain(f"{status['outcome']}: {status['failure']} {status['migration_errors']}")
        moved, pause = status["sessions_migrated"], status["write_pause_seconds"]
        return f"{target} is the primary; writes waited {pause * 1000:.0f} ms, {moved} sessions moved"

    def _complain(self, what: str) -> str:
        self.complaints.append(what)
        return what

    def _standby(self) -> str | None:
        """A standby that is well, and near enough to the primary."""
        for node in self._get("/topology")["nodes"]:
            if node["in_recovery"] and self._get(f"/backends/{node['name']}/health")["ready_for_migration"]:
                return str(node["name"])
        return None

    def _ended(self) -> dict[str, Any] | None:
        status = self._get("/failover/status")
        return None if status["failover_active"] else status

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get(path).raise_for_status().json()
        return found


def wait_for(condition: Callable[[], T | None], what: str) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(LOOK)
    return found


def report(bank: Bank, operator: Operator) -> int:
    """Print what was found; the exit code."""
    complaints = [*operator.complaints, *bank.complaints()]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    done = sum(client.acknowledged for client in bank.clients)
    longest = max(client.longest for client in bank.clients)
    print(f"{done} transfers by {len(bank.clients)} clients; the longest took {longest * 1000:.0f} ms")
    if complaints:
        return 1
    print("no error, no money lost or made, every transfer there exactly once")
    return 0


if __name__ == "__main__":
    numbers = [float(each) for each in sys.argv[1:]]
    sys.exit(main(numbers[0] if numbers else 10.0, int(numbers[1]) if len(numbers) > 1 else 20))
