"""Runs the benches and rewrites the table in README.md: each figure there has a command that prints it.

    python bench/report.py [--long] [--rounds N] [NAME ...]

With names only those benches run, and the rows of the others stay as they are.
"""

from __future__ import annotations

import json
import operator
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any, Final

from attrs import frozen

HERE: Final = Path(__file__).resolve().parent
README: Final = HERE / "README.md"
FIGURES: Final = HERE / "figures.json"
START, END = "<!-- figures -->", "<!-- end of figures -->"


@frozen
class Goal:
    """One row: what is wanted of one figure."""

    bench: str
    what: str
    path: str
    """Where the figure is in the JSON, with dots."""
    reached: Callable[[float, float], bool]
    value: float

    @property
    def wanted(self) -> str:
        """The goal in words."""
        return f"{'at least' if self.reached is operator.ge else 'at most'} {self.value:g}"


def _at_least(bench: str, what: str, path: str, value: float) -> Goal:
    return Goal(bench, what, path, operator.ge, value)


def _at_most(bench: str, what: str, path: str, value: float) -> Goal:
    return Goal(bench, what, path, operator.le, value)


GOALS: Final = (
    *(
        _at_least(
            "relay", f"`pgbench -S -M {mode} -c {clients}`, to PgBouncer", f"ratios.{mode}_{clients}", 0.75
        )
        for mode in ("simple", "extended", "prepared")
        for clients in (8, 32)
    ),
    _at_most("relay", "processor time per query, to PgBouncer", "cpu_ratio", 1.8),
    _at_least("relay", "TPC-B, session mode, 8 clients, to direct", "ratios.tpcb_session_8_direct", 0.97),
    _at_most("relay", "added to the 99th percentile at 1,000 queries/s, ms", "p99_added_ms", 0.15),
    _at_least("connect", "connect, query, close; to PgBouncer", "ratios.pgbouncer", 0.6),
    _at_least("connect", "connect, query, close; to direct", "ratios.direct", 8),
    _at_least("bulk", "large SELECT, MB/s to direct", "ratios.select", 0.8),
    _at_least("bulk", "COPY out, MB/s to direct", "ratios.copy_out", 0.8),
    _at_least("bulk", "COPY in, MB/s to direct", "ratios.copy_in", 0.8),
    _at_most("bulk", "growth of the proxy meanwhile, MiB", "rss_growth_mib", 16),
    _at_most("idle", "memory per idle session, KiB", "kib_per_session", 25),
    _at_most("migration", "90 of 100 sessions moved at once, under load, s", "total_seconds", 1.5),
    _at_most("migration", "one session moved alone, under load, ms", "mean_ms", 15),
    _at_most("migration", "pause of a client meanwhile, 99th percentile, ms", "p99_pause_ms", 50),
    _at_most("migration", "errors of clients, and state that was lost", "errors", 0),
    _at_least("migration", "captures/s of what was tracked", "captures_per_s", 20_000),
    _at_most("migration", "one of these, 99th percentile, ms", "captures_p99_ms", 1.5),
    _at_least("migration", "captures/s, the old server asked too", "captures_asked_per_s", 1000),
    _at_least(
        "migration", "sessions/s handed from pool to pool between transactions", "handoffs_per_s", 10_000
    ),
    _at_most("migration", "one of these, 99th percentile, ms", "handoffs_p99_ms", 0.3),
    _at_most("migration", "test for a safe point, us", "safe_point_us", 1),
    *(
        _at_most(
            "failover",
            f"primary killed, {clients} clients: pause, 99th percentile, ms",
            f"by_clients.{clients}.p99_pause_ms",
            1000,
        )
        for clients in (10, 100, 500)
    ),
    *(
        _at_most("failover", f"the same: {what}", name, 0)
        for what, name in (
            ("errors of 100 clients", "client_errors"),
            ("acknowledged effects that were lost", "lost"),
            ("effects that were doubled", "doubled"),
            ("commits of which nobody can tell", "unknown"),
        )
    ),
    _at_least(
        "failover",
        "open transactions with `INSERT ... RETURNING id`, share replayed",
        "replayed_share_returning_id",
        1,
    ),
    _at_most(
        "failover", "journal: processor time per statement of TPC-B, us", "us_per_statement.tpcb.journal", 3
    ),
    _at_least("failover", "TPC-B, replay on, to off", "ratios.journal_tpcb", 0.9),
    _at_most("routing", "to decide about a read that all filters look at, us", "decision_us", 10),
    _at_most(
        "routing", "a routed read, to one that is not: processor time more, us", "us_more_per_read.simple", 15
    ),
    _at_least("routing", "reads that standbys serve, of clients who write", "replica_read_share", 0.9),
    _at_most("routing", "reads that missed a write of their client", "stale_reads", 0),
    _at_least("routing", "the same with consistency = eventual", "stale_reads_eventual", 1),
    _at_most("breaker", "a server becomes slow: until its circuit opens, ms", "open_ms", 500),
    _at_most("breaker", "a server stands still: until its circuit opens, ms", "by_way.stall.open_ms", 500),
    _at_most("breaker", "errors of clients meanwhile", "client_errors", 0),
    _at_most("breaker", "from its healing until its circuit closes, ms", "close_ms", 1500),
    _at_most("breaker", "requests beyond a step of the ramp, share", "overshoot", 0.25),
    _at_most("breaker", "circuits that opened although all was well", "false_positives", 0),
    _at_most("admin", "queries/s lost to 1,000 API requests/s and 200 streams, share", "lost.both", 0.05),
    _at_most("admin", "the share of a core that they take", "share_of_core.both", 0.05),
    _at_most("features", "routing: processor time more per query, us", "us_more.routing", 15),
    _at_most("features", "circuit breakers: processor time more per query, us", "us_more.circuit_breaker", 1),
    _at_most("features", "all features off: processor time more per query, us", "us_more_all_off", 1),
)
NAMES: Final = tuple(dict.fromkeys(goal.bench for goal in GOALS))


def main() -> None:
    """Run the benches that are asked for, keep what they print, write the table."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--long", action="store_true", help="measure longer")
    parser.add_argument("--rounds", type=int, help="how often each side has its turn")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no bench named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    passed_on = ["--long"] * options.long + (["--rounds", str(options.rounds)] if options.rounds else [])
    results = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in options.names or NAMES:
        results[name] = run(name, passed_on)
        FIGURES.write_text(json.dumps(results, indent=1) + "\n")
    README.write_text(with_table(README.read_text(), page(results)))


def run(name: str, options: list[str]) -> dict[str, Any]:
    """Run one bench, showing what it prints; its JSON object."""
    print(f"== {name}", flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    text, _, last = done.stdout.rstrip("\n").rpartition("\n")
    print(text, flush=True)
    result: dict[str, Any] = json.loads(last)
    return result | {
        "command": " ".join(["python", f"bench/{name}.py", *options]),
        "date": datetime.now(UTC).date().isoformat(),
    }


def with_table(readme: str, text: str) -> str:
    """`readme` with `text` between the marks."""
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(readme):
        raise LookupError(f"{README} has no {START} ... {END}")
    return pattern.sub(lambda _: f"{START}\n{text}\n{END}", readme)


def page(results: Mapping[str, dict[str, Any]]) -> str:
    """The table and what it was measured on, in Markdown."""
    rows = [row(goal, results[goal.bench]) for goal in GOALS if goal.bench in results]
    head = ["| what | goal | measured | |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *map(origin, results.values()), "", *machines(results)])


def row(goal: Goal, result: Mapping[str, Any]) -> str:
    """One line of the table."""
    value = reduce(lambda found, key: found[key], goal.path.split("."), result)
    if not isinstance(value, int | float):
        return f"| {goal.what} | {goal.wanted} | not measured | |"
    verdict = "reached" if goal.reached(value, goal.value) else "**not reached**"
    return f"| {goal.what} | {goal.wanted} | {value:g} | {verdict} |"


def origin(result: Mapping[str, Any]) -> str:
    """By which command, when, against which releases."""
    others = ", ".join(f"{name} {release}" for name, release in result["versions"].items())
    return f"* `{result['command']}`: {result['date']}, {result['rounds']} rounds; {others}"


def machines(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """What it ran on: one line, unless the benches ran on several machines or releases."""
    lines = (
        "{cores} cores ({cpu}), {memory_gib} GiB, Linux {kernel}, Python {python}, "
        "helios_trio {helios_trio}".format_map(result["machine"])
        for result in results.values()
    )
    return list(dict.fromkeys(lines))


if __name__ == "__main__":
    main()
