"""Durations and sizes as people write them: "500ms", "30s", "64MB".

In memory a duration is a float of seconds and a size an int of bytes, so that nothing downstream converts.
"off" is `math.inf`: Trio's deadlines and plain comparisons then need no special case for "no limit".
Arithmetic is decimal, so that what was written is what is printed. Used by `kinds` and by whoever prints a
duration.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

OFF: Final = "off"
LONGEST: Final = 10**9
"""Seconds; anything longer is a slip of the pen and could not be told from "off"."""

_SECONDS: Final = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_BYTES: Final = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|min|s|m|h|d)", re.ASCII)
_SIZE: Final = re.compile(r"([0-9]+)\s*(B|kB|MB|GB|TB)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds in `text`: numbers with us, ms, s, m (or min), h, d, also joined ("1h30m"); "off" is infinity.

    Raises ValueError for anything else, a number without a unit included.
    """
    if text == OFF:
        return math.inf
    compact = "".join(text.split())
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"not a duration: {text!r}")
    seconds = sum(Decimal(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST:
        raise ValueError(f"too long a duration: {text!r}")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as exactly `seconds`."""
    if math.isinf(seconds):
        return OFF
    exact = Decimal(repr(seconds))
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count = exact / _SECONDS[unit]
        if count and count == count.to_integral_value() and count * _SECONDS[unit] == exact:
            return f"{int(count)}{unit}"
    return f"{exact.normalize():f}s"


def parse_size(text: str) -> int:
    """Bytes in `text`: a whole number with B, kB, MB, GB or TB, each 1024 of the one before, as in
    postgresql.conf.

    Raises ValueError for anything else; case matters, as it does in PostgreSQL.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back as exactly `size` bytes."""
    fitting = [unit for unit, count in _BYTES.items() if size >= count and size % count == 0]
    unit = fitting[-1] if fitting else "B"
    return f"{size // _BYTES[unit]}{unit}"
