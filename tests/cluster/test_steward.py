"""What is done to servers, done to real ones, with no more rights than `helios setup` gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
import trio

from helios_trio.cluster.steward import NoLongerStandby, StewardError, StewardUnsure
from helios_trio.cluster.steward_embedded import EmbeddedSteward
from helios_trio.cluster.steward_postgres import PostgresSteward
from helios_trio.control import ControlConnection
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import EmbeddedCluster, open_cluster

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
SETTING = "SELECT setting, source FROM pg_settings WHERE name = 'default_transaction_read_only'"


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    """A primary, node1, and a standby, node2."""
    async with open_cluster(standbys=1) as found:
        async with await found.connect() as connection:
            await apply(connection, SetupSettings())
        await found.execute("CREATE TABLE t (id int)")
        await found.execute("CREATE ROLE nobody_special LOGIN")
        await found.wait_for_replay()
        with trio.fail_after(DEADLINE):
            yield found


def connector(cluster: EmbeddedCluster, user: str) -> Callable[[str], Awaitable[ControlConnection]]:
    async def connect(name: str) -> ControlConnection:
        node = cluster.node(name)
        return await ControlConnection.connect(
            host=node.host, port=node.port, user=user, dbname="postgres", autocommit=True
        )

    return connect


@pytest.fixture
async def steward(cluster: EmbeddedCluster) -> AsyncIterator[PostgresSteward]:
    """As the control user."""
    found = PostgresSteward(connector(cluster, "helios_control"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
async def embedded(cluster: EmbeddedCluster) -> AsyncIterator[EmbeddedSteward]:
    """As the cluster's superuser."""
    found = EmbeddedSteward(cluster.connect, cluster)
    try:
        yield found
    finally:
        found.close()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """The servers tell nobody."""
    while not await condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


async def one(connection: ControlConnection, query: str) -> object:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


# -- what servers say ------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_facts_of_a_primary_and_its_standby(steward: PostgresSteward, cluster: EmbeddedCluster) -> None:
    """Enough to know that one can succeed the other; the control user lacks no right."""
    primary, standby = await steward.facts("node1"), await steward.facts("node2")
    assert (primary.observation.in_recovery, standby.observation.in_recovery) == (False, True)
    assert (primary.streaming, standby.streaming) == (False, True)
    assert (primary.standbys, standby.standbys) == (1, 0)
    assert primary.observation.system_identifier == standby.observation.system_identifier
    assert (primary.version, primary.major) == (standby.version, int(cluster.version.partition(".")[0]))
    assert primary.missing_rights == standby.missing_rights == ()
    assert (primary.read_only, standby.read_only) == (False, False)
    assert (primary.synchronous_standby_names, standby.synchronous_standby_names) == ("ANY 1 (*)", "")


@pytest.mark.long
async def test_facts_that_speak_against_it(steward: PostgresSteward, cluster: EmbeddedCluster) -> None:
    """A paused replay, a delay, a standby without its primary."""
    await cluster.execute("SELECT pg_wal_replay_pause()", "node2")
    await cluster.execute("ALTER SYSTEM SET recovery_min_apply_delay = '2s'", "node2")
    await cluster.execute("SELECT pg_reload_conf()", "node2")

    async def delayed() -> bool:
        return (await steward.facts("node2")).apply_delay > 0

    await until(delayed)
    facts = await steward.facts("node2")
    assert (facts.replay_paused, facts.apply_delay) == (True, 2.0)
    await cluster.kill_node("node1")

    async def alone() -> bool:
        return not (await steward.facts("node2")).streaming

    await until(alone)
    with pytest.raises(StewardError, match=r"^node1: "):
        await steward.facts("node1")


@pytest.mark.long
async def test_missing_rights_are_named(cluster: EmbeddedCluster) -> None:
    """Before anything is begun, not in the middle of it."""
    steward = PostgresSteward(connector(cluster, "nobody_special"))
    missing = (await steward.facts("node1")).missing_rights
    assert len(missing) == 4
    assert "ALTER SYSTEM SET default_transaction_read_only" in missing
    with pytest.raises(StewardError, match="permission denied"):
        await steward.read_only("node1")
    await steward.prepare("node1", "node2")  # a checkpoint that is refused is no failure
    steward.close()


@pytest.mark.long
async def test_alter_system_switched_off(cluster: EmbeddedCluster, steward: PostgresSteward) -> None:
    """Where an operator forbids it (release 17 and later), that is a missing right, too."""
    if cluster.version < "17":
        pytest.skip("allow_alter_system came with release 17")
    (cluster.node("node1").data_dir / "local.conf").write_text("allow_alter_system = off\n")
    await cluster.execute("SELECT pg_reload_conf()")

    async def refused() -> bool:
        return bool((await steward.facts("node1")).missing_rights)

    await until(refused)
    assert (await steward.facts("node1")).missing_rights == (
        "ALTER SYSTEM SET default_transaction_read_only",
    )


# -- read-only -------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("kind", [PostgresSteward, EmbeddedSteward])
async def test_read_only_and_back(
    kind: type, steward: PostgresSteward, embedded: EmbeddedSteward, cluster: EmbeddedCluster
) -> None:
    """At once for sessions there are and those to come; undone, nothing of it is left."""
    any_steward = embedded if kind is EmbeddedSteward else steward
    async with await cluster.connect() as before:
        await before.execute("INSERT INTO t VALUES (1)")
        await any_steward.read_only("node1")
        async with await cluster.connect() as after:
            for connection in (before, after):
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    await connection.execute("INSERT INTO t VALUES (2)")
        await any_steward.writable_again("node1")
        await before.execute("INSERT INTO t VALUES (3)")
    async with await cluster.connect() as later:
        await later.execute("INSERT INTO t VALUES (4)")
    assert (await cluster.execute(SETTING))[0] == ("off", "default")
    await any_steward.writable_again("node1")  # asked twice


@pytest.mark.long
async def test_embedded_read_only_ends_with_the_server(
    embedded: EmbeddedSteward, cluster: EmbeddedCluster
) -> None:
    """A switchover that dies with the proxy leaves nothing behind."""
    await embedded.read_only("node1")
    assert cluster.node("node1").read_only
    await cluster.kill_node("node1")
    await cluster.start_node("node1")
    assert (await cluster.execute(SETTING))[0] == ("off", "default")
    assert not cluster.node("node1").read_only


@pytest.mark.long
async def test_embedded_read_only_is_for_primaries_that_run(
    embedded: EmbeddedSteward, cluster: EmbeddedCluster
) -> None:
    """A standby keeps the configuration with which it follows."""
    with pytest.raises(StewardError, match="node2 is a standby"):
        await embedded.read_only("node2")
    await cluster.kill_node("node1")
    with pytest.raises(StewardError, match="node1 does not run"):
        await embedded.read_only("node1")


@pytest.mark.long
async def test_open_transactions(steward: PostgresSteward, cluster: EmbeddedCluster) -> None:
    """Writers of any time, and readers begun before: not idle sessions, and not those that begin read-only."""
    async with (
        await cluster.connect() as idle,
        await cluster.connect() as writer,
        await cluster.connect() as reader,
        await cluster.connect() as late,
        await cluster.connect() as stubborn,
    ):
        await idle.execute("SELECT 1")
        await writer.execute("BEGIN")
        await writer.execute("INSERT INTO t VALUES (1)")
        await reader.execute("BEGIN")
        await reader.execute("SELECT 1")
        since = await steward.read_only("node1")
        await late.execute("BEGIN")
        await late.execute("SELECT 1")
        await stubborn.execute("BEGIN READ WRITE")
        await stubborn.execute("INSERT INTO t VALUES (2)")
        found = {each.pid: each.wrote for each in await steward.open_transactions("node1", since)}
        assert found == {
            writer.info.backend_pid: True,
            reader.info.backend_pid: False,
            stubborn.info.backend_pid: True,
        }
        for connection in (writer, reader, late, stubborn):
            await connection.execute("ROLLBACK")
        assert await steward.open_transactions("node1", since) == []
    await steward.writable_again("node1")


# -- positions -------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_last_lsn_covers_commits_that_did_not_wait(
    steward: PostgresSteward, cluster: EmbeddedCluster
) -> None:
    """Acknowledged with synchronous_commit off, on no disk yet: the position is behind them, and on the standby."""
    async with await cluster.connect() as connection:
        await connection.execute("SET synchronous_commit = off")
        for number in range(50):
            await connection.execute("INSERT INTO t VALUES (%s)", (number,))
            inserted = await one(connection, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
            await steward.read_only("node1")
            lsn = await steward.last_lsn("node1")
            assert isinstance(inserted, int)
            assert lsn >= inserted - 40  # that may be behind the header of a page that has not been begun
            await steward.wait_replayed("node2", lsn)
            assert await cluster.execute("SELECT count(*) FROM t", "node2") == [(number + 1,)]
            await steward.writable_again("node1")


@pytest.mark.long
async def test_next_xid_tells_whether_somebody_wrote(
    steward: PostgresSteward, cluster: EmbeddedCluster
) -> None:
    """Reading leaves it as it is."""
    await cluster.execute("ALTER SYSTEM SET autovacuum = off")
    await cluster.execute("SELECT pg_reload_conf()")
    await steward.last_lsn("node1")
    before = await steward.next_xid("node1")
    await cluster.execute("SELECT count(*) FROM t")
    await steward.read_only("node1")
    assert await steward.next_xid("node1") == before
    await steward.writable_again("node1")
    await cluster.execute("INSERT INTO t VALUES (1)")
    assert await steward.next_xid("node1") == before + 1


@pytest.mark.long
async def test_next_xid_counts_writers_under_way(steward: PostgresSteward, cluster: EmbeddedCluster) -> None:
    """One that has written and not ended is beyond every snapshot, and could still commit."""
    before = await steward.next_xid("node1")
    async with await cluster.connect() as connection:
        await connection.execute("BEGIN; INSERT INTO t VALUES (1)")
        begun = await steward.next_xid("node1")
        await connection.execute("SAVEPOINT s; INSERT INTO t VALUES (2)")
        assert before < begun < await steward.next_xid("node1")
        await connection.execute("ROLLBACK")


@pytest.mark.long
async def test_a_standby_that_lags_is_waited_for(
    steward: PostgresSteward, cluster: EmbeddedCluster, nursery: trio.Nursery
) -> None:
    """Received is not enough: what was replayed is what clients would see."""
    await cluster.execute("SELECT pg_wal_replay_pause()", "node2")
    await cluster.execute("INSERT INTO t VALUES (1)")
    lsn = await steward.last_lsn("node1")
    with trio.move_on_after(0.1) as scope:
        await steward.wait_replayed("node2", lsn)
    assert scope.cancelled_caught
    await cluster.execute("SELECT pg_wal_replay_resume()", "node2")
    await steward.wait_replayed("node2", lsn)
    assert await cluster.execute("SELECT count(*) FROM t", "node2") == [(1,)]


# -- roles -----------------------------------------------------------------------------------------------------


async def test_promotion(steward: PostgresSteward, cluster: EmbeddedCluster) -> None:
    """A standby connection survives it and becomes writable; asking again does no harm."""
    async with await cluster.connect("node2") as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("INSERT INTO t VALUES (1)")
        await steward.promote("node2")
        seen = await steward.wait_writable("node2", newer_than=1)
        assert (seen.in_recovery, seen.timeline) == (False, 2)
        await connection.execute("INSERT INTO t VALUES (1)")
    await steward.promote("node2")
    with pytest.raises(NoLongerStandby):
        await steward.wait_replayed("node2", 0)
    demotion = await steward.demote("node1", "node2")
    assert not demotion.rejoined
    assert "node1" in demotion.note


@pytest.mark.long
async def test_wait_writable_wants_a_new_timeline(steward: PostgresSteward) -> None:
    """A primary of the timeline that is to be left behind is not what was waited for."""
    with trio.move_on_after(0.1) as scope:
        await steward.wait_writable("node1", newer_than=1)
    assert scope.cancelled_caught
    assert (await steward.wait_writable("node1", newer_than=0)).timeline == 1


async def test_embedded_demotion(embedded: EmbeddedSteward, cluster: EmbeddedCluster) -> None:
    """The old primary comes back as a standby that can be promoted, and commits are synchronous again."""
    await embedded.read_only("node1")
    await embedded.promote("node2")
    await embedded.wait_writable("node2", newer_than=1)
    demotion = await embedded.demote("node1", "node2")
    assert demotion.rejoined
    assert cluster.primary.name == "node2"
    assert cluster.node("node1").role == "standby"
    assert await cluster.execute("SHOW synchronous_standby_names") == [("ANY 1 (*)",)]
    await cluster.execute("INSERT INTO t VALUES (1)")
    await cluster.wait_for_replay()
    assert await cluster.execute("SELECT count(*) FROM t", "node1") == [(1,)]
    assert not (await embedded.facts("node1")).read_only


@pytest.mark.long
async def test_embedded_demotion_that_fails(embedded: EmbeddedSteward, cluster: EmbeddedCluster) -> None:
    """With no primary to follow."""
    await cluster.kill_node("node1")
    with pytest.raises(StewardError, match="node2 could not be made a standby of node1"):
        await embedded.demote("node2", "node1")


@pytest.mark.long
async def test_embedded_fence(embedded: EmbeddedSteward, cluster: EmbeddedCluster) -> None:
    """Nothing of the server is left, also when it hangs; it can become a standby again."""
    await cluster.pause("node2")
    assert await embedded.fence("node2")
    assert cluster.node("node2").role == "stopped"
    assert (await embedded.demote("node2", "node1")).rejoined
    assert cluster.node("node2").role == "standby"


@pytest.mark.long
@pytest.mark.parametrize("astray", [False, True])
async def test_a_third_server_follows_the_new_primary(astray: bool) -> None:
    """It streamed from the old one, and nobody else tells it; if it has got too much from there, it begins anew."""
    async with open_cluster(standbys=2) as cluster:
        steward = EmbeddedSteward(cluster.connect, cluster)
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.wait_for_replay()
        await steward.wait_replayed("node2", await steward.last_lsn("node1"))
        await steward.promote("node2")
        await steward.wait_writable("node2", newer_than=1)
        if astray:
            await cluster.execute("INSERT INTO t VALUES (1)", "node1")
            await steward.wait_replayed("node3", await steward.last_lsn("node1"))
        assert (await steward.demote("node1", "node2")).rejoined
        await cluster.execute("INSERT INTO t VALUES (2)", "node2")
        await cluster.wait_for_replay("node1", "node3")
        for node in ("node1", "node3"):
            assert await cluster.execute("SELECT id FROM t", node) == [(2,)]
        steward.close()


# -- connections -----------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_lost_connections_are_replaced(steward: PostgresSteward, cluster: EmbeddedCluster) -> None:
    """One that was closed while nobody used it does not make a question fail."""
    await steward.next_xid("node1")
    assert await end_connections(cluster) == 1
    assert await steward.next_xid("node1") > 0
    await steward.promote("node1")  # it is primary already


@pytest.mark.long
async def test_an_order_to_promote_that_may_have_been_heard(
    steward: PostgresSteward, cluster: EmbeddedCluster
) -> None:
    """With a kept connection that breaks nobody knows; one that cannot even be opened leaves no doubt."""
    await steward.facts("node2")
    assert await end_connections(cluster, "node2") == 1
    with pytest.raises(StewardUnsure, match=r"^node2: "):
        await steward.promote("node2")
    await cluster.stop_node("node2")
    with pytest.raises(StewardError, match=r"^node2: ") as caught:
        await steward.promote("node2")
    assert not isinstance(caught.value, StewardUnsure)


async def end_connections(cluster: EmbeddedCluster, node: str | None = None) -> int:
    """Those of the control user; returns how many, and when they are gone."""
    mine = "FROM pg_stat_activity WHERE usename = 'helios_control'"
    [(ended,)] = await cluster.execute(f"SELECT count(pg_terminate_backend(pid)) {mine}", node)

    async def gone() -> bool:
        return not await cluster.execute(f"SELECT {mine}", node)

    await until(gone)
    return int(ended)
