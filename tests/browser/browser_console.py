"""The console as its users handle it, and a witness of everything that a page must not do."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Error, Locator, Page, Route, expect

#: Panels, in the order of the navigation, when everything is switched on.
PANELS: Final = {
    "topology": "Topology",
    "traffic": "Traffic",
    "sessions": "Sessions",
    "pools": "Pools",
    "migrations": "Migrations",
    "failover": "Failover",
    "circuits": "Circuit breakers",
    "routing": "Routing rules",
    "events": "Events",
    "sql": "SQL",
}

_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_QUALITY: Final = 86
#: What makes a page wider than its window; empty when nothing does. Some parts scroll by themselves.
_STICKING_OUT: Final = """() => {
  const [page, room] = [document.scrollingElement.scrollWidth, document.documentElement.clientWidth];
  if (page <= room) return [];
  const beyond = (node) => node.getBoundingClientRect().right > room + 0.5 && !node.closest(".scroll, .nav");
  const wide = [...document.querySelectorAll("body *")].filter(beyond);
  return [`${page} > ${room}`, ...wide.map((node) => node.outerHTML.slice(0, 160))];
}"""
#: How browsers write of requests that fail although everything is as it should be.
REFUSED_KEY: Final = r"status of 401"
NO_PROXY: Final = r"WebSocket connection to .* failed|net::ERR_(CONNECTION|EMPTY_RESPONSE)"


@define(eq=False, slots=False)  # playwright keeps something of its own in objects whose methods it calls
class Witness:
    """Sees requests to other hosts, errors of scripts and of the console, and windows that scripts open."""

    origin: str
    faults: list[str] = field(factory=list)
    _allowed: list[str] = field(factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Every page of this context, and every request of theirs."""
        context.route("**/*", self._pass)
        context.on("page", self._watch_page)

    def allow(self, pattern: str) -> None:
        """Messages like that are expected from now on."""
        self._allowed.append(pattern)

    def check(self) -> None:
        """Nothing was wrong up to now."""
        assert not self.faults, "\n".join(self.faults)

    def _watch_page(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(f"error of a script: {error}"))
        page.on("dialog", self._dismiss)
        page.on("websocket", lambda socket: self._judge(socket.url))

    def _pass(self, route: Route) -> None:
        if self._judge(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _judge(self, url: str) -> bool:
        own = url.startswith("data:") or urlsplit(url).netloc == urlsplit(self.origin).netloc
        if not own:
            self.faults.append(f"request to another host: {url}")
        return own

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if not any(re.search(pattern, message.text) for pattern in self._allowed):
            self.faults.append(f"{message.type} in the console: {message.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"a script said {dialog.message!r}")
        dialog.dismiss()


@define(eq=False)
class Console:
    """A page with the console."""

    page: Page
    witness: Witness

    @property
    def main(self) -> Locator:
        """What the panel shows."""
        return self.page.locator("#main")

    @property
    def dialog(self) -> Locator:
        """The question that is open."""
        return self.page.locator("dialog[open]")

    @property
    def connection(self) -> Locator:
        """The state of the stream, in the bar at the top."""
        return self.page.locator("#connection")

    def open(self) -> None:
        """As far as the login."""
        self.page.goto(self.witness.origin)
        expect(self.page.get_by_label("API key")).to_be_focused()

    def sign_in(self, key: str) -> None:
        """With a key that is accepted."""
        self.open()
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.connection).to_have_text("live")

    def show(self, panel: str) -> None:
        """Go there by the navigation."""
        self.page.get_by_role("navigation").get_by_role("link", name=PANELS[panel], exact=True).click()
        expect(self.page).to_have_title(f"{PANELS[panel]} · helios_trio")
        expect(self.main.locator("h1")).to_have_text(PANELS[panel])

    def button(self, name: str) -> Locator:
        """A button of the panel."""
        return self.main.get_by_role("button", name=name, exact=True)

    def answer(self, verb: str, **fields: str) -> None:
        """Fill in the question that is open, and press its button."""
        for name, value in fields.items():
            self.dialog.locator(f"[name={name}]").fill(value)
        self.dialog.get_by_role("button", name=verb, exact=True).click()
        expect(self.dialog).to_have_count(0)

    def hears(self, text: str) -> None:
        """A note says so; it is closed."""
        note = self.page.locator(".toast").filter(has_text=text)
        expect(note).to_be_visible()
        note.get_by_role("button", name="Close").click()

    # -- judging what is shown -----------------------------------------------------------------------------------------

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2, A and AA."""
        found: list[dict[str, Any]] = Axe().run(self.page, options={"runOnly": _RULES}).response["violations"]
        return [
            f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for rule in found
            for node in rule["nodes"]
        ]

    def sticks_out(self) -> list[str]:
        """What makes the page wider than the window; empty when it is not."""
        found: list[str] = self.page.evaluate(_STICKING_OUT)
        return found

    def photograph(self, path: Path) -> None:
        """What is in the window, as WebP."""
        session = self.page.context.new_cdp_session(self.page)
        found = session.send("Page.captureScreenshot", {"format": "webp", "quality": _QUALITY})
        session.detach()
        path.write_bytes(base64.b64decode(found["data"]))


#: Open a page at an origin; see the fixture of this name.
MakeConsole = Callable[..., Console]


def closed_quietly(context: BrowserContext) -> None:
    """Close it, also when the browser has gone before."""
    try:
        context.close()
    except Error:
        pass
