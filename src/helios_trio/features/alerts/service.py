"""Tells the receivers what happens: hears events, and hands alerts to each receiver's own task.

Whoever notes an event is delayed by a look into a table, whatever the receivers do.

Used by: composition.alerting (makes and runs it), admin.metric_alerts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping

import trio
from attrs import define, field

from helios_trio.features.alerts.alert import Alert
from helios_trio.features.alerts.core import AlertCore
from helios_trio.features.alerts.receiver import AlertCounters, Delivery, Opener, Receiver
from helios_trio.features.alerts.rules import RULES
from helios_trio.features.alerts.targets import Target, takes
from helios_trio.migration.events import Event, EventLog
from helios_trio.net.post import open_poster


@define(eq=False, kw_only=True)
class AlertService:
    """Runs the receivers."""

    core: AlertCore
    events: EventLog
    delivery: Delivery
    targets: Mapping[str, Target]
    #: seconds since 1970 (UTC)
    clock: Callable[[], float] = time.time
    #: from 0 to 1, another one each time
    chance: Callable[[], float] = random.random
    opener: Opener = open_poster
    #: by the name of each receiver that there is or was
    counters: dict[str, AlertCounters] = field(factory=dict, init=False)
    _receivers: dict[str, Receiver] = field(factory=dict, init=False)
    _scopes: dict[str, trio.CancelScope] = field(factory=dict, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)
    _woken: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        for name in self.targets:
            self.counters[name] = AlertCounters()

    @property
    def waiting(self) -> Mapping[str, int]:
        """Alerts that wait, by the receiver's name."""
        return {name: receiver.waiting for name, receiver in self._receivers.items()}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, then try what waits once more; what happened before is told, as far as it is kept."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                with self.events.listening(self._hear):
                    self._replace_receivers(self.targets)
                    for event in self.events.since(0):
                        self._hear(event)
                    task_status.started()
                    await self._watch_the_clock()
            finally:
                self._nursery = None
                self._receivers.clear()
                self._scopes.clear()

    def reconfigure(self, targets: Mapping[str, Target], delivery: Delivery) -> None:
        """Take over other receivers; what waits for one goes to the new one of the same name."""
        self.targets, self.delivery = targets, delivery
        if self._nursery is not None:
            self._replace_receivers(targets)
        self._woken.set()  # how long alerts are kept back may have changed

    def _replace_receivers(self, targets: Mapping[str, Target]) -> None:
        for name in [*self._receivers]:
            if name not in targets:
                self._scopes.pop(name).cancel()
                self._receivers.pop(name).give_up_all()
        for name, target in targets.items():
            before = self._receivers.get(name)
            if before is None or (before.target, before.delivery) != (target, self.delivery):
                self._start(name, target, before)

    def _start(self, name: str, target: Target, before: Receiver | None) -> None:
        assert self._nursery is not None, "it runs"
        receiver = Receiver(
            name=name,
            target=target,
            delivery=self.delivery,
            counters=self.counters.setdefault(name, AlertCounters()),
            clock=self.clock,
            chance=self.chance,
            opener=self.opener,
        )
        if before is not None:
            self._scopes.pop(name).cancel()
            receiver.take_from(before)
        self._receivers[name] = receiver
        self._scopes[name] = scope = trio.CancelScope()
        self._nursery.start_soon(_run_within, scope, receiver)

    # -- what happens ------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        if event.kind in RULES:  # most are not, and are over with this
            self._tell(self.core.hear(event, trio.current_time()))
            self._woken.set()

    def _tell(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            for receiver in self._receivers.values():
                if takes(receiver.target, alert):
                    receiver.put(alert)

    async def _watch_the_clock(self) -> None:
        """Tell what was kept back when its time has come."""
        while True:
            self._tell(self.core.due(trio.current_time()))
            self._woken = trio.Event()
            with trio.move_on_at(self.core.next_due()):
                await self._woken.wait()


async def _run_within(scope: trio.CancelScope, receiver: Receiver) -> None:
    with scope:
        try:
            await receiver.run()
        finally:
            if not scope.cancel_called:  # it is not another receiver that goes on: the proxy ends
                await receiver.say_the_rest()
