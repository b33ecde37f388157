"""Where a backend is heading: it is opened before a limit is reached, if both of two tests say so.

* Change: CUSUM (Page, 1954) over the mean logarithm of the times of requests, a fifth of a second at a time, against
  what that normally is and how much it strays. It adds up what is beyond, so that noise cancels and a shift does not.
* Trend: Holt's double exponential smoothing of the same figure. It and p95 must have risen half of the way to the limit
  (in logarithms), and continued over the horizon it must lead p95 beyond it.

A shift that does not rise (another normal), and a rise that is within the noise, open nothing. For errors there is a
CUSUM of its own, of the likelihood that requests fail as often as the limit says rather than as often as they
normally do.

Pure: time is an argument, in seconds. Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field, frozen

from helios_trio.features.circuit_breaker.adaptive import Average

#: Seconds of a slice, and requests that it must have; it goes on until it has them.
SLICE: Final = 0.2
LEAST: Final = 20
#: Slices that must have been seen before anything counts as a change.
WARM: Final = 100
#: Weight of a slice in what is normal: some minutes.
_SLOW: Final = 1 / 600
#: CUSUM: deviations that are let pass in each slice, and their sum that is an alarm.
_SLACK: Final = 1.0
_ALARM: Final = 12.0
#: A slice does not count for more deviations than this: one bad one is no change.
_MOST: Final = 4.0
#: Deviation that is assumed at least (of a logarithm: 5 %).
_LEAST_DEVIATION: Final = 0.05
#: Holt: weights of level and slope.
_LEVEL: Final = 0.4
_SLOPE: Final = 0.2
#: Share of the way to the limit that must lie behind.
_RISEN: Final = 0.5
#: Log-likelihood ratio of failures that is an alarm: e**12 is 160,000 to 1.
_ERROR_ALARM: Final = 12.0
#: How rarely requests fail is not known better than this.
_LEAST_ERRORS: Final = 0.001


@frozen(kw_only=True)
class Forecast:
    """What is about to happen."""

    text: str
    figures: dict[str, float]


@define(eq=False)
class Trend:
    """What is normal, and where it goes, of one backend."""

    #: seconds that are looked ahead
    horizon: float
    normal: Average = field(factory=lambda: Average(weight=_SLOW))
    errors: Average = field(factory=lambda: Average(weight=_SLOW))
    change: float = 0.0
    error_change: float = 0.0
    level: float = 0.0
    slope: float = 0.0
    _at: float = -math.inf

    @property
    def warm(self) -> bool:
        """Whether enough has been seen."""
        return self.normal.seen >= WARM

    def note(self, now: float, mean_log: float, requests: int, failures: int, error_limit: float) -> None:
        """A slice has ended: the mean of the logarithms of its times, and how many requests failed."""
        self._note_errors(requests, failures, error_limit)
        self._smooth(now, mean_log)
        if not self.warm:
            self.normal.note(mean_log)
            return
        deviation = max(self.normal.deviation, _LEAST_DEVIATION)
        away = max(-_MOST, min(_MOST, (mean_log - self.normal.mean) / deviation))
        self.change = max(0.0, self.change + away - _SLACK)
        self.normal.note(self.normal.mean + away * deviation)

    def _smooth(self, now: float, value: float) -> None:
        passed = now - self._at
        self._at = now
        if not 0 < passed <= self.horizon:
            self.level, self.slope = value, 0.0
            return
        expected = self.level + self.slope * passed
        level = expected + _LEVEL * (value - expected)
        self.slope += _SLOPE * ((level - self.level) / passed - self.slope)
        self.level = level

    def _note_errors(self, requests: int, failures: int, limit: float) -> None:
        normal = max(self.errors.mean, _LEAST_ERRORS)
        if self.warm and limit > 2 * normal:
            good = max(0, requests - failures)
            ratio = failures * math.log(limit / normal) + good * math.log((1 - limit) / (1 - normal))
            self.error_change = max(0.0, self.error_change + ratio)
        if requests:
            self.errors.note(min(failures / requests, limit))

    def forecast(self, p95: float, limit: float, normal: float) -> Forecast | None:
        """What will be if it goes on so. `p95`: what it is now, `limit`: what it must not become, seconds.

        `normal`: the logarithm of what p95 normally is.
        """
        if not self.warm:
            return None
        if self.error_change > _ERROR_ALARM:
            return Forecast(
                text=f"failures are {math.exp(min(self.error_change, 50)):.0f} times likelier to go beyond the limit",
                figures={"log_likelihood": self.error_change},
            )
        risen, way = self.level - self.normal.mean, math.log(limit) - normal
        if self.change <= _ALARM or self.slope <= 0:
            return None
        if min(risen, math.log(p95) - normal) < _RISEN * way:
            return None
        expected = p95 * math.exp(min(self.slope * self.horizon, 20.0))
        if expected <= limit:
            return None
        text = (
            f"p95 {1000 * p95:.0f} ms rises, and goes beyond {1000 * limit:.0f} ms within {self.horizon:g} s "
            f"(CUSUM {self.change:.1f})"
        )
        figures = {
            "latency_p95_ms": 1000 * p95,
            "limit_ms": 1000 * limit,
            "slope_per_second": self.slope,
            "cusum": self.change,
        }
        return Forecast(text=text, figures=figures)

    def restart(self) -> None:
        """It has been away: what was normal stays so, what changed is over."""
        self.change = self.error_change = self.slope = 0.0
        self._at = -math.inf
