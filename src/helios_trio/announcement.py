"""What `serve` says once it is ready: to people on standard output, to programs in the ready file.

Used by: app.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from helios_trio.cluster.topology import Topology
from helios_trio.embedded import EmbeddedCluster
from helios_trio.net.listener import Listener


@frozen
class NodeRow:
    """One server; pid and folder only where it is our own."""

    name: str
    role: str
    host: str
    port: int
    pid: int | None = None
    data_dir: str | None = None


@frozen
class Announcement:
    """What runs where."""

    #: "host:port" of the first TCP listener, else the first unix socket
    listen: str
    #: "host:port" of the admin listener, None where it is off
    admin: str | None
    #: the API key that was made for this run; None where a file has keys
    admin_key: str | None
    listeners: list[str]
    dsn: str
    nodes: list[NodeRow]
    pid: int

    def write(self, path: Path) -> None:
        """Write the ready file, whole or not at all; it has a key in it, so that nobody else may read it."""
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        with open(partial, "x", encoding="utf-8", opener=_private) as file:
            file.write(json.dumps(asdict(self), indent=1) + "\n")
        partial.replace(path)

    def lines(self) -> Iterable[str]:
        """The same for people."""
        yield f"connect to   {self.dsn}"
        yield f"listening on {', '.join(self.listeners)}"
        if self.admin is not None:
            yield f"admin        http://{self.admin}"
            if self.admin_key is not None:
                yield f"admin key    {self.admin_key}"
        for node in self.nodes:
            where = f" in {node.data_dir}" if node.data_dir else ""
            yield f"{node.name:<12} {node.role} at {node.host}:{node.port}{where}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def announce(
    listeners: list[Listener],
    admin: str | None,
    admin_key: str | None,
    topology: Topology,
    cluster: EmbeddedCluster | None,
) -> Announcement:
    """Put together what runs where."""
    return Announcement(
        listen=next((each.address for each in listeners if not each.is_unix), listeners[0].address),
        admin=None if admin is None else admin.removeprefix("http://"),
        admin_key=admin_key if admin is not None else None,
        listeners=[each.address for each in listeners],
        dsn=_dsn(listeners, cluster),
        nodes=_own_nodes(cluster) if cluster is not None else _other_nodes(topology),
        pid=os.getpid(),
    )


def _own_nodes(cluster: EmbeddedCluster) -> list[NodeRow]:
    return [
        NodeRow(node.name, str(node.role), node.host, node.port, node.pid, str(node.data_dir))
        for node in cluster.nodes
    ]


def _other_nodes(topology: Topology) -> list[NodeRow]:
    return [
        NodeRow(node.backend.name, str(node.role), node.backend.host, node.backend.port) for node in topology
    ]


def _dsn(listeners: list[Listener], cluster: EmbeddedCluster | None) -> str:
    """A connection URI for the first TCP listener, or for the first unix socket."""
    user = f"{cluster.superuser}@" if cluster is not None else ""
    tcp: list[Any] = [each for each in listeners if not each.is_unix]
    if tcp:
        return f"postgresql://{user}{tcp[0].address}/postgres"
    folder, _, name = listeners[0].address.removeprefix("unix:").rpartition("/")
    return f"postgresql://{user}/postgres?host={folder}&port={name.rpartition('.')[2]}"
