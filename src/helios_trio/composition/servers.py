"""The servers: what the configuration, or the embedded cluster, says that there are.

Used by: composition.core.
"""

from __future__ import annotations

from typing import Final

from helios_trio.cluster.topology import Topology
from helios_trio.config import Config
from helios_trio.config.backends import BackendSettings
from helios_trio.embedded import EmbeddedCluster
from helios_trio.pipeline.backend import Backend

#: Stands for "no limit" of connections to one server.
NO_LIMIT: Final = 1 << 30


def topology_of(config: Config, backends: list[Backend]) -> Topology:
    """What is known of the servers; nothing yet but what the configuration says."""
    topology = Topology.of(backends)
    topology.failure_threshold = config.health_checks.failure_threshold
    return topology


def servers_of(config: Config, cluster: EmbeddedCluster | None) -> list[Backend]:
    """Those of the embedded cluster if there is one, else those that are configured."""
    return backends_of(config) if cluster is None else embedded_backends(cluster)


def backends_of(config: Config) -> list[Backend]:
    """The configured servers as the rest of the proxy knows them."""
    return [_backend_of(each) for each in config.backends.pools]


def _backend_of(each: BackendSettings) -> Backend:
    return Backend(
        name=each.name,
        host=each.host,
        port=each.port,
        role=each.role.value,
        priority=each.priority,
        weight=each.weight,
        region=each.region or "",
        tags=each.tags,
        max_connections=each.max_connections or NO_LIMIT,
        database=each.database or "",
        user=each.user or "",
    )


def embedded_backends(cluster: EmbeddedCluster) -> list[Backend]:
    """The nodes of the embedded cluster, reached over their unix sockets, which is cheaper than TCP."""
    return [
        Backend(
            name=node.name, host=str(node.socket_dir), port=node.port, role="auto", max_connections=NO_LIMIT
        )
        for node in cluster.nodes
    ]
