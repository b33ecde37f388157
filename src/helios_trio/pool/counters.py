"""What happened in one pool since the proxy started, and how long its last queries took.

Used by: pool.pool and proxy.session (count), migration.figures (compares backends), admin (shows).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field

#: How many queries' times are kept of each pool: enough for a p99, and an append costs the relay next to nothing.
TIMES_KEPT: Final = 1024


@define
class PoolCounters:
    """What happened in one pool since the proxy started; read by the metrics."""

    queries: int = 0
    #: errors that servers reported to clients
    errors: int = 0
    transactions: int = 0
    opened: int = 0
    closed: int = 0
    connect_failures: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0
    resets: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    reasons_closed: dict[str, int] = field(factory=dict)
    #: of the last queries: seconds from the last bytes of the request to ReadyForQuery
    times: deque[float] = field(factory=lambda: deque(maxlen=TIMES_KEPT))
