"""The circuit breakers - decisions, what they look at, what they do - made from a configuration and wired to the rest.

Used by: composition.activities (makes it), app (runs it), composition.directing (asks the breakers).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import trio
from attrs import define

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import NodeRole, NodeState, Topology
from helios_trio.composition.core import Core
from helios_trio.config import CircuitBreaker, Config
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.circuit import CircuitState, Signal
from helios_trio.features.circuit_breaker.loads import PoolLoads
from helios_trio.features.circuit_breaker.relation import shown
from helios_trio.features.circuit_breaker.service import BreakerService
from helios_trio.migration.events import Event, EventLog
from helios_trio.pipeline.fleet import Fleet, MoveOrder
from helios_trio.pool.pools import Pools
from helios_trio.sql.relations import Rows

Suspect = Callable[[str, str], None]

#: The relation that shows the circuits, without its schema (helios_proxy).
STATUS: Final = "circuit_breaker_status"

#: Events that say who takes the writes from now on.
_NEW_PRIMARY: Final = ("primary is pending", "primary is confirmed")


@define(eq=False, kw_only=True)
class Breaking:
    """See the module."""

    breakers: Breakers
    service: BreakerService
    topology: Topology
    events: EventLog

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the backends until cancelled."""
        with self.events.listening(self._on_event):
            await self.service.run(task_status)

    def _on_event(self, event: Event) -> None:
        """A server that takes over begins anew: it was restarted or promoted, and measured as a standby."""
        if event.kind not in _NEW_PRIMARY or (breaker := self.breakers.find(event.subject)) is None:
            return
        if breaker.circuit.state is not CircuitState.CLOSED and breaker.circuit.held is None:
            now, reason = trio.current_time(), "it has become the primary"
            self.breakers.force(event.subject, Signal.RESET, now, who=event.who, reason=reason)

    def status(self) -> Rows:
        """What the relation `STATUS` shows."""
        now = trio.current_time()
        return shown(self.breakers, now, time.time() - now)

    def reconfigure(self, config: Config) -> None:
        """Take over other thresholds; which backends have a circuit stays as it is."""
        names = list(self.topology.nodes)
        self.breakers.reconfigure(config.circuit_breaker, by_backend(config, names))
        self.service.order = move_order(config)


def breaking_of(
    config: Config, core: Core, *, fleet: Fleet, events: EventLog, suspect: Suspect | None
) -> Breaking | None:
    """Make all of it, hear of trouble with connections too, and show it; None: no backend has a circuit.

    `suspect`: who takes over from a primary that may be dead; None: nobody does.
    """
    settings = by_backend(config, list(core.topology.nodes))
    if not any(each.enabled for each in settings.values()):
        return None
    breakers = Breakers.of(config.circuit_breaker, settings)
    for breaker in breakers:
        breaker.has_successor = partial(_has_successor, breaker.backend, core.topology, suspect)
    breaking = Breaking(
        breakers=breakers,
        service=_service_of(config, core, breakers, fleet, events, suspect),
        topology=core.topology,
        events=events,
    )
    _hear_of_trouble(core.pools, breakers)
    core.proxy.relations[STATUS] = breaking.status
    return breaking


def _service_of(
    config: Config, core: Core, breakers: Breakers, fleet: Fleet, events: EventLog, suspect: Suspect | None
) -> BreakerService:
    topology, placement = core.topology, core.placement

    async def probe(name: str) -> None:
        async with await core.control.connect(topology.nodes[name].backend) as connection:
            await connection.execute(config.health_checks.check_query.encode())

    def suspect_writer(name: str, reason: str) -> None:
        if suspect is not None and _has_successor(name, topology, suspect):
            suspect(name, f"circuit opened: {reason}")

    return BreakerService(
        breakers=breakers,
        fleet=fleet,
        events=events,
        probe=probe,
        loads=loads_of(topology, core.pools),
        elsewhere=lambda name: elsewhere(name, topology, placement, breakers),
        order=move_order(config),
        concurrency=config.session_migration.max_concurrent_migrations,
        suspect=suspect_writer,
    )


def _hear_of_trouble(pools: Pools, breakers: Breakers) -> None:
    """A lost connection counts for a circuit, besides what it already means to whoever heard of it before."""
    known = pools.on_trouble

    def on_trouble(backend: str, reason: str) -> None:
        if (tap := breakers.tap(backend)) is not None:
            tap.note_lost(trio.current_time(), reason)
        known(backend, reason)

    pools.on_trouble = on_trouble


def _has_successor(name: str, topology: Topology, suspect: Suspect | None) -> bool:
    """Whether it takes the writes, and a failover would follow its death."""
    writer = topology.writer
    return suspect is not None and writer is not None and writer.backend.name == name


def by_backend(config: Config, names: Sequence[str]) -> Mapping[str, CircuitBreaker]:
    """What holds for each server; those of the embedded cluster have no keys of their own."""
    configured = {each.name: config.circuit_breaker.for_backend(each) for each in config.backends.pools}
    return {name: configured.get(name, config.circuit_breaker) for name in names}


def loads_of(topology: Topology, pools: Pools) -> PoolLoads:
    """Looks at the connections to each server, and at how far it is behind."""
    return PoolLoads(
        pools,
        lag_of=lambda name: topology.lag_seconds(topology.nodes[name]),
        max_of=lambda name: topology.nodes[name].backend.max_connections,
        gone_of=lambda name: _why_gone(topology.nodes[name]),
    )


def _why_gone(node: NodeState) -> str:
    """A standby that health checks have given up; who succeeds a primary is for failover to say."""
    if node.healthy is False and node.role is NodeRole.STANDBY:
        return f"health checks fail: {node.reason or 'it does not answer'}"
    return ""


def elsewhere(name: str, topology: Topology, placement: Placement, breakers: Breakers) -> str | None:
    """Where the sessions of a server go whose circuit has opened: another standby, else the one that takes writes.

    From that one they go nowhere: a standby cannot do what it does, and a failover has its own way.
    """
    writer = topology.writer
    if writer is None or writer.backend.name == name:
        return None
    found = [
        node
        for node in topology
        if node.backend.name not in {name, *placement.out_of_service}
        and node.healthy
        and not node.deposed
        and _serves(breakers, node.backend.name)
    ]
    found.sort(key=lambda node: (node is writer, -node.backend.priority))
    return found[0].backend.name if found else None


def _serves(breakers: Breakers, name: str) -> bool:
    breaker = breakers.find(name)
    return breaker is None or breaker.circuit.state is CircuitState.CLOSED


def move_order(config: Config) -> MoveOrder:
    """How sessions are moved; the servers are different ones, each with locks of its own."""
    moves = config.session_migration
    return MoveOrder(
        target="",
        time_limit=moves.max_migration_time_per_session,
        preserve=frozenset(str(each) for each in moves.preserved),
        max_state_size=moves.max_state_size,
        same_data=False,
        buffer=moves.buffer_queries_during_migration,
    )
