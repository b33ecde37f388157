"""The folder of an embedded cluster: its layout, its lock, and what is remembered between runs.

    cluster.lock   locked while a process has the cluster open
    cluster.json   what the next run must know and the data directories do not tell
    node1/         a data directory, owned by the account PostgreSQL runs as
    node1.log      what that server wrote
    sockets/       the Unix sockets, unless the path would be too long for one

Called by `opening` and `cluster`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cattrs
from attrs import asdict, define, field

from helios_trio.embedded.account import Account, can_reach, give
from helios_trio.embedded.config_file import replace_file
from helios_trio.embedded.errors import EmbeddedError, FolderInUse

EPHEMERAL_PREFIX = "helios-trio-cluster-"
SOCKETS_PREFIX = "helios-trio-sockets-"
LOCK = "cluster.lock"
STATE = "cluster.json"
LONGEST_SOCKET_FOLDER = 80  # bytes; sun_path holds 108, of which the name of the socket needs up to 20


@define
class ClusterState:
    """What is remembered between runs."""

    superuser: str
    password: str
    primary: str
    ports: dict[str, int] = field(factory=dict)
    sockets: str = ""


@define(eq=False)
class ClusterFolder:
    """A locked folder; `close` gives it up."""

    path: Path
    account: Account | None
    ephemeral: bool
    lock_fd: int
    entry_fd: int
    """Leads servers to the folder when their account may not search the folders above it."""

    @classmethod
    def open(cls, path: Path, account: Account | None) -> ClusterFolder:
        """Open a folder that is kept, creating it where there is none.

        Raises:
            FolderInUse: another process has it open.
            EmbeddedError: it holds something that is not an embedded cluster.
        """
        path = path.expanduser().absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = (LOCK, STATE)
        if any(path.iterdir()) and not any((path / name).exists() for name in known):
            raise EmbeddedError(f"the folder {path} is not empty and holds no embedded cluster")
        return cls.locked(path.resolve(), account, ephemeral=False)

    @classmethod
    def temporary(cls, account: Account | None) -> ClusterFolder:
        """Make a folder under the temporary folder."""
        path = Path(tempfile.mkdtemp(prefix=EPHEMERAL_PREFIX)).resolve()
        return cls.locked(path, account, ephemeral=True)

    @classmethod
    def locked(
        cls, path: Path, account: Account | None, *, ephemeral: bool, new: bool = True
    ) -> ClusterFolder:
        """Lock an existing folder; `new` says that it may not have been locked ever before.

        Raises:
            FolderInUse: another process has it open.
            FileNotFoundError: it has vanished.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if new else 0)
        lock_fd = os.open(path / LOCK, flags, 0o600)
        try:
            _take(lock_fd, path)
            if account is not None:
                path.chmod(0o711)
            entry_fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(path, account, ephemeral, lock_fd, entry_fd)

    def node_names(self) -> list[str]:
        """The nodes whose data directories exist, whole ones only."""
        found = (entry.parent.name for entry in self.path.glob("node*/PG_VERSION"))
        return sorted((name for name in found if name[4:].isdigit()), key=lambda name: int(name[4:]))

    def data_dir(self, name: str) -> Path:
        """The data directory of a node, as this process sees it."""
        return self.path / name

    def seen(self, name: str) -> str:
        """The same as its server sees it.

        An account that may not search /root still gets to a folder below it through an open descriptor.
        """
        if can_reach(self.path, self.account):
            return str(self.path / name)
        return f"/proc/self/fd/{self.entry_fd}/{name}"

    def log_file(self, name: str) -> Path:
        """Where a node's server writes its log."""
        return self.path / f"{name}.log"

    def make_data_dir(self, name: str) -> Path:
        """Make an empty data directory that the server's account owns, replacing what was there."""
        path = self.data_dir(name)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        give(path, self.account)
        return path

    def rename_data_dir(self, old: str, new: str) -> None:
        """Put a finished data directory in its place."""
        shutil.rmtree(self.data_dir(new), ignore_errors=True)
        self.data_dir(old).rename(self.data_dir(new))

    def write_private(self, name: str, text: str) -> None:
        """Write a file that only the server's account (and root) can read."""
        replace_file(self.path / name, text, self.account)

    def read_state(self) -> ClusterState | None:
        """What the last run remembered; None in a new folder.

        Raises:
            EmbeddedError: the file is damaged.
        """
        path = self.path / STATE
        try:
            return cattrs.structure(json.loads(path.read_text()), ClusterState)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, cattrs.BaseValidationError) as error:
            raise EmbeddedError(f"{path} is damaged: {error}") from error

    def forget_state(self) -> None:
        """Let nobody take the folder for a cluster any more."""
        (self.path / STATE).unlink(missing_ok=True)

    def write_state(self, state: ClusterState) -> None:
        """Remember for the next run."""
        replace_file(self.path / STATE, json.dumps(asdict(state), indent=2) + "\n", None)

    def make_sockets(self, state: ClusterState) -> Path:
        """An empty folder for Unix sockets; in this folder if its path is short and reachable enough."""
        self.remove_sockets(state)
        inside = self.path / "sockets"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_FOLDER and can_reach(self.path, self.account):
            inside.mkdir(mode=0o755)
            path = inside
        else:
            top = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) < 50 else "/tmp"
            path = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=top))
            path.chmod(0o755)
        give(path, self.account)
        state.sockets = str(path)
        return path

    def remove_sockets(self, state: ClusterState) -> None:
        """Remove the folder of sockets, this run's or one left by a run that was killed."""
        path = Path(state.sockets)
        if state.sockets and (path.parent == self.path or path.name.startswith(SOCKETS_PREFIX)):
            shutil.rmtree(path, ignore_errors=True)
        state.sockets = ""

    def close(self) -> None:
        """Give the folder up."""
        os.close(self.entry_fd)
        os.close(self.lock_fd)


def abandoned_folders() -> Iterator[ClusterFolder]:
    """Temporary clusters whose process was killed before it could remove them, locked for removal."""
    for path in Path(tempfile.gettempdir()).glob(f"{EPHEMERAL_PREFIX}*"):
        try:
            if path.stat().st_uid != os.geteuid():
                continue
            folder = ClusterFolder.locked(path, None, ephemeral=True, new=False)
        except (FolderInUse, FileNotFoundError):
            continue
        # The state comes after the lock and goes before it: without one, somebody else is at work here.
        if (path / STATE).exists():
            yield folder
        else:
            folder.close()


def _take(lock_fd: int, path: Path) -> None:
    """Lock, and leave our process id for those who come later."""
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock_fd, 32, 0).decode(errors="replace").strip()
        raise FolderInUse(
            f"the embedded cluster in {path} is in use by process {holder or '(unknown)'}",
            hint="stop that process, or give another data folder",
        ) from None
    os.truncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
