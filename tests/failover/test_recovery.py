"""A client's server process is killed at every moment of what it does; the server itself lives (rules 27 to 30)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import trio
from recovery_rig import recovering_proxy

from helios_trio.pipeline.rescue import Urgency

MODES = ["session", "transaction"]
TABLE = (
    "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 100), (2, 100)"
)


def kill_all(dsn: str, database: str) -> None:
    """End all server processes of clients in this database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            (database,),
        )


@pytest.fixture
def database(create_database: Callable[[str, str], psycopg.Connection], request: Any) -> str:
    """A database of the test's own, with tokens and a table."""
    from helios_trio.control.setup import SetupSettings, setup_sql

    name = f"recovery_{abs(hash(request.node.name)) % 10**8}"
    connection = create_database(name, TABLE)
    connection.execute(setup_sql(SetupSettings()))
    return name


@pytest.mark.parametrize("mode", MODES)
async def test_between_transactions(
    mode: str, database: str, direct_dsn: str, direct_address: tuple[str, int]
) -> None:
    """What the session had is there again."""
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> None:
            with psycopg.connect(**rig.parameters(dbname=database), autocommit=True) as connection:
                connection.execute("SET application_name = 'abc'")
                assert connection.execute("SELECT 1").fetchone() == (1,)
                kill_all(direct_dsn, database)
                assert connection.execute("SHOW application_name").fetchone() == ("abc",)

        await trio.to_thread.run_sync(client)


@pytest.mark.parametrize("mode", MODES)
async def test_inside_a_transaction(
    mode: str, database: str, direct_dsn: str, direct_address: tuple[str, int]
) -> None:
    """It is done again, and commits once."""
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> None:
            with psycopg.connect(**rig.parameters(dbname=database)) as connection:
                connection.execute("SET LOCAL work_mem = '5MB'")
                connection.execute("UPDATE account SET balance = balance - 10 WHERE id = %s", (1,))
                kill_all(direct_dsn, database)
                found = connection.execute(
                    "UPDATE account SET balance = balance + 10 WHERE id = 2 RETURNING *"
                )
                assert found.fetchall() == [(2, 110)]
                assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
                kill_all(direct_dsn, database)
                connection.commit()
                assert connection.execute("SELECT * FROM account ORDER BY id").fetchall() == [
                    (1, 90),
                    (2, 110),
                ]

        await trio.to_thread.run_sync(client)
        assert rig.counters.transactions_replayed == 2
        assert rig.primaries.urgencies == {Urgency.TRANSACTION: 2}


@pytest.mark.parametrize("mode", MODES)
async def test_another_has_changed_what_was_read(
    mode: str, database: str, direct_dsn: str, direct_address: tuple[str, int]
) -> None:
    """40001, at the next request, and the transaction is over as after any error."""
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> None:
            with psycopg.connect(**rig.parameters(dbname=database)) as connection:
                assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (200,)
                with psycopg.connect(direct_dsn, dbname=database) as other:
                    other.execute("UPDATE account SET balance = 0")
                kill_all(direct_dsn, database)
                with pytest.raises(psycopg.errors.SerializationFailure):
                    connection.execute("SELECT 1")
                with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                    connection.execute("SELECT 1")
                connection.rollback()
                assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (0,)
                connection.commit()
                assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (0,)
                with psycopg.connect(direct_dsn, dbname=database) as other:
                    other.execute("UPDATE account SET balance = 1")
                kill_all(direct_dsn, database)
                with pytest.raises(psycopg.errors.SerializationFailure):
                    connection.commit()
                kill_all(direct_dsn, database)
                assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (2,)

        await trio.to_thread.run_sync(client)
        assert rig.counters.replay_mismatches == {"rows": 2}


@pytest.mark.parametrize("mode", MODES)
async def test_values_of_sequences_stay_what_they_were(
    mode: str, database: str, direct_dsn: str, direct_address: tuple[str, int]
) -> None:
    """Rule 31: ids that were returned are those of the rows, on the next server too."""
    with psycopg.connect(direct_dsn, dbname=database, autocommit=True) as connection:
        connection.execute("CREATE TABLE entry (id serial PRIMARY KEY, text text)")
        connection.execute("CREATE TABLE other (id bigint GENERATED ALWAYS AS IDENTITY, text text)")
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> list[int]:
            found = []
            with psycopg.connect(**rig.parameters(dbname=database)) as connection:
                simple = psycopg.ClientCursor(connection)
                simple.execute("INSERT INTO entry (text) VALUES ('a'), ('b') RETURNING id")
                found += [id for (id,) in simple.fetchall()]
                for text in ("c", "d"):
                    row = connection.execute(
                        "INSERT INTO entry (text) VALUES (%s) RETURNING id", (text,), prepare=True
                    ).fetchone()
                    found += row
                found += connection.execute("INSERT INTO other (text) VALUES ('e') RETURNING *").fetchone()[
                    :1
                ]
                found += connection.execute("SELECT nextval('entry_id_seq')").fetchone()
                kill_all(direct_dsn, database)
                row = connection.execute("INSERT INTO entry (text) VALUES ('f') RETURNING id").fetchone()
                found += row
                connection.commit()
                rows = connection.execute("SELECT id, text FROM entry ORDER BY text").fetchall()
                assert rows == list(zip([*found[:4], found[6]], "abcdf", strict=True))
                assert connection.execute("SELECT * FROM other").fetchall() == [(found[4], "e")]
            return found

        found = await trio.to_thread.run_sync(client)
        assert len(set(found[:4] + found[5:])) == len(found) - 1, "no number was given twice"
        assert (rig.counters.transactions_replayed, rig.counters.replay_mismatches) == (1, {})


@pytest.mark.parametrize("mode", MODES)
async def test_held_cursors_are_read_again(
    mode: str, database: str, direct_dsn: str, direct_address: tuple[str, int]
) -> None:
    """Rule 11: what was fetched must be the same; a cursor whose rows have changed is lost by name."""
    async with recovering_proxy(direct_address, mode) as rig:

        def client(connection: psycopg.Connection) -> None:
            with connection.transaction():
                connection.execute(
                    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 5) AS g (n) ORDER BY n"
                )
                assert connection.execute("FETCH 2 FROM c").fetchall() == [(1,), (2,)]
            assert connection.execute("FETCH c").fetchall() == [(3,)]
            kill_all(direct_dsn, database)
            assert connection.execute("FETCH ALL FROM c").fetchall() == [(4,), (5,)]
            connection.execute("CLOSE c")
            connection.execute("DECLARE d CURSOR WITH HOLD FOR SELECT balance FROM account ORDER BY id")
            assert connection.execute("FETCH 1 FROM d").fetchall() == [(100,)]
            with psycopg.connect(direct_dsn, dbname=database) as other:
                other.execute("UPDATE account SET balance = 1")
            kill_all(direct_dsn, database)
            with pytest.raises(psycopg.errors.AdminShutdown, match="something of the session") as error:
                connection.execute("SELECT 1")
            assert "held cursor d" in (error.value.diag.message_detail or "")

        def run() -> None:
            with psycopg.connect(**rig.parameters(dbname=database), autocommit=True) as connection:
                client(connection)

        await trio.to_thread.run_sync(run)


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_wants_no_replay(
    mode: str, database: str, direct_dsn: str, direct_address: tuple[str, int]
) -> None:
    """Rule 28: SET helios.replay = off; what holds can be read, in both protocols."""
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> None:
            with psycopg.connect(**rig.parameters(dbname=database)) as connection:
                simple = psycopg.ClientCursor(connection)
                assert simple.execute("SHOW helios.backend").fetchone() == ("only",)
                assert connection.execute("SHOW helios.replay", prepare=True).fetchone() == ("on",)
                connection.execute("SET helios.replay = off")
                assert simple.execute("SHOW helios.replay").fetchone() == ("off",)
                kill_all(direct_dsn, database)
                with pytest.raises(psycopg.errors.SerializationFailure, match="switched off"):
                    connection.execute("SELECT 1")
                connection.rollback()
                assert connection.execute("SHOW helios.replay", prepare=True).fetchone() == ("on",)
                with pytest.raises(psycopg.errors.UndefinedObject):
                    connection.execute("SHOW helios.nonsense")

        await trio.to_thread.run_sync(client)
