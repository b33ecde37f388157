"""What watches the servers - probes, and whoever knows which is primary - made from a configuration.

Used by: composition.activities (makes it), app (runs it), cli.doctor (`patroni_access`).
"""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from attrs import define

from helios_trio.cluster.appointment import PrimaryStatus
from helios_trio.cluster.herald import (
    HealthChanged,
    Herald,
    NodeJoined,
    NodeLeft,
    PrimaryChanged,
    TopologyEvent,
)
from helios_trio.cluster.prober import Probes
from helios_trio.cluster.provider_manual import ManualProvider
from helios_trio.cluster.provider_patroni import PatroniAccess, PatroniProvider
from helios_trio.cluster.topology import Topology
from helios_trio.composition.moving import state_folder
from helios_trio.config import Config, PatroniSettings, TcpAddress, TopologyProvider
from helios_trio.config.topology import PATRONI_PORT
from helios_trio.control.connection import ControlConnection
from helios_trio.errors import ConfigError
from helios_trio.migration.events import EventLog
from helios_trio.pipeline.backend import Backend

#: The record of what operators said with provider = "manual", in the folder of state.
_RECORD: Final = "primary.json"

Connect = Callable[[Backend], Awaitable[ControlConnection]]


@define
class Watching:
    """What watches the servers."""

    probes: Probes
    herald: Herald
    #: with provider = "patroni"
    patroni: PatroniProvider | None
    #: with provider = "manual"
    manual: ManualProvider | None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; started once every server was asked, and Patroni too, where that is the provider."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.probes.run)
            if self.patroni is not None:
                await nursery.start(self.patroni.run)
            task_status.started()


def watching_of(
    config: Config,
    topology: Topology,
    connect: Connect,
    events: EventLog,
    environment: Mapping[str, str] = os.environ,
) -> Watching:
    """Make all of it. Raises ConfigError for files that cannot be read."""
    checks, provider = config.health_checks, config.topology.provider
    # where health checks are off, servers are asked once, and when they are suspected
    probes = Probes(topology, connect, checks.interval if checks.enabled else math.inf, checks.timeout)
    herald = Herald(topology)
    herald.listen(lambda event: note(events, event))
    patroni = manual = None
    if provider is TopologyProvider.PATRONI:
        patroni = PatroniProvider(patroni_access(config), topology, herald, probes.probe_now)
    elif provider is TopologyProvider.MANUAL:
        folder = state_folder(config, environment)
        manual = ManualProvider(topology, probes.probe_now, folder / _RECORD if folder else None)
    return Watching(probes, herald, patroni, manual)


def note(events: EventLog, event: TopologyEvent) -> None:
    """Write down what has changed among the servers."""
    match event:
        case PrimaryChanged():
            before = f"before: {event.before}" if event.before and event.before != event.after else ""
            subject = event.after or event.before or ""
            what = "is gone" if event.status is PrimaryStatus.NONE else f"is {event.status}"
            events.note(f"primary {what}", subject, reason=before)
        case HealthChanged():
            state = {True: "healthy", False: "unhealthy", None: "not known"}[event.healthy]
            events.note(f"server is {state}", event.name, reason=event.reason, role=event.role)
        case NodeJoined():
            reason = "" if event.configured else "it is no configured backend, and gets no traffic"
            events.note("server joined", event.name, reason=reason, host=event.host, port=event.port)
        case NodeLeft():
            events.note("server left", event.name)


def patroni_access(config: Config) -> PatroniAccess:
    """How Patroni is asked. Raises ConfigError."""
    settings = config.topology.patroni
    urls = settings.urls or tuple(
        f"http://{TcpAddress(each.host, PATRONI_PORT)}"
        for each in config.backends.pools
        if not each.host.startswith("/")
    )
    try:
        password = settings.read_password()
        tls = _tls_of(settings)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"topology.patroni: {error}") from error
    return PatroniAccess(
        urls=urls,
        interval=settings.interval,
        timeout=settings.timeout,
        auth=(settings.user, password.reveal()) if settings.user and password else None,
        tls=tls,
    )


def _tls_of(settings: PatroniSettings) -> ssl.SSLContext | None:
    """None: nothing is said about it."""
    if settings.ca_file is None and settings.cert_file is None:
        return None
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context
