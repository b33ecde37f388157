"""A proxy whose embedded primary is killed, and what the proxy says about that. Called by `failover`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from attrs import frozen

from harness.admin import Admin
from harness.servers import POOL_SIZE, Target
from helios_trio.testing.running import ProxyProcess, running_proxy

_CONFIG: Final = """
[proxy]
log_level = "warning"
[pool]
mode = "{mode}"
max_connections = {connections}
[failover]
min_interval = "100ms"
"""
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_PATIENCE: Final = 90.0
_POLL: Final = 0.02  # seconds
_EVENTS: Final = 50
_BEGUN: Final = "failover begun"
_EXAMINE: Final = "examining the primary"


@frozen
class Done:
    """What the proxy has done for sessions since it started."""

    replayed: int
    refused: int
    #: what became of commits whose answer was lost
    committed: int
    missing: int
    unknown: int

    def since(self, before: Done) -> Done:
        """The difference."""
        return Done(
            self.replayed - before.replayed,
            self.refused - before.refused,
            self.committed - before.committed,
            self.missing - before.missing,
            self.unknown - before.unknown,
        )


@frozen
class Times:
    """How fast the proxy was. Milliseconds."""

    #: from the kill until it was certain that the primary is dead
    detect_ms: float
    #: from then until the standby took writes: choosing, looking for acknowledged commits, fencing, promoting
    promote_ms: float


@contextmanager
def running_pair(mode: str, clients: int) -> Iterator[tuple[Target, ProxyProcess]]:
    """A proxy with an embedded primary and a synchronous standby, for at most so many clients."""
    connections = clients if mode == "session" else POOL_SIZE
    config = _CONFIG.format(mode=mode, connections=connections)
    arguments = ("--ephemeral", "--standbys", "1")
    with running_proxy(config, arguments, ready_seconds=_START_SECONDS, stop_seconds=_STOP_SECONDS) as proxy:
        yield Target("helios", proxy.host, proxy.port, proxy.pid), proxy


async def doomed(admin: Admin) -> str:
    """The primary, once it has a standby that has all its data. Raises TooSlowError."""
    with trio.fail_after(_PATIENCE):
        while True:
            nodes = (await admin.get("/api/v1/topology"))["nodes"]
            if any(each["healthy"] and each["sync_state"] in ("sync", "quorum") for each in nodes):
                for each in nodes:
                    if each["writable"]:
                        return str(each["name"])
            await trio.sleep(_POLL)


def kill(proxy: ProxyProcess, name: str) -> None:
    """SIGKILL for that server and every process of it."""
    (folder,) = (Path(each["data_dir"]) for each in proxy.ready["nodes"] if each["name"] == name)
    postmaster = int((folder / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended meanwhile


async def done(admin: Admin) -> Done:
    """As of now."""
    status = await admin.get("/api/v1/failover/status")
    outcomes = status["outcomes"]
    return Done(
        status["transactions_replayed"],
        status["replay_mismatches"],
        outcomes["committed"],
        outcomes["replayed"],
        outcomes["unknown"],
    )


async def times(admin: Admin, victim: str, killed_at: float) -> Times:
    """Once it is over. `killed_at`: seconds since 1970. Raises TooSlowError, LookupError."""
    status = await _over(admin, victim)
    page = await admin.get("/api/v1/events", limit=_EVENTS)
    begun = next(each for each in page["events"] if each["kind"] == _BEGUN and each["subject"] == victim)
    detect = datetime.fromisoformat(begun["at"]).timestamp() - killed_at
    examined = next(each["seconds"] for each in status["steps"] if each["step"] == _EXAMINE)
    return Times(1000 * detect, 1000 * (status["write_pause_seconds"] - examined))


async def _over(admin: Admin, victim: str) -> Any:
    with trio.fail_after(_PATIENCE):
        while True:
            status = await _status(admin)
            if (
                status is not None
                and status["source_backend"] == victim
                and status["outcome"] == "completed"
                and not status["failover_active"]
            ):
                return status
            await trio.sleep(_POLL)


async def _status(admin: Admin) -> Any:
    """None: the proxy had too much else to do."""
    try:
        return await admin.get("/api/v1/failover/status")
    except httpx.TimeoutException:
        return None


def now() -> tuple[float, float]:
    """The same moment by `time.perf_counter`, and in seconds since 1970."""
    return time.perf_counter(), time.time()
