"""`[circuit_breaker]`: when a backend gets no more requests, how it is tried again, and which users are slowed down."""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import attrs
from attrs import frozen

from helios_trio.config.keys import key, shapes
from helios_trio.config.kinds import (
    Choice,
    Count,
    Expected,
    Kind,
    Limit,
    Percent,
    PositiveCount,
    Seconds,
    Switch,
    Texts,
)

#: What a key is called inside of [[backends.pools]].
PREFIX: Final = "circuit_breaker_"
#: Keys that hold for all backends together.
COMMON: Final = frozenset({"shed_first", "shed_last"})
#: Steps of a window; more would only take memory.
MOST_BUCKETS: Final = 600
#: Seconds of the longest window that there is in any case.
LONGEST_WINDOW: Final = 60.0


class BreakerMode(enum.StrEnum):
    """What a backend is compared with: the configuration, what it is normally like, and where it is heading."""

    STATIC = "static"
    ADAPTIVE = "adaptive"
    PREDICTIVE = "predictive"


@frozen
class Share(Kind):
    """A share of a whole: more than 0, at most 1."""

    expected = "a share, more than 0 and at most 1"
    textual = False

    def read(self, value: object) -> float:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise Expected(self.expected)
        return float(value)

    def write(self, value: Any) -> float:
        """See `Kind`."""
        return float(value)


BreakerModeWord = Annotated[BreakerMode, Choice(BreakerMode)]
ShareOfOne = Annotated[float, Share()]
Patterns = Annotated[tuple[str, ...], Texts()]


@frozen(kw_only=True)
class CircuitBreaker:
    """When a backend gets no more requests, and how it comes back. Off unless enabled."""

    enabled: Switch = key(False, "whether backends have circuits at all", live=False)
    mode: BreakerModeWord = key(
        BreakerMode.STATIC,
        "static: the thresholds below; adaptive: those of latency follow what the backend is normally like; "
        "predictive: also opens on a trend that leads beyond them",
    )
    failure_threshold_percentage: Percent = key(
        5.0, "opens when more than this share of requests fails by the server's fault"
    )
    latency_threshold_p95_ms: PositiveCount = key(
        500, "milliseconds; opens when the p95 of the time of a request is longer"
    )
    latency_threshold_p99_ms: PositiveCount = key(
        2000, "milliseconds; opens when the p99 is longer; counts from 100 requests in the window on"
    )
    connection_saturation_threshold: ShareOfOne = key(
        0.95,
        "opens when this share of its connections has been in use for a second while clients waited for one",
    )
    queue_depth_threshold: Count = key(
        0, "opens when so many clients have waited for a connection for a second; 0: not looked at"
    )
    lag_threshold: Limit = key(
        float("inf"), "a standby that is further behind opens; off: that is left to [lag_routing]"
    )
    metrics_window_size: Seconds = key(10.0, "what is judged: the requests that ended within it")
    metrics_bucket_size: Seconds = key(
        1.0, "in what steps requests fall out of the windows of 1s, 1m and this one"
    )
    minimum_requests: PositiveCount = key(20, "a window with fewer requests is not judged")
    open_duration: Seconds = key(
        30.0, "how long it is open before it is tried again; twice as long each time it fails"
    )
    max_open_duration: Seconds = key(600.0, "how long that becomes at most")
    half_open_max_concurrent: PositiveCount = key(
        10, "requests that may try it at the same time, and results by which it is judged"
    )
    half_open_success_threshold: Percent = key(
        80.0, "closes when at least this share of them succeeds, else it opens"
    )
    half_open_probe_interval: Seconds = key(
        5.0,
        "from one probe of the proxy's own to the next while it is tried; two in a row will do if nobody else asks",
    )
    gradual_recovery_enabled: Switch = key(True, "true: when it closes, its traffic comes back in steps")
    recovery_ramp_up_duration: Seconds = key(120.0, "until all of it is back")
    recovery_step_percentage: Percent = key(10.0, "how much more each step lets through")
    query_level_breakers_enabled: Switch = key(
        False,
        "true: statements of one pattern that are slow or fail again and again are refused for a while (53400)",
    )
    slow_query_threshold_ms: PositiveCount = key(5000, "milliseconds from which a statement is slow for that")
    user_level_breakers_enabled: Switch = key(False, "true: no user can take a backend away from the others")
    per_user_rate_limit: PositiveCount = key(
        1000, "requests per second that one user may begin on one backend"
    )
    user_isolation_on_abuse: Switch = key(
        True,
        "a user beyond that, or with most of a saturated backend, gets a few connections of his own for a while, and "
        "53400 beyond them; false: 53400 for what is beyond the limit",
    )
    shed_first: Patterns = key(
        (),
        "users (patterns with * and ?) that get 53300 first while several circuits are open",
        example=["batch_*"],
    )
    shed_last: Patterns = key((), "users that never do", example=["checkout"])

    def priority_of(self, user: str) -> int:
        """0 for those who are refused first when load is shed, 2 for those who never are, else 1."""
        if any(fnmatchcase(user, each) for each in self.shed_last):
            return 2
        return 0 if any(fnmatchcase(user, each) for each in self.shed_first) else 1

    def for_backend(self, backend: object) -> CircuitBreaker:
        """What holds for one backend: its own keys over these."""
        given = {name: getattr(backend, PREFIX + name) for name in shapes(type(self)) if name not in COMMON}
        return attrs.evolve(self, **{name: value for name, value in given.items() if value is not None})

    def what_is_wrong(self) -> tuple[str, str] | None:
        """A key that does not fit to another, and what was expected; None when all is well."""
        if self.metrics_bucket_size > self.metrics_window_size:
            return "metrics_bucket_size", "at most metrics_window_size"
        if max(self.metrics_window_size, LONGEST_WINDOW) > MOST_BUCKETS * self.metrics_bucket_size:
            return "metrics_bucket_size", f"at least a {MOST_BUCKETS}th of 1m and of metrics_window_size"
        if self.latency_threshold_p95_ms > self.latency_threshold_p99_ms:
            return "latency_threshold_p95_ms", "at most latency_threshold_p99_ms"
        if self.open_duration > self.max_open_duration:
            return "open_duration", "at most max_open_duration"
        return None
