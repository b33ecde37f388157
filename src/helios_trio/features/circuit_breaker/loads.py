"""What can be seen of the backends in this process: connections at work, who waits for one, what is under way.

Used by: wiring (gives it to `service`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from helios_trio.features.circuit_breaker.health import Load
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool


@define
class _Seen:
    active: int = 0
    limit: int = 0
    waiting: int = 0
    ages: list[float] = field(factory=list)


@define(eq=False)
class PoolLoads:
    """Looks at the pools.

    `lag_of`: seconds that a backend is behind; `max_of`: connections it may have at most; `gone_of`: why it counts as
    gone, empty if it does not.
    """

    pools: Iterable[Pool]
    lag_of: Callable[[str], float | None]
    max_of: Callable[[str], int]
    gone_of: Callable[[str], str] = lambda name: ""

    def __call__(self, now: float) -> dict[str, Load]:
        """The load of every backend that has a pool."""
        found: dict[str, _Seen] = {}
        for pool in self.pools:
            self._add(found.setdefault(pool.name[0], _Seen()), pool, now)
        return {
            name: Load(
                active=seen.active,
                limit=min(seen.limit, self.max_of(name)),
                waiting=seen.waiting,
                lag=self.lag_of(name),
                ages=seen.ages,
                gone=self.gone_of(name),
            )
            for name, seen in found.items()
        }

    def _add(self, seen: _Seen, pool: Pool, now: float) -> None:
        planner = pool.planner
        seen.limit += planner.limits.max_connections
        seen.waiting += len(planner.waiting)
        for slot in planner.slots:
            if slot.status is SlotStatus.ACTIVE:
                seen.active += 1
                if (since := _since(slot)) is not None:
                    seen.ages.append(now - since)


def _since(slot: BackendConnection) -> float | None:
    """When the request under way was sent; None: none is, or its holder does not tell."""
    if not slot.side.replies.owes_ends:
        return None
    found: float | None = getattr(slot.holder, "active_since", None)
    return found
