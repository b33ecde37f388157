"""From the tree of TOML values to the classes, with every problem's path (cattrs does the walking).

cattrs gathers errors in groups whose notes tell where they arose; here the groups become `Problem`s. What is
wrong is then taken out of the tree and the rest structured again, so that checks across keys still see all
that is sound. `structure_once` does the same for any other class of keys, such as the body of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from types import GenericAlias
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
from attrs import frozen
from cattrs import AttributeValidationNote, ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from helios_trio.config.environment import Tree
from helios_trio.config.keys import REQUIRED, Leaf, Path, Table, find, kind_of, shapes
from helios_trio.config.kinds import Expected
from helios_trio.config.problems import Problem, expected, shown, unknown
from helios_trio.config.root import Config

Hook = Callable[[Any, Any], Any]


def structure(tree: Tree, original: Tree) -> tuple[Config, list[Problem]]:
    """The configuration in `tree`, and what was wrong and therefore left at its default.

    What is wrong is taken out of `tree`. `original` is the same tree as people wrote it, before `${NAME}` was
    replaced: errors show its values.
    """
    found: list[Problem] = []
    reported: set[Path] = set()
    converter = _converter()
    while True:
        try:
            return converter.structure(tree, Config), found
        except (ClassValidationError, IterableValidationError) as group:
            problems = list(_problems(group, (), original, Config))
        for problem in problems:
            _repair(tree, problem.path)
            if not any(problem.path[: len(path)] == path for path in reported):
                found.append(problem)
        reported.update(problem.path for problem in problems)


@frozen
class Words:
    """What tables are called where the tree comes from."""

    table: str = "a table, [...]"
    tables: str = "an array of tables, [[...]]"


T = TypeVar("T")
_TOML: Final = Words()


def structure_once(tree: Tree, root: type[T], words: Words) -> tuple[T | None, list[Problem]]:
    """A value of the class `root` from a tree of plain values, or all that is wrong with it."""
    try:
        return _converter(words).structure(tree, root), []
    except (ClassValidationError, IterableValidationError) as group:
        return None, list(_problems(group, (), tree, root))


@cache
def _converter(words: Words = _TOML) -> Converter:
    """The converter, made once, as cattrs compiles a function for each class."""
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook_factory(lambda type_: kind_of(type_) is not None, _leaf_hook)
    converter.register_structure_hook_factory(_is_tables, lambda type_: _tables_hook(type_, converter, words))
    converter.register_structure_hook_factory(attrs.has, lambda type_: _table_hook(type_, converter, words))
    return converter


def _leaf_hook(annotation: Any) -> Hook:
    kind = kind_of(annotation)
    assert kind is not None, "registered for kinds only"
    return lambda value, _: kind.read(value)


def _is_tables(annotation: Any) -> bool:
    return get_origin(annotation) is tuple and attrs.has(get_args(annotation)[0])


def _tables_hook(annotation: Any, converter: Converter, words: Words) -> Hook:
    items = GenericAlias(list, get_args(annotation)[:1])
    structure_items = converter.get_structure_hook(items)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise Expected(words.tables)
        return tuple(structure_items(value, items))

    return hook


def _table_hook(section: Any, converter: Converter, words: Words) -> Hook:
    fill = make_dict_structure_fn(section, converter)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Expected(words.table)
        return fill(value, section)

    return hook


def _problems(error: BaseException, path: Path, original: Tree, root: type) -> Iterator[Problem]:
    """The problems in an error of cattrs that arose at `path`."""
    match error:
        case ClassValidationError() | IterableValidationError():
            for each in error.exceptions:
                yield from _problems(each, (*path, *_steps(each)), original, root)
        case ForbiddenExtraKeysError():
            yield from (_unknown(path, name, root) for name in sorted(error.extra_fields, key=str))
        case KeyError():
            yield expected(path, "a value, as this key has no default")
        case Expected():
            value = shown(find(root, path), look_up(original, path))
            yield expected(path, str(error), shown=value)
        case _:
            raise error


def _steps(error: BaseException) -> Iterator[str | int]:
    """The keys and indices that cattrs noted on the way to `error`, outermost first."""
    for note in reversed(getattr(error, "__notes__", ())):
        if isinstance(note, AttributeValidationNote):
            yield note.name
        elif isinstance(note, IterableValidationNote):
            yield note.index


def _unknown(path: Path, name: str, root: type) -> Problem:
    shape = find(root, path)
    known = shapes(shape.section) if isinstance(shape, Table) else {}
    what = "section" if root is Config and not path else "key"
    return Problem((*path, name), "", unknown(what, name, known))


def look_up(tree: Any, path: Path) -> Any:
    """What stands at `path` of `tree`; None if nothing does."""
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _repair(tree: Tree, path: Path) -> None:
    """Takes the bad value at `path` out: an item becomes an empty table, a required key takes its example."""
    parent = look_up(tree, path[:-1])
    last = path[-1]
    example = _example_if_required(path)
    if isinstance(last, int):
        parent[last] = {}
    elif example is not None:
        parent[last] = example
    else:
        del parent[last]


def _example_if_required(path: Path) -> Any:
    """The example of the key at `path` if the file must give that key, else None."""
    table, leaf = find(Config, path[:-1]), find(Config, path)
    if not isinstance(table, Table) or not isinstance(leaf, Leaf):
        return None
    required = attrs.fields_dict(table.section)[str(path[-1])].default is REQUIRED
    return leaf.notes.example if required else None
