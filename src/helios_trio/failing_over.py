"""What takes over when a primary dies - the failover controller - made from a configuration and wired to the rest.

Used by: assembly (makes it), app (runs it).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.config import Config, FailoverMode
from helios_trio.control.connection import ControlConnection
from helios_trio.embedded import EmbeddedCluster
from helios_trio.failover.alerts import Alerts
from helios_trio.failover.controller import Controller
from helios_trio.failover.examination import Examiner, Knocker
from helios_trio.failover.fencing import Fencing
from helios_trio.failover.means import Means
from helios_trio.failover.redirection import Redirection
from helios_trio.failover.sessions import LocalSessions
from helios_trio.failover.tokens import TokenCheck
from helios_trio.moving import Moving, steward_of, switchover_settings
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.pools import Pools
from helios_trio.proxy.holding import Holds

ConnectTo = Callable[[Backend, str], Awaitable[ControlConnection]]


def controller_of(
    config: Config,
    cluster: EmbeddedCluster | None,
    *,
    topology: Topology,
    placement: Placement,
    pools: Pools,
    holds: Holds,
    moving: Moving,
    connect_to: ConnectTo,
) -> Controller | None:
    """Make it; None: nobody takes over. `connect_to` opens control connections to a database of a backend."""
    settings = config.failover
    if not settings.enabled or settings.mode is FailoverMode.DISABLED:
        return None

    async def connect(backend: Backend) -> ControlConnection:
        connection = await connect_to(backend, config.control.database)
        connection.cancel_grace = 0.0  # one that does not answer is given up, not asked to cancel
        return connection

    async def connect_by_name(name: str, database: str) -> ControlConnection:
        return await connect_to(topology.nodes[name].backend, database)

    steward = steward_of(cluster, topology, connect)
    switchover = moving.switchover
    controller = Controller(
        Means(
            topology=topology,
            redirection=Redirection(topology, placement),
            steward=steward,
            examiner=Examiner(topology, connect, Knocker(config.control.user, config.control.database)),
            fencing=Fencing(steward),
            sessions=LocalSessions(moving.fleet, holds, pools, switchover_settings(config)),
            token_check=TokenCheck(connect_by_name),
            events=moving.events,
            alerts=Alerts(settings.actions.alert_webhook),
            settings=settings,
            clock=time.time,
            switching=lambda: switchover is not None and switchover.active,
            out_of_service=lambda: placement.out_of_service,
        ),
    )
    if switchover is not None:
        switchover.hindrance = lambda: controller.active
    pools.on_trouble = controller.suspect
    reconfigure(controller, config)
    return controller


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
