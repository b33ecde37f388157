"""Closing the connections of a pool one by one, each when nobody uses it any more: RECONNECT of the console.

Used by: admin.console_orders.
"""

from __future__ import annotations

from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool


def renew(pool: Pool, reason: str) -> None:
    """Close what is idle or being reset now, and what a session has as soon as it gives it back."""
    for connection in list(pool.planner.slots):
        if connection.status is SlotStatus.ACTIVE:
            connection.side.spoilt = True
        else:
            pool.discard(connection, reason)
    pool.act()


def to_be_closed(pool: Pool) -> int:
    """How many connections will not be used again, and are there still."""
    return sum(connection.side.spoilt for connection in pool.planner.slots)
