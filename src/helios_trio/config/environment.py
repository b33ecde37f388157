"""The environment's part: `${NAME}` inside strings, and `HELIOS__SECTION__KEY` over any key.

Works on the tree of plain TOML values before it becomes classes. The environment holds strings only, so what
comes from it is read as a TOML value where the key's kind is not a string itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from helios_trio.config import kinds
from helios_trio.config.keys import Leaf, Path, Shape, Table, Tables, find, shapes
from helios_trio.config.problems import Problem, expected, unknown
from helios_trio.config.root import Config

PREFIX: Final = "HELIOS__"
_REFERENCE: Final = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_LONGEST_INDEX: Final = 4

Tree = dict[str, Any]
Report = Callable[[Problem], None]


def override(trees: Sequence[Tree], environ: Mapping[str, str], report: Report) -> dict[Path, str]:
    """Puts each `HELIOS__...` variable at its place in all `trees`; returns which path is whose."""
    origins: dict[Path, str] = {}
    for variable in sorted(environ, key=_natural):
        if not variable.startswith(PREFIX):
            continue
        path = _path(variable)
        origins[path] = variable
        shape = find(Config, path)
        if shape is None:
            report(Problem(path, "", _unknown_at(path)))
        elif not _place_in_all(trees, path, shape, environ[variable]):
            report(expected(path, "an index that follows on those before it, below tables"))
    return origins


def _natural(variable: str) -> list[tuple[int, str]]:
    """Sorts `..__2__..` before `..__10__..`."""
    return [(int(part), "") if _is_index(part) else (-1, part) for part in variable.split("__")]


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= _LONGEST_INDEX


def _path(variable: str) -> Path:
    parts = variable.removeprefix(PREFIX).lower().split("__")
    return tuple(int(part) if _is_index(part) else part for part in parts)


def _unknown_at(path: Path) -> str:
    """Says which part of `path` is the first unknown one."""
    for depth in range(len(path)):
        match find(Config, path[:depth]):
            case Table(section) if path[depth] not in shapes(section):
                return unknown("key" if depth else "section", str(path[depth]), shapes(section))
            case Tables():
                if not isinstance(path[depth], int):
                    return "expected the index of a table, as in HELIOS__BACKENDS__POOLS__0__PORT"
            case Leaf():
                return "expected nothing below a key"
            case _:
                pass
    return "expected the name of a key"


def typed(shape: Shape | None, text: str) -> Any:
    """What `text` from the environment means for a key of that shape; the text itself where it is no TOML."""
    if isinstance(shape, Leaf) and shape.kind.textual and not _is_list(shape.kind, text):
        return text
    if "\n" in text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _is_list(kind: kinds.Kind, text: str) -> bool:
    return isinstance(kind, kinds.ListenAddresses) and text.lstrip().startswith("[")


def _place_in_all(trees: Sequence[Tree], path: Path, shape: Shape, text: str) -> bool:
    placed = [_place(tree, path, typed(shape, text)) for tree in trees]
    return all(placed)


def _place(tree: Tree, path: Path, value: Any) -> bool:
    """Sets `value` at `path`, making tables on the way; False if something else is in the way."""
    here: Any = tree
    for part, following in pairwise(path):
        here = _step(here, part, [] if isinstance(following, int) else {})
    return _step(here, path[-1], value, replace=True) is not None


def _step(here: Any, part: str | int, fresh: Any, *, replace: bool = False) -> Any:
    """What stands at `part` of `here`, `fresh` if nothing did; None if there is no such place."""
    if isinstance(here, dict) and isinstance(part, str):
        here[part] = fresh if replace else here.get(part, fresh)
        return here[part]
    if isinstance(here, list) and isinstance(part, int) and part <= len(here):
        here[part : part + 1] = [fresh if replace or part == len(here) else here[part]]
        return here[part]
    return None


def substitute(value: Any, environ: Mapping[str, str], report: Report, path: Path = ()) -> Any:
    """`value` with each `${NAME}` in its strings replaced; `$${` stands for `${` itself."""
    if isinstance(value, dict):
        return {name: substitute(each, environ, report, (*path, name)) for name, each in value.items()}
    if isinstance(value, list):
        return [substitute(each, environ, report, (*path, index)) for index, each in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    return _substitute_text(value, environ, report, path)


def _substitute_text(text: str, environ: Mapping[str, str], report: Report, path: Path) -> Any:
    missing = [name for _, name in _REFERENCE.findall(text) if name and name not in environ]
    for name in missing:
        report(expected(path, f"the environment variable {name} to be set"))
    if missing:
        return text
    return typed(find(Config, path), _REFERENCE.sub(lambda found: found[1] or environ[found[2]], text))


def literal(text: str) -> str:
    """`text` written so that `substitute` gives it back unchanged."""
    return text.replace("${", "$${")
