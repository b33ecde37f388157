"""PgBouncer's configuration file, read as PgBouncer reads it; what it means is `pgbouncer`'s business.

Sections of `name = value`, comments from `;` or `#` at the start of a line, `%include`, and connection
strings with single quotes doubled inside (PgBouncer docs: "pgbouncer.ini", its `libusual` reader).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field

from helios_trio.errors import ConfigError

Include = Callable[[str], str]
"""Reads the file of an `%include`; raises OSError."""

_DEEPEST_INCLUDE: Final = 10
_SECTION: Final = re.compile(r"\[([^\]]+)\]\s*")
_SETTING: Final = re.compile(r"""(?P<name>"(?:[^"]|"")*"|[^\s="]+)\s*=\s*(?P<value>.*)""", re.DOTALL)
_PAIR: Final = re.compile(
    r"\s*(?P<name>[A-Za-z_]+)\s*=\s*(?:'(?P<quoted>(?:[^']|'')*)'|(?P<plain>[^\s']*))(?=\s|$)"
)


@define
class Ini:
    """The sections of a file, later settings of a name over earlier ones, and what was not understood."""

    sections: dict[str, dict[str, str]] = field(factory=dict)
    warnings: list[str] = field(factory=list)

    def section(self, name: str) -> dict[str, str]:
        """The settings of a section; empty if there is none."""
        return self.sections.get(name, {})


def parse_ini(text: str, include: Include | None) -> Ini:
    """Reads `text`. Raises ConfigError where a line is none that PgBouncer would accept."""
    ini = Ini()
    current: dict[str, str] | None = None
    for where, line in _lines(text, "line", include, ini.warnings, 0):
        header = _SECTION.fullmatch(line)
        setting = _SETTING.fullmatch(line)
        if header is not None:
            current = ini.sections.setdefault(header[1].strip(), {})
        elif setting is not None and current is not None:
            current[_unquoted(setting["name"])] = setting["value"].strip()
        else:
            raise ConfigError(f"{where}: expected a [section], or a setting below one, as name = value")
    return ini


def _lines(
    text: str, where: str, include: Include | None, warnings: list[str], depth: int
) -> Iterator[tuple[str, str]]:
    """The lines that say something, each with where it stands, those of included files in place."""
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line.startswith("%include"):
            yield from _included(line.removeprefix("%include").strip(), include, warnings, depth)
        elif line and line[0] not in ";#":
            yield f"{where} {number}", line


def _included(
    file: str, include: Include | None, warnings: list[str], depth: int
) -> Iterator[tuple[str, str]]:
    if depth >= _DEEPEST_INCLUDE:
        raise ConfigError(
            f"%include {file}: expected at most {_DEEPEST_INCLUDE} files that include each other"
        )
    if include is None:
        warnings.append(f"%include {file}: not read, as only the one file was given")
        return
    try:
        text = include(file)
    except OSError as error:
        warnings.append(f"%include {file}: not read ({error.strerror})")
        return
    yield from _lines(text, f"{file} line", include, warnings, depth + 1)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def parse_connection(name: str, text: str) -> dict[str, str]:
    """The `key=value` pairs of a connection string; raises ConfigError naming the database or user."""
    found: dict[str, str] = {}
    position = 0
    text = text.strip()
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise ConfigError(f"{name}: expected key=value pairs, values with spaces in single quotes")
        quoted = pair["quoted"]
        found[pair["name"]] = pair["plain"] if quoted is None else quoted.replace("''", "'")
        position = pair.end()
    return found
