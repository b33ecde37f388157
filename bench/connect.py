"""How many times a second a client can connect, run one query and leave.

    python bench/connect.py [--json] [--long] [--rounds N]

`pgbench -C -S`, 8 clients in 8 threads, transaction mode; against PostgreSQL itself and against PgBouncer.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any, Final

from harness import figures, pgbench
from harness.servers import Target, running_cluster, running_helios, running_pgbouncer

CLIENTS: Final = 8
SECONDS, LONG_SECONDS = 3, 15


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=5).parse_args()
    with (
        running_cluster() as (_, direct),
        running_helios(direct) as helios,
        running_pgbouncer(direct) as pgbouncer,
    ):
        figures.say_if_missing(pgbouncer)
        pgbench.initialise(direct)
        sides = [each for each in (direct, helios, pgbouncer) if each is not None]
        for target in sides:
            _run(target, transactions=20)
        runs: dict[str, list[pgbench.Run]] = defaultdict(list)
        for target in figures.turns(sides, options.rounds):
            runs[target.name].append(_run(target, seconds=LONG_SECONDS if options.long else SECONDS))
        result = evaluate(runs)
    figures.report(options, table(result), result | {"versions": figures.versions(sides)})


def _run(target: Target, *, seconds: int | None = None, transactions: int | None = None) -> pgbench.Run:
    return pgbench.run(
        target, "-C", "-S", clients=CLIENTS, threads=CLIENTS, seconds=seconds, transactions=transactions
    )


def evaluate(runs: dict[str, list[pgbench.Run]]) -> dict[str, Any]:
    """The JSON: medians of all sides and their ratios."""
    per_second = {name: median(run.tps for run in each) for name, each in runs.items()}
    cpu = {name: median(run.cpu_us for run in each) for name, each in runs.items() if name != "direct"}
    ours = per_second["helios"]
    return {
        "bench": "connect",
        "ratios": {name: figures.ratio(ours, per_second.get(name)) for name in ("pgbouncer", "direct")},
        "connects_per_s": per_second,
        "cpu_us_per_connect": cpu,
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        [name, value, result["cpu_us_per_connect"].get(name), result["ratios"].get(name)]
        for name, value in result["connects_per_s"].items()
    ]
    return figures.table(["connect, query, close", "per second", "us each", "helios / it"], rows)


if __name__ == "__main__":
    main()
