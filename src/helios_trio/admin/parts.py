"""The parts of the proxy that the admin listener shows and gives orders to.

Used by: composition.showing (makes it), all of this room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field, frozen

from helios_trio.admin.access import Access
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.provider_manual import ManualProvider
from helios_trio.cluster.topology import Topology
from helios_trio.config import Config
from helios_trio.failover.controller import Controller
from helios_trio.failover.counters import ReplayCounters
from helios_trio.features.alerts.service import AlertService
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.routing.router import Router
from helios_trio.features.routing.rule_book import RuleBook
from helios_trio.features.tracing.exporter import SpanExporter
from helios_trio.features.transparent_write_routing.learned import LearnedWriters
from helios_trio.migration.counting import MoveCounters
from helios_trio.migration.events import EventLog
from helios_trio.migration.examination import Examiner
from helios_trio.migration.means import Switchover
from helios_trio.migration.orchestrator import Migrations
from helios_trio.pipeline.fleet import Fleet
from helios_trio.pipeline.panel import Panel
from helios_trio.pool.pools import Pools
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.serving import Proxy
from helios_trio.sql.cache import FactsCache


@frozen(kw_only=True)
class Reloaded:
    """What a reload of the configuration has done: dotted paths of keys."""

    changed: tuple[str, ...]
    #: differ in the file, and keep their value until the next start
    needing_restart: tuple[str, ...]


@define
class Running:
    """The configuration in force, how to have it read again, and how to end it all."""

    config: Config
    #: raises ConfigError: everything is as it was
    reload: Callable[[], Awaitable[Reloaded]]
    #: has the process drained and ended; called again, without waiting any longer
    stop: Callable[[], None] = lambda: None


async def _nothing_known(user: str, database: str) -> Credentials:
    return Credentials(user)


@frozen(kw_only=True)
class Parts:
    """What there is to show of one running proxy."""

    proxy: Proxy
    pools: Pools
    cancels: CancelRegistry
    topology: Topology
    placement: Placement
    facts: FactsCache
    fleet: Fleet
    moves: MoveCounters
    examiner: Examiner
    events: EventLog
    access: Access
    running: Running
    #: None: sessions cannot be moved (session_migration.enabled)
    migrations: Migrations | None
    switchover: Switchover | None
    #: None: nobody takes over from a primary that died (failover.enabled, failover.mode)
    primaries: Controller | None = None
    #: what was done for sessions that lost their server
    replays: ReplayCounters = field(factory=ReplayCounters)
    #: None: backends have no circuits (circuit_breaker.enabled)
    breakers: Breakers | None = None
    #: None: somebody else knows who is primary (topology.provider)
    manual: ManualProvider | None = None
    #: None: requests are not routed
    rule_book: RuleBook | None = None
    #: the same; and what it has learned
    router: Router | None = None
    learned: LearnedWriters | None = None
    #: None: nobody is told
    alerts: AlertService | None = None
    #: pages of the web console, those of features that are on among them
    panels: tuple[Panel, ...] = ()
    #: what is known to log in to a server with, by user and database, where a client has not proved anything
    credentials_of: Callable[[str, str], Awaitable[Credentials]] = _nothing_known
    #: None: there are no traces
    spans: SpanExporter | None = None
    #: when the process was ready, in seconds since 1970 (UTC)
    started_at: float
