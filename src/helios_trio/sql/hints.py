"""Hints about where a statement should run: `/*+ route=standby, max_lag=500ms */` in front of it.

    /*+ route=primary|standby|replica|nearest|NAME, consistency=strong|ryw|eventual, max_lag=2s, timeout=1s */

Parts are separated by commas or white space, keys are read in any case, the last of two equal keys counts. White space
and other comments may come before. What is not understood is told apart, ignored, and for the caller to count: other
programs have hints of the same form. Whether a name is that of a server is not known here. Whatever the bytes, nothing
is raised and the time is proportional to their number.

Used by: features.routing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from attrs import frozen

#: Names of the consistencies, as in `pipeline.routing.Consistency`.
CONSISTENCIES: Final = frozenset({"strong", "ryw", "eventual"})
#: Bytes of comments in front of a statement that are looked at.
LOOKED_AT: Final = 4096
#: Parts not understood that are told, and characters of each.
TOLD, TOLD_LENGTH = 8, 64

_STARTS: Final = (b"/", b"-", b" ", b"\n", b"\t", b"\r", b"\f", b"\v")
_BLANK: Final = re.compile(rb"[ \t\n\r\f\v]*+(?>(?:--[^\n]*+(?:\n|\Z)[ \t\n\r\f\v]*+)*)")
_BRACKET: Final = re.compile(rb"/\*|\*/")
_PART: Final = re.compile(r'(?:[^\s,="]++(?>(?:\s*+=\s*+(?>(?:"[^"]*+"|[^\s,="]++)?))?)|[="]++)')
_NAME: Final = re.compile(r"[^\x00-\x20,=\"'*/\x7f]{1,63}")
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(us|ms|s|min|m|h|d)", re.ASCII)
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@frozen
class Hints:
    """What the hint in front of a statement says; None: nothing. Times in seconds.

    * `route` - primary, standby, replica, nearest in lower case, or any other name as written.
    * `consistency` - one of `CONSISTENCIES`.
    * `not_understood` - parts that were ignored, at most `TOLD`, shortened; `ignored` is how many there were.
    * `size` - bytes up to the end of the hint's comment: what is behind them is the statement by itself.
    """

    route: str | None = None
    consistency: str | None = None
    max_lag: float | None = None
    timeout: float | None = None
    not_understood: tuple[str, ...] = ()
    ignored: int = 0
    size: int = 0


NO_HINTS: Final = Hints()


def hints_of(text: bytes) -> Hints:
    """The hints in the comments that a text begins with; `NO_HINTS` when there are none."""
    if not text.startswith(_STARTS):
        return NO_HINTS
    return _in_comments(text)


def seconds_of(text: str) -> float | None:
    """A duration such as "500ms", "2s" or "1.5m", in seconds; None for anything else, a number alone included."""
    match = _DURATION.fullmatch(text.strip().lower())
    return None if match is None else float(match[1]) * _SECONDS[match[2]]


def route_of(text: str) -> str | None:
    """A word for where to go, or the name of a server; None for what can be neither."""
    word = text.strip()
    if _NAME.fullmatch(word) is None:
        return None
    return word.lower() if word.lower() in _ROUTES else word


def consistency_of(text: str) -> str | None:
    """The name of a consistency; None for anything else."""
    word = text.strip().lower()
    return word if word in CONSISTENCIES else None


_ROUTES: Final = frozenset({"primary", "standby", "replica", "nearest"})
_READERS: Final[dict[str, Callable[[str], object]]] = {
    "route": route_of,
    "consistency": consistency_of,
    "max_lag": seconds_of,
    "timeout": seconds_of,
}


def _in_comments(text: bytes) -> Hints:
    """The first comment of a hint's form; the others are passed over."""
    head = text[:LOOKED_AT]
    at = 0
    while True:
        blank = _BLANK.match(head, at)
        at = blank.end() if blank is not None else at
        if not head.startswith(b"/*", at):
            return NO_HINTS
        end = _end_of_comment(head, at)
        if end is None:
            return NO_HINTS
        if head.startswith(b"+", at + 2):
            return _read(head[at + 3 : end - 2], end)
        at = end


def _end_of_comment(head: bytes, at: int) -> int | None:
    """Behind the comment that begins at `at`; comments nest in PostgreSQL."""
    depth = 0
    for bracket in _BRACKET.finditer(head, at):
        depth += 1 if bracket[0] == b"/*" else -1
        if depth == 0:
            return bracket.end()
    return None


@lru_cache(maxsize=512)
def _read(content: bytes, size: int) -> Hints:
    """The parts of a comment. Pure; kept because the same few hints come again and again."""
    text = content.decode("utf-8", "replace")
    # a comment within it: what somebody has put out of force must not be read
    parts = [text] if "/*" in text else _PART.findall(text)
    found: dict[str, str] = {}
    others: list[str] = []
    for part in parts:
        key, _, value = part.partition("=")
        name, word = key.strip().lower(), value.strip().strip('"')
        reader = _READERS.get(name)
        if reader is None or reader(word) is None:
            others.append(part.strip())
        else:
            found[name] = word
    return Hints(
        route=route_of(found.get("route", "")),
        consistency=consistency_of(found.get("consistency", "")),
        max_lag=seconds_of(found.get("max_lag", "")),
        timeout=seconds_of(found.get("timeout", "")),
        not_understood=tuple(part[:TOLD_LENGTH] for part in others[:TOLD]),
        ignored=len(others),
        size=size,
    )
