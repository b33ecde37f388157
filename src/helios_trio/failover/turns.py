"""In which order sessions go on after a failover: transactions first, then single requests, then new work (rule 27).

A transaction that is done again must find what it has read before, so nobody may change that ahead of it. Whoever is
less urgent waits until those who are more urgent have gone on, and not only begun to; but never longer than `patience`,
as one of them may wait for a lock, or have much to do. Within a rank sessions go in the order in which they ask.

Used by: failover.controller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import trio
from attrs import define, field

from helios_trio.failover.pacing import Pacer
from helios_trio.pipeline.rescue import Urgency

#: Seconds that a session waits at most for those that are more urgent.
PATIENCE: Final = 0.5


def _make_lines() -> Mapping[Urgency, trio.Lock]:
    return MappingProxyType({each: trio.Lock() for each in Urgency})


@define(eq=False)
class Turns:
    """Of all sessions whose servers hold the same data."""

    #: keeps them from coming all at once; may be shared
    pacer: Pacer
    patience: float = PATIENCE
    #: sessions that have not gone on yet
    _under_way: Counter[Urgency] = field(factory=Counter, init=False)
    #: only the first of each line waits for its turn, so that somebody more urgent who comes late is not behind all
    _lines: Mapping[Urgency, trio.Lock] = field(factory=_make_lines, init=False)
    _news: trio.Event = field(factory=trio.Event, init=False)

    @contextmanager
    def precedence(self, urgency: Urgency) -> Iterator[None]:
        """While the block runs a session is about to go on, and whoever is less urgent waits for it."""
        self._under_way[urgency] += 1
        try:
            yield
        finally:
            self._under_way[urgency] -= 1
            if not self._under_way[urgency]:
                self._news.set()
                self._news = trio.Event()

    async def come(self, urgency: Urgency) -> None:
        """Wait for a turn. Who is woken by the same news comes into the line before the first of it is let go."""
        deadline = trio.current_time() + self.patience
        async with self._lines[urgency]:
            await self._let_pass(urgency, deadline)
            await trio.sleep_until(self.pacer.slot(trio.current_time()))

    async def wait_for_others(self) -> None:
        """Wait until nobody is about to go on, or `patience` is at an end."""
        await trio.lowlevel.checkpoint()
        await self._let_pass(Urgency.NEW, trio.current_time() + self.patience)

    @property
    def any_under_way(self) -> bool:
        """Whether somebody is about to go on whom new work has to wait for."""
        return self._is_preceded(Urgency.NEW)

    async def _let_pass(self, urgency: Urgency, deadline: float) -> None:
        with trio.move_on_at(deadline):
            while self._is_preceded(urgency):
                await self._news.wait()

    def _is_preceded(self, urgency: Urgency) -> bool:
        return any(self._under_way[each] for each in Urgency if each < urgency)
