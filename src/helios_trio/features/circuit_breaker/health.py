"""How a backend does, dimension by dimension, and whether one of them is beyond its limit.

A window of the configured size is taken at its word: p95 is beyond its limit when more than 5 % of the requests are.
To be quick there is also the window of one second; in it the share must be so much beyond the limit that chance is no
explanation (the lower end of Wilson's interval for it is), as few requests are in it. Requests that have not ended
yet and are older than a limit count as slow ones: a server that stands still ends none.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from helios_trio.features.circuit_breaker.histogram import bucket_of
from helios_trio.features.circuit_breaker.windows import SHORT, Windows

#: Share of requests that may be slower than p95, and p99.
BEYOND_P95: Final = 0.05
BEYOND_P99: Final = 0.01
#: Fewer requests have no p99.
LEAST_FOR_P99: Final = 100
#: Standard deviations that a share in the short window must be beyond its limit.
_CERTAIN: Final = 3.0
#: Requests under way that must be late where nothing moves, and the share of all of them.
LEAST_STANDING: Final = 3
STANDING_SHARE: Final = 0.5
#: Seconds for which a figure of load must be beyond its limit.
SUSTAINED: Final = 1.0


class Dimension(StrEnum):
    """What can be wrong with a backend."""

    ERROR_RATE = "error_rate"
    LATENCY_P95 = "latency_p95"
    LATENCY_P99 = "latency_p99"
    STANDSTILL = "standstill"
    SATURATION = "connection_saturation"
    QUEUE_DEPTH = "queue_depth"
    LAG = "lag"
    ABSENCE = "absence"
    TREND = "trend"


@frozen(kw_only=True)
class Load:
    """What can be seen of a backend at a moment, without any request having ended."""

    #: connections that work for sessions, and how many there may be
    active: int = 0
    limit: int = 0
    #: sessions that wait for one
    waiting: int = 0
    #: seconds that it is behind the server that takes writes; None: it is that one, or nobody knows
    lag: float | None = None
    #: seconds since each request that has not ended was sent
    ages: Sequence[float] = ()
    #: why it counts as gone, although no request had to find that out; empty: it does not
    gone: str = ""

    @property
    def saturation(self) -> float:
        """Share of the connections that are in use, 0 to 1."""
        return min(1.0, self.active / self.limit) if self.limit else 0.0


NO_LOAD: Final = Load()


@frozen(kw_only=True)
class Limits:
    """What is still good. Times in seconds, shares 0 to 1."""

    p95: float
    p99: float
    error_rate: float
    saturation: float
    #: 0: not looked at
    queue_depth: int
    lag: float
    #: requests that a window must have to be judged
    minimum: int
    #: seconds of the window that is judged
    window: float


@frozen(kw_only=True)
class Breach:
    """Something is beyond its limit."""

    dimension: Dimension
    text: str
    figures: Mapping[str, float]


def breach_of_requests(
    windows: Windows, limits: Limits, ages: Sequence[float] = (), failing: int = 0
) -> Breach | None:
    """The first dimension of what became of requests that is beyond its limit.

    `failing`: requests that have told an error, and will end in a moment.
    """
    for size in dict.fromkeys((limits.window, SHORT)):
        ended = windows.requests(size) + failing
        for dimension, share, count, requests, least in _shares(windows, limits, size, ended, ages):
            if requests >= least and _is_beyond(count, requests, share, certain=size != limits.window):
                return _breach_of_share(windows, limits, dimension, size, count, requests, share)
    return None


def _shares(
    windows: Windows, limits: Limits, size: float, ended: int, ages: Sequence[float]
) -> Iterator[tuple[Dimension, float, int, int, int]]:
    """Each dimension: the share that is allowed, how many are beyond, of how many, and how many must be known."""
    failures = windows.failures(size)
    yield Dimension.ERROR_RATE, limits.error_rate, failures, max(ended, failures), limits.minimum
    late = sum([age > limits.p95 for age in ages])
    slow = windows.slower(size, bucket_of(limits.p95))
    yield Dimension.LATENCY_P95, BEYOND_P95, slow + late, ended + late, limits.minimum
    late = sum([age > limits.p99 for age in ages])
    slow = windows.slower(size, bucket_of(limits.p99))
    least = max(limits.minimum, LEAST_FOR_P99)
    yield Dimension.LATENCY_P99, BEYOND_P99, slow + late, ended + late, least


def _is_beyond(count: int, requests: int, share: float, *, certain: bool) -> bool:
    """Whether the share of `count` in `requests` is beyond, `certain`: by more than chance can explain."""
    if count <= share * requests:
        return False
    return not certain or wilson_lower(min(count, requests), requests, _CERTAIN) > share


def wilson_lower(count: int, of: int, z: float) -> float:
    """The lower end of Wilson's interval (1927), `z` deviations wide, for the share behind `count` in `of`."""
    share = count / of
    middle = share + z * z / (2 * of)
    width = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return (middle - width) / (1 + z * z / of)


def _breach_of_share(
    windows: Windows,
    limits: Limits,
    dimension: Dimension,
    size: float,
    count: int,
    requests: int,
    share: float,
) -> Breach:
    figures = {"window_seconds": size, "requests": float(requests), "beyond": float(count)}
    where = f"in {size:g} s, {count} of {requests} requests"
    if dimension is Dimension.ERROR_RATE:
        rate = count / requests
        text = f"error rate {100 * rate:.1f} % > {100 * share:g} % {where} failed"
        figures |= {"error_rate": rate, "limit": share}
    else:
        limit = limits.p95 if dimension is Dimension.LATENCY_P95 else limits.p99
        name = "p95" if dimension is Dimension.LATENCY_P95 else "p99"
        (found,) = windows.quantiles(size, 1 - share)
        text = f"{name} > {1000 * limit:.0f} ms {where} took longer or are under way for longer"
        figures |= {f"{dimension}_ms": 1000 * found, "limit_ms": 1000 * limit}
    return Breach(dimension=dimension, text=text, figures=figures)


def breach_of_standstill(limits: Limits, rate: float, ages: Sequence[float], silence: float) -> Breach | None:
    """Nothing has been answered for so long as a slow request takes, though much should have been.

    `rate`: answers per second until now; `silence`: seconds since the last one. Windows do not show it, as nothing new
    enters them. Time in which nobody has asked for anything is no silence.
    """
    late = sum([age > limits.p95 for age in ages])
    silence = min(silence, max(ages, default=0.0))
    expected = rate * silence
    if (
        silence <= limits.p95
        or expected < limits.minimum
        or late < max(LEAST_STANDING, STANDING_SHARE * len(ages))
    ):
        return None
    text = (
        f"no request was answered for {1000 * silence:.0f} ms, and {late} of {len(ages)} under way are older than "
        f"{1000 * limits.p95:.0f} ms"
    )
    figures = {"silence_ms": 1000 * silence, "under_way": float(len(ages)), "late": float(late)}
    return Breach(dimension=Dimension.STANDSTILL, text=text, figures=figures)


def breach_of_absence(load: Load) -> Breach | None:
    """Health checks have given it up: whoever is sent elsewhere in time notices nothing, and measures nothing."""
    return Breach(dimension=Dimension.ABSENCE, text=load.gone, figures={}) if load.gone else None


@define(eq=False)
class Pressure:
    """Since when figures of load have been beyond their limits: one look says little. Times in seconds."""

    _since: dict[Dimension, float] = field(factory=dict)

    def note(self, now: float, load: Load, limits: Limits) -> Breach | None:
        """The load at this moment; what has been beyond its limit for long enough."""
        found = None
        for dimension, is_beyond, figure, limit in self._dimensions(load, limits):
            if not is_beyond:
                self._since.pop(dimension, None)
            elif now - self._since.setdefault(dimension, now) >= SUSTAINED:
                found = found or _breach_of_load(dimension, figure, limit)
        return found

    def _dimensions(self, load: Load, limits: Limits) -> Iterator[tuple[Dimension, bool, float, float]]:
        full = load.saturation >= limits.saturation and load.waiting > 0
        yield Dimension.SATURATION, full, load.saturation, limits.saturation
        crowded = 0 < limits.queue_depth <= load.waiting
        yield Dimension.QUEUE_DEPTH, crowded, float(load.waiting), float(limits.queue_depth)
        behind = load.lag is not None and load.lag > limits.lag
        yield Dimension.LAG, behind, load.lag or 0.0, limits.lag

    @property
    def saturated(self) -> bool:
        """Whether its connections are in use while somebody waits for one."""
        return Dimension.SATURATION in self._since


def _breach_of_load(dimension: Dimension, figure: float, limit: float) -> Breach:
    words = dimension.replace("_", " ")
    return Breach(
        dimension=dimension,
        text=f"{words} {figure:g}, limit {limit:g}, for {SUSTAINED:g} s",
        figures={dimension.value: figure, "limit": limit},
    )
