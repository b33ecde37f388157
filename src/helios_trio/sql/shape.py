"""The shape of a text: the same text with its constants replaced, so that texts differing only in them meet.

Literal-laden texts (`... WHERE aid = 12345`) never repeat, and parsing costs twenty times what this does. A
shape may stand for a text only where two things hold.

**The text is read right without a parser.** `shape_of` replaces what looks like a string or a whole number;
`is_reliable` then looks at the *shape*, not at the text, for everything that could have misled it. That is
enough: what it forbids is never inside what was replaced, or it would have been no trouble there.

* A string is replaced only from a quote to the next one with no backslash and no NUL between; so every
  backslash of the text is still in the shape and forbids it. Without backslashes strings of all kinds ('..',
  E'..', N'..', U&'..', B'..', X'..') end at a quote; one with a doubled quote is replaced as two, which
  stand as close as before. Prefixes stay, and continuation over lines works the same in the shape.
* The first replaced quote stands after text that is in the shape as it was. Were it inside a quoted
  identifier, a comment or a dollar-quoted string, its opening (`"`, `--`, `/*`, `$` without a digit behind
  it) would be in the shape and forbid it. So it does open a string; and so on for the next.
* A whole number is replaced only where neither letter, digit, `_`, `$` nor a byte above 127 touches it: never
  in an identifier, a parameter ($1), 0x1F, 1_000, 1e10. Parts of 1.5 or 1e-5 may be replaced: still a number.
* UESCAPE reads a string's content: forbidden.

**Nothing in the facts depends on a constant.** `stands_for_others` says when: one plain statement of a kind
in which constants are only values. A constant may still decide whether PostgreSQL's grammar accepts the text
at all (`float(0)`): then the server refuses the whole text, and it does not matter what we thought of it.

Called by `cache` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .facts import Facts
from .kinds import StatementKind

# As a number: `in` finds a byte much faster than a string of one.
QUOTE: Final = ord("'")

_strings: Final = re.compile(rb"'[^'\\\0]*+'").sub
_NUMBER: Final = re.compile(rb"[0-9](?<![\w$\x80-\xff][0-9])[0-9]*+(?![\w\x80-\xff])")
_numbers: Final = _NUMBER.sub
_MISLEADING: Final = re.compile(rb"[\"\\\0]|--|/\*|\$(?![0-9])|uescape", re.IGNORECASE)

# Lists of equal constants, and of equal groups such as the rows of VALUES (one level of brackets inside). A repeated
# group is (?>(?:...)+) here and everywhere, not (?:...)++: before 3.11.5 Python forgets to go back when the last
# repetition of that fails half-way (https://github.com/python/cpython/issues/106052).
_LONG: Final = 1024
_CONSTANT_LIST: Final = re.compile(rb"(?<![\w$.\x80-\xff])(1|'x')(?>(?:\s*+,\s*+\1(?![\w.'\x80-\xff]))+)")
_GROUP_LIST: Final = re.compile(rb"(\((?>(?:[^()]++|\([^()]*+\))*)\))(?>(?:\s*+,\s*+\1)+)")

_SHAPED_KINDS: Final = frozenset(
    {
        StatementKind.SELECT,
        StatementKind.VALUES,
        StatementKind.INSERT,
        StatementKind.UPDATE,
        StatementKind.DELETE,
        StatementKind.MERGE,
    }
)


def shape_of(text: bytes) -> bytes:
    """The text with strings replaced by 'x' and whole numbers by 1; worth something only if `is_reliable`."""
    if QUOTE in text:
        text = _strings(b"'x'", text)
    return _numbers(b"1", text)


def is_reliable(shape: bytes) -> bool:
    """Whether the shape shows that all its text's constants, and nothing else, were replaced."""
    return _MISLEADING.search(shape) is None


def stands_for_others(facts: Facts) -> bool:
    """Whether facts taken from a shape are those of every text of that shape."""
    if not facts.plain or len(facts.statements) != 1:
        return False
    return facts.statements[0].kind in _SHAPED_KINDS


def shortened(shape: bytes) -> bytes:
    """A long shape with repetitions in its lists taken out, which changes no fact and saves the parser work.

    So the thousand rows of an INSERT are parsed as one, and lists of any length look alike in statistics.
    """
    if len(shape) < _LONG:
        return shape
    return _GROUP_LIST.sub(rb"\1", _CONSTANT_LIST.sub(rb"\1", shape))


def matcher_of(text: bytes) -> Callable[[bytes], object]:
    """A test whether another text differs from this one in the digits of its whole numbers only.

    Quicker than making the shape: one match of mostly literal bytes.
    """
    pieces = _NUMBER.split(text)
    return re.compile(rb"[0-9]++".join(map(re.escape, pieces))).fullmatch
