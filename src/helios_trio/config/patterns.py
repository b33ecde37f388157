"""Patterns of names with * and ?, as rules have them: the kinds of their keys, and what two patterns have in common.

`fnmatch` knows sets in brackets too; they are refused, so that it can be decided whether a name matches two patterns.

Used by: config.routing, config.routing_checks, features.routing (live rules), admin.routing_rules.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Final

from attrs import frozen

from helios_trio.config.kinds import Text

_MANY, _ONE = "*", "?"
#: Stands for a character that both patterns leave open.
_ANY: Final = "x"
#: How far one has come in each of two patterns.
_Place = tuple[int, int]


@frozen
class Pattern(Text):
    """A pattern of names: * is any text, ? any character, everything else itself; case counts."""

    words: str = "a pattern with * and ? (and without brackets)"

    def from_text(self, text: str) -> str:
        if "[" in text or "]" in text:
            raise ValueError(text)
        return super().from_text(text)


@frozen
class TablePattern(Pattern):
    """A pattern of tables, with the schema or without."""

    words: str = "table or schema.table, each of them a pattern with * and ? (and without brackets)"

    def from_text(self, text: str) -> str:
        parts = text.split(".")
        if len(parts) > 2 or not all(parts):
            raise ValueError(text)
        return super().from_text(text)


NamePattern = Annotated[str, Pattern()]
TableNames = Annotated[str, TablePattern()]


def compiled(pattern: str) -> re.Pattern[str]:
    """To be used with `fullmatch`."""
    signs = {_MANY: ".*", _ONE: "."}
    return re.compile("".join(signs.get(sign) or re.escape(sign) for sign in pattern), re.DOTALL)


def in_common(one: str, other: str) -> str | None:
    """A short text that matches both patterns; None when there is none."""
    reached: dict[_Place, str] = {(0, 0): ""}
    todo = deque(reached)
    while todo:
        place = todo.popleft()
        if place == (len(one), len(other)):
            return reached[place]
        for following, sign in _steps(one, other, place):
            if following not in reached:
                reached[following] = reached[place] + sign
                (todo.append if sign else todo.appendleft)(following)
    return None


def _steps(one: str, other: str, place: _Place) -> Iterator[tuple[_Place, str]]:
    """Where one can go from there, and the character that is read on the way."""
    first, second = place
    mine, theirs = one[first : first + 1], other[second : second + 1]
    if mine == _MANY:
        yield (first + 1, second), ""
    if theirs == _MANY:
        yield (first, second + 1), ""
    if mine and theirs and (sign := _same(mine, theirs)):
        yield (first + (mine != _MANY), second + (theirs != _MANY)), sign


def _same(mine: str, theirs: str) -> str:
    """A character that both signs stand for; empty when there is none."""
    if mine in (_MANY, _ONE):
        return _ANY if theirs in (_MANY, _ONE) else theirs
    return mine if theirs in (_MANY, _ONE, mine) else ""
