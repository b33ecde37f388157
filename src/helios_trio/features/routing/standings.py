"""What a backend that a rule names is at this moment: a primary of its own, or a copy of another's data. Pure.

It matters because of rule 36: what a rule says of a standby is said of reads only, while a primary of its own takes
whole sessions.

Used by: features.routing.places; its `on_news` belongs to the followers of the topology.
"""

from __future__ import annotations

from attrs import define, field, frozen

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import NodeRole, NodeState, Topology


@frozen
class Standing:
    """What one backend is, as far as rules ask."""

    #: it takes writes and is not the primary that everybody goes to: of another cluster, or another name of a server
    own_primary: bool
    #: nobody has ever seen whether it takes writes
    unknown: bool
    #: equal for copies of the same data; None: it has not said so
    system: str | None


@define(eq=False)
class Standings:
    """Those of all backends, remembered until there is news of any."""

    topology: Topology
    placement: Placement
    _known: dict[str, Standing] = field(factory=dict, init=False)

    def on_news(self, name: str) -> None:
        """The topology knows something new (`Topology.followers`)."""
        self._known.clear()

    def of(self, name: str) -> Standing:
        """What that backend is. Raises KeyError: there is none of that name."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._look(self.topology.nodes[name])
        return found

    def _look(self, node: NodeState) -> Standing:
        is_writer = node is self.topology.writer
        return Standing(
            own_primary=node.role is NodeRole.PRIMARY and not is_writer and self._is_its_own(node),
            unknown=node.role is NodeRole.UNKNOWN and not is_writer,
            system=node.system_identifier,
        )

    def _is_its_own(self, node: NodeState) -> bool:
        """Whether a primary may take writes besides the one that everybody goes to (rule 25)."""
        topology = self.topology
        if node.deposed or any(each.supersedes(node) for each in topology):
            return False
        if topology.appointment is None:
            return True
        # of its data somebody outside says who is primary, or that nobody is
        writer = topology.writer
        return writer is not None and node.system_identifier != writer.system_identifier

    def out(self, name: str) -> str:
        """Why no session may be placed there now; empty: one may."""
        node = self.topology.nodes[name]
        if name in self.placement.out_of_service:
            return "it is out of service"
        if node.deposed:
            return f"it is fenced: {node.deposed}"
        if node.healthy is None:
            return "nobody has asked it yet"
        return "" if node.healthy else f"it is not healthy: {node.reason}"
