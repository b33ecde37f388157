"""Gradual over `physical` on a real primary and its standby: reads first, writes at once, and no client notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from attrs import define, field
from routing_rig import PORT, config, replicated_cluster, value

from helios_trio.cluster.placement import in_share
from helios_trio.embedded import BlockingCluster
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CLIENTS, WORKERS, DEADLINE = 12, 6, 60.0
#: reads go to the primary until somebody moves them; noise of this machine is no reason to stop
MORE = """
default_for_reads = "primary"
[session_migration]
max_p99_factor = 0
"""
ORDER = {
    "source": "node1",
    "target": "node2",
    "data": "physical",
    "mode": "gradual",
    "phases": [{"traffic_percent": 50, "duration": "1h"}, {"traffic_percent": 100}],
}


@define(eq=False)
class Worker:
    """Writes a row, reads how many it has written, and so on, over one connection, until it is told to stop."""

    id: int
    dsn: str
    stop: threading.Event
    written: int = 0
    failures: list[str] = field(factory=list)

    def run(self) -> None:
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                while not self.stop.is_set():
                    connection.execute("INSERT INTO written VALUES (%s)", (self.id,))
                    self.written += 1
                    found = value(connection, f"SELECT count(*) FROM written WHERE client = {self.id}")
                    if found != self.written:
                        self.failures.append(f"{found} instead of {self.written}")
        except psycopg.Error as error:
            self.failures.append(repr(error))


@define(eq=False)
class Stage:
    """A cluster, a proxy in front of it, its API, and clients."""

    cluster: BlockingCluster
    proxy: ProxyProcess
    http: httpx.Client
    clients: dict[str, psycopg.Connection[Any]]
    workers: list[Worker]

    def port(self, name: str) -> int:
        return next(node.port for node in self.cluster.cluster.nodes if node.name == name)

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.proxy.log_since()
            time.sleep(0.02)

    def until_state(self, id: int, state: str) -> Any:
        self.until(lambda: self.get(f"/api/v1/migration/{id}/status")["status"] == state)
        return self.get(f"/api/v1/migration/{id}/status")

    def readers_of(self, name: str) -> set[str]:
        """Clients whose reads are served there."""
        port = self.port(name)
        return {each for each, client in self.clients.items() if value(client, PORT) == port}

    def share(self, percent: float) -> set[str]:
        """Clients that belong to the share, by the ids of their sessions."""
        sessions = self.get("/api/v1/sessions")["sessions"]
        return {
            each["application_name"]
            for each in sessions
            if each["application_name"] in self.clients and in_share(each["id"], percent)
        }

    def all_work_on(self) -> None:
        """Wait until every worker has written and read again."""
        before = [each.written for each in self.workers]
        self.until(
            lambda: all(
                each.written > then + 1 or each.failures
                for each, then in zip(self.workers, before, strict=True)
            )
        )
        assert [each.failures for each in self.workers] == [[]] * len(self.workers)

    def write_and_read(self) -> None:
        """Each client sees at once what it has written, wherever it reads."""
        for number, client in enumerate(self.clients.values(), 1000):
            before = value(client, f"SELECT count(*) FROM written WHERE client = {number}")
            for more in (1, 2, 3):
                client.execute("INSERT INTO written VALUES (%s)", (number,))
                found = value(client, f"SELECT count(*) FROM written WHERE client = {number}")
                assert found == before + more


@contextmanager
def working(dsn: str) -> Iterator[list[Worker]]:
    stop = threading.Event()
    workers = [Worker(id, dsn, stop) for id in range(WORKERS)]
    threads = [threading.Thread(target=each.run) for each in workers]
    for thread in threads:
        thread.start()
    try:
        yield workers
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)


@contextmanager
def staged(mode: str, more: str = MORE) -> Iterator[Stage]:
    with ExitStack() as stack:
        cluster = stack.enter_context(replicated_cluster(standbys=1))
        cluster.execute("CREATE TABLE written (client int)")
        proxy = stack.enter_context(running_proxy(config(cluster, mode, more)))
        assert proxy.admin is not None
        http = httpx.Client(
            base_url=f"http://{proxy.admin[0]}:{proxy.admin[1]}",
            headers={"X-API-Key": proxy.ready["admin_key"]},
            timeout=DEADLINE,
            trust_env=False,
        )
        stack.enter_context(http)
        clients = {}
        for number in range(CLIENTS):
            name = f"client {number}"
            client = psycopg.connect(proxy.dsn(), autocommit=True, application_name=name)
            clients[name] = client
            stack.callback(client.close)
        workers = stack.enter_context(working(proxy.dsn()))
        yield Stage(cluster, proxy, http, clients, workers)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_reads_move_first_and_writes_follow(mode: str) -> None:
    """Half of the sessions, back again, half again, and then all of it; no client gets an error or misses a write."""
    with staged(mode) as stage:
        everybody = set(stage.clients)
        half = stage.share(50.0)
        assert 0 < len(half) < CLIENTS
        assert stage.readers_of("node1") == everybody

        first = stage.post("/api/v1/migration/start", **ORDER)
        assert (first["data"], first["current_phase"]["of"]) == ("physical", 2)
        stage.until(lambda: stage.readers_of("node2") == half)
        stage.write_and_read()
        stage.all_work_on()
        status = stage.get(f"/api/v1/migration/{first['migration_id']}/status")
        assert status["traffic_allocation"] == {"node1": 50.0, "node2": 50.0}
        assert status["write_allocation"] == {"node1": 100.0, "node2": 0.0}
        assert (status["sessions_migrated"], status["rollback_available"]) == (0, True)
        for side in ("source", "target"):
            assert status["performance_comparison"][side]["p99_ms"] > 0
        assert status["performance_comparison"]["target"]["error_rate"] == 0.0

        stage.post(f"/api/v1/migration/{first['migration_id']}/rollback", reason="second thoughts")
        stage.until_state(first["migration_id"], "rolled_back")
        assert stage.readers_of("node1") == everybody

        second = stage.post("/api/v1/migration/start", **ORDER)
        stage.until(lambda: stage.readers_of("node2") == half)
        stage.post(f"/api/v1/migration/{second['migration_id']}/complete")
        status = stage.until_state(second["migration_id"], "completed")
        assert status["write_allocation"] == {"node1": 0.0, "node2": 100.0}
        assert (status["sessions_migrated"], status["client_errors"]) == (CLIENTS + WORKERS, 0)
        (phase,) = status["performance_by_phase"]
        assert (phase["traffic_percent"], phase["target"]["queries"] > 0) == (50.0, True)
        assert stage.readers_of("node2") == everybody
        stage.write_and_read()
        stage.all_work_on()
    rows = [each.failures for each in stage.workers]
    assert rows == [[]] * WORKERS


@pytest.mark.long
def test_a_standby_that_falls_behind_serves_nobody_and_no_client_notices() -> None:
    """It replays nothing: who has written reads on the primary, and the required check pauses the migration."""
    required = MORE + '[health_checks]\nrequired_checks = ["replication_lag_ms < 1000"]\n'
    with staged("transaction", required) as stage:
        half = stage.share(50.0)
        begun = stage.post("/api/v1/migration/start", **ORDER)
        stage.until(lambda: stage.readers_of("node2") == half)
        stage.cluster.execute("SELECT pg_wal_replay_pause()", "node2")
        try:
            stage.write_and_read()
            stage.all_work_on()
            status = stage.until_state(begun["migration_id"], "paused")
            assert "replication_lag_ms" in status["status_reason"]
            assert status["traffic_allocation"] == {"node1": 100.0, "node2": 0.0}
            assert stage.readers_of("node1") == set(stage.clients)
        finally:
            stage.cluster.execute("SELECT pg_wal_replay_resume()", "node2")
        stage.all_work_on()


@pytest.mark.long
def test_without_routing_it_is_refused() -> None:
    """With the setting that is missing; a switchover without phases needs none."""
    text = '[routing]\nread_write_split = true\n\ndefault_for_reads = "primary"\n'
    with replicated_cluster(standbys=1) as cluster:
        plain = config(cluster, "session", MORE).replace(text, "")
        assert "routing" not in plain
        with running_proxy(plain) as proxy:
            assert proxy.admin is not None
            answer = httpx.post(
                f"http://{proxy.admin[0]}:{proxy.admin[1]}/api/v1/migration/start",
                json=ORDER,
                headers={"X-API-Key": proxy.ready["admin_key"]},
                timeout=DEADLINE,
                trust_env=False,
            )
        assert answer.status_code == 422
        assert "routing.enabled = true" in answer.text
