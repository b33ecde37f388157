"""The provider against a real Patroni: `nox -s patroni` installs one where there is none."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define
from patroni_rig import DEADLINE, FOLLOWS, LEADS, PatroniCluster, open_patroni, patroni_is_installed

from helios_trio.cluster.herald import Herald, NodeJoined, PrimaryChanged, TopologyEvent
from helios_trio.cluster.prober import Probes
from helios_trio.cluster.provider_patroni import PatroniAccess, PatroniProvider
from helios_trio.cluster.topology import NodeRole, Topology
from helios_trio.control import ControlConnection
from helios_trio.pipeline.backend import Backend

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.skipif(not patroni_is_installed(), reason="Patroni is not installed"),
]

INTERVAL, TIMEOUT = 0.1, 2.0


@define(eq=False)
class Follower:
    """What the proxy knows, and what it was told."""

    topology: Topology
    provider: PatroniProvider
    told: list[TopologyEvent]

    @property
    def writer(self) -> str | None:
        return self.topology.writer.backend.name if self.topology.writer and self.topology.ready else None

    async def until(self, condition: Callable[[], bool], cluster: PatroniCluster) -> None:
        with trio.move_on_after(DEADLINE):
            while not condition():  # noqa: ASYNC110 - simpler than a listener
                await trio.sleep(0.02)
            return
        raise AssertionError(f"{self.topology}\n{self.provider}\n{cluster.logs()}")


async def connect(backend: Backend) -> ControlConnection:
    return await ControlConnection.connect(
        autocommit=True, host=backend.host, port=backend.port, user="postgres", dbname="postgres"
    )


@asynccontextmanager
async def following(cluster: PatroniCluster) -> AsyncIterator[Follower]:
    """Probes and provider; the backends have other names than Patroni's members."""
    topology = Topology.of(
        [Backend(f"pg-{each.name}", "127.0.0.1", each.port) for each in cluster.nodes.values()]
    )
    told: list[TopologyEvent] = []
    herald = Herald(topology)
    herald.listen(told.append)
    probes = Probes(topology, connect, INTERVAL, TIMEOUT)
    access = PatroniAccess(urls=cluster.urls, interval=INTERVAL, timeout=TIMEOUT)
    provider = PatroniProvider(access, topology, herald, probes.probe_now)
    async with trio.open_nursery() as nursery:
        await nursery.start(probes.run)
        await nursery.start(provider.run)
        yield Follower(topology, provider, told)
        nursery.cancel_scope.cancel()


def other(name: str) -> str:
    return {"one": "two", "two": "one"}[name]


async def insert(follower: Follower) -> None:
    """What is called the writer takes writes."""
    assert follower.topology.writer is not None
    async with await connect(follower.topology.writer.backend) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS t (id int)")
        await connection.execute("INSERT INTO t VALUES (1)")


async def test_leaders_of_a_real_patroni_are_followed() -> None:
    """A planned switchover, the death of a server, and that of a whole machine."""
    async with open_patroni() as cluster, following(cluster) as follower:
        states = await cluster.wait_until(lambda found: LEADS in found.values())
        leader = next(name for name, state in states.items() if state == LEADS)
        await follower.until(lambda: follower.writer == f"pg-{leader}", cluster)
        await insert(follower)
        assert {each.name for each in follower.told if isinstance(each, NodeJoined)} == {"pg-one", "pg-two"}
        standby = follower.topology.nodes[f"pg-{other(leader)}"]
        await follower.until(lambda: standby.role is NodeRole.STANDBY, cluster)
        await follower.until(lambda: follower.topology.seen_by_primary(standby) is not None, cluster)
        found = follower.topology.seen_by_primary(standby)
        assert found is not None
        assert (found.name, found.sync_state) == (other(leader), "async")

        await cluster.switch_over(leader, other(leader))
        leader = other(leader)
        await follower.until(lambda: follower.writer == f"pg-{leader}", cluster)
        await insert(follower)

        await cluster.wait_until(lambda found: found.get(other(leader)) == FOLLOWS)
        await follower.until(lambda: follower.topology.nodes[f"pg-{other(leader)}"].timeline == 2, cluster)
        cluster.nodes[leader].kill_server()
        leader = other(leader)
        await follower.until(lambda: follower.writer == f"pg-{leader}", cluster)
        await insert(follower)

        await cluster.wait_until(lambda found: found.get(other(leader)) == FOLLOWS)
        await follower.until(lambda: follower.topology.nodes[f"pg-{other(leader)}"].timeline == 3, cluster)
        cluster.nodes[leader].kill()
        leader = other(leader)
        await follower.until(lambda: follower.writer == f"pg-{leader}", cluster)
        await insert(follower)
        assert follower.provider.problem == ""

        changes = [
            (each.after, each.status.value) for each in follower.told if isinstance(each, PrimaryChanged)
        ]
        confirmed = [name for name, status in changes if status == "confirmed"]
        assert len(confirmed) == 4
        assert all(a != b for a, b in itertools.pairwise(confirmed))
