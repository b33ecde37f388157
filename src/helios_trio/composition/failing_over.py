"""What takes over when a primary dies - the failover controller - made from a configuration and wired to the rest.

Used by: composition.activities (makes it, reconfigures it), app (runs it).
"""

from __future__ import annotations

import time

from helios_trio.composition.core import Core
from helios_trio.composition.moving import Moving, steward_of, switchover_settings
from helios_trio.config import Config, FailoverMode
from helios_trio.control.connection import ControlConnection
from helios_trio.failover.alerts import Alerts
from helios_trio.failover.controller import Controller
from helios_trio.failover.examination import Examiner, Knocker
from helios_trio.failover.fencing import Fencing
from helios_trio.failover.means import Means
from helios_trio.failover.redirection import Redirection
from helios_trio.failover.sessions import LocalSessions
from helios_trio.failover.tokens import TokenCheck
from helios_trio.pipeline.backend import Backend


def controller_of(config: Config, core: Core, moving: Moving) -> Controller | None:
    """Make it, and have it hear of trouble with connections; None: nobody takes over."""
    settings, switchover = config.failover, moving.switchover
    if not settings.enabled or settings.mode is FailoverMode.DISABLED:
        return None
    controller = Controller(_means_of(config, core, moving))
    if switchover is not None:
        switchover.hindrance = lambda: controller.active
    core.pools.on_trouble = controller.suspect
    reconfigure(controller, config)
    return controller


def _means_of(config: Config, core: Core, moving: Moving) -> Means:
    topology, placement, switchover = core.topology, core.placement, moving.switchover

    async def connect(backend: Backend) -> ControlConnection:
        connection = await core.control.connect(backend)
        connection.cancel_grace = 0.0  # one that does not answer is given up, not asked to cancel
        return connection

    steward = steward_of(core, connect)
    return Means(
        topology=topology,
        redirection=Redirection(topology, placement),
        steward=steward,
        examiner=Examiner(topology, connect, Knocker(config.control.user, config.control.database)),
        fencing=Fencing(steward),
        sessions=LocalSessions(moving.fleet, core.proxy.holds, core.pools, switchover_settings(config)),
        token_check=TokenCheck(core.connect_by_name),
        events=moving.events,
        alerts=Alerts(config.failover.actions.alert_webhook),
        settings=config.failover,
        clock=time.time,
        switching=lambda: switchover is not None and switchover.active,
        out_of_service=lambda: placement.out_of_service,
    )


def reconfigure(controller: Controller, config: Config) -> None:
    """Take over what can change while the proxy runs; a failover under way may see some of it."""
    means, settings, actions = controller.means, config.failover, config.failover.actions
    means.settings = settings
    means.alerts.webhook = actions.alert_webhook
    means.fencing.command, means.fencing.time_limit = actions.fence_command, actions.fence_timeout
    means.flapping.min_interval = settings.min_interval
    means.examiner.time_limit = config.health_checks.timeout
    controller.pacer.concurrency = config.switchover_buffer.drain_concurrency
    if isinstance(means.sessions, LocalSessions):
        means.sessions.settings = switchover_settings(config)
