"""The transfer of one session from one backend to another: what the product exists for, readable top to bottom.

    bring it to a standstill -> open a lease on the target -> carry its state there and verify -> switch -> go on

Everything before the switch can fail, and the session goes on where it was; its client sees nothing. The switch
itself is synchronous. What is carried, and how, are the plans of `session.carrying`.

Used by: migration.fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, evolve, field, frozen

from helios_trio.errors import BackendLost, HeliosError
from helios_trio.migration.conversation import Conversation
from helios_trio.migration.dialogue import Dialogue
from helios_trio.pipeline.fleet import MoveOrder, MoveOutcome, MoveReport
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.lease import open_lease
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination
from helios_trio.proxy.hub import ListenerHub
from helios_trio.proxy.hub_handover import hand_over
from helios_trio.proxy.session import Ending, Session
from helios_trio.proxy.standstill import AlreadyMoving, NoBudget, SessionEnded
from helios_trio.session.carrying.carry import Carried, CarryOrder, carry
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.carrying.tracked import Tracked
from helios_trio.session.carrying.undo import CannotGiveBack
from helios_trio.wire.backend_messages import ParameterStatus

_log = structlog.get_logger(__name__)

#: Reported parameters that no session can set.
_OF_THE_SERVER: Final = ("server_version", "server_encoding", "in_hot_standby", "integer_datetimes")


@frozen
class Place:
    """Where a session would be on another backend."""

    destination: Destination
    pool: Pool
    hub: ListenerHub


@define
class _Course:
    """How far a transfer has come."""

    began: float = field(factory=trio.current_time)
    stood_still: float | None = None
    #: how often the client has sent something meanwhile
    kept: int = 0
    carried: Carried | None = None

    def report(self, session: int, outcome: MoveOutcome, *reasons: str) -> MoveReport:
        now = trio.current_time()
        carried = self.carried
        return MoveReport(
            session=session,
            outcome=outcome,
            reasons=reasons,
            seconds=now - self.began,
            pause=0.0 if self.stood_still is None else now - self.stood_still,
            carried={} if carried is None else carried.counts,
            missed={} if carried is None else carried.missed,
            state_size=0 if carried is None else carried.size,
            buffered=self.kept,
        )


async def transfer(session: Session, place: Place, order: MoveOrder) -> MoveReport:
    """Move one session, and say what became of it. Raises nothing but what cancels, or is a bug."""
    course = _Course()
    if _at_once(session, place):
        course.carried = Carried.by_tracking(session.virtual)
        return course.report(session.virtual.id, MoveOutcome.MOVED)
    id = session.virtual.id
    try:
        with trio.fail_after(order.time_limit):
            async with session.standstill.standing(None if order.buffer else NoBudget()):
                course.stood_still = session.standstill.since
                course.carried = await _exchange(session, place, order)
                course.kept = session.standstill.kept
    except trio.TooSlowError:
        if course.stood_still is None:
            return course.report(id, MoveOutcome.BUSY, "it did not come to a safe point in time")
        return _failed(session, order, course, "it took too long")
    except (SessionEnded, AlreadyMoving) as error:
        gone = isinstance(error, SessionEnded)
        return course.report(id, MoveOutcome.GONE if gone else MoveOutcome.BUSY, error.message)
    except CannotCarry as refusal:
        if order.no_return:
            return _failed(session, order, course, *refusal.reasons)
        return course.report(id, MoveOutcome.PINNED, *refusal.reasons)
    except CannotGiveBack as error:
        if session.over:  # there is nobody to give it back to
            return course.report(id, MoveOutcome.GONE, error.message)
        return _lost(session, course, error.message)
    except HeliosError as error:
        return _failed(session, order, course, error.message)
    return course.report(id, MoveOutcome.MOVED)


def _failed(session: Session, order: MoveOrder, course: _Course, *reasons: str) -> MoveReport:
    """It stays where it is, if there is still something to stay at."""
    if not order.no_return:
        return course.report(session.virtual.id, MoveOutcome.FAILED, *reasons)
    return _lost(session, course, *reasons)


def _lost(session: Session, course: _Course, *reasons: str) -> MoveReport:
    """What it had is gone: its client must know (rule 20)."""
    session.end(
        Ending.SERVER_LOST,
        HeliosError(
            "terminating connection because the session could not be carried to the new server",
            sqlstate="57P01",
            severity="FATAL",
            detail="; ".join(reasons),
        ),
    )
    return course.report(session.virtual.id, MoveOutcome.LOST, *reasons)


def _at_once(session: Session, place: Place) -> bool:
    """Move a session between its transactions in a shared mode: nothing but its place has to change."""
    free = session.leased_connection is None and session.idle and not session.standstill.wanted
    if not free or session.parked is not None or session.requests.hub_channels:
        return False
    connection = place.pool.take_nowait(session.virtual)
    if connection is None:
        return False
    session.move_to(place.destination, place.pool, None)
    _tell_changes(session, connection)
    place.pool.give_back(connection)
    return True


async def _exchange(session: Session, place: Place, order: MoveOrder) -> Carried:
    """The session's connection for one at its new place that carries the same."""
    old = session.leased_connection
    try:
        return await _exchange_once(session, old, place, order)
    except BackendLost:
        if old is None or old.status is not SlotStatus.CLOSED or not order.no_return:
            raise
        return await _exchange_once(session, old, place, order)  # what was tracked of it must do


async def _exchange_once(
    session: Session, old: BackendConnection | None, place: Place, order: MoveOrder
) -> Carried:
    """One attempt, with a connection of its own."""
    async with open_lease(place.pool, session.virtual, order.time_limit) as lease:
        await _hear_elsewhere(session, place.hub, order)
        if old is None:  # all there is of it is in the virtual session: settings follow with the next request
            session.move_to(place.destination, place.pool, None)
            _tell_changes(session, lease.connection)
            place.pool.give_back(lease.keep())
            return Carried.by_tracking(session.virtual)
        carried = await _carry(session, old, lease.connection, order)
        if lease.connection.status is SlotStatus.CLOSED:
            raise CannotGiveBack("the new server was lost when the session had just been carried there")
        pool = session.pool
        session.move_to(place.destination, place.pool, lease.keep())
    if order.same_data:
        pool.give_back_used(old)
    else:
        pool.discard(old, "session moved")
    _tell_changes(session, lease.connection)
    return carried


async def take_up(
    session: Session, lost: BackendConnection | None, place: Place, order: MoveOrder, *, tell: bool
) -> None:
    """Give a session that has lost its connection, if it had one, another, with the state that was tracked.

    `tell`: the client may be told now of parameters that are different. Raises CannotCarry (what died with the server
    and cannot be had again, by name), and HeliosError for another attempt to be worth it.
    """
    at_rest = session.shared and not session.virtual.pinned
    if lost is None or (at_rest and not session.requests.hub_channels):
        session.hub = place.hub
        session.move_to(place.destination, place.pool, None)
        return
    async with open_lease(place.pool, session.virtual, order.time_limit) as lease:
        await _hear_elsewhere(session, place.hub, order)
        await _carry(session, lost, lease.connection, order)
        if lease.connection.status is SlotStatus.CLOSED:
            raise BackendLost("the new server was lost when the session had just been restored there")
        session.move_to(place.destination, place.pool, lease.keep())
    if tell:
        _tell_changes(session, lease.connection)


async def _hear_elsewhere(session: Session, hub: ListenerHub, order: MoveOrder) -> None:
    """In the shared modes: notifications come through the listener connection of the new place (rule 13)."""
    channels = session.requests.hub_channels
    if hub is session.hub:
        return
    if not channels:
        session.hub = hub
        return
    if order.same_data:
        await hand_over(session, channels, session.hub, hub)
    else:  # nobody can have notified anybody meanwhile
        await hub.listen(tuple(channels), session)
        session.hub.leave(session, channels)
    session.hub = hub  # also if the move fails now: both have the same notifications


async def _carry(
    session: Session, old: BackendConnection, new: BackendConnection, order: MoveOrder
) -> Carried:
    """All of the session's state from one connection to the other. Raises HeliosError; then `old` is as it was."""
    wishes = CarryOrder.of(order)
    if (
        order.no_return and old.status is SlotStatus.CLOSED
    ):  # the old server has died: what was tracked must do
        wishes = evolve(wishes, asked=False)
    tracked = Tracked.of(session.virtual, old.side, new.side, shared=session.shared)
    division, moved = tracked.division, False
    hear_old = partial(_hear, session, division.on_old)
    hear_new = partial(_hear, session, division.on_new)
    with Conversation(old, hear_old) as before, Conversation(new, hear_new) as after:
        try:
            carried = await Dialogue(before, after).follow(carry(tracked, wishes))
            moved = True
        finally:
            _hear(session, lambda _: division.moved() if moved else division.stayed(), b"")
            # with no way back its client is told what could not be carried, instead
            if before.error is not None and not order.no_return:
                session.on_server_lost(before.error)
    return carried


def _hear(session: Session, division: Callable[[bytes], bytes], frame: bytes) -> None:
    """A notification has come on one of the two connections: the client gets what is its own of it."""
    if not session.shared and (heard := division(frame)):
        session.send(heard)


def _tell_changes(session: Session, new: BackendConnection) -> None:
    """ParameterStatus for what is different now, and nothing else (rule 21)."""
    reported, told = session.virtual.reported, new.side.parameters
    # a shared connection may carry another session's settings
    names = _OF_THE_SERVER if session.shared else new.greeting.parameters
    changed = [name for name in names if reported.get(name.lower()) != told.get(name.lower())]
    for name in changed:
        value = reported[name.lower()] = told[name.lower()]
        session.send(ParameterStatus(name, value).encode())
    if changed:
        session.requests.note_text_settings()
