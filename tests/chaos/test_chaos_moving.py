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
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from attrs import define
from chaos_moves import LONG_PATIENCE, TWINS, Client, Operator, TwinStage, crowd, make_tables, operating
from chaos_tools import Observer, RawClient, query, until

from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.embedded.binaries import wheel_bin_dir
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

#: A temporary table that takes a while to carry.
LARGE: Final = (
    "create temp table large as select n, repeat('x', 60) as x from generate_series(1, 200000) as n"
)
#: What clients are told whose server process is gone.
OVER: Final = ("57P01", "57P02", "08006")


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
    """Looks past the proxy, at a server without the tables of earlier tests."""
    with Observer(server.cluster.dsn()) as made:
        made.execute("drop table if exists ledger, counters")
        yield made


MakeStage = Callable[[str, int], AbstractContextManager[TwinStage]]


@pytest.fixture
def make_stage(server: BlockingCluster, observer: Observer, request: pytest.FixtureRequest) -> MakeStage:
    """Start a proxy in some mode; what it wrote is shown with a test that fails."""
    primary = server.cluster.primary

    @contextmanager
    def make(mode: str, connections: int) -> Iterator[TwinStage]:
        config = TWINS.format(host=primary.host, port=primary.port, mode=mode, connections=connections)
        with running_proxy(config, stop_seconds=LONG_PATIENCE) as proxy, operating(proxy) as operator:
            try:
                yield TwinStage(proxy, operator)
            finally:
                request.node.add_report_section("call", "proxy", proxy.log_since())

    return make


def check_nothing_left(observer: Observer, operator: Operator) -> None:
    """No session, no busy server process, no lock, no temporary table, and no prepared transaction."""
    until(lambda: operator.sessions() == [], "the proxy has no session")
    until(
        lambda: all(state == "idle" for _, state, _ in observer.backends()), "all server processes are idle"
    )
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
def test_storm_of_migrations(make_stage: MakeStage, observer: Observer, rounds: int, mode: str) -> None:
    """A hundred clients work while all are moved to and fro: every answer is right, and nothing is left behind."""
    clients, turns = 100, 2 if rounds == 1 else 10
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
    config = TWINS.format(host=primary.host, port=primary.port, mode=mode, connections=BENCH_CLIENTS)
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


def carried_by(observer: Observer) -> list[int]:
    """The server processes that give rows of the table, and that take them in."""
    return observer.working("COPY")


@define
class Carried:
    """A session that is being carried, and the order to do so."""

    old: int
    new: int
    move: Future[dict[str, Any]]

    def outcome(self) -> str:
        """How it ended."""
        return str(self.move.result(timeout=LONG_PATIENCE)["result"])


@contextmanager
def being_carried(stage: TwinStage, observer: Observer) -> Iterator[Carried]:
    """Move the only session, which has a large table; begun when rows are on their way."""
    old = stage.only_session()["server_pid"]
    with ThreadPoolExecutor(1) as executor:
        move = executor.submit(stage.order_move, "green")
        until(lambda: len(carried_by(observer)) == 2 or move.done(), "rows are on their way")
        assert not move.done(), move.result()
        (new,) = set(carried_by(observer)) - {old}
        yield Carried(old, new, move)


def large_client(stage: TwinStage) -> Client:
    """A client with all that can be lost."""
    client = psycopg.connect(stage.proxy.dsn(), autocommit=True)
    client.execute(LARGE)
    client.execute("select pg_advisory_lock(4711)")
    client.execute("set work_mem = '5MB'")
    return client


def check_whole(client: Client) -> None:
    """It has all that `large_client` gave it."""
    assert client.execute("select count(*), sum(n) from large").fetchone() == (200000, 20000100000)
    assert client.execute("show work_mem").fetchone() == ("5MB",)
    held = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    assert client.execute(held).fetchone() == (1,)


def test_new_process_terminated(make_stage: MakeStage, observer: Observer) -> None:
    """The session stays where it is, whole, and can be moved later."""
    with make_stage("session", 5) as stage:
        with large_client(stage) as client:
            with being_carried(stage, observer) as carried:
                observer.execute(f"select pg_terminate_backend({carried.new})")
                assert carried.outcome() == "failed"
            check_whole(client)
            assert stage.only_session()["server_pid"] == carried.old
            assert stage.order_move("green")["result"] == "moved"
            check_whole(client)
        check_nothing_left(observer, stage.operator)
    until(lambda: observer.backends() == [], "the proxy has left no connection")


def test_old_process_terminated(make_stage: MakeStage, observer: Observer) -> None:
    """What the session had is gone with it, and its client knows."""
    with make_stage("session", 5) as stage:
        with large_client(stage) as client:
            with being_carried(stage, observer) as carried:
                observer.execute(f"select pg_terminate_backend({carried.old})")
                assert carried.outcome() in ("failed", "gone")
            with pytest.raises(psycopg.OperationalError) as told:
                client.execute("select 1")
            assert told.value.sqlstate in (*OVER, None)
        check_nothing_left(observer, stage.operator)
    until(lambda: observer.backends() == [], "the proxy has left no connection")


@pytest.mark.parametrize("side", ["old", "new"])
def test_process_killed(
    make_stage: MakeStage, server: BlockingCluster, observer: Observer, side: str
) -> None:
    """SIGKILL of either makes the server drop all: the client knows, and later ones are served."""
    with make_stage("session", 5) as stage:
        with large_client(stage) as client:
            with being_carried(stage, observer) as carried:
                os.kill(getattr(carried, side), signal.SIGKILL)
                assert carried.outcome() in ("failed", "gone")
            with pytest.raises(psycopg.OperationalError) as told:
                client.execute("select 1")
            assert told.value.sqlstate in (*OVER, None)
        until(lambda: answers(stage.proxy), "clients are served again")
        with Observer(server.cluster.dsn()) as later:
            drop_orphans(later)
            check_nothing_left(later, stage.operator)


def drop_orphans(observer: Observer) -> None:
    """Temporary tables outlive a crash, until autovacuum or the next user of their schema drops them."""
    for (name,) in observer.execute(
        "select oid::regclass::text from pg_class where relpersistence = 't' and relkind = 'r'"
        " and not relnamespace::regnamespace::text like 'pg_toast%'"
    ):
        observer.execute(f"drop table {name}")


def answers(proxy: ProxyProcess) -> bool:
    """Whether a new client is served."""
    try:
        with psycopg.connect(proxy.dsn(), autocommit=True, connect_timeout=10) as client:
            return client.execute("select 42").fetchone() == (42,)
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize(
    ("vanish", "outcomes"),
    # The end of a stream that has not been read yet is seen when what comes before it has been served.
    [(RawClient.reset, {"gone"}), (RawClient.close, {"gone", "moved"})],
)
def test_client_vanishes(
    make_stage: MakeStage, observer: Observer, vanish: Callable[[RawClient], None], outcomes: set[str]
) -> None:
    """Nothing is kept for nobody: both server processes lose what they had of it."""
    with make_stage("session", 5) as stage:
        gone = RawClient((stage.proxy.host, stage.proxy.port))
        gone.wait_for(b"Z")
        gone.run(LARGE)
        gone.run("select pg_advisory_lock(4711)")
        with being_carried(stage, observer) as carried:
            gone.send(query("insert into large values (1)"))
            vanish(gone)
            assert carried.outcome() in outcomes
        check_nothing_left(observer, stage.operator)
        assert answers(stage.proxy)
    until(lambda: observer.backends() == [], "the proxy has left no connection")


# -- the proxy is told to stop ---------------------------------------------------------------------------------


def move_to_and_fro(stage: TwinStage) -> int:
    """As long as the proxy takes orders; how many it took."""
    for turn in count():
        try:
            stage.operator.migrate(*(("blue", "green") if turn % 2 == 0 else ("green", "blue")))
        except (httpx.HTTPError, AssertionError):
            return turn
    raise AssertionError("count() ends nowhere")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_sigterm_while_sessions_move(make_stage: MakeStage, observer: Observer, mode: str) -> None:
    """Transactions end well, clients are told 57P01, and the proxy ends in time and leaves nothing."""
    clients = 30
    with make_stage(mode, clients) as stage, ThreadPoolExecutor(1) as executor:
        make_tables(stage.proxy.dsn())
        with crowd(stage.proxy.dsn(), clients) as busy:
            moving = executor.submit(move_to_and_fro, stage)
            until(
                lambda: any(each["state"] == "moving" for each in stage.operator.sessions()), "one is moving"
            )
            stage.proxy.process.send_signal(signal.SIGTERM)
            assert stage.proxy.process.wait(LONG_PATIENCE) == 0
        moving.result(timeout=LONG_PATIENCE)
        assert len(busy.errors) == clients
        assert busy.sqlstates() <= {"57P01", None}
    until(lambda: observer.backends() == [], "the proxy has left no connection")
    assert observer.execute(_HELD) == [(0, 0, 0)]
    busy.check(observer.execute)


def test_sigterm_while_one_is_carried(make_stage: MakeStage, observer: Observer) -> None:
    """Its client is told, and the move is not waited for longer than the drain lasts."""
    with make_stage("session", 5) as stage, large_client(stage) as client:
        with being_carried(stage, observer):
            stage.proxy.process.send_signal(signal.SIGTERM)
            assert stage.proxy.process.wait(LONG_PATIENCE) == 0
        with pytest.raises(psycopg.OperationalError) as told:
            client.execute("select 1")
        assert told.value.sqlstate in ("57P01", None)
    until(lambda: observer.backends() == [], "the proxy has left no connection")
    assert observer.execute(_HELD) == [(0, 0, 0)]
