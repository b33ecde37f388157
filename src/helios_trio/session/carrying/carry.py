"""The whole of a transfer of state, as one plan: what `migration.transfer` runs between standstill and switch.

    capture -> may it be carried? -> restore -> verify -> locks and notifications

Whatever fails on the way, the old connection is given back what was taken from it, and the session goes on there. A
session of settings and prepared statements alone needs one exchange: it is restored from what was tracked while the old
server is asked whether that is all.

Used by: migration.transfer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

from helios_trio.session.carrying.capture import capture, settle_doubts, survey_for
from helios_trio.session.carrying.channels import divide, listen_requests, refuse_overflow
from helios_trio.session.carrying.cursors import make_cursor, read_cursors
from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.locks import Pids, hand_over_locks, take_locks
from helios_trio.session.carrying.restore import (
    blank_requests,
    forget_statements,
    last_requests,
    left_out,
    limit_requests,
    open_new,
    refuse_failed,
    restore_names,
    restore_settings,
    set_limits,
    setting_requests,
    statement_requests,
    unnamed_request,
)
from helios_trio.session.carrying.sequences import restore_sequences
from helios_trio.session.carrying.state import SessionState
from helios_trio.session.carrying.steps import Plan, Query, Side, ask, ask_both
from helios_trio.session.carrying.survey import read_survey
from helios_trio.session.carrying.temporary import (
    capture_temporary,
    restore_and_compare,
)
from helios_trio.session.carrying.tracked import Tracked
from helios_trio.session.carrying.undo import Undo
from helios_trio.session.carrying.verify import NotVerified, differences, other_columns
from helios_trio.session.explaining import SEQUENCE_VALUES
from helios_trio.session.prepared import Absence
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.quote import set_statement
from helios_trio.wire.layout import to_text


class Wishes(Protocol):
    """What `pipeline.fleet.MoveOrder` says of it."""

    @property
    def preserve(self) -> frozenset[str] | None:
        """Kinds of state that may be carried; None: all."""

    @property
    def max_state_size(self) -> int:
        """Bytes."""

    @property
    def same_data(self) -> bool:
        """Both servers reach the same data, and have one space of advisory locks and channels."""

    @property
    def no_return(self) -> bool:
        """The old server is given up: what was taken from it need not be given back."""


@frozen(kw_only=True)
class CarryOrder:
    """How the state is to be carried; see `Wishes`."""

    preserve: frozenset[str] | None = None
    max_state_size: int = 64 * 1024 * 1024
    same_data: bool = True
    no_return: bool = False
    #: False: the old server cannot be asked, and what was tracked must do
    asked: bool = True

    @classmethod
    def of(cls, wishes: Wishes) -> CarryOrder:
        """From an order to move a session."""
        return cls(
            preserve=wishes.preserve,
            max_state_size=wishes.max_state_size,
            same_data=wishes.same_data,
            no_return=wishes.no_return,
        )


@frozen(kw_only=True)
class Carried:
    """What was carried."""

    #: kind -> how many
    counts: Mapping[str, int] = field(factory=dict)
    #: kind -> how many of it were found on the server and had not been tracked (rule 8)
    missed: Mapping[str, int] = field(factory=dict)
    #: bytes
    size: int = 0

    @classmethod
    def by_tracking(cls, session: VirtualSession) -> Carried:
        """For a session without a connection: all there is of it is in the proxy."""
        found = session.explain()
        return cls(counts=found.counts, size=found.size)


def carry(tracked: Tracked, order: CarryOrder) -> Plan[Carried]:
    """Give the new connection the state of the old one, verified.

    Raises CannotCarry (with reasons), CarryFailed, NotVerified, NotDivided, and whatever the driver throws in; then the
    old connection is as it was. Raises CannotGiveBack where it is not.
    """
    undo = Undo()
    try:
        carried = yield from _carry(tracked, order, undo)
    except Exception:
        if not order.no_return:
            yield from undo.give_back()
        raise
    _note_new_side(tracked)
    return carried


def _carry(tracked: Tracked, order: CarryOrder, undo: Undo) -> Plan[Carried]:
    tracked.old.unnamed = tracked.new.unnamed = None  # every simple query of ours destroys it
    if not order.asked:
        return (yield from _carry_tracked(tracked, order))
    if tracked.is_simple:
        carried = yield from _carry_at_once(tracked, order)
        if carried is not None:
            return carried
    yield from _begin_with_old(tracked, undo)
    yield from settle_doubts(tracked)
    refuse(tracked.session.explain().reasons)
    return (yield from _carry_asked(tracked, order, undo))


def _begin_with_old(tracked: Tracked, undo: Undo) -> Plan[None]:
    """From here on UTF-8 is spoken; and simple queries destroy the unnamed statement."""
    undo.add(lambda: _prepare_unnamed(tracked))
    if tracked.encoding != "UTF8":
        undo.add(lambda: _speak_as_before(tracked))
        (answer,) = yield from ask(Side.OLD, Query("SET client_encoding = 'UTF8'"))
        if answer.error is not None:
            raise CarryFailed("speaking UTF-8 with the old server", answer.error)


def _prepare_unnamed(tracked: Tracked) -> Plan[None]:
    """One that does not parse any more is an error for its client either way (rule 9)."""
    yield from ask(Side.OLD, *unnamed_request(tracked))


def _speak_as_before(tracked: Tracked) -> Plan[None]:
    (answer,) = yield from ask(Side.OLD, Query(set_statement("client_encoding", tracked.encoding)))
    if answer.error is not None:
        raise CarryFailed("giving back its client_encoding", answer.error)


# -- asking the old server first -----------------------------------------------------------------------------------


def _carry_asked(tracked: Tracked, order: CarryOrder, undo: Undo) -> Plan[Carried]:
    """Kind after kind; what the old side must give up comes last."""
    state = yield from capture(tracked)
    refuse(what_stands_against(state, order))
    yield from open_new(tracked)
    temporary = yield from _carry_temporary(state, tracked, order)
    yield from restore_settings(state, tracked)
    without = yield from restore_names(state)
    yield from restore_sequences(state)
    cursors = yield from _carry_cursors(state, order, undo, order.max_state_size - state.size - temporary)
    yield from set_limits(state)
    pids = yield from _verify(state, tracked, without)
    if state.channels and order.same_data:
        yield from divide(tracked.division, undo)
    if order.same_data:
        yield from hand_over_locks(state.locks, pids, undo)
    else:
        yield from take_locks(state.locks)
    yield from ask(Side.NEW, *last_requests(state, tracked))
    refuse_overflow(tracked.division)
    return Carried(counts=state.counts, missed=state.missed, size=state.size + temporary + cursors)


def _carry_temporary(state: SessionState, tracked: Tracked, order: CarryOrder) -> Plan[int]:
    """Temporary objects with their rows; bytes."""
    if not state.temporary:
        return 0
    found = yield from capture_temporary(tracked.on_commit, expected=True)
    refuse(found.reasons)
    if state.size + found.size > order.max_state_size:
        refuse((_too_large(state.size + found.size),))
    restored = yield from restore_and_compare(found)
    _refuse_differences(restored.differences)
    return found.size


def _carry_cursors(state: SessionState, order: CarryOrder, undo: Undo, limit: int) -> Plan[int]:
    """Held cursors with their rows; bytes."""
    found = yield from read_cursors(state.cursors, limit, undo, given_up=order.no_return)
    for cursor in found:
        yield from make_cursor(cursor)
    return sum(cursor.size for cursor in found)


def _verify(state: SessionState, tracked: Tracked, without: frozenset[str]) -> Plan[Pids]:
    """Raises NotVerified."""
    assert state.seen is not None
    (answer,) = yield from ask(Side.NEW, survey_for(tracked, state.settings))
    seen = read_survey(answer)
    changed = other_columns(tracked, state.seen, seen)
    yield from forget_statements(changed)
    tracked.leave_behind(without, Absence.UNPARSED)
    tracked.leave_behind(changed, Absence.CHANGED)
    _refuse_differences(differences(tracked, state.seen, seen, without | set(changed)))
    return Pids(state.seen.pid, seen.pid)


def _refuse_differences(found: Sequence[str]) -> None:
    if found:
        raise NotVerified(f"the new connection differs: {'; '.join(found)}")


# -- may it be carried? --------------------------------------------------------------------------------------------


def refuse(reasons: Sequence[str]) -> None:
    """Raises CannotCarry if there are any."""
    if reasons:
        raise CannotCarry(tuple(reasons))


def what_stands_against(state: SessionState, order: CarryOrder) -> list[str]:
    """Reasons why this state is not carried under this order (rules 12, 13 and 16)."""
    allowed = order.preserve
    reasons = [
        f"it has {kind.replace('_', ' ')}, which preserve_state does not name"
        for kind in state.counts
        if allowed is not None and kind not in allowed and kind != SEQUENCE_VALUES
    ]
    if not (order.same_data or order.no_return):
        reasons += ["it holds advisory locks, of which the other server knows nothing"] * bool(state.locks)
        reasons += ["it listens to channels that the other server does not share"] * bool(state.channels)
    if state.size > order.max_state_size:
        reasons.append(_too_large(state.size))
    return reasons


def _too_large(size: int) -> str:
    return f"its state has {size} bytes, which is more than max_state_size"


# -- without asking first ------------------------------------------------------------------------------------------


def _carry_at_once(tracked: Tracked, order: CarryOrder) -> Plan[Carried | None]:
    """Settings and prepared statements in one exchange; None when the old server had more to say, or other things."""
    state = tracked.state()
    refuse((*tracked.session.explain().reasons, *what_stands_against(state, order)))
    settings = [*setting_requests(state, tracked), *limit_requests(state)]
    statements = statement_requests(state)
    survey = survey_for(tracked, state.settings)
    answers = yield from ask_both(
        (survey, *unnamed_request(tracked)),
        (*settings, *statements, survey, *last_requests(state, tracked)),
    )
    old, new = read_survey(answers.old[0]), read_survey(answers.new[len(settings) + len(statements)])
    without = left_out(state, answers.new[len(settings) : len(settings) + len(statements)])
    failed = any(answer.error is not None for answer in answers.new[: len(settings)])
    more = old.temporary or old.locks or other_columns(tracked, old, new)
    if failed or more or differences(tracked, old, new, without):
        yield from ask(Side.NEW, Query("DISCARD ALL"))
        return None
    tracked.leave_behind(without, Absence.UNPARSED)
    return Carried(counts=state.counts, size=state.size)


def _carry_tracked(tracked: Tracked, order: CarryOrder) -> Plan[Carried]:
    """The old server is silent: two exchanges with the new one, and what only the old one knew is a reason not to."""
    state = tracked.state()
    refuse(
        (
            *tracked.session.explain().reasons,
            *tracked.lost_with_the_server(),
            *what_stands_against(state, order),
        )
    )
    settings = [*blank_requests(tracked), *setting_requests(state, tracked), *limit_requests(state)]
    statements, channels = statement_requests(state), listen_requests(state.channels)
    answers = yield from ask(Side.NEW, *settings, *statements, *channels)
    of_statements = answers[len(settings) : len(settings) + len(statements)]
    refuse_failed(
        [*settings, *channels], [*answers[: len(settings)], *answers[len(settings) + len(statements) :]]
    )
    without = left_out(state, of_statements)
    (answer, *_) = yield from ask(
        Side.NEW, survey_for(tracked, state.settings), *last_requests(state, tracked)
    )
    seen = read_survey(answer)
    names = {*(to_text(each.name) for each in state.prepared), *(each.name for each in state.by_sql)}
    if not (names - without <= seen.prepared.keys() and state.channels <= seen.channels):
        raise NotVerified("the new connection lacks prepared statements or channels")
    tracked.leave_behind(without, Absence.UNPARSED)
    return Carried(counts=state.counts, size=state.size)


def _note_new_side(tracked: Tracked) -> None:
    """What the next lease must know of the connection: that it carries this session's state already."""
    session, old, new = tracked.session, tracked.old, tracked.new
    new.last_session = session.id
    new.placeholders |= tracked.placeholders & old.placeholders
    new.tainted |= old.tainted
    new.spoilt |= old.spoilt
    session.left_behind.update(tracked.left_behind)
    if tracked.shared:
        new.label = session.label
