"""A switchover that ends as a test says, when it says so."""

from __future__ import annotations

import trio
from attrs import define, evolve, field

from helios_trio.migration.switchover_steps import (
    Course,
    Step,
    SwitchoverOrder,
    SwitchoverOutcome,
    SwitchoverReport,
    SwitchoverStatus,
)
from helios_trio.pipeline.fleet import MoveOutcome


def make_course() -> Course:
    """Ten sessions are held, and none has been moved yet."""
    course = Course(
        id=1, source="blue", target="gold", reason="upgrade", began=0.0, started_at=0.0, step_began=0.0
    )
    course.held, course.held_at = 10, 1.0
    course.enter(Step.HOLD, 1.0)
    return course


def make_report() -> SwitchoverReport:
    """Nine were moved and one was lost; writes were held for a quarter of a second."""
    course = make_course()
    course.moves[MoveOutcome.MOVED], course.moves[MoveOutcome.FAILED] = 9, 1
    course.released_at = 1.25
    course.end(SwitchoverOutcome.COMPLETED, 1.5)
    return course.report()


REPORT = make_report()


@define(eq=False)
class FakeSwitchover:
    """See `migration.means.Switchover`."""

    report: SwitchoverReport = REPORT
    error: Exception | None = None
    reversible: bool = True
    orders: list[SwitchoverOrder] = field(factory=list)
    go_on: trio.Event = field(factory=trio.Event)
    last: SwitchoverReport | None = None

    async def run(self, order: SwitchoverOrder) -> SwitchoverReport:
        self.orders.append(order)
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        self.last = self.report
        return self.report

    def give_up(self) -> bool:
        if self.reversible:
            self.report = evolve(
                self.report, outcome=SwitchoverOutcome.ROLLED_BACK, failure="given up", moved=0
            )
            self.go_on.set()
        return self.reversible

    def status(self) -> SwitchoverStatus | None:
        if self.orders and self.last is None:
            return make_course().status(1.1)
        return self.last
