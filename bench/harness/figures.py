"""Figures: medians, ratios, the table for people and the JSON for programs. Called by every bench."""

from __future__ import annotations

import json
import os
import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import helios_trio
from harness.servers import Target

T = TypeVar("T")


def arguments(description: str, rounds: int) -> ArgumentParser:
    """The options that every bench has."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument(
        "--long", action="store_true", help="measure longer than the minute it takes otherwise"
    )
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="how often each side has its turn (%(default)s)"
    )
    return parser


def turns(sides: Sequence[T], rounds: int) -> Iterator[T]:
    """A B B A A B: each side once per round, no side always first, and never far apart in time."""
    for number in range(rounds):
        yield from sides if number % 2 == 0 else reversed(sides)


def ratio(ours: float | None, other: float | None) -> float | None:
    """Ours divided by the other's; None where one was not measured."""
    return round(ours / other, 3) if ours is not None and other else None


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that `percent` of the sorted values do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def rounded(value: Any, digits: int = 3) -> Any:
    """`value` with all its numbers rounded, however deep they are."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items()}
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as they need to be: the first to the left, numbers to the right."""
    cells = [list(head), *([_cell(each) for each in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "helios_trio": helios_trio.__version__,
    }


def versions(targets: Iterable[Target | None]) -> dict[str, str]:
    """The releases of the other sides."""
    return {each.name: each.version for each in targets if each is not None and each.version}


def report(options: Namespace, text: str, result: dict[str, Any]) -> None:
    """Print the table, and the JSON line where it was asked for."""
    print(text)
    if options.json:
        print(json.dumps({**rounded(result), "rounds": options.rounds, "machine": machine()}), flush=True)


def say_if_missing(pgbouncer: Target | None) -> None:
    """Tell people why a column is empty."""
    if pgbouncer is None:
        print("PgBouncer is not installed (PATH, PGBOUNCER): nothing is compared with it")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
