"""Real servers that die, stop, restart and come back: who is the primary then, and how soon that is known."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import psycopg
import pytest
import trio
from failover_rig import RealRig, failing_over

from helios_trio.config.failover import FailoverActions, FailoverSettings
from helios_trio.config.words import FailoverMode
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import open_cluster
from helios_trio.failover.steps import FailoverOutcome
from helios_trio.migration.errors import Conflict, NotFound

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
KEPT, LOST = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
async def rig() -> AsyncIterator[RealRig]:
    """node1 is the primary, node2 its standby; sessions have node1."""
    async with open_cluster(standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        async with failing_over(cluster, FailoverSettings()) as made:
            with trio.fail_after(DEADLINE):
                yield made


def kill_postmaster(rig: RealRig, name: str) -> None:
    """Its children are left to find out."""
    pid = rig.cluster.node(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_a_killed_primary_is_succeeded(rig: RealRig) -> None:
    """By its standby, which takes writes; the old one is made a standby of it afterwards."""
    kill_postmaster(rig, "node1")
    rig.controller.suspect("node1", "a connection was lost")
    assert await rig.controller.settled("node1") == "node2"
    await rig.cluster.execute("INSERT INTO t VALUES (1)", "node2")
    assert rig.topology.writer is not None
    assert rig.topology.writer.backend.name == "node2"
    await rig.until_event("former primary is a standby")
    assert rig.cluster.node("node1").role == "standby"
    report = rig.controller.report()
    assert report is not None
    assert (report.source, report.target, report.outcome) == ("node1", "node2", FailoverOutcome.COMPLETED)
    assert not rig.topology.nodes["node1"].deposed
    order = [call for call in rig.sessions.calls if call[0] != "reopen"]
    assert order == [
        ("hold", "node1"),
        ("cut off", "node1"),
        ("hold", "node2"),
        ("cut off", "node1"),
        ("release", "node1"),
        ("release", "node2"),
        ("move idle", "node2"),
    ]
    assert rig.sessions.calls[-1] == ("reopen", "node1")


@pytest.mark.long
async def test_back_and_forth(rig: RealRig) -> None:
    """One after the other: whoever asks for a server of long ago is told who is the primary now."""
    for source, target in (("node1", "node2"), ("node2", "node1"), ("node1", "node2")):
        await rig.cluster.kill_node(source)
        rig.controller.suspect(source, "a connection was lost")
        assert await rig.controller.settled(source) == target
        await rig.cluster.execute("INSERT INTO t VALUES (1)", target)
        while not rig.topology.nodes[source].healthy or rig.topology.nodes[source].deposed:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert await rig.controller.settled(source) == target
    assert await rig.cluster.execute("SELECT count(*) FROM t") == [(3,)]


@pytest.mark.long
async def test_a_stopped_primary_is_succeeded(rig: RealRig) -> None:
    """Nobody has lost a connection: the probes find out. Woken up, it does nothing any more."""
    await rig.cluster.pause("node1")
    await rig.until_event("failover completed")
    assert await rig.controller.settled("node1") == "node2"
    await rig.cluster.execute("INSERT INTO t VALUES (1)", "node2")
    await rig.until_event("former primary is a standby")
    assert await rig.cluster.execute("SELECT pg_is_in_recovery()", "node1") == [(True,)]


async def test_a_lost_connection_is_no_failover(rig: RealRig) -> None:
    """pg_terminate_backend: the server lives, and whoever waits is told so at once."""
    async with await rig.cluster.connect("node1") as victim:
        await rig.cluster.execute(f"SELECT pg_terminate_backend({victim.info.backend_pid}, 5000)", "node1")
    rig.controller.suspect("node1", "a connection was lost")
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(rig.controller.settled, "node1")
    assert await rig.controller.settled("node1") == "node1"
    assert rig.events() == []
    assert rig.controller.report() is None
    assert rig.controller.means.counters.false_alarms > 0
    assert ("hold", "node1") not in rig.sessions.calls


async def test_a_restart_is_waited_for(rig: RealRig) -> None:
    """A server that says that it is shutting down is given time to come back."""
    async with trio.open_nursery() as nursery:
        async with await rig.cluster.connect("node1") as client:
            nursery.start_soon(rig.cluster.restart, "node1")
            with pytest.raises(psycopg.OperationalError):
                await client.execute("SELECT pg_sleep(600)")
        rig.controller.suspect("node1", "a connection was lost")
        assert await rig.controller.settled("node1") == "node1"
    assert rig.cluster.node("node1").role == "primary"


@pytest.mark.long
async def test_a_crashed_backend_takes_the_primary_down_for_a_moment(rig: RealRig) -> None:
    """The postmaster recovers by itself, saying so meanwhile."""
    async with await rig.cluster.connect("node1") as client:
        os.kill(client.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            await client.execute("SELECT pg_sleep(600)")
    rig.controller.suspect("node1", "a connection was lost")
    assert await rig.controller.settled("node1") == "node1"
    await rig.cluster.execute("INSERT INTO t VALUES (1)", "node1")
    assert rig.cluster.node("node2").role == "standby"


@pytest.mark.long
async def test_both_down_then_back(rig: RealRig) -> None:
    """Without a standby the old primary is waited for, whoever comes back first."""
    await rig.cluster.kill_node("node2")
    await rig.cluster.kill_node("node1")
    rig.controller.suspect("node1", "a connection was lost")
    await rig.until_event("failover in difficulties")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.cluster.start_node, "node1")
        assert await rig.controller.settled("node1") == "node1"
    await rig.until_event("failover recovered")


@pytest.mark.long
async def test_a_standby_that_lacks_what_was_acknowledged_is_refused(rig: RealRig) -> None:
    """Rule 24: an acknowledged transaction that it does not have is named; the old primary may come back."""
    connection = await rig.cluster.connect()
    try:
        await apply(connection, SetupSettings())
    finally:
        await connection.close()
    await rig.cluster.execute(f"INSERT INTO helios.commits VALUES ('{KEPT}')")
    rig.tokens.ids = {"postgres": [KEPT, LOST]}
    await rig.cluster.kill_node("node1")
    rig.controller.suspect("node1", "a connection was lost")
    await rig.until_event("failover in difficulties")
    [event] = [
        each for each in rig.controller.means.events.newest(99) if each.kind == "failover in difficulties"
    ]
    assert f"node2 lacks 1 acknowledged transactions, such as {LOST}" in event.reason
    assert await rig.cluster.execute("SELECT pg_is_in_recovery()", "node2") == [(True,)]
    rig.tokens.ids = {"postgres": [KEPT]}
    assert await rig.controller.settled("node1") == "node2"


@pytest.mark.long
async def test_an_operator_has_the_last_word(rig: RealRig) -> None:
    """Mode manual: sessions wait until somebody orders it; before that there is nothing to order."""
    rig.controller.means.settings = FailoverSettings(mode=FailoverMode.MANUAL)
    with pytest.raises(Conflict, match="no primary is being missed"):
        rig.controller.order(None, who="otto")
    await rig.cluster.kill_node("node1")
    rig.controller.suspect("node1", "a connection was lost")
    await rig.until_event("failover: waiting for an operator's order")
    with pytest.raises(NotFound):
        rig.controller.order("node9", who="otto")
    rig.controller.order("node2", who="otto", reason="it is dead")
    assert await rig.controller.settled("node1") == "node2"


@pytest.mark.long
async def test_somebody_else_promotes(rig: RealRig) -> None:
    """promote_replica = false: the new primary is found as soon as there is one."""
    rig.controller.means.settings = FailoverSettings(actions=FailoverActions(promote_replica=False))
    await rig.cluster.kill_node("node1")
    rig.controller.suspect("node1", "a connection was lost")
    await rig.until_event("failover: waiting for somebody else to promote a standby")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.cluster.promote, "node2")
        assert await rig.controller.settled("node1") == "node2"


@pytest.mark.long
async def test_a_promotion_behind_our_back_is_followed(rig: RealRig) -> None:
    """Two primaries: the older one gets no write from the moment the newer one is seen (rule 25)."""
    await rig.cluster.promote("node2", fence=False)
    await rig.until_event("failover completed")
    assert rig.topology.writer is not None
    assert rig.topology.writer.backend.name == "node2"
    assert await rig.controller.settled("node1") == "node2"
    await rig.until_event("former primary is a standby")
