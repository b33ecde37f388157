"""Standbys stop, die, fall behind and change sides while clients read there what they have just written (rules 33 to
36).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from chaos_failover import MODES, Stage, Stages
from chaos_moves import LONG_PATIENCE
from chaos_nodes import Node
from chaos_routing import ROUTING, TABLES, Shop, routed, shopping
from chaos_tools import until

pytestmark = pytest.mark.cluster

SHOPPERS = 10
#: Seconds that a client waits for a connection, by default.
QUEUE_TIMEOUT = 30.0
ROLES = {"node1": "active", "node2": "standby", "node3": "standby"}


@contextmanager
def shop_of(stage: Stage) -> Iterator[Shop]:
    """Shoppers, whose books are judged at the end; all standbys have served them at the beginning.

    Nobody has waited until his time was over for a server that is gone.
    """
    with shopping(stage.proxy.dsn(), SHOPPERS) as shop:
        shop.until_read_on(*(each.port for each in stage.nodes[1:]))
        yield shop
    shop.check(stage.primary.execute)
    assert shop.longest < QUEUE_TIMEOUT


@pytest.mark.parametrize("mode", MODES)
def test_a_standby_stalls(stages: Stages, mode: str) -> None:
    """It stands still for two seconds, answers nobody, and goes on; reads under way there wait, nobody reads less."""
    stage = routed(stages, mode)
    with shop_of(stage) as shop:
        standby = stage.node("node2")
        with standby.stopped():
            time.sleep(2.0)
        shop.until_read_on(standby.port)


@pytest.mark.parametrize("mode", MODES)
def test_a_standby_dies_and_comes_back(stages: Stages, rounds: int, mode: str) -> None:
    """SIGKILL, three times: reads under way there are done again elsewhere; when it is back it serves reads again."""
    stage = routed(stages, mode)
    with shop_of(stage) as shop:
        for number in range(3 * rounds):
            victim = stage.nodes[1 + number % 2]
            victim.kill()
            shop.all_go_on()
            stage.start(victim)
            shop.until_read_on(victim.port)


@contextmanager
def replay_paused(standby: Node) -> Iterator[None]:
    """It receives everything, and says that all is well, and shows nothing of it."""
    standby.execute("select pg_wal_replay_pause()")
    try:
        yield
    finally:
        standby.execute("select pg_wal_replay_resume()")


@pytest.mark.parametrize("mode", MODES)
def test_standbys_lie_about_their_lag(stages: Stages, mode: str) -> None:
    """One receives and does not replay, the other replays half a second late; nobody reads less than he wrote."""
    stage = routed(stages, mode)
    paused, late = stage.nodes[1:]
    with shop_of(stage) as shop:
        with replay_paused(paused), delayed(late):
            shop.all_go_on(20)
            before = shop.reads[paused.port]
            shop.all_go_on(20)
            assert shop.reads[paused.port] == before
        shop.until_read_on(paused.port, late.port)


@contextmanager
def delayed(standby: Node) -> Iterator[None]:
    """It replays each commit half a second after it was made."""
    standby.execute("alter system set recovery_min_apply_delay = '500ms'")
    standby.execute("select pg_reload_conf()")
    try:
        yield
    finally:
        standby.execute("alter system reset recovery_min_apply_delay")
        standby.execute("select pg_reload_conf()")


@pytest.mark.parametrize("mode", MODES)
def test_a_standby_is_promoted_behind_our_back(stages: Stages, mode: str) -> None:
    """It has the data of before, and lives on without us: no read and no write of a client gets there."""
    stage = routed(stages, mode, roles=ROLES)
    rogue, loyal = stage.nodes[1:]
    with shop_of(stage) as shop:
        rogue.execute("select pg_promote()")
        until(lambda: not seen_in_recovery(stage, rogue), "the proxy has seen it")
        before = shop.reads[rogue.port]
        rogue.execute("delete from notes")
        shop.all_go_on(20)
        shop.until_read_on(loyal.port)
        assert shop.reads[rogue.port] == before
        assert rogue.execute("select count(*) from notes") == [(0,)]


def seen_in_recovery(stage: Stage, node: Node) -> bool:
    """Whether the proxy takes it for a standby."""
    nodes = stage.operator.get("/topology")["nodes"]
    return next(bool(each["in_recovery"]) for each in nodes if each["name"] == node.name)


@pytest.mark.parametrize("mode", MODES)
def test_the_primary_dies_while_standbys_are_read(stages: Stages, rounds: int, mode: str) -> None:
    """Nothing is lost or doubled, and everybody reads what he wrote before and after, on the standby that is left."""
    stage = stages.own_cluster(mode, ROUTING.format(more=""), standbys=2)
    stage.primary.execute(TABLES)
    with shop_of(stage) as shop:
        for number in range(2 * rounds):
            stage.until_there_is_a_standby()
            stage.primary.kill()
            stage.until_succeeded(number + 1)
            shop.all_go_on()
        shop.until_read_on(*(each.port for each in stage.nodes if each != stage.primary))


READERS = 6
ROWS = 2000
#: takes about half a second, and gives nothing before its end
LONG_READ = """
select count(*), sum(n)::int from (select n, pg_sleep(0.0002) from stable order by n offset 0) as slowly
"""


@pytest.mark.parametrize("mode", MODES)
def test_reads_cancelled_by_recovery(stages: Stages, mode: str) -> None:
    """What a standby must break off to go on replaying, the primary does; the client sees all rows and no error."""
    stage = routed(stages, mode, settings={"max_standby_streaming_delay": "0", "hot_standby_feedback": "off"})
    stage.primary.execute(f"create table stable as select n from generate_series(1, {ROWS}) as n")
    conflicts = "select sum(confl_lock + confl_snapshot)::int from pg_stat_database_conflicts"
    over = threading.Event()

    def read(at: int) -> list[Any]:
        found = []
        with psycopg.connect(stage.proxy.dsn(), autocommit=True) as client:
            while not over.is_set():
                if at % 2:
                    found.append(client.execute(LONG_READ).fetchone())
                else:
                    client.read_only = True
                    with client.transaction():
                        found.append(client.execute(LONG_READ).fetchone())
        return found

    with ThreadPoolExecutor(READERS) as executor:
        reading = [executor.submit(read, at) for at in range(READERS)]
        try:
            for _ in range(10):
                churn(stage.primary)
            until(
                lambda: all(node.execute(conflicts)[0][0] > 0 for node in stage.nodes[1:]),
                "replay was in the way of reads",
            )
        finally:
            over.set()
        rows = [row for done in reading for row in done.result(LONG_PATIENCE)]
    assert set(rows) == {(ROWS, ROWS * (ROWS + 1) // 2)}


def churn(primary: Node) -> None:
    """Rows that nobody needs any more are removed, and a table."""
    primary.execute("create table churned as select generate_series(1, 1000) as n")
    primary.execute("update churned set n = n + 1")
    primary.execute("vacuum churned")
    primary.execute("drop table churned")
