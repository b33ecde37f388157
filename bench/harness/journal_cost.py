"""What journal and guard of commits cost pgbench while no server dies. Called by `failover`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, Final

import psycopg
from attrs import evolve, frozen

from harness import figures, pgbench
from harness.servers import DATABASE, SESSION_DATABASE, USER, Target, running_cluster, running_helios
from helios_trio.control.setup import SetupSettings, setup_sql

SECONDS, LONG_SECONDS = 1, 10
CLIENTS: Final = 8
#: what differs between the proxies
_OFF: Final = '[failover]\nmode = "disabled"\n'
_JOURNAL: Final = '[transaction_replay]\ncommit_outcome = "off"\n'
_ON: Final = ""
SIDES: Final = {"off": _OFF, "journal": _JOURNAL, "on": _ON}


@frozen
class Workload:
    """A script of pgbench and how many statements it has."""

    name: str
    options: tuple[str, ...]
    statements: int


WORKLOADS: Final = (
    Workload("tpcb", (), 7),
    Workload("simple_updates", ("-N",), 5),
)


def measure(rounds: int, long: bool) -> dict[str, Any]:
    """Transactions per second of each side, ratios, and processor time per statement."""
    runs: dict[tuple[str, str], list[pgbench.Run]] = defaultdict(list)
    with running_cluster() as (_, direct), running_sides(direct) as sides:
        version = figures.versions([direct])
        for workload in WORKLOADS:
            for side in sides:  # server connections are opened before anything is measured
                _run(workload, side, transactions=20)
            for side in figures.turns(sides, rounds):
                run = _run(workload, side, seconds=LONG_SECONDS if long else SECONDS)
                runs[workload.name, side.name].append(run)
    return evaluate(runs) | {"versions": version}


@contextmanager
def running_sides(direct: Target) -> Iterator[Sequence[Target]]:
    """PostgreSQL itself, and a proxy for each of SIDES."""
    pgbench.initialise(direct)
    dsn = f"host={direct.host} port={direct.port} user={USER} dbname={DATABASE}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(setup_sql(SetupSettings()).encode())
    with ExitStack() as stack:
        yield [
            direct,
            *(
                evolve(stack.enter_context(running_helios(direct, more=more)), name=name)
                for name, more in SIDES.items()
            ),
        ]


def _run(workload: Workload, side: Target, **length: int) -> pgbench.Run:
    return pgbench.run(side, *workload.options, database=_database(side), clients=CLIENTS, **length)


def _database(side: Target) -> str:
    return DATABASE if side.pid is None else SESSION_DATABASE


def evaluate(runs: dict[tuple[str, str], list[pgbench.Run]]) -> dict[str, Any]:
    """Medians; ratios are of the same turns' medians."""
    tps = {
        workload.name: {
            side: median(run.tps for run in runs[workload.name, side]) for side in ("direct", *SIDES)
        }
        for workload in WORKLOADS
    }
    ratios = {}
    for name, each in tps.items():
        ratios[f"journal_{name}"] = figures.ratio(each["on"], each["off"])
        ratios[f"journal_{name}_without_guard"] = figures.ratio(each["journal"], each["off"])
        ratios[f"journal_{name}_direct"] = figures.ratio(each["on"], each["direct"])
        ratios[f"off_{name}_direct"] = figures.ratio(each["off"], each["direct"])
    cost = {
        workload.name: {
            "journal": _per_statement(runs, workload, "journal", "off"),
            "journal_and_guard": _per_statement(runs, workload, "on", "off"),
        }
        for workload in WORKLOADS
    }
    return {"tps": tps, "ratios": ratios, "us_per_statement": cost}


def _per_statement(
    runs: dict[tuple[str, str], list[pgbench.Run]], workload: Workload, more: str, less: str
) -> float:
    """Processor time of the proxy that one side needs more than another, microseconds per statement."""
    used, usual = (
        median(run.cpu_us for run in runs[workload.name, side]) / workload.statements for side in (more, less)
    )
    return used - usual
