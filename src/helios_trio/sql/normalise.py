"""Texts derived by PostgreSQL's own scanner: one without constants, and the part behind PREPARE ... AS.

Called lazily by `facts.Facts`, by the handler of PREPARE and for EXPLAIN (ROUTE). Tokens rather than the parse
tree, because the tree of a utility statement does not say where its constants (passwords among them) stand.
"""

from __future__ import annotations

import re
from typing import Final

from pglast import parser

_CONSTANTS: Final = frozenset({"ICONST", "FCONST", "SCONST", "USCONST", "BCONST", "XCONST"})
_COMMENTS: Final = frozenset({"SQL_COMMENT", "C_COMMENT"})
_BRACKETS: Final = {"ASCII_40": 1, "ASCII_41": -1}
_SPACE: Final = re.compile(r"\s+")


def fingerprint_of(text: bytes) -> str:
    """libpg_query's fingerprint of a text that parses, 16 hex digits.

    Raises:
        pglast.parser.ParseError: the text does not parse.
    """
    found: str = parser.fingerprint(text.decode())
    return found


def normalised_text(text: bytes) -> str:
    """The text with constants replaced by $n, numbered behind the parameters that it has already."""
    sql = text.decode()
    tokens = parser.scan(sql)
    number = highest_parameter(text)
    pieces: list[str] = []
    done = 0
    for token in tokens:
        if token.name in _CONSTANTS:
            number += 1
            replacement = f"${number}"
        elif token.name in _COMMENTS:
            replacement = " "
        else:
            continue
        pieces += sql[done : token.start], replacement
        done = token.end + 1
    pieces.append(sql[done:])
    return _squeezed("".join(pieces))


def highest_parameter(text: bytes) -> int:
    """The number of the last parameter ($n) in a text that parses; 0 without any."""
    sql = text.decode()
    numbers = (
        int(sql[token.start + 1 : token.end + 1]) for token in parser.scan(sql) if token.name == "PARAM"
    )
    return max(numbers, default=0)


def _squeezed(sql: str) -> str:
    """One space for each run of white space; quoted identifiers with runs inside keep them."""
    if '"' in sql:
        return sql.strip()
    return _SPACE.sub(" ", sql).strip()


def text_behind_options(text: bytes) -> bytes:
    """The statement within `EXPLAIN (options) statement`."""
    sql = text.decode()
    depth = 0
    for token in parser.scan(sql):
        depth += _BRACKETS.get(token.name, 0)
        if token.name == "ASCII_41" and depth == 0:
            return sql[token.end + 1 :].strip().encode()
    return text


def text_behind_as(sql: str) -> str | None:
    """The statement within `PREPARE name [(types)] AS statement`; None when there is no such AS."""
    depth = 0
    for token in parser.scan(sql):
        depth += _BRACKETS.get(token.name, 0)
        if token.name == "AS" and depth == 0:
            return sql[token.end + 1 :].strip()
    return None
