"""The notes of COMMITs that `helios setup` makes possible: who may do what, what is noted, and what is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
import trio

from helios_trio.control import ControlConnection
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.control.setup_commits import FORGET_BATCH
from helios_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
CONTROL = "helios_control"
PASSWORDS = {CONTROL: "c", "noting": "n"}


@pytest.fixture
async def database(cluster: EmbeddedCluster) -> AsyncIterator[str]:
    """A database that is set up, in which new tables are for everybody by default."""
    name = "commits_test"
    await cluster.execute(f"CREATE DATABASE {name}")
    await cluster.execute("CREATE ROLE noting LOGIN PASSWORD 'n'")
    try:
        async with await cluster.connect(dbname=name) as connection:
            await connection.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, noting")
            await connection.execute("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO noting")
            for _ in range(2):
                await apply(connection, SetupSettings(), {CONTROL: PASSWORDS[CONTROL]})
            await connection.execute("CREATE TABLE t (id int); GRANT ALL ON t TO noting")
        with trio.fail_after(DEADLINE):
            yield name
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + DEADLINE):
            await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
            for role in ("noting", CONTROL, "helios_auth"):
                await cluster.execute(f"DROP OWNED BY {role}")
                await cluster.execute(f"DROP ROLE {role}")


async def as_user(cluster: EmbeddedCluster, user: str, database: str) -> ControlConnection:
    return await ControlConnection.connect(
        cluster.dsn(dbname=database), user=user, password=PASSWORDS[user], autocommit=True
    )


@pytest.fixture
async def client(cluster: EmbeddedCluster, database: str) -> AsyncIterator[ControlConnection]:
    """Somebody with no rights on anything of ours."""
    async with await as_user(cluster, "noting", database) as connection:
        yield connection


@pytest.fixture
async def control(cluster: EmbeddedCluster, database: str) -> AsyncIterator[ControlConnection]:
    """The proxy's own user."""
    async with await as_user(cluster, CONTROL, database) as connection:
        yield connection


async def noted(cluster: EmbeddedCluster, database: str) -> set[tuple[str, bool]]:
    rows = await cluster.execute("SELECT id::text, settled FROM helios.commits", dbname=database)
    return {(token, settled) for token, settled in rows}


async def note(connection: ControlConnection, *statements: str, always: bool = False) -> str:
    """A transaction of these statements that notes itself before it commits."""
    token = str(uuid4())
    async with connection.transaction():
        for statement in statements:
            await connection.execute(statement.encode())
        rest = ", true" if always else ""
        cursor = await connection.execute(f"SELECT FROM helios.note_commit('{token}'{rest})".encode())
        assert (cursor.rowcount, cursor.statusmessage) == (0, "SELECT 0")
    return token


async def settle(connection: ControlConnection, token: str) -> bool | None:
    row = await (await connection.execute("SELECT helios.settle_commit(%s)", (token,))).fetchone()
    assert row is not None
    found: bool | None = row[0]
    return found


async def test_only_what_has_written_is_noted(
    cluster: EmbeddedCluster, database: str, client: ControlConnection
) -> None:
    """Not what only reads, unless that is asked for; nothing where writing is forbidden."""
    write = "INSERT INTO t VALUES (1)"
    written = await note(client, write)
    in_savepoint = await note(client, "SAVEPOINT s", write)
    asked_for = await note(client, "NOTIFY x", always=True)
    await note(client, "SELECT 1")
    await note(client, "SET TRANSACTION READ ONLY", always=True)
    await client.execute("CREATE TEMP TABLE own (id int)")
    await note(client, "SET TRANSACTION READ ONLY", "INSERT INTO own VALUES (1)")
    assert await noted(cluster, database) == {(each, False) for each in (written, in_savepoint, asked_for)}


async def test_search_path_and_settings_of_the_client_do_not_matter(
    cluster: EmbeddedCluster, database: str, client: ControlConnection
) -> None:
    """Functions of the same names that come first in the client's search path are not called."""
    await client.execute("CREATE FUNCTION pg_temp.txid_current_if_assigned() RETURNS bigint RETURN 0::bigint")
    await client.execute("CREATE TEMP TABLE commits (id uuid)")
    await client.execute("SET search_path = pg_temp, pg_catalog")
    await client.execute("SET default_transaction_isolation = serializable")
    token = await note(client, "INSERT INTO public.t VALUES (1)")
    assert await noted(cluster, database) == {(token, False)}


@pytest.mark.parametrize(
    "forbidden",
    [
        "SELECT FROM helios.commits",
        "INSERT INTO helios.commits (id) VALUES ('00000000-0000-0000-0000-000000000000')",
        "DELETE FROM helios.commits",
        "TRUNCATE helios.commits",
        "SELECT helios.settle_commit('00000000-0000-0000-0000-000000000000')",
        "SELECT helios.forget_commits('1 hour')",
        "SELECT helios.missing_commits('{}')",
        "SELECT helios.pass_sequence('s', 1)",
        "CREATE TABLE helios.own ()",
        "SELECT helios.user_lookup('postgres')",
    ],
)
async def test_clients_may_do_nothing_else(
    cluster: EmbeddedCluster, database: str, client: ControlConnection, forbidden: str
) -> None:
    """Whatever default privileges gave; to the names in the schema there are no rights."""
    await cluster.execute("CREATE SEQUENCE s", dbname=database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await client.execute(forbidden.encode())


async def test_control_user_has_no_rights_on_the_table(control: ControlConnection) -> None:
    """Its functions are enough."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await control.execute("SELECT FROM helios.commits")


async def test_settled_says_the_same_for_ever(
    cluster: EmbeddedCluster, database: str, client: ControlConnection, control: ControlConnection
) -> None:
    """Committed stays committed; what was not there never will be."""
    there, absent = await note(client, "INSERT INTO t VALUES (1)"), str(uuid4())
    assert [await settle(control, token) for token in (there, absent)] == [True, False]
    assert [await settle(control, token) for token in (there, absent)] == [True, False]
    with pytest.raises(psycopg.errors.UniqueViolation):
        await client.execute("SELECT FROM helios.note_commit(%s, true)", (absent,))


async def test_missing_are_those_that_have_not_committed(
    client: ControlConnection, control: ControlConnection
) -> None:
    """A tombstone is no transaction."""
    there, absent, settled = await note(client, "INSERT INTO t VALUES (1)"), str(uuid4()), str(uuid4())
    await settle(control, settled)
    query = "SELECT missing::text FROM helios.missing_commits(%s::uuid[]) AS missing"
    cursor = await control.execute(query, ([there, absent, settled],))
    assert {row[0] for row in await cursor.fetchall()} == {absent, settled}


@pytest.mark.parametrize(("end", "expected"), [("COMMIT", True), ("ROLLBACK", False)])
async def test_settling_waits_for_an_owner_in_progress(
    cluster: EmbeddedCluster,
    client: ControlConnection,
    control: ControlConnection,
    end: str,
    expected: bool,
) -> None:
    """With lock_timeout it says that it cannot tell yet; without, it waits for the end."""
    token = str(uuid4())
    await client.execute("BEGIN")
    await client.execute("SELECT FROM helios.note_commit(%s, true)", (token,))
    await control.execute("SET lock_timeout = '10ms'")
    assert await settle(control, token) is None
    await control.execute("SET lock_timeout = 0")
    answers = []

    async def ask() -> None:
        answers.append(await settle(control, token))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        query = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        while not await cluster.execute(query, arguments=(control.info.backend_pid,)):  # noqa: ASYNC110
            await trio.sleep(0.01)
        await client.execute(end.encode())
    assert answers == [expected]


async def test_old_notes_are_deleted_in_batches(
    cluster: EmbeddedCluster, database: str, control: ControlConnection
) -> None:
    """New ones stay, and tombstones stay for a week."""
    await cluster.execute(
        "INSERT INTO helios.commits SELECT gen_random_uuid(), false, now() - interval '2 hours'"
        f" FROM generate_series(1, {FORGET_BATCH + 5})",
        dbname=database,
    )
    await cluster.execute(
        "INSERT INTO helios.commits SELECT gen_random_uuid(), age > interval '3 hours', now() - age"
        " FROM unnest(ARRAY[interval '1 minute', '1 day', '8 days']) AS age",
        dbname=database,
    )
    deleted = []
    for _ in range(3):
        row = await (await control.execute("SELECT helios.forget_commits('1 hour')")).fetchone()
        assert row is not None
        deleted.append(row[0])
    assert sorted(deleted) == [0, 6, FORGET_BATCH]
    assert sorted(settled for _, settled in await noted(cluster, database)) == [False, True]


async def test_sequences_are_passed_without_rights_on_them(
    cluster: EmbeddedCluster, database: str, control: ControlConnection
) -> None:
    """Up and down, not further than needed, and not where they cycle or it is too far."""
    for kind in ("up", "down INCREMENT -3", "round CYCLE"):
        await cluster.execute(f"CREATE SEQUENCE {kind}", dbname=database)
    found = []
    for name, value in (("up", 50), ("up", 40), ("down", -50), ("round", 2), ("up", 1_000_000)):
        cursor = await control.execute("SELECT helios.pass_sequence(%s::regclass, %s)", (name, value))
        [(passed,)] = await cursor.fetchall()
        [(last,)] = await cluster.execute(f"SELECT pg_sequence_last_value('{name}')", dbname=database)
        found.append((passed, last))
    assert found == [(True, 50), (True, 50), (True, -52), (False, None), (False, 10_050)]
