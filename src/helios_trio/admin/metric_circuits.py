"""The metrics of circuit breakers.

Used by: admin.metric_table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import trio

from helios_trio.admin.metric_kinds import Sample, Section, counter, gauge, one
from helios_trio.admin.scrape import Scrape
from helios_trio.features.circuit_breaker.breaker import Breaker
from helios_trio.features.circuit_breaker.circuit import CircuitState
from helios_trio.features.circuit_breaker.histogram import quantiles

_NUMBERS: Final = {CircuitState.CLOSED: 0, CircuitState.OPEN: 1, CircuitState.HALF_OPEN: 2}


def _per_backend(read: Callable[[Breaker], float | None]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of each backend that has a breaker; none where it is not known."""

    def samples(scrape: Scrape) -> Iterator[Sample]:
        for breaker in scrape.parts.breakers or ():
            value = read(breaker)
            if value is not None:
                yield (breaker.backend,), value

    return samples


def _p95(breaker: Breaker) -> float | None:
    times = breaker.whole(breaker.settings.metrics_window_size).times
    return 1000 * quantiles(times, 0.95)[0] if times else None


def _error_rate(breaker: Breaker) -> float:
    return breaker.whole(breaker.settings.metrics_window_size).error_rate


def _trip_duration(breaker: Breaker) -> float:
    return breaker.trip_duration(trio.current_time())


def _shed(scrape: Scrape) -> float:
    return 0 if scrape.parts.breakers is None else scrape.parts.breakers.shedder.shed


_BACKEND: Final = ("backend",)

CIRCUITS: Final = Section(
    "Circuit breakers",
    "Only with `[circuit_breaker]`. What is measured is measured over `metrics_window_size`.",
    (
        gauge(
            "helios_circuit_breaker_state",
            "0 if the backend's circuit is closed, 1 if it is open, 2 if it is half-open.",
            _per_backend(lambda breaker: _NUMBERS[breaker.circuit.state]),
            _BACKEND,
        ),
        counter(
            "helios_circuit_breaker_failures_total",
            "Errors that were the server's own fault, and connections that were lost.",
            _per_backend(lambda breaker: breaker.failures),
            _BACKEND,
        ),
        counter(
            "helios_circuit_breaker_trips_total",
            "Times the circuit has opened.",
            _per_backend(lambda breaker: breaker.trips),
            _BACKEND,
        ),
        gauge(
            "helios_circuit_breaker_trip_duration_seconds",
            "How long the circuit has been open or half-open, or was the last time; 0 if it never was.",
            _per_backend(_trip_duration),
            _BACKEND,
        ),
        gauge(
            "helios_circuit_breaker_recovery_ratio",
            "Share of its traffic that a backend gets again after its circuit was open.",
            _per_backend(
                lambda breaker: 1.0 if breaker.ramp is None else breaker.ramp.share(trio.current_time())
            ),
            _BACKEND,
        ),
        gauge(
            "helios_backend_latency_p95_milliseconds",
            "Time that 95 % of the requests did not exceed.",
            _per_backend(_p95),
            _BACKEND,
        ),
        gauge(
            "helios_backend_error_rate",
            "Share of the requests that failed by the server's fault.",
            _per_backend(_error_rate),
            _BACKEND,
        ),
        gauge(
            "helios_backend_connection_saturation",
            "Share of the server connections that are in use.",
            _per_backend(lambda breaker: breaker.load.saturation),
            _BACKEND,
        ),
        counter(
            "helios_circuit_breaker_shed_total",
            "Requests refused with 53300 because several circuits were open at once.",
            one(_shed),
        ),
    ),
)
