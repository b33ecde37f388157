"""What became of a COMMIT without answer (rule 29): real transactions, lost at every point that matters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import trio
from attrs import evolve
from outcome_rig import Connector, begin_writing, prepare

from helios_trio.control import ControlConnection
from helios_trio.embedded import BlockingCluster, EmbeddedCluster, open_cluster, start_blocking
from helios_trio.failover.outcome import OutcomeResolver
from helios_trio.pipeline.rescue import CommitInFlight, CommitOutcome

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
COMMITTED, NOT_COMMITTED, UNKNOWN = (
    CommitOutcome.COMMITTED,
    CommitOutcome.NOT_COMMITTED,
    CommitOutcome.UNKNOWN,
)


@pytest.fixture(scope="module")
def blocking_cluster() -> Iterator[BlockingCluster]:
    found = start_blocking(standbys=0)
    try:
        trio.run(prepare, found.cluster)
        yield found
    finally:
        found.stop()


@pytest.fixture
async def cluster(blocking_cluster: BlockingCluster) -> AsyncIterator[EmbeddedCluster]:
    """A primary without standbys, node1."""
    with trio.fail_after(DEADLINE):
        yield blocking_cluster.cluster


@pytest.fixture
def connector(cluster: EmbeddedCluster) -> Connector:
    return Connector(cluster)


@pytest.fixture
async def client(cluster: EmbeddedCluster) -> AsyncIterator[ControlConnection]:
    """A user's connection, which the server may end."""
    connection = await Connector(cluster, "plain")("node1", "postgres")
    try:
        yield connection
    finally:
        connection.abort()


@pytest.fixture
async def nobody_confirms(cluster: EmbeddedCluster) -> AsyncIterator[None]:
    """Commits wait for a standby that does not exist."""
    await cluster.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await cluster.execute("SELECT pg_reload_conf()")
    while await cluster.execute("SHOW synchronous_standby_names") != [("nobody",)]:  # noqa: ASYNC110
        await trio.sleep(0.01)
    # before it writes a checkpoint, the checkpointer rereads the settings, and has commits wait
    await cluster.execute("CHECKPOINT")
    try:
        yield
    finally:
        await cluster.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await cluster.execute("SELECT pg_reload_conf()")


async def is_written(cluster: EmbeddedCluster, token: str | None, node: str | None = None) -> bool:
    rows = await cluster.execute("SELECT FROM written WHERE token = %s", node, arguments=(token,))
    return bool(rows)


async def runs(cluster: EmbeddedCluster, pid: int) -> bool:
    return bool(await cluster.execute("SELECT FROM pg_stat_activity WHERE pid = %s", arguments=(pid,)))


async def wait_for_event(cluster: EmbeddedCluster, pid: int, event: str) -> None:
    """Wait until a server process waits for this."""
    query = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = %s"
    while not await cluster.execute(query, arguments=(pid, event)):  # noqa: ASYNC110 - the server tells nobody
        await trio.sleep(0.01)


def only(commit: CommitInFlight, method: str) -> CommitInFlight:
    """The same COMMIT, of which only one thing is known."""
    return evolve(commit, xid=None) if method == "token" else evolve(commit, token=None)


# -- on the server that lives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["token", "xid"])
async def test_commit_that_waits_for_a_standby_is_committed(
    cluster: EmbeddedCluster,
    client: ControlConnection,
    connector: Connector,
    nobody_confirms: None,
    method: str,
) -> None:
    """Nobody sees it until its process is ended; then it is there, although its answer never came."""
    commit = await begin_writing(client)
    await client.execute("SET LOCAL synchronous_commit = on")
    failures = []

    async def send_commit() -> None:
        try:
            await client.execute("COMMIT")
        except psycopg.OperationalError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_commit)
        await wait_for_event(cluster, commit.pid, "SyncRep")
        assert not await is_written(cluster, commit.token)
        assert await OutcomeResolver(connect=connector).resolve(only(commit, method), "node1") is COMMITTED
    assert len(failures) == 1
    assert await is_written(cluster, commit.token)
    assert not await runs(cluster, commit.pid)


@pytest.mark.parametrize("method", ["token", "xid"])
async def test_answered_commit_whose_answer_was_lost(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector, method: str
) -> None:
    """It is committed, and its process, which does not know that its client is gone, is ended."""
    commit = await begin_writing(client)
    await client.execute("COMMIT")
    assert await OutcomeResolver(connect=connector).resolve(only(commit, method), "node1") is COMMITTED
    assert not await runs(cluster, commit.pid)


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("method", ["token", "xid"])
async def test_commit_that_did_not_arrive(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector, method: str, noted: bool
) -> None:
    """Its process is ended, and with it its transaction and the locks it held."""
    commit = await begin_writing(client, noted)
    assert await OutcomeResolver(connect=connector).resolve(only(commit, method), "node1") is NOT_COMMITTED
    assert not await is_written(cluster, commit.token)
    assert not await runs(cluster, commit.pid)


async def test_answer_stays_true(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector
) -> None:
    """A COMMIT that comes after it was said to be none fails; asking again says the same."""
    commit = await begin_writing(client, note=False)
    resolver = OutcomeResolver(connect=connector)
    elsewhere = evolve(commit, backend="former")
    assert await resolver.resolve(elsewhere, "node1") is NOT_COMMITTED
    assert await resolver.resolve(elsewhere, "node1") is NOT_COMMITTED
    with pytest.raises(psycopg.errors.UniqueViolation):
        await client.execute("SELECT FROM helios.note_commit(%s)", (commit.token,))
    await client.execute("COMMIT")
    assert not await is_written(cluster, commit.token)


async def test_process_that_came_later_is_not_ended(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector
) -> None:
    """It has the pid of one that was lost before it began."""
    commit = await begin_writing(client, note=False)
    earlier = evolve(commit, sent_at=trio.current_time() - 3600)
    assert (
        await OutcomeResolver(connect=connector, token_lifetime=9e9).resolve(earlier, "node1")
        is NOT_COMMITTED
    )
    assert await runs(cluster, commit.pid)
    await client.execute("COMMIT")


async def test_process_in_another_database_is_not_ended(
    cluster: EmbeddedCluster, connector: Connector
) -> None:
    """Nor one of the right age that does something else."""
    other = await Connector(cluster, "plain")("node1", "without")
    try:
        commit = CommitInFlight(
            backend="node1", database="postgres", pid=other.info.backend_pid, token="0" * 32
        )
        assert await OutcomeResolver(connect=connector).resolve(commit, "node1") is NOT_COMMITTED
        assert await runs(cluster, commit.pid)
    finally:
        other.abort()


async def test_transaction_that_cannot_be_ended_stays_unknown(
    cluster: EmbeddedCluster, connector: Connector, client: ControlConnection
) -> None:
    """A superuser's process, which the control user may not end; nobody who asks with it is kept waiting."""
    superuser = await cluster.connect()
    try:
        resolver = OutcomeResolver(connect=connector, time_limit=1.0)
        stuck, other = await begin_writing(superuser), await begin_writing(client)
        found = await resolve_all(resolver, [stuck, other])
        assert found == [UNKNOWN, NOT_COMMITTED]
        await superuser.execute("COMMIT")
        assert await resolver.resolve(stuck, "node1") is COMMITTED
    finally:
        superuser.abort()


async def resolve_all(resolver: OutcomeResolver, commits: list[CommitInFlight]) -> list[CommitOutcome]:
    """Ask for all at the same time."""
    found: dict[int, CommitOutcome] = {}

    async def ask(position: int, commit: CommitInFlight) -> None:
        found[position] = await resolver.resolve(commit, "node1")

    async with trio.open_nursery() as nursery:
        for position, commit in enumerate(commits):
            nursery.start_soon(ask, position, commit)
    return [found[position] for position in range(len(commits))]


async def test_many_who_ask_share_a_connection(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector
) -> None:
    """Five hundred, every other one committed: one connection, closed when the last has its answer."""
    commits = []
    for number in range(500):
        commit = await begin_writing(client)
        await client.execute("COMMIT" if number % 2 else "ROLLBACK")
        commits.append(evolve(commit, xid=None))
    found = await resolve_all(OutcomeResolver(connect=connector), commits)
    assert found == [NOT_COMMITTED, COMMITTED] * 250
    assert len(connector.opened) == 1
    assert connector.opened[0].closed


async def test_one_who_leaves_keeps_nobody_from_an_answer(
    client: ControlConnection, connector: Connector
) -> None:
    """Cancelled while it asks for others, too: they ask again."""
    commits = []
    for _ in range(20):
        commits.append(evolve(await begin_writing(client), xid=None))
        await client.execute("COMMIT")
    resolver = OutcomeResolver(connect=connector)

    class Cancelling(Connector):
        async def __call__(self, backend: str, database: str) -> ControlConnection:
            if not self.opened:
                self.opened.append(client)
                leaving.cancel()
            return await connector(backend, database)

    resolver.connect = Cancelling(connector.cluster)
    found: list[CommitOutcome] = []

    async def ask_others() -> None:
        found.extend(await resolve_all(resolver, commits[1:]))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as leaving:
            nursery.start_soon(ask_others)
            await resolver.resolve(commits[0], "node1")
    assert leaving.cancelled_caught
    assert found == [COMMITTED] * 19
    assert all(connection.closed for connection in connector.opened)


# -- what cannot be found out ----------------------------------------------------------------------------------


async def test_database_without_set_up(cluster: EmbeddedCluster, connector: Connector) -> None:
    """There are no tokens; a transaction id may still tell."""
    superuser = await cluster.connect(dbname="without")
    try:
        await superuser.execute("CREATE TABLE IF NOT EXISTS written (token uuid)")
        commit = await begin_writing(superuser, note=False)
        await superuser.execute("COMMIT")
        resolver = OutcomeResolver(connect=connector)
        assert await resolver.resolve(evolve(commit, xid=None), "node1") is UNKNOWN
        assert await resolver.resolve(commit, "node1") is COMMITTED
        assert await resolver.resolve(evolve(commit, xid=None, token=None), "node1") is UNKNOWN
    finally:
        superuser.abort()


async def test_token_that_may_have_been_deleted(client: ControlConnection, connector: Connector) -> None:
    """Its absence says nothing any more; its presence still does."""
    resolver = OutcomeResolver(connect=connector, token_lifetime=60)
    commit = evolve(await begin_writing(client), sent_at=trio.current_time() - 31, backend="former", xid=None)
    absent = evolve(commit, token="1" * 32)
    await client.execute("COMMIT")
    assert await resolver.resolve(commit, "node1") is COMMITTED
    assert await resolver.resolve(absent, "node1") is UNKNOWN


async def test_server_that_does_not_answer(autojump_clock: trio.testing.MockClock) -> None:
    """It is asked until the time is over."""
    attempts = []

    async def connect(backend: str, database: str) -> ControlConnection:
        attempts.append(trio.current_time())
        raise OSError("no route to host")

    resolver = OutcomeResolver(connect=connect, time_limit=10)
    commit = CommitInFlight(backend="node1", database="postgres", pid=1, token="2" * 32)
    begun = trio.current_time()
    assert await resolver.resolve(commit, "node1") is UNKNOWN
    assert trio.current_time() - begun == pytest.approx(10)
    assert len(attempts) > 10


async def test_server_that_answers_later(client: ControlConnection, connector: Connector) -> None:
    """Failed attempts are no answer."""
    commit = await begin_writing(client)
    await client.execute("COMMIT")
    failures = [OSError("refused"), psycopg.OperationalError("the database system is starting up")]

    async def connect(backend: str, database: str) -> ControlConnection:
        if failures:
            raise failures.pop()
        return await connector(backend, database)

    assert await OutcomeResolver(connect=connect).resolve(commit, "node1") is COMMITTED


# -- transaction ids -------------------------------------------------------------------------------------------


async def test_ids_on_a_successor(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector
) -> None:
    """`committed` may be another transaction's, unless it was given before; `aborted` and the future are certain."""
    committed = evolve(await begin_writing(client), token=None, backend="former")
    await client.execute("COMMIT")
    aborted = evolve(await begin_writing(client), token=None, backend="former")
    await client.execute("ROLLBACK")
    assert committed.xid is not None
    future = evolve(committed, xid=committed.xid + 1_000_000)
    resolver = OutcomeResolver(connect=connector)
    found = await resolve_all(resolver, [committed, aborted, future])
    assert found == [UNKNOWN, NOT_COMMITTED, NOT_COMMITTED]
    resolver.first_xid = {"node1": committed.xid + 1}.get
    assert await resolver.resolve(committed, "node1") is COMMITTED
    resolver.first_xid = {"node1": committed.xid}.get
    assert await resolver.resolve(committed, "node1") is UNKNOWN


async def test_ids_after_a_restart(
    cluster: EmbeddedCluster, client: ControlConnection, connector: Connector
) -> None:
    """A server that has lost its memory may have given the id again."""
    commit = evolve(await begin_writing(client), token=None)
    await client.execute("COMMIT")
    before = evolve(commit, sent_at=trio.current_time() - 3600)
    resolver = OutcomeResolver(connect=connector)
    assert await resolver.resolve(before, "node1") is UNKNOWN
    assert await resolver.resolve(commit, "node1") is COMMITTED


# -- across a promotion ----------------------------------------------------------------------------------------


async def test_across_a_promotion() -> None:
    """What the standby got is committed, whatever the client was told; the rest is not, and never will be."""
    with trio.fail_after(DEADLINE):
        async with open_cluster(standbys=1) as cluster:
            await prepare(cluster)
            user = Connector(cluster, "plain")
            arrived, lost = await user("node1", "postgres"), await user("node1", "postgres")
            commits = [await begin_writing(arrived), await begin_writing(lost)]
            await arrived.execute("COMMIT")
            await cluster.kill_node("node1")
            await cluster.promote("node2")
            [(first_xid,)] = await cluster.execute("SELECT txid_snapshot_xmax(txid_current_snapshot())")
            resolver = OutcomeResolver(connect=Connector(cluster), first_xid={"node2": first_xid}.get)
            for method in ("xid", "token"):
                asked = [only(commit, method) for commit in commits]
                found = [await resolver.resolve(each, "node2") for each in asked]
                assert found == [COMMITTED, NOT_COMMITTED]
            assert [await is_written(cluster, each.token) for each in commits] == [True, False]
            arrived.abort()
            lost.abort()
