"""Which servers there are and which of them takes writes.

Used by: proxy.serving through `Topology.destination`, admin (shows it), app (makes it, runs `watch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import define, field

from helios_trio.pipeline.backend import Backend


@define
class NodeState:
    """What is known of one server. Times on Trio's clock (seconds)."""

    backend: Backend
    #: "primary", "standby" or "unknown"
    role: str = "unknown"
    healthy: bool | None = None
    reason: str = ""
    #: bytes of WAL it has to its name, and seconds it is behind (standbys)
    lsn: str = ""
    lag_seconds: float | None = None
    timeline: int | None = None
    server_version: str = ""
    checked_at: float | None = None


@define
class Topology:
    """All servers, in the order of the configuration."""

    nodes: dict[str, NodeState] = field(factory=dict)

    @classmethod
    def of(cls, backends: Iterable[Backend]) -> Topology:
        """Nothing is known yet but what the configuration says."""
        roles: Mapping[str, str] = {"active": "primary", "standby": "standby", "replica": "standby"}
        return cls({each.name: NodeState(each, roles.get(each.role, "unknown")) for each in backends})

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self.nodes.values())

    @property
    def writer(self) -> NodeState | None:
        """Where sessions go: the primary; while none is known the first server whose role is not known either."""
        ranked = sorted(self, key=lambda node: -node.backend.priority)
        return self._first(ranked, lambda node: node.role == "primary") or self._first(
            ranked, lambda node: node.role == "unknown"
        )

    @staticmethod
    def _first(nodes: list[NodeState], fits: Callable[[NodeState], bool]) -> NodeState | None:
        return next((node for node in nodes if fits(node)), None)
