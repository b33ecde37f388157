"""A primary and two standbys of a test module, and proxies in front of them that route."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from helios_trio.control.setup import SetupSettings, setup_sql
from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.testing.running import ProxyProcess

DEADLINE = 30.0
CONFIG = """
[auth]
method = "trust"
[control]
user = "postgres"
{pools}
[pool]
mode = "{mode}"
max_connections = 20
[failover]
mode = "manual"
[routing]
read_write_split = true
{more}
"""
POOL = """
[[backends.pools]]
name = "{name}"
host = "{host}"
port = {port}
"""


@contextmanager
def replicated_cluster(standbys: int = 2) -> Iterator[BlockingCluster]:
    """A primary and its standbys, set up for the proxy."""
    found = start_blocking(standbys=standbys, settings={"synchronous_commit": "local"})
    try:
        for database in ("template1", "postgres"):
            found.execute(setup_sql(SetupSettings()), dbname=database)
        yield found
    finally:
        found.stop()


def port_of(cluster: BlockingCluster, name: str) -> int:
    return next(node.port for node in cluster.cluster.nodes if node.name == name)


def config(cluster: BlockingCluster, mode: str, more: str = "", names: tuple[str, ...] = ()) -> str:
    nodes = [node for node in cluster.cluster.nodes if not names or node.name in names]
    pools = "".join(POOL.format(name=node.name, host=node.host, port=node.port) for node in nodes)
    return CONFIG.format(pools=pools, mode=mode, more=more)


def value(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


PORT = "SELECT current_setting('port')::int"


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def ports(cluster: BlockingCluster) -> tuple[int, int, int]:
    first, second, third = (node.port for node in cluster.cluster.nodes)
    return first, second, third


def ask(proxy: ProxyProcess, method: str, path: str, body: Any = None) -> Any:
    """What the API answers."""
    key = next(
        line.split()[-1] for line in proxy.log_file.read_text().splitlines() if line.startswith("admin key")
    )
    assert proxy.admin is not None
    request = urllib.request.Request(
        f"http://{proxy.admin[0]}:{proxy.admin[1]}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": key, "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
