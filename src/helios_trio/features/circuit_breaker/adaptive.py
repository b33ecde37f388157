"""What a backend is normally like, learned while it is well: its limits follow from that, within bounds.

Of each step of the windows the logarithms of its p95 and p99 are averaged, and how far they stray (exponentially
weighted mean and variance). A limit is three times the normal figure, or four deviations beyond it if those are more;
never less than a quarter or more than four times what the configuration says, so that nothing can be taught to be
normal by coming slowly.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

from helios_trio.config.circuit_breaker import BreakerMode, CircuitBreaker
from helios_trio.features.circuit_breaker.health import Limits
from helios_trio.features.circuit_breaker.histogram import quantiles
from helios_trio.features.circuit_breaker.windows import Tally

#: Steps that must have been seen before anything counts as normal.
WARM: Final = 10
#: Requests that a step must have to say something.
LEAST: Final = 10
#: Weight of a step once it is warm.
_WEIGHT: Final = 1 / 60
_FACTOR: Final = math.log(3.0)
_DEVIATIONS: Final = 4.0
#: How far a learned limit may be from the configured one.
BOUND: Final = 4.0


@define
class Average:
    """Exponentially weighted mean and variance; the first values weigh as much as each other."""

    weight: float = _WEIGHT
    seen: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def note(self, value: float) -> None:
        """One more."""
        self.seen += 1
        weight = max(self.weight, 1 / self.seen)
        away = value - self.mean
        self.mean += weight * away
        self.variance = (1 - weight) * (self.variance + weight * away * away)

    @property
    def deviation(self) -> float:
        """How far values stray."""
        return math.sqrt(self.variance)


@define(eq=False)
class Baseline:
    """What is normal for one backend."""

    p95: Average = field(factory=Average)
    p99: Average = field(factory=Average)
    #: share of requests that fail
    errors: Average = field(factory=Average)

    def learn(self, step: Tally) -> None:
        """A step has ended in which it was well."""
        if step.answers < LEAST:
            return
        p95, p99 = quantiles(step.times, 0.95, 0.99)
        self.p95.note(math.log(p95))
        self.p99.note(math.log(p99))
        self.errors.note(step.error_rate)

    @property
    def warm(self) -> bool:
        """Whether enough has been seen."""
        return self.p95.seen >= WARM

    def limit_p95(self, configured: float) -> float:
        """The p95 that is still good, in seconds."""
        return self._limit(self.p95, configured)

    def limit_p99(self, configured: float) -> float:
        """The p99 that is still good, in seconds."""
        return self._limit(self.p99, configured)

    def _limit(self, of: Average, configured: float) -> float:
        if not self.warm:
            return configured
        learned = math.exp(of.mean + max(_FACTOR, _DEVIATIONS * of.deviation))
        return min(configured * BOUND, max(configured / BOUND, learned))


def limits_of(settings: CircuitBreaker, baseline: Baseline) -> Limits:
    """What is still good for a backend; what it is normally like counts in all modes but `static`."""
    p95, p99 = settings.latency_threshold_p95_ms / 1000, settings.latency_threshold_p99_ms / 1000
    errors = settings.failure_threshold_percentage / 100
    if settings.mode is not BreakerMode.STATIC:
        p95, p99 = baseline.limit_p95(p95), baseline.limit_p99(p99)
        errors = min(1.0, errors + baseline.errors.mean)
    return Limits(
        p95=p95,
        p99=max(p95, p99),
        error_rate=errors,
        saturation=settings.connection_saturation_threshold,
        queue_depth=settings.queue_depth_threshold,
        lag=settings.lag_threshold,
        minimum=settings.minimum_requests,
        window=settings.metrics_window_size,
    )
