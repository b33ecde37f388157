"""Sessions that move all the time, and servers, clients and the proxy that die while they do (rules 18 to 20).

Two names of one server. Whatever happens, a session is whole, on one side or the other, or its client knows that it is
over; no server connection, lock or temporary table is left behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
import trio
from attrs import define
from chaos_moves import LONG_PATIENCE, Client, Crowd, Operator, crowd, make_tables, operating
from chaos_tools import Observer, RawClient, query, until

from helios_trio.embedded import BlockingCluster, processes, start_blocking
from helios_trio.embedded.binaries import wheel_bin_dir
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CONFIG: Final = """
[proxy]
drain_timeout = "5s"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = {connections}
queue_timeout = "60s"
"""
#: A temporary table that takes a while to carry.
LARGE: Final = "create temp table large as select n, repeat('x', 60) as x from generate_series(1, 200000) as n"
OTHER: Final = {"blue": "green", "green": "blue"}


# -- the stage -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[BlockingCluster]:
    """A server with room for every session twice; tests may kill its processes."""
    made = start_blocking(standbys=0, settings={"max_connections": "300"})
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def observer(server: BlockingCluster) -> Iterator[Observer]:
    """Looks past the proxy, at a server on which nobody has been before."""
    with Observer(server.cluster.dsn()) as made:
        made.execute("drop table if exists ledger, counters")
        yield made


@define
class Stage:
    """A proxy between two names of the server."""

    proxy: ProxyProcess
    operator: Operator

    def migrate(self, target: str, expected: int) -> None:
        """Move every session to this name, and see that all have arrived."""
        ended = self.operator.migrate(OTHER[target], target)
        assert (ended["status"], ended["client_errors"], ended["error_count"]) == ("completed", 0, 0)
        assert [each["backend"] for each in self.operator.sessions()] == [target] * expected

    def only_session(self) -> dict[str, Any]:
        """The session there is."""
        (found,) = self.operator.sessions()
        return found

    def order_move(self, target: str) -> dict[str, Any]:
        """Move the only session; what the answer says."""
        return self.operator.post(f"/sessions/{self.only_session()['id']}/migrate", target=target)


@pytest.fixture
def make_stage(
    server: BlockingCluster, observer: Observer, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Stage]]:
    """Start a proxy in some mode; what it wrote is shown with a test that fails."""
    primary = server.cluster.primary

    @contextmanager
    def make(mode: str, connections: int) -> Iterator[Stage]:
        config = CONFIG.format(host=primary.host, port=primary.port, mode=mode, connections=connections)
        with running_proxy(config, stop_seconds=LONG_PATIENCE) as proxy, operating(proxy) as operator:
            try:
                yield Stage(proxy, operator)
            finally:
                request.node.add_report_section("call", "proxy", proxy.log_since())

    return make


def check_nothing_left(observer: Observer, operator: Operator) -> None:
    """No session, no busy server process, no lock, no temporary table, and no prepared transaction."""
    until(lambda: operator.sessions() == [], "the proxy has no session")
    until(lambda: all(state == "idle" for _, state, _ in observer.backends()), "all server processes are idle")
    until(lambda: observer.execute(_HELD) == [(0, 0, 0)], "nothing is held on the server")


_HELD: Final = """
select (select count(*) from pg_locks where locktype = 'advisory'),
       (select count(*) from pg_class where relpersistence = 't'),
       (select count(*) from pg_prepared_xacts)
"""


# -- storms ----------------------------------------------------------------------------------------------------


def settle_in(client: Client, at: int) -> None:
    """State of one's own, so that moving is more than changing a number."""
    client.execute("select set_config('app.client', %s, false)", (str(at),))
    client.execute("set work_mem = '5MB'")
    client.execute("select pg_advisory_lock(1000, %s)", (at,))


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_storm_of_migrations(
    make_stage: Callable[..., Any], observer: Observer, rounds: int, mode: str
) -> None:
    """A hundred clients work while all are moved to and fro: every answer is right, and nothing is left behind."""
    clients, turns = 100, 4 if rounds == 1 else 50
    with make_stage(mode, clients) as stage:
        make_tables(stage.proxy.dsn())
        prelude = settle_in if mode == "session" else None
        with crowd(stage.proxy.dsn(), clients, prelude=prelude) as busy:
            for turn in range(turns):
                stage.migrate(("green", "blue")[turn % 2], clients)
                busy.all_go_on()
        assert busy.errors == {}
        busy.check(observer.execute)
        check_nothing_left(observer, stage.operator)
    until(lambda: observer.backends() == [], "the proxy has left no connection")


BENCH_CLIENTS: Final = 20
BENCH_TURNS: Final = 10


def pgbench(address: tuple[str, int], *arguments: str) -> str:
    """Run it; what it wrote. Fails as it fails."""
    command = [str(wheel_bin_dir() / "pgbench"), "-h", address[0], "-p", str(address[1]), "-U", "postgres"]
    done = subprocess.run(
        [*command, *arguments, "postgres"],
        capture_output=True,
        text=True,
        timeout=LONG_PATIENCE,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_pgbench_with_a_move_at_every_safe_point(
    server: BlockingCluster, observer: Observer, tmp_path: Path, rounds: int, mode: str, protocol: str
) -> None:
    """No transaction fails, and the books are right."""
    primary, turns = server.cluster.primary, BENCH_TURNS * rounds
    pgbench((primary.host, primary.port), "-i", "-q", "-I", "dtgp", "-s", "1")
    config = CONFIG.format(host=primary.host, port=primary.port, mode=mode, connections=BENCH_CLIENTS)
    report = tmp_path / "report.json"
    with running_proxy(
        config, environment={"SHAKEN_REPORT": str(report)}, module="helios_trio.testing.shaken"
    ) as proxy:
        common = ("-n", "-M", protocol, "-c", str(BENCH_CLIENTS), "-t", str(turns))
        for builtin in ("tpcb-like", "select-only"):
            said = pgbench((proxy.host, proxy.port), *common, "-b", builtin)
            done = BENCH_CLIENTS * turns
            assert re.search(rf"actually processed: {done}/{done}\b", said), said
    outcomes = json.loads(report.read_text())
    assert outcomes["moved"] >= 2 * done
    assert set(outcomes) <= {"moved", "gone"}
    assert observer.execute("select count(*) from pgbench_history") == [(done,)]
    assert observer.execute(_BALANCES) == [(True,)]


_BALANCES: Final = """
select (select sum(delta) from pgbench_history) = all (array[
           (select sum(abalance) from pgbench_accounts),
           (select sum(tbalance) from pgbench_tellers),
           (select sum(bbalance) from pgbench_branches)])
"""


# -- deaths while one session is being carried -----------------------------------------------------------------


def old_process(observer: Observer, pid: int) -> int:
    """The server process that the session is on; its rows are on the way."""
    until(lambda: "large" in " ".join(observer.working("COPY") and _texts(observer)), "rows are on the way")
    return pid


def _texts(observer: Observer) -> list[str]:
    return [text for _, _, text in observer.backends()]


def new_process(observer: Observer, pid: int) -> int:
    """The server process that takes the rows in."""

    def found() -> int | None:
        working = [each for each in observer.working("COPY") if each != pid]
        return working[0] if working else None

    other = until(found, "rows are taken in")
    assert other is not None, "that is what was waited for"
    return other
