"""What routing costs, how many reads it takes off the primary, and whether a client ever misses its own writes.

    python bench/routing.py [--json] [--long] [--rounds N]

A primary, two standbys. First the decision by itself, in this process. Then `pgbench -S` through two proxies in front
of the three servers: one sends everything to the primary, the other reads to the standbys. Then clients of whom each
fifth request is a write, while the standbys keep up, and while one of them is 300 ms late and the other stands still by
turns: under read-your-writes no read may miss what its client has written. With `consistency = eventual` some do, or
the bench could not see it.
"""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import trio
from harness import deciding, figures, pgbench, readers
from harness.readers import Found
from harness.replicas import Address, addresses, running_replicas, running_router
from harness.servers import Target

from helios_trio.embedded import BlockingCluster

_OFF: Final = '[failover]\nmode = "manual"\n'
_ON: Final = _OFF + "[routing]\nread_write_split = true\n"
MODES: Final = "simple", "prepared"
CLIENTS: Final = 8
SECONDS, LONG_SECONDS = 1, 5
#: of the mix of reads and writes
MIX_SECONDS, LONG_MIX_SECONDS = 3.0, 20.0

Runs = Mapping[tuple[str, str], Sequence[pgbench.Run]]


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=4).parse_args()
    with running_replicas() as (cluster, direct):
        pgbench.initialise(direct)
        readers.create_table(direct)
        trio.run(cluster.cluster.wait_for_replay)
        result = measure(cluster, direct, options)
    figures.report(options, table(result), result)


def measure(cluster: BlockingCluster, direct: Target, options: Namespace) -> dict[str, Any]:
    """All figures."""
    servers = addresses(cluster)
    decisions = trio.run(deciding.measure, servers, options.rounds)
    with (
        running_router(servers, _OFF, "off") as (off, _),
        running_router(servers, _ON, "on") as (on, _),
    ):
        runs = compare((off, on), options)
        mixes = mix(servers, on, direct, LONG_MIX_SECONDS if options.long else MIX_SECONDS)
    return evaluate(decisions, runs, mixes) | {"versions": figures.versions([direct])}


def compare(sides: Sequence[Target], options: Namespace) -> Runs:
    """`pgbench -S` through the proxies, by turns."""
    runs = defaultdict(list)
    seconds = LONG_SECONDS if options.long else SECONDS
    for mode in MODES:
        for side in sides:  # server connections are opened before anything is measured
            pgbench.run(side, "-S", "-M", mode, clients=CLIENTS, transactions=50)
        for side in figures.turns(sides, options.rounds):
            runs[mode, side.name].append(
                pgbench.run(side, "-S", "-M", mode, clients=CLIENTS, seconds=seconds)
            )
    return runs


def mix(servers: Mapping[str, Address], proxy: Target, direct: Target, seconds: float) -> dict[str, Found]:
    """Reads and writes: standbys that keep up, and late ones with both consistencies."""
    found = {"keeping_up": readers.run(proxy, direct, "ryw", seconds)}
    with readers.late_standbys(servers):
        found["late"] = readers.run(proxy, direct, "ryw", seconds)
        found["late_eventual"] = readers.run(proxy, direct, "eventual", seconds)
    return found


# -- figures ---------------------------------------------------------------------------------------------------


def evaluate(decisions: Mapping[str, float], runs: Runs, mixes: Mapping[str, Found]) -> dict[str, Any]:
    """The JSON."""
    tps = {
        mode: {side: median(run.tps for run in runs[mode, side]) for side in ("off", "on")} for mode in MODES
    }
    cpu = {
        mode: {side: median(run.cpu_us for run in runs[mode, side]) for side in ("off", "on")}
        for mode in MODES
    }
    return {
        "bench": "routing",
        **decisions,
        "replica_read_share": mixes["keeping_up"].share,
        "stale_reads": mixes["keeping_up"].stale + mixes["late"].stale,
        "stale_reads_eventual": mixes["late_eventual"].stale,
        "errors": sum(each.errors for each in mixes.values()),
        "tps": tps,
        "cpu_us_per_query": cpu,
        "us_more_per_read": {mode: each["on"] - each["off"] for mode, each in cpu.items()},
        "ratios": {mode: figures.ratio(each["on"], each["off"]) for mode, each in tps.items()},
        "mixes": {
            name: {
                "reads": each.reads,
                "writes": each.writes,
                "replica_read_share": each.share,
                "stale": each.stale,
                "errors": each.errors,
            }
            for name, each in mixes.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    decisions = [
        ["to decide about a read, us", result["decision_us"]],
        ["about one behind a write of its session, us", result["decision_behind_writes_us"]],
    ]
    sides = [
        [f"{what}, {mode}", each["off"], each["on"]]
        for what, name in (
            ("`pgbench -S`, tps", "tps"),
            ("processor time per query, us", "cpu_us_per_query"),
        )
        for mode, each in result[name].items()
    ]
    rows = ("reads", "writes", "replica_read_share", "stale", "errors")
    mixes = result["mixes"].values()
    head = ["reads and writes", "ryw", "ryw, late standbys", "eventual, late"]
    return "\n\n".join(
        (
            figures.table(["decision", "measured"], decisions),
            figures.table([f"{CLIENTS} clients", "off", "on"], sides),
            figures.table(head, [[name.replace("_", " "), *(each[name] for each in mixes)] for name in rows]),
        )
    )


if __name__ == "__main__":
    main()
