"""What came back during a script, message by message, made comparable between two servers or two runs.

Masked is only what must differ between two connections to one server: pids and secrets (the pid of a
connection of the same script becomes its label, so that a wrong one shows), OIDs of user objects (numbered as
they appear), keepalives of replication, and the values of columns that the caller names. Everything else has
to be equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
from attrs import define, field, frozen

from helios_trio.wire import backend_messages as back
from helios_trio.wire.layout import Message

_SOURCE_FIELDS = frozenset("FLR")
FIRST_USER_OID = 16384
"""OIDs below are PostgreSQL's own and the same everywhere (FirstNormalObjectId)."""


@frozen
class AnswerByte:
    """The one byte that answered an SSLRequest or GSSENCRequest."""

    byte: bytes


@frozen
class Unframed:
    """Bytes that are no frame, or only the beginning of one, before the connection's end."""

    data: bytes


@frozen
class Closed:
    """The server closed the connection."""


@frozen
class Masked:
    """A message of which only this may be compared."""

    kind: str
    shown: tuple[object, ...]


Received = Message | AnswerByte | Unframed | Closed
Event = Received | Masked


@define
class Transcript:
    """All that a script's connections received; `problem` says why the script stopped before its end."""

    received: dict[str, list[Received]] = field(factory=dict)
    problem: str | None = None

    def comparable(
        self, mask_columns: Collection[str] = (), loose_notifications: bool = False
    ) -> dict[str, list[Event]]:
        """The events per connection without what must differ.

        Values of `mask_columns` are hidden; with `loose_notifications` the place of notifications is ignored.
        """
        masks = _Masks(self._labels_by_pid(), frozenset(mask_columns))
        found: dict[str, list[Event]] = {}
        for label, received in self.received.items():
            events = [masks.apply(event) for event in _sort_start_up(received) if not _is_keepalive(event)]
            found[label] = _notifications_last(events) if loose_notifications else events
        return found

    def _labels_by_pid(self) -> dict[int, str]:
        return {
            event.pid: label
            for label, received in self.received.items()
            for event in received
            if isinstance(event, back.BackendKeyData)
        }


@define
class _Masks:
    """What masking needs to know over one transcript: OIDs seen so far, and columns of the last rows."""

    labels_by_pid: Mapping[int, str]
    columns: frozenset[str]
    oids: dict[int, int] = field(factory=dict)
    hidden: frozenset[int] = frozenset()

    def apply(self, event: Received) -> Event:
        """The event as it may be compared."""
        match event:
            case back.BackendKeyData(secret=secret):
                return Masked("BackendKeyData", (len(secret),))
            case back.NotificationResponse(pid=pid, channel=channel, payload=payload):
                sender = self.labels_by_pid.get(pid, "another session")
                return Masked("NotificationResponse", (sender, channel, payload))
            case back.RowDescription():
                return self._row_description(event)
            case back.ParameterDescription(types=types):
                return attrs.evolve(event, types=tuple(self._oid(oid) for oid in types))
            case back.DataRow() if self.hidden:
                return self._data_row(event)
        return event

    def _oid(self, oid: int) -> int:
        """The same for PostgreSQL's own OIDs; others are numbered from `FIRST_USER_OID` as they appear."""
        if oid < FIRST_USER_OID:
            return oid
        return self.oids.setdefault(oid, FIRST_USER_OID + len(self.oids))

    def _row_description(self, event: back.RowDescription) -> Event:
        self.hidden = frozenset(at for at, column in enumerate(event.fields) if column.name in self.columns)
        fields = tuple(
            attrs.evolve(column, table_oid=self._oid(column.table_oid), type_oid=self._oid(column.type_oid))
            for column in event.fields
        )
        return attrs.evolve(event, fields=fields)

    def _data_row(self, event: back.DataRow) -> Event:
        values = tuple(b"***" if at in self.hidden else value for at, value in enumerate(event.values))
        return attrs.evolve(event, values=values)


def _sort_start_up(received: list[Received]) -> list[Received]:
    """Settings reported at start-up come in the order of a hash table; sort them by name."""
    end = next((at for at, event in enumerate(received) if isinstance(event, back.ReadyForQuery)), 0)
    start_up = received[:end]
    statuses = sorted((e for e in start_up if isinstance(e, back.ParameterStatus)), key=lambda e: e.name)
    others = [event for event in start_up if not isinstance(event, back.ParameterStatus)]
    return [*others, *statuses, *received[end:]]


def _is_keepalive(event: Received) -> bool:
    """Whether it is a primary keepalive of streaming replication, sent whenever the server likes."""
    return isinstance(event, back.CopyData) and len(event.data) == 18 and event.data[:1] == b"k"


def _notifications_last(events: list[Event]) -> list[Event]:
    moved = [event for event in events if isinstance(event, Masked) and event.kind == "NotificationResponse"]
    return [event for event in events if event not in moved] + sorted(moved, key=repr)


def without_explanation(events: list[Event]) -> list[Event]:
    """Without a final FATAL 08P01 that is not PostgreSQL's own, where PostgreSQL closes without a word."""
    match events[-2:]:
        case [back.ErrorResponse(fields=fields), Closed()] if fields.sqlstate == "08P01" and not fields.get(
            "F"
        ):
            return [*events[:-2], events[-1]]
    return events


def first_difference(expected: Mapping[str, list[Event]], found: Mapping[str, list[Event]]) -> str | None:
    """The first message that differs, in words, with a few messages before it; None when all are equal.

    An error report in `found` may lack file, line and routine: then it is the proxy's own, not PostgreSQL's.
    """
    for label in sorted({*expected, *found}):
        difference = _difference(expected.get(label, []), found.get(label, []))
        if difference is not None:
            return f"connection {label!r}, {difference}"
    return None


def _difference(expected: list[Event], found: list[Event]) -> str | None:
    for at in range(max(len(expected), len(found))):
        left, right = expected[at : at + 1], found[at : at + 1]
        if left != right and not _same_report(*left, *right):
            before = "".join(f"\n      equal: {_shown(event)}" for event in expected[max(0, at - 4) : at])
            more = "".join(f"\n       then: {_shown(event)}" for event in found[at + 1 : at + 4])
            return f"message {at}:{before}\n   expected: {_shown(*left)}\n      found: {_shown(*right)}{more}"
    return None


def _same_report(*pair: Event) -> bool:
    """Whether both report the same but for the place in PostgreSQL's source, which only the first names."""
    match pair:
        case [back.ErrorResponse(fields=server), back.ErrorResponse(fields=proxy)]:
            return proxy.pairs == tuple(field for field in server.pairs if field[0] not in _SOURCE_FIELDS)
    return False


def _shown(event: Event | None = None) -> str:
    text = "nothing" if event is None else repr(event)
    return text if len(text) <= 600 else f"{text[:600]}... ({len(text)} characters)"
