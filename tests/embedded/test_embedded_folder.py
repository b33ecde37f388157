"""Folders: kept, locked, abandoned, temporary."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from helios_trio.embedded import EmbeddedError, FolderInUse, ServerDidNotStart, open_cluster, start_blocking
from helios_trio.embedded.processes import processes_of

pytestmark = pytest.mark.cluster

OWNER = """
import sys, trio
from pathlib import Path
from helios_trio.embedded import open_cluster

async def main():
    async with open_cluster(Path(sys.argv[1]) if sys.argv[1:] else None, standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.execute("INSERT INTO t VALUES (1)")
        print("ready", cluster.primary.data_dir.parent, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def run_owner_and_kill_it(*arguments: str) -> Path:
    """Open a cluster in another process, SIGKILL that process, and return the cluster's folder."""
    argv = [sys.executable, "-c", OWNER, *arguments]
    process = await trio.lowlevel.open_process(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = b""
    try:
        while b"ready" not in output or not output.endswith(b"\n"):
            received = await process.stdout.receive_some()
            assert received, output
            output += received
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()
    return Path(output.decode().rpartition("ready ")[2].strip())


@pytest.mark.long
async def test_kept_folder_remembers_data_and_roles(tmp_path: Path) -> None:
    """After a failover the same nodes come back in the same roles, with the same ports."""
    async with open_cluster(tmp_path / "data", standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.execute("INSERT INTO t VALUES (1)")
        await cluster.kill_node("node1")
        await cluster.promote("node2")
        await cluster.rejoin("node1")
        before = {(node.name, node.role, node.port) for node in cluster.nodes}
    async with open_cluster(tmp_path / "data", standbys=1) as cluster:
        assert {(node.name, node.role, node.port) for node in cluster.nodes} == before
        assert await cluster.execute("SELECT id FROM t") == [(1,)]
        assert await cluster.execute("SHOW synchronous_standby_names") == [("ANY 1 (*)",)]
        assert await cluster.execute("SHOW fsync") == [("on",)]
        folders = [node.data_dir for node in cluster.nodes]
        sockets = cluster.primary.socket_dir
    assert [processes_of(folder) for folder in folders] == [[], []]
    assert not sockets.exists()


@pytest.mark.long
async def test_unfinished_failover_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """Of two primaries on disk the one with the newer timeline counts; the other becomes its standby."""
    async with open_cluster(tmp_path / "data", standbys=1) as cluster:
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.kill_node("node1")
        await cluster.execute("SELECT pg_promote()", "node2")
        await cluster.execute("INSERT INTO t VALUES (2)", "node2")
    async with open_cluster(tmp_path / "data", standbys=1) as cluster:
        assert {node.name: node.role for node in cluster.nodes} == {"node1": "standby", "node2": "primary"}
        await cluster.wait_for_replay()
        assert await cluster.execute("SELECT id FROM t", "node1") == [(2,)]


@pytest.mark.long
async def test_number_of_standbys_may_change(tmp_path: Path) -> None:
    """Fewer standbys leave the others stopped and without a slot; more are made or brought back."""
    async with open_cluster(tmp_path / "data", standbys=1):
        pass
    async with open_cluster(tmp_path / "data", standbys=0) as cluster:
        assert [node.role for node in cluster.nodes] == ["primary", "stopped"]
        assert await cluster.execute("SELECT FROM pg_replication_slots") == []
        await cluster.execute("CREATE TABLE t (id int)")
    async with open_cluster(tmp_path / "data", standbys=2) as cluster:
        assert [node.role for node in cluster.nodes] == ["primary", "standby", "standby"]


async def test_second_opener_is_refused(tmp_path: Path) -> None:
    """A folder in use is refused with the id of the process that uses it, and stays unharmed."""
    async with open_cluster(tmp_path / "data", standbys=0) as cluster:
        with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
            async with open_cluster(tmp_path / "data", standbys=0):
                pass
        assert await cluster.execute("SELECT 1") == [(1,)]


async def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder that holds other files is not taken over."""
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(EmbeddedError, match="holds no embedded cluster"):
        async with open_cluster(tmp_path, standbys=0):
            pass
    assert os.listdir(tmp_path) == ["letter.txt"]


async def test_folder_of_another_release_is_refused(tmp_path: Path) -> None:
    """A data directory is never started with another major release's programs."""
    async with open_cluster(tmp_path / "data", standbys=0):
        pass
    (tmp_path / "data" / "node1" / "PG_VERSION").write_text("11\n")
    with pytest.raises(EmbeddedError, match="belongs to PostgreSQL 11"):
        async with open_cluster(tmp_path / "data", standbys=0):
            pass


@pytest.mark.long
async def test_killed_owner_leaves_a_folder_that_starts_again(tmp_path: Path) -> None:
    """Servers whose owner was killed are stopped, and what they had acknowledged is there."""
    folder = await run_owner_and_kill_it(str(tmp_path / "data"))
    left = processes_of(folder / "node1")
    assert left != []
    async with open_cluster(tmp_path / "data", standbys=1) as cluster:
        assert await cluster.execute("SELECT id FROM t") == [(1,)]
        assert set(processes_of(folder / "node1")).isdisjoint(left)


@pytest.mark.long
async def test_abandoned_temporary_cluster_is_removed() -> None:
    """The next cluster removes a temporary one whose owner was killed, servers included."""
    folder = await run_owner_and_kill_it()
    assert processes_of(folder / "node1") != []
    async with open_cluster(standbys=0):
        assert processes_of(folder / "node1") == []
        assert not folder.exists()


@pytest.mark.long
@pytest.mark.parametrize("how", ["end", "error", "cancel"])
async def test_temporary_cluster_leaves_nothing(how: str) -> None:
    """However the block ends, no process and no folder stay behind."""
    folder = Path()
    with trio.CancelScope() as scope:
        try:
            async with open_cluster(standbys=1) as cluster:
                folder = cluster.primary.data_dir.parent
                assert processes_of(folder / "node2") != []
                if how == "error":
                    raise KeyError(how)
                if how == "cancel":
                    scope.cancel()
                    await trio.sleep_forever()
        except KeyError:
            assert how == "error"
    assert folder != Path()
    assert not folder.exists()
    assert processes_of(folder / "node1") == processes_of(folder / "node2") == []


@pytest.mark.long
async def test_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    """A start that is cancelled while a server starts leaves no process and can be repeated."""
    for polls in (1, 5, 25):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel_after(polls: int, scope: trio.CancelScope) -> None:
                    for _ in range(polls):
                        await trio.testing.wait_all_tasks_blocked(0.01)
                    scope.cancel()

                nursery.start_soon(cancel_after, polls, scope)
                async with open_cluster(tmp_path / "data", standbys=1):
                    await trio.sleep_forever()
        assert processes_of(tmp_path / "data" / "node1") == processes_of(tmp_path / "data" / "node2") == []
    async with open_cluster(tmp_path / "data", standbys=1) as cluster:
        assert [node.role for node in cluster.nodes] == ["primary", "standby"]


async def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    """A server that does not start is an error that says what the server wrote."""
    with pytest.raises(ServerDidNotStart) as caught:
        async with open_cluster(tmp_path / "data", standbys=0, settings={"no_such_setting": "1"}):
            pass
    assert "no_such_setting" in (caught.value.detail or "")


async def test_long_path_has_its_sockets_elsewhere() -> None:
    """A folder too deep for a Unix socket works; its sockets live in the temporary folder and go with it."""
    top = Path(tempfile.mkdtemp())
    try:
        async with open_cluster(top / ("d" * 60) / ("e" * 60), standbys=0) as cluster:
            sockets = cluster.primary.socket_dir
            assert len(str(sockets)) < 80
            assert await cluster.execute("SELECT 1") == [(1,)]
        assert not sockets.exists()
    finally:
        shutil.rmtree(top)


@pytest.mark.long
def test_blocking_start_and_stop() -> None:
    """Outside Trio: started, used from any run, stopped; nothing needs a running loop in between."""
    blocking = start_blocking(standbys=1)
    try:
        blocking.execute("CREATE TABLE t (id int)")
        trio.run(blocking.cluster.kill_node, "node2")
        blocking.execute("INSERT INTO t VALUES (1)")
        assert blocking.execute("SELECT id FROM t") == [(1,)]
        folder = blocking.cluster.primary.data_dir.parent
    finally:
        blocking.stop()
    assert not folder.exists()
