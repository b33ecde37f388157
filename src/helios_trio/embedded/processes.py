"""The processes of one server: found, signalled, and waited for until they are gone.

Every PostgreSQL process has its data directory as working directory, so `/proc` tells which ones belong
to a server, even those whose postmaster has died or was started by a process that is no more. (Process
groups do not: each child of the postmaster makes its own.) Linux only. Called by `server` and `opening`.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import trio

POLL = 0.005  # seconds between looks at process states, which cannot be waited for
IPC_RMID = 0  # <sys/ipc.h>


def processes_of(data_dir: Path) -> list[int]:
    """The ids of all live PostgreSQL processes that work in `data_dir`, the postmaster first."""
    wanted = str(data_dir.resolve())
    found = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _works_in(entry, wanted)]
    postmaster = recorded_postmaster(data_dir)
    return sorted(found, key=lambda pid: (pid != postmaster, pid))


def recorded_postmaster(data_dir: Path) -> int | None:
    """The process id in postmaster.pid, which may be stale; None without that file."""
    try:
        return int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


async def kill_all(data_dir: Path) -> None:
    """SIGKILL the postmaster, then all the others, and wait until every one of them is gone.

    The postmaster goes first: seeing its children die, it would tell clients of a crash and restart.
    """
    while pids := processes_of(data_dir):
        await _signal_and_wait(pids, signal.SIGKILL)
    _clear_up(data_dir)


async def end_leftovers(data_dir: Path, seconds: float) -> None:
    """Stop a server whose owner is gone: a fast shutdown, SIGKILL for what is left after `seconds`."""
    postmaster = recorded_postmaster(data_dir)
    if postmaster in processes_of(data_dir):
        resume_all(data_dir)
        with trio.move_on_after(seconds):
            await _signal_and_wait([postmaster], signal.SIGINT)
    await kill_all(data_dir)


async def pause_all(data_dir: Path) -> None:
    """SIGSTOP the postmaster, then all the others, and wait until every one of them has stopped."""
    while running := [pid for pid in processes_of(data_dir) if _state(pid) not in "TZ"]:
        for pid in running:
            _signal(pid, signal.SIGSTOP)
        await trio.sleep(POLL)


def resume_all(data_dir: Path) -> None:
    """SIGCONT all processes of a paused server."""
    for pid in reversed(processes_of(data_dir)):
        _signal(pid, signal.SIGCONT)


def reread_settings(data_dir: Path) -> None:
    """Have the children of a postmaster that is shutting down read the settings: it does not tell them any more."""
    postmaster = recorded_postmaster(data_dir)
    for pid in processes_of(data_dir):
        if pid != postmaster:
            _signal(pid, signal.SIGHUP)


def is_paused(pid: int) -> bool:
    """Whether a process is stopped by SIGSTOP."""
    return _state(pid) == "T"


def _clear_up(data_dir: Path) -> None:
    """Remove what a killed server leaves behind: postmaster.pid and the System V segment named there.

    The next start would do so too, unless there is none, or the process id has come to mean another
    program by then (src/include/utils/pidfile.h, LOCK_FILE_LINE_SHMEM_KEY).
    """
    pid_file = data_dir / "postmaster.pid"
    try:
        segment = int(pid_file.read_text().split("\n")[6].split()[1])
    except (FileNotFoundError, IndexError, ValueError):
        pass
    else:
        ctypes.CDLL(None).shmctl(segment, IPC_RMID, None)
    pid_file.unlink(missing_ok=True)


def _works_in(entry: str, wanted: str) -> bool:
    try:
        if os.readlink(f"/proc/{entry}/cwd") != wanted:
            return False
        # A shell whose user looks around in there is no server.
        return os.path.basename(os.readlink(f"/proc/{entry}/exe")).startswith("postgres")
    except OSError:  # it has ended, or is not ours to look at
        return False


def _state(pid: int) -> str:
    """The state letter of proc(5), "Z" for a process that is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


async def _signal_and_wait(pids: list[int], number: signal.Signals) -> None:
    """Signal processes in this order and wait for the end of all, whether they are our children or not."""
    handles = [handle for pid in pids if (handle := _open(pid)) is not None]
    try:
        for handle in handles:
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                pass
        for handle in handles:
            await trio.lowlevel.wait_readable(handle)
    finally:
        for handle in handles:
            trio.lowlevel.notify_closing(handle)
            os.close(handle)


def _open(pid: int) -> int | None:
    """A handle that cannot come to mean another process; None if this one is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
