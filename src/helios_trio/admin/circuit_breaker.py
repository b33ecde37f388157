"""The circuit breakers of the API: how each backend does, and orders to hold a circuit open or closed, or to reset it.

Used by: admin.api.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator

import trio
from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.config.keys import key
from helios_trio.features.circuit_breaker import relation
from helios_trio.features.circuit_breaker.breaker import Breaker
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.circuit_breaker.circuit import Signal
from helios_trio.migration.errors import Fault, NotFound


@frozen(kw_only=True)
class CircuitView:
    """One backend; figures are those of metrics_window_size, and null where nothing was measured."""

    backend: str
    #: closed, open or half_open
    circuit_state: str
    latency_p95_ms: float | None
    #: requests that failed by the server's fault, 0 to 1
    error_rate: float
    #: server connections in use, 0 to 1
    connection_saturation: float
    #: since the proxy started; null: never
    last_failure_time: str | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    requests_per_second: float
    #: sessions that wait for a connection
    queue_depth: int
    lag_seconds: float | None
    state_since: str | None
    #: why it is in this state
    reason: str
    failures: int
    #: share of its traffic that is back after it was open
    recovery_percent: float
    #: open or closed where an operator holds it; null: nobody does
    held: str | None
    #: static, adaptive or predictive
    mode: str
    #: beyond these it opens; they are learned unless the mode is static
    latency_limit_p95_ms: float
    latency_limit_p99_ms: float
    #: times it has opened since the proxy started
    trips: int
    #: fingerprints of statements that are refused
    open_patterns: tuple[str, ...]
    #: users that have a few connections of their own
    isolated_users: tuple[str, ...]


@frozen(kw_only=True)
class CircuitsView:
    """All backends that have a circuit breaker."""

    backends: tuple[CircuitView, ...]
    #: so many are open that load is shed
    cascade: bool
    #: requests refused because of that, since the proxy started
    requests_shed: int


@frozen(kw_only=True)
class CircuitBody:
    """Why a circuit is opened, closed or reset."""

    reason: Why = key("", "why; stands in the events")


_ORDERS = (
    ("open", Signal.FORCED_OPEN, "Open a circuit, and hold it open"),
    ("close", Signal.FORCED_CLOSED, "Close a circuit, and hold it closed whatever is measured"),
    ("reset", Signal.RESET, "Close a circuit, forget what was measured, and hold it no more"),
)


def routes(breakers: Breakers) -> Iterator[Route]:
    """Circuits."""

    async def status(_: Call) -> CircuitsView:
        return circuits_view(breakers)

    def order(signal: Signal) -> Callable[[Call], Awaitable[CircuitView]]:
        async def handle(call: Call) -> CircuitView:
            name = call.path["name"]
            if breakers.find(name) is None:
                raise NotFound([Fault("", f'there is no backend "{name}" with a circuit breaker')])
            breakers.force(name, signal, trio.current_time(), who=call.who, reason=call.body.reason)
            return next(each for each in circuits_view(breakers).backends if each.backend == name)

        return handle

    base = "/api/v1/circuit-breaker"
    yield reads(f"{base}/status", "How each backend does, and its circuit", CircuitsView, status)
    for verb, signal, summary in _ORDERS:
        path = f"{base}/<name>/{verb}"
        yield changes(path, summary, CircuitView, order(signal), body=CircuitBody)


def circuits_view(breakers: Breakers) -> CircuitsView:
    """All of them, now."""
    now = trio.current_time()
    rows = relation.rows(breakers, now, time.time() - now)
    views = (_view(breaker, row) for breaker, row in zip(breakers, rows, strict=True))
    return CircuitsView(
        backends=tuple(views), cascade=breakers.shedder.active, requests_shed=breakers.shedder.shed
    )


def _view(breaker: Breaker, row: dict[str, object]) -> CircuitView:
    held = breaker.circuit.held
    more = {
        "held": held.value if held is not None else None,
        "mode": str(breaker.settings.mode),
        "latency_limit_p95_ms": round(1000 * breaker.limits.p95, 3),
        "latency_limit_p99_ms": round(1000 * breaker.limits.p99, 3),
        "trips": breaker.trips,
        "open_patterns": tuple(breaker.queries.open_patterns()) if breaker.queries else (),
        "isolated_users": tuple(breaker.users.isolated) if breaker.users else (),
    }
    return CircuitView(**row, **more)  # type: ignore[arg-type]


def state_of(parts: Parts, backend: str) -> str | None:
    """The state of a backend's circuit; None if it has none."""
    breaker = None if parts.breakers is None else parts.breakers.find(backend)
    return None if breaker is None else breaker.circuit.state.value
