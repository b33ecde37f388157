"""Times of requests in buckets whose bounds grow by a constant factor: quantiles with a bounded relative error.

A histogram is a mapping from bucket to count, so that two of them are added and subtracted bucket by bucket: windows
are made of the histograms of short steps. Buckets are those of DDSketch (Masson, Rim, Lee 2019): bucket i holds times
in (g**i, g**(i+1)], and its middle is no more than `ACCURACY` away from any of them.

Used by: features.circuit_breaker.windows, .breaker.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

#: Relative error of a quantile.
ACCURACY: Final = 0.01
_GROWTH: Final = (1 + ACCURACY) / (1 - ACCURACY)
#: Buckets for a time that is e times as long.
SCALE: Final = 1 / math.log(_GROWTH)
#: Seconds; shorter times count as this, longer ones than `LONGEST` as that.
SHORTEST: Final = 1e-6
LONGEST: Final = 1e6
#: Makes the number of a bucket positive, so that `int` rounds down.
OFFSET: Final = math.ceil(-math.log(SHORTEST) * SCALE)

Counts = defaultdict[int, int]


def bucket_of(seconds: float) -> int:
    """The bucket that a time falls into."""
    return int(math.log(min(max(seconds, SHORTEST), LONGEST)) * SCALE + OFFSET)


def seconds_of(bucket: int) -> float:
    """The middle of a bucket: not more than `ACCURACY` away from each time in it."""
    lower = math.exp((bucket - OFFSET) / SCALE)
    return 2 * lower * _GROWTH / (1 + _GROWTH)


def add(to: Counts, counts: Mapping[int, int]) -> None:
    """Put the times of one histogram into another."""
    for bucket, count in counts.items():
        to[bucket] += count


def subtract(of: Counts, counts: Mapping[int, int]) -> None:
    """Take times out that were put in before."""
    for bucket, count in counts.items():
        left = of[bucket] - count
        if left:
            of[bucket] = left
        else:
            del of[bucket]


def above(counts: Mapping[int, int], bucket: int) -> int:
    """How many times are in buckets beyond that one."""
    return sum([count for each, count in counts.items() if each > bucket])


def quantiles(counts: Mapping[int, int], *shares: float) -> tuple[float, ...]:
    """The times, in seconds, that these shares (rising, 0 to 1) do not exceed; 0.0 each when there are none."""
    total = sum(counts.values())
    if not total:
        return (0.0,) * len(shares)
    ranks = [max(1, math.ceil(share * total)) for share in shares]
    found: list[float] = []
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        while len(found) < len(ranks) and seen >= ranks[len(found)]:
            found.append(seconds_of(bucket))
    return tuple(found)
