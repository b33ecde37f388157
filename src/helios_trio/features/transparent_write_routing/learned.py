"""Statements that a standby has refused (25006, 0A000): by their text nobody could tell that they write. Pure.

A function or a view may write in secret. What was refused once goes to the server that takes writes from then on, by
database and fingerprint, until an operator forgets it, or so many others were learned that it falls out.

Used by: features.routing (asks, tells), admin (shows, resets).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

#: Statements that are remembered at most.
CAPACITY: Final = 10_000


@define
class LearnedWriter:
    """One of them; `seen_at` in seconds since 1970."""

    database: str
    fingerprint: str
    #: the statement without its constants
    text: str
    sqlstate: str
    seen_at: float
    #: how often it was sent to the server that takes writes for this reason
    used: int = 0


@define
class LearnedWriters:
    """All of them."""

    capacity: int = CAPACITY
    _known: OrderedDict[tuple[str, str], LearnedWriter] = field(factory=OrderedDict)

    def learn(self, writer: LearnedWriter) -> None:
        """A standby has refused it."""
        self._known.setdefault((writer.database, writer.fingerprint), writer)
        while len(self._known) > self.capacity:
            self._known.popitem(last=False)

    def writes(self, database: str, fingerprint: str) -> bool:
        """Whether a standby has refused it before; then it is remembered for longer than others."""
        found = self._known.get((database, fingerprint))
        if found is None:
            return False
        found.used += 1
        self._known.move_to_end((database, fingerprint))
        return True

    def __len__(self) -> int:
        return len(self._known)

    def all(self) -> list[LearnedWriter]:
        """The latest last."""
        return list(self._known.values())

    def forget(self, fingerprint: str | None = None) -> int:
        """Forget one, in all databases, or all; returns how many."""
        doomed = [key for key in self._known if fingerprint in (None, key[1])]
        for key in doomed:
            del self._known[key]
        return len(doomed)
