"""Where in the text of an INSERT its columns, rows and values stand, so that some can be added. Pure.

The text stays the client's own but for what is put into it: nothing is lost that a printer of parse trees does not
know. The tree says what to expect; every token found must fit, and otherwise there are no places.

Used by: failover.sequence_shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, frozen
from pglast import parser

_COMMENTS: Final = frozenset({"C_COMMENT", "SQL_COMMENT"})
_OPENING: Final = frozenset({"ASCII_40", "ASCII_91"})
_CLOSING: Final = frozenset({"ASCII_41", "ASCII_93"})
_OPEN, _CLOSE, _COMMA, _DOT = "ASCII_40", "ASCII_41", "ASCII_44", "ASCII_46"


class Unexpected(Exception):
    """The text does not look as its tree said. Ends the search for places, nothing else."""


@frozen
class Row:
    """One row of VALUES: from behind its opening bracket to its closing one, and each value in it."""

    end: int
    #: from where, and up to before where
    values: tuple[tuple[int, int], ...]


@frozen
class Places:
    """Positions are those of characters in the text."""

    #: closing bracket of the column list; None: there is none
    columns_end: int | None
    #: where the column list and OVERRIDING belong, if they are added
    source: int
    #: rows of VALUES, that of INSERT itself or that of the only item in FROM
    rows: tuple[Row, ...] = ()
    #: end of DEFAULT VALUES
    default_end: int | None = None
    #: FROM of INSERT ... SELECT, and the closing bracket of the column names given to what follows it
    select_from: int | None = None
    names_end: int | None = None


@define
class Tokens:
    """The tokens of a text, read one after the other."""

    text: str
    found: list[tuple[str, int, int]]
    at: int = 0

    @classmethod
    def of(cls, text: str) -> Tokens:
        """All tokens but comments: name, first character, behind the last."""
        scanned = parser.scan(text)
        return cls(text, [(t.name, t.start, t.end + 1) for t in scanned if t.name not in _COMMENTS])

    @property
    def name(self) -> str:
        """The kind of the next token; empty at the end."""
        return self.found[self.at][0] if self.at < len(self.found) else ""

    @property
    def start(self) -> int:
        """Where the next token begins."""
        return self.found[self.at][1] if self.at < len(self.found) else len(self.text)

    def take(self, name: str) -> int:
        """Skip a token of this kind; returns where it began. Raises `Unexpected`."""
        if self.name != name:
            raise Unexpected(f"{self.name} where {name} was expected")
        start = self.start
        self.at += 1
        return start

    def skip(self, name: str) -> bool:
        """Skip a token of this kind, if it is one."""
        if self.name != name:
            return False
        self.at += 1
        return True

    def go_to(self, position: int) -> None:
        """Go to the token that begins there. Raises `Unexpected`."""
        while self.start < position:
            self.at += 1
        if self.start != position:
            raise Unexpected("no token begins there")

    def skip_nested(self) -> None:
        """Skip one token, or all from an opening bracket to its closing one."""
        depth = 0
        while self.name:
            depth += (self.name in _OPENING) - (self.name in _CLOSING)
            self.at += 1
            if depth <= 0:
                return

    def bracket(self) -> int:
        """Skip a bracket with what is in it; returns where it closes. Raises `Unexpected`."""
        if self.name != _OPEN:
            raise Unexpected("no bracket")
        self.skip_nested()
        return self.found[self.at - 1][1]

    def row(self) -> Row:
        """Skip a row of values. Raises `Unexpected`."""
        self.take(_OPEN)
        values = []
        begun = self.start
        while True:
            if self.name in (_COMMA, _CLOSE):
                values.append((begun, self.found[self.at - 1][2]))
                if self.skip(_CLOSE):
                    return Row(self.found[self.at - 1][1], tuple(values))
                self.take(_COMMA)
                begun = self.start
            elif not self.name:
                raise Unexpected("row without end")
            else:
                self.skip_nested()

    def rows(self) -> tuple[Row, ...]:
        """Skip VALUES and its rows. Raises `Unexpected`."""
        self.take("VALUES")
        found = [self.row()]
        while self.skip(_COMMA):
            found.append(self.row())
        return tuple(found)


def find_places(text: str, target: int, *, alias: bool, columns: bool, select: bool) -> Places:
    """Go through an INSERT, from the name of its table on.

    Args:
        text: one statement.
        target: where the table's name begins, in bytes of UTF-8, as the parser tells positions.
        alias: the table has an alias.
        columns: there is a list of columns.
        select: what is inserted is a SELECT from one VALUES in brackets with column names.

    Raises:
        Unexpected: the text looks otherwise.
    """
    tokens = Tokens.of(text)
    tokens.go_to(len(text.encode()[:target].decode()))
    tokens.skip_nested()
    while tokens.skip(_DOT):
        tokens.skip_nested()
    if alias:
        tokens.take("AS")
        tokens.skip_nested()
    columns_end = tokens.bracket() if columns else None
    if tokens.skip("OVERRIDING"):
        tokens.skip_nested()
        tokens.take("VALUE_P")
    source = tokens.start
    if select:
        return _in_select(tokens, columns_end, source)
    if tokens.skip("DEFAULT"):
        end = tokens.take("VALUES") + len("VALUES")
        return Places(columns_end, source, default_end=end)
    return Places(columns_end, source, tokens.rows())


def _in_select(tokens: Tokens, columns_end: int | None, source: int) -> Places:
    tokens.take("SELECT")
    while tokens.name and not _is_values_in_brackets(tokens):
        tokens.skip_nested()
    select_from = tokens.take("FROM")
    tokens.take(_OPEN)
    rows = tokens.rows()
    tokens.take(_CLOSE)
    tokens.skip("AS")
    tokens.skip_nested()
    return Places(columns_end, source, rows, select_from=select_from, names_end=tokens.bracket())


def _is_values_in_brackets(tokens: Tokens) -> bool:
    following = [name for name, _, _ in tokens.found[tokens.at : tokens.at + 3]]
    return following == ["FROM", _OPEN, "VALUES"]


def spliced(text: str, changes: Iterable[tuple[int, int, str]]) -> str:
    """The text with each span (from, up to before) replaced; spans do not overlap."""
    parts, at = [], 0
    for start, end, new in sorted(changes):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])
