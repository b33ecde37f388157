"""Traffic of the last hour, second by second: what the console draws and the live stream tells.

Latencies are those of the last queries of each pool (`pool.counters`), so that a busy second is a sample.

Used by: admin.api (its routes), admin.stream_topics, app (has it look each second).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Final

import trio
from attrs import define, field, frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, reads
from helios_trio.config.keys import key
from helios_trio.config.kinds import Integer
from helios_trio.migration.figures import Figures, PoolTraffic, Reading, percentile
from helios_trio.pool.planner import SlotStatus

#: Seconds that are kept.
KEPT: Final = 3600
_MILLISECONDS: Final = 1000.0


@frozen(kw_only=True)
class BackendTraffic:
    """What one backend did; null: no query ended."""

    queries_per_second: float
    errors_per_second: float
    p99_ms: float | None


@frozen(kw_only=True)
class TrafficSample:
    """One second, or the mean of some: then latencies are those of the worst. Null: no query ended."""

    #: when it was over
    at: datetime
    queries_per_second: float
    errors_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    #: who is connected; of these, who has a server connection and who waits for one
    clients: int
    active: int
    waiting: int
    server_connections: int
    backends: Mapping[str, BackendTraffic]


@frozen(kw_only=True)
class TrafficView:
    """The last seconds, oldest first."""

    step_seconds: int
    samples: tuple[TrafficSample, ...]


@frozen(kw_only=True)
class TrafficQuery:
    """How much is wanted, and how fine."""

    seconds: Annotated[int, Integer(1, KEPT)] = key(300, "how far back")
    step: Annotated[int, Integer(1, 600)] = key(1, "seconds that a sample stands for")


@define
class Traffic:
    """Looks each second, and remembers an hour."""

    parts: Parts
    samples: deque[TrafficSample] = field(factory=lambda: deque(maxlen=KEPT))
    _pools: PoolTraffic = field(init=False)
    _before: Reading = field(init=False)
    _at: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self._pools = PoolTraffic(lambda: self.parts.pools)
        self._before = self._pools.read()

    async def run(self) -> None:
        """Take a sample each second, until cancelled."""
        self._at = trio.current_time()
        while True:
            await trio.sleep(1.0)
            self.take(datetime.now(UTC), trio.current_time())

    def take(self, at: datetime, clock: float) -> TrafficSample:
        """What has been since the last one; `clock`: Trio's, seconds."""
        seconds = max(clock - self._at, 0.001)
        found = self._pools.all_since(self._before)
        self._before, self._at = self._pools.read(), clock
        sample = self._sample(at, seconds, found)
        self.samples.append(sample)
        return sample

    def _sample(self, at: datetime, seconds: float, found: Mapping[str, Figures]) -> TrafficSample:
        times = sorted(time for figures in found.values() for time in figures.times)
        pools = [pool.planner for pool in self.parts.pools]
        return TrafficSample(
            at=at,
            queries_per_second=_rate(sum(each.queries for each in found.values()), seconds),
            errors_per_second=_rate(sum(each.errors for each in found.values()), seconds),
            p50_ms=_ms(percentile(times, 50)),
            p95_ms=_ms(percentile(times, 95)),
            p99_ms=_ms(percentile(times, 99)),
            clients=len(self.parts.proxy.sessions),
            active=sum(slot.status is SlotStatus.ACTIVE for planner in pools for slot in planner.slots),
            waiting=sum(len(planner.waiting) for planner in pools),
            server_connections=sum(planner.total for planner in pools),
            backends={name: _of_backend(each, seconds) for name, each in found.items()},
        )

    def last(self, seconds: int, step: int) -> Sequence[TrafficSample]:
        """The last seconds, oldest first, `step` of them in one sample; steps begin at multiples of it."""
        wanted = islice(self.samples, max(0, len(self.samples) - seconds), None)
        if step == 1:
            return tuple(wanted)
        groups: dict[int, list[TrafficSample]] = {}
        for sample in wanted:
            groups.setdefault(int(sample.at.timestamp()) // step, []).append(sample)
        return tuple(map(_together, groups.values()))


def _rate(number: int, seconds: float) -> float:
    return round(number / seconds, 3)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * _MILLISECONDS, 3)


def _of_backend(figures: Figures, seconds: float) -> BackendTraffic:
    return BackendTraffic(
        queries_per_second=_rate(figures.queries, seconds),
        errors_per_second=_rate(figures.errors, seconds),
        p99_ms=_ms(figures.p99),
    )


def _together(samples: Sequence[TrafficSample]) -> TrafficSample:
    """Several as one: means, and the worst latencies, as percentiles have no mean."""
    names = dict.fromkeys(name for each in samples for name in each.backends)
    return TrafficSample(
        at=samples[-1].at,
        queries_per_second=_mean([each.queries_per_second for each in samples]),
        errors_per_second=_mean([each.errors_per_second for each in samples]),
        p50_ms=_worst([each.p50_ms for each in samples]),
        p95_ms=_worst([each.p95_ms for each in samples]),
        p99_ms=_worst([each.p99_ms for each in samples]),
        clients=max(each.clients for each in samples),
        active=max(each.active for each in samples),
        waiting=max(each.waiting for each in samples),
        server_connections=max(each.server_connections for each in samples),
        backends={name: _backends_together(name, samples) for name in names},
    )


def _backends_together(name: str, samples: Sequence[TrafficSample]) -> BackendTraffic:
    found = [sample.backends[name] for sample in samples if name in sample.backends]
    return BackendTraffic(
        queries_per_second=round(sum(each.queries_per_second for each in found) / len(samples), 3),
        errors_per_second=round(sum(each.errors_per_second for each in found) / len(samples), 3),
        p99_ms=_worst([each.p99_ms for each in found]),
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3)


def _worst(values: Sequence[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)


def routes(traffic: Traffic) -> Iterator[Route]:
    """The last hour."""

    async def look(call: Call) -> TrafficView:
        query: TrafficQuery = call.query
        return TrafficView(step_seconds=query.step, samples=tuple(traffic.last(query.seconds, query.step)))

    yield reads("/api/v1/traffic", "Queries, latencies and clients", TrafficView, look, query=TrafficQuery)
