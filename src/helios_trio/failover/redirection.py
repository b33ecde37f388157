"""Who takes the writes of a server that was succeeded: the topology and the placement are told, and asked.

Used by: failover.controller, failover.succession.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Diversion, Placement
from helios_trio.cluster.topology import NodeRole, NodeState, Topology

_ALL = 100.0


@frozen
class Primary:
    """A server that takes writes, and what it said of itself then; None where it would not say."""

    name: str
    observation: Observation | None = None


@define
class Redirection:
    """Which server has succeeded which."""

    topology: Topology
    placement: Placement
    #: servers that were seen as primary in the life of this process
    _seen: set[str] = field(factory=set)
    _diversions: dict[str, Diversion] = field(factory=dict)

    def successor(self, backend: str) -> str:
        """Who serves now what a backend served: itself, or the primary of the same data."""
        node = self.topology.nodes.get(backend)
        if node is None or not (node.deposed or (backend in self._seen and not node.writable)):
            return backend
        return self.primary_like(backend) or backend

    def primary_like(self, backend: str) -> str | None:
        """The primary of the same data that a server has; None when there is none that takes writes."""
        node = self.topology.nodes[backend]
        newest = self._appointed() or max(self._primaries_like(node), key=_timeline, default=None)
        return None if newest is None else newest.backend.name

    def note_primary(self, name: str) -> None:
        """A server is primary now: when it is a standby one day, its sessions belong to its successor."""
        self._seen.add(name)

    def newer_primary(self, source: str) -> Primary | None:
        """The primary of the same data that has come after `source`, as far as the probes have seen."""
        node = self.topology.nodes[source]
        if self.topology.appointment is not None:
            appointed = self._appointed()
            return None if appointed in (None, node) else Primary(appointed.backend.name, appointed.observed)
        newer = [
            each
            for each in self._primaries_like(node)
            if each is not node and is_newer(_timeline(each), node)
        ]
        newest = max(newer, key=_timeline, default=None)
        return None if newest is None else Primary(newest.backend.name, newest.observed)

    def _appointed(self) -> NodeState | None:
        """The one that somebody outside says is primary, once it takes writes."""
        writer = self.topology.writer if self.topology.appointment is not None else None
        return writer if writer is not None and writer.healthy and writer.writable else None

    def outdated_primaries(self, name: str) -> Iterator[str]:
        """Those that still count as primaries of the same data on an older timeline than this server."""
        node = self.topology.nodes[name]
        for each in self._primaries_like(node):
            if each is not node and _timeline(each) < _timeline(node):
                yield each.backend.name

    def _primaries_like(self, node: NodeState) -> Iterator[NodeState]:
        """Servers that count as primaries of the same data, which must be known."""
        system = node.system_identifier
        for each in self.topology:
            same = each is node or (system is not None and each.system_identifier == system)
            if same and not each.deposed and each.role is NodeRole.PRIMARY and each.writable:
                yield each

    def succeed(self, source: str, target: Primary, now: float, *, depose: bool) -> None:
        """From here on writes, and whoever comes, go to the target; no probe's answer can turn that back.

        `depose`: the source may still call itself primary.
        """
        topology, placement = self.topology, self.placement
        if target.observation is not None:
            topology.note_answer(target.name, target.observation, now)
        topology.reinstate(target.name)
        if depose:
            topology.depose(source, f"{target.name} has succeeded it")
        self._seen |= {source, target.name}
        placement.end(self._diversions.pop(target.name, None))
        diversion = Diversion(source, target.name, _ALL)
        placement.divert(diversion, instead_of=self._diversions.get(source))
        self._diversions[source] = diversion


def is_newer(timeline: int, source: NodeState) -> bool:
    """Whether a primary on that timeline has come after a server that was one, and may be its standby by now."""
    if source.deposed:
        return True
    return timeline > _timeline(source) if source.writable else timeline >= _timeline(source)


def _timeline(node: NodeState) -> int:
    return node.timeline or 0
