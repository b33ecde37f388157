"""psycopg on Trio: what it can do, and that cancellation leaves a usable connection."""

from __future__ import annotations

import socket
import threading
from typing import Any

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from helios_trio.control import ControlConnection
from helios_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.cluster


async def connect(cluster: EmbeddedCluster, autocommit: bool = True) -> ControlConnection:
    return await ControlConnection.connect(cluster.dsn(), autocommit=autocommit)


async def test_queries_copy_and_pipeline(cluster: EmbeddedCluster) -> None:
    """The ways to talk to a server that the control plane uses all work, in one thread."""
    before = threading.active_count()
    async with await connect(cluster) as connection:
        await connection.execute("CREATE TEMP TABLE t (id int, note text)")
        async with connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(1, "a"), (2, None)])
            async with cursor.copy("COPY t FROM STDIN") as copy:
                for number in range(3, 2000):
                    await copy.write_row((number, "x" * 100))
        async with connection.pipeline():
            one = await connection.execute("SELECT count(*) FROM t")
            two = await connection.execute("SELECT max(id) FROM t")
            assert (await one.fetchone(), await two.fetchone()) == ((1999,), (1999,))
        rows = 0
        async with connection.cursor() as cursor, cursor.copy("COPY t TO STDOUT") as copy:
            async for _ in copy.rows():
                rows += 1
        assert rows == 1999
        cursor_of_dicts = connection.cursor(row_factory=dict_row)
        await cursor_of_dicts.execute("SELECT 1 AS one")
        assert await cursor_of_dicts.fetchone() == {"one": 1}
    assert connection.closed
    assert threading.active_count() == before


async def test_notifications_arrive(cluster: EmbeddedCluster) -> None:
    """LISTEN on one connection hears NOTIFY on another; the wait ends by its timeout."""
    async with await connect(cluster) as listener, await connect(cluster) as sender:
        await listener.execute("LISTEN channel")
        await sender.execute("NOTIFY channel, 'hello'")
        heard = [notify.payload async for notify in listener.notifies(timeout=30, stop_after=1)]
        assert heard == ["hello"]
        assert [notify async for notify in listener.notifies(timeout=0.05)] == []


async def test_cancelled_query_ends_in_the_server_too(cluster: EmbeddedCluster) -> None:
    """After a cancellation the query is gone, the transaction has failed, and the session goes on."""
    async with await connect(cluster) as connection, await connect(cluster) as observer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.execute, "SELECT pg_sleep(600)")
            while not await _is_active(observer, connection.info.backend_pid):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        assert not await _is_active(observer, connection.info.backend_pid)
        cursor = await connection.execute("SELECT 'alive'")
        assert await cursor.fetchone() == ("alive",)


async def test_server_that_ignores_a_cancellation_is_given_up(cluster: EmbeddedCluster) -> None:
    """When the server does not end the query within the grace, the connection is closed, not leaked."""
    connection = await connect(cluster)
    connection.cancel_grace = 0.1
    await cluster.pause("node1")
    try:
        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT 1")
        assert scope.cancelled_caught
        assert connection.closed
    finally:
        await cluster.resume("node1")


async def test_transaction_ends_even_when_cancelled(cluster: EmbeddedCluster) -> None:
    """A block that is cancelled is rolled back; one that ends within a cancelled scope is committed."""
    async with await connect(cluster) as connection:
        await connection.execute("CREATE TEMP TABLE t (id int)")
        with trio.CancelScope() as scope:
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (1)")
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        with trio.CancelScope() as scope:
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (2)")
                scope.cancel()
        cursor = await connection.execute("SELECT id FROM t")
        assert await cursor.fetchall() == [(2,)]


async def test_savepoints_and_rollback_blocks(cluster: EmbeddedCluster) -> None:
    """Nested blocks are savepoints: an error in the inner one undoes only that."""

    async def insert_and_fail(connection: ControlConnection) -> None:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (2)")
            await connection.execute("SELECT 1 / 0")

    async with await connect(cluster) as connection:
        await connection.execute("CREATE TEMP TABLE t (id int)")
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(psycopg.errors.DivisionByZero):
                await insert_and_fail(connection)
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (3)")
                raise psycopg.Rollback
        cursor = await connection.execute("SELECT id FROM t")
        assert await cursor.fetchall() == [(1,)]


async def test_unanswered_commit_is_an_error(cluster: EmbeddedCluster) -> None:
    """COMMIT without an answer within the deadline is no success: the outcome is unknown."""
    connection = await connect(cluster)
    connection.exit_timeout = connection.cancel_grace = 0.1

    async def commit_to_a_paused_server() -> None:
        async with connection.transaction():
            await connection.execute("SELECT 1")
            await cluster.pause("node1")

    try:
        with pytest.raises(psycopg.OperationalError, match="outcome unknown"):
            await commit_to_a_paused_server()
        assert connection.closed
    finally:
        await cluster.resume("node1")


async def test_block_of_a_connection_closes_it_when_cancelled(cluster: EmbeddedCluster) -> None:
    """Leaving by cancellation rolls back and closes all the same."""
    with trio.CancelScope() as scope:
        async with await connect(cluster, autocommit=False) as connection:
            await connection.execute("SELECT 1")
            scope.cancel()
            await trio.sleep_forever()
    assert connection.closed


async def test_host_names_are_resolved_by_trio(cluster: EmbeddedCluster) -> None:
    """Every address of a name is tried in turn; the answer of the first that works is taken."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
            assert host == b"db.example"
            return [(socket.AF_INET, type, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

        async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    previous = trio.socket.set_custom_hostname_resolver(Resolver())
    try:
        async with await ControlConnection.connect(cluster.dsn(), host="db.example") as connection:
            assert connection.info.hostaddr == "127.0.0.1"
            assert connection.info.host == "db.example"
    finally:
        trio.socket.set_custom_hostname_resolver(previous)


async def test_failing_to_connect_says_why(cluster: EmbeddedCluster) -> None:
    """Refused, wrong password, list of hosts, silent server: each an error of its own."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await ControlConnection.connect(cluster.dsn(), password="wrong")
    with pytest.raises(psycopg.ProgrammingError, match="one host"):
        await ControlConnection.connect(host="a,b")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(psycopg.OperationalError, match="refused"):
            await ControlConnection.connect(host="127.0.0.1", port=port)
        silent.listen()
        with pytest.raises(psycopg.errors.ConnectionTimeout, match="no answer within 1 s"):
            await ControlConnection.connect(host="127.0.0.1", port=port, connect_timeout=1)


async def test_lost_server_is_an_operational_error(cluster: EmbeddedCluster) -> None:
    """A session that the server ends raises, and the connection knows that it is closed."""
    async with await connect(cluster) as connection, await connect(cluster) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        assert connection.closed


async def _is_active(observer: ControlConnection, pid: int) -> bool:
    cursor = await observer.execute(
        "SELECT state = 'active' AND query LIKE '%%pg_sleep%%' FROM pg_stat_activity WHERE pid = %s", (pid,)
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def test_cancelled_while_connecting_leaves_nothing_open(cluster: EmbeddedCluster) -> None:
    """Just after the login, when nobody has got the connection yet who could close it."""
    connections = []

    class Cancelling(ControlConnection):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            connections.append(self)
            scope.cancel()

    with trio.CancelScope() as scope:
        await Cancelling.connect(cluster.dsn(), autocommit=True)
    assert scope.cancelled_caught
    assert [each.closed for each in connections] == [True]
