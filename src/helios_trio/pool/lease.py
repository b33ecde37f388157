"""`BackendLease`: the right of one session to use one connection, as an async context manager.

For whoever can wait: a session that is being moved opens a lease on the new backend, restores its state there, and
keeps the connection; left by an exception, the lease closes it. The relay, which cannot wait, takes connections from
the pool and gives them back by itself, for every transaction.

Used by: migration.transfer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define

from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import Claim, Ticket
from helios_trio.pool.pool import Pool


@define(eq=False)
class BackendLease:
    """One connection, until the end of the block or for as long as whoever keeps it wants."""

    connection: BackendConnection
    _kept: bool = False

    @property
    def kept(self) -> bool:
        """Somebody else gives the connection back."""
        return self._kept

    def keep(self) -> BackendConnection:
        """From here on the caller is responsible for the connection."""
        self._kept = True
        return self.connection


@asynccontextmanager
async def open_lease(pool: Pool, claim: Claim, time_limit: float) -> AsyncIterator[BackendLease]:
    """A connection for `claim`; waits for one up to `time_limit` seconds.

    A connection that was not kept is closed at the end: nobody knows what it carries. Raises BackendUnavailable and
    the like.
    """
    lease = BackendLease(await take(pool, claim, time_limit))
    try:
        yield lease
    finally:
        if not lease.kept:
            pool.discard(lease.connection, "not needed after all")


async def take(pool: Pool, claim: Claim, time_limit: float) -> BackendConnection:
    """A connection from the pool, at once or when there is one. Raises BackendUnavailable and the like."""
    found = pool.take_nowait(claim)
    if found is not None:
        return found
    arrived = trio.Event()
    results: list[BackendConnection | Exception] = []

    def settle(result: BackendConnection | Exception) -> None:
        results.append(result)
        arrived.set()

    ticket = Ticket[BackendConnection](claim, trio.current_time() + time_limit, settle, settle)
    pool.wait(ticket)
    try:
        await arrived.wait()
    except BaseException:
        pool.withdraw(ticket)
        for result in results:
            if isinstance(result, BackendConnection):
                pool.give_back(result)
        raise
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]
