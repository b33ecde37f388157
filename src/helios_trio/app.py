"""Composition root: from a configuration to parts to nurseries. The only module that knows everybody.

Used by: cli (`helios serve`).
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import trio
from attrs import define, frozen

from helios_trio.cluster.topology import Topology
from helios_trio.config.backends import BackendSettings, DatabaseSettings
from helios_trio.config.root import Config
from helios_trio.config.words import ClientTls
from helios_trio.embedded import EmbeddedCluster, open_cluster
from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.net.dial import ServerAddress
from helios_trio.net.listener import Listener, open_listeners, serve_listener
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.net.transport import Keepalive
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connect import send_cancel
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.pools import Destination, Pools
from helios_trio.proxy.auth_rules import AuthRules
from helios_trio.proxy.auth_secrets import SecretChain, SecretSource
from helios_trio.proxy.authentication import AuthenticationSettings
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.hub import Hubs
from helios_trio.proxy.login import Login
from helios_trio.proxy.serving import Proxy, ProxyLimits, shared_pid
from helios_trio.proxy.userlist import AuthFile
from helios_trio.proxy.watchdog import Watchdog
from helios_trio.sql.cache import FactsCache

_log = structlog.get_logger(__name__)

#: Seconds to deliver a cancel request.
_CANCEL_TIME_LIMIT = 5.0


@define
class ConfiguredDirectory:
    """Where clients go, by the configuration and what is known of the servers (`proxy.serving.Directory`)."""

    config: Config
    topology: Topology
    tls: dict[str, ServerTLS]

    def destination(self, database: str, user: str) -> Destination:
        """See `proxy.serving.Directory`."""
        named = self.config.database_for(database)
        if named is None:
            raise HeliosError(f'database "{database}" does not exist', sqlstate="3D000", severity="FATAL")
        backend = self._backend(named)
        return Destination(
            backend,
            database=named.database or backend.database or database,
            user=named.user or backend.user or user,
            settings=self.config.pool.for_(database, user),
            tls=self.tls[backend.name],
        )

    def _backend(self, named: DatabaseSettings) -> Backend:
        if named.backend is not None:
            return self.topology.nodes[named.backend].backend
        node = self.topology.writer
        if node is None:
            raise BackendUnavailable("no server takes writes now", sqlstate="57P03")
        return node.backend


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
        max_connections=each.max_connections or _NO_LIMIT,
        database=each.database or "",
        user=each.user or "",
    )


def embedded_backends(cluster: EmbeddedCluster) -> list[Backend]:
    """The nodes of the embedded cluster; reached over their unix sockets, which is cheaper."""
    return [
        Backend(name=node.name, host=str(node.socket_dir), port=node.port, role="auto", max_connections=_NO_LIMIT)
        for node in cluster.nodes
    ]


_NO_LIMIT = 1 << 30


@frozen
class ServeOptions:
    """What the command line adds to the configuration."""

    config_path: Path | None = None
    ready_file: Path | None = None
    ephemeral: bool = False


def serve_command(
    config: Config, *, ready_file: Path | None, ephemeral: bool, config_path: Path | None
) -> int:
    """Run the proxy until it is told to stop; returns the exit code."""
    trio.run(serve, config, ServeOptions(config_path, ready_file, ephemeral))
    return 0


async def serve(config: Config, options: ServeOptions) -> None:
    """Start everything, say so, wait for a signal, drain, stop."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with AsyncExitStack() as stack:
            cluster = None
            if config.uses_embedded:
                cluster = await stack.enter_async_context(
                    open_cluster(
                        None if options.ephemeral else config.embedded.data_dir or default_data_dir(),
                        standbys=config.embedded.standbys,
                        bin_dir=config.embedded.bin_dir,
                    )
                )
            backends = embedded_backends(cluster) if cluster is not None else backends_of(config)
            await _run(config, options, backends, cluster, signals)


def default_data_dir() -> Path:
    """Where the embedded cluster lives when nothing else is said (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "helios_trio"


async def _run(
    config: Config,
    options: ServeOptions,
    backends: list[Backend],
    cluster: EmbeddedCluster | None,
    signals: AsyncIterator[int],
) -> None:
    topology = Topology.of(backends)
    if cluster is not None:
        topology.nodes[cluster.primary.name].role = "primary"
    readiness = Readiness()
    tls = server_tls(config, backends)
    pools = Pools(readiness, connect_timeout=config.timeouts.server_connect, keepalive=keepalive_of(config))
    cancels = CancelRegistry(canceller(tls))
    facts = FactsCache()
    hubs = Hubs(pools.open_listener, readiness, virtual_pids(pools))
    proxy = Proxy(
        readiness=readiness,
        pools=pools,
        directory=ConfiguredDirectory(config, topology, tls),
        tls=client_tls(config),
        authenticate=authenticator(config),
        cancels=cancels,
        hubs=hubs,
        facts_of=facts.facts,
        limits=limits_of(config),
    )
    listeners = await open_listeners(
        config.proxy.listen_address,
        reuse_port=config.proxy.reuse_port,
        backlog=config.proxy.listen_backlog,
    )
    async with trio.open_nursery() as core:
        core.start_soon(readiness.run)
        core.start_soon(Watchdog(proxy, cancels, config.timeouts).run)
        await core.start(pools.run)
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(serve_listener, listener, proxy.serve_client, clients)
                announce(config, options, listeners, topology, cluster)
                async for number in signals:
                    if number == signal.SIGHUP:
                        _log.info("reload asked for")
                        continue
                    break
                accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.close()
            _log.info("draining", clients=len(proxy.sessions), seconds=config.proxy.drain_timeout)
            async with trio.open_nursery() as draining:
                draining.start_soon(_second_signal, signals, clients.cancel_scope)
                await proxy.drain(config.proxy.drain_timeout)
                draining.cancel_scope.cancel()
            with trio.move_on_after(3):
                while proxy.sessions:
                    await trio.sleep(0.01)
            clients.cancel_scope.cancel()
        core.cancel_scope.cancel()


async def _second_signal(signals: AsyncIterator[int], clients: trio.CancelScope) -> None:
    """Whoever asks twice does not want to wait."""
    async for number in signals:
        if number != signal.SIGHUP:
            clients.cancel()
            return


def announce(
    config: Config,
    options: ServeOptions,
    listeners: list[Listener],
    topology: Topology,
    cluster: EmbeddedCluster | None,
) -> None:
    """Say what runs where, to people and, through the ready file, to programs."""
    dsn = _dsn(listeners, cluster)
    nodes: list[dict[str, Any]] = []
    if cluster is not None:
        for node in cluster.nodes:
            nodes.append(
                {
                    "name": node.name,
                    "role": str(node.role),
                    "host": node.host,
                    "port": node.port,
                    "pid": node.pid,
                    "data_dir": str(node.data_dir),
                }
            )
    else:
        nodes = [{"name": n.backend.name, "role": n.role, "host": n.backend.host, "port": n.backend.port} for n in topology]
    print(f"connect to   {dsn}", flush=True)
    for node_row in nodes:
        print(f"{node_row['name']:<12} {node_row['role']} at {node_row['host']}:{node_row['port']}", flush=True)
    if options.ready_file is not None:
        found = {
            "listen": [each.address for each in listeners],
            "admin": None,
            "dsn": dsn,
            "nodes": nodes,
            "pid": os.getpid(),
        }
        partial = options.ready_file.with_name(options.ready_file.name + ".partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        partial.replace(options.ready_file)


def _dsn(listeners: list[Listener], cluster: EmbeddedCluster | None) -> str:
    user = cluster.superuser + "@" if cluster is not None else ""
    address = next((each.address for each in listeners if not each.is_unix), "")
    return f"postgresql://{user}{address}/postgres"


def authenticator(config: Config) -> Login:
    """How clients prove who they are."""
    auth = config.effective_auth
    sources: list[SecretSource] = []
    if auth.auth_file is not None:
        sources.append(AuthFile(auth.auth_file))
    verify_name = config.proxy.tls.mode is ClientTls.VERIFY_FULL
    return Login(
        AuthRules(auth.rules, auth.method),
        SecretChain(sources),
        AuthenticationSettings(verify_certificate_name=verify_name),
    )


def keepalive_of(config: Config) -> Keepalive:
    """TCP keepalive towards both sides."""
    proxy = config.proxy
    if proxy.tcp_keepalive_idle == float("inf"):
        return Keepalive(enabled=False)
    return Keepalive(
        idle=max(1, round(proxy.tcp_keepalive_idle)),
        interval=max(1, round(proxy.tcp_keepalive_interval)),
        count=proxy.tcp_keepalive_count,
    )


def limits_of(config: Config) -> ProxyLimits:
    """Limits that hold for all clients."""
    return ProxyLimits(
        max_clients=config.proxy.max_client_connections,
        max_unauthenticated=config.proxy.max_unauthenticated_connections,
        login_timeout=config.timeouts.login,
        application_name_suffix=config.proxy.application_name_suffix or "",
    )


def client_tls(config: Config) -> ClientTLS:
    """TLS towards clients."""
    tls = config.proxy.tls
    return ClientTLS(tls.mode, cert_file=tls.cert_file, key_file=tls.key_file, client_ca_file=tls.client_ca_file)


def server_tls(config: Config, backends: list[Backend]) -> dict[str, ServerTLS]:
    """TLS towards each server, by the backend's name."""
    found = {
        each.name: ServerTLS(
            each.tls, ca_file=each.tls_ca_file, cert_file=each.tls_cert_file, key_file=each.tls_key_file
        )
        for each in config.backends.pools
    }
    return {each.name: found.get(each.name) or ServerTLS() for each in backends}


def virtual_pids(pools: Pools) -> Callable[[int], int]:
    """Server pid -> the pid that the client it works for was told (rule 4)."""

    def virtual_pid(pid: int) -> int:
        found = pools.session_of(pid)
        return pid if found is None else shared_pid(found)

    return virtual_pid


def canceller(tls: dict[str, ServerTLS]) -> Callable[[BackendConnection], Any]:
    """Delivers cancel requests to the server of a connection."""

    async def send(connection: BackendConnection) -> None:
        backend = connection.backend
        await send_cancel(
            ServerAddress(backend.host, backend.port),
            connection.pid,
            connection.secret,
            tls[backend.name],
            time_limit=_CANCEL_TIME_LIMIT,
        )

    return send
