"""What happens on disk before the servers of an embedded cluster start, and after they have stopped.

A data directory tells more truly than any note what it is: a standby has standby.signal, and of several
primaries the one with the newest timeline counts. Called by `opening`.
"""

from __future__ import annotations

import random
import secrets
import shutil
import socket
from itertools import count

import structlog
import trio
from psycopg import sql

from helios_trio.embedded import processes
from helios_trio.embedded.binaries import Installation
from helios_trio.embedded.cluster import EmbeddedCluster
from helios_trio.embedded.errors import EmbeddedError
from helios_trio.embedded.folder import ClusterFolder, ClusterState, abandoned_folders
from helios_trio.embedded.programs import Programs
from helios_trio.embedded.replication import timeline

HOST = "127.0.0.1"
FIRST_NODE = "node1"
PORTS = range(20000, 32000)  # below those that kernels take for outgoing connections: free now, free later
LEFTOVER_SECONDS = 20.0  # a server left by a killed process has this long to shut down

_log = structlog.get_logger(__name__)


def recall(folder: ClusterFolder, superuser: str) -> ClusterState:
    """What the last run remembered, or the beginning of a new cluster.

    Raises:
        EmbeddedError: the folder's superuser has another name.
    """
    state = folder.read_state()
    if state is None:
        return ClusterState(superuser=superuser, password=secrets.token_urlsafe(18), primary=FIRST_NODE)
    if state.superuser != superuser:
        raise EmbeddedError(f"the superuser of {folder.path} is {state.superuser!r}, not {superuser!r}")
    return state


async def end_leftovers(folder: ClusterFolder) -> None:
    """Stop servers that a killed process left running, and remove what it had not finished."""
    for name in folder.node_names():
        data_dir = folder.data_dir(name)
        if processes.processes_of(data_dir):
            _log.warning("a server left by an earlier process is stopped", node=name, folder=str(folder.path))
        await processes.end_leftovers(data_dir, LEFTOVER_SECONDS)
    for partial in folder.path.glob("node*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


async def remove_abandoned() -> None:
    """Remove temporary clusters whose process was killed, with their servers."""
    for folder in abandoned_folders():
        _log.warning("a temporary cluster left by an earlier process is removed", folder=str(folder.path))
        try:
            await remove(folder)
        finally:
            folder.close()


async def remove(folder: ClusterFolder) -> None:
    """Kill what still runs in a folder and delete it."""
    for name in folder.node_names():
        await processes.kill_all(folder.data_dir(name))
    state = folder.read_state()
    if state is not None:
        folder.remove_sockets(state)
    folder.forget_state()
    await trio.to_thread.run_sync(shutil.rmtree, folder.path)


async def initialise(
    folder: ClusterFolder, state: ClusterState, installation: Installation, programs: Programs
) -> None:
    """Make the first data directory (initdb), whole or not at all.

    It is not forced to disk, which can take ten times as long as all the rest: a machine that loses power
    before it has written its cache (half a minute, as a rule) may have to begin again. From then on the
    server itself sees to durability.
    """
    folder.write_state(state)
    partial, secret = f"{FIRST_NODE}.partial", f"{FIRST_NODE}.password"
    folder.make_data_dir(partial)
    folder.write_private(secret, state.password + "\n")
    argv = [
        installation.server("initdb"),
        *("-D", folder.seen(partial), "-U", state.superuser, "--pwfile", folder.seen(secret)),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums", "--no-sync"),
        "--wal-segsize=4",  # MB: a promotion writes a whole segment before the first client can
    ]
    if installation.major >= 17:
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if installation.major >= 14:
        argv.append("--no-instructions")
    try:
        await programs.run(argv)
    finally:
        (folder.path / secret).unlink()
    folder.rename_data_dir(partial, FIRST_NODE)


def check_release(folder: ClusterFolder, installation: Installation) -> None:
    """Raise EmbeddedError if the data directories belong to another major release."""
    for name in folder.node_names():
        found = (folder.data_dir(name) / "PG_VERSION").read_text().strip()
        if found != str(installation.major):
            raise EmbeddedError(
                f"{folder.data_dir(name)} belongs to PostgreSQL {found}, not {installation.version}",
                hint="give the programs of that release (bin_dir), or another data folder",
            )


def primary_on_disk(folder: ClusterFolder, state: ClusterState) -> str:
    """The primary with the newest timeline; between equals, the one remembered.

    Raises:
        EmbeddedError: all nodes are standbys.
    """
    names = folder.node_names()
    primaries = [name for name in names if not (folder.data_dir(name) / "standby.signal").exists()]
    if not primaries:
        raise EmbeddedError(f"no node in {folder.path} is a primary")
    return max(primaries, key=lambda name: (timeline(folder.data_dir(name)), name == state.primary))


def node_names(folder: ClusterFolder, primary: str, standbys: int) -> list[str]:
    """The primary, the other nodes there are, and as many new ones as are wanted."""
    names = [primary, *(name for name in folder.node_names() if name != primary)]
    fresh = (name for name in map("node{}".format, count(1)) if name not in names)
    while len(names) < standbys + 1:
        names.append(next(fresh))
    return names


def choose_ports(state: ClusterState, names: list[str]) -> None:
    """Give every node a port: the one it had, if nobody else has taken it."""
    taken: set[int] = set()
    for name in names:
        port = state.ports.get(name)
        while port is None or port in taken or not _is_free(port):
            port = random.choice(PORTS)
        state.ports[name] = port
        taken.add(port)


async def create_database(cluster: EmbeddedCluster, name: str) -> None:
    """Create a database if there is none of this name."""
    if not await cluster.execute("SELECT FROM pg_database WHERE datname = %s", arguments=(name,)):
        await cluster.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)).as_string())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
