"""Cursors WITH HOLD that outlive their server (rule 11): how they were declared, and what was fetched from them.

Such a cursor is a snapshot on its server and nowhere else. On another server it is declared again, and all that its
client has fetched is fetched again and compared: what it has seen is the same, or it is told that the cursor is lost.
What it has not seen yet is as of now. Pure.

Used by: failover.session (notes what happens), failover.recovery (has it done again).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from attrs import define, field

from helios_trio.failover.journal import Exchange
from helios_trio.sql.facts import Facts

#: Bytes of requests and answers kept for all cursors of a session.
MAX_SIZE: Final = 8 * 1024 * 1024


@define(eq=False)
class HeldCursors:
    """Those of one session."""

    #: how many are followed
    limit: int
    _known: dict[str, list[Exchange]] = field(factory=dict)
    #: name -> why it cannot be had again
    _lost: dict[str, str] = field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self._known or self._lost)

    def note(self, requests: Iterable[tuple[Exchange, Sequence[Facts]]], open_now: Collection[str]) -> None:
        """A transaction has ended: what it has run, and the cursors that are open behind it."""
        for exchange, texts in requests:
            for name in _touched(texts):
                self._note(name, exchange, texts)
        for known in (self._known, self._lost):
            for name in [each for each in known if each not in open_now]:
                del known[name]
        for name in open_now:
            if name not in self._known:
                self._lost.setdefault(name, "it was not seen how it was declared")
        self._keep_within_limits()

    def _note(self, name: str, exchange: Exchange, texts: Sequence[Facts]) -> None:
        alone = len(texts) == 1 and len(texts[0].statements) == 1
        declares = alone and texts[0].statements[0].declares is not None
        if declares:
            self._known[name] = [exchange]
            self._lost.pop(name, None)
        elif not alone:
            self._lose(name, "it was used in one request with other statements")
        elif name in self._known:
            self._known[name].append(exchange)

    def _keep_within_limits(self) -> None:
        size = sum(each.size for exchanges in self._known.values() for each in exchanges)
        if len(self._known) > self.limit:
            self._lose_all(f"there are more than {self.limit} held cursors")
        elif size > MAX_SIZE:
            self._lose_all(f"more than {MAX_SIZE} bytes were fetched from held cursors")

    def _lose_all(self, reason: str) -> None:
        for name in list(self._known):
            self._lose(name, reason)

    def _lose(self, name: str, reason: str) -> None:
        self._known.pop(name, None)
        self._lost.setdefault(name, reason)

    @property
    def reasons(self) -> list[str]:
        """Why some cannot be had again, by name; empty: all can."""
        return [f"held cursor {name}: {reason}" for name, reason in self._lost.items()]

    def to_repeat(self) -> list[tuple[str, Exchange]]:
        """Name, and request with its answer, in order."""
        return [(name, each) for name, exchanges in self._known.items() for each in exchanges]


def _touched(texts: Sequence[Facts]) -> list[str]:
    """Names of cursors that a request declares WITH HOLD, or moves."""
    found: list[str] = []
    for statement in (each for facts in texts for each in facts.statements):
        if statement.declares is not None and statement.declares.hold:
            found.append(statement.declares.name)
        elif statement.fetches is not None:
            found.append(statement.fetches)
    return found
