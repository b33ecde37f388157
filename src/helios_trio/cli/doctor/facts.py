"""What a server says of itself to `helios doctor`, as data.

Used by: cli.doctor.asking (fills it in), cli.doctor.about_servers, about_replication, about_capacity (judge it).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class StandbySeen:
    """A standby as its primary sees it (`pg_stat_replication`)."""

    name: str
    state: str
    #: async, potential, sync or quorum
    sync_state: str


@frozen(kw_only=True)
class SlotSeen:
    """A replication slot."""

    name: str
    active: bool
    #: reserved, extended, unreserved or lost; None before release 13
    wal_status: str | None
    #: bytes of WAL that are kept for it
    kept: int


@frozen(kw_only=True)
class DatabaseFacts:
    """A database, and what of `helios setup` is missing there."""

    name: str
    missing: tuple[str, ...] = ()
    #: why it could not be looked into
    problem: str = ""


@frozen(kw_only=True)
class ServerFacts:
    """One server. What it would not say is in `unknown`, and empty."""

    name: str
    #: such as 180001
    version: int
    in_recovery: bool
    #: seconds that its clock is ahead of this machine's, and how sure that is
    clock_ahead: float
    clock_unsure: float
    superuser: bool = False
    #: when the server was started, and the identifier of its data; two names of one server have both in common
    started_at: str = ""
    system_identifier: str | None = None
    settings: Mapping[str, str] = field(factory=dict)
    #: right -> whether the control user has it
    rights: Mapping[str, bool] = field(factory=dict)
    standbys: tuple[StandbySeen, ...] = ()
    slots: tuple[SlotSeen, ...] = ()
    #: a standby's connection to its primary; None: it has none, or it is no standby
    receiver: str | None = None
    replay_paused: bool = False
    databases: tuple[DatabaseFacts, ...] = ()
    #: what could not be asked -> why
    unknown: Mapping[str, str] = field(factory=dict)

    @property
    def major(self) -> int:
        """The release."""
        return self.version // 10000

    def number(self, setting: str) -> int | None:
        """A setting that is a number; None if it is not known."""
        text = self.settings.get(setting, "")
        return int(text) if text.lstrip("-").isdigit() else None
