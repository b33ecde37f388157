"""`MigrationOrder`: what somebody wants moved, from where to where, how and when. Data only.

Used by: all of migration, admin (makes them from requests).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from helios_trio.config.words import Leftovers, MigrationMode, ShareOf


class DataMode(StrEnum):
    """How the data of the target come to be those of the source (rule 23)."""

    #: both names lead to the same server
    SHARED = "shared"
    #: the target is a streaming standby of the source
    PHYSICAL = "physical"
    #: the target gets changes by logical replication
    LOGICAL = "logical"


@frozen
class Phase:
    """From here on this share of the sessions belongs to the target. Percent of 100, seconds."""

    percent: float
    duration: float = 0.0


@frozen(kw_only=True)
class MigrationOrder:
    """What is to be done."""

    source: str
    target: str
    mode: MigrationMode = MigrationMode.GRADUAL
    phases: tuple[Phase, ...] = ()
    share_of: ShareOf = ShareOf.SESSIONS
    #: patterns; empty: all tenants
    tenants: tuple[str, ...] = ()
    #: when to begin; None: at once
    start_at: datetime | None = None
    #: None: found out
    data: DataMode | None = None
    #: a target of an older major version is allowed (rule 21)
    allow_older: bool = False
    leftovers: Leftovers = Leftovers.WAIT
    #: the source is taken out of service; when it is put back, new sessions go there again
    for_drain: bool = False
    who: str = ""
    reason: str = field(default="")
