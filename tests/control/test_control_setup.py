"""`helios setup`: what it creates, for whom, and what it leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from helios_trio.control import ControlConnection
from helios_trio.control.setup import SetupSettings, apply, publications_at_risk, setup_sql
from helios_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.cluster

SETTINGS = SetupSettings(control_user="ctl", auth_user='odd "name"')
PASSWORDS = {SETTINGS.control_user: "c's", SETTINGS.auth_user: "a"}


@pytest.fixture
async def database(cluster: EmbeddedCluster) -> AsyncIterator[str]:
    """A database of its own for each test, without the roles."""
    await cluster.execute("CREATE DATABASE setup_test")
    try:
        yield "setup_test"
    finally:
        await cluster.execute("DROP DATABASE setup_test WITH (FORCE)")
        roles = "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('ctl', 'odd \"name\"', 'plain')"
        for (name,) in await cluster.execute(roles):
            await cluster.execute(f"DROP OWNED BY {name}")
            await cluster.execute(f"DROP ROLE {name}")


async def as_user(cluster: EmbeddedCluster, user: str, database: str) -> ControlConnection:
    return await ControlConnection.connect(
        cluster.dsn(dbname=database), user=user, password=PASSWORDS[user], autocommit=True
    )


async def test_roles_can_do_their_work_and_no_more(cluster: EmbeddedCluster, database: str) -> None:
    """The control user may watch and change roles; the user of auth_query may look up; neither may the other's."""
    async with await cluster.connect(dbname=database) as connection:
        await apply(connection, SETTINGS, PASSWORDS)
    async with await as_user(cluster, SETTINGS.control_user, database) as control:
        cursor = await control.execute(
            "SELECT pg_has_role('pg_monitor', 'member') AND pg_has_role('pg_checkpoint', 'member'),"
            " has_function_privilege('pg_promote(boolean, integer)', 'execute')"
            " AND has_function_privilege('pg_reload_conf()', 'execute')"
            " AND has_parameter_privilege('default_transaction_read_only', 'alter system'),"
            " rolsuper, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user"
        )
        assert await cursor.fetchone() == (True, True, False, False, False, False)
        for forbidden in ("SELECT * FROM helios.user_lookup('postgres')", "ALTER SYSTEM SET fsync = off"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await control.execute(forbidden)
    async with await as_user(cluster, SETTINGS.auth_user, database) as auth:
        cursor = await auth.execute("SELECT usename, passwd FROM helios.user_lookup('ctl')")
        [(name, verifier)] = await cursor.fetchall()
        assert name == "ctl"
        assert verifier.startswith("SCRAM-SHA-256$")
        for forbidden in ("SELECT FROM pg_authid", "SELECT pg_promote()", "CREATE TABLE helios.t ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await auth.execute(forbidden)


async def test_lookup_of_users_that_cannot_log_in(cluster: EmbeddedCluster, database: str) -> None:
    """No row for unknown roles and those without LOGIN; no verifier for expired ones."""
    async with await cluster.connect(dbname=database) as connection:
        await apply(connection, SETTINGS)
        await connection.execute("CREATE ROLE plain PASSWORD 'x'")
        look_up = "SELECT passwd FROM helios.user_lookup('plain')"
        assert await (await connection.execute(look_up)).fetchall() == []
        await connection.execute("ALTER ROLE plain LOGIN VALID UNTIL '2001-01-01'")
        assert await (await connection.execute(look_up)).fetchall() == [(None,)]


async def test_setup_may_be_repeated(cluster: EmbeddedCluster, database: str) -> None:
    """A second run, also of the printed script, changes nothing and takes nothing away."""
    async with await cluster.connect(dbname=database) as connection:
        await apply(connection, SETTINGS, PASSWORDS)
        await connection.execute(setup_sql(SETTINGS).encode())
        await apply(connection, SETTINGS)
    async with await as_user(cluster, SETTINGS.auth_user, database) as auth:
        cursor = await auth.execute("SELECT usename FROM helios.user_lookup('postgres')")
        assert await cursor.fetchall() == [("postgres",)]


async def test_schema_of_somebody_else_is_not_used(cluster: EmbeddedCluster, database: str) -> None:
    """Who owns the schema could forge verifiers: setup stops and changes nothing."""
    async with await cluster.connect(dbname=database) as connection:
        await connection.execute("CREATE ROLE plain")
        await connection.execute("CREATE SCHEMA helios AUTHORIZATION plain")
        with pytest.raises(psycopg.errors.RaiseException, match="not a superuser"):
            await apply(connection, SETTINGS)
        cursor = await connection.execute("SELECT FROM pg_roles WHERE rolname = 'ctl'")
        assert await cursor.fetchall() == []


async def test_publications_that_would_replicate_the_schema(cluster: EmbeddedCluster, database: str) -> None:
    """FOR ALL TABLES and the schema by name are told; a publication of other tables is not."""
    async with await cluster.connect(dbname=database) as connection:
        await apply(connection, SETTINGS)
        await connection.execute("CREATE TABLE t (id int)")
        await connection.execute("CREATE PUBLICATION harmless FOR TABLE t")
        assert await publications_at_risk(connection) == []
        await connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        await connection.execute("CREATE PUBLICATION ours FOR TABLES IN SCHEMA helios")
        assert await publications_at_risk(connection) == ["everything", "ours"]


def test_printed_script_names_no_password() -> None:
    """The script can be shown to anybody and explains each statement."""
    script = setup_sql(SetupSettings())
    assert " PASSWORD " not in script
    assert "SUPERUSER" not in script.replace("NOSUPERUSER", "")
    assert script.count("\n-- ") == script.count(";\n\n") - 1


@pytest.mark.parametrize("name", ["", "x" * 64, "a$helios$b"])
def test_names_that_cannot_be_quoted_are_refused(name: str) -> None:
    """Empty and overlong names and dollar signs are refused before any SQL is made."""
    with pytest.raises(ValueError, match="control_user"):
        SetupSettings(control_user=name)
