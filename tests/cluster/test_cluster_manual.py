"""A proxy whose primary an operator names: writes go nowhere before, and there afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CONFIG = """
[auth]
method = "trust"
[topology]
provider = "manual"
[embedded]
standbys = 1
[failover]
failover_timeout = "1s"
"""


@pytest.fixture(scope="module")
def proxy() -> Iterator[ProxyProcess]:
    """On an embedded cluster of two, of which nobody is the primary yet."""
    with running_proxy(CONFIG, arguments=("--ephemeral",), ready_seconds=60.0) as found:
        yield found


def say(proxy: ProxyProcess, **order: str) -> tuple[int, Any]:
    assert proxy.admin is not None
    url = f"http://{proxy.admin[0]}:{proxy.admin[1]}/api/v1/failover/primary"
    headers = {"X-API-Key": proxy.ready["admin_key"]}
    answer = httpx.post(url, json=order, headers=headers, timeout=30.0, trust_env=False)
    return answer.status_code, answer.json()


def write(proxy: ProxyProcess) -> None:
    with psycopg.connect(proxy.dsn(), connect_timeout=10) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (id int)")
        connection.execute("INSERT INTO t VALUES (1)")


@pytest.mark.long
def test_writes_go_where_the_operator_says(proxy: ProxyProcess) -> None:
    """Nowhere while nobody is confirmed; a standby is not confirmed."""
    with pytest.raises(psycopg.OperationalError, match="no server takes writes now"):
        write(proxy)
    assert say(proxy, action="set", name="node2")[0] == 200
    status, answer = say(proxy, action="confirm", name="node2")
    assert status == 409
    assert "node2 cannot be the primary: it says that it is a standby" in str(answer)
    assert say(proxy, action="set", name="node1")[1]["status"] == "pending"
    with pytest.raises(psycopg.OperationalError, match="no server takes writes now"):
        write(proxy)
    assert say(proxy, action="confirm", name="node1")[1]["status"] == "confirmed"
    write(proxy)
    assert say(proxy, action="clear")[1] == {"provider": "manual", "primary": None, "status": "none"}
    with pytest.raises(psycopg.OperationalError, match="no server takes writes now"):
        write(proxy)
