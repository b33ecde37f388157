"""prometheus-pgbouncer-exporter (Spreaker's, of PyPI) against the console: it scrapes all, and complains of nothing.

It is found on PATH as `pgbouncer-exporter`, or by the variable PGBOUNCER_EXPORTER. Its release 2.1.2 asks for versions
of its dependencies that cannot be built any more; it works with newer ones: `pip install --no-deps
prometheus-pgbouncer-exporter` and `pip install psycopg2-binary prometheus_client pyyaml python-json-logger`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest

from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = [pytest.mark.cluster, pytest.mark.long]

PATIENCE = 30.0
CONFIG = """
[auth]
method = "trust"
[control]
user = "postgres"
[admin]
stats_users = ["exporter"]
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
[pool]
mode = "transaction"
"""
EXPORTER = """
exporter_host: 127.0.0.1
exporter_port: {port}
pgbouncers:
  - dsn: postgresql://exporter:@{host}:{pgbouncer}/pgbouncer
    connect_timeout: 10
"""


def scrape(proxy: ProxyProcess, folder: Path) -> tuple[str, str]:
    """The page, and what the exporter said."""
    program = os.environ.get("PGBOUNCER_EXPORTER") or shutil.which("pgbouncer-exporter")
    if program is None:
        pytest.skip("there is no pgbouncer-exporter (PATH, PGBOUNCER_EXPORTER)")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (folder / "config.yml").write_text(EXPORTER.format(port=port, host=proxy.host, pgbouncer=proxy.port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "--config", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        return fetch(f"http://127.0.0.1:{port}/metrics", process), (folder / "log").read_text()
    finally:
        process.terminate()
        process.wait()


def fetch(url: str, process: subprocess.Popen[bytes]) -> str:
    """As soon as somebody answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_exporter_scrapes_everything(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """`pgbouncer_up` is 1 only if each of its queries was answered; figures are those of the client."""
    host, port = direct_address
    with (
        running_proxy(CONFIG.format(host=host, port=port)) as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True, prepare_threshold=None) as client,
    ):
        for _ in range(7):
            client.execute("SELECT 1")
        page, log = scrape(proxy, tmp_path)
    figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("pgbouncer_"))
    assert figures["pgbouncer_up"] == "1.0"
    assert figures['pgbouncer_stats_queries_total{database="postgres"}'] == "7.0"
    assert figures['pgbouncer_pools_client_active_connections{database="postgres",user="postgres"}'] == "1.0"
    assert float(figures["pgbouncer_config_max_client_conn"]) > 0
    kinds = {name.split("_")[1] for name in figures}
    assert kinds >= {"stats", "pools", "databases", "config", "up"}
    assert "Unable" not in log
    assert '"ERROR"' not in log
