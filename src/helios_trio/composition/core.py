"""`Core`: what all other parts of a proxy hang on - servers, connections to them, clients, and who they are.

Used by: composition.assembly (makes it), most of this room, app (runs it).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.composition.control import Control, canceller, server_tls_of, writer_connector
from helios_trio.composition.letting_in import client_tls_of, keepalive_of, limits_of, login_of
from helios_trio.composition.servers import servers_of, topology_of
from helios_trio.config import Config
from helios_trio.control.connection import ControlConnection
from helios_trio.embedded import EmbeddedCluster
from helios_trio.migration.fleet import LocalFleet
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.pool.pools import Pools
from helios_trio.proxy.authentication import AuthenticationSettings
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.directory import ConfiguredDirectory
from helios_trio.proxy.hub import Hubs
from helios_trio.proxy.login import Login
from helios_trio.proxy.serving import Proxy, shared_pid
from helios_trio.sql.cache import FactsCache


@define(eq=False, kw_only=True)
class Core:
    """See the module."""

    #: None: the servers are somebody else's
    cluster: EmbeddedCluster | None
    readiness: Readiness
    topology: Topology
    placement: Placement
    pools: Pools
    cancels: CancelRegistry
    facts: FactsCache
    hubs: Hubs
    directory: ConfiguredDirectory
    tls: ClientTLS
    login: Login
    proxy: Proxy
    #: the sessions of the proxy, not counted yet when they are moved (`composition.moving` has them counted)
    fleet: LocalFleet
    control: Control

    async def connect_by_name(self, server: str, database: str) -> ControlConnection:
        """Open a control connection to a database of a server; raises what `Control.connect_to` raises."""
        return await self.control.connect_to(self.topology.nodes[server].backend, database)

    def login_under(self, config: Config) -> Login:
        """How clients will prove who they are under another configuration. Raises ConfigError."""
        control = evolve(self.control, config=config)
        connect = writer_connector(self.topology, control)
        return login_of(config, connect, self.login.settings)

    def reconfigure(self, config: Config, login: Login) -> None:
        """Take over what can change while clients are connected, but for TLS, which is read again by itself."""
        self.login.rules, self.login.secrets, self.login.settings = login.rules, login.secrets, login.settings
        self.directory.config = self.control.config = config
        self.proxy.reconfigure(limits_of(config))
        self.pools.reconfigure(config.pool.for_)
        self.topology.failure_threshold = config.health_checks.failure_threshold
        limit_holds(self.proxy, config)


def core_of(config: Config, cluster: EmbeddedCluster | None) -> Core:
    """Make it. Raises ConfigError for files that cannot be read."""
    backends = servers_of(config, cluster)
    topology, placement, control = topology_of(config, backends), Placement(), Control(config)
    server_tls = server_tls_of(config, backends)
    directory = ConfiguredDirectory(config, topology, server_tls, placement)
    login = login_of(config, writer_connector(topology, control), AuthenticationSettings())
    proxy = proxy_of(config, server_tls, directory, login)
    return Core(
        cluster=cluster,
        readiness=proxy.readiness,
        topology=topology,
        placement=placement,
        pools=proxy.pools,
        cancels=proxy.cancels,
        facts=proxy.facts,
        hubs=proxy.hubs,
        directory=directory,
        tls=proxy.tls,
        login=login,
        proxy=proxy,
        fleet=LocalFleet(proxy, proxy.pools, proxy.hubs, directory),
        control=control,
    )


def proxy_of(
    config: Config, server_tls: dict[str, ServerTLS], directory: ConfiguredDirectory, login: Login
) -> Proxy:
    """What serves clients, with the connections it serves them from. Raises ConfigError for files of TLS."""
    readiness, cancel = Readiness(), canceller(server_tls)
    pools = Pools(
        readiness,
        connect_timeout=config.timeouts.server_connect,
        keepalive=keepalive_of(config),
        cancel=cancel,
    )
    proxy = Proxy(
        readiness=readiness,
        pools=pools,
        directory=directory,
        tls=client_tls_of(config),
        authenticate=login,
        cancels=CancelRegistry(cancel),
        hubs=Hubs(pools.open_listener, readiness, virtual_pids(pools)),
        facts=FactsCache(),
        limits=limits_of(config),
    )
    limit_holds(proxy, config)
    return proxy


def virtual_pids(pools: Pools) -> Callable[[int], int]:
    """Server pid -> the pid that the client it works for was told (rule 4)."""

    def virtual_pid(pid: int) -> int:
        found = pools.session_of(pid)
        return pid if found is None else shared_pid(found)

    return virtual_pid


def limit_holds(proxy: Proxy, config: Config) -> None:
    """How much, and how long, is kept of clients that are held, and of those of paused databases."""
    buffer, holds, pauses = config.switchover_buffer, proxy.holds, proxy.pauses
    holds.window, pauses.window = buffer.window, config.pool.queue_timeout
    for budget in (holds.budget, pauses.budget):
        budget.max_requests, budget.max_bytes = buffer.max_requests, buffer.max_bytes
