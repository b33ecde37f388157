"""The state of a session while it is on its way: plain data, made by capture, used up by restore.

Used by: session.carrying.capture, restore, cursors, carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import pack
from typing import Final

from attrs import field, frozen

from helios_trio.config.words import StateKind
from helios_trio.session.carrying.survey import AdvisoryLock, CursorThere, Survey
from helios_trio.session.explaining import ISOLATION_SETTINGS, SEQUENCE_VALUES

IDENTITY: Final = ("session_authorization", "role")


@frozen
class Prepared:
    """A prepared statement of the protocol: the parts of its Parse message. The name may be empty."""

    name: bytes
    text: bytes
    types: bytes

    @property
    def size(self) -> int:
        """Bytes of it."""
        return len(self.name) + len(self.text) + len(self.types)


@frozen
class PreparedBySql:
    """A prepared statement of SQL: PREPARE as it is said again."""

    name: str
    text: str

    @property
    def size(self) -> int:
        """Bytes of it, near enough."""
        return len(self.text)


def parse_tail(types: Sequence[int]) -> bytes:
    """The tail of a Parse message with these parameter types."""
    return pack(f"!H{len(types)}I", len(types), *types)


@frozen
class SequenceValue:
    """currval() of one sequence; `name` can be written in SQL as it is."""

    name: str
    value: int


@frozen
class SessionState:
    """What shall be on the new connection. Names of parameters are in lower case."""

    #: parameters to be set, `session_authorization` and `role` among them
    settings: Mapping[str, str] = field(factory=dict)
    #: timeouts: values of `survey.LIMITS`
    limits: Mapping[str, str] = field(factory=dict)
    #: parameters with a dot in their names that read '' (rule 7)
    emptied: Sequence[str] = ()
    prepared: Sequence[Prepared] = ()
    by_sql: Sequence[PreparedBySql] = ()
    #: the unnamed statement: any simple query of ours destroys it, so it is given back last
    unnamed: Prepared | None = None
    channels: frozenset[str] = frozenset()
    cursors: Sequence[CursorThere] = ()
    #: key -> shared, exclusive: whether it is held so
    locks: Mapping[AdvisoryLock, tuple[bool, bool]] = field(factory=dict)
    #: the last one is the one whose value lastval() gives, if `has_last`
    sequences: Sequence[SequenceValue] = ()
    has_last: bool = False
    #: how many temporary objects there are
    temporary: int = 0
    #: kind -> how many of it tracking had missed (rule 8)
    missed: Mapping[str, int] = field(factory=dict)
    #: what the old server said; None when it was not asked
    seen: Survey | None = None

    @property
    def size(self) -> int:
        """Bytes of settings and statements. Cursors and temporary tables are measured when they are read."""
        settings = sum(len(name) + len(value) for name, value in self.settings.items())
        return settings + sum(each.size for each in self.prepared) + sum(each.size for each in self.by_sql)

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> how many; kinds of which there is nothing are left out."""
        return {kind: count for kind, count in self._counts() if count}

    def _counts(self) -> Iterator[tuple[str, int]]:
        isolation = len(ISOLATION_SETTINGS & self.settings.keys())
        limits = sum(value != "0" for value in self.limits.values())
        yield StateKind.SESSION_VARIABLES, len(self.settings) - isolation + limits
        yield StateKind.TRANSACTION_ISOLATION, isolation
        yield StateKind.PREPARED_STATEMENTS, len(self.prepared) + len(self.by_sql)
        yield StateKind.TEMPORARY_TABLES, self.temporary
        yield StateKind.CURSORS, len(self.cursors)
        yield StateKind.ADVISORY_LOCKS, len(self.locks)
        yield StateKind.CHANNELS, len(self.channels)
        yield SEQUENCE_VALUES, len(self.sequences)
