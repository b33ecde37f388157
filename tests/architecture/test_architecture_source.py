"""What the project promises about its source: docstrings, sizes, no loose ends, no shield without a deadline."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

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
    "session/requests.py": "one loop of the hot path and the cases it branches to; a call more costs every message",
    "proxy/session.py": "the callbacks of one client, which share its whole state",
}
LOOSE_ENDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b")
HOME_FOLDER = re.compile(r"(?<![\w.])/(home|root|Users)/\w")
TIMEOUTS = {"move_on_after", "move_on_at", "fail_after", "fail_at"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    """A docstring in each module, unless it is empty."""
    tree = parsed(path)
    assert not tree.body or ast.get_docstring(tree), f"{name_of(path)} has no docstring"


def test_files_are_short_or_on_the_list() -> None:
    """Files have fewer than 400 lines; the list has reasons, and no entry that needs none."""
    long = {name_of(path) for path in MODULES if path.read_text(encoding="utf-8").count("\n") >= LINES}
    assert long == set(LONG_FILES)


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


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_loose_ends(path: Path) -> None:
    """Nothing is left for later, and no path of somebody's machine is in a file."""
    text = path.read_text(encoding="utf-8")
    found = [match[0] for pattern in (LOOSE_ENDS, HOME_FOLDER) for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_error_is_swallowed_blindly(path: Path) -> None:
    """No handler of all exceptions that does nothing."""
    lines = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)
    ]
    assert lines == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_shield_without_a_deadline(path: Path) -> None:
    """A shielded scope has a deadline from the moment it is made."""
    assert list(shields_without_deadline(parsed(path))) == []


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
            given = {keyword.arg for keyword in node.keywords}
            if "shield" in given and "deadline" not in given and called(node) not in TIMEOUTS:
                yield node.lineno
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr == "shield":
                    if ast.unparse(target.value) not in limited:
                        yield node.lineno


def limited_scopes(tree: ast.Module) -> Iterator[str]:
    """The names given to scopes that have a deadline."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                call, name = item.context_expr, item.optional_vars
                if isinstance(call, ast.Call) and name is not None:
                    if called(call) in TIMEOUTS or any(each.arg == "deadline" for each in call.keywords):
                        yield ast.unparse(name)


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]
