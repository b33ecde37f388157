"""A cluster's life: replication, failover, rejoining, pausing. Each test has its own cluster."""

from __future__ import annotations

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from helios_trio.embedded import EmbeddedCluster, EmbeddedError, open_cluster
from helios_trio.embedded.processes import processes_of

pytestmark = pytest.mark.cluster

SYNC = "SHOW synchronous_standby_names"


async def rows(cluster: EmbeddedCluster, node: str | None = None) -> list[int]:
    return [row[0] for row in await cluster.execute("SELECT id FROM t ORDER BY id", node)]


async def insert(cluster: EmbeddedCluster, number: int, node: str | None = None) -> None:
    await cluster.execute("INSERT INTO t VALUES (%s)", node, arguments=(number,))


async def test_standby_streams_synchronously() -> None:
    """From the start, commits wait for the standby, which has them after replay."""
    async with open_cluster(standbys=1) as cluster:
        assert [(node.name, node.role) for node in cluster.nodes] == [
            ("node1", "primary"),
            ("node2", "standby"),
        ]
        assert await cluster.execute(SYNC) == [("ANY 1 (*)",)]
        assert await cluster.execute(
            "SELECT application_name, state, sync_state FROM pg_stat_replication"
        ) == [("node2", "streaming", "quorum")]
        await cluster.execute("CREATE TABLE t (id int)")
        await insert(cluster, 1)
        await cluster.wait_for_replay()
        assert await rows(cluster, "node2") == [1]


async def test_acknowledged_writes_survive_the_primary() -> None:
    """Kill, promote, rejoin: nothing acknowledged is lost, and the old primary becomes a standby."""
    async with open_cluster(standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        for number in range(20):
            await insert(cluster, number)
        await cluster.kill_node("node1")
        assert cluster.node("node1").role == "stopped"
        assert processes_of(cluster.node("node1").data_dir) == []
        await cluster.promote("node2")
        assert cluster.primary.name == "node2"
        assert await rows(cluster) == list(range(20))
        assert await cluster.execute(SYNC) == [("",)]
        await insert(cluster, 20)
        await cluster.rejoin("node1")
        assert cluster.node("node1").role == "standby"
        assert await cluster.execute(SYNC) == [("ANY 1 (*)",)]
        await insert(cluster, 21)
        await cluster.wait_for_replay("node1")
        assert await rows(cluster, "node1") == list(range(22))


async def test_every_process_of_a_killed_node_is_gone() -> None:
    """A backend that is busy when its postmaster is killed does not live on."""
    async with (
        open_cluster(standbys=0) as cluster,
        await cluster.connect() as busy,
        trio.open_nursery() as nursery,
    ):
        backend = busy.info.backend_pid

        async def sleep() -> None:
            with pytest.raises(psycopg.OperationalError):
                await busy.execute("SELECT pg_sleep(600)")

        nursery.start_soon(sleep)
        while (
            await cluster.execute(f"SELECT FROM pg_stat_activity WHERE pid = {backend} AND state = 'active'")
            == []
        ):
            await trio.lowlevel.checkpoint()
        assert backend in processes_of(cluster.primary.data_dir)
        await cluster.kill_node("node1")
        assert processes_of(cluster.primary.data_dir) == []


@pytest.mark.long
async def test_commits_do_not_hang_without_standbys() -> None:
    """Synchronous replication is relaxed with the last standby and comes back with the first."""
    async with open_cluster(standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.stop_node("node2")
        await insert(cluster, 1)
        assert await cluster.execute(SYNC) == [("",)]
        await cluster.start_node("node2")
        assert await cluster.execute(SYNC) == [("ANY 1 (*)",)]
        await insert(cluster, 2)
        await cluster.wait_for_replay()
        assert await rows(cluster, "node2") == [1, 2]


@pytest.mark.long
async def test_watch_notices_a_standby_that_dies() -> None:
    """A standby that ends by itself relaxes synchronous replication when somebody watches."""
    async with open_cluster(standbys=1) as cluster, trio.open_nursery() as nursery:
        await cluster.execute("CREATE TABLE t (id int)")
        nursery.start_soon(cluster.watch)
        pid = cluster.node("node2").pid
        assert pid is not None
        await trio.run_process(["kill", "-QUIT", str(pid)])
        await insert(cluster, 1)
        while cluster.node("node2").role != "stopped":
            await trio.lowlevel.checkpoint()
        assert await rows(cluster) == [1]
        nursery.cancel_scope.cancel()


@pytest.mark.long
async def test_pause_and_resume() -> None:
    """A paused node holds its connections without answering, and answers when resumed."""
    async with open_cluster(standbys=0) as cluster, await cluster.connect() as connection:
        answered = trio.Event()

        async def ask() -> None:
            await connection.execute("SELECT 1")
            answered.set()

        await cluster.pause("node1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.move_on_after(0.2):
                await answered.wait()
            assert not answered.is_set()
            await cluster.resume("node1")
        assert answered.is_set()


@pytest.mark.long
async def test_unfenced_promotion_leaves_two_primaries() -> None:
    """Without fencing the old primary still takes writes; rejoining discards what only it has."""
    async with open_cluster(standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.promote("node2", fence=False)
        await cluster.execute("SET synchronous_commit = local; INSERT INTO t VALUES (-1)", "node1")
        await insert(cluster, 1)
        assert await rows(cluster, "node1") == [-1]
        await cluster.rejoin("node1")
        await cluster.wait_for_replay()
        assert await rows(cluster, "node1") == [1]


@pytest.mark.long
async def test_rejoining_does_not_wait_for_commits_at_the_end_of_sessions() -> None:
    """A session drops its temporary tables when it ends, with a commit that no standby would ever confirm."""
    async with open_cluster(standbys=1) as cluster, await cluster.connect("node1") as session:
        await session.execute("CREATE TEMP TABLE mine (id int)")
        await cluster.promote("node2", fence=False)
        with capture_logs() as logs:
            await cluster.rejoin("node1")
        assert [each for each in logs if "it is killed" in each["event"]] == []
        assert cluster.node("node1").role == "standby"


@pytest.mark.long
async def test_promotion_of_a_paused_primarys_standby() -> None:
    """A paused primary is killed when its standby is promoted, so that it cannot come back."""
    async with open_cluster(standbys=1) as cluster:
        await cluster.pause("node1")
        await cluster.promote("node2")
        assert cluster.node("node1").role == "stopped"
        assert await cluster.execute("SELECT pg_is_in_recovery()") == [(False,)]


@pytest.mark.long
async def test_other_standbys_follow_the_new_primary() -> None:
    """With two standbys, the one that is not promoted replicates synchronously from the other."""
    async with open_cluster(standbys=2) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.wait_for_replay()
        await cluster.kill_node("node1")
        await cluster.promote("node3")
        assert await cluster.execute(SYNC) == [("ANY 1 (*)",)]
        await insert(cluster, 1)
        await cluster.wait_for_replay()
        assert await rows(cluster, "node2") == [1]
        await cluster.rejoin("node1")
        await cluster.wait_for_replay()
        assert await rows(cluster, "node1") == [1]


@pytest.mark.long
async def test_refresh_sees_promotions_by_others() -> None:
    """A standby promoted by plain SQL becomes the primary of the cluster's books."""
    async with open_cluster(standbys=1) as cluster:
        await cluster.kill_node("node1")
        await cluster.execute("SELECT pg_promote()", "node2")
        await cluster.refresh()
        assert cluster.primary.name == "node2"
        await cluster.rejoin("node1")
        assert cluster.node("node1").role == "standby"


@pytest.mark.long
async def test_restart_keeps_role_and_place() -> None:
    """A restarted node has the same role and port, and a new process."""
    async with open_cluster(standbys=1) as cluster:
        before = [(node.name, node.role, node.port) for node in cluster.nodes]
        pids = {node.pid for node in cluster.nodes}
        for node in cluster.nodes:
            await cluster.restart(node.name)
        assert [(node.name, node.role, node.port) for node in cluster.nodes] == before
        assert pids.isdisjoint({node.pid for node in cluster.nodes})


async def test_wrong_requests_are_refused() -> None:
    """Unknown nodes, promoting a primary and rejoining a primary are errors that change nothing."""
    async with open_cluster(standbys=0) as cluster:
        with pytest.raises(EmbeddedError, match="there is no node 'node7'"):
            await cluster.start_node("node7")
        with pytest.raises(EmbeddedError, match="node1 is not a standby"):
            await cluster.promote("node1")
        with pytest.raises(EmbeddedError, match="node1 is the primary"):
            await cluster.rejoin("node1")
        assert cluster.primary.role == "primary"


@pytest.mark.long
async def test_password_authentication() -> None:
    """With auth="scram-sha-256" the DSN's password is needed and works, also for replication."""
    async with open_cluster(standbys=1, auth="scram-sha-256", database="app", superuser="boss") as cluster:
        dsn = cluster.dsn(dbname="app", application_name="a b")
        with psycopg.connect(dsn) as connection:
            assert connection.execute(
                "SELECT current_user, current_setting('application_name')"
            ).fetchone() == (
                "boss",
                "a b",
            )
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(dsn.replace(cluster.password, "wrong"))
        await cluster.kill_node("node1")
        await cluster.promote("node2")
        await cluster.rejoin("node1")


@pytest.mark.long
async def test_settings_and_rules_of_the_callers_own() -> None:
    """Settings override the defaults on all nodes; rules come first in pg_hba.conf."""
    async with open_cluster(
        standbys=1,
        settings={"wal_level": "logical", "max_connections": "42"},
        hba=["host all nobody 127.0.0.1/32 reject"],
    ) as cluster:
        for node in cluster.nodes:
            assert await cluster.execute("SHOW wal_level", node.name) == [("logical",)]
            assert await cluster.execute("SHOW max_connections", node.name) == [("42",)]
        rules = await cluster.execute(
            "SELECT auth_method FROM pg_hba_file_rules ORDER BY rule_number LIMIT 1"
        )
        assert rules == [("reject",)]


@pytest.mark.long
async def test_standby_that_has_more_than_its_new_primary_begins_anew() -> None:
    """It got what the old primary wrote after the promotion: nothing of that is left, whenever it comes back."""
    async with open_cluster(standbys=2) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.wait_for_replay()
        await cluster.execute("SELECT pg_promote()", "node2")
        await insert(cluster, 1, "node1")
        await cluster.wait_for_replay("node3")
        await cluster.kill_node("node3")
        await cluster.rejoin("node1")
        await insert(cluster, 2)
        await cluster.start_node("node3")
        await insert(cluster, 3)
        await cluster.wait_for_replay("node1", "node3")
        for node in ("node1", "node3"):
            assert await rows(cluster, node) == [2, 3]


@pytest.mark.long
async def test_standby_that_waits_with_its_replay_is_not_replaced() -> None:
    """It lags because it was told to."""
    async with open_cluster(standbys=1) as cluster:
        data_dir = cluster.node("node2").data_dir
        (data_dir / "local.conf").write_text("recovery_min_apply_delay = '1h'\n")
        (data_dir / "marker").touch()
        await cluster.stop_node("node2")
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.start_node("node2")
        assert cluster.node("node2").role == "standby"
        assert (data_dir / "marker").exists()
