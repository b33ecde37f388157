"""The routes of the admin listener. Everything here is read-only: what changes the proxy needs keys.

Used by: app (`create_app`), admin.server (serves it).
"""

from __future__ import annotations

import time
from typing import Any

import attrs
import trio
from quart import Response, jsonify, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from helios_trio.admin.metrics import expose
from helios_trio.admin.parts import Parts
from helios_trio.admin.problems import on_http_error
from helios_trio.admin.views import health_view, topology_view, version_view


def create_app(parts: Parts) -> QuartTrio:
    """The admin application of one proxy."""
    app = QuartTrio("helios_trio.admin", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined] # the order of the classes is the documented one
    app.register_error_handler(HTTPException, on_http_error)
    app.after_request(_add_headers)
    _add_health(app, parts)
    _add_metrics(app, parts)
    _add_api(app, parts)
    return app


def _add_health(app: QuartTrio, parts: Parts) -> None:
    @app.get("/health")
    async def health() -> Response:
        return _json(health_view(parts))

    @app.get("/health/live")
    async def live() -> Response:
        return jsonify({"status": "live"})

    @app.get("/health/ready")
    async def ready() -> Response:
        view = health_view(parts)
        answer = _json(view)
        answer.status_code = 200 if view.ready else 503
        return answer


def _add_metrics(app: QuartTrio, parts: Parts) -> None:
    @app.get("/metrics/prometheus")
    async def metrics() -> Response:
        page, content_type = await expose(parts, request.headers.get("Accept", ""))
        return Response(page, content_type=content_type)


def _add_api(app: QuartTrio, parts: Parts) -> None:
    @app.get("/api/v1/topology")
    async def topology() -> Response:
        return _json(topology_view(parts, now=time.time(), clock=trio.current_time()))

    @app.get("/api/v1/version")
    async def version() -> Response:
        return _json(version_view(parts))


async def _add_headers(answer: Response) -> Response:
    """An answer is true for a moment, and is never to be taken for a page."""
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _json(view: Any) -> Response:
    return jsonify(attrs.asdict(view))
