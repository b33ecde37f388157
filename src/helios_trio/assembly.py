"""The parts of a proxy, made from a configuration and wired to each other; nothing runs here yet.

Used by: app (runs them, reconfigures them at a reload).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import trio
from attrs import define

from helios_trio.admin.console import Consoles, open_console
from helios_trio.admin.keys import read_keys
from helios_trio.admin.parts import Parts, Reloaded, Running
from helios_trio.alerting import Alerting, alerting_of
from helios_trio.breaking import STATUS, Breaking, breaking_of
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.config import Config
from helios_trio.control.connection import ControlConnection
from helios_trio.control.tls import tls_parameters
from helios_trio.directing import Directing, directing_of
from helios_trio.embedded import EmbeddedCluster
from helios_trio.errors import BackendUnavailable
from helios_trio.failing_over import controller_of
from helios_trio.failing_over import reconfigure as reconfigure_failover
from helios_trio.failover.controller import Controller
from helios_trio.failover.counters import ReplayCounters
from helios_trio.letting_in import (
    access_of,
    client_tls_of,
    credentials_of,
    health_without_key,
    keepalive_of,
    limits_of,
    login_of,
)
from helios_trio.migration.fleet import LocalFleet
from helios_trio.moving import Moving, moving_of
from helios_trio.net.dial import ServerAddress
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.observing import Observing, observing_of
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.rescue import Primaries
from helios_trio.pool.connect import send_cancel
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.pools import Pools
from helios_trio.proxy.authentication import AuthenticationSettings
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.directory import ConfiguredDirectory
from helios_trio.proxy.hub import Hubs
from helios_trio.proxy.login import Login
from helios_trio.proxy.serving import Proxy, shared_pid
from helios_trio.proxy.watchdog import Watchdog
from helios_trio.recovering import Recovering, recovering_of, settings_of
from helios_trio.showing import panels_of
from helios_trio.sql.cache import FactsCache
from helios_trio.watching import Watching, backends_of, embedded_backends, watching_of

#: Seconds to deliver a cancel request.
_CANCEL_TIME_LIMIT: Final = 5.0

ConnectControl = Callable[[Backend], Awaitable[ControlConnection]]


@define
class Assembly:
    """All parts of one running proxy."""

    config: Config
    cluster: EmbeddedCluster | None
    readiness: Readiness
    topology: Topology
    watching: Watching
    pools: Pools
    cancels: CancelRegistry
    hubs: Hubs
    directory: ConfiguredDirectory
    tls: ClientTLS
    login: Login
    proxy: Proxy
    watchdog: Watchdog
    moving: Moving
    #: None: nobody takes over from a primary that died (failover.enabled, failover.mode)
    primaries: Controller | None
    #: None: sessions end with their servers
    recovering: Recovering | None
    #: None: all requests of a session go to one server
    directing: Directing | None
    #: None: no backend has a circuit
    breaking: Breaking | None
    #: None: single requests are not looked at
    observing: Observing | None
    alerting: Alerting
    admin: Parts
    #: databases that are the proxy itself
    consoles: Consoles
    connect_control: ConnectControl
    #: the API key that was made because no file has any; to be shown once
    made_key: str | None

    def reconfigure(self, config: Config) -> None:
        """Take over what can change while clients are connected. Raises ConfigError; nothing has changed then."""
        if self.directing is not None and self.directing.book is not None:
            self.directing.book.check(config.routing)
        login = login_of(config, self.topology, self.connect_as, self.login.settings)
        access = self.admin.access
        file = config.admin.api_keys_file
        access.replace(access.ring.keys if file is None else read_keys(file), health_without_key(config))
        self.tls.reload()
        self.login.rules, self.login.secrets, self.login.settings = login.rules, login.secrets, login.settings
        self.config = self.directory.config = self.admin.running.config = config
        self.proxy.reconfigure(limits_of(config))
        self.watchdog.limits = config.timeouts
        self.pools.reconfigure(config.pool.for_)
        self.topology.failure_threshold = config.health_checks.failure_threshold
        self.moving.reconfigure(config)
        if self.primaries is not None:
            reconfigure_failover(self.primaries, config)
        if self.recovering is not None:
            self.recovering.config, self.recovering.means.settings = config, settings_of(config)
        if self.directing is not None:
            self.directing.reconfigure(config)
        if self.breaking is not None:
            self.breaking.reconfigure(config)
        if self.observing is not None:
            self.observing.reconfigure(config)
        self.alerting.reconfigure(config)
        limit_holds(self.proxy, config)

    @property
    def connect_as(self) -> Callable[[str, str], Awaitable[ControlConnection]]:
        """Opens control connections to the server that takes writes."""
        return _writer_connector(self.topology, _Control(self.config, self.cluster, self.primaries))


def assemble(config: Config, cluster: EmbeddedCluster | None) -> Assembly:
    """Make all parts. Raises ConfigError for files that cannot be read."""
    backends = embedded_backends(cluster) if cluster is not None else backends_of(config)
    topology = Topology.of(backends)
    topology.failure_threshold = config.health_checks.failure_threshold
    readiness = Readiness()
    server_tls = server_tls_of(config, backends)
    cancel = canceller(server_tls)
    pools = Pools(
        readiness,
        connect_timeout=config.timeouts.server_connect,
        keepalive=keepalive_of(config),
        cancel=cancel,
    )
    cancels = CancelRegistry(cancel)
    facts = FactsCache()
    hubs = Hubs(pools.open_listener, readiness, virtual_pids(pools))
    placement = Placement()
    directory = ConfiguredDirectory(config, topology, server_tls, placement)
    control = _Control(config, cluster)
    login = login_of(config, topology, _writer_connector(topology, control), AuthenticationSettings())
    tls = client_tls_of(config)
    proxy = Proxy(
        readiness=readiness,
        pools=pools,
        directory=directory,
        tls=tls,
        authenticate=login,
        cancels=cancels,
        hubs=hubs,
        facts=facts,
        limits=limits_of(config),
    )
    limit_holds(proxy, config)
    fleet = LocalFleet(proxy, pools, hubs, directory)
    moving = moving_of(
        config,
        cluster,
        topology=topology,
        placement=placement,
        fleet=fleet,
        pools=pools,
        connect=control.connect,
    )
    watching = watching_of(config, topology, control.connect, moving.events)
    primaries = controller_of(
        config,
        cluster,
        topology=topology,
        placement=placement,
        pools=pools,
        holds=proxy.holds,
        moving=moving,
        connect_to=control.connect_to,
    )
    control.primaries = primaries
    replays = ReplayCounters()
    recovering = recovering_of(
        config,
        topology=topology,
        proxy=proxy,
        fleet=fleet,
        primaries=primaries,
        counters=replays,
        connect_to=control.connect_to,
    )
    breaking = breaking_of(
        config,
        topology=topology,
        placement=placement,
        pools=pools,
        fleet=moving.fleet,
        events=moving.events,
        connect=control.connect,
        suspect=None if primaries is None else primaries.suspect,
    )
    if breaking is not None:
        proxy.relations[STATUS] = breaking.status
    directing = directing_of(
        config,
        topology=topology,
        placement=placement,
        pools=pools,
        fleet=fleet,
        directory=directory,
        proxy=proxy,
        recovering=recovering,
        breakers=None if breaking is None else breaking.breakers,
        means=None if moving.migrations is None else moving.migrations.means,
        connect=control.connect,
        suspect=lambda name, reason: watching.probes.probe_now(name),
    )
    alerting = alerting_of(config, moving.events)
    observing = observing_of(config, proxy)  # the last one that wraps `proxy.make_session`
    access, made_key = access_of(config)
    admin = Parts(
        proxy=proxy,
        pools=pools,
        cancels=cancels,
        topology=topology,
        placement=placement,
        facts=facts,
        fleet=moving.fleet,
        moves=moving.counters,
        examiner=moving.examiner,
        events=moving.events,
        access=access,
        running=Running(config, _nothing_to_reload),
        migrations=moving.migrations,
        switchover=moving.switchover,
        primaries=primaries,
        replays=replays,
        breakers=None if breaking is None else breaking.breakers,
        rule_book=None if directing is None else directing.book,
        router=None if directing is None else directing.router,
        learned=None if directing is None else directing.learned,
        manual=watching.manual,
        spans=None if observing is None else observing.exporter,
        alerts=alerting.service,
        panels=panels_of(moving=moving, primaries=primaries, directing=directing, breaking=breaking),
        credentials_of=lambda user, database: credentials_of(directory.config, login, user, database),
        started_at=time.time(),
    )
    return Assembly(
        config=config,
        cluster=cluster,
        readiness=readiness,
        topology=topology,
        watching=watching,
        pools=pools,
        cancels=cancels,
        hubs=hubs,
        directory=directory,
        tls=tls,
        login=login,
        proxy=proxy,
        watchdog=Watchdog(proxy, config.timeouts),
        moving=moving,
        primaries=primaries,
        recovering=recovering,
        directing=directing,
        breaking=breaking,
        observing=observing,
        alerting=alerting,
        admin=admin,
        consoles=open_console(admin),
        connect_control=control.connect,
        made_key=made_key,
    )


def limit_holds(proxy: Proxy, config: Config) -> None:
    """How much, and how long, is kept of clients that are held, and of those of paused databases."""
    buffer, holds, pauses = config.switchover_buffer, proxy.holds, proxy.pauses
    holds.window, pauses.window = buffer.window, config.pool.queue_timeout
    for budget in (holds.budget, pauses.budget):
        budget.max_requests, budget.max_bytes = buffer.max_requests, buffer.max_bytes


async def _nothing_to_reload() -> Reloaded:
    """Until `app` runs the parts and knows where the configuration came from."""
    await trio.lowlevel.checkpoint()
    return Reloaded(changed=(), needing_restart=())


# -- servers ---------------------------------------------------------------------------------------------------


def server_tls_of(config: Config, backends: list[Backend]) -> dict[str, ServerTLS]:
    """TLS towards each server, by the backend's name."""
    found = {
        each.name: ServerTLS(
            each.tls, ca_file=each.tls_ca_file, cert_file=each.tls_cert_file, key_file=each.tls_key_file
        )
        for each in config.backends.pools
    }
    return {each.name: found.get(each.name) or ServerTLS() for each in backends}


@define
class _Control:
    """Opens connections of the proxy's own database user."""

    config: Config
    cluster: EmbeddedCluster | None
    #: says which server takes writes when the one that did is gone; None: nobody knows
    primaries: Primaries | None = None

    async def connect(self, backend: Backend) -> ControlConnection:
        """To one server, for probes."""
        return await self.connect_to(backend, self.config.control.database)

    async def connect_to(self, backend: Backend, database: str) -> ControlConnection:
        """To a database of one server."""
        return await self.connect_as(backend, self.config.control.user, database)

    async def connect_as(self, backend: Backend, user: str, database: str) -> ControlConnection:
        """As that user; the password is the control user's, if that is who it is."""
        control = self.config.control
        password = control.read_password() if user == control.user else None
        configured = (each for each in self.config.backends.pools if each.name == backend.name)
        return await ControlConnection.connect(
            host=backend.host,
            port=backend.port,
            user=user,
            dbname=database,
            password=password.reveal() if password is not None else None,
            application_name="helios control",
            autocommit=True,
            **next(map(tls_parameters, configured), {}),
        )


def _writer_connector(
    topology: Topology, control: _Control
) -> Callable[[str, str], Awaitable[ControlConnection]]:
    async def connect(user: str, database: str) -> ControlConnection:
        writer = topology.writer
        if writer is None:
            raise BackendUnavailable("no server is known to take writes")
        try:
            return await control.connect_as(writer.backend, user, database)
        except (psycopg.OperationalError, OSError):
            if control.primaries is None:
                raise
            settled = await control.primaries.settled(writer.backend.name)
        return await control.connect_as(topology.nodes[settled].backend, user, database)

    return connect


def canceller(tls: dict[str, ServerTLS]) -> Callable[[BackendConnection], Awaitable[None]]:
    """Delivers cancel requests to the server of a connection."""

    async def send(connection: BackendConnection) -> None:
        backend = connection.backend
        address = ServerAddress(backend.host, backend.port)
        await send_cancel(
            address, connection.pid, connection.secret, tls[backend.name], time_limit=_CANCEL_TIME_LIMIT
        )

    return send


def virtual_pids(pools: Pools) -> Callable[[int], int]:
    """Server pid -> the pid that the client it works for was told (rule 4)."""

    def virtual_pid(pid: int) -> int:
        found = pools.session_of(pid)
        return pid if found is None else shared_pid(found)

    return virtual_pid
