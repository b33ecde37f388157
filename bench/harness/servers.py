"""The sides of a comparison: PostgreSQL itself, the proxy, and PgBouncer where it is installed.

All are real processes on free ports of 127.0.0.1, clients and servers over TCP, trust authentication, no
TLS, no log line per connection; they are gone at the end of the block. The databases `bench` (transaction
mode) and `bench_session` (session mode) are the same database behind each proxy.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from attrs import frozen

from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.embedded.account import Account, choose_account, give
from helios_trio.testing.running import ProxyProcess, running_proxy

DATABASE: Final = "bench"
SESSION_DATABASE: Final = "bench_session"
USER: Final = "postgres"
POOL_SIZE: Final = 100  # server connections each proxy may open; no bench uses more clients than that at work
CONNECTIONS: Final = 3 * POOL_SIZE
_START_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02

# fsync is on, unlike in other temporary clusters: TPC-B is to cost what it costs in earnest.
SERVER_SETTINGS: Final = {
    "fsync": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
    "max_connections": str(CONNECTIONS),
}

_HELIOS: Final = """
[proxy]
log_level = "warning"
max_client_connections = {clients}
max_unauthenticated_connections = {clients}
[auth]
method = "trust"
[control]
user = "{user}"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
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

_TWINS: Final = """
[proxy]
listen_address = "127.0.0.1:0"
log_level = "warning"
[auth]
method = "trust"
[control]
user = "{user}"
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
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
TWINS: Final = "blue", "green"
TWIN_POOL_SIZE: Final = 120  # for each of the two names; CONNECTIONS is for both, and for the proxy's own

_PGBOUNCER: Final = """
[databases]
{database} = host={host} port={port} dbname={database} pool_mode=transaction
{session_database} = host={host} port={port} dbname={database} pool_mode=session
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/userlist.txt
ignore_startup_parameters = extra_float_digits
default_pool_size = {pool_size}
max_client_conn = {clients}
log_connections = 0
log_disconnections = 0
{more}
"""


@frozen
class Target:
    """One side of a comparison."""

    name: str
    host: str
    port: int
    pid: int | None = None
    """The proxy's process; None for PostgreSQL itself, which has one per client."""
    version: str = ""
    prepares_in_transactions: bool = True
    """Whether protocol prepared statements work in transaction mode."""

    @property
    def process(self) -> int:
        """The pid of a target that is a single process."""
        if self.pid is None:
            raise LookupError(f"{self.name} is not a single process")
        return self.pid


@contextmanager
def running_cluster(settings: Mapping[str, str] | None = None) -> Iterator[tuple[BlockingCluster, Target]]:
    """A primary of its own with an empty database `bench`."""
    # The tables are for people: no log of events in between.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    cluster = start_blocking(standbys=0, settings={**SERVER_SETTINGS, **(settings or {})})
    try:
        cluster.execute(f"CREATE DATABASE {DATABASE}")
        primary = cluster.cluster.primary
        yield cluster, Target("direct", primary.host, primary.port, version=cluster.cluster.version)
    finally:
        cluster.stop()


@contextmanager
def running_helios(direct: Target, clients: int = 1000, more: str = "") -> Iterator[Target]:
    """This project's proxy in front of `direct`, for so many clients; `more` is added to its configuration."""
    with running_helios_with_admin(direct, clients, more) as (helios, _):
        yield helios


@contextmanager
def running_helios_with_admin(
    direct: Target, clients: int = 1000, more: str = ""
) -> Iterator[tuple[Target, ProxyProcess]]:
    """The same, with its admin listener."""
    config = _HELIOS.format(
        clients=clients,
        user=USER,
        host=direct.host,
        port=direct.port,
        database=DATABASE,
        session_database=SESSION_DATABASE,
        pool_size=POOL_SIZE,
    )
    with running_proxy(config + more) as proxy:
        yield Target("helios", proxy.host, proxy.port, proxy.pid), proxy


def twins_config(direct: Target) -> str:
    """The configuration of a proxy that knows `direct` under two names, `TWINS`."""
    return _TWINS.format(
        user=USER,
        host=direct.host,
        port=direct.port,
        database=DATABASE,
        session_database=SESSION_DATABASE,
        pool_size=TWIN_POOL_SIZE,
    )


@contextmanager
def running_twins(direct: Target) -> Iterator[tuple[Target, ProxyProcess]]:
    """This project's proxy between two names of `direct`, with its admin listener."""
    with running_proxy(twins_config(direct)) as proxy:
        yield Target("helios", proxy.host, proxy.port, proxy.pid), proxy


@contextmanager
def running_pgbouncer(direct: Target, clients: int = 1000) -> Iterator[Target | None]:
    """PgBouncer in front of `direct`; None where neither PGBOUNCER nor PATH has it."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    program = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer", path=search)
    if program is None:
        yield None
        return
    version = _version(program)
    prepares = tuple(map(int, version.split("."))) >= (1, 21)
    account = choose_account(None)  # it refuses to run as root, as PostgreSQL does
    with tempfile.TemporaryDirectory(prefix="bench-pgbouncer-") as name:
        folder = Path(name)
        listen = _free_port()
        _write_pgbouncer_files(folder, account, direct, listen, clients, prepares)
        process = _spawn(program, folder, account)
        try:
            _wait_for_port(listen, process, folder / "log")
            yield Target("pgbouncer", "127.0.0.1", listen, process.pid, version, prepares)
        finally:
            process.terminate()
            process.wait()


def _version(program: str) -> str:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+\.\d+(\.\d+)?)", answer)
    if found is None:
        raise LookupError(f"cannot tell the version of {program}: {answer!r}")
    return found[1]


def _write_pgbouncer_files(
    folder: Path, account: Account | None, direct: Target, listen: int, clients: int, prepares: bool
) -> None:
    config = _PGBOUNCER.format(
        database=DATABASE,
        session_database=SESSION_DATABASE,
        host=direct.host,
        port=direct.port,
        listen=listen,
        folder=folder,
        pool_size=POOL_SIZE,
        clients=clients,
        more="max_prepared_statements = 200" if prepares else "",
    )
    (folder / "pgbouncer.ini").write_text(config)
    (folder / "userlist.txt").write_text(f'"{USER}" ""\n')
    for path in (folder, *folder.iterdir()):
        give(path, account)


def _spawn(program: str, folder: Path, account: Account | None) -> subprocess.Popen[bytes]:
    command = [program, str(folder / "pgbouncer.ini")]
    if account is not None:
        command += ["-u", pwd.getpwuid(account.uid).pw_name]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise RuntimeError(f"PgBouncer did not start; it wrote:\n{log.read_text()}")
