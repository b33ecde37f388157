"""What can be said of the web console without a browser: its files are there, and nothing in them breaks its rules."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from helios_trio.admin import web
from helios_trio.features.circuit_breaker.panel import PANEL as CIRCUITS
from helios_trio.features.routing.panel import PANEL as ROUTING

PANELS = sorted({*web.PANELS, web.MIGRATIONS, web.FAILOVER, CIRCUITS, ROUTING}, key=lambda panel: panel.order)
STATIC = Path(web.__file__).parent / "static"
SCRIPTS = {panel.name: Path(str(files(panel.package) / panel.script)) for panel in PANELS}
FILES = sorted([*STATIC.iterdir(), *SCRIPTS.values()])
MODULES = [path for path in FILES if path.suffix == ".js"]

#: Namespaces are names, and are not loaded.
NAMESPACES = ("http://www.w3.org/2000/svg",)
IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'`]([^"'`]+)["'`]""")
URL = re.compile(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+[^\s\"'`)]*", re.IGNORECASE)
#: Ways to make markup or code of a text.
FORBIDDEN = re.compile(
    r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\.write|setHTMLUnsafe"
    r"|eval|Function)\b(?=\s*[(=.])|javascript:|\.style\b"
)
#: What the policy would refuse in a page: scripts and styles inside of it, handlers and styles as attributes.
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE)
LINES = 400


def name_of(path: Path) -> str:
    return path.name if path.parent == STATIC else f"{path.parent.name}/{path.name}"


def test_every_panel_has_its_script() -> None:
    """In the package it names; and it is one that the page can mount."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in SCRIPTS.items()}
    assert [
        name for name, text in texts.items() if not re.search(r"export default \{\n  topics: \[", text)
    ] == []
    assert [name for name, text in texts.items() if "mount(root, ctx)" not in text] == []


def test_panels_have_names_of_their_own() -> None:
    """Names are parts of URLs, and places in the navigation are not shared."""
    assert [panel.name for panel in PANELS if re.fullmatch(r"[a-z-]+", panel.name) is None] == []
    assert len({panel.name for panel in PANELS}) == len(PANELS)
    assert len({panel.order for panel in PANELS}) == len(PANELS)


def test_scripts_beside_panels_belong_to_one() -> None:
    """No script is left over that no panel names."""
    lying = {*(Path(web.__file__).parent / "panels").glob("*.js"), *_features().glob("*/*.js")}
    assert lying == set(SCRIPTS.values())


def _features() -> Path:
    return Path(web.__file__).parents[2] / "features"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_what_is_there(path: Path) -> None:
    """Panels are served one folder below the shared modules, wherever they lie; nothing else can be loaded."""
    prefix = "./" if path.parent == STATIC else "../"
    found = [each for each in IMPORT.findall(path.read_text(encoding="utf-8")) if "${" not in each]
    assert [each for each in found if not each.startswith(prefix)] == []
    assert [each for each in found if not (STATIC / each.removeprefix(prefix)).is_file()] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_comes_from_other_hosts(path: Path) -> None:
    """No address of another host, not even in a comment."""
    text = path.read_text(encoding="utf-8")
    for namespace in NAMESPACES:
        text = text.replace(namespace, "")
    assert URL.findall(text) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_text_becomes_markup_or_code(path: Path) -> None:
    """Names that clients choose are text: there is no way for them to be anything else."""
    assert FORBIDDEN.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [*STATIC.glob("*.html"), *STATIC.glob("*.svg")], ids=name_of)
def test_page_keeps_to_its_policy(path: Path) -> None:
    """Nothing inline, and each file that it names is there."""
    text = path.read_text(encoding="utf-8")
    assert INLINE.findall(text) == []
    named = re.findall(r'(?:src|href)="(?!#)([^"]+)"', text)
    assert [each for each in named if not (STATIC / each.removeprefix("console/")).is_file()] == []


@pytest.mark.parametrize(
    "line",
    [
        "node.innerHTML = name;",
        "eval(text)",
        'new Function("x")',
        "node.insertAdjacentHTML('beforeend', text)",
        "node.style.color = colour;",
        'link.href = "javascript:alert(1)"',
    ],
)
def test_what_is_forbidden_is_found(line: str) -> None:
    """The search sees each of these."""
    assert FORBIDDEN.search(line)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_short(path: Path) -> None:
    """As those in Python are."""
    assert path.read_text(encoding="utf-8").count("\n") < LINES
