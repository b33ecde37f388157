"""Values and keys written as TOML, as the standard library only reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def value(item: Any) -> str:
    """`item` (str, bool, int, float, list, dict of these, or a date) as TOML on one line."""
    match item:
        case bool():
            return "true" if item else "false"
        case str():
            return string(item)
        case list() | tuple():
            return "[" + ", ".join(value(each) for each in item) + "]"
        case dict():
            return "{ " + ", ".join(f"{name(key)} = {value(each)}" for key, each in item.items()) + " }"
        case _:
            return str(item)


def string(text: str) -> str:
    """`text` as a basic string. JSON's escapes are TOML's, but for the DEL character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def name(key: str) -> str:
    """`key` bare where that is allowed, quoted otherwise."""
    return key if _BARE_KEY.fullmatch(key) else string(key)


def document(tree: Mapping[str, Any]) -> str:
    """`tree` as a whole file: keys first, then `[tables]` and `[[arrays of tables]]`."""
    return "\n".join(_lines(tree, ())).strip() + "\n"


def _lines(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, item in tree.items():
        if not _is_table(item) and not _is_tables(item):
            yield f"{name(key)} = {value(item)}"
    for key, item in tree.items():
        here = ".".join(name(part) for part in (*path, key))
        if _is_table(item):
            if any(not _is_table(each) and not _is_tables(each) for each in item.values()):
                yield from ("", f"[{here}]")
            yield from _lines(item, (*path, key))
        elif _is_tables(item):
            for each in item:
                yield from ("", f"[[{here}]]", *_lines(each, (*path, key)))


def _is_table(item: Any) -> bool:
    return isinstance(item, dict)


def _is_tables(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(each, dict) for each in item)
