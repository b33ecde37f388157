"""A switchover that ends as a test says, when it says so."""

from __future__ import annotations

from typing import Any

import trio
from attrs import define, evolve, field, fields

from helios_trio.migration.switchover_steps import (
    Step,
    SwitchoverOrder,
    SwitchoverOutcome,
    SwitchoverReport,
    SwitchoverStatus,
)

#: Nine were moved and one was lost; writes were held for a quarter of a second. What is not here is 0.
KNOWN: dict[str, Any] = {
    "id": 1,
    "source": "blue",
    "target": "gold",
    "reason": "upgrade",
    "step": Step.DEMOTE,
    "elapsed": 1.5,
    "outcome": SwitchoverOutcome.COMPLETED,
    "failure": "",
    "held": 10,
    "moved": 9,
    "lost": 1,
    "waiting_for": (),
    "errors": (),
    "warnings": (),
    "write_pause": 0.25,
    "seconds": {},
    "moves": {},
    "demotion": None,
}
REPORT = SwitchoverReport(**{each.name: KNOWN.get(each.name, 0) for each in fields(SwitchoverReport)})


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
            return evolve(self.report, outcome=None, step=Step.HOLD, moved=0, lost=0, remaining=10)
        return self.last
