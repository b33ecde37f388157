"""One look at all figures: what a scrape of the metrics reads, gathered once.

Sessions are never walked over, as there may be ten thousand of them; what is counted is counted where it
happens, and only server connections (a few hundred) are looked at one by one.

Used by: admin.metric_table (reads it), admin.metrics (takes it).
"""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.cluster.topology import NodeState
from helios_trio.pool.counters import PoolCounters
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool

#: Statuses of server connections; a connection that is being opened is none of the planner's slots yet.
STATUSES: Final = ("connecting", SlotStatus.IDLE.value, SlotStatus.ACTIVE.value, SlotStatus.BUSY.value)

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@frozen
class PoolFigures:
    """Figures of one pool."""

    #: backend, database, user, mode
    labels: tuple[str, str, str, str]
    shared: bool
    counters: PoolCounters
    waiting: int
    max_connections: int
    #: server connections by status
    connections: Mapping[str, int]
    #: bytes sent to and received from servers, connections that are closed included
    sent_bytes: int
    received_bytes: int

    @classmethod
    def of(cls, pool: Pool) -> PoolFigures:
        """Count the connections of a pool."""
        planner, counters = pool.planner, pool.counters
        connections = Counter(slot.status.value for slot in planner.slots)
        connections["connecting"] = planner.connecting.total() + connections.pop(SlotStatus.NEW.value, 0)
        return cls(
            labels=(*pool.name, "transaction" if planner.shared else "session"),
            shared=planner.shared,
            counters=counters,
            waiting=len(planner.waiting),
            max_connections=planner.limits.max_connections,
            connections=connections,
            sent_bytes=counters.bytes_to_server + sum(slot.bytes_out for slot in planner.slots),
            received_bytes=counters.bytes_to_client + sum(slot.bytes_in for slot in planner.slots),
        )

    def closed_by_reason(self) -> Mapping[str, int]:
        """Server connections closed, without what the system said: that belongs in the log."""
        found: Counter[str] = Counter()
        for reason, number in self.counters.reasons_closed.items():
            found[reason.partition(":")[0]] += number
        return found


@frozen
class Scrape:
    """Figures of one moment."""

    parts: Parts
    #: seconds since 1970 (UTC)
    now: float
    pools: tuple[PoolFigures, ...]
    nodes: tuple[NodeState, ...]

    @classmethod
    def take(cls, parts: Parts) -> Scrape:
        """Look at everything now."""
        return cls(parts, time.time(), tuple(map(PoolFigures.of, parts.pools)), tuple(parts.topology))

    def clients_by_state(self) -> Mapping[str, int]:
        """Who has a server connection, who waits for one, who needs none, who has not logged in yet.

        In session mode a client waits before it has a session; the sessions of the other modes wait in their
        own.
        """
        active = sum(pool.connections.get(SlotStatus.ACTIVE.value, 0) for pool in self.pools)
        waiting_sessions = sum(pool.waiting for pool in self.pools if pool.shared)
        return {
            "active": active,
            "waiting": sum(pool.waiting for pool in self.pools),
            "idle": max(0, len(self.parts.proxy.sessions) - active - waiting_sessions),
            "login": self.parts.proxy.unauthenticated,
        }


def cpu_seconds() -> float:
    """CPU time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    """Memory of this process that is in RAM (proc(5), statm)."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE


def open_descriptors() -> int:
    """File descriptors in use; Linux 6.2 and newer tells the number, older ones list them."""
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))


def max_descriptors() -> int:
    """File descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
