"""Values as words for people: what clients chose made harmless, durations, numbers. Pure.

Names of users, databases and applications are chosen by whoever connects; a terminal would obey escape sequences in
them.

Used by: cli.events, cli.status_view, cli.screen, cli.top, cli.doctor.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
_THOUSAND: Final = 1000
_BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_STEP: Final = 1024


def printable(value: object) -> str:
    """The same text on one line, without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else _UNPRINTABLE for each in str(value))


def duration(seconds: float) -> str:
    """Such as `3 d 4 h`, `12 min 5 s`, `7 s`: the two greatest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    parts.append(f"{left} s")
    return " ".join(parts[:2])


def short_duration(seconds: float) -> str:
    """At most five characters: `4.2s`, `59s`, `12m`, `7h`, `31d`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def number(value: float) -> str:
    """Such as `0`, `7.5`, `120`, `12.3k`."""
    if value >= 10 * _THOUSAND:
        return f"{value / _THOUSAND:.1f}k"
    return f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}"


def milliseconds(value: float | None) -> str:
    """A latency, `-` where none was measured."""
    if value is None:
        return "-"
    return f"{value / _THOUSAND:.1f} s" if value >= _THOUSAND else f"{number(value)} ms"


def size(count: float) -> str:
    """A number of bytes."""
    unit = 0
    while count >= _STEP and unit < len(_BYTE_UNITS) - 1:
        count, unit = count / _STEP, unit + 1
    return f"{number(count)} {_BYTE_UNITS[unit]}"


def moment(text: str) -> datetime:
    """A time as the API writes it (RFC 3339). Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
