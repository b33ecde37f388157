"""SHOW CONFIG of the admin console: the configuration in force, secrets masked. Pure.

First PgBouncer's settings by the names they have there, so that exporters find theirs; then all keys of ours.

Used by: admin.console_tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from helios_trio.admin.console_frames import Row
from helios_trio.config import Config, masked
from helios_trio.config.keys import Leaf, find
from helios_trio.config.kinds import Duration
from helios_trio.config.pgbouncer_settings import SETTINGS

_DEFAULT: Final = Config()
#: Settings of PgBouncer that mean "no limit of this kind" there, and that exporters ask for.
_NONE_HERE: Final = ("max_db_connections", "max_user_connections", "reserve_pool_size")


def config_rows(config: Config) -> Iterator[Row]:
    """Key, value, default, and whether a reload can change it."""
    named = {name: path for name, (path, _) in SETTINGS.items()}
    yield from sorted([*_pgbouncers(config, named), *([name, "0", "0", "no"] for name in _NONE_HERE)])
    before = dict(_flat(masked(_DEFAULT)))
    for path, value in _flat(masked(config)):
        yield [path, value, before.get(path), _changeable(tuple(path.split(".")))]


def _pgbouncers(config: Config, named: Mapping[str, tuple[str, ...]]) -> Iterator[list[str]]:
    for name, path in named.items():
        shape = find(Config, path)
        assert isinstance(shape, Leaf), "the table of settings names keys that exist"
        write = _seconds if isinstance(shape.kind, Duration) else _written
        yield [name, write(_at(config, path)), write(_at(_DEFAULT, path)), _changeable(path)]


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        config = getattr(config, part)
    return config


def _changeable(path: tuple[str, ...]) -> str:
    """Keys inside of arrays are not told apart here: those that can be changed say so in configuration.md."""
    shape = find(Config, path)
    return "yes" if not isinstance(shape, Leaf) or shape.notes.live else "no"


def _seconds(value: float) -> str:
    """PgBouncer's way: seconds, 0 for off."""
    return "0" if math.isinf(value) else f"{value:g}"


def _written(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case Enum():
            return str(value.value)
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values; an array of tables is one value, as JSON."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
