"""What the single parts of a move cost, measured inside this process on real sessions. Called by `migration`.

Parts that wait for nobody are counted by processor time, so that what else runs on the machine does not count;
percentiles are of real time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Final

import trio
from attrs import frozen

from harness import crowd
from harness.crowd import Belongings, Crowd
from harness.figures import percentile
from harness.inside import Inside, running_inside
from harness.servers import DATABASE, SESSION_DATABASE, TWINS, Target
from helios_trio.migration.conversation import Conversation
from helios_trio.migration.dialogue import Dialogue
from helios_trio.pipeline.fleet import MoveOrder, MoveOutcome
from helios_trio.proxy.session import Session
from helios_trio.session.carrying.capture import capture
from helios_trio.session.carrying.tracked import Tracked

SETTINGS_EACH, STATEMENTS_EACH = 2, 3  # sessions of each kind: the shares of the use case
AT_ONCE: Final = 10  # captures that ask the server, and wait for it, at the same time
TRACKED: Final = 20_000  # how often each is done
ASKED: Final = 1_000
CARRIED: Final = 20
HAND_OFFS: Final = 10_000
TESTS: Final = 200_000


@frozen
class Pace:
    """How fast something goes."""

    per_s: float
    p99_ms: float


@frozen
class Parts:
    """What was measured."""

    tracked: Pace
    asked: Pace
    handoffs: Pace
    safe_point_us: float
    """A session that is to stand still and is in a transaction: whether it is at its safe point now."""
    standstill_us: float
    """An idle session is brought to a standstill and let go."""
    carried_ms: Mapping[str, float]
    """Processor time of the proxy for moving a session that has one kind of state (`crowd.Belongings.kind`)."""


async def measure(direct: Target) -> Parts:
    """All of them, one after another. Raises OSError, RuntimeError."""
    async with running_inside(direct) as inside:
        mixture = [crowd.settings(each) for each in range(SETTINGS_EACH)]
        mixture += [crowd.statements() for _ in range(STATEMENTS_EACH)]
        some = await _come_in(inside, mixture * (AT_ONCE // len(mixture)), SESSION_DATABASE)
        shared = await _come_in(inside, mixture[:SETTINGS_EACH], DATABASE)
        sessions = inside.sessions(SESSION_DATABASE)
        single = [crowd.temporary_table(), crowd.statements(), crowd.settings(0)]
        parts = Parts(
            tracked=tracked_captures(sessions),
            asked=await asked_captures(sessions),
            handoffs=await hand_offs(inside, inside.sessions(DATABASE)),
            safe_point_us=await safe_point_us(some, sessions),
            standstill_us=_microseconds(partial(_stop_and_go, sessions[0]), TESTS // 10),
            carried_ms={each.kind: await carried_ms(inside, each) for each in single},
        )
        await _part(some)
        await _part(shared)
    return parts


async def _come_in(inside: Inside, everything: Sequence[Belongings], database: str) -> Crowd:
    return await Crowd.gather(inside.target, everything, database)


async def _part(some: Crowd) -> None:
    """Let them go. Raises RuntimeError: they do not have what they had."""
    await some.check()
    if some.failures:
        raise RuntimeError(f"sessions are not what they were: {some.failures}")
    await some.leave()


# -- captures --------------------------------------------------------------------------------------------------


def tracked_captures(sessions: Sequence[Session]) -> Pace:
    """The state of a session, and whether it may be carried, from what was tracked."""
    return _pace([partial(_capture_tracked, each) for each in sessions], TRACKED)


def _capture_tracked(session: Session) -> None:
    state = _tracked(session).state()
    assert not session.virtual.explain().reasons
    assert state.settings or state.prepared


def _tracked(session: Session) -> Tracked:
    connection = session.leased_connection
    assert connection is not None, "in session mode it has one all the time"
    return Tracked.of(session.virtual, connection.side, connection.side, shared=session.shared)


async def asked_captures(sessions: Sequence[Session]) -> Pace:
    """The same, with the old server asked whether that is all: as many at a time as there are sessions."""
    times: list[int] = []
    began = time.perf_counter_ns()
    async with trio.open_nursery() as nursery:
        for each in sessions:
            nursery.start_soon(_capture_asked, each, times, ASKED // len(sessions))
    return Pace(_per_s(len(times), time.perf_counter_ns() - began), _p99_ms(times))


async def _capture_asked(session: Session, times: list[int], count: int) -> None:
    connection = session.leased_connection
    assert connection is not None
    async with session.standstill.standing():
        with Conversation(connection, _ignore) as old:
            dialogue = Dialogue(old, old)  # a capture says nothing to the new side
            for _ in range(count):
                began = time.perf_counter_ns()
                state = await dialogue.follow(capture(_tracked(session)))
                times.append(time.perf_counter_ns() - began)
                assert not state.missed


def _ignore(_: bytes) -> None:
    """Nobody notifies these sessions."""


# -- hand-offs -------------------------------------------------------------------------------------------------


async def hand_offs(inside: Inside, sessions: Sequence[Session]) -> Pace:
    """A session between its transactions goes from one pool to the other, and the next time back."""
    ids = [each.virtual.id for each in sessions]
    orders = [MoveOrder(target=name) for name in reversed(TWINS)]
    for order in orders:  # both pools have a connection afterwards
        for id in ids:
            await _move(inside, id, order)
    times: list[int] = []
    began = time.thread_time_ns()
    for order in islice(cycle(orders), HAND_OFFS // len(ids)):
        for id in ids:
            start = time.perf_counter_ns()
            await _move(inside, id, order)
            times.append(time.perf_counter_ns() - start)
    return Pace(_per_s(len(times), time.thread_time_ns() - began), _p99_ms(times))


async def _move(inside: Inside, id: int, order: MoveOrder) -> None:
    report = await inside.fleet.move(id, order)
    if report.outcome is not MoveOutcome.MOVED:
        raise RuntimeError(f"session {id} was not moved: {report}")


async def carried_ms(inside: Inside, belongings: Belongings) -> float:
    """A session in session mode goes to and fro, each time to a connection that was there already."""
    before = {each.virtual.id for each in inside.sessions(SESSION_DATABASE)}
    one = await _come_in(inside, [belongings], SESSION_DATABASE)
    (id,) = {each.virtual.id for each in inside.sessions(SESSION_DATABASE)} - before
    orders = [MoveOrder(target=name) for name in reversed(TWINS)]
    for order in orders:
        await _move(inside, id, order)
    began = time.thread_time()
    for order in islice(cycle(orders), CARRIED):
        await _move(inside, id, order)
    seconds = time.thread_time() - began
    await _part(one)
    return 1000 * seconds / CARRIED


# -- safe points -----------------------------------------------------------------------------------------------


async def safe_point_us(some: Crowd, sessions: Sequence[Session]) -> float:
    """The test that everything a session does calls while somebody waits for its safe point."""
    await crowd.say(some.clients[:1], "BEGIN")
    (session,) = [each for each in sessions if each.in_transaction]
    session.standstill.want()
    try:
        assert not session.standstill.reached
        return _microseconds(session.standstill.check, TESTS)
    finally:
        session.standstill.let_go()
        await crowd.say(some.clients[:1], "COMMIT")


def _stop_and_go(session: Session) -> None:
    standstill = session.standstill
    standstill.want()
    assert standstill.reached
    standstill.let_go()


# -- clocks ----------------------------------------------------------------------------------------------------


def _pace(calls: Sequence[Callable[[], None]], count: int) -> Pace:
    """Of calls that wait for nobody, done in turns."""
    times: list[int] = []
    began = time.thread_time_ns()
    for call in islice(cycle(calls), count):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return Pace(_per_s(count, time.thread_time_ns() - began), _p99_ms(times))


def _microseconds(call: Callable[[], None], count: int) -> float:
    began = time.thread_time_ns()
    for _ in range(count):
        call()
    return (time.thread_time_ns() - began) / count / 1000


def _per_s(count: int, nanoseconds: int) -> float:
    return count / nanoseconds * 1e9


def _p99_ms(times: Sequence[int]) -> float:
    return percentile(sorted(times), 99) / 1e6
