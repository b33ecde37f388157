"""The disk on which the primary writes its WAL is full: it gives up by itself, and its standby succeeds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg
import pytest
import trio
from chaos_failover import MODES, Stages
from chaos_nodes import Node
from chaos_tools import until

from helios_trio.embedded import BlockingCluster

pytestmark = pytest.mark.cluster

CLIENTS: Final = 10
SIZE: Final = 300 * 1024 * 1024


def mount_small_disk(folder: Path) -> Callable[[], object]:
    """Have a folder on a disk of its own, with what is in it; skips where that is not allowed. Undoes it."""
    owner, aside = folder.stat(), folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    options = f"size={SIZE},mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.decode()}")
    subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
    shutil.rmtree(aside)
    return lambda: subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room."""
    with (folder / "filler").open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            os.truncate(file.fileno(), file.tell())


def use_up_segments(node: Node) -> None:
    """Go on to the next file of WAL, until there is none; polls, as each needs something to be written."""

    def is_over() -> bool:
        try:
            node.execute("select pg_logical_emit_message(false, 'fill', 'x'), pg_switch_wal()")
        except psycopg.OperationalError:
            return True
        return False

    until(is_over, "the server gives up")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a file system")
@pytest.mark.parametrize("mode", MODES)
def test_no_room_for_wal(stages: Stages, mode: str) -> None:
    """PANIC, and no restart without room: all that was acknowledged is on the standby."""
    cluster: BlockingCluster = stages.cluster()
    primary = cluster.cluster.primary
    trio.run(cluster.cluster.stop_node, primary.name)
    wal = primary.data_dir / "pg_wal"
    stages.stack.callback(mount_small_disk(wal))
    trio.run(cluster.cluster.start_node, primary.name)
    stage = stages.elsewhere(mode, cluster=cluster)
    with stage.storm(CLIENTS) as busy:
        fill(wal)
        use_up_segments(stage.node("node1"))
        stage.until_succeeded()
        busy.all_go_on()
        assert stage.primary.name == "node2"
    assert busy.history.complaints() == []
