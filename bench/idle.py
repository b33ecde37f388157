"""What an idle session costs in memory, how fast sessions come, and whether they cost more after a while.

    python bench/idle.py [--json] [--long] [--rounds N] [--sessions N]

Transaction mode. Each session logs in, runs one query and then waits. A round is a fresh proxy; after the
wait every session runs another query, so that none of them is dead.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from statistics import median
from typing import Any, Final

from attrs import frozen
from harness import figures, processes
from harness.client import Client
from harness.servers import Target, running_cluster, running_helios, running_pgbouncer

BATCH: Final = 64  # sessions that log in at the same time
SESSIONS, LONG_SESSIONS = 2000, 10000
WAIT, LONG_WAIT = 5.0, 60.0  # seconds
SPARE_FILES: Final = 1000


@frozen
class Round:
    """One proxy with its sessions."""

    kib_per_session: float
    grown_kib_per_session: float
    """Added while the sessions waited."""
    connects_per_s: float


def main() -> None:
    """Run the bench."""
    parser = figures.arguments(__doc__.splitlines()[0], rounds=2)
    parser.add_argument("--sessions", type=int, help=f"how many ({SESSIONS}; --long: {LONG_SESSIONS})")
    options = parser.parse_args()
    wanted = options.sessions or (LONG_SESSIONS if options.long else SESSIONS)
    sessions = min(wanted, processes.allow_open_files(wanted + SPARE_FILES) - SPARE_FILES)
    if sessions < wanted:
        print(f"only {sessions} sessions: the limit on open files does not allow more")
    wait = LONG_WAIT if options.long else WAIT
    rounds: dict[str, list[Round]] = {"helios": [], "pgbouncer": []}
    with running_cluster() as (_, direct):
        for _ in range(options.rounds):
            with running_helios(direct, sessions + BATCH) as helios:
                rounds["helios"].append(measure(helios, sessions, wait))
            with running_pgbouncer(direct, sessions + BATCH) as pgbouncer:
                if pgbouncer is not None:
                    rounds["pgbouncer"].append(measure(pgbouncer, sessions, wait))
        figures.say_if_missing(pgbouncer)
        result = evaluate(rounds) | {"sessions": sessions, "waited_s": wait}
    figures.report(options, table(result), result | {"versions": figures.versions([direct, pgbouncer])})


def measure(target: Target, sessions: int, wait: float) -> Round:
    """Open the sessions, wait, use them once more, close them."""
    with ExitStack() as stack:
        open_sessions(stack, target, BATCH)
        before = processes.resident_kib(target.process)
        start = time.perf_counter()
        clients = open_sessions(stack, target, sessions - BATCH)
        seconds = time.perf_counter() - start
        after = processes.resident_kib(target.process)
        time.sleep(wait)
        later = processes.resident_kib(target.process)
        for client in clients:
            client.query("SELECT 1")
    count = sessions - BATCH
    return Round((after - before) / count, (later - after) / count, count / seconds)


def open_sessions(stack: ExitStack, target: Target, count: int) -> list[Client]:
    """So many more sessions, a batch at a time; closed with the stack."""
    clients: list[Client] = []
    while len(clients) < count:
        size = min(BATCH, count - len(clients))
        batch = [stack.enter_context(closing(Client(target))) for _ in range(size)]
        for client in batch:
            client.send_startup()
        for client in batch:
            client.read_until_ready()
            client.send_query("SELECT 1")
        for client in batch:
            client.read_until_ready()
        clients += batch
    return clients


def evaluate(rounds: dict[str, list[Round]]) -> dict[str, Any]:
    """The JSON: medians of both sides."""
    sides = {
        name: {
            "kib_per_session": median(each.kib_per_session for each in runs),
            "grown_kib_per_session": median(each.grown_kib_per_session for each in runs),
            "connects_per_s": median(each.connects_per_s for each in runs),
        }
        for name, runs in rounds.items()
        if runs
    }
    return {"bench": "idle", **sides["helios"], "sides": sides}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [[name, *side.values()] for name, side in result["sides"].items()]
    head = [
        f"{result['sessions']} sessions",
        "KiB each",
        f"KiB more after {result['waited_s']:g} s",
        "connects/s",
    ]
    return figures.table(head, rows)


if __name__ == "__main__":
    main()
