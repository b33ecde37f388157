"""Asks servers, over control connections, for the facts that `helios doctor` judges.

Each question by itself: what one server refuses to say is noted, and the others are asked all the same.

Used by: cli.doctor.examination.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import trio
from attrs import define, evolve, field

from helios_trio.cli.doctor.about_servers import (
    ALTER_SYSTEM,
    CHECKPOINT,
    MONITOR,
    PROMOTE,
    READ_ALL_STATS,
    RELOAD,
    SIGNAL,
    uses_setup,
)
from helios_trio.cli.doctor.facts import DatabaseFacts, ServerFacts, SlotSeen, StandbySeen
from helios_trio.config import BackendSettings, Config
from helios_trio.control import ControlConnection
from helios_trio.control.tls import tls_parameters

#: Seconds for a connection, and for all questions about one database.
_CONNECT_SECONDS: Final = 5
_DATABASE_SECONDS: Final = 5.0
#: Databases that are looked into where the configuration names none.
_MOST_DATABASES: Final = 20

_BASICS: Final = """
SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('is_superuser')::bool,
       pg_postmaster_start_time()::text
"""
_CLOCK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"
_IDENTITY: Final = "SELECT system_identifier::text FROM pg_control_system()"
_SETTINGS: Final = """
SELECT name, setting FROM pg_settings WHERE name IN ('max_connections', 'superuser_reserved_connections',
    'reserved_connections', 'wal_level', 'max_wal_senders', 'hot_standby',
    'synchronous_standby_names', 'default_transaction_read_only', 'recovery_min_apply_delay')
"""
# Before release 15 only superusers have ALTER SYSTEM; since 17 it can be switched off for all.
_ALTER_SYSTEM: Final = {
    True: "has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')"
    " AND coalesce(current_setting('allow_alter_system', true)::bool, true)",
    False: "current_setting('is_superuser')::bool",
}
_RIGHTS: Final = f"""
SELECT name, given FROM (VALUES
    ('{MONITOR}', pg_has_role('pg_monitor', 'USAGE')),
    ('{READ_ALL_STATS}', pg_has_role('pg_read_all_stats', 'USAGE')),
    ('{SIGNAL}', pg_has_role('pg_signal_backend', 'USAGE')),
    ('{PROMOTE}', has_function_privilege('pg_catalog.pg_promote(boolean, integer)', 'EXECUTE')),
    ('{RELOAD}', has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE')),
    ('{ALTER_SYSTEM}', {{alter_system}}),
    ('{CHECKPOINT}', {{checkpoint}})
) AS rights (name, given)
"""
_STANDBYS: Final = """
SELECT application_name, coalesce(state, ''), coalesce(sync_state, '') FROM pg_stat_replication
 WHERE state IS DISTINCT FROM 'backup'
"""
_SLOTS: Final = """
SELECT slot_name::text, active, {status},
       coalesce(CASE WHEN pg_is_in_recovery() THEN 0
                     ELSE pg_current_wal_lsn() - restart_lsn END, 0)::int8
  FROM pg_replication_slots WHERE NOT temporary
"""
_RECEIVER: Final = "SELECT status FROM pg_stat_wal_receiver"
_REPLAY: Final = "SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused()"
_DATABASES: Final = """
SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname
"""
#: Functions of `helios setup` that the control user calls, and the one that every user does.
_SETUP_PARTS: Final = (
    "helios.note_commit(uuid, boolean)",
    "helios.settle_commit(uuid)",
    "helios.forget_commits(interval)",
    "helios.missing_commits(uuid[])",
    "helios.pass_sequence(regclass, bigint)",
)
_MISSING: Final = """
SELECT part FROM unnest(%s::text[]) AS part
 WHERE NOT coalesce(has_function_privilege(to_regprocedure(part)::oid, 'EXECUTE'), false)
"""


async def connect(config: Config, backend: BackendSettings, database: str) -> ControlConnection:
    """As the control user, with the TLS that is configured for clients' connections. Raises psycopg.Error, OSError."""
    password = config.control.read_password()
    return await ControlConnection.connect(
        host=backend.host,
        port=backend.port,
        user=config.control.user,
        dbname=database,
        password=None if password is None else password.reveal(),
        application_name="helios doctor",
        connect_timeout=_CONNECT_SECONDS,
        autocommit=True,
        **tls_parameters(backend),
    )


async def ask_server(config: Config, backend: BackendSettings) -> ServerFacts:
    """Everything about one server, its databases apart. Raises psycopg.Error, OSError: it cannot be reached."""
    connection = await connect(config, backend, config.control.database)
    async with connection:
        return await _Questions(connection, backend.name).ask()


async def ask_databases(config: Config, backend: BackendSettings, facts: ServerFacts) -> ServerFacts:
    """With what is in its databases. A standby has what its primary has, and is not asked."""
    if facts.in_recovery or not uses_setup(config):
        return facts
    connection = await connect(config, backend, config.control.database)
    async with connection:
        names = databases_of(config, await _rows(connection, _DATABASES))
    found = [await _database(config, backend, name) for name in names]
    return evolve(facts, databases=tuple(found))


def databases_of(config: Config, present: Sequence[tuple[Any, ...]]) -> list[str]:
    """Databases that clients may reach: those that the configuration names, else all that there are."""
    named = {each.database or each.name for each in config.databases}
    if named and "*" not in named:
        return sorted(named)
    fixed = {each.database for each in config.backends.pools}
    if None not in fixed:
        return sorted(filter(None, fixed))
    return [name for (name,) in present][:_MOST_DATABASES]


async def _database(config: Config, backend: BackendSettings, name: str) -> DatabaseFacts:
    """What of `helios setup` is missing there."""
    try:
        with trio.fail_after(_DATABASE_SECONDS):
            async with await connect(config, backend, name) as connection:
                missing = await _rows(connection, _MISSING, [list(_SETUP_PARTS)])
    except psycopg.errors.InsufficientPrivilege:
        return DatabaseFacts(name=name, missing=("rights on the schema helios",))
    except (psycopg.Error, OSError, trio.TooSlowError) as error:
        return DatabaseFacts(name=name, problem=words_of(error))
    return DatabaseFacts(name=name, missing=tuple(part for (part,) in missing))


def words_of(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    return " ".join(str(error).split()) or type(error).__name__


async def _rows(
    connection: ControlConnection, text: str, values: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """The rows of an answer. Raises psycopg.Error."""
    cursor = await connection.execute(text.encode(), values or None)
    return await cursor.fetchall()


@define
class _Questions:
    """All questions for one server."""

    connection: ControlConnection
    name: str
    unknown: dict[str, str] = field(factory=dict)

    async def ask(self) -> ServerFacts:
        """Raises psycopg.Error: not even its release is to be had."""
        [(version, recovering, superuser, started)] = await _rows(self.connection, _BASICS)
        ahead, unsure = await self._clock()
        modern = version >= 150000
        rights = _RIGHTS.format(
            alter_system=_ALTER_SYSTEM[modern],
            checkpoint="pg_has_role('pg_checkpoint', 'USAGE')" if modern else "true",
        )
        status = "wal_status::text" if version >= 130000 else "NULL"
        standbys = await self._several("replication", _STANDBYS)
        slots = await self._several("replication slots", _SLOTS.format(status=status))
        return ServerFacts(
            name=self.name,
            version=version,
            in_recovery=recovering,
            superuser=superuser,
            started_at=started,
            clock_ahead=ahead,
            clock_unsure=unsure,
            system_identifier=await self._one("system identifier", _IDENTITY),
            settings=dict(await self._several("settings", _SETTINGS)),
            rights=dict(await self._several("rights", rights)),
            standbys=tuple(StandbySeen(name=row[0], state=row[1], sync_state=row[2]) for row in standbys),
            slots=tuple(
                SlotSeen(name=row[0], active=row[1], wal_status=row[2], kept=int(row[3])) for row in slots
            ),
            receiver=await self._one("replication", _RECEIVER) if recovering else None,
            replay_paused=bool(await self._one("replay", _REPLAY)) if recovering else False,
            unknown=self.unknown,
        )

    async def _clock(self) -> tuple[float, float]:
        """How far its clock is ahead, and by how much that may be wrong: half of what the question took."""
        before, began = time.time(), time.monotonic()
        [(there,)] = await _rows(self.connection, _CLOCK)
        half = (time.monotonic() - began) / 2
        return there - (before + half), half

    async def _several(self, what: str, text: str) -> list[tuple[Any, ...]]:
        """None, and a note, where the server refuses."""
        try:
            return await _rows(self.connection, text)
        except psycopg.DatabaseError as error:
            self.unknown[what] = words_of(error)
            return []

    async def _one(self, what: str, text: str) -> Any:
        rows = await self._several(what, text)
        return rows[0][0] if rows else None
