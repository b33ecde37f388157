"""The planned switchover: all sessions of the primary go to a standby, which becomes the primary (rule 23).

    check -> warm connections -> hold all sessions -> source read-only -> quiesced -> the target has all -> promote
    -> tell everybody -> move each session -> release -> demote the old primary

Up to the order to promote, whatever goes wrong is undone: the source is made writable, the sessions go on there, and
their clients have only waited. From then on there is only forward, and what a session loses is counted. Whether the
target has been promoted is never guessed: it is asked until it says so. If it never does, it is fenced, and the
source goes on; where it cannot be fenced, the source stays read-only, as two writable copies are worse than none.

Used by: composition.moving (makes it), migration.orchestrator (immediate mode over physical replication), admin
(starts and shows it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from math import isnan
from time import time

import structlog
import trio
from attrs import define, field

from helios_trio.cluster.placement import Diversion, Placement
from helios_trio.cluster.steward import Steward
from helios_trio.cluster.topology import Topology
from helios_trio.errors import HeliosError
from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.switchover_checks import choose_source
from helios_trio.migration.switchover_servers import Roles
from helios_trio.migration.switchover_sessions import Evacuation, finishing
from helios_trio.migration.switchover_steps import (
    NAMED,
    Course,
    Step,
    SwitchoverOrder,
    SwitchoverReport,
    SwitchoverSettings,
    SwitchoverStatus,
)
from helios_trio.pipeline.fleet import Fleet

_log = structlog.get_logger(__name__)


class _GivenUp(HeliosError):
    """An operator has thought better of it."""


@define(eq=False)
class Switchover:
    """Carries out switchovers, one at a time."""

    fleet: Fleet
    topology: Topology
    placement: Placement
    steward: Steward
    settings: SwitchoverSettings = field(factory=SwitchoverSettings)
    #: why none may begin now; empty: it may
    hindrance: Callable[[], str] = field(default=lambda: "")
    #: the last one that has ended
    last: SwitchoverReport | None = field(default=None, init=False)
    _course: Course | None = field(default=None, init=False)
    #: what can be cancelled while there is a way back
    _reversible: trio.CancelScope | None = field(default=None, init=False)
    #: those left by earlier switchovers, by source
    _diversions: dict[str, Diversion] = field(factory=dict, init=False)
    _ids: Iterator[int] = field(factory=lambda: count(1), init=False)

    # -- for those who order it --------------------------------------------------------------------------------

    async def check(self, order: SwitchoverOrder) -> None:
        """See whether a switchover could begin now. Raises migration.errors.OrderRefused when not."""
        with self._alone(order) as course:
            await self._roles(course).check()

    async def run(
        self,
        order: SwitchoverOrder,
        task_status: trio.TaskStatus[SwitchoverStatus] = trio.TASK_STATUS_IGNORED,
    ) -> SwitchoverReport:
        """Carry out a switchover; started once the target has been found fit, and then it ends in a report.

        Raises:
            OrderRefused: nothing has been begun (see `migration.errors`).
        """
        with self._alone(order) as course:
            await self._roles(course).check()
            task_status.started(course.status(trio.current_time()))
            try:
                await self._carry_out(course)
            finally:
                report = self.last = _ended(course)
        return report

    def status(self) -> SwitchoverStatus | None:
        """The one under way, else the last one; None when there was none."""
        return self.last if self._course is None else self._course.status(trio.current_time())

    @property
    def active(self) -> bool:
        """Whether one is under way."""
        return self._course is not None

    def give_up(self) -> bool:
        """Go back, if there still is a way back; returns whether there is."""
        if self._reversible is None:
            return False
        self._reversible.cancel()
        return True

    # -- the whole ---------------------------------------------------------------------------------------------

    async def _carry_out(self, course: Course) -> None:
        """Forward as far as possible; back, if that is not as far as the promotion."""
        roles, sessions = self._roles(course), Evacuation(course, self.fleet, self.settings)
        try:
            with trio.CancelScope() as self._reversible:
                await self._up_to_promotion(roles, sessions)
            if course.promoted is None:
                raise _GivenUp("it was given up")
        except (HeliosError, trio.TooSlowError) as error:
            await self._go_back(roles, sessions, error)
        except BaseException as error:
            await self._go_back(roles, sessions, error)
            raise
        else:
            await self._go_forward(roles, sessions)
        finally:
            self._reversible = None

    async def _up_to_promotion(self, roles: Roles, sessions: Evacuation) -> None:
        """All that can be undone, and the promotion."""
        await sessions.warm()
        await roles.prepare()
        with trio.fail_after(self.settings.window):
            await sessions.hold()
            await roles.make_read_only()
            quiet = False
            while not quiet:
                await roles.quiesce()
                quiet = await roles.catch_up()
        await trio.lowlevel.checkpoint_if_cancelled()  # who was told that it is given up must not be deceived
        self._reversible = None
        await roles.promote()

    async def _go_back(self, roles: Roles, sessions: Evacuation, error: BaseException) -> None:
        """The source goes on as if nothing had happened. What cannot be undone is in the errors."""
        course = roles.course
        course.failure = _reason(error, course)
        course.enter(Step.ROLL_BACK, trio.current_time())
        await roles.undo(error)
        if not isnan(course.held_at):
            await sessions.release()
        if course.fenced:
            course.enter(Step.DEMOTE, trio.current_time())
            await roles.retire(course.target, course.source)

    async def _go_forward(self, roles: Roles, sessions: Evacuation) -> None:
        """What follows from there being a new primary: nothing stops it but deadlines."""
        course = roles.course
        self._redirect(course)
        try:
            async with finishing(self.settings.forward_time_limit, self.settings.last_words):
                course.enter(Step.MOVE, trio.current_time())
                await sessions.move_all()
        finally:
            sessions.settle_rest()
            await sessions.release()
        course.enter(Step.DEMOTE, trio.current_time())
        await sessions.move_late_ones()
        await roles.look_for_late_writes()
        await roles.retire(course.source, course.target)

    # -- parts -------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, order: SwitchoverOrder) -> Iterator[Course]:
        """One at a time. Raises OrderRefused: another is under way, or this makes no sense."""
        if self._course is not None:
            raise Conflict([Fault("", f"a switchover to {self._course.target} is under way")])
        if hindrance := self.hindrance():
            raise Conflict([Fault("", hindrance)])
        source = choose_source(self.topology, self.placement, order.target)
        now = trio.current_time()
        self._course = Course(
            id=next(self._ids),
            source=source,
            target=order.target,
            reason=order.reason,
            began=now,
            step_began=now,
            started_at=time(),
        )
        try:
            yield self._course
        finally:
            self._course = None
            self.steward.close()

    def _roles(self, course: Course) -> Roles:
        return Roles(course, self.topology, self.steward, self.settings)

    def _redirect(self, course: Course) -> None:
        """From here on writes, and whoever comes, go to the target; no probe's answer can turn that back."""
        source, target = course.source, course.target
        assert course.promoted is not None
        self.topology.note_answer(target, course.promoted, trio.current_time())
        self.topology.depose(source, f"{target} has succeeded it")
        self.placement.end(self._diversions.pop(target, None))
        diversion = Diversion(source, target, 100.0)
        self.placement.divert(diversion, instead_of=self._diversions.get(source))
        self._diversions[source] = diversion


def _ended(course: Course) -> SwitchoverReport:
    """Close the course and log what became of it."""
    course.end(trio.current_time())
    report = course.report()
    say = _log.warning if report.failure or report.errors or report.lost else _log.info
    say(
        "switchover ended",
        outcome=course.outcome and course.outcome.value,
        source=report.source,
        target=report.target,
        failure=report.failure,
        write_pause=round(report.write_pause, 3),
        moved=report.moved,
        lost=report.lost,
        seconds={step.value: round(seconds, 3) for step, seconds in report.seconds.items()},
        errors=report.errors[:NAMED],
    )
    return report


def _reason(error: BaseException, course: Course) -> str:
    """Why a step ended, for people."""
    if isinstance(error, HeliosError):
        return error.message
    if isinstance(error, trio.TooSlowError):
        waiting = f" ({', '.join(course.waiting_for[:NAMED])})" if course.waiting_for else ""
        return f"{course.step} took too long{waiting}"
    if isinstance(error, trio.Cancelled | KeyboardInterrupt):
        return f"it was interrupted while {course.step}"
    return f"{type(error).__name__} while {course.step}"
