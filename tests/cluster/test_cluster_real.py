"""The prober against a real cluster: roles, positions, promotion, users without privileges."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import trio
from psycopg.pq import TransactionStatus

from helios_trio.cluster.prober import Probes
from helios_trio.cluster.topology import NodeRole, Topology
from helios_trio.control import ControlConnection
from helios_trio.embedded import EmbeddedCluster, open_cluster
from helios_trio.pipeline.backend import Backend
from helios_trio.testing.faults import open_fault_proxy

pytestmark = pytest.mark.cluster

INTERVAL, TIMEOUT, DEADLINE = 0.05, 5.0, 60.0


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - the topology tells nobody
            await trio.sleep(INTERVAL)


def topology_of(cluster: EmbeddedCluster) -> Topology:
    return Topology.of([Backend(node.name, node.host, node.port) for node in cluster.nodes])


def connector(cluster: EmbeddedCluster, user: str) -> Callable[[Backend], object]:
    async def connect(backend: Backend) -> ControlConnection:
        return await ControlConnection.connect(
            autocommit=True, host=backend.host, port=backend.port, user=user, dbname="postgres"
        )

    return connect


async def test_promotion_is_seen() -> None:
    """A cluster's life as an unprivileged user sees it: replication, loss, promotion, return."""
    async with open_cluster(standbys=1) as cluster, trio.open_nursery() as probing:
        await cluster.execute("CREATE ROLE prober LOGIN")
        await cluster.wait_for_replay()
        topology = topology_of(cluster)
        await probing.start(Probes(topology, connector(cluster, "prober"), INTERVAL, TIMEOUT).run)
        one, two = topology.nodes["node1"], topology.nodes["node2"]
        assert (one.role, two.role) == (NodeRole.PRIMARY, NodeRole.STANDBY)
        assert topology.ready
        assert one.observed is not None
        assert two.observed is not None
        assert one.system_identifier == two.system_identifier
        assert one.system_identifier is not None
        assert one.timeline == two.timeline == 1
        assert one.observed.server_version == cluster.version

        await until(lambda: topology.lag_bytes(two) == 0)  # though nothing is written
        before = one.observed.position
        assert before is not None
        await cluster.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
        await until(lambda: one.observed is not None and (one.observed.position or 0) > before)
        await until(
            lambda: (
                topology.lag_bytes(two) == 0 and two.observed is not None and two.observed.lag_seconds == 0
            )
        )

        await cluster.execute("SELECT pg_wal_replay_pause()", "node2")
        await cluster.execute("SET synchronous_commit = local; CREATE TABLE u AS SELECT 1 AS id")
        await until(lambda: (topology.lag_bytes(two) or 0) > 0)
        await until(lambda: two.observed is not None and (two.observed.lag_seconds or 0) > 0)
        await cluster.execute("SELECT pg_wal_replay_resume()", "node2")

        await cluster.kill_node("node1")
        await until(lambda: one.healthy is False)
        assert topology.writer is one
        assert not topology.ready
        assert one.reason

        await cluster.promote("node2")
        await until(lambda: topology.ready)
        assert topology.writer is two
        assert (two.role, two.timeline) == (NodeRole.PRIMARY, 2)

        await cluster.rejoin("node1")
        await until(lambda: one.role is NodeRole.STANDBY and one.healthy is True)
        await until(lambda: one.timeline == 2)
        assert topology.writer is two
        probing.cancel_scope.cancel()


@pytest.mark.long
async def test_paused_server_is_given_up_and_found_again() -> None:
    """Connections that stay open while nothing answers do not deceive the prober."""
    async with open_cluster(standbys=0) as cluster, trio.open_nursery() as probing:
        topology = topology_of(cluster)
        await probing.start(Probes(topology, connector(cluster, "postgres"), INTERVAL, 0.5).run)
        assert topology.ready
        await cluster.pause("node1")
        await until(lambda: not topology.ready)
        await cluster.resume("node1")
        await until(lambda: topology.ready)
        probing.cancel_scope.cancel()


@pytest.mark.long
async def test_server_behind_a_dead_network_is_found() -> None:
    """Packets vanish, in both directions or in one; the connection stays open on both ends."""
    async with open_cluster(standbys=0) as cluster, trio.open_nursery() as probing:
        node = cluster.primary
        async with open_fault_proxy((node.host, node.port)) as network:
            topology = Topology.of([Backend("node1", *network.address)])
            probes = Probes(topology, connector(cluster, "postgres"), INTERVAL, 0.5)
            await probing.start(probes.run)
            for line in (network.to_server, network.to_client):
                assert topology.ready
                line.swallow = True
                await until(lambda: not topology.ready)
                assert "no answer within 0.5 s" in topology.nodes["node1"].reason
                network.heal()
                await until(lambda: topology.ready)
            await network.unbind()
            network.cut()
            probes.probe_now("node1")
            await until(lambda: not topology.ready)
            assert "refused" in topology.nodes["node1"].reason
        probing.cancel_scope.cancel()


async def test_backend_that_outlives_its_postmaster_deceives_nobody() -> None:
    """Rule 25: an old connection may still answer; a new one cannot be had."""
    async with open_cluster(standbys=0) as cluster, trio.open_nursery() as probing:
        topology = topology_of(cluster)
        probes = Probes(topology, connector(cluster, "postgres"), 3600.0, TIMEOUT)
        await probing.start(probes.run)
        async with await cluster.connect() as busy, trio.open_nursery() as nursery:
            nursery.start_soon(busy.execute, "SELECT count(*) FROM generate_series(1, 1e12::bigint)")
            await until(lambda: busy.pgconn.transaction_status == TransactionStatus.ACTIVE)
            os.kill(cluster.primary.pid or 0, signal.SIGKILL)
            probes.probe_now("node1")
            await until(lambda: not topology.ready)
            os.kill(busy.info.backend_pid, signal.SIGKILL)  # it is still there
            busy.cancel_grace = 0.0
            nursery.cancel_scope.cancel()
        probing.cancel_scope.cancel()


@pytest.mark.long
async def test_standbys_have_a_sync_state() -> None:
    """The primary knows it, by the name that the standby has there; unprivileged users are not told."""
    async with open_cluster(standbys=1) as cluster, trio.open_nursery() as probing:
        await cluster.execute("CREATE ROLE nobody_special LOGIN")
        await cluster.wait_for_replay()
        topology, blind = topology_of(cluster), topology_of(cluster)
        await probing.start(Probes(topology, connector(cluster, "postgres"), INTERVAL, TIMEOUT).run)
        await probing.start(Probes(blind, connector(cluster, "nobody_special"), INTERVAL, TIMEOUT).run)
        two = topology.nodes["node2"]

        def state() -> str | None:
            found = topology.seen_by_primary(two)
            return found.sync_state if found else None

        await until(lambda: state() in ("sync", "quorum"))
        one = topology.nodes["node1"].observed
        assert one is not None
        assert one.synchronous_standby_names
        await cluster.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        await cluster.execute("SELECT pg_reload_conf()")
        await until(lambda: state() == "async")
        one = topology.nodes["node1"].observed
        assert one is not None
        assert one.synchronous_standby_names == ""
        assert one.standbys[0].state == "streaming"
        assert blind.seen_by_primary(blind.nodes["node2"]) is None
        assert blind.ready
        probing.cancel_scope.cancel()


async def test_revoked_functions_leave_the_role() -> None:
    """On a hardened server the role is still known; what it would not say is unknown, not zero."""
    async with open_cluster(standbys=0) as cluster, trio.open_nursery() as probing:
        await cluster.execute("CREATE ROLE prober LOGIN")
        await cluster.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        topology = topology_of(cluster)
        await probing.start(Probes(topology, connector(cluster, "prober"), INTERVAL, TIMEOUT).run)
        node = topology.nodes["node1"]
        assert topology.ready
        assert node.role is NodeRole.PRIMARY
        assert node.observed is not None
        assert (node.observed.position, node.timeline) == (None, None)
        assert node.observed.server_version == cluster.version
        probing.cancel_scope.cancel()
