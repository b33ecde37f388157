"""The examples do what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

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


@pytest.mark.long
@pytest.mark.cluster
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_kill_the_primary(mode: str) -> None:
    """Two primaries die; nobody gets an error, nothing is lost or doubled."""
    done = run("kill_the_primary.py", "--clients=8", "--kills=2", "--every=1", f"--mode={mode}", "--json")
    assert done.stderr == ""
    assert done.returncode == 0
    *_, last = done.stdout.splitlines()
    found = json.loads(last)
    kills = [(each["victim"], each["successor"], each["unknown"], each["errors"]) for each in found["kills"]]
    assert kills == [("node1", "node2", 0, 0), ("node2", "node1", 0, 0)]
    assert {name: found[name] for name in ("lost", "doubled", "errors")} == {
        "lost": 0,
        "doubled": 0,
        "errors": 0,
    }
    assert min(min(each["pauses_ms"]) for each in found["kills"]) > 0
    assert found["transfers"] > 0
    assert done.stdout.count("×") == 4  # two in the table, two in the picture


@pytest.mark.long
@pytest.mark.cluster
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_checkout(mode: str) -> None:
    """A standby falls ill: its circuit opens and closes, all checkouts succeed, and everybody sees his order."""
    done = run(
        "checkout.py", "--checkouts=200", "--workers=8", "--ill=5", "--rest=0.2", f"--mode={mode}", "--json"
    )
    assert done.stderr == ""
    assert done.returncode == 0
    *_, last = done.stdout.splitlines()
    found = json.loads(last)
    events = found.pop("events")
    assert found == {"checkouts": 200, "errors": 0, "stale": 0, "wrong": []}
    assert events["circuit opened"] >= 1
    assert events["circuit closed"] >= 1
    assert "node2 is ill\n" in done.stdout


def test_a_recording_says_what_was_printed_and_when(tmp_path: Path) -> None:
    """The picture has every line where it was printed; what came later appears later."""
    program = "import time; print('a <b>  c'); print(1, end='', flush=True); time.sleep(0.2); print(' & 2')"
    picture = tmp_path / "picture.svg"
    command = [sys.executable, str(EXAMPLES.parent / "docs" / "record.py"), str(picture), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "a <b>  c\n1 & 2\n"
    texts = ElementTree.parse(picture).getroot().findall("{http://www.w3.org/2000/svg}text")
    found = [(each.text, each.get("class") == "said") for each in texts[1:]]
    assert found[0] == ("a <b>\u00a0\u00a0c".replace(" ", "\u00a0"), False)
    assert found[-1] == ("&\u00a02", True)
    assert texts[-1].get("y") == texts[-2].get("y")
    assert float(texts[-1].get("x", 0)) > float(texts[-2].get("x", 0))
