"""Temporary objects and held cursors of a session by name, as PostgreSQL's transactions leave them (rules 10 and 11).

Like the settings they are kept as values that nobody mutates, so that an old one is a snapshot. Only what the catalogs
do not tell, or what makes a session worth asking about, is here: what there really is, `session.carrying` asks.

Used by: session.settings (as part of what a rollback takes back), session.effects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from attrs import evolve, field, frozen

from helios_trio.sql.kinds import OnCommit

_Value = TypeVar("_Value")
_NONE: Final[Mapping[str, OnCommit | None]] = MappingProxyType({})
_NO_CURSORS: Final[Mapping[str, HeldCursor]] = MappingProxyType({})


@frozen(eq=False)
class HeldCursor:
    """One DECLARE ... WITH HOLD. Two of the same name are two: a cursor that was closed does not come back."""

    name: str


@frozen
class Objects:
    """What a session has made that no other session sees."""

    #: temporary objects by name; for tables, what ON COMMIT does to their rows, which is in no catalog
    temporary: Mapping[str, OnCommit | None] = field(default=_NONE)
    cursors: Mapping[str, HeldCursor] = field(default=_NO_CURSORS)

    @property
    def count(self) -> int:
        """How many names are kept here."""
        return len(self.temporary) + len(self.cursors)

    # -- what statements do ------------------------------------------------------------------------------------

    def created(self, names: Iterable[str], on_commit: OnCommit | None) -> Objects:
        """CREATE TEMPORARY. A table that was there already stays as it was: IF NOT EXISTS."""
        found = dict(self.temporary)
        for name in names:
            found[name] = found.get(name) or on_commit
        return evolve(self, temporary=found)

    def dropped(self, names: Iterable[str], *, relations: bool) -> Objects:
        """DROP; functions and types have names of their own, and leave a table of the same name alone."""
        gone = {name for name in names if relations or self.temporary.get(name) is None}
        return evolve(self, temporary=_without(self.temporary, gone))

    def renamed(self, old: str, new: str) -> Objects:
        """ALTER ... RENAME TO, of whatever has that name."""
        if old not in self.temporary:
            return self
        return evolve(self, temporary={**_without(self.temporary, {old}), new: self.temporary[old]})

    def discarded(self) -> Objects:
        """DISCARD TEMP."""
        return evolve(self, temporary=_NONE)

    def declared(self, name: str) -> Objects:
        """DECLARE ... WITH HOLD."""
        return evolve(self, cursors={**self.cursors, name: HeldCursor(name)})

    def closed(self, name: str | None) -> Objects:
        """CLOSE; `None` is ALL."""
        return evolve(self, cursors={} if name is None else _without(self.cursors, {name}))

    # -- transactions ------------------------------------------------------------------------------------------

    def committed(self) -> Objects:
        """COMMIT: tables made ON COMMIT DROP are gone."""
        gone = {name for name, action in self.temporary.items() if action is OnCommit.DROP}
        return evolve(self, temporary=_without(self.temporary, gone)) if gone else self

    def rolled_back(self, before: Objects) -> Objects:
        """Back to `before`; but CLOSE of a cursor is never taken back (PostgreSQL docs, CLOSE)."""
        open_still = {name: each for name, each in before.cursors.items() if self.cursors.get(name) is each}
        return Objects(before.temporary, open_still)


def _without(names: Mapping[str, _Value], gone: set[str]) -> dict[str, _Value]:
    return {name: value for name, value in names.items() if name not in gone}


NOTHING: Final = Objects()
