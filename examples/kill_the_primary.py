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
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import psycopg

from helios_trio.testing.running import ProxyProcess, running_proxy

T = TypeVar("T")

ACCOUNTS = 1000
BALANCE = 100
#: Seconds that a client waits at most between two transfers, and that the bank works before the first kill.
REST, QUIET = 0.1, 2.0
#: Seconds between looks at what is waited for, and after which it counts as never happening.
LOOK, PATIENCE = 0.02, 120.0
#: of the last picture: columns, and what stands in them
WIDTH, BLOCKS = 88, " ▁▂▃▄▅▆▇█"

# Kills as dense as these would make the proxy suspect that something else is wrong, and take its time.
CONFIG = """
[pool]
mode = "{mode}"
max_connections = {connections}
[failover]
min_interval = "100ms"
"""
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
    connections = options.clients + 5 if options.mode == "session" else 30
    config, more = (
        CONFIG.format(mode=options.mode, connections=connections),
        ("--ephemeral", "--standbys", "1"),
    )
    with running_proxy(config, more, ready_seconds=PATIENCE, stop_seconds=60) as proxy:
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            connection.execute(BANK)
        bank = Bank(proxy.dsn(), options.clients)
        print(headline(options), flush=True)
        with bank, closing(Killer(proxy, bank)) as killer:
            bank.work(QUIET)
            for number in range(1, options.kills + 1):
                killer.kill(number)
                bank.work(options.every)
        return report(options, bank, killer)


# -- clients ---------------------------------------------------------------------------------------------------


class Transfer(NamedTuple):
    """When it was begun, and when it was acknowledged: seconds of `time.monotonic`."""

    began: float
    ended: float


class Client(threading.Thread):
    """One client; it transfers money until the bank closes, and counts the errors it sees."""

    def __init__(self, bank: Bank, number: int) -> None:
        super().__init__(name=f"client {number}")
        self.number = number
        #: those it was told are done, by their numbers
        self.transfers: dict[int, Transfer] = {}
        self.errors: list[str] = []
        #: of the last that was acknowledged
        self.last_began = 0.0
        self._bank = bank
        self._chance = random.Random(number)
        self._way = WAYS[number % len(WAYS)]

    def run(self) -> None:
        """Come, work, and come again should the connection be lost."""
        while not self._bank.closing.is_set():
            try:
                with psycopg.connect(self._bank.dsn, autocommit=True) as connection:
                    while not (self._bank.closing.is_set() or connection.closed):
                        self._transfer(connection)
            except psycopg.Error as error:
                self.errors.append(f"{error.sqlstate}: {error}")
                self._bank.closing.wait(REST)

    def _transfer(self, connection: psycopg.Connection) -> None:
        number = len(self.transfers) + len(self.errors) + 1
        giver, taker = self._chance.sample(range(1, ACCOUNTS + 1), 2)
        began = time.monotonic()
        try:
            self._way(connection, Payment(self.number, number, giver, taker, self._chance.randint(1, 10)))
        except psycopg.Error as error:
            self.errors.append(f"{error.sqlstate}: {error}")
        else:
            self.transfers[number] = Transfer(began, time.monotonic())
            self.last_began = began
        self._bank.closing.wait(self._chance.uniform(0, REST))

    def longest_since(self, moment: float) -> float:
        """Seconds that the longest transfer took of those that had not ended then."""
        recent = (each for each in self.transfers.values() if each.ended > moment)
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
        clients = self.clients
        wait_for(lambda: all(each.last_began > moment for each in clients), "every client gets further")


# -- who kills -------------------------------------------------------------------------------------------------


@dataclass
class Kill:
    """What came of one; the counts are named as in `Killer._done`."""

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

    def close(self) -> None:
        """Hang up."""
        self._api.close()

    def kill(self, number: int) -> None:
        """Kill the primary as soon as it has a standby with all its data, and wait until everybody goes on."""
        kill = Kill(number, wait_for(self._doomed, "there is a primary with a synchronous standby"))
        before = self._done()
        print(f"{number:5}   {kill.victim} ×", end="", flush=True)
        kill.at = time.monotonic()
        kill_all(self._folders[kill.victim])
        status = wait_for(lambda: self._succeeded(kill.victim), "another server takes over")
        kill.successor, kill.writable_seconds = status["target_backend"], status["write_pause_seconds"]
        self._bank.wait_for_all(kill.at)
        for name, count in (self._done() - before).items():
            setattr(kill, name, count)
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
        """What the proxy has done for sessions so far, and what their clients have complained of."""
        status = self._get("/failover/status")
        made, missing, unknown = (status["outcomes"][name] for name in ("committed", "replayed", "unknown"))
        replayed, errors = status["transactions_replayed"], len(self._bank.errors)
        return Counter(replayed=replayed, made=made, missing=missing, unknown=unknown, errors=errors)

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


def headline(options: Namespace) -> str:
    """What is going to happen, and the head of the table."""
    singles = options.clients // 2
    return (
        f"A bank with {options.clients} clients: {options.clients - singles} transfer money in transactions, "
        f"{singles} in single statements ({options.mode} pooling).\n"
        f"Its primary is killed (SIGKILL) {options.kills} times.\n\n"
        f"{'':8}{'who died,':19}{'writable':>10}{'clients waited, ms':>21}{'transactions':>15}"
        f"{'lost answers to commits':>25}\n"
        f"{'kill':>5}   {'who took over':19}{'after':>10}{'p50':>7}{'p99':>7}{'max':>7}{'replayed':>15}"
        f"{'made':>7}{'missing':>9}{'unknown':>9}{'errors':>8}"
    )


def rest_of_line(kill: Kill) -> str:
    """All but who died."""
    last = len(kill.pauses_ms) - 1
    p50, p99, longest = (kill.pauses_ms[int(last * share)] for share in (0.5, 0.99, 1))
    return (
        f" → {kill.successor:9}{kill.writable_seconds:8.2f} s{p50:7.0f}{p99:7.0f}{longest:7.0f}"
        f"{kill.replayed:15}{kill.made:7}{kill.missing:9}{kill.unknown:9}{kill.errors:8}"
    )


def picture(bank: Bank, kills: Sequence[Kill]) -> str:
    """Acknowledged transfers over time, and when primaries died."""
    slot = (bank.closed - bank.opened) / (WIDTH - 1)

    def place(moment: float) -> int:
        return min(WIDTH - 1, int((moment - bank.opened) / slot))

    counts = Counter(place(each.ended) for client in bank.clients for each in client.transfers.values())
    most = max(counts.values(), default=1)
    deaths = {place(kill.at) for kill in kills}
    bars = [BLOCKS[-(-counts[number] * (len(BLOCKS) - 1) // most)] for number in range(WIDTH)]
    marks = ["×" if number in deaths else " " for number in range(WIDTH)]
    return (
        f"Transfers acknowledged over time, up to {most / slot:,.0f} per second (a column is {slot:.2f} s):\n\n"
        f"   {''.join(bars)}\n   {''.join(marks).rstrip()}"
    )


def report(options: Namespace, bank: Bank, killer: Killer) -> int:
    """Print what was found; the exit code."""
    with psycopg.connect(bank.dsn, autocommit=True) as connection:
        there = Counter(connection.execute("SELECT client, number FROM ledger").fetchall())
        ((money,),) = connection.execute("SELECT sum(balance)::bigint FROM accounts").fetchall()
    told = {(client.number, number) for client in bank.clients for number in client.transfers}
    errors = Counter(bank.errors)
    lost, doubled = len(told - there.keys()), sum(count > 1 for count in there.values())
    good = not (errors or lost or doubled) and money == ACCOUNTS * BALANCE
    print(f"\n{picture(bank, killer.kills)}\n")
    print(f"{len(told):,} transfers acknowledged. In the ledger: {lost} of them missing, {doubled} doubled.")
    print(f"Money in all accounts: {money:,}; in the beginning: {ACCOUNTS * BALANCE:,}.")
    print(f"Errors seen by clients: {errors.total()}.")
    for error, count in errors.most_common(10):
        print(f"  {count} x {error}", file=sys.stderr)
    if options.json:
        facts = {"lost": lost, "doubled": doubled, "money": money, "errors": errors.total()}
        kills = [asdict(kill) for kill in killer.kills]
        print(json.dumps({"transfers": len(told), **facts, "kills": kills}))
    return 0 if good else 1


def arguments() -> Namespace:
    """What was asked for."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=50, help="how many (%(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="how often the primary dies (%(default)s)")
    parser.add_argument("--every", type=float, default=3.0, help="seconds of peace after each (%(default)s)")
    parser.add_argument("--mode", choices=["session", "transaction"], default="session", help="of the pool")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(arguments()))
