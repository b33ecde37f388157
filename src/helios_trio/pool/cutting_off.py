"""Giving a server up: its connections are closed as if they had been lost, and who waits for one is refused.

Used by: pool.pools.
"""

from __future__ import annotations

from helios_trio.errors import BackendCutOff
from helios_trio.pool.pool import Pool


def cut_off(pool: Pool, reason: str) -> None:
    """Close all connections of a pool, also those at work; none is opened until `Pool.reopen`."""
    pool.given_up = reason
    for connection in list(pool.planner.slots):
        connection.on_end(BackendCutOff(reason))
    for ticket in list(pool.planner.waiting):
        pool.withdraw(ticket)
        ticket.refused(BackendCutOff(reason))
