"""The relation `helios_proxy.circuit_breaker_status`: its columns, and its rows as they are now. Pure.

Used by: the rewriting of statements that name it; admin.circuit_breaker has the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from helios_trio.features.circuit_breaker.breaker import Breaker
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.histogram import quantiles
from helios_trio.sql.relations import Rows

#: Schema and name.
NAME: Final = ("helios_proxy", "circuit_breaker_status")
#: Column -> type of PostgreSQL, in order.
COLUMNS: Final[Mapping[str, str]] = {
    "backend": "text",
    "circuit_state": "text",
    "latency_p95_ms": "double precision",
    "error_rate": "double precision",
    "connection_saturation": "double precision",
    "last_failure_time": "timestamp with time zone",
    "latency_p50_ms": "double precision",
    "latency_p99_ms": "double precision",
    "requests_per_second": "double precision",
    "queue_depth": "integer",
    "lag_seconds": "double precision",
    "state_since": "timestamp with time zone",
    "reason": "text",
    "failures": "bigint",
    "recovery_percent": "double precision",
}


def rows(breakers: Breakers, now: float, epoch: float) -> list[dict[str, Any]]:
    """A row for each backend that has a breaker, as JSON has values.

    `now`: Trio's clock; `epoch`: what its zero is in seconds since 1970 (UTC).
    """
    return [_row(breaker, now, epoch) for breaker in breakers]


def _row(breaker: Breaker, now: float, epoch: float) -> dict[str, Any]:
    size = breaker.settings.metrics_window_size
    tally = breaker.whole(size)
    p50, p95, p99 = quantiles(tally.times, 0.5, 0.95, 0.99)
    known = bool(tally.times)
    circuit, load = breaker.circuit, breaker.load
    return {
        "backend": breaker.backend,
        "circuit_state": circuit.state.value,
        "latency_p95_ms": _milliseconds(p95, known),
        "error_rate": round(tally.error_rate, 6),
        "connection_saturation": round(load.saturation, 4),
        "last_failure_time": _moment(breaker.last_failure, epoch),
        "latency_p50_ms": _milliseconds(p50, known),
        "latency_p99_ms": _milliseconds(p99, known),
        "requests_per_second": round(breaker.windows.rate(size, now), 2),
        "queue_depth": load.waiting,
        "lag_seconds": load.lag,
        "state_since": _moment(circuit.since, epoch),
        "reason": circuit.reason,
        "failures": breaker.failures,
        "recovery_percent": 100.0 if breaker.ramp is None else round(100 * breaker.ramp.share(now), 1),
    }


def _milliseconds(seconds: float, known: bool) -> float | None:
    return round(1000 * seconds, 3) if known else None


def _moment(at: float | None, epoch: float) -> str | None:
    """RFC 3339 in UTC; None for what has never been."""
    if at is None or at == float("-inf"):
        return None
    return datetime.fromtimestamp(epoch + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(breakers: Breakers, now: float, epoch: float) -> Rows:
    """The same as rows that are written into a query."""
    return Rows(tuple(COLUMNS.items()), [tuple(row.values()) for row in rows(breakers, now, epoch)])
