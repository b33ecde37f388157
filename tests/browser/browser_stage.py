"""What the browser looks at: a real proxy with a cluster of its own, keys, and clients at work."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from attrs import define, frozen
from browser_clients import Clients, Connection, connect_to, prepare

from helios_trio.admin.keys import Role, make_key
from helios_trio.testing.running import ProxyProcess, running_proxy

PATIENCE: Final = 60.0
_POLL_SECONDS: Final = 0.05
_POSTMASTER: Final = r"SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int"

NODES: Final = ("node1", "node2", "node3")
#: Everything that has a panel is on. What opens circuits is far away: the machine may be busy, and servers are killed.
CONFIG: Final = """
[proxy]
state_dir = "{folder}/state"
[auth]
method = "trust"
[admin]
api_keys_file = "{folder}/keys"
[pool]
mode = "transaction"
max_connections = 10
[routing]
read_write_split = true
[[routing.rules]]
tenant_pattern = "monthly-*"
backend = "node3"
[circuit_breaker]
enabled = true
latency_threshold_p95_ms = 10000
latency_threshold_p99_ms = 20000
[session_migration]
max_p99_factor = 0
on_unhealthy = "continue"
gradual_phases = [{{ traffic_percent = 50, duration = "1h" }}, {{ traffic_percent = 100 }}]
[failover]
enabled = true
[embedded]
standbys = 2
"""


@frozen
class Keys:
    """Keys of the admin API."""

    operator: str
    viewer: str

    @classmethod
    def written_to(cls, path: Path) -> Keys:
        """New ones, and their file."""
        operator, kept_operator = make_key("olivia", Role.OPERATOR, database_user="postgres")
        viewer, kept_viewer = make_key("victor", Role.VIEWER)
        path.write_text(f"{kept_operator.line}\n{kept_viewer.line}\n")
        return cls(operator, viewer)


@define(eq=False)
class Stage:
    """A proxy, its API, and its clients."""

    proxy: ProxyProcess
    keys: Keys
    http: httpx.Client

    @property
    def origin(self) -> str:
        """Where the console is, as a browser writes origins."""
        return origin_of(self.proxy)

    def connect(self, user: str, database: str, application: str) -> Connection:
        """A client of the proxy."""
        return connect_to(self.proxy, user, database, application)

    def get(self, path: str) -> Any:
        """What the API answers."""
        answer = self.http.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        """Give an order by the API, past the browser."""
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.proxy.log_since()
            time.sleep(_POLL_SECONDS)

    def until_all_follow(self) -> None:
        """All servers are healthy, and all but the primary are connected to it."""

        def all_follow() -> bool:
            found = self.get("/api/v1/topology")
            standbys = [node for node in found["nodes"] if node["name"] != found["primary"]]
            return (
                found["primary"] is not None
                and all(node["healthy"] for node in found["nodes"])
                and all(node["sync_state"] for node in standbys)
            )

        self.until(all_follow)

    def kill_primary(self) -> str:
        """SIGKILL its postmaster; gives the name of the server."""
        name: str = self.get("/api/v1/topology")["primary"]
        with self.connect("postgres", "postgres", "killer") as connection:
            row = connection.execute(_POSTMASTER.encode()).fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGKILL)
        return name


def origin_of(proxy: ProxyProcess) -> str:
    """The origin of its admin listener."""
    assert proxy.admin is not None
    return f"http://{proxy.admin[0]}:{proxy.admin[1]}"


@contextmanager
def folder_of_keys() -> Iterator[tuple[Path, Keys]]:
    """A folder for the proxy's own files, and the keys in it."""
    with tempfile.TemporaryDirectory(prefix="helios-browser-") as name:
        folder = Path(name)
        yield folder, Keys.written_to(folder / "keys")


@contextmanager
def stage_of(proxy: ProxyProcess, keys: Keys) -> Iterator[Stage]:
    """A running proxy with what tests need of it."""
    headers = {"X-API-Key": keys.operator}
    with httpx.Client(base_url=origin_of(proxy), headers=headers, timeout=PATIENCE, trust_env=False) as http:
        yield Stage(proxy, keys, http)


@contextmanager
def running_stage(started: Callable[[ProxyProcess], None]) -> Iterator[Stage]:
    """A proxy with three servers and clients at work; `started` hears of its process."""
    with ExitStack() as stack:
        folder, keys = stack.enter_context(folder_of_keys())
        config = CONFIG.format(folder=folder)
        proxy = stack.enter_context(running_proxy(config, ("--ephemeral",), ready_seconds=PATIENCE))
        started(proxy)
        stage = stack.enter_context(stage_of(proxy, keys))
        prepare(stage.connect, NODES)
        stack.enter_context(Clients(stage.connect).at_work())
        stage.until_all_follow()
        yield stage
