"""How often a predictive breaker opens over a backend that is well and noisy: measured, with seeds, against a bound.

The load is not kind: a rate that goes up and down by a factor of eleven, times of requests with a heavy tail, every
minute a checkpoint that makes all of them half as slow again for three seconds, now and then a report that takes 20
times as long, and one request in a thousand that fails.
"""

from __future__ import annotations

import math
import random

import pytest
from breaker_rig import OPEN, Rig

from helios_trio.config import BreakerMode
from helios_trio.features.circuit_breaker.circuit import Signal

MINUTES = 20
SEEDS = range(3)


def false_positives(mode: BreakerMode, seed: int, minutes: int = MINUTES) -> int:
    """How often it opened."""
    rig, generator = Rig.of(mode=mode), random.Random(seed)
    opened, next_tick = 0, 0.0
    while rig.now < 60 * minutes:
        rate = 60 * (1.2 + math.sin(2 * math.pi * rig.now / 300)) * generator.uniform(0.8, 1.2)
        rig.now += generator.expovariate(rate)
        slower = 1.5 if rig.now % 60 < 3 else 1.0
        seconds = slower * generator.lognormvariate(math.log(0.008), 0.7)
        if generator.random() < 0.0005:
            seconds *= 20
        if generator.random() < 0.001:
            rig.breaker().note_error(rig.now, "53200", user="u", fingerprint=None)
        rig.answer(seconds)
        if rig.now >= next_tick:
            rig.tick()
            next_tick = rig.now + 0.02
        if rig.state is OPEN:
            opened += 1
            rig.breakers.force("a", Signal.RESET, rig.now, who="test", reason="it was well")
    return opened


@pytest.mark.parametrize("seed", SEEDS)
def test_hardly_ever_over_a_noisy_healthy_run(seed: int) -> None:
    """None in 20 minutes with any of these seeds."""
    assert false_positives(BreakerMode.PREDICTIVE, seed) == 0
