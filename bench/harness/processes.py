"""What a process has used, from /proc (proc(5)); Linux only. Called by the benches."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")  # per second
_UTIME, _STIME = 11, 12  # fields 14 and 15 of stat, counted from the one after the program's name


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Processor time of all threads of a process so far: user, system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[_UTIME]) / _TICKS, int(fields[_STIME]) / _TICKS


def resident_kib(pid: int) -> int:
    """Memory of a process that is resident now."""
    return _status(pid, "VmRSS")


def peak_resident_kib(pid: int) -> int:
    """The most memory that was resident since the start, or since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak start from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit on open files, which its children inherit; returns the limit that holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard and os.geteuid() != 0:
        wanted = hard
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    return max(wanted, soft)


def _status(pid: int, name: str) -> int:
    """A value of /proc/PID/status in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"/proc/{pid}/status has no {name}")
