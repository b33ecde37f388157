"""Which server's notifications count while a session that listens is moved (rule 13).

PostgreSQL delivers notifications to all listeners of a database in one order, that of the commits. So both connections
listen for a while, and a marker, sent on a channel that only the two of them know, divides the stream: what the old
side got before it counts, and what the new side gets after it. Equal notifications are all real, so nothing is
compared.

Used by: session.carrying.carry; the holder of the connections feeds `ChannelDivision`.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from helios_trio.errors import HeliosError
from helios_trio.session.carrying.errors import CarryFailed
from helios_trio.session.carrying.steps import Answer, Plan, Query, Side, ask, ask_both, pause
from helios_trio.session.carrying.undo import Undo
from helios_trio.sql.quote import quote_identifier
from helios_trio.wire.layout import to_text

#: Notifications that are kept for the moment when it is known whose they are; with more the session stays.
MAX_KEPT: Final = 10_000
#: How often both sides are asked to hand out what they have, and seconds between.
_LOOKS: Final = 200
_LOOK_INTERVAL: Final = 0.005


@define(eq=False)
class ChannelDivision:
    """Fed with the NotificationResponses of both sides as they come; says which of them the client gets."""

    #: the channel of the marker; unlike that of any other move
    marker: str
    old_has_seen: bool = False
    new_has_seen: bool = False
    #: more came than is kept: the session must stay, and nothing is lost by that
    overflowed: bool = False
    _old: list[bytes] = field(factory=list)
    _new: list[bytes] = field(factory=list)

    @property
    def is_decided(self) -> bool:
        """Both sides have come to the marker."""
        return self.old_has_seen and self.new_has_seen

    def on_old(self, frame: bytes) -> bytes:
        """A whole message of the old side; returns what the client gets of it now."""
        if _channel(frame) == self.marker:
            self.old_has_seen = True
            return b""
        if not self.old_has_seen:
            return frame
        self._old.append(frame)
        self.overflowed |= len(self._old) > MAX_KEPT
        return b""

    def on_new(self, frame: bytes) -> bytes:
        """The same for the new side: it has nothing for the client before the session has moved."""
        if _channel(frame) == self.marker:
            self.new_has_seen = True
        elif self.new_has_seen and len(self._new) < MAX_KEPT:
            self._new.append(frame)
        elif self.new_has_seen:
            self.overflowed = True
        return b""

    def moved(self) -> bytes:
        """The session is on the new side: what the client gets of that side's notifications so far."""
        return b"".join(self._new)

    def stayed(self) -> bytes:
        """The session stays: what the client was not yet given of the old side's."""
        kept, self._old, self.old_has_seen = b"".join(self._old), [], False
        return kept


def _channel(frame: bytes) -> str:
    """Behind type, length and pid."""
    return to_text(frame[9 : frame.index(0, 9)])


def listen_requests(channels: frozenset[str]) -> tuple[Query, ...]:
    """What the new side is asked as soon as it has the session's settings."""
    return tuple(Query(f"LISTEN {quote_identifier(name)}") for name in sorted(channels))


def divide(division: ChannelDivision, undo: Undo) -> Plan[None]:
    """Send the marker and wait until both sides have come to it. Raises CarryFailed, NotDivided."""
    name = quote_identifier(division.marker)
    stop = Query(f"UNLISTEN {name}")
    undo.add(lambda: _quietly(Side.OLD, stop))
    _check(*(yield from ask(Side.NEW, Query(f"LISTEN {name}"))))
    _check(*(yield from ask(Side.OLD, Query(f"LISTEN {name}"))))
    _check(*(yield from ask(Side.OLD, Query(f"NOTIFY {name}"))))
    for _ in range(_LOOKS):
        if division.is_decided:
            break
        yield from ask_both((Query("SELECT 1"),), (Query("SELECT 1"),))
        yield from pause(0.0 if division.is_decided else _LOOK_INTERVAL)
    if not division.is_decided:
        raise NotDivided("notifications of the two servers could not be told apart")
    refuse_overflow(division)
    answers = yield from ask_both((stop,), (stop,))
    _check(*answers.old, *answers.new)


def refuse_overflow(division: ChannelDivision) -> None:
    """Raises NotDivided when more has come than is kept; asked again before the point of no return."""
    if division.overflowed:
        raise NotDivided("too many notifications came while the session was moved")


def _quietly(side: Side, request: Query) -> Plan[None]:
    yield from ask(side, request)


def _check(*answers: Answer) -> None:
    for answer in answers:
        if answer.error is not None:
            raise CarryFailed("dividing the notifications of the two servers", answer.error)


class NotDivided(HeliosError):
    """The marker did not come through in time, or too much came at once."""

    code = "not_divided"
