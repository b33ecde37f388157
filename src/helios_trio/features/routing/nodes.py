"""Pictures of the servers for decisions, kept until a probe or an operator has news.

Used by: features.routing.router.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import NodeRole, NodeState, Topology
from helios_trio.pipeline.routing import Node


@define(eq=False)
class Nodes:
    """See the module."""

    topology: Topology
    placement: Placement
    #: smoothed time of a query on a backend (seconds); None: none was seen
    latency_of: Callable[[str], float | None] = lambda name: None
    #: requests that are being served, by backend
    active: dict[str, int] = field(factory=dict)
    #: by backend of the session: all servers with the same data
    _pictures: dict[str, list[Node]] = field(factory=dict)
    _out: frozenset[str] = frozenset()

    def on_news(self, name: str) -> None:
        """The topology knows something new (`Topology.followers`)."""
        self._pictures.clear()

    def of(self, home: str) -> list[Node]:
        """The servers that have the same data as this one, itself included."""
        if self._out != self.placement.out_of_service:
            self._out = frozenset(self.placement.out_of_service)
            self._pictures.clear()
        found = self._pictures.get(home)
        if found is None:
            found = self._pictures[home] = self._paint(home)
        for node in found:
            node.active = self.active.get(node.name, 0)
            node.latency = self.latency_of(node.name)
        return found

    def began(self, name: str) -> None:
        """A request is served there."""
        self.active[name] = self.active.get(name, 0) + 1

    def ended(self, name: str) -> None:
        """It is not served there any more."""
        self.active[name] -= 1

    def _paint(self, home: str) -> list[Node]:
        at = self.topology.nodes[home]
        system = at.system_identifier
        copies = [
            node
            for node in self.topology
            if node is at or (system is not None and node.system_identifier == system)
        ]
        return [self._picture(node, writer=node is at) for node in copies]

    def _picture(self, node: NodeState, *, writer: bool) -> Node:
        standby = node.role is NodeRole.STANDBY and node.observed is not None and node.observed.in_recovery
        return Node(
            backend=node.backend,
            writer=writer,
            standby=standby and not writer,
            out="" if writer else self._why_out(node),
            replayed=None if node.observed is None else node.observed.replayed,
            lag_bytes=self.topology.lag_bytes(node),
            lag_seconds=self.topology.lag_seconds(node),
            seen_at=node.asked_at,
            limit=node.backend.max_connections,
        )

    def _why_out(self, node: NodeState) -> str:
        if node.backend.name in self.placement.out_of_service:
            return "it is out of service"
        if node.deposed:
            return f"it is fenced: {node.deposed}"
        if node.healthy is None:
            return "nobody has asked it yet"
        return "" if node.healthy else f"it is not healthy: {node.reason}"
