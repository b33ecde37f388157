"""The pace of the admin listener: bursts, then so many in a second, then a refusal."""

from __future__ import annotations

import pytest
import trio.testing
from admin_parts import AS_VIEWER, Api, make_parts

from helios_trio.admin.pacing import BURST, LATE, PATIENCE, SOON, Fate, Pace, Queue
from helios_trio.config.admin import AdminSettings


def test_a_burst_is_served_at_once() -> None:
    """Then each waits a bit longer than the one before."""
    pace = Pace(40.0)
    assert [pace.turn(0.0) for _ in range(BURST + 1)] == [0.0] * (BURST + 1)
    assert pace.turn(0.0) == pytest.approx(1 / 40)
    assert pace.turn(0.0) == pytest.approx(2 / 40)


def test_who_would_wait_too_long_is_refused() -> None:
    """And takes no turn from others."""
    pace = Pace(10.0)
    found = [pace.turn(0.0) for _ in range(1000)]
    served = [each for each in found if each is not None]
    assert len(served) == BURST + 1 + PATIENCE * 10
    assert max(served) <= PATIENCE
    assert pace.turn(1.0) is not None


def test_in_the_long_run() -> None:
    """As many as the rate says, whoever comes how often."""
    pace = Pace(40.0)
    served = sum(pace.turn(at / 1000) is not None for at in range(60_000))
    assert served == pytest.approx(60 * 40 + BURST + PATIENCE * 40, abs=2)


async def test_requests_wait_for_their_turn(autojump_clock: trio.testing.MockClock) -> None:
    """Those of probes are not kept waiting by others."""
    api = Api.of(make_parts())
    statuses: list[int] = []

    async def ask(path: str) -> None:
        statuses.append((await api.client.get(path, headers=AS_VIEWER)).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(ask, "/api/v1/version")
    assert statuses.count(200) == BURST + 1 + PATIENCE * AdminSettings().max_requests_per_second
    refused_per_second = AdminSettings().max_requests_per_second
    assert trio.current_time() == pytest.approx(SOON + statuses.count(429) / refused_per_second, abs=0.2)
    assert statuses.count(429) == 300 - statuses.count(200)
    began = trio.current_time()
    await ask("/health")
    assert (await api.client.get("/")).status_code != 429
    assert trio.current_time() == began


async def test_strangers_do_not_keep_operators_out(autojump_clock: trio.testing.MockClock) -> None:
    """However many requests come without a good key."""
    api = Api.of(make_parts())

    came: list[tuple[int, float]] = []

    async def ask(headers: dict[str, str]) -> None:
        await api.client.get("/api/v1/version", headers=headers)

    async def operators_turn() -> None:
        status = (await api.client.get("/api/v1/version", headers=AS_VIEWER)).status_code
        came.append((status, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(ask, {} if number % 2 else {"X-API-Key": "wrong"})
        nursery.start_soon(operators_turn)
    assert came == [(200, 0.0)]
    assert trio.current_time() >= PATIENCE


def test_refusals_have_a_pace_too() -> None:
    """Each costs as much as an answer: 2,000 connections that ask again and again are not to have thousands."""
    queue = Queue()
    turns = [queue.turn(0.0, 10.0) for _ in range(2000)]
    refused = [each.wait for each in turns if each.fate is Fate.REFUSED]
    dropped = [each.wait for each in turns if each.fate is Fate.DROPPED]
    assert len(refused) + len(dropped) == 2000 - (BURST + 1 + PATIENCE * 10)
    assert len(refused) == pytest.approx((LATE - SOON) * 10, abs=1), "as many as there is time for"
    assert (min(refused), max(refused)) == (SOON, pytest.approx(LATE, abs=0.2))
    assert set(dropped) == {SOON}
    for second in range(int(SOON), int(LATE) - 1):
        assert sum(second <= wait < second + 1 for wait in refused) <= 11
    assert queue.turn(60.0, 10.0).fate is Fate.SERVED
