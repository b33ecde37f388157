"""Wrong API keys: so many at once, then one now and then; good ones are never shut out."""

from __future__ import annotations

import pytest
from admin_parts import AS_VIEWER, Api, make_parts

from helios_trio.admin.failures import BURST, Failures


def test_a_burst_then_one_now_and_then() -> None:
    """Six seconds are a further one."""
    failures = Failures()
    assert [failures.note("a", 0.0) for _ in range(BURST)] == [0.0] * BURST
    assert failures.note("a", 0.0) == pytest.approx(6.0)
    assert failures.note("a", 3.0) == pytest.approx(3.0)
    assert failures.note("a", 3.0 + 60.0) == 0.0
    assert failures.note("b", 0.0) == 0.0


def test_addresses_are_forgotten() -> None:
    """Whoever has many of them does not fill the memory."""
    failures = Failures()
    for number in range(5000):
        failures.note(f"10.0.{number // 250}.{number % 250}", 0.0)
    assert len(failures._used) <= 1000


async def test_too_many_are_told_to_wait() -> None:
    """429 with Retry-After, while a good key from the same address is let in."""
    api = Api.of(make_parts())
    wrong = {"X-API-Key": "wrong"}
    answers = [await api.client.get("/api/v1/version", headers=wrong) for _ in range(BURST + 1)]
    assert [each.status_code for each in answers] == [401] * BURST + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 6
    assert (await api.client.get("/api/v1/version", headers=AS_VIEWER)).status_code == 200
