"""A whole proxy whose primary is killed: what clients see who have no work under way, and who come."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
CONFIG = '[auth]\nmethod = "trust"\n[pool]\nmode = "transaction"\n'
POSTMASTER = r"SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int"


@pytest.fixture
def proxy() -> Iterator[ProxyProcess]:
    """With a cluster of its own."""
    with running_proxy(CONFIG, ("--ephemeral",)) as found:
        yield found


def connect(proxy: ProxyProcess) -> psycopg.Connection:
    return psycopg.connect(proxy.dsn(), autocommit=True)


def value(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def status(proxy: ProxyProcess) -> Any:
    """What the API says of failovers."""
    key = next(line.split()[-1] for line in proxy.log_since().splitlines() if line.startswith("admin key"))
    assert proxy.admin is not None
    url = f"http://{proxy.admin[0]}:{proxy.admin[1]}/api/v1/failover/status"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-API-Key": key})) as answer:
        return json.load(answer)


def until_over(proxy: ProxyProcess) -> Any:
    """What the API says once there has been a failover."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        found = status(proxy)
        if found["outcome"] is not None:
            return found
    raise AssertionError("no failover has ended in time")


def test_idle_clients_go_on_and_new_ones_come(proxy: ProxyProcess) -> None:
    """Their settings are there, and what they write is on the new primary."""
    with connect(proxy) as idle, connect(proxy) as other:
        idle.execute("CREATE TABLE t (id int)")
        idle.execute("SET application_name = 'mine'")
        postmaster, before = value(other, POSTMASTER), value(other, "SHOW port")
        os.kill(postmaster, signal.SIGKILL)
        found = until_over(proxy)
        with connect(proxy) as new:
            assert value(new, "SHOW port") != before
            assert value(new, "SELECT pg_is_in_recovery()") is False
        assert value(idle, "SHOW application_name") == "mine"
        assert value(idle, "SHOW port") != before
        idle.execute("INSERT INTO t VALUES (1)")
        assert value(other, "SELECT count(*) FROM t") == 1
    assert (found["kind"], found["source_backend"], found["target_backend"]) == ("failover", "node1", "node2")
    assert (found["outcome"], found["failover_active"]) == ("completed", False)
    assert 0 < found["write_pause_seconds"] < found["elapsed_seconds"] + 1
    assert {each["step"] for each in found["steps"]} >= {"fencing the old primary", "promoting the standby"}
