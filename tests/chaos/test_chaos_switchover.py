"""Switchovers under load, and with a server or the proxy itself dying at the worst moment (rules 20 and 23).

However a switchover ends, there is one server that takes writes, it has all that was acknowledged, and every client
either goes on as if nothing had happened or knows that its session is over. A client past the proxy, whose
transaction a switchover waits for, keeps it where a test wants it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import psycopg
import pytest
from attrs import frozen
from chaos_moves import LONG_PATIENCE, PLAIN_WAYS, WAYS, Crowd, Json, Operator, crowd, make_tables, operating
from chaos_nodes import Node, nodes_in, nodes_of
from chaos_tools import RawClient, query, until

from helios_trio.embedded import BlockingCluster, processes, start_blocking
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CONFIG: Final = """
[proxy]
drain_timeout = "1s"
[pool]
mode = "{mode}"
[switchover_buffer]
window = "{window}"
[health_checks]
required_checks = ["connection_success", "replication_lag_ms < 10000", "query_test_success"]
"""
ELSEWHERE: Final = """
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "node1"
host = "{hosts[0]}"
port = {ports[0]}
[[backends.pools]]
name = "node2"
host = "{hosts[1]}"
port = {ports[1]}
"""
CLIENTS: Final = 12
#: What clients may be told whose session could not be saved; None: libpq saw the end before the reason.
OVER: Final = {"57P01", "08006", None}


# -- the stage -------------------------------------------------------------------------------------------------


@frozen
class Stage:
    """A proxy with its cluster, node1 being the primary."""

    proxy: ProxyProcess
    operator: Operator
    node1: Node
    node2: Node

    def waits(self) -> bool:
        """Whether a switchover waits for somebody past the proxy."""
        return bool(self.operator.switchover()["waiting_for"])

    def begin_and_wait(self) -> None:
        """Begin a switchover to node2 that has to wait for an open transaction."""
        assert self.operator.begin_switchover() == "node2"
        until(self.waits, "the switchover waits for the transaction")

    def check_unchanged(self, busy: Crowd) -> None:
        """node1 is the primary as before, and nobody noticed anything but a pause."""
        assert self.operator.primary() == "node1"
        assert self.node1.takes_writes()
        busy.all_go_on()
        assert busy.errors == {}

    def switch_over(self, busy: Crowd) -> Json:
        """A switchover with which all is well."""
        target = self.operator.begin_switchover()
        ended = self.operator.end_of_switchover()
        assert (ended["outcome"], ended["failure"], ended["migration_errors"]) == ("completed", None, [])
        assert (ended["client_errors"], ended["sessions_remaining"]) == (0, 0)
        assert ended["sessions_migrated"] == busy.number
        assert self.operator.primary() == target
        busy.all_go_on()
        assert busy.errors == {}
        return ended


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """What a test has started; what the proxy wrote is shown with a test that fails."""
    with ExitStack() as made:
        yield made


def own_cluster(
    stack: ExitStack, request: pytest.FixtureRequest, mode: str = "session", window: str = "60s"
) -> Stage:
    """A proxy that runs its own cluster."""
    config = CONFIG.format(mode=mode, window=window)
    arguments = ("--ephemeral", "--standbys", "1")
    proxy = stack.enter_context(
        running_proxy(config, arguments, ready_seconds=LONG_PATIENCE, stop_seconds=LONG_PATIENCE)
    )
    return _staged(stack, request, proxy, nodes_of(proxy))


def cluster_elsewhere(stack: ExitStack, request: pytest.FixtureRequest) -> Stage:
    """A proxy in front of a cluster that survives it."""
    cluster: BlockingCluster = start_blocking(standbys=1)
    stack.callback(cluster.stop)
    nodes = nodes_in(cluster)
    hosts, ports = [each.host for each in nodes], [each.port for each in nodes]
    config = CONFIG.format(mode="session", window="60s") + ELSEWHERE.format(hosts=hosts, ports=ports)
    proxy = stack.enter_context(running_proxy(config, stop_seconds=LONG_PATIENCE))
    return _staged(stack, request, proxy, nodes)


def _staged(
    stack: ExitStack, request: pytest.FixtureRequest, proxy: ProxyProcess, nodes: list[Node]
) -> Stage:
    stack.callback(lambda: request.node.add_report_section("teardown", "proxy", proxy.log_since()))
    make_tables(proxy.dsn())
    return Stage(proxy, stack.enter_context(operating(proxy)), *nodes)


# -- switchovers that succeed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_switchovers_under_writing_clients(
    stack: ExitStack, request: pytest.FixtureRequest, rounds: int, mode: str
) -> None:
    """One after the other, there and back: the counter is exact, and no client sees an error."""
    number, clients = (10, 50) if rounds > 1 else (3, 20)
    stage = own_cluster(stack, request, mode)
    with crowd(stage.proxy.dsn(), clients) as busy:
        pauses = [stage.switch_over(busy)["write_pause_seconds"] for _ in range(number)]
    assert busy.errors == {}
    assert all(pause > 0 for pause in pauses)
    primary = {each.name: each for each in (stage.node1, stage.node2)}[str(stage.operator.primary())]
    assert primary is (stage.node2 if number % 2 else stage.node1)
    busy.check(primary.execute)


# -- switchovers that are taken back ---------------------------------------------------------------------------


def test_transactions_longer_than_the_window(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """Clients whose transactions stay open: they keep them, the others have only waited, and all go on."""
    stage = own_cluster(stack, request, window="1s")
    with crowd(stage.proxy.dsn(), CLIENTS) as busy, psycopg.connect(stage.proxy.dsn()) as slow:
        slow.execute("create table slow as select 1 as n")
        stage.operator.begin_switchover()
        ended = stage.operator.end_of_switchover()
        assert (ended["outcome"], ended["sessions_migrated"], ended["client_errors"]) == ("rolled back", 0, 0)
        assert "1 sessions had not ended their work" in ended["failure"]
        stage.check_unchanged(busy)
        slow.execute("insert into slow values (2)")
        slow.commit()
        assert slow.execute("select sum(n) from slow").fetchone() == (3,)
        slow.commit()
        busy.all_go_on()
    busy.check(stage.node1.execute)


def test_standby_killed_before_its_promotion(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """The old primary goes on, without a standby."""
    stage = own_cluster(stack, request)
    with crowd(stage.proxy.dsn(), CLIENTS) as busy:
        with stage.node1.open_transaction() as outsider:
            stage.begin_and_wait()
            stage.node2.kill()
            outsider.commit()
            ended = stage.operator.end_of_switchover()
        assert (ended["outcome"], ended["client_errors"]) == ("rolled back", 0)
        assert "node2" in ended["failure"]
        stage.check_unchanged(busy)
    busy.check(stage.node1.execute)
    assert stage.node1.execute("select n from outside") == [(1,)]


def test_standby_stopped_before_its_promotion(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """It does not get all in time: taken back. Once it goes on, so do commits, and the next try."""
    stage = own_cluster(stack, request, window="4s")
    with crowd(stage.proxy.dsn(), CLIENTS) as busy:
        with stage.node1.open_transaction() as outsider:
            stage.begin_and_wait()
            with stage.node2.stopped():
                outsider.commit()
                ended = stage.operator.end_of_switchover()
        assert (ended["outcome"], ended["client_errors"]) == ("rolled back", 0)
        assert "took too long" in ended["failure"]
        stage.check_unchanged(busy)
        stage.switch_over(busy)
    busy.check(stage.node2.execute)


def test_standby_that_does_not_hear_of_its_promotion(
    stack: ExitStack, request: pytest.FixtureRequest
) -> None:
    """Asked, and deaf: nobody knows what it will do, so that it is put to death before the old primary goes on."""
    stage = own_cluster(stack, request)
    with crowd(stage.proxy.dsn(), CLIENTS) as busy:
        with stage.node1.open_transaction() as outsider:
            stage.begin_and_wait()
            deaf = processes.recorded_postmaster(stage.node2.data_dir)
            with stage.node2.stopped(postmaster_only=True):
                outsider.commit()
                ended = stage.operator.end_of_switchover()
        assert (ended["outcome"], ended["client_errors"]) == ("rolled back", 0)
        assert "node2 was asked to become primary and has not said that it is" in ended["failure"]
        assert processes.recorded_postmaster(stage.node2.data_dir) not in (deaf, None)
        stage.check_unchanged(busy)
        assert stage.node2.execute("select pg_is_in_recovery()") == [(True,)]
        stage.switch_over(busy)
    busy.check(stage.node2.execute)


# -- after the promotion ---------------------------------------------------------------------------------------


def fill_temporary_table(client: psycopg.Connection, at: int) -> None:
    """What every other client has, so that moving takes a while, and needs the old primary."""
    if at % 2:
        client.execute(
            "create temp table large as select n, repeat('x', 50) from generate_series(1, 20000) n"
        )


def promoted(node: Node) -> None:
    """Wait until a server is primary; looks as often as it can, so that what follows comes at once."""
    with psycopg.connect(node.dsn, autocommit=True) as connection:
        until(
            lambda: connection.execute("select pg_is_in_recovery()").fetchone() == (False,),
            "the standby is promoted",
        )


def test_old_primary_killed_after_the_promotion(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """The new one has all. Sessions whose state is lost know it; the dead one comes back as a standby."""
    stage = own_cluster(stack, request)
    with crowd(stage.proxy.dsn(), CLIENTS, PLAIN_WAYS, prelude=fill_temporary_table) as busy:
        stage.operator.begin_switchover()
        promoted(stage.node2)
        stage.node1.kill()
        ended = stage.operator.end_of_switchover()
        assert (ended["outcome"], stage.operator.primary()) == ("completed", "node2")
        busy.all_go_on()
        until(stage.operator.standby, "the old primary is a standby", LONG_PATIENCE)
        busy.all_go_on()
    assert ended["client_errors"] == len(busy.errors)
    assert busy.sqlstates() <= OVER
    busy.check(stage.node2.execute)
    assert stage.node1.execute("select pg_is_in_recovery()") == [(True,)]
    with crowd(stage.proxy.dsn(), CLIENTS) as later:
        assert later.errors == {}


# -- the proxy is told to stop ---------------------------------------------------------------------------------


def stop(proxy: ProxyProcess) -> None:
    """SIGTERM, and a good end."""
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(LONG_PATIENCE) == 0


def check_writable(stage: Stage, writable: Node) -> None:
    """There is one that takes writes, and it is this."""
    assert [each for each in (stage.node1, stage.node2) if each.takes_writes()] == [writable]


def test_sigterm_before_the_promotion(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """The switchover is taken back: what the proxy leaves behind is what it found."""
    stage = cluster_elsewhere(stack, request)
    with crowd(stage.proxy.dsn(), CLIENTS) as busy, stage.node1.open_transaction():
        stage.begin_and_wait()
        stop(stage.proxy)
    assert len(busy.errors) == CLIENTS
    assert busy.sqlstates() <= {"57P01", None}
    assert stage.node2.execute("select pg_is_in_recovery()") == [(True,)]
    check_writable(stage, stage.node1)
    busy.check(stage.node1.execute)


def test_sigterm_after_the_promotion(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """What is begun is ended: the new primary takes writes, and the old one does not."""
    stage = cluster_elsewhere(stack, request)
    with crowd(stage.proxy.dsn(), CLIENTS, WAYS, prelude=fill_temporary_table) as busy:
        stage.operator.begin_switchover()
        promoted(stage.node2)
        stop(stage.proxy)
    assert len(busy.errors) == CLIENTS
    assert busy.sqlstates() <= {"57P01", None}
    check_writable(stage, stage.node2)
    busy.check(stage.node2.execute)


def test_sigterm_with_the_cluster_of_its_own(stack: ExitStack, request: pytest.FixtureRequest) -> None:
    """Nothing of an ephemeral cluster is left, whatever it was doing; its clients are told."""
    stage = own_cluster(stack, request)
    with RawClient((stage.proxy.host, stage.proxy.port)) as client:
        client.wait_for(b"Z")
        with stage.node1.open_transaction():
            stage.begin_and_wait()
            client.send(query("select 1"))
            stop(stage.proxy)
        assert client.last_words()["C"] == "57P01"
    for node in (stage.node1, stage.node2):
        assert processes.processes_of(node.data_dir) == []
        assert not node.data_dir.exists()
