"""A real proxy between two names of one server, ordered about through its API while clients use it."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from helios_trio.admin.keys import Role, make_key
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

PATIENCE = 60.0
CONFIG = """
[proxy]
state_dir = "{folder}"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
priority = 20
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = 10
[session_migration]
gradual_phases = [{{ traffic_percent = 50, duration = "1h" }}, {{ traffic_percent = 100 }}]
"""


class Running:
    """A proxy, its API, and clients of it."""

    def __init__(self, proxy: ProxyProcess, key: str, stack: ExitStack) -> None:
        assert proxy.admin is not None
        self.proxy = proxy
        self.url = f"http://{proxy.admin[0]}:{proxy.admin[1]}"
        self.key = key
        headers = {"X-API-Key": key}
        self.http = stack.enter_context(
            httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)
        )
        self._stack = stack

    def connect(self, name: str = "client") -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.proxy.dsn(), autocommit=True, application_name=name)
        self._stack.callback(connection.close)
        return connection

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def backends(self) -> list[str]:
        """Where each session is, by id."""
        return [each["backend"] for each in self.get("/api/v1/sessions")["sessions"]]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.proxy.log_since()
            time.sleep(0.02)

    def until_state(self, id: int, state: str) -> Any:
        self.until(lambda: self.get(f"/api/v1/migration/{id}/status")["status"] == state)
        return self.get(f"/api/v1/migration/{id}/status")


@contextmanager
def started(
    address: tuple[str, int], folder: Path, mode: str = "session", more: str = "", key: str = ""
) -> Iterator[Running]:
    config = CONFIG.format(host=address[0], port=address[1], folder=folder, mode=mode) + more
    with running_proxy(config) as proxy, ExitStack() as stack:
        yield Running(proxy, key or proxy.ready["admin_key"], stack)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_clients_are_migrated_and_notice_nothing(
    direct_address: tuple[str, int], tmp_path: Path, mode: str
) -> None:
    """There, new ones follow; and back."""
    with started(direct_address, tmp_path, mode) as running:
        clients = [running.connect(f"app {number}") for number in range(6)]
        for number, client in enumerate(clients):
            client.execute(f"SET search_path = 's{number}'")
            client.execute("CREATE TEMP TABLE mine AS SELECT generate_series(1, 10) AS id")
        assert running.backends() == ["blue"] * 6
        order = {"source": "blue", "target": "green", "mode": "immediate", "reason": "test"}
        begun = running.post("/api/v1/migration/start", **order)
        assert begun["data"] == "shared"
        status = running.until_state(begun["migration_id"], "completed")
        assert (status["sessions_migrated"], status["client_errors"]) == (6, 0)
        running.connect("new one").execute("SELECT 1")
        assert running.backends() == ["green"] * 7
        for number, client in enumerate(clients):
            assert client.execute("SHOW search_path").fetchone() == (f"s{number}",)
            assert client.execute("SELECT count(*) FROM pg_temp.mine").fetchone() == (10,)
        figures = running.until_state(begun["migration_id"], "completed")["performance_comparison"]
        assert figures["target"]["queries"] >= 13
        assert figures["target"]["p99_ms"] > 0
        running.post(f"/api/v1/migration/{begun['migration_id']}/rollback", reason="second thoughts")
        running.until_state(begun["migration_id"], "rolled_back")
        assert running.backends()[:6] == ["blue"] * 6
        assert clients[0].execute("SHOW search_path").fetchone() == ("s0",)


@pytest.mark.long
def test_errors_of_clients_are_counted(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """For the comparison, and for the metrics."""
    with started(direct_address, tmp_path) as running:
        client = running.connect()
        for _ in range(3):
            with pytest.raises(psycopg.errors.DivisionByZero):
                client.execute("SELECT 1 / 0")
        (pool,) = running.get("/api/v1/pools")["pools"]
        assert pool["errors"] == 3
        page = running.http.get("/metrics/prometheus").text
        assert 'helios_pool_errors_total{backend="blue",' in page
        assert 'helios_migrations{state="running"} 0.0' in page


def test_an_open_transaction_is_waited_for(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """It is shown meanwhile; its client never knows."""
    with started(direct_address, tmp_path) as running:
        client = running.connect()
        client.execute("BEGIN")
        client.execute("SELECT txid_current()")
        begun = running.post("/api/v1/migration/start", source="blue", target="green", mode="immediate")
        path = f"/api/v1/migration/{begun['migration_id']}/status"
        running.until(lambda: bool(running.get(path)["sessions_moving"]))
        assert running.get("/api/v1/sessions")["sessions"][0]["state"] in ("idle in transaction", "moving")
        client.execute("COMMIT")
        assert running.until_state(begun["migration_id"], "completed")["sessions_migrated"] == 1
        assert client.execute("SELECT 7").fetchone() == (7,)


def test_what_was_completed_and_what_was_not_survives_a_restart(
    direct_address: tuple[str, int], tmp_path: Path
) -> None:
    """A completed migration goes on to divert; one that was under way is interrupted."""
    folder = tmp_path / "state"
    with started(direct_address, folder) as running:
        running.connect("one")
        for order in ({"tenant_filter": ["one"], "mode": "immediate"}, {"tenant_filter": ["two"]}):
            begun = running.post("/api/v1/migration/start", source="blue", target="green", **order)
            if order.get("mode"):
                running.until_state(begun["migration_id"], "completed")
    assert stat.S_IMODE((folder / "migrations.json").stat().st_mode) == 0o600
    with started(direct_address, folder) as running:
        known = running.get("/api/v1/migration")["migrations"]
        assert [each["status"] for each in known] == ["interrupted", "completed"]
        for name in ("one", "two"):
            running.connect(name)
        assert running.backends() == ["green", "blue"]


def test_a_backend_is_drained(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """Nobody is left, nobody new comes; afterwards they do again."""
    with started(direct_address, tmp_path) as running:
        clients = [running.connect() for _ in range(3)]
        drained = running.post("/api/v1/backends/blue/drain", timeout="30s")
        assert (drained["remaining"], drained["target"]) == (0, "green")
        running.connect()
        assert running.backends() == ["green"] * 4
        assert [client.execute("SELECT 1").fetchone() for client in clients] == [(1,)] * 3
        running.post("/api/v1/nodes/green/disable")
        with pytest.raises(psycopg.OperationalError, match='backend "green" is out of service'):
            running.connect()
        running.post("/api/v1/nodes/green/enable")
        running.post("/api/v1/nodes/blue/enable")
        running.connect()
        assert running.backends()[-1] == "blue"


@pytest.mark.long
def test_a_session_is_ended(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """Its client is told why."""
    with started(direct_address, tmp_path) as running:
        client = running.connect()
        (session,) = running.get("/api/v1/sessions")["sessions"]
        assert running.http.delete(f"/api/v1/sessions/{session['id']}?reason=too+greedy").json()["ended"]
        with pytest.raises(psycopg.errors.AdminShutdown, match="too greedy"):
            client.execute("SELECT 1")


@pytest.mark.long
def test_keys_of_a_file(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """No key is made; a reload takes up new ones, and one that fails changes nothing."""
    keys = tmp_path / "keys"
    one, kept_one = make_key("one", Role.OPERATOR)
    two, kept_two = make_key("two", Role.VIEWER)
    keys.write_text(f"{kept_one.line}\n")
    with started(direct_address, tmp_path, more=f'[admin]\napi_keys_file = "{keys}"\n', key=one) as running:
        assert running.proxy.ready["admin_key"] is None
        assert "admin key" not in running.proxy.log_since()
        assert running.get("/api/v1/version")["name"] == "helios_trio"
        keys.write_text("nonsense\n")
        answer = running.http.post("/api/v1/reload")
        assert (answer.status_code, "line 1" in answer.text) == (422, True)
        keys.write_text(f"{kept_one.line}\n{kept_two.line}\n")
        running.post("/api/v1/reload", reason="new key")
        headers = {"Authorization": f"Bearer {two}"}
        assert httpx.get(f"{running.url}/api/v1/version", headers=headers, trust_env=False).status_code == 200
        assert httpx.post(f"{running.url}/api/v1/reload", headers=headers, trust_env=False).status_code == 403


@pytest.mark.long
def test_commands_order_a_real_proxy_about(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """As processes of their own, with the key in their environment."""
    with started(direct_address, tmp_path) as running:
        client = running.connect("app")

        def helios(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "helios_trio", *arguments],
                env={"HELIOS_ADMIN_URL": running.url, "HELIOS_ADMIN_KEY": running.key},
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert "blue" in helios("sessions")
        said = helios("migrate", "start", "--from", "blue", "--to", "green", "--mode", "immediate")
        assert "completed" in said.splitlines()[-1]
        assert "green" in helios("sessions")
        assert client.execute("SELECT 1").fetchone() == (1,)
