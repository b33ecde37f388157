"""The web console: its page, its files, and which panels there are.

All of it lies in Python packages and is read once. Browsers are told to load and to run nothing else: see
Content-Security-Policy (W3C). Nothing here needs a key, because nothing here is secret; what it shows does.

Used by: admin.api.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from attrs import define, field, frozen
from quart import Response, request
from quart_trio import QuartTrio

from helios_trio.admin.keys import Role
from helios_trio.admin.parts import Parts
from helios_trio.admin.plain import rfc3339
from helios_trio.admin.problems import Refused
from helios_trio.admin.routing import Call, Route, reads
from helios_trio.admin.views import version_view
from helios_trio.pipeline.panel import Panel

_STATIC: Final = "helios_trio.admin.web"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}


@frozen(kw_only=True)
class PanelView:
    """A page of the console."""

    name: str
    title: str
    #: path of its ES module
    script: str


@frozen(kw_only=True)
class ConsoleView:
    """What the console has to know before it shows anything."""

    version: str
    process: int
    started_at: str
    who: str
    role: Role
    panels: tuple[PanelView, ...]


def routes(parts: Parts) -> Iterator[Route]:
    """What the page asks first."""

    async def console(call: Call) -> ConsoleView:
        version = version_view(parts)
        return ConsoleView(
            version=version.version,
            process=version.process,
            started_at=rfc3339(parts.started_at),
            who=call.who,
            role=call.caller.role,
            panels=tuple(
                PanelView(name=each.name, title=each.title, script=_script_path(each))
                for each in sorted(parts.panels, key=lambda panel: panel.order)
            ),
        )

    yield reads("/api/v1/console", "Panels of the web console, and who is looking", ConsoleView, console)


def _script_path(panel: Panel) -> str:
    return f"/console/panels/{panel.name}.js"


@frozen
class _File:
    """A file as it is sent."""

    content: bytes
    media_type: str
    tag: str


@define
class _Files:
    """Files of packages, each read when it is first asked for."""

    panels: dict[str, Panel]
    _found: dict[str, _File] = field(factory=dict, init=False)
    _names: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._names = frozenset(
            each.name for each in files(_STATIC).joinpath("static").iterdir() if each.is_file()
        )

    def static(self, name: str) -> _File:
        """A file that all panels share. Raises Refused (404) for what is none of them, paths included."""
        if name not in self._names:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such file")
        return self._read(_STATIC, f"static/{name}")

    def script(self, name: str) -> _File:
        """The script of a panel. Raises Refused (404)."""
        panel = self.panels.get(name)
        if panel is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such panel")
        return self._read(panel.package, panel.script)

    def _read(self, package: str, path: str) -> _File:
        found = self._found.get(f"{package}/{path}")
        if found is None:
            content = files(package).joinpath(path).read_bytes()
            media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
            if media_type.startswith("text/"):
                media_type += "; charset=utf-8"
            found = _File(content, media_type, sha256(content).hexdigest()[:32])
            self._found[f"{package}/{path}"] = found
        return found


def add_console(app: QuartTrio, parts: Parts) -> None:
    """Serve the page and its files."""
    found = _Files({each.name: each for each in parts.panels})

    @app.get("/")
    async def page() -> Response:
        return await _answer(found.static("index.html"))

    @app.get("/console/<name>")
    async def static(name: str) -> Response:
        return await _answer(found.static(name))

    @app.get("/console/panels/<name>.js")
    async def script(name: str) -> Response:
        return await _answer(found.script(name))


async def _answer(file: _File) -> Response:
    """Browsers keep files, and ask each time whether they are still true."""
    answer = Response(file.content, content_type=file.media_type)
    answer.headers.update(_HEADERS)
    answer.headers["Cache-Control"] = "no-cache"
    answer.set_etag(file.tag)
    return await answer.make_conditional(request)
