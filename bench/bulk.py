"""How fast large results and COPY in both directions go through the proxy, and whether its memory stays flat.

    python bench/bulk.py [--json] [--long] [--rounds N] [--size MIB]

Rows of about 1 kB, and once of 32 MiB each (`select_wide`), through transaction mode; the client throws away
what it gets. COPY in goes into an unlogged table, which is emptied each time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import repeat
from statistics import median
from typing import Any, Final

from harness import figures, processes
from harness.client import Client
from harness.servers import DATABASE, Target, running_cluster, running_helios, running_pgbouncer

MIB: Final = 2**20
ROW: Final = 1000  # bytes of text in each row
WIDE_ROW: Final = 32 * MIB
PIECE_ROWS: Final = 64  # rows in each CopyData message, about what libpq's users send
SIZE, LONG_SIZE = 256, 1024  # MiB

Transfer = Callable[[Client, int], int]


def select(client: Client, size: int) -> int:
    """Rows by SELECT."""
    return client.query(f"SELECT g, repeat('x', {ROW}) FROM generate_series(1, {size // ROW}) g")


def select_wide(client: Client, size: int) -> int:
    """Few rows, each larger than the proxy should ever hold."""
    return client.query(f"SELECT repeat('x', {WIDE_ROW}) FROM generate_series(1, {max(1, size // WIDE_ROW)})")


def copy_out(client: Client, size: int) -> int:
    """The same rows by COPY TO STDOUT."""
    rows = f"SELECT g, repeat('x', {ROW}) FROM generate_series(1, {size // ROW}) g"
    return client.query(f"COPY ({rows}) TO STDOUT")


def copy_in(client: Client, size: int) -> int:
    """Rows by COPY FROM STDIN."""
    client.query("TRUNCATE sink")
    return client.copy_in("COPY sink FROM STDIN", copy_data(size))


def copy_data(size: int) -> Iterator[bytes]:
    """So many bytes in COPY's text format."""
    piece = (b"1\t" + b"x" * ROW + b"\n") * PIECE_ROWS
    return repeat(piece, size // len(piece))


TRANSFERS: Final[dict[str, Transfer]] = {
    "select": select,
    "copy_out": copy_out,
    "copy_in": copy_in,
    "select_wide": select_wide,
}


def main() -> None:
    """Run the bench."""
    parser = figures.arguments(__doc__.splitlines()[0], rounds=3)
    parser.add_argument(
        "--size", type=int, metavar="MIB", help=f"of each transfer ({SIZE}; --long: {LONG_SIZE})"
    )
    options = parser.parse_args()
    size = (options.size or (LONG_SIZE if options.long else SIZE)) * MIB
    with (
        running_cluster() as (_, direct),
        running_helios(direct) as helios,
        running_pgbouncer(direct) as pgbouncer,
    ):
        figures.say_if_missing(pgbouncer)
        with Client(direct) as client:
            _log_in(client)
            client.query("CREATE UNLOGGED TABLE sink (g int, x text)")
        sides = [each for each in (direct, helios, pgbouncer) if each is not None]
        before = warm_up(sides, helios)
        speeds = measure(sides, size, options.rounds)
        growth = (processes.peak_resident_kib(helios.process) - before) / 1024
        result = evaluate(speeds, growth) | {"mib": size // MIB}
    figures.report(options, table(result), result | {"versions": figures.versions(sides)})


def warm_up(sides: list[Target], helios: Target) -> int:
    """Let every side do everything once, in small; returns the proxy's memory after it, in KiB."""
    for target in sides:
        for transfer in TRANSFERS.values():
            _speed(target, transfer, MIB)
    processes.forget_peak(helios.process)
    return processes.resident_kib(helios.process)


def measure(sides: list[Target], size: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """MB/s of each run, by transfer and target."""
    speeds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, transfer in TRANSFERS.items():
        for target in figures.turns(sides, rounds):
            speeds[name][target.name].append(_speed(target, transfer, size))
    return speeds


def _speed(target: Target, transfer: Transfer, size: int) -> float:
    with Client(target) as client:
        _log_in(client)
        start = time.perf_counter()
        moved = transfer(client, size)
        return moved / (time.perf_counter() - start) / 1e6


def _log_in(client: Client) -> None:
    client.send_startup(DATABASE)
    client.read_until_ready()


def evaluate(speeds: dict[str, dict[str, list[float]]], growth: float) -> dict[str, Any]:
    """The JSON: medians of all sides and their ratios."""
    medians = {
        name: {target: median(runs) for target, runs in sides.items()} for name, sides in speeds.items()
    }
    return {
        "bench": "bulk",
        "ratios": {name: figures.ratio(each["helios"], each["direct"]) for name, each in medians.items()},
        "ratios_pgbouncer": {
            name: figures.ratio(each["helios"], each.get("pgbouncer")) for name, each in medians.items()
        },
        "rss_growth_mib": growth,
        "mb_per_s": medians,
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        [name, each["direct"], each.get("pgbouncer"), each["helios"], result["ratios"][name]]
        for name, each in result["mb_per_s"].items()
    ]
    head = ["MB/s", "direct", "pgbouncer", "helios", "helios / direct"]
    return f"{figures.table(head, rows)}\nmost the proxy grew by: {result['rss_growth_mib']:.1f} MiB"


if __name__ == "__main__":
    main()
