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
    #: smoothed time of a query on a backend (seconds), None: none was seen; None: nobody measures it
    latency_of: Callable[[str], float | None] | None = None
    #: requests that are being served, by backend
    active: dict[str, int] = field(factory=dict)
    #: by backend of the session: all servers with the same data
    _pictures: dict[str, list[Node]] = field(factory=dict)
    #: the same by the server itself
    _by_name: dict[str, list[Node]] = field(factory=dict)
    _out: frozenset[str] = frozenset()

    def on_news(self, name: str) -> None:
        """The topology knows something new (`Topology.followers`)."""
        self._forget()

    def _forget(self) -> None:
        self._pictures.clear()
        self._by_name.clear()

    def of(self, home: str) -> list[Node]:
        """The servers that have the same data as this one, itself included; the same list until there is news."""
        if self._out != self.placement.out_of_service:
            self._out = frozenset(self.placement.out_of_service)
            self._forget()
        found = self._pictures.get(home)
        if found is None:
            found = self._pictures[home] = self._paint(home)
        if self.latency_of is not None:
            for node in found:
                node.latency = self.latency_of(node.backend.name)
        return found

    def began(self, name: str) -> None:
        """A request is served there."""
        now = self.active[name] = self.active.get(name, 0) + 1
        for node in self._by_name.get(name, ()):
            node.active = now

    def ended(self, name: str) -> None:
        """It is not served there any more."""
        now = self.active[name] = self.active[name] - 1
        for node in self._by_name.get(name, ()):
            node.active = now

    def _paint(self, home: str) -> list[Node]:
        at = self.topology.nodes[home]
        system = at.system_identifier
        copies = [
            node
            for node in self.topology
            if node is at or (system is not None and node.system_identifier == system)
        ]
        found = [self._picture(node, writer=node is at) for node in copies]
        for picture in found:
            self._by_name.setdefault(picture.name, []).append(picture)
        return found

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
            active=self.active.get(node.backend.name, 0),
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
