"""Several circuits open at once: what is left must not fall too, so load is shed, the least important first.

The level says how much: 0 nothing, 1 all users of `shed_first`, 2 all but those of `shed_last`; in between, a share
of the class whose turn it is. It begins in the middle of the first class, rises while what is left is saturated, and
falls while it is not. Pure: time is an argument, in seconds.

Used by: features.circuit_breaker.breakers.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

#: Circuits that are open at once, and the share of all backends that they are, at least.
LEAST_OPEN: Final = 2
LEAST_SHARE: Final = 0.5
#: Level at which a cascade begins, and how fast it rises and falls, per second.
_BEGIN: Final = 0.5
_RISE: Final = 1.0
_FALL: Final = 0.25
_MOST: Final = 2.0


def is_cascade(open_circuits: int, backends: int) -> bool:
    """Whether so many of so many are more than chance."""
    return open_circuits >= LEAST_OPEN and open_circuits >= LEAST_SHARE * backends


@define(eq=False)
class Shedder:
    """How much load is shed."""

    active: bool = False
    level: float = 0.0
    shed: int = 0
    _at: float = 0.0
    #: what each priority is owed: a refusal for each whole one
    _owed: list[float] = field(factory=lambda: [0.0, 0.0])

    def note(self, now: float, *, open_circuits: int, backends: int, saturated: bool) -> bool:
        """How things are now; True when a cascade has begun or ended."""
        before = self.active
        self.active = is_cascade(open_circuits, backends)
        if self.active and not before:
            self.level, self._owed = _BEGIN, [0.0, 0.0]
        elif self.active:
            change = _RISE if saturated else -_FALL
            self.level = min(_MOST, max(0.0, self.level + change * max(0.0, now - self._at)))
        else:
            self.level = 0.0
        self._at = now
        return self.active is not before

    def refuses(self, priority: int) -> bool:
        """Whether a request of a user of that priority (0 to 2) is to be refused; each answer counts."""
        share = min(1.0, max(0.0, self.level - priority)) if priority < len(self._owed) else 0.0
        if not share:
            return False
        self._owed[priority] += share
        if self._owed[priority] < 1.0:
            return False
        self._owed[priority] -= 1.0
        self.shed += 1
        return True
