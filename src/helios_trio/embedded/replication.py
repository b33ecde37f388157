"""What makes a server the standby of another: first clone, slot, rewind of an old primary.

Called by `cluster`, which decides who follows whom.
"""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import structlog
import trio
from psycopg.conninfo import make_conninfo

from helios_trio.embedded.errors import ProgramFailed, ServerDidNotStart
from helios_trio.embedded.server import Server

STREAMING_DEADLINE = 10.0  # seconds for a standby to reach the state "streaming" before it is cloned anew
POLL = 0.01  # seconds between looks at a server's progress

# The timeline is that of the file being written: the control file names the old one until the first checkpoint.
_STREAMING = """
SELECT coalesce((SELECT max(state) FROM pg_stat_replication WHERE application_name = %s), ''),
       ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int,
       (pg_current_wal_flush_lsn() - '0/0')::bigint
"""

# One that is told to wait with the replay is as far as what it has received.
_REPLAYED = """
SELECT coalesce(CASE WHEN waits THEN pg_last_wal_receive_lsn() ELSE pg_last_wal_replay_lsn() END - '0/0', 0)::bigint,
       coalesce((SELECT received_tli FROM pg_stat_wal_receiver), 0)
  FROM (SELECT CASE WHEN pg_is_in_recovery()
                    THEN pg_is_wal_replay_paused() OR current_setting('recovery_min_apply_delay') <> '0'
                    ELSE false
               END AS waits) AS told
"""

_log = structlog.get_logger(__name__)


async def follow(standby: Server, primary: Server) -> None:
    """Make `standby`, which does not run, stream from `primary`; clones or rewinds it where needed.

    Raises:
        ServerDidNotStart, ProgramFailed: not even a fresh clone could be started.
    """
    await ensure_slot(primary, standby.name)
    if await _prepare(standby, primary) and await _start(standby, primary):
        return
    await begin_anew(standby, primary)


async def begin_anew(standby: Server, primary: Server) -> None:
    """Replace what a standby has by a fresh copy, and have it stream from `primary`.

    The only way for one that has got more of an old timeline than its new primary had: started again as it is,
    PostgreSQL would replay that from its own files and have other data than its primary, without a word.

    Raises:
        ServerDidNotStart, ProgramFailed: not even a fresh clone could be started.
    """
    if (standby.node.data_dir / "PG_VERSION").exists():
        _log.warning("embedded standby cannot follow as it is, it is cloned anew", node=standby.name)
        await standby.stop("immediate")
    await ensure_slot(primary, standby.name)
    await clone(standby, primary)
    configure_standby(standby, primary)
    await standby.start()
    if not await wait_until_streaming(standby, primary):
        raise ServerDidNotStart(f"the standby {standby.name} does not stream from {primary.name}")


def configure_standby(standby: Server, primary: Server) -> None:
    """Write the settings and the file with which a server follows `primary`."""
    node = primary.node
    conninfo = make_conninfo(
        host=node.host,
        port=node.port,
        user=primary.superuser,
        password=primary.password,
        application_name=standby.name,
    )
    standby.configure({"primary_conninfo": conninfo, "primary_slot_name": standby.name})
    standby.mark_as_standby()


async def ensure_slot(primary: Server, name: str) -> None:
    """Have the primary keep WAL for a standby from now on; a slot that has lost its WAL is made anew."""
    if primary.installation.major >= 13:
        await _drop_slots(primary, "slot_name = %s AND wal_status = 'lost'", name)
    await primary.query(
        "SELECT pg_create_physical_replication_slot(%s, true)"
        " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
        name,
        name,
    )


async def drop_slots_except(primary: Server, names: list[str]) -> None:
    """Drop the idle slots of all other nodes: nobody would ever read the WAL that they keep."""
    await _drop_slots(primary, r"slot_name ~ '^node\d+$' AND slot_name <> ALL (%s)", names)


async def clone(standby: Server, primary: Server) -> None:
    """Replace the standby's data directory by a fresh copy of the primary's.

    It is not forced to disk here: the server does that when it first starts, as after a crash.
    """
    partial = f"{standby.name}.partial"
    standby.folder.make_data_dir(partial)
    parameters = primary.connection_parameters()
    argv = [
        standby.installation.client("pg_basebackup"),
        *("-D", standby.folder.seen(partial)),
        *("-h", parameters["host"], "-p", str(parameters["port"]), "-U", parameters["user"]),
        *("--slot", standby.name, "--wal-method=stream", "--checkpoint=fast", "--no-password", "--no-sync"),
    ]
    await standby.programs.run(argv, primary.environment())
    standby.folder.rename_data_dir(partial, standby.name)
    _rewind_marker(standby).unlink(missing_ok=True)


async def wait_until_streaming(standby: Server, primary: Server) -> bool:
    """Wait until the standby has what the primary has, and gets what comes; false if it will not.

    Being counted as streaming is not enough. A standby that has got more from an old primary than the new one had
    when it was promoted is counted, too, whenever it gets the rest of the old timeline, again and again; it is
    ahead of its primary, or stays where it is.
    """
    deadline = trio.current_time() + STREAMING_DEADLINE
    reached, goal = -1, None
    async with await primary.connect() as connection:
        while standby.running and trio.current_time() < deadline:
            replayed, timeline = await _replayed(standby)
            cursor = await connection.execute(_STREAMING, (standby.name,))
            [(state, writing, flushed)] = await cursor.fetchall()
            goal = goal or flushed
            if replayed > flushed:
                return False
            if state == "streaming" and timeline == writing and replayed >= goal:
                return True
            if replayed > reached:
                reached, deadline = replayed, trio.current_time() + STREAMING_DEADLINE
            await trio.sleep(POLL)
    return False


async def _replayed(standby: Server) -> tuple[int, int]:
    """How far a standby is, in bytes of WAL, and the timeline it receives; zeros while it does not say."""
    try:
        rows = await standby.query(_REPLAYED)
    except psycopg.OperationalError:
        return 0, 0
    replayed, timeline = rows[0]
    return replayed, timeline


def timeline(data_dir: Path) -> int:
    """The newest timeline a data directory knows of, by its history files (docs: "Timelines")."""
    names = (path.stem for path in (data_dir / "pg_wal").glob("*.history"))
    return max((int(name, 16) for name in names if re.fullmatch("[0-9A-F]{8}", name)), default=1)


async def _prepare(standby: Server, primary: Server) -> bool:
    """Bring the data directory to where streaming can go on; false if only a clone would do."""
    if _rewind_marker(standby).exists() or not (standby.node.data_dir / "PG_VERSION").exists():
        return False
    return standby.is_standby_on_disk or await _rewind(standby, primary)


async def _start(standby: Server, primary: Server) -> bool:
    configure_standby(standby, primary)
    try:
        await standby.start()
    except ServerDidNotStart as error:
        _log.warning("embedded standby did not start", node=standby.name, detail=error.detail)
        return False
    return await wait_until_streaming(standby, primary)


async def _rewind(standby: Server, primary: Server) -> bool:
    """Undo what an old primary wrote after the fork (PostgreSQL docs: pg_rewind); false if not possible.

    The marker outlives an interruption: a half rewound directory must never be started.
    """
    if not standby.installation.has("pg_rewind"):
        return False
    await primary.query("CHECKPOINT")  # puts the new timeline into the control file, where pg_rewind looks
    marker = _rewind_marker(standby)
    marker.touch()
    login = {**primary.connection_parameters(), "password": None}  # it is in the environment instead
    source = make_conninfo(dbname="postgres", **login)
    argv = [
        standby.installation.server("pg_rewind"),
        *("--target-pgdata", standby.seen_data_dir, "--source-server", source, "--no-sync"),
    ]
    try:
        await standby.programs.run(argv, primary.environment())
    except ProgramFailed as error:
        _log.info("pg_rewind is not possible", node=standby.name, detail=error.detail)
        return False
    marker.unlink()
    return True


def _rewind_marker(standby: Server) -> Path:
    return standby.folder.path / f"{standby.name}.rewinding"


async def _drop_slots(primary: Server, condition: str, *arguments: object) -> None:
    await primary.query(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        f" WHERE slot_type = 'physical' AND NOT active AND {condition}",
        *arguments,
    )
