"""The whole configuration as one value; every other module gets the part that it needs by constructor."""

from __future__ import annotations

import attrs
from attrs import frozen

from helios_trio.config.admin import AdminSettings
from helios_trio.config.alerts import AlertSettings
from helios_trio.config.auth import AuthSettings
from helios_trio.config.backends import Backends, DatabaseSettings
from helios_trio.config.circuit_breaker import CircuitBreaker
from helios_trio.config.control import ControlSettings
from helios_trio.config.embedded import EmbeddedSettings
from helios_trio.config.failover import CursorRestore, FailoverSettings, TransactionReplay
from helios_trio.config.health import HealthChecks
from helios_trio.config.keys import table, tables
from helios_trio.config.migration import SessionMigration, SwitchoverBuffer
from helios_trio.config.observability import ObservabilitySettings
from helios_trio.config.pool import Pools
from helios_trio.config.proxy import ProxySettings
from helios_trio.config.routing import LagRouting, LoadBalancer, RoutingSettings, TransparentWriteRouting
from helios_trio.config.timeouts import Timeouts
from helios_trio.config.topology import TopologySettings
from helios_trio.config.words import AuthMethod


@frozen(kw_only=True)
class Config:
    """All sections of the file, in the order in which they are documented."""

    proxy: ProxySettings = table(ProxySettings)
    auth: AuthSettings = table(AuthSettings)
    control: ControlSettings = table(ControlSettings)
    backends: Backends = table(Backends)
    databases: tuple[DatabaseSettings, ...] = tables()
    pool: Pools = table(Pools)
    timeouts: Timeouts = table(Timeouts)
    topology: TopologySettings = table(TopologySettings)
    health_checks: HealthChecks = table(HealthChecks)
    session_migration: SessionMigration = table(SessionMigration)
    switchover_buffer: SwitchoverBuffer = table(SwitchoverBuffer)
    failover: FailoverSettings = table(FailoverSettings)
    transaction_replay: TransactionReplay = table(TransactionReplay)
    cursor_restore: CursorRestore = table(CursorRestore)
    load_balancer: LoadBalancer = table(LoadBalancer)
    routing: RoutingSettings = table(RoutingSettings)
    lag_routing: LagRouting = table(LagRouting)
    transparent_write_routing: TransparentWriteRouting = table(TransparentWriteRouting)
    circuit_breaker: CircuitBreaker = table(CircuitBreaker)
    admin: AdminSettings = table(AdminSettings)
    observability: ObservabilitySettings = table(ObservabilitySettings)
    alerts: AlertSettings = table(AlertSettings)
    embedded: EmbeddedSettings = table(EmbeddedSettings)

    @property
    def uses_embedded(self) -> bool:
        """Whether the embedded cluster is the backend, as no other is configured."""
        return not self.backends.pools

    @property
    def wants_routing(self) -> bool:
        """Whether requests are routed at all; otherwise everything goes to the primary."""
        return self.routing.wanted or self.transparent_write_routing.enabled

    @property
    def effective_auth(self) -> AuthSettings:
        """`auth` with its method decided.

        Trust is the default only where the cluster is our own and no other machine can connect.
        """
        if self.auth.method is not None:
            return self.auth
        private = self.uses_embedded and all(each.is_loopback for each in self.proxy.listen_address)
        return attrs.evolve(self.auth, method=AuthMethod.TRUST if private else AuthMethod.SCRAM_SHA_256)

    def database_for(self, name: str) -> DatabaseSettings | None:
        """What clients that ask for database `name` get; None if that name is refused.

        Without `[[databases]]` every name stands for itself.
        """
        if not self.databases:
            return DatabaseSettings(name=name)
        by_name = {each.name: each for each in self.databases}
        return by_name.get(name) or by_name.get("*")
