"""A primary with two standbys, and proxies in front of the three. Called by `routing`, `breaker` and `features`.

Commits do not wait for standbys, so that standbys are behind, as they are in earnest. The databases of the proxies are
those of `servers`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
import structlog

from harness.servers import (
    DATABASE,
    POOL_SIZE,
    SERVER_SETTINGS,
    SESSION_DATABASE,
    USER,
    Target,
)
from helios_trio.control.setup import SetupSettings, setup_sql
from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.testing.running import ProxyProcess, running_proxy

#: Where a server is reached: host, port.
Address = tuple[str, int]

_SETTINGS: Final = {
    **SERVER_SETTINGS,
    "fsync": "off",
    "shared_buffers": "128MB",
    "synchronous_commit": "local",
}
_CONFIG: Final = """
[proxy]
listen_address = "127.0.0.1:0"
log_level = "warning"
[auth]
method = "trust"
[control]
user = "{user}"
{backends}
[[databases]]
name = "{database}"
[[databases]]
name = "{session_database}"
database = "{database}"
[pool]
mode = "transaction"
max_connections = {pool_size}
[[pool.rules]]
database = "{session_database}"
mode = "session"
"""
_BACKEND: Final = """
[[backends.pools]]
name = "{name}"
host = "{host}"
port = {port}
"""


@contextmanager
def running_replicas() -> Iterator[tuple[BlockingCluster, Target]]:
    """The primary, node1, with an empty database `bench`, and its standbys node2 and node3."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    cluster = start_blocking(standbys=2, settings=_SETTINGS)
    try:
        cluster.execute(f"CREATE DATABASE {DATABASE}")
        primary = cluster.cluster.primary
        target = Target("direct", primary.host, primary.port, version=cluster.cluster.version)
        with connected(target) as connection:
            connection.execute(setup_sql(SetupSettings()).encode())
        yield cluster, target
    finally:
        cluster.stop()


def addresses(cluster: BlockingCluster) -> dict[str, Address]:
    """Of all nodes, by name."""
    return {node.name: (node.host, node.port) for node in cluster.cluster.nodes}


def config_of(servers: Mapping[str, Address], more: str = "") -> str:
    """The configuration of a proxy for these servers; `more` is added to it."""
    backends = (_BACKEND.format(name=name, host=host, port=port) for name, (host, port) in servers.items())
    config = _CONFIG.format(
        user=USER,
        backends="".join(backends),
        database=DATABASE,
        session_database=SESSION_DATABASE,
        pool_size=POOL_SIZE,
    )
    return config + more


@contextmanager
def running_router(
    servers: Mapping[str, Address], more: str = "", name: str = "helios"
) -> Iterator[tuple[Target, ProxyProcess]]:
    """A proxy in front of these servers."""
    with running_proxy(config_of(servers, more)) as proxy:
        yield Target(name, proxy.host, proxy.port, proxy.pid), proxy


def connected(target: Target, database: str = DATABASE) -> psycopg.Connection:
    """A connection in autocommit."""
    return psycopg.connect(
        host=target.host,
        port=target.port,
        user=USER,
        dbname=database,
        autocommit=True,
        prepare_threshold=None,
    )
