"""What is wrong with a configuration, one `Problem` each, and the error that carries all of them.

Lines read "file: path.to.key: value: what was expected". Secrets are not shown: not the value of a secret
key, not that of an unknown one (which may be a misspelt secret), not a password inside a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from attrs import frozen

from helios_trio.config import toml
from helios_trio.config.keys import Leaf, Path, Shape, dotted
from helios_trio.config.secret import MASK
from helios_trio.errors import ConfigError

_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s:/@]*:)[^\s@]*@")
_LONGEST_SHOWN: Final = 60
_NAMES_OF_TYPES: Final = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "an array",
}


@frozen
class Problem:
    """One thing that is wrong: where, what is there, and what to say about it.

    `shown` is the value as it may be shown, or nothing; `others` are further keys that were looked at.
    """

    path: Path
    shown: str
    message: str
    others: tuple[Path, ...] = ()

    def follows_from(self, path: Path) -> bool:
        """Whether the judgement looked at what stands at `path`, or below it."""
        return any(own[: len(path)] == path for own in (self.path, *self.others))

    def line(self, source: str) -> str:
        """The problem in one line."""
        parts = (source, dotted(self.path), self.shown, self.message)
        return ": ".join(part for part in parts if part)


def expected(path: Path, what: str, *, shown: str = "", others: tuple[Path, ...] = ()) -> Problem:
    """That something else was expected at `path`."""
    return Problem(path, shown, f"expected {what}", others)


class InvalidConfig(ConfigError):
    """The configuration has problems; the message has all of them, a line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def shown(shape: Shape | None, value: Any) -> str:
    """`value` as it may be shown in an error about a key of that shape."""
    if not isinstance(shape, Leaf):
        return _NAMES_OF_TYPES.get(type(value), "a table" if isinstance(value, dict) else "a date or time")
    if shape.kind.secret:
        return MASK
    text = _URL_PASSWORD.sub(rf"\1{MASK}@", toml.value(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """That a name is not known, with the nearest one that is, or all of them."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "known here: " + ", ".join(known)
    return f"unknown {what} in this version; {hint}"
