"""From a file and the environment to a `Config`, or to one error that tells all that is wrong.

Steps: TOML, `${NAME}`, `HELIOS__...` over it, paths made absolute, classes, checks. Called by the command
line and at each reload; what the file says is looked at nowhere else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from helios_trio.config import checks, keys
from helios_trio.config.environment import Tree, override, substitute
from helios_trio.config.keys import Leaf, Shape, Table, Tables, shapes
from helios_trio.config.kinds import File
from helios_trio.config.problems import InvalidConfig, Problem
from helios_trio.config.root import Config
from helios_trio.config.structure import structure

DEFAULTS: Final = "defaults"


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in the file at `path` (None: all defaults), with what `environ` puts over it.

    Raises ConfigError with every problem found, one a line: "file: path.to.key: value: what was expected".
    """
    source = DEFAULTS if path is None else str(path)
    folder = Path.cwd() if path is None else path.absolute().parent
    return loads("" if path is None else _text(path), environ, source=source, folder=folder)


def loads(text: str, environ: Mapping[str, str], *, source: str, folder: Path) -> Config:
    """As `load`, from the text of a file called `source` in errors; relative paths are below `folder`."""
    loading = _Loading(source)
    original = _parse(text, source)
    tree: Tree = substitute(original, environ, loading.report)
    loading.origins = override((tree, original), environ, loading.report)
    config, problems = structure(_anchored(Table(Config), tree, folder), original)
    for problem in problems:
        loading.report(problem)
    for problem in checks.problems(config):
        loading.report(problem)
    loading.finish()
    return config


def check(config: Config, source: str) -> None:
    """Raises ConfigError if something is wrong with `config` as a whole: for values put over a loaded one."""
    lines = [problem.line(source) for problem in checks.problems(config)]
    if lines:
        raise InvalidConfig(lines)


@define
class _Loading:
    """Gathers problems, the first about each key only, as later ones follow from it."""

    source: str
    origins: dict[keys.Path, str] = field(factory=dict)
    problems: list[Problem] = field(factory=list)

    def report(self, problem: Problem) -> None:
        if not any(problem.follows_from(known.path) for known in self.problems):
            self.problems.append(problem)

    def finish(self) -> None:
        if self.problems:
            raise InvalidConfig(problem.line(self._source_of(problem.path)) for problem in self.problems)

    def _source_of(self, path: keys.Path) -> str:
        """The variable that gave the value at `path`, or the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return f"environment: {self.origins[path[:length]]}"
        return self.source


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfig([f"{path}: expected text in UTF-8, byte {error.start} is not"]) from error
    except OSError as error:
        raise InvalidConfig([f"{path}: expected a readable file ({error.strerror})"]) from error


def _parse(text: str, source: str) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig([f"{source}: expected TOML; {error}"]) from error


def _anchored(shape: Shape | None, value: Any, folder: Path) -> Any:
    """`value` with the relative paths in it made absolute."""
    match shape, value:
        case Leaf(File()), str() if value:
            return str(folder / value)
        case Table(section), dict():
            known = shapes(section)
            return {name: _anchored(known.get(name), each, folder) for name, each in value.items()}
        case Tables(section), list():
            return [_anchored(Table(section), each, folder) for each in value]
        case _:
            return value
