"""`Failures`: how often wrong API keys come from where. Pure: time is an argument.

A key cannot be guessed, so nobody who has a good one is ever shut out because of others behind the same address; what
is limited is the work and the lines in the log that wrong ones make.

Used by: admin.access.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

#: Wrong keys that an address may send at once, and the seconds after which it may send one more.
BURST: Final = 10
_REFILL: Final = 6.0
#: Addresses that are remembered; those that failed longest ago are forgotten first.
_ADDRESSES: Final = 1000


@define
class Failures:
    """Token buckets by address. Times in seconds."""

    #: address -> how many it has used up, and when that was true
    _used: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict)

    def note(self, address: str, now: float) -> float:
        """A wrong key came; seconds that the address has to wait until the next, 0 as long as it need not."""
        used, since = self._used.pop(address, (0.0, now))
        used = max(0.0, used - (now - since) / _REFILL) + 1
        wait = max(0.0, (used - BURST) * _REFILL)
        self._used[address] = (min(used, float(BURST)), now)
        if len(self._used) > _ADDRESSES:
            self._used.popitem(last=False)
        return wait
