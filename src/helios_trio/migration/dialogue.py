"""Does the steps of a plan of `session.carrying` over two conversations, one with the old server and one with the new.

A step that was begun is always ended: a plan that gave up a lock must know how often it had it. So when the move is
given up (its time is over, its client has gone) what is under way is brought to its end, the plan is told in place of
its next step, and does what puts the old side right. All that has a limit of time.

Used by: migration.transfer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

import trio
from attrs import define, field

from helios_trio.errors import BackendLost, HeliosError
from helios_trio.migration.conversation import Conversation, Reading, query_frame
from helios_trio.migration.copying import CopyRelay
from helios_trio.session.carrying.steps import (
    Answer,
    Answers,
    Collect,
    Exchange,
    Pause,
    Plan,
    Query,
    Side,
    Start,
    Step,
    Stream,
    Streamed,
)
from helios_trio.session.carrying.undo import CannotGiveBack
from helios_trio.wire import replies

T = TypeVar("T")

#: Seconds in which a move that is given up must have put right what it has touched.
UNDO_TIME: Final = 5.0


class GivenUp(HeliosError):
    """The move is not wanted any more, or took too long."""

    sqlstate = "57014"
    code = "given_up"


class _Course(Generic[T]):
    """A plan that is being followed: a coroutine must not raise the StopIteration that a generator ends with."""

    def __init__(self, plan: Plan[T]) -> None:
        self._plan = plan
        self.result: T

    def send(self, outcome: Any) -> Step | None:
        """The next step; None when the plan has come to its end, with a `result`."""
        try:
            return self._plan.send(outcome)
        except StopIteration as end:
            self.result = end.value
            return None

    def throw(self, error: HeliosError) -> Step | None:
        """The same when something came in the way. Raises what the plan makes of it."""
        try:
            return self._plan.throw(error)
        except StopIteration as end:
            self.result = end.value
            return None


@define(eq=False)
class Dialogue:
    """The two sides of a session that is being carried."""

    old: Conversation
    new: Conversation
    _started: dict[Side, Reading] = field(factory=dict)
    _loss_noticed: bool = False
    #: ends the step that is under way
    _end: Callable[[], Awaitable[Any]] | None = None

    async def follow(self, plan: Plan[T]) -> T:
        """Do all steps of a plan and return its result.

        Raises what the plan raises. It is thrown what comes in the way of a step (BackendLost).
        """
        course = _Course(plan)
        step = course.send(None)
        while step is not None:
            self._end = None
            try:
                self._notice_loss()
                outcome = await self._do(step)
            except HeliosError as error:
                step = course.throw(error)
            except trio.Cancelled:
                if not await self._give_up(course):
                    raise
                break  # it was the last step, and there is no way back from it
            else:
                step = course.send(outcome)
        return course.result

    def _notice_loss(self) -> None:
        """A new server that has died must be noticed before the old one is asked for more. Raises BackendLost once."""
        if self.new.error is not None and not self._loss_noticed:
            self._loss_noticed = True
            raise BackendLost(f"lost the new connection while a session was moved: {self.new.error}")

    async def _give_up(self, course: _Course[T]) -> bool:
        """Nobody waits for the plan any more: it puts the old side right.

        True when it has come to its end all the same: there was nothing left to give up. Raises CannotGiveBack.
        """
        with trio.move_on_after(UNDO_TIME) as scope:
            scope.shield = True
            if self._end is not None and not await self._end_step(course):
                return True
            try:
                step = course.throw(GivenUp("the move was given up"))
                while step is not None:
                    step = await self._put_right(course, step)
            except CannotGiveBack:
                raise
            except HeliosError:  # what the plan was thrown: it has done all that was to be done
                return False
            return False
        raise CannotGiveBack("the old server did not answer in time when the move was given up")

    async def _end_step(self, course: _Course[T]) -> bool:
        """What is under way is brought to its end, and the plan told; False when that was the end of the plan."""
        assert self._end is not None
        try:
            outcome = await self._end()
        except HeliosError:  # the plan is thrown that it was given up, in place of what came of this step
            return True
        return course.send(outcome) is not None

    async def _put_right(self, course: _Course[T], step: Step) -> Step | None:
        try:
            outcome = await self._do(step)
        except HeliosError as error:
            return course.throw(error)
        return course.send(outcome)

    # -- steps: each is begun at once, and its end can be waited for again after a cancellation ------------------

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await trio.sleep(step.seconds)
        if isinstance(step, Exchange):
            readings = self.old.say(*step.old), self.new.say(*step.new)
            self._end = partial(self._answers, *readings)
        elif isinstance(step, Start):
            (self._started[step.side],) = self._side(step.side).say(step.request)
            return None
        elif isinstance(step, Collect):
            self._end = partial(self._collected, step.side)
        else:
            return await self._stream(step)
        return await self._end()

    def _side(self, side: Side) -> Conversation:
        return self.old if side is Side.OLD else self.new

    async def _answers(self, old: list[Reading], new: list[Reading]) -> Answers:
        if old:
            await self.old.settle()
        if new:
            await self.new.settle()
        return Answers(tuple(each.answer for each in old), tuple(each.answer for each in new))

    async def _collected(self, side: Side) -> Answer:
        """Of what was started, if it was: a plan that puts things right may not know."""
        await self._side(side).settle()
        found = self._started.pop(side, None)
        return Answer() if found is None else found.answer

    async def _stream(self, step: Stream) -> Streamed:
        """COPY out of the old side into the new one."""
        (writing,) = self.new.say(Query(step.copy_in))
        self._end = partial(self._written, writing)
        await self.new.wait_for_copy()
        if writing.error is not None:
            return Streamed(error=writing.error)
        relay = self.old.copying = self.new.copying = CopyRelay(self.old.connection, self.new.connection)
        reading = Reading(self.old.codec, _nobody)
        self._end = partial(self._abandoned, relay, reading, writing)
        self.old.connection.side.replies.watch(replies.QUERY, reading)
        self.old.connection.send(query_frame(step.copy_out, self.old.codec))
        await self.old.settle()
        relay.finish(reading.error is None)
        return await self._streamed(relay, reading, writing)

    async def _written(self, writing: Reading) -> Streamed:
        """The new side was asked to take rows, and there will be none."""
        await self.new.wait_for_copy()
        CopyRelay(self.old.connection, self.new.connection).finish(False)
        await self.new.settle()
        return Streamed(error=writing.error)

    async def _abandoned(self, relay: CopyRelay, reading: Reading, writing: Reading) -> Streamed:
        relay.abandon()
        return await self._streamed(relay, reading, writing)

    async def _streamed(self, relay: CopyRelay, reading: Reading, writing: Reading) -> Streamed:
        await self.old.settle()
        await self.new.settle()
        self.old.copying = self.new.copying = None
        error = writing.error if reading.error is None else reading.error
        return Streamed(_count(writing.tags), relay.size, error)


def _nobody() -> None:
    """The old side sends rows, and takes none."""


def _count(tags: list[str]) -> int:
    """The number in `COPY 1000`."""
    number = tags[-1].rpartition(" ")[2] if tags else ""
    return int(number) if number.isdigit() else 0
