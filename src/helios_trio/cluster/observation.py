"""What a probe asks a server and learns: one query that every user may ask releases 12 to 18.

Positions in the WAL are numbers of bytes since its beginning, as the difference of two `pg_lsn` is
(PostgreSQL docs: "pg_lsn Type").

Used by: cluster.prober (asks), cluster.topology (keeps).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

# A standby can have what its primary has flushed; the insert position is ahead of that even when nothing
# happens, by a page header. The timeline of a primary is taken from the name of its WAL file, as its
# control file names the old one until the first checkpoint after a promotion. `pg_stat_wal_receiver` shows
# to users without pg_read_all_stats only that there is a receiver, and of standbys only their names. The
# age of the last transaction says nothing while a standby has nothing left to replay. What the standbys call
# themselves is what `synchronous_standby_names` is about.
PROBE: Final = """
SELECT recovering,
       CASE WHEN recovering THEN greatest(received, replayed) ELSE pg_current_wal_flush_lsn() END - '0/0',
       CASE WHEN recovering THEN replayed - '0/0' END,
       CASE WHEN NOT recovering THEN NULL
            WHEN received = replayed AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
            ELSE greatest(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)
       END::float8,
       CASE WHEN recovering
            THEN greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                          (SELECT max(received_tli) FROM pg_stat_wal_receiver))
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
       END,
       (SELECT system_identifier::text FROM pg_control_system()),
       current_setting('server_version'),
       CASE WHEN NOT recovering THEN current_setting('synchronous_standby_names') END,
       CASE WHEN NOT recovering THEN
            (SELECT json_agg(json_build_array(application_name, state, sync_state, flush_lsn - '0/0'))
               FROM pg_stat_replication WHERE state IS NOT NULL)
       END,
       CASE WHEN recovering THEN (SELECT conninfo FROM pg_stat_wal_receiver) END
  FROM (SELECT pg_is_in_recovery() AS recovering,
               pg_last_wal_receive_lsn() AS received,
               pg_last_wal_replay_lsn() AS replayed) AS wal
"""

#: For servers that refuse part of `PROBE`: functions revoked from PUBLIC, or derivatives of PostgreSQL
#: without them.
REDUCED_PROBE: Final = """
SELECT pg_is_in_recovery(), NULL, NULL, NULL, NULL, NULL, current_setting('server_version')
"""

_PARAMETER: Final = re.compile(r"(?P<name>\w+)=(?:'(?P<quoted>(?:[^'\\]|\\.)*)'|(?P<plain>\S*))")


@frozen
class Standby:
    """A standby as its primary sees it."""

    #: its application_name, which `synchronous_standby_names` is about
    name: str
    #: such as `streaming` or `catchup`
    state: str
    #: async, potential, sync or quorum
    sync_state: str
    #: end of the WAL that it has flushed, in bytes; None: it has not said
    flushed: int | None


@frozen
class Observation:
    """What a server said of itself; None where it would not say."""

    in_recovery: bool
    #: end of the WAL that it has: flushed (primary) or received (standby), in bytes
    position: int | None = None
    #: end of the WAL that a standby has replayed, in bytes
    replayed: int | None = None
    #: how old the last transaction is that a standby has replayed; 0 when it has replayed all it received
    lag_seconds: float | None = None
    timeline: int | None = None
    #: equal for servers that hold copies of the same data
    system_identifier: str | None = None
    server_version: str = ""
    #: the setting of that name, of a primary; commits wait for standbys where it is not empty
    synchronous_standby_names: str | None = None
    #: of a primary: those that are connected, as far as the user may see them
    standbys: tuple[Standby, ...] = ()
    #: of a standby: what it calls itself at its primary, or did when last connected; None: it will not say
    standby_name: str | None = None

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Observation:
        """The row that `PROBE` or `REDUCED_PROBE` returns."""
        in_recovery, position, replayed, lag, timeline, system, version, *more = row
        names, standbys, conninfo = more or (None, None, None)
        return cls(
            in_recovery=in_recovery,
            position=None if position is None else int(position),
            replayed=None if replayed is None else int(replayed),
            lag_seconds=lag,
            timeline=timeline,
            system_identifier=system,
            server_version=version,
            synchronous_standby_names=names,
            standbys=tuple(
                Standby(name, state, sync_state, None if flushed is None else int(flushed))
                for name, state, sync_state, flushed in standbys or ()
            ),
            standby_name=None if conninfo is None else application_name(conninfo),
        )


def application_name(conninfo: str) -> str | None:
    """The name that a connection made with these parameters has (PostgreSQL docs: "Connection Strings")."""
    found = {
        match["name"]: match["plain"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
        for match in _PARAMETER.finditer(conninfo)
    }
    return found.get("application_name") or found.get("fallback_application_name")


def format_lsn(position: int) -> str:
    """A position as PostgreSQL writes it, such as `16/B374D848`."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
