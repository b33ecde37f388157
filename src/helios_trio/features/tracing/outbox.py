"""`Outbox`: what the data path has to tell somebody who may be slow. Bounded: what finds no room is dropped, counted.

Used by: features.tracing.observer (puts), features.tracing.exporter and features.tracing.query_log (take).
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Outbox(Generic[T]):
    """A queue with one reader."""

    def __init__(self, room: int) -> None:
        """`room`: how many wait at most."""
        self.room = room
        #: those for which there was no room
        self.dropped = 0
        self._items: deque[T] = deque()
        self._wanted = 0
        self._there = trio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Never waits, never fails."""
        items = self._items
        if len(items) >= self.room:
            self.dropped += 1
            return
        items.append(item)
        if len(items) == self._wanted:
            self._there.set()

    async def wait(self, number: int = 1) -> None:
        """Return when so many are there."""
        if len(self._items) >= number:
            await trio.lowlevel.checkpoint()
            return
        self._wanted, self._there = number, trio.Event()
        try:
            await self._there.wait()
        finally:
            self._wanted = 0

    def take(self, number: int) -> list[T]:
        """The oldest, at most so many of them."""
        items = self._items
        return [items.popleft() for _ in range(min(number, len(items)))]
