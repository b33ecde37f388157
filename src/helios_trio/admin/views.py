"""Health, version and topology as classes, and how they are made from the parts. Pure: times are arguments.

Used by: admin.operations, admin.nodes, admin.failover, admin.stream_topics.
"""

from __future__ import annotations

import platform

from attrs import frozen

from helios_trio import __version__
from helios_trio.admin.circuit_breaker import state_of
from helios_trio.admin.parts import Parts
from helios_trio.admin.plain import rfc3339
from helios_trio.cluster.appointment import PrimaryStatus
from helios_trio.cluster.observation import format_lsn
from helios_trio.cluster.topology import NodeState


@frozen(kw_only=True)
class HealthView:
    """`/health`: whether the process serves, and whether it could serve a write now."""

    status: str
    ready: bool
    draining: bool
    #: name of the node that takes writes; null when there is none
    primary: str | None
    #: why it is not ready; empty when it is
    reason: str


@frozen(kw_only=True)
class VersionView:
    """`/api/v1/version`."""

    name: str
    version: str
    python: str
    started_at: str
    #: number of this process, which is the first byte of the secrets of its clients
    process: int


@frozen(kw_only=True)
class NodeView:
    """One server in `/api/v1/topology`; null is unknown."""

    name: str
    host: str
    port: int
    role: str
    configured_role: str
    healthy: bool | None
    reason: str
    writable: bool
    in_recovery: bool | None
    #: end of the WAL it has, and of what it has replayed
    lsn: str | None
    replayed_lsn: str | None
    lag_seconds: float | None
    lag_bytes: int | None
    #: a standby as its primary sees it: async, potential, sync or quorum; null: not connected there, or not told
    sync_state: str | None
    timeline: int | None
    system_identifier: str | None
    server_version: str | None
    checked_at: str | None
    #: closed, open or half_open; null: it has no circuit breaker
    circuit: str | None
    #: server connections of this proxy, those being opened included
    connections: int
    #: sessions that belong to it
    sessions: int
    #: whether new sessions may come
    in_service: bool
    #: where new sessions go that would come here, or some of them
    diverted_to: tuple[str, ...]
    #: why it gets no write whatever it says of itself; empty where it may
    deposed: str
    priority: int
    region: str
    tags: tuple[str, ...]


@frozen(kw_only=True)
class TopologyView:
    """`/api/v1/topology`."""

    #: name of the node that takes writes; null when there is none
    primary: str | None
    #: none, pending (it is said to be, and is not certain yet) or confirmed
    primary_status: str
    #: who is about to be primary; null: nobody
    pending_primary: str | None
    #: who knows which node is primary: postgres, patroni or manual
    provider: str
    #: why the provider cannot be heard or believed now; empty when all is well
    provider_problem: str
    ready: bool
    nodes: tuple[NodeView, ...]


def health_view(parts: Parts) -> HealthView:
    """How it is going."""
    writer, draining = parts.topology.writer, parts.proxy.draining
    reason = "draining" if draining else _why_not_ready(parts)
    return HealthView(
        status="degraded" if reason else "ok",
        ready=not reason,
        draining=draining,
        primary=writer.backend.name if writer else None,
        reason=reason,
    )


def _why_not_ready(parts: Parts) -> str:
    """Empty when writes can be served."""
    topology = parts.topology
    if topology.ready:
        return ""
    writer = topology.writer
    if writer is None:
        return "; ".join(filter(None, ["no server takes writes", _problem(parts)]))
    return f"{writer.backend.name}: {writer.reason or 'not asked yet'}"


def _problem(parts: Parts) -> str:
    appointment = parts.topology.appointment
    return "" if appointment is None else appointment.problem


def version_view(parts: Parts) -> VersionView:
    """What runs here since when."""
    return VersionView(
        name="helios_trio",
        version=__version__,
        python=platform.python_version(),
        started_at=rfc3339(parts.started_at),
        process=parts.proxy.limits.process,
    )


def topology_view(parts: Parts, *, now: float, clock: float) -> TopologyView:
    """All nodes. `now`: seconds since 1970 (UTC); `clock`: the same moment on Trio's clock."""
    writer, status = parts.topology.writer, parts.topology.primary_status
    return TopologyView(
        primary=writer.backend.name if writer else None,
        primary_status=status.value,
        pending_primary=parts.topology.primary_name if status is PrimaryStatus.PENDING else None,
        provider=str(parts.running.config.topology.provider),
        provider_problem=_problem(parts),
        ready=parts.topology.ready,
        nodes=tuple(_node_view(parts, node, now - clock) for node in parts.topology),
    )


def _node_view(parts: Parts, node: NodeState, epoch: float) -> NodeView:
    """`epoch`: what Trio's zero is in seconds since 1970."""
    backend, seen = node.backend, node.observed
    standing = parts.topology.seen_by_primary(node)
    return NodeView(
        name=backend.name,
        host=backend.host,
        port=backend.port,
        role=node.role.value,
        configured_role=str(backend.role),
        healthy=node.healthy,
        reason=node.reason,
        writable=node.writable,
        in_recovery=seen.in_recovery if seen else None,
        lsn=_lsn(seen.position if seen else None),
        replayed_lsn=_lsn(seen.replayed if seen else None),
        lag_seconds=parts.topology.lag_seconds(node),
        lag_bytes=parts.topology.lag_bytes(node),
        sync_state=standing.sync_state if standing else None,
        timeline=node.timeline,
        system_identifier=node.system_identifier,
        server_version=seen.server_version if seen else None,
        checked_at=None if node.checked_at is None else rfc3339(epoch + node.checked_at),
        circuit=state_of(parts, backend.name),
        connections=parts.pools.used_of(backend.name),
        sessions=sessions_on(parts, backend.name),
        in_service=backend.name not in parts.placement.out_of_service,
        diverted_to=tuple(
            dict.fromkeys(each.target for each in parts.placement.diversions if each.source == backend.name)
        ),
        deposed=node.deposed,
        priority=backend.priority,
        region=backend.region,
        tags=backend.tags,
    )


def sessions_on(parts: Parts, backend: str) -> int:
    """How many belong to a backend, without walking over ten thousand of them."""
    return sum(pool.sessions for pool in parts.pools if pool.name[0] == backend)


def _lsn(position: int | None) -> str | None:
    return None if position is None else format_lsn(position)
