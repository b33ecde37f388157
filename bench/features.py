"""What each feature costs a query while it is on, and while it is off.

    python bench/features.py [--json] [--long] [--rounds N]

`pgbench -S` through proxies in front of a primary and two standbys, which take turns. For each feature there is one
with it and one that differs in nothing else; processor time per query of both is compared. A proxy whose configuration
says of every feature that it is off is compared with one whose configuration does not speak of them, and that with
another one just like it: the difference between these two is what the machine does to such figures.
"""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, Final

import trio
from harness import figures, pgbench
from harness.replicas import Address, addresses, running_replicas, running_router
from harness.servers import Target

CLIENTS: Final = 8
MODE: Final = "simple"
SECONDS, LONG_SECONDS = 1, 5

#: no feature at all
_NONE: Final = '[failover]\nmode = "disabled"\n'
_ALL_OFF: Final = (
    _NONE
    + """
[routing]
enabled = false
[transparent_write_routing]
enabled = false
[circuit_breaker]
enabled = false
"""
)
_ROUTING: Final = _NONE + "[routing]\nread_write_split = true\n"
_RULES: Final = """
[[routing.rules]]
tenant_pattern = "report_*"
backend = "node3"
[[routing.geo_rules]]
tenant_pattern = "eu_*"
preferred_backend = "node2"
"""
_KINDS: Final = '[routing.workload]\nenabled = true\nolap_target = "node3"\n'
_LAG: Final = '[lag_routing]\nmax_lag = "10s"\nmax_lag_bytes = "64MB"\n'
_LATENCY: Final = '[load_balancer]\nstrategy = "latency"\n'
_WRITES: Final = "[transparent_write_routing]\nenabled = true\n"
_CIRCUITS: Final = "[circuit_breaker]\nenabled = true\n"
_PATTERNS: Final = """
query_level_breakers_enabled = true
user_level_breakers_enabled = true
per_user_rate_limit = 1000000
"""
#: one request in a hundred, to a collector that is not there
_TRACES: Final = '[observability]\notlp_endpoint = "http://127.0.0.1:9"\ntrace_sample_ratio = 0.01\n'
_SLOW_LOG: Final = '[observability]\nlog_queries = "slow"\nslow_query_threshold_ms = 10000\n'

#: the proxies; each is called as the feature that it has and the one it is compared with has not
SIDES: Final = {
    "none": _NONE,
    "none_again": _NONE,
    "all_off": _ALL_OFF,
    "failover": '[failover]\nmode = "manual"\n[transaction_replay]\nenabled = false\n',
    "journal": '[failover]\nmode = "manual"\n[transaction_replay]\ncommit_outcome = "off"\n',
    "routing": _ROUTING,
    "routing_rules": _ROUTING + _RULES,
    "workload": _ROUTING + _KINDS,
    "lag_routing": _ROUTING + _LAG,
    "latency_balancer": _ROUTING + _LATENCY,
    "transparent_write_routing": _ROUTING + _WRITES,
    "circuit_breaker": _ROUTING + _CIRCUITS,
    "query_and_user_breakers": _ROUTING + _CIRCUITS + _PATTERNS,
    "tracing": _NONE + _TRACES,
    "slow_query_log": _NONE + _SLOW_LOG,
}
#: feature -> the proxy that differs from its own in nothing else
WITHOUT: Final = {
    "failover": "none",
    "journal": "failover",
    "routing": "none",
    "routing_rules": "routing",
    "workload": "routing",
    "lag_routing": "routing",
    "latency_balancer": "routing",
    "transparent_write_routing": "routing",
    "circuit_breaker": "routing",
    "query_and_user_breakers": "circuit_breaker",
    "tracing": "none",
    "slow_query_log": "none",
}


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=2).parse_args()
    with running_replicas() as (cluster, direct):
        pgbench.initialise(direct)
        trio.run(cluster.cluster.wait_for_replay)
        result = evaluate(measure(addresses(cluster), options)) | {"versions": figures.versions([direct])}
    figures.report(options, table(result), result)


def measure(servers: Mapping[str, Address], options: Namespace) -> dict[str, float]:
    """Processor time per query through each proxy, medians of turns; microseconds."""
    seconds = LONG_SECONDS if options.long else SECONDS
    runs = defaultdict(list)
    with _running(servers) as sides:
        for side in sides:  # server connections are opened, and standbys known, before anything is measured
            pgbench.run(side, "-S", "-M", MODE, clients=CLIENTS, transactions=100)
        for side in figures.turns(sides, options.rounds):
            run = pgbench.run(side, "-S", "-M", MODE, clients=CLIENTS, seconds=seconds)
            runs[side.name].append(run.cpu_us)
    return {name: median(each) for name, each in runs.items()}


@contextmanager
def _running(servers: Mapping[str, Address]) -> Iterator[Sequence[Target]]:
    """A proxy for each configuration."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_router(servers, config, name))[0] for name, config in SIDES.items()
        ]


def evaluate(found: Mapping[str, float]) -> dict[str, Any]:
    """The JSON."""
    per_query = {name: {"off": found[without], "on": found[name]} for name, without in WITHOUT.items()}
    return {
        "bench": "features",
        "us_per_query": per_query,
        "us_more": {name: each["on"] - each["off"] for name, each in per_query.items()},
        "us_more_all_off": found["all_off"] - found["none"],
        "us_noise": abs(found["none_again"] - found["none"]),
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        [name.replace("_", " "), each["off"], each["on"], result["us_more"][name]]
        for name, each in result["us_per_query"].items()
    ]
    rows += [
        ["all of them are said to be off", None, None, result["us_more_all_off"]],
        ["two that are alike", None, None, result["us_noise"]],
    ]
    return figures.table(["processor time per query, us", "without", "with", "more"], rows)


if __name__ == "__main__":
    main()
