"""Traffic: counters become rates, times become percentiles, seconds become longer steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from admin_parts import AS_VIEWER, Api, FakeSlot, add_pool, add_slots, make_parts

from helios_trio.admin.traffic import KEPT, Traffic, TrafficSample
from helios_trio.pool.planner import SlotStatus

BEGIN = datetime(2027, 1, 1, tzinfo=UTC)


def sample(second: int, rate: float = 0.0, p99: float | None = None) -> TrafficSample:
    return TrafficSample(
        at=BEGIN + timedelta(seconds=second),
        queries_per_second=rate,
        errors_per_second=0.0,
        p50_ms=None,
        p95_ms=None,
        p99_ms=p99,
        clients=second,
        active=0,
        waiting=0,
        server_connections=0,
        backends={},
    )


def test_a_second() -> None:
    """Only what is new counts, of all pools together and of each backend."""
    parts = make_parts()
    pools = [add_pool(parts.pools, "ann"), add_pool(parts.pools, "bob")]
    add_slots(pools[0], FakeSlot(SlotStatus.ACTIVE), FakeSlot(SlotStatus.IDLE))
    traffic = Traffic(parts)
    for pool, number in zip(pools, (150, 50), strict=True):
        pool.counters.queries += number
        pool.counters.times.extend([0.001] * (number - 4) + [0.1] * 4)
    pools[0].counters.errors += 10
    first = traffic.take(BEGIN, 2.0)
    assert (first.queries_per_second, first.errors_per_second) == (100.0, 5.0)
    assert (first.p50_ms, first.p99_ms) == (1.0, 100.0)
    assert (first.active, first.server_connections) == (1, 2)
    assert first.backends["node1"].queries_per_second == 100.0
    quiet = traffic.take(BEGIN, 3.0)
    assert (quiet.queries_per_second, quiet.p99_ms) == (0.0, None)


def test_longer_steps() -> None:
    """Means, and the worst latency; steps begin where the clock says."""
    traffic = Traffic(make_parts())
    traffic.samples.extend(sample(second, rate=second, p99=float(second)) for second in range(5, 25))
    found = traffic.last(seconds=3600, step=10)
    assert [each.at.second for each in found] == [9, 19, 24]
    assert [each.queries_per_second for each in found] == [7.0, 14.5, 22.0]
    assert [each.p99_ms for each in found] == [9.0, 19.0, 24.0]
    assert len(traffic.last(seconds=4, step=1)) == 4


def test_an_hour_is_kept() -> None:
    """And no more."""
    traffic = Traffic(make_parts())
    for second in range(KEPT + 10):
        traffic.take(BEGIN + timedelta(seconds=second), float(second))
    assert len(traffic.samples) == KEPT


@pytest.mark.parametrize("query", ["seconds=0", "seconds=3601", "step=0", "step=x", "other=1"])
async def test_wrong_questions(query: str) -> None:
    """422, by name."""
    answer = await Api.of(make_parts()).client.get(f"/api/v1/traffic?{query}", headers=AS_VIEWER)
    assert answer.status_code == 422
