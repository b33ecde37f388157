"""A mapping that keeps what was asked for last and forgets the rest: names come from clients, memory must not.

Used by: features.circuit_breaker.queries, .users.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """At most so many, by name; `make` makes one that is not there."""

    def __init__(self, most: int, make: Callable[[], V]) -> None:
        self._most = most
        self._make = make
        self._kept: OrderedDict[str, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return iter(self._kept.items())

    def find(self, name: str) -> V | None:
        """What is kept under a name, if anything is; does not count as asked for."""
        return self._kept.get(name)

    def get(self, name: str) -> V:
        """What is kept under a name, or a new one."""
        found = self._kept.get(name)
        if found is None:
            found = self._kept[name] = self._make()
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(name)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
