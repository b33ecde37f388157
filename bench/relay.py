"""How much of PgBouncer's throughput the proxy reaches, what a query costs it, and what it adds to latency.

    python bench/relay.py [--json] [--long] [--rounds N]

`pgbench -S` in its three query modes, 8 and 32 clients, transaction mode on both sides; TPC-B in session mode
against PostgreSQL itself; latency at a fixed rate against PostgreSQL itself. A PgBouncer that has no prepared
statements in transaction mode (before 1.21) is compared in its session mode there, and `against` says so.
"""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from statistics import median
from typing import Any, Final

from attrs import field, frozen
from harness import figures, pgbench
from harness.servers import (
    DATABASE,
    SESSION_DATABASE,
    Target,
    running_cluster,
    running_helios,
    running_pgbouncer,
)

MODES: Final = ("simple", "extended", "prepared")
CLIENTS: Final = (8, 32)
RATE: Final = 1000  # queries per second where latency is measured
SECONDS, LONG_SECONDS = 1, 10
LATENCY_SECONDS, LONG_LATENCY_SECONDS = 2, 20


@frozen
class Case:
    """One way of loading both proxies."""

    mode: str
    clients: int

    @property
    def name(self) -> str:
        """Its key in the JSON."""
        return f"{self.mode}_{self.clients}"

    def database(self, target: Target) -> str:
        """Transaction mode wherever the target can do it."""
        if self.mode == "prepared" and not target.prepares_in_transactions:
            return SESSION_DATABASE
        return DATABASE


CASES: Final = tuple(Case(mode, clients) for mode in MODES for clients in CLIENTS)
TPCB: Final = "tpcb_session_8_direct"


@frozen
class Measured:
    """All runs: by case, then by target."""

    tps: dict[str, dict[str, list[float]]] = field(factory=lambda: defaultdict(lambda: defaultdict(list)))
    cpu_us: dict[str, dict[str, list[float]]] = field(factory=lambda: defaultdict(lambda: defaultdict(list)))
    user_us: dict[str, dict[str, list[float]]] = field(factory=lambda: defaultdict(lambda: defaultdict(list)))
    p99_ms: dict[str, list[float]] = field(factory=lambda: defaultdict(list))

    def add(self, case: str, target: Target, run: pgbench.Run) -> None:
        """Note one run."""
        self.tps[case][target.name].append(run.tps)
        if target.pid is not None:
            self.cpu_us[case][target.name].append(run.cpu_us)
            self.user_us[case][target.name].append(run.user_us)


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=3).parse_args()
    with (
        running_cluster() as (_, direct),
        running_helios(direct) as helios,
        running_pgbouncer(direct) as pgbouncer,
    ):
        figures.say_if_missing(pgbouncer)
        pgbench.initialise(direct)
        measured = Measured()
        proxies = [helios] if pgbouncer is None else [helios, pgbouncer]
        warm_up(proxies)
        measure_cases(measured, proxies, direct, options)
        measure_tpcb(measured, [direct, helios], options)
        measure_latency(measured, [direct, *proxies], options)
        result = evaluate(measured, pgbouncer)
    figures.report(options, tables(result), result | {"versions": figures.versions([direct, pgbouncer])})


def warm_up(proxies: list[Target]) -> None:
    """Open the server connections before anything is measured."""
    for target in proxies:
        for case in CASES:
            if case.clients == max(CLIENTS):
                _run(case, target, transactions=20)


def measure_cases(measured: Measured, proxies: list[Target], direct: Target, options: Namespace) -> None:
    """The six cases; PostgreSQL itself once and with the fewest clients, to show where the ceiling is."""
    seconds = LONG_SECONDS if options.long else SECONDS
    for case in CASES:
        for target in figures.turns(proxies, options.rounds):
            measured.add(case.name, target, _run(case, target, seconds=seconds))
        if case.clients == min(CLIENTS):
            measured.add(case.name, direct, _run(case, direct, seconds=seconds))


def _run(case: Case, target: Target, **length: int) -> pgbench.Run:
    database = DATABASE if target.pid is None else case.database(target)
    return pgbench.run(target, "-S", "-M", case.mode, database=database, clients=case.clients, **length)


def measure_tpcb(measured: Measured, sides: list[Target], options: Namespace) -> None:
    """TPC-B-like transactions in session mode."""
    seconds = LONG_SECONDS if options.long else SECONDS
    for target in figures.turns(sides, options.rounds):
        database = DATABASE if target.pid is None else SESSION_DATABASE
        measured.add(TPCB, target, pgbench.run(target, database=database, seconds=seconds))


def measure_latency(measured: Measured, sides: list[Target], options: Namespace) -> None:
    """The 99th percentile at a rate that keeps nobody busy."""
    seconds = LONG_LATENCY_SECONDS if options.long else LATENCY_SECONDS
    for target in figures.turns(sides, options.rounds if options.long else 1):
        found = pgbench.latencies_ms(target, "-S", rate=RATE, seconds=seconds)
        measured.p99_ms[target.name].append(figures.percentile(found, 99))


def evaluate(measured: Measured, pgbouncer: Target | None) -> dict[str, Any]:
    """The JSON: medians of all sides and their ratios."""
    tps = _medians(measured.tps)
    cpu = _medians(measured.cpu_us)
    p99 = {name: median(runs) for name, runs in measured.p99_ms.items()}
    cases = [case.name for case in CASES]
    ratios = {case: figures.ratio(tps[case]["helios"], tps[case].get("pgbouncer")) for case in cases}
    ratios[TPCB] = figures.ratio(tps[TPCB]["helios"], tps[TPCB]["direct"])
    return {
        "bench": "relay",
        "ratios": ratios,
        "against": {case.name: _against(case, pgbouncer) for case in CASES} | {TPCB: "PostgreSQL"},
        "cpu_ratio": figures.ratio(_mean(cpu, cases, "helios"), _mean(cpu, cases, "pgbouncer")),
        "cpu_ratios": {
            case: figures.ratio(cpu[case]["helios"], cpu[case].get("pgbouncer")) for case in cases
        },
        "p99_added_ms": p99["helios"] - p99["direct"],
        "tps": tps,
        "cpu_us_per_query": cpu,
        "user_us_per_query": _medians(measured.user_us),
        "p99_ms": p99,
    }


def _medians(runs: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {case: {target: median(each) for target, each in sides.items()} for case, sides in runs.items()}


def _mean(cpu: dict[str, dict[str, float]], cases: list[str], target: str) -> float | None:
    """Over the cases, each weighing the same; None if it was not measured in all of them."""
    found = [cpu[case][target] for case in cases if target in cpu[case]]
    return sum(found) / len(found) if len(found) == len(cases) else None


def _against(case: Case, pgbouncer: Target | None) -> str | None:
    if pgbouncer is None:
        return None
    mode = "transaction" if case.database(pgbouncer) == DATABASE else "session"
    return f"PgBouncer {pgbouncer.version}, {mode} mode"


def tables(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = []
    for case, tps in result["tps"].items():
        cpu = result["cpu_us_per_query"][case]
        sides = [tps.get("direct"), tps.get("pgbouncer"), tps["helios"], result["ratios"][case]]
        rows.append([case, *sides, cpu.get("pgbouncer"), cpu["helios"], result["against"][case]])
    head = ["case", "direct tps", "pgbouncer", "helios", "ratio", "pgbouncer us", "helios us", "ratio is to"]
    p99 = ", ".join(f"{name} {value:.3f} ms" for name, value in result["p99_ms"].items())
    return "\n".join(
        [
            figures.table(head, rows),
            f"processor time per query, helios / PgBouncer: {result['cpu_ratio'] or '-'}",
            f"99th percentile at {RATE} queries/s: {p99}; added {result['p99_added_ms']:.3f} ms",
        ]
    )


if __name__ == "__main__":
    main()
