"""pgbench of the wheel, against any target. Called by `relay`, `connect` and `migration`."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from harness.processes import cpu_seconds
from harness.servers import DATABASE, USER, Target
from helios_trio.embedded.binaries import wheel_bin_dir

SCALE: Final = 10  # a million rows
_LONGEST: Final = 3600  # seconds; whoever runs it beside something ends it before
_LATENCY, _LAG = 2, 6  # columns of the transaction log, both in microseconds


@frozen
class Run:
    """What one run of pgbench measured."""

    tps: float
    transactions: int
    user_us: float = 0.0
    """User time of the proxy for each transaction, microseconds; 0 for PostgreSQL itself."""
    system_us: float = 0.0
    """Its system time, likewise."""

    @property
    def cpu_us(self) -> float:
        """Its processor time."""
        return self.user_us + self.system_us


def initialise(target: Target) -> None:
    """Create and fill pgbench's tables."""
    _run(target, DATABASE, ["-i", "-q", "-s", str(SCALE)])


def run(
    target: Target,
    *options: str,
    database: str = DATABASE,
    clients: int = 8,
    threads: int = 1,
    seconds: int | None = None,
    transactions: int | None = None,
) -> Run:
    """Run for so many seconds, or so many transactions of each client."""
    length = ["-T", str(seconds)] if seconds is not None else ["-t", str(transactions)]
    before = _used_us(target)
    report = _run(target, database, ["-n", "-c", str(clients), "-j", str(threads), *length, *options])
    done = int(_number(r"transactions actually processed: (\d+)", report))
    user, system = ((now - then) / done for now, then in zip(_used_us(target), before, strict=True))
    return Run(_number(r"tps = ([\d.]+)", report), done, user, system)


def latencies_ms(target: Target, *options: str, rate: int, seconds: int, clients: int = 8) -> list[float]:
    """How long each transaction took, in milliseconds and sorted, at so many a second.

    Counted from when pgbench sent it, not from when it should have: how late pgbench itself was is no
    concern of the target's.
    """
    with tempfile.TemporaryDirectory(prefix="bench-latencies-") as folder:
        log = ["-l", f"--log-prefix={folder}/log", "-R", str(rate), "-T", str(seconds)]
        _run(target, DATABASE, ["-n", "-c", str(clients), "-j", "1", *log, *options])
        lines = [line.split() for path in Path(folder).iterdir() for line in path.read_text().splitlines()]
    return sorted((int(line[_LATENCY]) - int(line[_LAG])) / 1000 for line in lines)


@define
class Load:
    """pgbench that runs beside what is measured."""

    tps: list[float] = field(factory=list)
    """Of each second, once it has ended."""
    errors: list[str] = field(factory=list)
    """What it complained of; a client that loses its connection does."""


@contextmanager
def running(target: Target, *options: str, database: str = DATABASE, clients: int = 2) -> Iterator[Load]:
    """Run inside the block, as fast as it can."""
    load = Load()
    arguments = ["-n", "-c", str(clients), "-j", "1", "-T", str(_LONGEST), "-P", "1", *options]
    with tempfile.TemporaryFile("w+") as report:
        process = subprocess.Popen(
            [*_command(target), *arguments, database],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=report,
        )
        try:
            yield load
        finally:
            ended = process.poll()
            process.terminate()
            process.wait()
            report.seek(0)
            text = report.read()
    load.tps += [float(found) for found in re.findall(r"([\d.]+) tps", text)]
    load.errors += [line for line in text.splitlines() if "error" in line or "aborted" in line]
    if ended is not None:
        load.errors.append(f"pgbench has ended by itself ({ended})")


def _used_us(target: Target) -> tuple[float, float]:
    user, system = (0.0, 0.0) if target.pid is None else cpu_seconds(target.pid)
    return user * 1e6, system * 1e6


def _run(target: Target, database: str, arguments: Sequence[str]) -> str:
    done = subprocess.run(
        [*_command(target), *arguments, database],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"pgbench {' '.join(arguments)} against {target.name} failed:\n{done.stderr}")
    return done.stdout


def _command(target: Target) -> list[str]:
    return [str(wheel_bin_dir() / "pgbench"), "-h", target.host, "-p", str(target.port), "-U", USER]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _number(pattern: str, report: str) -> float:
    found = re.search(pattern, report)
    if found is None:
        raise LookupError(f"pgbench did not report {pattern!r}:\n{report}")
    return float(found[1])
