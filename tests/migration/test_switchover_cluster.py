"""Switchovers of a real cluster under load: nothing that was acknowledged is lost, and no client gets an error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio
from attrs import define, field
from switchover_writers import CREATE, Bypass, WriterFleet

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.prober import Probes
from helios_trio.cluster.steward import Steward
from helios_trio.cluster.steward_embedded import EmbeddedSteward
from helios_trio.cluster.steward_postgres import PostgresSteward
from helios_trio.cluster.topology import NodeRole, Topology
from helios_trio.control import ControlConnection
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import EmbeddedCluster, open_cluster
from helios_trio.migration.errors import Conflict
from helios_trio.migration.switchover import Switchover
from helios_trio.migration.switchover_steps import (
    Step,
    SwitchoverOrder,
    SwitchoverOutcome,
    SwitchoverReport,
    SwitchoverSettings,
)
from helios_trio.pipeline.backend import Backend

pytestmark = pytest.mark.cluster

DEADLINE, WRITERS, PROBE_INTERVAL = 120.0, 8, 0.05


@define(eq=False)
class Stage:
    """A cluster, who watches it, and who writes to it."""

    cluster: EmbeddedCluster
    topology: Topology
    nursery: trio.Nursery
    fleet: WriterFleet
    placement: Placement = field(factory=Placement)

    def switchover(self, steward: Steward, settings: SwitchoverSettings | None = None) -> Switchover:
        return Switchover(
            self.fleet, self.topology, self.placement, steward, settings or SwitchoverSettings()
        )

    async def switch(self, switchover: Switchover) -> SwitchoverReport:
        """To the node that is not the primary, as soon as the probes have seen that it is one."""
        target = next(node for node in self.topology if node.backend.name != self.cluster.primary.name)
        await until(lambda: target.role is NodeRole.STANDBY and target.healthy is True)
        return await switchover.run(SwitchoverOrder(target=target.backend.name))

    async def some_writes(self) -> None:
        """Wait until every writer has got somewhere."""
        before = self.fleet.acknowledged
        await until(lambda: all(now > before[id] for id, now in self.fleet.acknowledged.items()))

    async def assert_nothing_lost(self) -> None:
        """What each was promised is there, once, and nothing else is."""
        await self.fleet.stop()
        writer = self.topology.writer
        assert writer is not None
        query = "SELECT client, count(*), max(number) FROM written WHERE client < 100 GROUP BY client"
        rows = await self.cluster.execute(query, writer.backend.name)
        assert {id: (found, highest) for id, found, highest in rows} == {
            id: (promised, promised) for id, promised in self.fleet.acknowledged.items()
        }


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the topology tells nobody
        await trio.sleep(0.005)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A primary, node1, and a standby, node2, probed and written to."""
    async with open_cluster(standbys=1) as cluster, trio.open_nursery() as nursery:
        await cluster.execute(CREATE)
        await cluster.wait_for_replay()
        topology = Topology.of(Backend(node.name, str(node.socket_dir), node.port) for node in cluster.nodes)

        async def connect(backend: Backend) -> ControlConnection:
            return await cluster.connect(backend.name)

        fleet = WriterFleet(cluster)
        try:
            with trio.fail_after(DEADLINE):
                nursery.start_soon(cluster.watch)
                await nursery.start(Probes(topology, connect, PROBE_INTERVAL, 5.0).run)
                await fleet.start(WRITERS, nursery)
                yield Stage(cluster, topology, nursery, fleet)
            nursery.cancel_scope.cancel()
        finally:
            fleet.close()


def embedded(stage: Stage) -> EmbeddedSteward:
    return EmbeddedSteward(stage.cluster.connect, stage.cluster)


@pytest.mark.long
async def test_ten_switchovers_back_and_forth(stage: Stage) -> None:
    """Each as good as the first; clients past the proxy lose nothing either that was acknowledged."""
    switchover = stage.switchover(embedded(stage))
    bypasses = [Bypass(id, stage.cluster) for id in (101, 102)]
    for bypass in bypasses:
        stage.nursery.start_soon(bypass.run)
    for number in range(10):
        await stage.some_writes()
        report = await stage.switch(switchover)
        assert (report.outcome, report.failure, report.errors) == (SwitchoverOutcome.COMPLETED, "", ())
        assert (report.moved, report.lost, report.timeline) == (WRITERS, 0, number + 2)
        assert report.demotion is not None
        assert report.demotion.rejoined
        assert 0 < report.write_pause < report.elapsed
        assert stage.topology.writer is stage.topology.nodes[report.target]
        assert stage.cluster.primary.name == report.target
    await stage.some_writes()
    await stage.assert_nothing_lost()
    for bypass in bypasses:
        promised = set(bypass.acknowledged)
        query = "SELECT number FROM written WHERE client = %s"
        rows = await stage.cluster.execute(query, arguments=(bypass.id,))
        assert bypass.refused > 0
        assert promised <= {number for (number,) in rows}


@pytest.mark.long
async def test_servers_of_somebody_else(stage: Stage) -> None:
    """With the rights of the control user alone; the old primary stays as it is, read-only and out of use."""
    async with await stage.cluster.connect() as connection:
        await apply(connection, SetupSettings())

    async def connect(name: str) -> ControlConnection:
        node = stage.cluster.node(name)
        return await ControlConnection.connect(
            host=node.host, port=node.port, user="helios_control", dbname="postgres", autocommit=True
        )

    switchover = stage.switchover(PostgresSteward(connect))
    await stage.some_writes()
    report = await stage.switch(switchover)
    assert (report.outcome, report.moved, report.errors) == (SwitchoverOutcome.COMPLETED, WRITERS, ())
    await stage.some_writes()
    old = stage.topology.nodes["node1"]
    assert report.demotion is not None
    assert old.deposed == report.demotion.note
    assert await stage.cluster.execute("SHOW default_transaction_read_only", "node1") == [("on",)]
    with pytest.raises(Conflict, match="node1: it may not be the primary"):
        await switchover.check(SwitchoverOrder(target="node1"))
    await stage.assert_nothing_lost()


@pytest.mark.long
async def test_the_target_dies_before_the_promotion(stage: Stage) -> None:
    """The old primary goes on, and is writable for everybody."""

    class Deadly(EmbeddedSteward):
        async def open_transactions(self, node: str, begun_before: float):  # type: ignore[no-untyped-def]
            await stage.cluster.kill_node("node2")
            return await super().open_transactions(node, begun_before)

    await stage.some_writes()
    report = await stage.switch(stage.switchover(Deadly(stage.cluster.connect, stage.cluster)))
    assert (report.outcome, report.errors) == (SwitchoverOutcome.ROLLED_BACK, ())
    assert report.step is Step.RELEASE
    await stage.some_writes()
    assert await stage.cluster.execute("SHOW default_transaction_read_only") == [("off",)]
    await stage.assert_nothing_lost()


@pytest.mark.long
async def test_the_old_primary_dies_before_the_promotion(stage: Stage) -> None:
    """The target has all: forward, and the dead server comes back as a standby."""

    class Deadly(EmbeddedSteward):
        async def promote(self, node: str) -> None:
            await stage.cluster.kill_node("node1")
            await super().promote(node)

    await stage.some_writes()
    report = await stage.switch(stage.switchover(Deadly(stage.cluster.connect, stage.cluster)))
    assert (report.outcome, report.moved, report.lost) == (SwitchoverOutcome.COMPLETED, WRITERS, 0)
    assert report.late_transactions is None
    assert stage.cluster.node("node1").role == "standby"
    await stage.some_writes()
    await stage.assert_nothing_lost()


@pytest.mark.long
async def test_a_target_that_hangs_is_fenced(stage: Stage) -> None:
    """It has been asked and does not answer: it is killed, the source goes on, and it becomes a standby again."""

    class Freezing(EmbeddedSteward):
        async def promote(self, node: str) -> None:
            await stage.cluster.pause(node)
            await super().promote(node)

    await stage.some_writes()
    settings = SwitchoverSettings(promotion_time_limit=1.0)
    switchover = stage.switchover(Freezing(stage.cluster.connect, stage.cluster), settings)
    report = await stage.switch(switchover)
    assert report.outcome is SwitchoverOutcome.ROLLED_BACK
    assert "has not said" in report.failure
    assert report.demotion is not None
    assert report.demotion.rejoined
    await stage.some_writes()
    assert (await stage.switch(stage.switchover(embedded(stage)))).outcome is SwitchoverOutcome.COMPLETED
    await stage.some_writes()
    await stage.assert_nothing_lost()


@pytest.mark.long
async def test_cancelled_while_sessions_are_held(stage: Stage) -> None:
    """Everybody goes on, and nothing is left of it."""

    class Waiting(EmbeddedSteward):
        async def wait_replayed(self, node: str, lsn: int) -> None:
            await super().wait_replayed(node, lsn)
            if stage.cluster.node("node1").read_only:
                scope.cancel()

    await stage.some_writes()
    with trio.CancelScope() as scope:
        await stage.switch(stage.switchover(Waiting(stage.cluster.connect, stage.cluster)))
    assert scope.cancelled_caught
    await stage.some_writes()
    assert not stage.cluster.node("node1").read_only
    assert stage.cluster.primary.name == "node1"
    await stage.assert_nothing_lost()
