"""Where COMMITs can be noted, the deleting of notes, and the moving of sequences: with the control user's rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing
from outcome_rig import Connector, begin_writing, prepare

from helios_trio.control import ControlConnection
from helios_trio.control.setup_commits import FORGET_BATCH
from helios_trio.embedded import BlockingCluster, EmbeddedCluster, open_cluster, start_blocking
from helios_trio.failover.commit_notes import CommitCleaner, TokenDatabases
from helios_trio.failover.sequence_catalog import SequenceFacts
from helios_trio.failover.sequence_moves import SequenceMover

pytestmark = pytest.mark.cluster

DEADLINE = 60.0


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


async def refusing(backend: str, database: str) -> ControlConnection:
    raise OSError("connection refused")


# -- which databases -------------------------------------------------------------------------------------------


async def test_only_databases_that_are_set_up_have_tokens(connector: Connector) -> None:
    """Each is asked once, by however many, and remembered."""
    tokens = TokenDatabases(connector)
    assert tokens.known("node1", "postgres") is None
    async with trio.open_nursery() as nursery:
        for database in ("postgres", "without") * 5:
            nursery.start_soon(tokens.has_tokens, "node1", database)
    assert await tokens.has_tokens("node1", "postgres")
    assert not await tokens.has_tokens("node1", "without")
    assert len(connector.opened) == 2
    assert all(connection.closed for connection in connector.opened)
    assert (tokens.known("node1", "postgres"), tokens.known("node1", "without")) == (True, False)
    assert tokens.databases("node1") == ["postgres"]
    assert tokens.without() == [("node1", "without")]


async def test_what_is_not_allowed_is_not_there(cluster: EmbeddedCluster) -> None:
    """A user who could not look up must not have transactions noted; nor may clients be unable to note."""
    assert not await TokenDatabases(Connector(cluster, "plain")).has_tokens("node1", "postgres")
    await cluster.execute("REVOKE USAGE ON SCHEMA helios FROM PUBLIC")
    try:
        assert not await TokenDatabases(Connector(cluster, "postgres")).has_tokens("node1", "postgres")
    finally:
        await cluster.execute("GRANT USAGE ON SCHEMA helios TO PUBLIC")


async def test_answers_are_believed_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    """A failure to ask for less long than an answer."""
    asked = []

    async def connect(backend: str, database: str) -> ControlConnection:
        asked.append(trio.current_time())
        raise OSError("connection refused")

    tokens = TokenDatabases(connect, believed=60)
    for _ in range(2):
        assert not await tokens.has_tokens("node1", "postgres")
    assert len(asked) == 1
    await trio.sleep(6)
    assert tokens.known("node1", "postgres") is None
    assert not await tokens.has_tokens("node1", "postgres")
    assert len(asked) == 2


# -- deleting --------------------------------------------------------------------------------------------------


async def test_old_notes_are_deleted_everywhere(cluster: EmbeddedCluster, connector: Connector) -> None:
    """All of them, however many batches that takes; new ones stay, and a database without notes is no failure."""
    async with await Connector(cluster, "plain")("node1", "postgres") as client:
        await begin_writing(client)
        await client.execute("COMMIT")
    await cluster.execute(
        "INSERT INTO helios.commits SELECT gen_random_uuid(), false, now() - interval '2 hours'"
        f" FROM generate_series(1, {2 * FORGET_BATCH + 1})"
    )
    cleaner = CommitCleaner(connect=connector, databases=tuple)
    assert await cleaner.clean("node1", "without") == 0
    assert await cleaner.clean("node1", "postgres") == 2 * FORGET_BATCH + 1
    [(left,)] = await cluster.execute("SELECT count(*) FROM helios.commits")
    assert left == 1
    assert all(connection.closed for connection in connector.opened)


async def test_cleaner_goes_on_after_failures(autojump_clock: trio.testing.MockClock) -> None:
    """It asks for the databases anew each time."""
    tried = []

    async def connect(backend: str, database: str) -> ControlConnection:
        tried.append(database)
        raise OSError("connection refused")

    rounds = iter([[("node1", "a"), ("node1", "b")], [], [("node1", "c")]])
    cleaner = CommitCleaner(connect=connect, databases=lambda: next(rounds, []), interval=60)
    with trio.move_on_after(5 * 60):
        await cleaner.run()
    assert tried == ["a", "b", "c"]


# -- sequences -------------------------------------------------------------------------------------------------


async def last_value(cluster: EmbeddedCluster, name: str, database: str = "postgres") -> int | None:
    [(last,)] = await cluster.execute(f"SELECT pg_sequence_last_value('{name}')", dbname=database)
    found: int | None = last
    return found


def facts(name: str, increment: int = 1) -> SequenceFacts:
    return SequenceFacts(0, f"public.{name}", increment, False)


async def test_sequences_are_moved_by_all_who_replay(cluster: EmbeddedCluster, connector: Connector) -> None:
    """Many at the same time share a connection; no more is drawn than the furthest of them needs."""
    await cluster.execute("CREATE SEQUENCE shared")
    await cluster.execute("CREATE SEQUENCE falling INCREMENT -1")
    mover = SequenceMover(connector)
    moved = []

    async def move(value: int) -> None:
        must_pass = {facts("shared"): value, facts("falling", -1): -value}
        moved.append(await mover.move("node1", "postgres", must_pass))

    async with trio.open_nursery() as nursery:
        for value in range(1, 101):
            nursery.start_soon(move, value)
    assert moved == [True] * 100
    assert [await last_value(cluster, name) for name in ("shared", "falling")] == [100, -100]
    assert len(connector.opened) == 1
    assert connector.opened[0].closed


async def test_sequences_of_a_database_that_is_not_set_up(cluster: EmbeddedCluster) -> None:
    """With rights of one's own only."""
    await cluster.execute("CREATE SEQUENCE unaided", dbname="without")
    assert not await SequenceMover(Connector(cluster)).move("node1", "without", {facts("unaided"): 7})
    superuser = SequenceMover(Connector(cluster, "postgres"))
    assert await superuser.move("node1", "without", {facts("unaided"): 7})
    assert await last_value(cluster, "unaided", "without") == 7


async def test_what_cannot_be_moved_is_said(cluster: EmbeddedCluster, connector: Connector) -> None:
    """No such sequence, too far away, no server."""
    await cluster.execute("CREATE SEQUENCE near_one")
    mover = SequenceMover(connector)
    assert not await mover.move("node1", "postgres", {facts("gone"): 7})
    assert not await mover.move("node1", "postgres", {facts("near_one"): 10**9})
    assert not await SequenceMover(refusing).move("node1", "postgres", {facts("near_one"): 7})
    assert await mover.move("node1", "postgres", {})


async def test_numbers_that_died_with_their_server() -> None:
    """A client was shown one by a transaction of which the standby knows nothing: nobody else gets it."""
    with trio.fail_after(DEADLINE):
        async with open_cluster(standbys=1) as cluster:
            await prepare(cluster)
            await cluster.execute("CREATE TABLE ids (id serial)")
            await cluster.execute("GRANT ALL ON ids, ids_id_seq TO plain")
            await cluster.wait_for_replay()
            client = await Connector(cluster, "plain")("node1", "postgres")
            await client.execute("BEGIN")
            cursor = await client.execute("INSERT INTO ids SELECT FROM generate_series(1, 40) RETURNING id")
            furthest = max(number for (number,) in await cursor.fetchall())
            await cluster.kill_node("node1")
            client.abort()
            await cluster.promote("node2")
            mover = SequenceMover(Connector(cluster))
            assert await mover.move("node2", "postgres", {facts("ids_id_seq"): furthest})
            [(following,)] = await cluster.execute("SELECT nextval('ids_id_seq')")
            assert following > furthest
