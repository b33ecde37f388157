"""The admin application: all routes, their errors, and the document that describes them.

Used by: app (`create_app`), admin.server (serves it).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quart import Response, jsonify, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from helios_trio.admin import (
    circuit_breaker,
    console_page,
    failover,
    learned_writers,
    metrics_json,
    migrations,
    nodes,
    operations,
    pools,
    primary,
    routing_rules,
    sessions,
    sql,
    traffic,
)
from helios_trio.admin.asgi import ANSWER_HEADERS, Requests, Turns
from helios_trio.admin.bodies import BODY_TIME_LIMIT, LARGEST
from helios_trio.admin.keys import Role
from helios_trio.admin.live import Live
from helios_trio.admin.metrics import expose
from helios_trio.admin.openapi import document
from helios_trio.admin.parts import Parts
from helios_trio.admin.problems import Refused, on_helios_error, on_http_error, on_refused
from helios_trio.admin.routing import Route, add_route
from helios_trio.admin.stream import add_stream
from helios_trio.errors import HeliosError

_METRICS: Final = "/metrics/prometheus"


def create_app(parts: Parts, live: Live | None = None) -> QuartTrio:
    """The admin application of one proxy; whoever makes it runs `live`."""
    live = live or Live.of(parts)
    app = QuartTrio("helios_trio.admin", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined] # the order of the classes is the documented one
    app.config["MAX_CONTENT_LENGTH"] = LARGEST
    app.config["BODY_TIMEOUT"] = BODY_TIME_LIMIT
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(HeliosError, on_helios_error)
    app.register_error_handler(Refused, on_refused)
    app.after_request(_add_headers)
    found = list(all_routes(parts, live))
    app.asgi_http_class = Requests
    app.asgi_app = Turns(  # type: ignore[method-assign] # as Quart says that it is done
        app.asgi_app,
        parts.access,
        frozenset({_METRICS, *(route.path for route in found if route.health)}),
        lambda: parts.running.config.admin.max_requests_per_second,
    )
    for route in found:
        add_route(app, parts.access, route)
    _add_metrics(app, parts)
    _add_document(app, parts, found)
    add_stream(app, parts, live)
    console_page.add_console(app, parts)
    return app


def all_routes(parts: Parts, live: Live) -> Iterator[Route]:
    """Everything that answers with JSON; what is off has no routes."""
    yield from traffic.routes(live.traffic)
    yield from operations.routes(parts)
    yield from nodes.routes(parts)
    yield from pools.routes(parts)
    yield from sessions.routes(parts)
    yield from sql.routes(parts)
    yield from metrics_json.routes(parts)
    yield from console_page.routes(parts)
    if parts.manual is not None:
        yield from primary.routes(parts, parts.manual)
    if parts.rule_book is not None:
        yield from routing_rules.routes(parts, parts.rule_book)
    if parts.learned is not None:
        yield from learned_writers.routes(parts, parts.learned)
    if parts.breakers is not None:
        yield from circuit_breaker.routes(parts.breakers)
    if parts.migrations is not None:
        yield from migrations.routes(parts.migrations)
    if parts.primaries is not None or (parts.migrations is not None and parts.switchover is not None):
        yield from failover.routes(parts, parts.migrations, parts.switchover)


def _add_metrics(app: QuartTrio, parts: Parts) -> None:
    @app.get(_METRICS)
    async def metrics() -> Response:
        parts.access.admit(request, Role.VIEWER, health=True)
        page, content_type = await expose(parts, request.headers.get("Accept", ""))
        return Response(page, content_type=content_type)


def _add_document(app: QuartTrio, parts: Parts, routes: list[Route]) -> None:
    found = document(routes)

    @app.get("/api/v1/openapi.json")
    async def openapi() -> Response:
        parts.access.admit(request, Role.VIEWER)
        return jsonify(found)


async def _add_headers(answer: Response) -> Response:
    for name, value in ANSWER_HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer
