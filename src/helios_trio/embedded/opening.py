"""Opens an embedded cluster and sees to its end: `open_cluster` for Trio, `start_blocking` for others.

A folder that is kept is started again as its data directories say, whatever became of the process that
had it open before: servers still running are shut down, and a node that was primary once rejoins as a
standby. Called by `app`, by tests, examples and benches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import trio
from attrs import frozen

from helios_trio.embedded.account import choose_account
from helios_trio.embedded.binaries import Installation, find_installation
from helios_trio.embedded.bootstrap import (
    FIRST_NODE,
    HOST,
    check_release,
    choose_ports,
    create_database,
    end_leftovers,
    initialise,
    node_names,
    primary_on_disk,
    recall,
    remove,
    remove_abandoned,
)
from helios_trio.embedded.cluster import EmbeddedCluster
from helios_trio.embedded.config_file import ServerSettings
from helios_trio.embedded.folder import ClusterFolder, ClusterState
from helios_trio.embedded.programs import Programs
from helios_trio.embedded.server import STOP_DEADLINE, EmbeddedNode, Server

AuthMethod = Literal["trust", "scram-sha-256"]


@frozen
class _Wishes:
    """What the caller of `open_cluster` asked for."""

    data_dir: Path | None
    standbys: int
    bin_dir: Path | None
    settings: Mapping[str, str]
    database: str | None
    superuser: str
    auth: AuthMethod
    hba: Sequence[str]


@asynccontextmanager
async def open_cluster(
    data_dir: Path | None = None,
    *,
    standbys: int = 1,
    bin_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    database: str | None = None,
    superuser: str = "postgres",
    auth: AuthMethod = "trust",
    hba: Sequence[str] = (),
) -> AsyncIterator[EmbeddedCluster]:
    """A running cluster of one primary and `standbys` streaming standbys; stopped at the end.

    Args:
        data_dir: folder that is kept between runs; None for a temporary one without durability, which is
            removed at the end.
        standbys: how many standbys run. Nodes of an existing folder beyond these stay stopped.
        bin_dir: folder of another release's programs, 12 or newer; None for the wheel's.
        settings: for postgresql.conf, on all nodes.
        database: created if it does not exist.
        superuser: name of the superuser of a new folder.
        auth: what pg_hba.conf asks of connections from this machine; others are refused.
        hba: lines to put before those in pg_hba.conf.

    Raises:
        FolderInUse: another process has the folder open.
        EmbeddedError: the cluster cannot be started; nothing is left running.
    """
    wishes = _Wishes(data_dir, standbys, bin_dir, settings or {}, database, superuser, auth, hba)
    opening = _Opening(wishes)
    try:
        yield await opening.open()
    finally:
        await opening.close()


@frozen
class BlockingCluster:
    """A cluster that runs although Trio does not; `cluster` may be used within any `trio.run`."""

    cluster: EmbeddedCluster
    _opening: _Opening

    def execute(self, sql: str, node: str | None = None, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser; its rows, if it returns any. Default: on the primary."""
        return trio.run(self.cluster.execute, sql, node, dbname)

    def stop(self) -> None:
        """Stop all servers; a temporary folder is removed."""
        trio.run(self._opening.close)


def start_blocking(
    data_dir: Path | None = None,
    *,
    standbys: int = 1,
    bin_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    database: str | None = None,
    superuser: str = "postgres",
    auth: AuthMethod = "trust",
    hba: Sequence[str] = (),
) -> BlockingCluster:
    """`open_cluster` for synchronous callers such as session-wide pytest fixtures; the caller must `stop` it.

    Must not be called from within Trio.
    """
    wishes = _Wishes(data_dir, standbys, bin_dir, settings or {}, database, superuser, auth, hba)
    opening = _Opening(wishes)

    async def start() -> EmbeddedCluster:
        try:
            return await opening.open()
        except BaseException:
            await opening.close()
            raise

    return BlockingCluster(trio.run(start), opening)


class _Opening:
    """One opening of a folder, up to its close; what `open` has begun, `close` ends, however far it got."""

    def __init__(self, wishes: _Wishes) -> None:
        self._wishes = wishes
        self._folder: ClusterFolder | None = None
        self._state: ClusterState | None = None
        self._cluster: EmbeddedCluster | None = None

    async def open(self) -> EmbeddedCluster:
        """Start the cluster."""
        wishes = self._wishes
        account = choose_account(wishes.data_dir and wishes.data_dir / FIRST_NODE)
        installation = await find_installation(wishes.bin_dir, account)
        await remove_abandoned()
        if wishes.data_dir is None:
            folder = self._folder = ClusterFolder.temporary(account)
        else:
            folder = self._folder = ClusterFolder.open(wishes.data_dir, account)
        await end_leftovers(folder)
        state = self._state = recall(folder, wishes.superuser)
        programs = Programs(account, (folder.entry_fd,))
        if not folder.node_names():
            await initialise(folder, state, installation, programs)
        check_release(folder, installation)
        servers = self._prepare_servers(folder, state, installation, programs)
        cluster = self._cluster = EmbeddedCluster(folder, state, servers)
        standbys = [name for name in servers if name != state.primary]
        await cluster.start_all(standbys[: wishes.standbys])
        if wishes.database is not None:
            await create_database(cluster, wishes.database)
        return cluster

    async def close(self) -> None:
        """Stop the servers and give the folder up, within a deadline and even when cancelled."""
        folder, self._folder = self._folder, None
        if folder is None:
            return
        nodes = len(self._cluster.nodes) if self._cluster else 0
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_DEADLINE * (nodes + 1)):
                if self._cluster is not None:
                    await self._cluster.close()
                if folder.ephemeral:
                    await remove(folder)
        finally:
            if self._state is not None and not folder.ephemeral:
                folder.remove_sockets(self._state)
                folder.write_state(self._state)
            folder.close()

    def _prepare_servers(
        self, folder: ClusterFolder, state: ClusterState, installation: Installation, programs: Programs
    ) -> dict[str, Server]:
        """Decide who is primary and where everybody listens, and remember it."""
        wishes = self._wishes
        state.primary = primary_on_disk(folder, state)
        names = node_names(folder, state.primary, wishes.standbys)
        choose_ports(state, names)
        sockets = folder.make_sockets(state)
        folder.write_state(state)
        settings = ServerSettings(
            major=installation.major,
            ephemeral=folder.ephemeral,
            auth=wishes.auth,
            hba=wishes.hba,
            extra=wishes.settings,
        )
        return {
            name: Server(
                node=EmbeddedNode(name, HOST, state.ports[name], sockets, folder.data_dir(name)),
                installation=installation,
                programs=programs,
                folder=folder,
                settings=settings,
                superuser=state.superuser,
                password=state.password,
            )
            for name in names
        }
