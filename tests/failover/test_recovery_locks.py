"""Session advisory locks and the loss of a server (rules 12 and 26): only who may still hold one cannot go on."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
import trio
from recovery_rig import recovering_proxy

MODES = ["session", "transaction"]
KEY = 4711
LOCK, UNLOCK = f"SELECT pg_advisory_lock({KEY})", f"SELECT pg_advisory_unlock({KEY})"
TRY = f"SELECT pg_try_advisory_lock({KEY})"


@pytest.fixture(scope="module")
def database(create_database: Callable[[str, str], psycopg.Connection]) -> psycopg.Connection:
    """A database of the module's own."""
    return create_database("recovery_locks", "SELECT")


def kill_clients(database: psycopg.Connection) -> None:
    database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def survives(connection: psycopg.Connection, database: psycopg.Connection) -> bool:
    connection.execute("SELECT 1")  # by its answer the server has answered whoever has asked it before
    kill_clients(database)
    try:
        connection.execute("SELECT 1")
    except psycopg.errors.AdminShutdown as error:
        assert "advisory locks" in (error.diag.message_detail or "")  # noqa: PT017
        return False
    return True


def released(connection: psycopg.Connection) -> None:
    connection.execute(LOCK)
    connection.execute(UNLOCK)


def released_by_parameter(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", (KEY,))
    connection.execute("SELECT pg_advisory_unlock(%s)", (KEY,))


def released_in_a_transaction(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute(LOCK)
        connection.execute(UNLOCK)


def released_once_of_two(connection: psycopg.Connection) -> None:
    connection.execute(LOCK)
    released(connection)


def released_another(connection: psycopg.Connection) -> None:
    connection.execute(LOCK)
    connection.execute(f"SELECT pg_advisory_unlock({KEY + 1})")


def held(connection: psycopg.Connection) -> None:
    connection.execute(LOCK)


def got(connection: psycopg.Connection) -> None:
    assert connection.execute(TRY).fetchone() == (True,)


def taken_again(connection: psycopg.Connection) -> None:
    released(connection)
    connection.execute(LOCK)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("act", "lives"),
    [
        (released, True),
        (released_by_parameter, True),
        (released_in_a_transaction, True),
        (released_once_of_two, False),
        (released_another, False),
        (held, False),
        (got, False),
        (taken_again, False),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
async def test_rule_26_who_holds_no_lock_goes_on(
    act: Callable[[psycopg.Connection], None],
    lives: bool,
    mode: str,
    database: psycopg.Connection,
    direct_address: tuple[str, int],
) -> None:
    """The server counts locks, and is asked when one may have been the last."""
    async with recovering_proxy(direct_address, mode, guarded=False) as rig:

        def client() -> bool:
            parameters = rig.parameters(dbname="recovery_locks")
            with psycopg.connect(**parameters, autocommit=True) as connection:
                act(connection)
                return survives(connection, database)

        assert await trio.to_thread.run_sync(client) is lives


@pytest.mark.parametrize("mode", MODES)
async def test_a_lock_that_another_has_is_not_held(
    mode: str, database: psycopg.Connection, direct_address: tuple[str, int]
) -> None:
    """As of those who stand by until the leader is gone."""
    async with recovering_proxy(direct_address, mode, guarded=False) as rig:

        def client() -> None:
            database.execute(LOCK)
            try:
                with psycopg.connect(
                    **rig.parameters(dbname="recovery_locks"), autocommit=True
                ) as connection:
                    assert connection.execute(TRY).fetchone() == (False,)
                    assert survives(connection, database)
            finally:
                database.execute("SELECT pg_advisory_unlock_all()")

        await trio.to_thread.run_sync(client)


async def test_rule_9_asking_for_locks_leaves_the_unnamed_statement_alone(
    database: psycopg.Connection, direct_address: tuple[str, int]
) -> None:
    """In session mode it stays on the connection, and its client may run it again and again."""
    async with recovering_proxy(direct_address, "session", guarded=False) as rig:

        def client() -> None:
            with psycopg.connect(**rig.parameters(dbname="recovery_locks"), autocommit=True) as connection:
                raw = connection.pgconn
                assert raw.prepare(b"", TRY.encode()).error_message == b""
                for _ in range(3):
                    assert raw.exec_prepared(b"", None).get_value(0, 0) == b"t"
                names = "SELECT name FROM pg_prepared_statements WHERE name LIKE '%locks%'"
                assert connection.execute(names).fetchall() == []

        await trio.to_thread.run_sync(client)
