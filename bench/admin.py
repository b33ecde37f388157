"""What it costs the data path that many look at the proxy while it works.

    python bench/admin.py [--json] [--long] [--rounds N]

`pgbench -S` through a proxy that nobody looks at, and the same while 1,000 API requests a second are offered, while 200
readers of the live stream are connected, and while both are there; all take turns. What is lost is the share of the
queries per second. How many requests the proxy works on is bounded by `admin.max_requests_per_second`, as it comes.

Queries per second vary by more than what is looked for where the machine has other guests. So the processor time that
the same sides take from a proxy without clients is measured, too: a share of the core that its event loop has.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections import defaultdict
from statistics import median
from typing import Any, Final

from harness import figures, pgbench
from harness.lookers import Looking, Seen, looking
from harness.processes import cpu_seconds
from harness.servers import Target, running_cluster, running_helios_with_admin

from helios_trio.testing.running import ProxyProcess

CLIENTS: Final = 8
REQUESTS, STREAMS = 1000, 200
SECONDS, LONG_SECONDS = 4, 20

ALONE: Final = Looking("alone")
#: The same once more: what both differ by is the noise of the figures.
AGAIN: Final = Looking("again")
REQUESTED: Final = Looking("requests", requests=REQUESTS)
STREAMED: Final = Looking("streams", streams=STREAMS)
BOTH: Final = Looking("both", requests=REQUESTS, streams=STREAMS)
LOOKED_AT: Final = (REQUESTED, STREAMED, BOTH)
SIDES: Final = (ALONE, AGAIN, *LOOKED_AT)


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=8).parse_args()
    with running_cluster() as (_, direct), running_helios_with_admin(direct) as (helios, proxy):
        pgbench.initialise(direct)
        pgbench.run(helios, "-S", clients=CLIENTS, transactions=500)
        measured = measure(helios, proxy, options)
        result = evaluate(*measured) | {"share_of_core": taken(proxy, options)}
        result |= {"versions": figures.versions([direct])}
    figures.report(options, table(result), result)


Runs = dict[str, list[pgbench.Run]]


def measure(helios: Target, proxy: ProxyProcess, options: Namespace) -> tuple[Runs, dict[str, list[Seen]]]:
    """All sides by turns."""
    seconds = LONG_SECONDS if options.long else SECONDS
    assert proxy.admin is not None, "it is on by default"
    runs: Runs = defaultdict(list)
    seen: dict[str, list[Seen]] = defaultdict(list)
    for side in figures.turns(SIDES, options.rounds):
        with looking(proxy.admin, proxy.ready["admin_key"], side) as what:
            runs[side.name].append(pgbench.run(helios, "-S", clients=CLIENTS, seconds=seconds))
        seen[side.name].append(what)
    return runs, seen


def taken(proxy: ProxyProcess, options: Namespace) -> dict[str, float]:
    """The share of a core that each side takes from a proxy without clients, more than what it takes by itself."""
    assert proxy.admin is not None, "it is on by default"
    found = defaultdict(list)
    for side in figures.turns((ALONE, *LOOKED_AT), options.rounds):
        with looking(proxy.admin, proxy.ready["admin_key"], side):
            began, before = time.perf_counter(), sum(cpu_seconds(proxy.pid))
            time.sleep(LONG_SECONDS if options.long else SECONDS)
            used = sum(cpu_seconds(proxy.pid)) - before
            found[side.name].append(used / (time.perf_counter() - began))
    shares = {name: median(each) for name, each in found.items()}
    return {side.name: shares[side.name] - shares[ALONE.name] for side in LOOKED_AT}


def evaluate(runs: Runs, seen: dict[str, list[Seen]]) -> dict[str, Any]:
    """The JSON: medians."""
    tps = {name: median(each.tps for each in found) for name, found in runs.items()}
    alone = median(each.tps for side in (ALONE, AGAIN) for each in runs[side.name])
    return {
        "bench": "admin",
        "lost": {side.name: 1 - tps[side.name] / alone for side in LOOKED_AT},
        "noise": abs(tps[AGAIN.name] - tps[ALONE.name]) / alone,
        "tps": tps,
        "cpu_us_per_query": {name: median(each.cpu_us for each in found) for name, found in runs.items()},
        "offered_per_s": REQUESTS,
        "served_per_s": {name: median(each.served for each in found) for name, found in seen.items()},
        "refused_per_s": {name: median(each.refused for each in found) for name, found in seen.items()},
        "messages_per_s": {name: median(each.messages for each in found) for name, found in seen.items()},
        "lookers_cpu_share": {name: median(each.cpu for each in found) for name, found in seen.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    names = {
        ALONE.name: "nobody looks",
        AGAIN.name: "nobody looks again",
        REQUESTED.name: f"{REQUESTS} requests/s offered",
        STREAMED.name: f"{STREAMS} streams",
        BOTH.name: "both",
    }
    columns = (
        "tps",
        "lost",
        "share_of_core",
        "cpu_us_per_query",
        "served_per_s",
        "refused_per_s",
        "messages_per_s",
        "lookers_cpu_share",
    )
    rows = [[what, *(result[column].get(name) for column in columns)] for name, what in names.items()]
    head = ["", "tps", "lost", "of a core", "us/query", "served/s", "refused/s", "messages/s", "lookers' cpu"]
    return figures.table(head, rows) + f"\n\nnoise of the queries per second: {result['noise']:.3f}"


if __name__ == "__main__":
    main()
