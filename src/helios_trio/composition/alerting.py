"""Alerts - what is told, to whom, how - made from a configuration and wired to the log of events.

Used by: composition.activities (makes it), app (runs it), cli.alerting.
"""

from __future__ import annotations

import socket
import uuid

import trio
from attrs import define

from helios_trio.config import Config
from helios_trio.config.alerts import AlertSettings
from helios_trio.features.alerts.core import AlertCore, Naming
from helios_trio.features.alerts.receiver import Delivery
from helios_trio.features.alerts.rules import wanted
from helios_trio.features.alerts.service import AlertService
from helios_trio.features.alerts.targets import targets_of
from helios_trio.migration.events import EventLog


@define(eq=False, kw_only=True)
class Alerting:
    """See the module. It is there without a receiver, too, so that a reload can bring one."""

    service: AlertService

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell receivers what happens until cancelled."""
        await self.service.run(task_status)

    def reconfigure(self, config: Config) -> None:
        """Take over other receivers, switches and times."""
        settings, core = config.alerts, self.service.core
        core.naming, core.window, core.topics = naming_of(settings), settings.dedup_window, wanted(settings)
        self.service.reconfigure(targets_of(settings), delivery_of(settings))


def alerting_of(config: Config, events: EventLog) -> Alerting:
    """Make all of it."""
    settings = config.alerts
    core = AlertCore(naming_of(settings), settings.dedup_window, wanted(settings))
    service = AlertService(
        core=core, events=events, delivery=delivery_of(settings), targets=targets_of(settings)
    )
    return Alerting(service=service)


def delivery_of(settings: AlertSettings) -> Delivery:
    """How alerts are delivered."""
    return Delivery(
        timeout=settings.timeout,
        retry_for=settings.retry_for,
        queue_size=settings.queue_size,
        ca_file=settings.ca_file,
    )


def naming_of(settings: AlertSettings) -> Naming:
    """How alerts of this proxy are told from those of others."""
    return Naming(source=settings.source or socket.gethostname(), new_id=lambda: uuid.uuid4().hex)
