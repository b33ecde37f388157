"""postgresql.conf and pg_hba.conf of an embedded server, written whole before each start.

Ports, folders and roles change between runs; a file derived from what is true now cannot disagree with it.
Settings of the user's own go into local.conf in the data directory, which is read last and never written.
Called by `server`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from helios_trio.embedded.account import Account, give

SYNCHRONOUS = "ANY 1 (*)"

BASE = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "max_prepared_transactions": "50",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_wal_size": "1GB",  # initdb scales these two with the size of a segment
    "min_wal_size": "80MB",
    "hot_standby": "on",
    "wal_retrieve_retry_interval": "100ms",  # how long a standby waits before it reconnects; default 5 s
    "password_encryption": "scram-sha-256",
    "timezone": "Etc/UTC",
    "log_timezone": "Etc/UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
SINCE = {
    13: {"wal_keep_size": "128MB", "max_slot_wal_keep_size": "2GB"},
}
EPHEMERAL = {
    "fsync": "off",
    "dynamic_shared_memory_type": "mmap",  # files in the data directory: gone with it, also after SIGKILL
}


@frozen
class ServerSettings:
    """What a cluster's servers have in common."""

    major: int
    ephemeral: bool
    auth: str
    hba: Sequence[str] = ()
    extra: Mapping[str, str] = field(factory=dict)


def postgresql_conf(common: ServerSettings, own: Mapping[str, str]) -> str:
    """The text of postgresql.conf; later settings win, as in PostgreSQL itself."""
    merged = dict(BASE)
    for major, settings in SINCE.items():
        if common.major >= major:
            merged.update(settings)
    if common.ephemeral:
        merged.update(EPHEMERAL)
    merged.update(own)
    merged.update(common.extra)
    lines = [f"{name} = {quoted(value)}" for name, value in merged.items()]
    head = "# Written by helios_trio before each start. Settings of your own belong in local.conf."
    return "\n".join([head, *lines, "include_if_exists = 'local.conf'", ""])


def pg_hba_conf(common: ServerSettings) -> str:
    """The text of pg_hba.conf: loopback and the Unix socket only."""
    places = ["local {}", "host {} 127.0.0.1/32", "host {} ::1/128"]
    kinds = ("all all", "replication all")
    own = [f"{place.format(kind)} {common.auth}" for kind in kinds for place in places]
    return "\n".join(["# Written by helios_trio before each start.", *common.hba, *own, ""])


def quoted(value: str) -> str:
    """A value as configuration files want it (PostgreSQL docs: "Setting Parameters")."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def replace_file(path: Path, text: str, account: Account | None) -> None:
    """Replace a file's text; readers see the old or the new one, never a half."""
    partial = path.with_name(path.name + ".new")
    partial.touch(mode=0o600)
    partial.write_text(text)
    give(partial, account)
    partial.replace(path)
