"""Parts of the embedded cluster that need no server."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.embedded.account import Account, can_reach, choose_account
from helios_trio.embedded.binaries import make_reachable, wheel_bin_dir
from helios_trio.embedded.bootstrap import choose_ports, node_names
from helios_trio.embedded.config_file import ServerSettings, pg_hba_conf, postgresql_conf, quoted
from helios_trio.embedded.folder import ClusterFolder, ClusterState
from helios_trio.embedded.replication import timeline


@given(st.text(alphabet="a'\\ =#\n", max_size=20))
def test_quoted_values_stay_one_value(value: str) -> None:
    """No value can end its own quotes: unescaping gives it back."""
    text = quoted(value)
    assert text[0] == text[-1] == "'"
    assert text[1:-1].replace("''", "'").replace("\\\\", "\\") == value


def test_settings_of_the_caller_win() -> None:
    """The caller's settings replace ours, ours those of the release, and each name stands once."""
    common = ServerSettings(major=18, ephemeral=True, auth="trust", extra={"fsync": "on", "work_mem": "8MB"})
    lines = postgresql_conf(common, {"port": "1"}).splitlines()
    assert "fsync = 'on'" in lines
    assert "work_mem = '8MB'" in lines
    assert len({line.split(" ")[0] for line in lines}) == len(lines)


def test_settings_unknown_to_an_old_release_are_left_out() -> None:
    """Release 12 would refuse to start with wal_keep_size."""
    old = postgresql_conf(ServerSettings(major=12, ephemeral=False, auth="trust"), {})
    new = postgresql_conf(ServerSettings(major=13, ephemeral=False, auth="trust"), {})
    assert "wal_keep_size" not in old
    assert "wal_keep_size" in new


def test_only_this_machine_gets_in() -> None:
    """The written rules name loopback and Unix sockets only; the caller's own come first."""
    common = ServerSettings(
        major=18, ephemeral=True, auth="scram-sha-256", hba=["host all all 10.0.0.1/32 reject"]
    )
    rules = [line.split() for line in pg_hba_conf(common).splitlines() if not line.startswith("#")]
    assert rules[0][-1] == "reject"
    assert {rule[-1] for rule in rules[1:]} == {"scram-sha-256"}
    assert {rule[3] for rule in rules[1:] if rule[0] == "host"} == {"127.0.0.1/32", "::1/128"}


def test_timeline_is_the_newest_history(tmp_path: Path) -> None:
    """History files count as hexadecimal numbers; none means timeline 1."""
    (tmp_path / "pg_wal").mkdir()
    assert timeline(tmp_path) == 1
    for name in ("00000002.history", "0000000A.history", "00000009.partial.history"):
        (tmp_path / "pg_wal" / name).touch()
    assert timeline(tmp_path) == 10


def test_nodes_and_ports_are_kept(tmp_path: Path) -> None:
    """New nodes get the first free names; known ports stay unless they collide."""
    folder = ClusterFolder.open(tmp_path / "data", None)
    try:
        for name in ("node2", "node10"):
            (folder.make_data_dir(name) / "PG_VERSION").touch()
        assert node_names(folder, "node10", standbys=2) == ["node10", "node2", "node1"]
        state = ClusterState(
            superuser="s", password="p", primary="node2", ports={"node2": 25432, "node10": 25432}
        )
        choose_ports(state, ["node2", "node10"])
        assert state.ports["node2"] == 25432
        assert state.ports["node10"] != 25432
        folder.write_state(state)
        assert folder.read_state() == state
    finally:
        folder.close()


def test_reach_is_decided_by_every_folder_above(tmp_path: Path) -> None:
    """One folder that others may not search hides all below it."""
    stranger = Account(uid=54321, gid=54321)
    inner = tmp_path / "private" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "private").chmod(0o700)
    assert can_reach(Path("/"), stranger)
    assert not can_reach(inner, stranger)
    assert can_reach(inner, None)


def test_unreachable_programs_are_copied_whole(tmp_path: Path) -> None:
    """The copy keeps the layout that libraries are found by, is made once, and is readable by all."""
    stranger = Account(uid=54321, gid=54321)
    source = tmp_path / "site" / "package" / "pginstall"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "postgres").write_text("program")
    (source / "bin" / "postgres").chmod(0o700)
    (tmp_path / "site" / "package.libs").mkdir()
    (tmp_path / "site" / "package.libs" / "libpq.so").write_text("library")
    copied = make_reachable(source / "bin", stranger, cache=tmp_path / "cache")
    assert copied.parts[-3:] == ("package", "pginstall", "bin")
    assert (copied.parent.parent.parent / "package.libs" / "libpq.so").read_text() == "library"
    assert stat.S_IMODE((copied / "postgres").stat().st_mode) == 0o755
    before = (copied / "postgres").stat().st_ino
    assert make_reachable(source / "bin", stranger, cache=tmp_path / "cache") == copied
    assert (copied / "postgres").stat().st_ino == before
    assert len(os.listdir(tmp_path / "cache")) == 1


def test_reachable_programs_are_used_in_place() -> None:
    """Without another account nothing is copied."""
    assert make_reachable(wheel_bin_dir(), None) == wheel_bin_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_existing_data_decides_the_account(tmp_path: Path) -> None:
    """Data that belongs to somebody is served by its owner; otherwise an unprivileged account."""
    os.chown(tmp_path, 54321, 54322)
    assert choose_account(tmp_path) == Account(uid=54321, gid=54322)
    chosen = choose_account(None)
    assert chosen is not None
    assert chosen.uid != 0
