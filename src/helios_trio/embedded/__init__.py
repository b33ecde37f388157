"""A real PostgreSQL cluster of a primary and standbys, run from a wheel or from any release's programs.

`serve` runs on it when no backends are configured; tests, examples and benches use it too. It is a way to
have a cluster, not part of the proxy: only `app` and the command line know it.

    async with open_cluster(standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.kill_node("node1")
        await cluster.promote("node2")
        await cluster.rejoin("node1")
"""

from __future__ import annotations

from helios_trio.embedded.cluster import EmbeddedCluster
from helios_trio.embedded.errors import EmbeddedError, FolderInUse, ProgramFailed, ServerDidNotStart
from helios_trio.embedded.opening import AuthMethod, BlockingCluster, open_cluster, start_blocking
from helios_trio.embedded.server import EmbeddedNode, NodeRole, StopMode

__all__ = [
    "AuthMethod",
    "BlockingCluster",
    "EmbeddedCluster",
    "EmbeddedError",
    "EmbeddedNode",
    "FolderInUse",
    "NodeRole",
    "ProgramFailed",
    "ServerDidNotStart",
    "StopMode",
    "open_cluster",
    "start_blocking",
]
