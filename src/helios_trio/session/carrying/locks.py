"""Session advisory locks from one connection to the other (rule 12).

They are counted, and `pg_locks` shows only that there are some: the count is found by giving them up. Over one lock
space, a connection queues behind the other, which then lets go: nobody else can be in between, and if somebody waits
already, the locks stay where they are. Over two lock spaces (the new server was promoted, and knows none of them) the
locks are simply taken again.

Used by: session.carrying.carry, as the last step before the point of no return.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from attrs import define, frozen

from helios_trio.errors import HeliosError
from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.steps import (
    Answer,
    Plan,
    Query,
    Side,
    ask,
    collect,
    one_value,
    pause,
    start,
)
from helios_trio.session.carrying.survey import UNHURRIED, AdvisoryLock
from helios_trio.session.carrying.undo import Undo

#: Milliseconds that a connection queues for a lock that the other one is about to give up.
_QUEUE_TIME: Final = 2000
#: How often it is looked whether the connection has queued, and seconds between.
_LOOKS: Final = 100
_LOOK_INTERVAL: Final = 0.002


@frozen
class Held:
    """How often a key is held."""

    exclusive: int
    shared: int


class NotQueued(HeliosError):
    """A connection was told to wait for a lock, and does not: it may be lost."""

    code = "not_queued"


@frozen
class Pids:
    """The server processes of both sides."""

    old: int
    new: int

    def of(self, side: Side) -> int:
        """Of one of them."""
        return self.old if side is Side.OLD else self.new


#: key -> shared, exclusive: whether it is held so
Locks: TypeAlias = Mapping[AdvisoryLock, tuple[bool, bool]]


def hand_over_locks(locks: Locks, pids: Pids, undo: Undo) -> Plan[int]:
    """One lock space: key by key from the old side to the new one; how many locks there were, counted.

    Raises CannotCarry when somebody waits for one of them, NotQueued, CarryFailed.
    """
    total = 0
    for key, (shared, exclusive) in locks.items():
        handover = _Handover(key, pids, shared, exclusive)
        undo.add(handover.take_back)
        held = yield from handover.run()
        total += held.exclusive + held.shared
    return total


def take_locks(locks: Locks) -> Plan[int]:
    """Two lock spaces: what the old side had is taken on the new side. Raises CarryFailed."""
    total = 0
    for key, (shared, exclusive) in locks.items():
        held = yield from _release(key, Side.OLD, shared=shared, exclusive=exclusive)
        _check(key, *(yield from ask(Side.NEW, _first(key, exclusive=exclusive))))
        yield from _take_rest(key, Side.NEW, held)
        total += held.exclusive + held.shared
    return total


# -- one key -------------------------------------------------------------------------------------------------------


@define(eq=False)
class _Handover:
    """One key on its way from the old side to the new one, and back if need be."""

    key: AdvisoryLock
    pids: Pids
    shared: bool
    exclusive: bool
    queued: bool = False
    held: Held | None = None

    def run(self) -> Plan[Held]:
        """The new side has the key as often as the old one had it, and the old one has it no more."""
        key = self.key
        (waiting,) = yield from ask(Side.OLD, _waiting(key))
        if _value(key, waiting) != "0":
            raise self._refusal
        if self.exclusive:
            self.queued = True
            yield from start(Side.NEW, _first(key, exclusive=True).text)
            if not (yield from _stands_behind(key, Side.NEW, Side.OLD, self.pids)):
                raise self._refusal
        else:  # beside the old one
            _check(key, *(yield from ask(Side.NEW, _first(key, exclusive=False))))
        self.held = yield from _release(key, Side.OLD, shared=self.shared, exclusive=self.exclusive)
        if self.exclusive:
            granted = yield from collect(Side.NEW)
            self.queued = False
            _check(key, granted)
        yield from _take_rest(key, Side.NEW, self.held)
        return self.held

    @property
    def _refusal(self) -> CannotCarry:
        return CannotCarry((f"others wait for advisory lock {self.key}",))

    def take_back(self) -> Plan[None]:
        """The same way in the other direction, as far as the new side can still be spoken with."""
        if self.queued:
            yield from _whatever_comes(self._end_queueing())
        if self.held is None:
            return
        yield from start(Side.OLD, _first(self.key, exclusive=self.exclusive).text)
        yield from _whatever_comes(self._let_go_again())
        _check(self.key, (yield from collect(Side.OLD)))
        yield from _take_rest(self.key, Side.OLD, self.held)

    def _end_queueing(self) -> Plan[None]:
        """The new side has the key by now; or it waits in vain, for a moment if its role may not cancel it."""
        if self.held is None:
            yield from ask(Side.OLD, Query(f"SELECT pg_catalog.pg_cancel_backend({self.pids.new})"))
        yield from collect(Side.NEW)

    def _let_go_again(self) -> Plan[None]:
        if self.exclusive:  # it may have got the key at once
            yield from _whatever_comes(_stands_behind(self.key, Side.OLD, Side.NEW, self.pids))
        yield from _release(self.key, Side.NEW, shared=self.shared, exclusive=self.exclusive)


def _whatever_comes(plan: Plan[Any]) -> Plan[None]:
    """The new side may be gone, and the locks with it: then there is nothing to be asked of it."""
    try:
        yield from plan
    except HeliosError:
        return


def _stands_behind(key: AdvisoryLock, taker: Side, giver: Side, pids: Pids) -> Plan[bool]:
    """Whether the taker has queued right behind the giver; there may be others in front of it. Raises NotQueued."""
    question = Query(f"SELECT pg_catalog.pg_blocking_pids({pids.of(taker)})")
    for _ in range(_LOOKS):
        (blocking,) = yield from ask(giver, question)
        found = _value(key, blocking)
        if found != "{}":
            return found == f"{{{pids.of(giver)}}}"
        yield from pause(_LOOK_INTERVAL)
    raise NotQueued(f"the other connection did not queue for advisory lock {key}")


def _waiting(key: AdvisoryLock) -> Query:
    return Query(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND NOT granted"
        f" AND classid = {key.classid} AND objid = {key.objid} AND objsubid = {key.subid}"
        " AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    )


def _first(key: AdvisoryLock, *, exclusive: bool) -> Query:
    return Query(
        f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {_QUEUE_TIME}; {_lock(key, exclusive=exclusive)}"
    )


def _lock(key: AdvisoryLock, *, exclusive: bool, times: int = 1) -> str:
    function = "pg_advisory_lock" if exclusive else "pg_advisory_lock_shared"
    return f"SELECT pg_catalog.{function}({key.arguments}) FROM pg_catalog.generate_series(1, {times})"


def _release(key: AdvisoryLock, side: Side, *, shared: bool, exclusive: bool) -> Plan[Held]:
    """Unlock until there is nothing left to unlock, and count."""
    asked = (("", exclusive), ("_shared", shared))
    counts = ", ".join(_unlock(key, suffix) if held else "0" for suffix, held in asked)
    (answer,) = yield from ask(side, Query(f"{UNHURRIED}SELECT {counts}"))
    _check(key, answer)
    exclusives, shares = answer.rows[0]
    return Held(int(exclusives or 0), int(shares or 0))


def _unlock(key: AdvisoryLock, suffix: str) -> str:
    """Stops at the first one that says false, which costs one WARNING."""
    call = f"SELECT pg_catalog.pg_advisory_unlock{suffix}({key.arguments})"
    calls = f"WITH RECURSIVE u(ok) AS ({call} UNION ALL {call} FROM u WHERE ok)"
    return f"({calls} SELECT pg_catalog.count(*) FROM u WHERE ok)"


def _take_rest(key: AdvisoryLock, side: Side, held: Held) -> Plan[None]:
    """One was taken already: of the exclusive ones if there are any."""
    counts = ((True, held.exclusive - 1), (False, held.shared - (not held.exclusive)))
    texts = [_lock(key, exclusive=exclusive, times=times) for exclusive, times in counts if times > 0]
    if texts:
        _check(key, *(yield from ask(side, Query(UNHURRIED + "; ".join(texts)))))


def _value(key: AdvisoryLock, answer: Answer) -> str | None:
    _check(key, answer)
    return one_value(answer)


def _check(key: AdvisoryLock, *answers: Answer) -> None:
    for answer in answers:
        if answer.error is not None:
            raise CarryFailed(f"handing over advisory lock {key}", answer.error)
