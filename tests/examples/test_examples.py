"""The examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helios_trio.testing.running import ProxyProcess

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAID = """\
copied 6 planets
at least 1 moons: Earth, Mars, Jupiter, Saturn
at least 50 moons: Jupiter, Saturn
after the rollback: 6 planets
heard on news: Pluto is out
"""


@pytest.mark.cluster
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_quickstart(mode: str, proxy_for: Callable[[str], ProxyProcess]) -> None:
    """COPY, prepared statements, a transaction and a notification, through the proxy."""
    done = run("quickstart.py", proxy_for(mode).dsn())
    assert (done.stdout, done.stderr) == (SAID, "")


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.cluster
def test_move_me() -> None:
    """It is moved, and keeps all it has."""
    done = run("move_me.py", "2")
    assert done.stderr == ""
    assert done.returncode == 0
    found = re.search(r"(\d+) rounds, moved (\d+) times, not moved 0 times", done.stdout)
    assert found is not None, done.stdout
    assert min(map(int, found.groups())) > 0


@pytest.mark.long
@pytest.mark.cluster
def test_zero_downtime_switchover() -> None:
    """Three switchovers, each with all sessions; nobody gets an error and nothing is lost."""
    done = run("zero_downtime_switchover.py", "1", "8")
    assert done.stderr == ""
    assert done.returncode == 0
    pauses = re.findall(r"node\d is the primary; writes waited \d+ ms, (\d+) sessions moved", done.stdout)
    assert pauses == ["8"] * 3
    assert done.stdout.endswith("no error, no money lost or made, every transfer there exactly once\n")
