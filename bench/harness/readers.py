"""Clients that write and read what they have written, through a proxy whose standbys are late. Called by `routing`.

Each client counts in a row of its own, so it knows the least that every later read of it must show. A read tells by
itself which server has answered it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import psycopg
from attrs import define

from harness.replicas import Address, connected
from harness.servers import DATABASE, USER, Target

CLIENTS: Final = 8
WRITES: Final = 0.2  # share of what a client asks for
_PAUSE: Final = 0.004  # seconds between two requests at most
#: of standbys that are late: one is so all the time, the other stands still by turns
DELAY: Final = "300ms"
_TURN: Final = 0.3
_TABLE: Final = "counts"


@define
class Found:
    """What came of it."""

    reads: int = 0
    writes: int = 0
    #: reads that a standby has answered
    by_standbys: int = 0
    #: reads that did not show what their own client had written
    stale: int = 0
    errors: int = 0

    @property
    def share(self) -> float:
        """Of reads that standbys have answered."""
        return self.by_standbys / self.reads if self.reads else 0.0

    def add(self, other: Found) -> None:
        """Count together."""
        self.reads += other.reads
        self.writes += other.writes
        self.by_standbys += other.by_standbys
        self.stale += other.stale
        self.errors += other.errors


def create_table(primary: Target) -> None:
    """A row for each client."""
    with connected(primary) as connection:
        connection.execute(
            f"CREATE TABLE {_TABLE} AS SELECT g AS client, 0 AS n FROM generate_series(1, {CLIENTS}) AS g"
        )


def run(proxy: Target, primary: Target, consistency: str, seconds: float) -> Found:
    """All clients, for so long. `consistency`: as in `SET helios.consistency`."""
    found = Found()
    with ThreadPoolExecutor(CLIENTS) as threads:
        each = threads.map(
            lambda number: _work(proxy, primary.port, number, consistency, seconds), range(1, CLIENTS + 1)
        )
        for one in each:
            found.add(one)
    return found


def _work(proxy: Target, primary: int, number: int, consistency: str, seconds: float) -> Found:
    found, chance = Found(), random.Random(number)
    write = f"UPDATE {_TABLE} SET n = n + 1 WHERE client = {number} RETURNING n".encode()
    read = f"SELECT n, current_setting('port')::int FROM {_TABLE} WHERE client = {number}".encode()
    with connected(proxy) as connection:
        connection.execute(f"SET helios.consistency = '{consistency}'".encode())
        (least,) = _row(connection, write)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(0, _PAUSE))
            try:
                if chance.random() < WRITES:
                    (least,) = _row(connection, write)
                    found.writes += 1
                else:
                    seen, port = _row(connection, read)
                    found.reads += 1
                    found.by_standbys += port != primary
                    found.stale += seen < least
            except psycopg.Error:
                found.errors += 1
                if connection.closed:
                    break
    return found


def _row(connection: psycopg.Connection, query: bytes) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None, "each client has a row"
    return tuple(row)


@contextmanager
def late_standbys(servers: Mapping[str, Address]) -> Iterator[None]:
    """Inside the block the first standby applies all `DELAY` late, the second stands still every other moment."""
    first, second = list(servers.values())[1:]
    over = threading.Event()
    with _superuser(first) as delayed, _superuser(second) as paused:
        delayed.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = '{DELAY}'".encode())
        delayed.execute("SELECT pg_reload_conf()")
        worker = threading.Thread(target=_stand_still_by_turns, args=(paused, over))
        worker.start()
        try:
            yield
        finally:
            over.set()
            worker.join()
            delayed.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
            delayed.execute("SELECT pg_reload_conf()")


def _stand_still_by_turns(standby: psycopg.Connection, over: threading.Event) -> None:
    still = False
    while not over.wait(_TURN):
        still = not still
        standby.execute("SELECT pg_wal_replay_pause()" if still else "SELECT pg_wal_replay_resume()")
    if still:
        standby.execute("SELECT pg_wal_replay_resume()")


def _superuser(address: Address) -> psycopg.Connection:
    host, port = address
    return psycopg.connect(host=host, port=port, user=USER, dbname=DATABASE, autocommit=True)
