"""What binds a session to one server connection although no query can count it, and what of that can be moved.

`VirtualSession.bound` counts these; what a query can count (temporary objects, locks ...) is in `pins`, as the server
says. Rule 15 of the design: what cannot be moved is shown with its reason, and ends when its cause ends.

Used by: session.effects (notes them), session.explaining (says them), session.requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Bond(StrEnum):
    """A reason, as operators see it."""

    SEQUENCES = "sequence values"
    LARGE_STATEMENTS = "very large prepared statements"
    UNSEEN_SETTINGS = "settings that the text does not show"
    NAMELESS_SETTINGS = "settings whose names the text does not show"
    UNREAD_SETTINGS = "settings in statements that could not be read"
    SEED = "random seed"
    CODE = "loaded code"
    BACKUP = "base backup"
    ORIGIN = "replication origin"
    SLOTS = "replication slots"
    DBLINK = "dblink connections"


#: Why a session with one of these cannot be moved; those that are not here can be.
REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Bond.NAMELESS_SETTINGS: "set_config() was called with a name that its text does not show, which may be one "
        "that no catalog lists",
        Bond.UNREAD_SETTINGS: "a SET could not be read because of its encoding or size, and may have given a value to "
        "a parameter that no catalog lists",
        Bond.SEED: "setseed() was called: where random() stands in its sequence cannot be asked",
        Bond.CODE: "LOAD or an extension script has loaded code into its server process",
        Bond.BACKUP: "pg_backup_start() was called, and the backup would end with the session",
        Bond.ORIGIN: "pg_replication_origin_session_setup() was called, and one session only can have that origin",
        Bond.SLOTS: "it has made a replication slot, which may be a temporary one",
        Bond.DBLINK: "dblink_connect() has opened connections inside of its server process",
    }
)

#: Those that DISCARD ALL does not end.
BEYOND_DISCARD: Final = frozenset({Bond.BACKUP, Bond.ORIGIN, Bond.SLOTS, Bond.DBLINK})

#: Functions that make a bond, each call one more.
MAKING: Final[Mapping[str, Bond]] = MappingProxyType(
    {
        "setseed": Bond.SEED,
        "pg_backup_start": Bond.BACKUP,
        "pg_replication_origin_session_setup": Bond.ORIGIN,
        "pg_create_physical_replication_slot": Bond.SLOTS,
        "pg_create_logical_replication_slot": Bond.SLOTS,
        "pg_copy_physical_replication_slot": Bond.SLOTS,
        "pg_copy_logical_replication_slot": Bond.SLOTS,
        "dblink_connect": Bond.DBLINK,
        "dblink_connect_u": Bond.DBLINK,
    }
)
#: Functions that end one, each call one less.
ENDING: Final[Mapping[str, Bond]] = MappingProxyType(
    {
        "pg_backup_stop": Bond.BACKUP,
        "pg_replication_origin_session_reset": Bond.ORIGIN,
        "pg_drop_replication_slot": Bond.SLOTS,
        "dblink_disconnect": Bond.DBLINK,
    }
)
