"""The proxy goes away while the page is open, and comes back as another process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser_console import NO_PROXY, Console, MakeConsole
from browser_stage import CONFIG, Keys, folder_of_keys, origin_of
from playwright.sync_api import expect

from helios_trio.testing.running import ProxyProcess, running_proxy


class Proxies:
    """One process after the other, at the same address, with the same cluster."""

    def __init__(self, folder: Path, started: Callable[[ProxyProcess], None]) -> None:
        self._config = CONFIG.format(folder=folder)
        self._arguments = ("--data-dir", str(folder / "cluster"))
        self._started = started
        self._stack = ExitStack()
        self.address = "127.0.0.1:0"

    def start(self) -> ProxyProcess:
        """Where the one before was, if there was one."""
        arguments = (*self._arguments, "--admin-listen", self.address)
        proxy = self._stack.enter_context(running_proxy(self._config, arguments, ready_seconds=60.0))
        self._started(proxy)
        self.address = origin_of(proxy).removeprefix("http://")
        return proxy

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._stack.close()


@pytest.fixture
def keys_and_proxies(started: Callable[[ProxyProcess], None]) -> Iterator[tuple[Keys, Proxies]]:
    """Keys that outlive a process, and the processes."""
    with folder_of_keys() as (folder, keys):
        proxies = Proxies(folder, started)
        try:
            yield keys, proxies
        finally:
            proxies.stop()


def test_the_page_survives_a_restart(
    make_console: MakeConsole, keys_and_proxies: tuple[Keys, Proxies]
) -> None:
    """It says since when it shows old figures, comes back by itself, and says that the process is another one."""
    keys, proxies = keys_and_proxies
    proxy = proxies.start()
    console = make_console(origin_of(proxy))
    console.sign_in(keys.operator)
    expect(console.main.locator("[data-node=node1]")).to_be_visible()
    console.page.evaluate("window.sameDocument = true")
    console.witness.allow(NO_PROXY)
    proxies.stop()

    lost = console.page.locator(".alert.bad")
    expect(console.connection).to_have_text("not connected")
    expect(lost).to_contain_text("What is shown is from")
    expect(console.main.locator("[data-node=node1]")).to_be_visible()
    assert console.violations() == []
    see_that_panels_say_so(console)

    again = proxies.start()
    assert (again.pid != proxy.pid, origin_of(again)) == (True, origin_of(proxy))
    restarted = console.page.locator(".alert.careful")
    expect(restarted).to_contain_text("The proxy was restarted at")
    expect(console.connection).to_have_text("live")
    expect(lost).to_have_count(0)
    assert console.violations() == []
    console.show("topology")
    expect(console.main.locator("[data-node=node1] header")).to_contain_text("writes")
    console.show("traffic")
    expect(console.main.locator(".series .curve").first).to_have_attribute("d", re.compile("^M"))
    restarted.get_by_role("button", name="Understood").click()
    expect(restarted).to_have_count(0)
    assert console.page.evaluate("window.sameDocument")


def see_that_panels_say_so(console: Console) -> None:
    """One that is opened meanwhile says that nobody answers, and nothing of it breaks."""
    for panel in ("events", "sessions"):
        console.page.evaluate(f"location.hash = '#/{panel}'")
        expect(console.main).to_contain_text(re.compile("the proxy cannot be reached", re.IGNORECASE))
