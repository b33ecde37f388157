"""What sends requests to several servers - rules, router, such sessions - made from a configuration and wired.

Used by: composition.activities (makes it), app (runs it).
"""

from __future__ import annotations

import os
import time
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import trio
from attrs import define, field

from helios_trio.cluster.topology import NodeRole, NodeState, Topology
from helios_trio.composition.breaking import Breaking
from helios_trio.composition.core import Core
from helios_trio.composition.deciding import Deciding, measures_latency
from helios_trio.composition.moving import Moving, state_folder
from helios_trio.composition.recovering import Recovering
from helios_trio.composition.watching import Watching
from helios_trio.config import Config
from helios_trio.config.routing import SyncMode, TenantSource
from helios_trio.failover.acknowledged import Acknowledged
from helios_trio.failover.journal import JournalLimits
from helios_trio.features.lag_routing.gate import Gate
from helios_trio.features.lag_routing.positions import Positions
from helios_trio.features.load_balancer.latency import Latencies
from helios_trio.features.routing.moved_reads import MovedReads
from helios_trio.features.routing.nodes import Nodes
from helios_trio.features.routing.router import RoutePolicy, Router
from helios_trio.features.routing.rule_book import RuleBook, rule_book_of
from helios_trio.features.routing.session import RoutedSession
from helios_trio.features.routing.tenants import tenant_of
from helios_trio.features.transparent_write_routing.learned import LearnedWriter, LearnedWriters
from helios_trio.migration.fleet import LocalFleet
from helios_trio.migration.means import Means
from helios_trio.pipeline.routing import Consistency
from helios_trio.pool.pool import Pool
from helios_trio.proxy.directory import ConfiguredDirectory
from helios_trio.proxy.serving import Proxy
from helios_trio.proxy.session import Session
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.facts import Facts
from helios_trio.sql.routes import SafeFunctions

#: Characters of a learned statement that are kept to be shown.
_TEXT_KEPT: Final = 500


@define(eq=False, kw_only=True)
class Directing:
    """See the module."""

    topology: Topology
    proxy: Proxy
    deciding: Deciding
    router: Router
    learned: LearnedWriters
    #: standbys whose connections were given up
    _cut_off: set[str] = field(factory=set, init=False)

    @property
    def book(self) -> RuleBook | None:
        """The rules; None: only circuits have a say."""
        return self.deciding.book

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear of the servers, and ask them, until cancelled."""
        self.topology.followers.append(self.on_news)
        for name in self.topology.nodes:
            self.on_news(name)
        try:
            await self.deciding.positions.run(task_status)
        finally:
            self.topology.followers.remove(self.on_news)

    def on_news(self, name: str) -> None:
        """A probe has told something of a server."""
        topology = self.topology
        node = topology.nodes[name]
        self.router.nodes.on_news(name)
        self.deciding.positions.on_news(name)
        self._look_after_readers(node)
        lag = topology.lag_seconds(node), topology.lag_bytes(node)
        self.deciding.gate.note(name, *lag, trio.current_time())

    def _look_after_readers(self, node: NodeState) -> None:
        """Who reads on a standby that does not answer is asked to read elsewhere: it may never answer.

        Connections to a server that is stalled, or cut off by the network, would be waited for until TCP gives up.
        """
        name, pools = node.backend.name, self.router.pools
        if node.healthy is False and node.role is NodeRole.STANDBY and not node.deposed:
            if name not in self._cut_off:
                self._cut_off.add(name)
                pools.cut_off(name, node.reason or "it does not answer")
        elif node.healthy and name in self._cut_off:
            self._cut_off.discard(name)
            if not node.deposed:
                pools.reopen(name)

    def check(self, config: Config) -> None:
        """Raises ConfigError: this configuration could not be taken over."""
        if self.book is not None:
            self.book.check(config.routing)

    def reconfigure(self, config: Config) -> None:
        """Take over what can change while clients are connected. Raises ConfigError; then nothing has changed."""
        router, routing = self.router, config.routing
        self.deciding.reconfigure(router.decider, config)
        self.proxy.tenant_of = _tenant_of(routing.tenant_from)
        router.safe = SafeFunctions(routing.safe_functions) if routing.safe_functions else None
        router.hints = routing.hints
        routes = self.book is not None
        router.policy = policy_of(config, config.transparent_write_routing.sync_mode, routes=routes)
        router.by_sync_mode = policies_of(config, routes=routes)


def directing_of(
    config: Config,
    core: Core,
    *,
    watching: Watching,
    moving: Moving,
    recovering: Recovering | None,
    breaking: Breaking | None,
    environment: Mapping[str, str] = os.environ,
) -> Directing | None:
    """Make it, and have the proxy make such sessions; None: everything goes to one server.

    Raises ConfigError: the file with the rules cannot be used.
    """
    deciding = deciding_of(config, core, moving.means, breaking, environment)
    if deciding.book is None and deciding.breakers is None:
        return None
    learned = LearnedWriters()
    router = router_of(config, core, deciding, learned, watching, moving.means)
    _place_by_rules(config, core.directory, deciding.book)
    _have_sessions_made(core.proxy, recovering, router)
    found = Directing(
        topology=core.topology, proxy=core.proxy, deciding=deciding, router=router, learned=learned
    )
    found.reconfigure(config)
    return found


def deciding_of(
    config: Config,
    core: Core,
    means: Means | None,
    breaking: Breaking | None,
    environment: Mapping[str, str],
) -> Deciding:
    """Who has a say. Raises ConfigError: the file with the rules cannot be used."""
    tied = partial(_tied, core.directory)
    book = rule_book_of(
        config,
        topology=core.topology,
        placement=core.placement,
        folder=state_folder(config, environment),
        tied=tied,
    )
    return Deciding(
        book=book,
        tied=tied,
        breakers=None if breaking is None else breaking.breakers,
        positions=Positions(core.topology, core.control.connect),
        gate=Gate(),
        latencies=Latencies(config.load_balancer.latency_half_life),
        moved_reads=None if book is None or means is None else _moved_reads_of(means),
    )


def _tied(directory: ConfiguredDirectory, database: str) -> str:
    """The backend that a database is tied to now; empty: none."""
    named = directory.config.database_for(database)
    return (named.backend or "") if named is not None else ""


def _moved_reads_of(means: Means) -> MovedReads:
    """Has migrations know that somebody asks where reads go."""
    found = MovedReads(means.read_shares)
    found.shares.asked = True
    return found


# -- the router ------------------------------------------------------------------------------------------------


def router_of(
    config: Config,
    core: Core,
    deciding: Deciding,
    learned: LearnedWriters,
    watching: Watching,
    means: Means | None,
) -> Router:
    """What sessions ask, as it is before `Directing.reconfigure` has told it the rest."""
    proxy, latencies = core.proxy, deciding.latencies
    return Router(
        nodes=Nodes(core.topology, core.placement, latencies.of if measures_latency(config) else None),
        decider=deciding.decider(config),
        policy=policy_of(
            config, config.transparent_write_routing.sync_mode, routes=deciding.book is not None
        ),
        freshness=deciding.positions,
        pools=core.pools,
        learned=learned,
        learn=partial(_learn, learned),
        tenant_of=lambda virtual: proxy.tenant_of(virtual.user, virtual.database, _settings(virtual)),
        tap=deciding.tap_of(config),
        admission=deciding.breakers,
        read_traffic=None if means is None else means.read_traffic,
        open_pool=partial(_open_pool, core.fleet),
        suspect=lambda name, reason: watching.probes.probe_now(name),
    )


async def _open_pool(fleet: LocalFleet, session: Session, backend: str) -> Pool:
    return (await fleet.place_of(session, backend)).pool


def _learn(learned: LearnedWriters, database: str, facts: Facts, sqlstate: str) -> None:
    """A standby has refused a statement; the next time it is not asked."""
    if facts.fingerprint is not None:
        text = (facts.normalised or "")[:_TEXT_KEPT]
        learned.learn(LearnedWriter(database, facts.fingerprint, text, sqlstate, time.time()))


def _settings(virtual: VirtualSession) -> Mapping[str, str]:
    """Of now, and of its start."""
    return ChainMap(dict(virtual.label), dict(virtual.startup))


def _tenant_of(source: TenantSource) -> Callable[[str, str, Mapping[str, str]], str]:
    def found(user: str, database: str, settings: Mapping[str, str]) -> str:
        return tenant_of(source, user=user, database=database, settings=settings)

    return found


# -- sessions --------------------------------------------------------------------------------------------------


def _place_by_rules(config: Config, directory: ConfiguredDirectory, book: RuleBook | None) -> None:
    """Have sessions live where rules say."""
    if book is not None:
        directory.place = book.places.place
    directory.routed = True
    directory.writes_elsewhere = config.transparent_write_routing.enabled


def _have_sessions_made(proxy: Proxy, recovering: Recovering | None, router: Router) -> None:
    """Sessions that ask the router; where none is recovered, such that keep no journal and suspect nobody."""
    make = partial(RoutedSession, router=router)
    if recovering is not None:
        recovering.session_type = make
        return
    proxy.make_session = partial(
        make,
        limits=JournalLimits(1, 0),
        suspect=lambda backend, reason: None,
        recover=None,
        acknowledged=Acknowledged(),
    )


# -- policies --------------------------------------------------------------------------------------------------


def policies_of(config: Config, *, routes: bool) -> Mapping[str, RoutePolicy]:
    """What holds for a session that has said so; of no effect without transparent write routing."""
    if not config.transparent_write_routing.enabled:
        return {}
    return {mode.value: policy_of(config, mode, routes=routes) for mode in SyncMode}


def policy_of(config: Config, mode: SyncMode, *, routes: bool) -> RoutePolicy:
    """What the configuration says about reads and writes, in this mode of transparent write routing if it is on."""
    writes = config.transparent_write_routing
    waits = writes.enabled and mode is not SyncMode.ASYNC
    own = config.lag_routing.own_writes and (waits or not writes.enabled)
    return RoutePolicy(
        routes=routes,
        consistency=Consistency.READ_YOUR_WRITES if own else Consistency.EVENTUAL,
        wait_for_standby=writes.forward_timeout_ms / 1000 if waits else 0.0,
        flushed=writes.enabled and mode is SyncMode.SEMI_SYNC,
    )
