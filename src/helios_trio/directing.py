"""What sends requests to several servers - router, positions, balancer, rules - made from a configuration and wired.

Used by: assembly (makes it), app (runs it).
"""

from __future__ import annotations

import os
import time
from collections import ChainMap
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from random import Random
from typing import Final

import trio
from attrs import define, field

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import NodeRole, NodeState, Topology
from helios_trio.config import Config
from helios_trio.config.routing import Balancing, SyncMode, TenantSource
from helios_trio.control.connection import ControlConnection
from helios_trio.failover.acknowledged import Acknowledged
from helios_trio.failover.journal import JournalLimits
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.lag_routing.gate import Gate, OwnWrites, Staleness
from helios_trio.features.lag_routing.positions import Positions
from helios_trio.features.load_balancer.latency import Latencies
from helios_trio.features.load_balancer.strategies import strategy_of
from helios_trio.features.routing import decision
from helios_trio.features.routing.moved_reads import MovedReads
from helios_trio.features.routing.nodes import Nodes
from helios_trio.features.routing.preferences import age_by_text, preferences_of
from helios_trio.features.routing.router import RoutePolicy, Router
from helios_trio.features.routing.rule_book import RuleBook, rule_book_of
from helios_trio.features.routing.session import RoutedSession
from helios_trio.features.routing.tenants import tenant_of
from helios_trio.features.transparent_write_routing.connected import ConnectedTo
from helios_trio.features.transparent_write_routing.learned import LearnedWriter, LearnedWriters
from helios_trio.migration.fleet import LocalFleet
from helios_trio.migration.means import Means
from helios_trio.moving import state_folder
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.routing import Consistency, Filter, Preference, Question
from helios_trio.pipeline.taps import BackendTap, BothTaps
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Pools
from helios_trio.proxy.directory import ConfiguredDirectory
from helios_trio.proxy.serving import Proxy
from helios_trio.proxy.session import Session
from helios_trio.recovering import Recovering
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.facts import Facts
from helios_trio.sql.routes import SafeFunctions

Connect = Callable[[Backend], Awaitable[ControlConnection]]

#: Characters of a learned statement that are kept to be shown.
_TEXT_KEPT: Final = 500


@define(eq=False, kw_only=True)
class Directing:
    """See the module."""

    topology: Topology
    proxy: Proxy
    #: None: only circuits have a say
    book: RuleBook | None
    #: the backend that a database is tied to by the configuration; empty: none
    tied: Callable[[str], str]
    router: Router
    latencies: Latencies
    positions: Positions
    gate: Gate
    learned: LearnedWriters
    #: where migrations have reads go; None: there are no migrations, or no reads to be moved
    moved_reads: MovedReads | None = None

    #: standbys whose connections were given up
    _cut_off: set[str] = field(factory=set, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear of the servers, and ask them, until cancelled."""
        self.topology.followers.append(self.on_news)
        for name in self.topology.nodes:
            self.on_news(name)
        try:
            await self.positions.run(task_status)
        finally:
            self.topology.followers.remove(self.on_news)

    def on_news(self, name: str) -> None:
        """A probe has told something of a server."""
        topology = self.topology
        node = topology.nodes[name]
        self.router.nodes.on_news(name)
        self.positions.on_news(name)
        self._look_after_readers(node)
        self.gate.note(name, topology.lag_seconds(node), topology.lag_bytes(node), trio.current_time())

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

    def reconfigure(self, config: Config) -> None:
        """Take over what can change while clients are connected. Raises ConfigError; then nothing has changed."""
        decider = self.router.decider
        if self.book is not None:
            self.book.reconfigure(config.routing)
            decider.preferences = _preferences(config, self.book, self.tied, self.moved_reads)
        decider.strategy = strategy_of(config.load_balancer, Random())
        self.latencies.reconfigure(config.load_balancer.latency_half_life)
        self.proxy.tenant_of = _tenant_of(config.routing.tenant_from)
        functions = config.routing.safe_functions
        self.router.safe = SafeFunctions(functions) if functions else None
        self.router.hints = config.routing.hints
        routes = self.book is not None
        self.router.policy = policy_of(config, config.transparent_write_routing.sync_mode, routes=routes)
        self.router.by_sync_mode = policies_of(config, routes=routes)
        limits = config.lag_routing
        if limits.limits:
            self.gate.max_lag = limits.max_lag
            self.gate.max_lag_bytes = float("inf") if limits.max_lag_bytes is None else limits.max_lag_bytes
        else:
            self.gate.max_lag = self.gate.max_lag_bytes = float("inf")
        self.gate.recover_after = limits.recover_after


def directing_of(
    config: Config,
    *,
    topology: Topology,
    placement: Placement,
    pools: Pools,
    fleet: LocalFleet,
    directory: ConfiguredDirectory,
    proxy: Proxy,
    recovering: Recovering | None,
    breakers: Breakers | None,
    means: Means | None,
    connect: Connect,
    suspect: Callable[[str, str], None],
    environment: Mapping[str, str] = os.environ,
) -> Directing | None:
    """Make it, and have the proxy make such sessions; None: everything goes to one server."""

    def tied(database: str) -> str:
        named = directory.config.database_for(database)
        return (named.backend or "") if named is not None else ""

    folder = state_folder(config, environment)
    book = rule_book_of(config, topology=topology, placement=placement, folder=folder, tied=tied)
    if book is None and breakers is None:
        return None
    positions = Positions(topology, connect)
    gate, learned = Gate(), LearnedWriters()
    moved_reads = None if book is None or means is None else MovedReads(means.read_shares)
    if moved_reads is not None:
        moved_reads.shares.asked = True
    preferences = _preferences(config, book, tied, moved_reads)
    filters = _filters(gate, positions, book, breakers)
    decider = decision.Decider(filters, preferences, strategy_of(config.load_balancer, Random()))

    async def open_pool(session: Session, backend: str) -> Pool:
        return (await fleet.place_of(session, backend)).pool

    def learn(database: str, facts: Facts, sqlstate: str) -> None:
        if facts.fingerprint is not None:
            text = (facts.normalised or "")[:_TEXT_KEPT]
            learned.learn(LearnedWriter(database, facts.fingerprint, text, sqlstate, time.time()))

    latencies = Latencies(config.load_balancer.latency_half_life)
    router = Router(
        nodes=Nodes(topology, placement, latencies.of if _is_measured(config) else None),
        decider=decider,
        policy=policy_of(config, config.transparent_write_routing.sync_mode, routes=book is not None),
        freshness=positions,
        pools=pools,
        learned=learned,
        learn=learn,
        tenant_of=lambda virtual: proxy.tenant_of(virtual.user, virtual.database, _settings(virtual)),
        tap=_tap_of(config, latencies, breakers),
        admission=breakers,
        read_traffic=None if means is None else means.read_traffic,
        open_pool=open_pool,
        suspect=suspect,
    )
    if book is not None:
        directory.place = book.places.place
    directory.routed = True
    directory.writes_elsewhere = config.transparent_write_routing.enabled
    make = partial(RoutedSession, router=router)
    if recovering is not None:
        recovering.session_type = make
    else:
        proxy.make_session = partial(
            make,
            limits=JournalLimits(1, 0),
            suspect=lambda backend, reason: None,
            recover=None,
            acknowledged=Acknowledged(),
        )
    found = Directing(
        topology=topology,
        proxy=proxy,
        book=book,
        tied=tied,
        router=router,
        latencies=latencies,
        positions=positions,
        gate=gate,
        learned=learned,
        moved_reads=moved_reads,
    )
    found.reconfigure(config)
    return found


def _filters(
    gate: Gate, positions: Positions, book: RuleBook | None, breakers: Breakers | None
) -> Sequence[Filter]:
    """In the order in which they are asked, and explained."""
    return [
        decision.InService(),
        *([] if breakers is None else [breakers]),
        decision.Role(),
        decision.Wished(),
        *([] if book is None else [book.filter()]),
        gate,
        Staleness(),
        OwnWrites(positions),
    ]


def _preferences(
    config: Config, book: RuleBook | None, tied: Callable[[str], str], moved_reads: MovedReads | None
) -> Sequence[Preference]:
    if book is None:
        return []
    found: list[Preference] = [] if moved_reads is None else [moved_reads]
    if config.transparent_write_routing.enabled:
        found.append(ConnectedTo(tied))
    return [*found, *preferences_of(config, book, age_by_text(_text_of, _now))]


def _text_of(question: Question) -> bytes:
    return question.text


def _now() -> datetime:
    return datetime.now(UTC)


def _tap_of(
    config: Config, latencies: Latencies, breakers: Breakers | None
) -> Callable[[str], BackendTap | None]:
    """Who is told how a backend answers: the balancer, its circuit, both or nobody."""
    if not _is_measured(config):
        return _no_tap if breakers is None else breakers.tap
    if breakers is None:
        return latencies.tap

    def both(backend: str) -> BackendTap:
        circuit, latency = breakers.tap(backend), latencies.tap(backend)
        return latency if circuit is None else BothTaps(circuit, latency)

    return cache(both)


def _is_measured(config: Config) -> bool:
    """Whether somebody wants to know how long queries take on each backend."""
    return config.load_balancer.strategy is Balancing.LATENCY


def _no_tap(backend: str) -> None:
    """Nobody wants to know how a backend answers."""


def _settings(virtual: VirtualSession) -> Mapping[str, str]:
    """Of now, and of its start."""
    return ChainMap(dict(virtual.label), dict(virtual.startup))


def _tenant_of(source: TenantSource) -> Callable[[str, str, Mapping[str, str]], str]:
    def found(user: str, database: str, settings: Mapping[str, str]) -> str:
        return tenant_of(source, user=user, database=database, settings=settings)

    return found


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
