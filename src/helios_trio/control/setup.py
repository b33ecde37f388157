"""What `helios setup` creates in a database: the schema `helios`, two roles, and what they may do.

Roles belong to the whole cluster, everything else to one database, so the statements are run once in each
database that the proxy serves (and in template1, for those to come). They may be run again at any time,
need a superuser, and give nobody more than is listed here. What failover
needs stands in `setup_commits` and `setup_sequences`.

Used by: cli, app.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from helios_trio.control.connection import ControlConnection
from helios_trio.control.setup_commits import commit_notes, commit_rights
from helios_trio.control.setup_parts import SCHEMA, SetupSettings, SetupStatement, literal, name
from helios_trio.control.setup_sequences import sequence_moves, sequence_rights

__all__ = [
    "SCHEMA",
    "SetupSettings",
    "SetupStatement",
    "apply",
    "publications_at_risk",
    "setup_sql",
    "statements",
]

_LOOKUP = f"{SCHEMA}.user_lookup(name)"
_ALL_FUNCTIONS = f"ALL FUNCTIONS IN SCHEMA {SCHEMA}"
_ALL_TABLES = f"ALL TABLES IN SCHEMA {SCHEMA}"


def statements(settings: SetupSettings) -> tuple[SetupStatement, ...]:
    """All statements in order; every one of them may be repeated."""
    made = (*_roles(settings), *_schema(), *_user_lookup(), *commit_notes(), *sequence_moves())
    rights = (_user_lookup_rights, commit_rights, sequence_rights)
    return (*made, *_closed(), *(statement for part in rights for statement in part(settings)))


def setup_sql(settings: SetupSettings) -> str:
    """The same as a script for psql (`helios setup --print`). Passwords are not in it."""
    parts = [f"-- {statement.purpose}\n{statement.text};\n" for statement in statements(settings)]
    return "\n".join(["BEGIN;\n", *parts, "COMMIT;\n"])


async def apply(
    connection: ControlConnection, settings: SetupSettings, passwords: Mapping[str, str] | None = None
) -> None:
    """Run all statements in one transaction, and set the passwords given by role.

    The server is told the SCRAM verifier, not the password, which therefore cannot reach its log.

    Raises:
        psycopg.Error: what the server objected to; nothing has changed then.
    """
    async with connection.transaction():
        for statement in statements(settings):
            await connection.execute(statement.text.encode())
        for role, password in (passwords or {}).items():
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            await connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(verifier.decode())
                )
            )


async def publications_at_risk(connection: ControlConnection) -> list[str]:
    """Publications of this database that would replicate tables of the schema `helios` to subscribers.

    These tables describe this cluster's own commits and are meaningless, or wrong, anywhere else.
    """
    found = "SELECT pubname::text FROM pg_catalog.pg_publication WHERE puballtables"
    if connection.info.server_version >= 150000:  # FOR TABLES IN SCHEMA
        found += (
            " UNION SELECT p.pubname::text FROM pg_catalog.pg_publication p"
            " JOIN pg_catalog.pg_publication_namespace n ON n.pnpubid = p.oid"
            f" JOIN pg_catalog.pg_namespace s ON s.oid = n.pnnspid WHERE s.nspname = '{SCHEMA}'"
        )
    cursor = await connection.execute(f"{found} ORDER BY 1".encode())
    return [row[0] for row in await cursor.fetchall()]


def _roles(settings: SetupSettings) -> tuple[SetupStatement, ...]:
    control = name(settings.control_user)
    return (
        _role(settings.control_user, "The proxy's own user: probes, promotion and switchover"),
        _role(settings.auth_user, "The user that looks up other users' password verifiers"),
        SetupStatement(
            "Replication positions and the sessions of other users (PostgreSQL docs: Predefined Roles)",
            f"GRANT pg_monitor TO {control}",
        ),
        SetupStatement(
            "A server process whose client has been lost is ended before its transaction is looked up",
            f"GRANT pg_signal_backend TO {control}",
        ),
        SetupStatement(
            "Promotion of a standby",
            f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO {control}",
        ),
        SetupStatement(
            "Switchover: the old primary is made read-only; before release 15 that takes a superuser",
            "DO $helios$ BEGIN\n"
            "  IF current_setting('server_version_num')::int >= 150000 THEN\n"
            f"    GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only TO {control};\n"
            f"    GRANT pg_checkpoint TO {control};\n"
            "  END IF;\n"
            "END $helios$",
        ),
        SetupStatement(
            "Settings changed that way take effect",
            f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {control}",
        ),
    )


def _role(role: str, purpose: str) -> SetupStatement:
    """An existing role is left as it is: it may be somebody's."""
    return SetupStatement(
        purpose,
        "DO $helios$ BEGIN\n"
        f"  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(role)}) THEN\n"
        f"    CREATE ROLE {name(role)}\n"
        "      LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;\n"
        "  END IF;\n"
        "END $helios$",
    )


def _schema() -> tuple[SetupStatement, ...]:
    return (
        SetupStatement("A schema of the proxy's own", f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"),
        SetupStatement(
            "Its owner could replace what is in it: a schema made by somebody else is not used",
            "DO $helios$ BEGIN\n"
            "  IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_namespace n\n"
            f"          JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner WHERE n.nspname = '{SCHEMA}') THEN\n"
            f"    RAISE EXCEPTION 'schema {SCHEMA} belongs to a role that is not a superuser';\n"
            "  END IF;\n"
            "END $helios$",
        ),
        SetupStatement("Nobody else creates anything in it", f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC"),
        SetupStatement(
            "Everybody may name what is in it, which has rights of its own: one function is for all",
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC",
        ),
    )


def _user_lookup() -> tuple[SetupStatement, ...]:
    return (
        SetupStatement(
            "For auth_query: the verifier of a role that may log in, null once it has expired",
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.user_lookup(wanted name)\n"
            "  RETURNS TABLE (usename name, passwd text)\n"
            "  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
            "AS $helios$\n"
            "  SELECT a.rolname,\n"
            "         CASE WHEN a.rolvaliduntil < pg_catalog.now() THEN NULL ELSE a.rolpassword END\n"
            "  FROM pg_catalog.pg_authid a WHERE a.rolname = wanted AND a.rolcanlogin\n"
            "$helios$",
        ),
        SetupStatement("It acts with its owner's rights", f"ALTER FUNCTION {_LOOKUP} OWNER TO CURRENT_USER"),
    )


def _user_lookup_rights(settings: SetupSettings) -> tuple[SetupStatement, ...]:
    return (
        SetupStatement(
            "The user of auth_query looks up verifiers",
            f"GRANT EXECUTE ON FUNCTION {_LOOKUP} TO {name(settings.auth_user)}",
        ),
    )


def _closed() -> tuple[SetupStatement, ...]:
    """Takes back all rights on what is in the schema, also what ALTER DEFAULT PRIVILEGES has given."""
    return (
        SetupStatement(
            "By default everybody may call functions", f"REVOKE ALL ON {_ALL_FUNCTIONS} FROM PUBLIC"
        ),
        SetupStatement("Tables and functions are nobody else's", f"REVOKE ALL ON {_ALL_TABLES} FROM PUBLIC"),
        SetupStatement(
            "Nor those of roles that ALTER DEFAULT PRIVILEGES may have given something",
            "DO $helios$ DECLARE\n"
            "  role text;\n"
            "BEGIN\n"
            "  FOR role IN\n"
            "    SELECT DISTINCT grantee::regrole::text\n"
            "    FROM (SELECT relowner AS owner, (aclexplode(relacl)).grantee FROM pg_class\n"
            f"          WHERE relnamespace = '{SCHEMA}'::regnamespace\n"
            "          UNION ALL\n"
            "          SELECT proowner, (aclexplode(proacl)).grantee FROM pg_proc\n"
            f"          WHERE pronamespace = '{SCHEMA}'::regnamespace) AS given\n"
            "    WHERE grantee <> owner AND grantee <> 0\n"
            "  LOOP\n"
            f"    EXECUTE format('REVOKE ALL ON {_ALL_TABLES} FROM %s', role);\n"
            f"    EXECUTE format('REVOKE ALL ON {_ALL_FUNCTIONS} FROM %s', role);\n"
            "  END LOOP;\n"
            "END $helios$",
        ),
    )
