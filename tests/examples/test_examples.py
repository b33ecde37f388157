"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helios_trio.testing.running import ProxyProcess

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart.py"
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
    dsn = proxy_for(mode).dsn()
    done = subprocess.run(
        [sys.executable, str(QUICKSTART), dsn], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (SAID, "")
