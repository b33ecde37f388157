"""A bank whose primary is killed again and again while it works, and no client sees an error.

    python examples/kill_the_primary.py [--clients N] [--kills N] [--every SECONDS] [--mode MODE] [--json]

Fifty clients transfer money all the time. Every other one does it statement by statement in a transaction, so that most
kills find transactions half done; the others in one statement that commits by itself, so that most kills find commits
whose answer is lost. Every transfer leaves a line in a ledger. Then the primary and all its processes get SIGKILL: no
goodbye, no last words, as if somebody had pulled the plug. The proxy notices, promotes the standby, makes the old
server its new standby, and brings every session to the new primary. A line for each kill says

* who died and who took over, and after how many seconds from the first sign of trouble that one took writes;
* how long transfers took that met the kill: the longest of each client, as its program measured it (half of the
  clients waited no longer than p50, one may have waited as long as max);
* how many open transactions the proxy did again on the new primary, each answer compared with what the client had seen;
* of how many commits the answer was lost, and what the new primary said when it was asked: "made" ones were there,
  and their clients were told so; "missing" ones were not, and were done again;
* how many errors the clients saw.

In the end the ledger is compared with what the clients were told: each acknowledged transfer must be there exactly
once, and no money may have been lost or made. The exit code is 0 only when that is so and nobody saw an error.

It starts everything that it needs: a proxy with an embedded PostgreSQL cluster of a primary and a synchronous standby.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import psycopg

from helios_trio.testing.running import ProxyProcess, running_proxy

T = TypeVar("T")

ACCOUNTS = 1000
BALANCE = 100
#: A client waits up to so many seconds between two transfers.
REST = 0.1
#: Seconds that the bank works before the first kill.
QUIET = 2.0
#: Seconds after which something that should happen by itself counts as never happening.
PATIENCE = 120.0
#: Seconds between looks at what is waited for.
LOOK = 0.02
#: Width of the last picture, in characters.
WIDTH = 88
BLOCKS = " ▁▂▃▄▅▆▇█"

# Kills as dense as these would make the proxy suspect that something else is wrong, and take its time.
CONFIG = """
[pool]
mode = "{mode}"
max_connections = {connections}
[failover]
min_interval = "100ms"
"""
#: server connections in transaction mode; in session mode every client has its own
SHARED = 30

BANK = f"""
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
INSERT INTO accounts SELECT id, {BALANCE} FROM generate_series(1, {ACCOUNTS}) AS id;
CREATE TABLE ledger (client int NOT NULL, number int NOT NULL);
"""
PAY = "UPDATE accounts SET balance = balance + %(amount)s WHERE id = %(id)s"
NOTE = "INSERT INTO ledger VALUES (%(client)s, %(number)s)"
# Locks first, in the order of the ids: no two clients ever wait for each other.
PAY_AND_NOTE = """
WITH both_accounts AS MATERIALIZED (
    SELECT id FROM accounts WHERE id IN (%(giver)s, %(taker)s) ORDER BY id FOR UPDATE
), paid AS (
    UPDATE accounts SET balance = balance + CASE id WHEN %(taker)s THEN %(amount)s ELSE - %(amount)s END
    WHERE id IN (SELECT id FROM both_accounts)
)
INSERT INTO ledger VALUES (%(client)s, %(number)s)
"""


def main(options: Namespace) -> int:
    """Run the bank and kill its primaries; 0 when all was as it should be."""
    connections = options.clients + 5 if options.mode == "session" else SHARED
    config = CONFIG.format(mode=options.mode, connections=connections)
    arguments = ("--ephemeral", "--standbys", "1")
    with running_proxy(config, arguments, ready_seconds=PATIENCE, stop_seconds=60) as proxy:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            connection.execute(BANK)
        bank = Bank(proxy.dsn(), options.clients)
        print(headline(options, bank), flush=True)
        with bank, Killer(proxy, bank) as killer:
            bank.work(QUIET)
            for number in range(1, options.kills + 1):
                killer.kill(number)
                bank.work(options.every)
        return report(options, bank, killer)


# -- clients ---------------------------------------------------------------------------------------------------


class Transfer(NamedTuple):
    """One that was acknowledged: when it was begun, and when that was known. Seconds of `time.monotonic`."""

    began: float
    ended: float


class Client(threading.Thread):
    """One client; it transfers money until the bank closes, and counts the errors it sees."""

    def __init__(self, bank: Bank, number: int) -> None:
        super().__init__(name=f"client {number}")
        self.number = number
        self.transfers: list[Transfer] = []
        #: of its transfers: those it was told are done
        self.acknowledged: set[int] = set()
        self.errors: list[str] = []
        self._bank = bank
        self._chance = random.Random(number)
        self._way = WAYS[number % len(WAYS)]

    def run(self) -> None:
        """Come, work, and come again should the connection be lost."""
        while not self._bank.closing.is_set():
            try:
                with psycopg.connect(
                    self._bank.dsn, autocommit=True, application_name=self.name
                ) as connection:
                    while not (self._bank.closing.is_set() or connection.closed):
                        self._transfer(connection)
            except psycopg.Error as error:
                self._note(error)

    def _transfer(self, connection: psycopg.Connection) -> None:
        number = len(self.transfers) + len(self.errors) + 1
        giver, taker = self._chance.sample(range(1, ACCOUNTS + 1), 2)
        began = time.monotonic()
        try:
            self._way(connection, Payment(self.number, number, giver, taker, self._chance.randint(1, 10)))
        except psycopg.Error as error:
            self._note(error)
        else:
            self.acknowledged.add(number)
            self.transfers.append(Transfer(began, time.monotonic()))
        self._bank.closing.wait(self._chance.uniform(0, REST))

    def _note(self, error: psycopg.Error) -> None:
        self.errors.append(f"{error.sqlstate or 'connection'}: {error}")

    def longest_since(self, moment: float) -> float:
        """Seconds that the longest transfer took of those that had not ended then."""
        recent = [each for each in self.transfers[-200:] if each.ended > moment]
        return max((each.ended - each.began for each in recent), default=0.0)


class Payment(NamedTuple):
    """Who does it for which time, from whom to whom, and how much."""

    client: int
    number: int
    giver: int
    taker: int
    amount: int


def in_a_transaction(connection: psycopg.Connection, payment: Payment) -> None:
    """Statement by statement; accounts in the order of their ids, so that no two clients wait for each other."""
    changes = sorted([(payment.giver, -payment.amount), (payment.taker, payment.amount)])
    with connection.transaction():
        for id, amount in changes:
            connection.execute(PAY, {"id": id, "amount": amount})
        connection.execute(NOTE, payment._asdict())


def in_one_statement(connection: psycopg.Connection, payment: Payment) -> None:
    """It commits by itself."""
    connection.execute(PAY_AND_NOTE, payment._asdict())


WAYS: Sequence[Callable[[psycopg.Connection, Payment], None]] = (in_a_transaction, in_one_statement)


class Bank:
    """All clients; they come when the block begins, and have gone when it ends."""

    def __init__(self, dsn: str, clients: int) -> None:
        self.dsn = dsn
        self.closing = threading.Event()
        self.clients = [Client(self, number) for number in range(clients)]
        self.opened = self.closed = 0.0

    def __enter__(self) -> Bank:
        self.opened = time.monotonic()
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = time.monotonic()
        self.closing.set()
        for client in self.clients:
            client.join()

    @property
    def errors(self) -> list[str]:
        """All that its clients have seen."""
        return [error for client in self.clients for error in client.errors]

    def work(self, seconds: float) -> None:
        """Let them work, and wait until each has got something done that it had not begun before."""
        time.sleep(seconds)
        self.wait_for_all(time.monotonic() - seconds)

    def wait_for_all(self, moment: float) -> None:
        """Until each has had an acknowledgement for something that it began after that moment."""
        wait_for(
            lambda: all(each.transfers and each.transfers[-1].began > moment for each in self.clients),
            "every client gets further",
        )


# -- who kills -------------------------------------------------------------------------------------------------


@dataclass
class Kill:
    """What came of one."""

    number: int
    victim: str
    successor: str = ""
    #: when, seconds of `time.monotonic`
    at: float = 0.0
    #: seconds from the first sign of trouble until the successor took writes
    writable_seconds: float = 0.0
    #: of each client, sorted
    pauses_ms: list[float] = field(default_factory=list)
    replayed: int = 0
    made: int = 0
    missing: int = 0
    unknown: int = 0
    errors: int = 0


class Killer:
    """Kills primaries, and asks the proxy's API what it has done about it."""

    def __init__(self, proxy: ProxyProcess, bank: Bank) -> None:
        assert proxy.admin is not None
        host, port = proxy.admin
        self._api = httpx.Client(
            base_url=f"http://{host}:{port}/api/v1", headers={"X-API-Key": proxy.ready["admin_key"]}
        )
        self._folders = {each["name"]: Path(each["data_dir"]) for each in proxy.ready["nodes"]}
        self._bank = bank
        self.kills: list[Kill] = []

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def kill(self, number: int) -> None:
        """Kill the primary as soon as it has a standby with all its data, and wait until everybody goes on."""
        kill = Kill(number, wait_for(self._doomed, "there is a primary with a synchronous standby"))
        before, errors = self._done(), len(self._bank.errors)
        print(f"{number:5}   {kill.victim} ✝", end="", flush=True)
        kill.at = time.monotonic()
        kill_all(self._folders[kill.victim])
        status = wait_for(lambda: self._succeeded(kill.victim), "another server takes over")
        kill.successor, kill.writable_seconds = status["target_backend"], status["write_pause_seconds"]
        self._bank.wait_for_all(kill.at)
        done = self._done() - before
        kill.replayed, kill.made, kill.missing = done["replayed"], done["made"], done["missing"]
        kill.unknown, kill.errors = done["unknown"], len(self._bank.errors) - errors
        kill.pauses_ms = sorted(1000 * each.longest_since(kill.at) for each in self._bank.clients)
        self.kills.append(kill)
        print(rest_of_line(kill), flush=True)

    def _doomed(self) -> str | None:
        """The primary, if nothing acknowledged would be lost with it."""
        nodes = self._get("/topology")["nodes"]
        safe = any(each["healthy"] and each["sync_state"] in ("sync", "quorum") for each in nodes)
        return next((str(each["name"]) for each in nodes if safe and each["writable"]), None)

    def _succeeded(self, victim: str) -> dict[str, Any] | None:
        status = self._get("/failover/status")
        over = status["source_backend"] == victim and status["outcome"] == "completed"
        return status if over and not status["failover_active"] else None

    def _done(self) -> Counter[str]:
        """What the proxy has done for sessions so far."""
        status = self._get("/failover/status")
        found = status["outcomes"]
        return Counter(
            replayed=status["transactions_replayed"],
            made=found["committed"],
            missing=found["replayed"],
            unknown=found["unknown"],
        )

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get(path).raise_for_status().json()
        return found


def kill_all(data_directory: Path) -> None:
    """The server and every process of it, at once."""
    postmaster = int((data_directory / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended meanwhile


def wait_for(condition: Callable[[], T | None], what: str) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(LOOK)
    return found


# -- what is printed -------------------------------------------------------------------------------------------


def headline(options: Namespace, bank: Bank) -> str:
    """What is going to happen, and the head of the table."""
    steps = len([each for each in bank.clients if each.number % len(WAYS) == 0])
    return (
        f"A bank with {len(bank.clients)} clients: {steps} transfer money in transactions, "
        f"{len(bank.clients) - steps} in single statements ({options.mode} pooling).\n"
        f"Its primary is killed (SIGKILL) {options.kills} times.\n\n"
        "          who died,        takes    clients waited, ms    open trans-   lost answers to commits\n"
        "   kill   who took over    writes     p50    p99    max   actions       made  missing  unknown   errors\n"
        "                           after                          replayed"
    )


def rest_of_line(kill: Kill) -> str:
    """All but who died."""
    p50, p99, longest = (percentile(kill.pauses_ms, percent) for percent in (50, 99, 100))
    return (
        f" → {kill.successor:9}{kill.writable_seconds:6.2f} s{p50:8.0f}{p99:7.0f}{longest:7.0f}{kill.replayed:11}"
        f"{kill.made:11}{kill.missing:9}{kill.unknown:9}{kill.errors:9}"
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that `percent` of the sorted values do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def picture(bank: Bank, kills: Sequence[Kill]) -> str:
    """Acknowledged transfers over time, and when primaries died."""
    slot = (bank.closed - bank.opened) / WIDTH

    def place(moment: float) -> int:
        return min(WIDTH - 1, max(0, int((moment - bank.opened) / slot)))

    counts = Counter(place(each.ended) for client in bank.clients for each in client.transfers)
    most = max(counts.values(), default=1)
    deaths = {place(kill.at) for kill in kills}
    bars = [BLOCKS[-(-counts[number] * (len(BLOCKS) - 1) // most)] for number in range(WIDTH)]
    marks = ["✝" if number in deaths else " " for number in range(WIDTH)]
    return (
        f"Transfers acknowledged over time, up to {most / slot:,.0f} per second (a column is {slot:.2f} s):\n\n"
        f"   {''.join(bars)}\n   {''.join(marks).rstrip()}"
    )


def report(options: Namespace, bank: Bank, killer: Killer) -> int:
    """Print what was found; the exit code."""
    with psycopg.connect(bank.dsn, autocommit=True) as connection:
        there = Counter(connection.execute("SELECT client, number FROM ledger").fetchall())
        row = connection.execute("SELECT sum(balance)::bigint FROM accounts").fetchone()
    told = {(client.number, number) for client in bank.clients for number in client.acknowledged}
    errors = Counter(bank.errors)
    lost, doubled = len(told - there.keys()), sum(count > 1 for count in there.values())
    money = int(row[0]) if row else 0
    good = not (errors or lost or doubled) and money == ACCOUNTS * BALANCE
    print(f"\n{picture(bank, killer.kills)}\n")
    print(
        f"{len(told):,} transfers acknowledged in {bank.closed - bank.opened:.0f} s. In the ledger: "
        f"{lost} of them missing, {doubled} doubled."
    )
    print(f"Money in all accounts: {money:,}; in the beginning: {ACCOUNTS * BALANCE:,}.")
    print(f"Errors seen by clients: {errors.total()}.")
    for error, count in errors.most_common(10):
        print(f"  {count} x {error}", file=sys.stderr)
    if options.json:
        facts = {"transfers": len(told), "lost": lost, "doubled": doubled, "money": money}
        kills = [asdict(kill) for kill in killer.kills]
        print(json.dumps({**facts, "errors": errors.total(), "kills": kills}))
    return 0 if good else 1


def arguments() -> Namespace:
    """What was asked for."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=50, help="how many (%(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="how often the primary dies (%(default)s)")
    parser.add_argument(
        "--every", type=float, default=3.0, help="seconds of peace after each kill, at least (%(default)s)"
    )
    parser.add_argument("--mode", choices=["session", "transaction"], default="session", help="of the pool")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(arguments()))
