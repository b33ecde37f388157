"""`Floor` and `Freshness`: how far a standby must have come before a session may read there what it has written.

Used by: pipeline.routing (part of a question), features (lag_routing implements, routing asks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen


@frozen(kw_only=True)
class Floor:
    """The end of the WAL of the server that takes writes, asked for after a session's last write (rule 34).

    `position` in bytes since the WAL's beginning. It means something only on the same timeline of the same data.
    """

    position: int
    timeline: int
    system: str | None = None

    def __str__(self) -> str:
        """As PostgreSQL writes a position."""
        return f"{self.position >> 32:X}/{self.position & 0xFFFFFFFF:X}"


class Freshness(Protocol):
    """Knows how far servers have come, and asks them where that is worth while."""

    async def floor(self) -> Floor:
        """The end of the WAL now. Raises HeliosError: nobody takes writes, or it does not answer."""

    def is_current(self, floor: Floor) -> bool:
        """Whether the server that takes writes is still the one, with the same history, that the floor is of."""

    def has(self, name: str, floor: Floor, *, flushed: bool = False) -> bool:
        """Whether a server is known to have replayed the floor, or, with `flushed`, to have it on disk.

        One of which that is not known counts as stale.
        """

    async def look(self, names: Sequence[str], floor: Floor, *, flushed: bool = False) -> bool:
        """Ask these servers where they are; returns whether one of them has the floor now."""
