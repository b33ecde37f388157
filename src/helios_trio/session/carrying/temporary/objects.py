"""`TemporaryObjects`: everything in a session's temporary schema, as the statements and copies that rebuild it.

Used by: session.carrying.temporary (capture makes it; restore, rows and digest read it),
session.carrying.carry (size and reasons).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from helios_trio.session.carrying.temporary.facts import Presence
from helios_trio.session.carrying.temporary.nodes import Statement


@frozen
class TableRows:
    """A table that has rows, or had some: one stream."""

    name: str
    owner: str
    #: without generated ones
    columns: tuple[str, ...]
    #: COPY's binary format gives the same values on a server of the same release
    binary: bool
    #: with indexes and TOAST
    size: int


@frozen
class Position:
    """Where a sequence stands."""

    name: str
    owner: str
    last_value: int
    is_called: bool
    #: it draws several values at once and these are drawn: its position is the session's currval()
    drawn_ahead: bool = False


@frozen
class TemporaryObjects:
    """What `capture_temporary` found and `restore_temporary` builds. False when there is nothing."""

    #: word for people -> how many
    counts: Mapping[str, int] = field(factory=dict)
    #: each thing that cannot be rebuilt, and why
    reasons: tuple[str, ...] = ()
    #: up to the tables, without rows
    before: tuple[Statement, ...] = ()
    tables: tuple[TableRows, ...] = ()
    positions: tuple[Position, ...] = ()
    #: what can wait for the rows
    after: tuple[Statement, ...] = ()
    #: bytes of each table on the old side, with indexes and TOAST
    sizes: Mapping[str, int] = field(factory=dict)
    #: table -> its owner
    owners: Mapping[str, str] = field(factory=dict)
    #: what `digest` has to ask about
    present: frozenset[Presence] = frozenset()
    #: major version of the server it was read from
    major: int = 0
    #: the client's own, for functions in constraints and generated columns
    search_path: str = ""
    #: can be set only before the first use of a temporary table
    temp_buffers: str = ""

    def __bool__(self) -> bool:
        return bool(self.counts or self.reasons)

    @property
    def size(self) -> int:
        """Bytes of all tables on the old side, with indexes and TOAST."""
        return sum(self.sizes.values())
