"""What the project promises about its source: docstrings, sizes, no loose ends, no endless shields."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "helios_trio"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(
    path
    for folder in ("src", "tests", "bench", "examples", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".toml"} and path != Path(__file__)
)

LINES = 400
LONG_FILES = {
    "session/requests.py": "one loop of the hot path: a call more would cost every message",
    "wire/replies.py": "the other loop of the hot path, with its tables",
    "proxy/session.py": "the callbacks of one client, which share its whole state",
    "features/routing/session.py": "the same of a client whose requests go to several servers",
}
LOOSE_END = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
HOME_FOLDER = re.compile(r"(?<![\w.])/(home|root|Users)/\w")
POSSESSIVE_GROUP = re.compile(r"\)[*+?]\+")
TIMEOUTS = {"move_on_after", "move_on_at", "fail_after", "fail_at"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_module_says_what_it_is() -> None:
    """A docstring in each module, unless it is empty."""
    silent = [path for path in MODULES if parsed(path).body and not ast.get_docstring(parsed(path))]
    assert [name_of(path) for path in silent] == []


def test_files_are_short_or_on_the_list() -> None:
    """Files have fewer than 400 lines; the list has reasons, and no entry that needs none."""
    long = {name_of(path) for path in MODULES if path.read_text(encoding="utf-8").count("\n") >= LINES}
    assert long == set(LONG_FILES)


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5, which Debian 12 has, forgets to go back when the last repetition fails half-way."""
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and POSSESSIVE_GROUP.search(str(node.value))
    ]
    assert wrong == []


def test_functions_are_short() -> None:
    """Nine of ten functions have fewer than 40 lines, half of them at most 10."""
    sizes = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert statistics.median(sizes) <= 10
    assert sizes[len(sizes) * 9 // 10] < 40


@pytest.mark.parametrize("pattern", [LOOSE_END, HOME_FOLDER])
def test_no_loose_ends(pattern: re.Pattern[str]) -> None:
    """Nothing is left for later, and no path of somebody's machine is in a file."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in SOURCES
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_error_is_swallowed_blindly() -> None:
    """No handler of all exceptions that does nothing."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)
    ]
    assert found == []


def test_no_shield_without_a_deadline() -> None:
    """A shielded scope has a deadline from the moment it is made."""
    found = [f"{name_of(path)}:{line}" for path in MODULES for line in shields_without_deadline(parsed(path))]
    assert found == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("with trio.CancelScope(shield=True): pass", [1]),
        ("with trio.CancelScope(shield=True, deadline=later): pass", []),
        ("with trio.move_on_after(5, shield=True): pass", []),
        ("with trio.move_on_after(5) as scope:\n    scope.shield = True", []),
        ("with trio.CancelScope() as scope:\n    scope.shield = True", [2]),
    ],
)
def test_shields_are_found(source: str, expected: list[int]) -> None:
    """The search for shields finds those, and only those."""
    assert list(shields_without_deadline(ast.parse(source))) == expected


def shields_without_deadline(tree: ast.Module) -> Iterator[int]:
    """The lines that shield a scope for as long as it likes."""
    limited = set(limited_scopes(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if any(each.arg == "shield" for each in node.keywords) and not has_deadline(node):
                yield node.lineno
        elif isinstance(node, ast.Assign):
            owners = [ast.unparse(each.value) for each in node.targets if is_shield(each)]
            if not limited.issuperset(owners):
                yield node.lineno


def limited_scopes(tree: ast.Module) -> Iterator[str]:
    """The names given to scopes that have a deadline."""
    for node in ast.walk(tree):
        for item in node.items if isinstance(node, ast.With) else ():
            call, name = item.context_expr, item.optional_vars
            if name is not None and isinstance(call, ast.Call) and has_deadline(call):
                yield ast.unparse(name)


def has_deadline(call: ast.Call) -> bool:
    """Whether a call makes a scope that ends by itself."""
    name = ast.unparse(call.func).rpartition(".")[2]
    return name in TIMEOUTS or any(each.arg == "deadline" for each in call.keywords)


def is_shield(target: ast.expr) -> TypeGuard[ast.Attribute]:
    """Whether a scope's `shield` is assigned to."""
    return isinstance(target, ast.Attribute) and target.attr == "shield"
