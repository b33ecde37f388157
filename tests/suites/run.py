"""Runs public test suites of drivers directly and through the proxy, and fails if the proxy loses a test.

    python tests/suites/run.py [--all] [--results FOLDER] [--source NAME=FOLDER] [NAME ...]

Each side has an embedded cluster of its own, and both run at the same time; the proxy is in session mode with
`reuse = "pristine"`. A test that passed directly and not through the proxy is repeated alone on both sides.
Exit status: 0 when none is lost, 1 when any is, 2 when a suite could not be run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen
from catalogue import SUITES, USER, Address, Suite
from outcomes import Outcomes, Verdict, count_passed, judge, not_kept, read_outcomes
from packages import NoTests, PipFailed, copy_tests, default_cache, environment_python, unpacked_source

from helios_trio.embedded import BlockingCluster, EmbeddedError, start_blocking
from helios_trio.testing.running import ProxyDidNotStart, ProxyProcess, running_proxy

SERVER_SETTINGS: Final = {
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "wal_level": "logical",
}
CONFIG: Final = """
[auth]
method = "trust"
[control]
user = "{user}"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
[pool]
mode = "session"
reuse = "pristine"
max_connections = 150
"""
SUITE_SECONDS: Final = 900  # of one run of a suite
TEST_SECONDS: Final = 180
REPEATS: Final = 3
STATUS_LOST, STATUS_BROKEN = 1, 2


class SuiteBroken(Exception):
    """A suite could not be run to its end."""


@frozen
class Side:
    """One of the two ways to the database, and the folder with its copy of the tests."""

    name: str
    address: Address
    folder: Path


@frozen
class Runner:
    """One suite with its two sides."""

    suite: Suite
    python: Path
    direct: Side
    proxied: Side
    results: Path

    def run_both(self, arguments: Sequence[str], label: str) -> tuple[Outcomes, Outcomes]:
        """Run these tests on both sides at once. Raises `SuiteBroken`."""
        sides = (self.direct, self.proxied)
        with ExitStack() as stack:
            started = [stack.enter_context(self._pytest(side, arguments, label)) for side in sides]
            for process in started:
                process.wait(SUITE_SECONDS)
        direct, proxied = (self._outcomes(side, label) for side in sides)
        return direct, proxied

    def repeat(self, suspects: Sequence[str], times: int) -> Verdict:
        """Run the suspects alone, several times, and judge them."""
        runs = [
            self.run_both([*suspects, *self.suite.options], f"repeat{number}")
            for number in range(1, times + 1 if suspects else 1)
        ]
        return judge(suspects, [direct for direct, _ in runs], [proxied for _, proxied in runs])

    @contextmanager
    def _pytest(self, side: Side, arguments: Sequence[str], label: str) -> Iterator[subprocess.Popen[bytes]]:
        """A run of pytest; killed if it has not ended with the block."""
        command = [str(self.python), "-m", "pytest", "-c", "pytest.ini", "-q", "-p", "no:cacheprovider"]
        command += ["-o", "junit_family=xunit1", f"--junitxml={self._file(side, label, 'xml')}"]
        command += [f"--timeout={TEST_SECONDS}", *arguments]
        environment = {**_without_libpq(os.environ), **self.suite.environment(side.address)}
        with self._file(side, label, "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=side.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            yield process
        except subprocess.TimeoutExpired as error:
            raise SuiteBroken(f"{self.suite.title} did not end within {SUITE_SECONDS} s") from error
        finally:
            process.kill()
            process.wait()

    def _outcomes(self, side: Side, label: str) -> Outcomes:
        path = self._file(side, label, "xml")
        found = read_outcomes(path) if path.exists() else {}
        if not found:
            raise SuiteBroken(f"{self.suite.title} ran no tests, see {self._file(side, label, 'log')}")
        return found

    def _file(self, side: Side, label: str, kind: str) -> Path:
        return self.results / f"{self.suite.name}-{label}-{side.name}.{kind}"


def main() -> int:
    """Run what the command line asks for."""
    options = _options().parse_args()
    results = options.results or Path(tempfile.mkdtemp(prefix="helios-suites-"))
    results.mkdir(parents=True, exist_ok=True)
    status = 0
    for suite in options.suites or SUITES.values():
        try:
            lost = run_suite(suite, options, results.resolve())
            status = max(status, STATUS_LOST if lost else 0)
        except NoTests as reason:
            print(f"{reason}: --source {suite.name}=FOLDER runs those of a source tree")
        except (SuiteBroken, PipFailed, EmbeddedError, ProxyDidNotStart) as error:
            print(f"{suite.name}: {error}")
            status = STATUS_BROKEN
    print(f"JUnit XML and output: {results}")
    return status


def run_suite(suite: Suite, options: argparse.Namespace, results: Path) -> bool:
    """Run one suite and print what came of it. Returns whether any test is lost.

    Raises NoTests, PipFailed, SuiteBroken, EmbeddedError, ProxyDidNotStart.
    """
    source = dict(options.source).get(suite.name) or unpacked_source(suite, options.cache)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="helios-suite-")))
        for side in ("direct", "proxied"):
            copy_tests(suite, source, folder / side)
        python = environment_python(suite, options.cache)
        direct = stack.enter_context(running_cluster(suite))
        proxy = stack.enter_context(running_through_proxy(suite, results))
        runner = Runner(
            suite,
            python,
            Side("direct", direct, folder / "direct"),
            Side("proxied", Address(proxy.host, proxy.port), folder / "proxied"),
            results,
        )
        outcomes = runner.run_both(suite.arguments(everything=options.all), "run")
        suspects = not_kept(*outcomes)
        verdict = runner.repeat([node for node in suspects if node not in suite.gambles], options.repeats)
    print_verdict(suite, *outcomes, verdict)
    print_nodes("decided by timing, not counted", [node for node in suspects if node in suite.gambles])
    return bool(verdict.lost)


def print_verdict(suite: Suite, direct: Outcomes, proxied: Outcomes, verdict: Verdict) -> None:
    """One line of numbers, and a line for each test that was not the same on both sides."""
    print(
        f"{suite.title}: {count_passed(direct)} of {len(direct)} tests pass directly, "
        f"{count_passed(proxied)} of {len(proxied)} through the proxy, {len(verdict.lost)} lost",
        flush=True,
    )
    print_nodes("LOST", verdict.lost)
    print_nodes("unsteady through the proxy", verdict.unsteady)
    print_nodes("fails directly too when repeated", verdict.fails_directly)


def print_nodes(title: str, nodes: Sequence[str]) -> None:
    """One line for each test."""
    for node in nodes:
        print(f"  {title}: {node}", flush=True)


@contextmanager
def running_cluster(suite: Suite) -> Iterator[Address]:
    """A PostgreSQL of its own with the suite's database."""
    cluster = start_blocking(standbys=0, settings=SERVER_SETTINGS, database=suite.database, superuser=USER)
    try:
        _prepare(cluster, suite)
        primary = cluster.cluster.primary
        yield Address(primary.host, primary.port)
    finally:
        cluster.stop()


@contextmanager
def running_through_proxy(suite: Suite, results: Path) -> Iterator[ProxyProcess]:
    """The proxy before such a PostgreSQL; what it wrote is among the results."""
    with running_cluster(suite) as server:
        config = CONFIG.format(user=USER, host=server.host, port=server.port)
        with running_proxy(config) as proxy:
            try:
                yield proxy
            finally:
                shutil.copy(proxy.log_file, results / f"{suite.name}-proxy.log")


def _prepare(cluster: BlockingCluster, suite: Suite) -> None:
    for extension in suite.extensions:
        cluster.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}", dbname=suite.database)


def _without_libpq(environment: os._Environ[str]) -> dict[str, str]:
    """The environment without what libpq and pytest would take from it."""
    return {name: value for name, value in environment.items() if not name.startswith(("PG", "PYTEST"))}


def _suite(argument: str) -> Suite:
    if argument not in SUITES:
        raise argparse.ArgumentTypeError(f"{argument!r} is not one of {', '.join(SUITES)}")
    return SUITES[argument]


def _named_folder(argument: str) -> tuple[str, Path]:
    name, separator, folder = argument.partition("=")
    if name not in SUITES or not separator or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{argument!r} is not NAME=FOLDER of one of {', '.join(SUITES)}")
    return name, Path(folder)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "suites", nargs="*", type=_suite, metavar="NAME", help=f"of {', '.join(SUITES)}; all by default"
    )
    parser.add_argument("--all", action="store_true", help="run the slow tests too")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where packages are kept")
    parser.add_argument("--results", type=Path, help="folder for JUnit XML and output")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how often a suspect is run again")
    parser.add_argument(
        "--source",
        type=_named_folder,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a source tree to take the tests from",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
