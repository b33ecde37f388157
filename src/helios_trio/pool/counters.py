"""What happened in one pool since the proxy started.

Used by: pool.pool (counts), admin (shows).
"""

from __future__ import annotations

from attrs import define, field


@define
class PoolCounters:
    """What happened in one pool since the proxy started; read by the metrics."""

    queries: int = 0
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
