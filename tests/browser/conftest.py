"""Fixtures of the browser tests: Chromium, proxies with live clusters, and pages that are watched.

They need Debian's chromium and the dependency group `browser`, and are run by `nox -s browser` only. `--screenshots`
names a folder for a picture of each panel.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from browser_console import Console, MakeConsole, Witness, closed_quietly
from browser_stage import Stage, running_stage
from playwright.sync_api import Browser, expect, sync_playwright

from helios_trio.testing.running import ProxyProcess

DEADLINE_MS = 45_000
SIZE = {"width": 1280, "height": 800}
ARGUMENTS = [
    "--no-sandbox",  # tests of a container run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--screenshots FOLDER`: write a picture of each panel there, light and dark."""
    parser.addoption("--screenshots", type=Path, help="browser: a folder for pictures of the panels")


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config) -> Path | None:
    """The folder for pictures, if there shall be any."""
    folder: Path | None = pytestconfig.getoption("--screenshots")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed"
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield found
        finally:
            found.close()


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest) -> Callable[[ProxyProcess], None]:
    """Hears of proxies of this module: what they wrote is shown with a test that fails."""
    proxies: list[ProxyProcess] = []
    request.node.stash[PROXIES] = proxies
    return proxies.append


@pytest.fixture(scope="module")
def stage(started: Callable[[ProxyProcess], None]) -> Iterator[Stage]:
    """A proxy with three servers and clients at work; a module of tests has one of its own."""
    with running_stage(started) as found:
        yield found


@pytest.fixture
def make_console(browser: Browser) -> Iterator[MakeConsole]:
    """Open a page at an origin: `make_console(origin, theme="dark")`. At the end none must have done anything wrong."""
    consoles: list[Console] = []
    with ExitStack() as stack:

        def make(origin: str, theme: Literal["light", "dark"] = "light", **more: Any) -> Console:
            context = browser.new_context(color_scheme=theme, viewport=SIZE, **more)
            stack.callback(closed_quietly, context)
            context.set_default_timeout(DEADLINE_MS)
            witness = Witness(origin)
            witness.watch(context)
            consoles.append(Console(context.new_page(), witness))
            return consoles[-1]

        yield make
    for console in consoles:
        console.witness.check()


@pytest.fixture
def console(make_console: MakeConsole, stage: Stage) -> Console:
    """The console, and an operator who has signed in."""
    made = make_console(stage.origin)
    made.sign_in(stage.keys.operator)
    return made


PROXIES = pytest.StashKey[list[ProxyProcess]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to a failure what the proxies of its module wrote last."""
    report = yield
    module = item.getparent(pytest.Module)
    if report.failed and module is not None:
        for proxy in module.stash.get(PROXIES, []):
            state = "" if proxy.running else f" (ended with {proxy.process.returncode})"
            if proxy.log_file.exists():
                report.sections.append((f"proxy {proxy.pid}{state}", proxy.log_since()))
    return report
