"""The admin application: all routes, their errors, and the document that describes them.

Used by: app (`create_app`), admin.server (serves it).
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import trio
from attrs import define, field
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
from helios_trio.admin.bodies import BODY_TIME_LIMIT, LARGEST
from helios_trio.admin.keys import Role
from helios_trio.admin.live import Live
from helios_trio.admin.metrics import expose
from helios_trio.admin.openapi import document
from helios_trio.admin.pacing import PATIENCE, Pace
from helios_trio.admin.parts import Parts
from helios_trio.admin.problems import Refused, on_helios_error, on_http_error, on_refused
from helios_trio.admin.routing import Route, add_route
from helios_trio.admin.stream import add_stream
from helios_trio.errors import HeliosError

#: Asked by load balancers, orchestrators and Prometheus.
_PROBES: Final = ("/health", "/metrics")


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
    app.before_request(_Turns(parts).wait)
    app.after_request(_add_headers)
    found = list(all_routes(parts, live))
    for route in found:
        add_route(app, parts.access, route)
    _add_metrics(app, parts)
    _add_document(app, parts, found)
    add_stream(app, parts, live)
    console_page.add_console(app, parts)
    return app


@define
class _Turns:
    """Whose turn it is: probes, those with a good key and strangers keep out of each other's way."""

    parts: Parts
    _probes: Pace = field(factory=lambda: Pace(1.0))
    _known: Pace = field(factory=lambda: Pace(1.0))
    #: the page of the console, before anybody has signed in, and whoever would like to shut operators out
    _strangers: Pace = field(factory=lambda: Pace(1.0))

    async def wait(self) -> None:
        """Until it is the turn of the current request. Raises Refused: there are too many."""
        if request.path.startswith(_PROBES):
            pace = self._probes
        else:
            pace = self._known if self.parts.access.knows(request) else self._strangers
        pace.rate = float(self.parts.running.config.admin.max_requests_per_second)
        wait = pace.turn(trio.current_time())
        await trio.sleep(PATIENCE if wait is None else wait)
        if wait is None:
            seconds = {"Retry-After": str(round(PATIENCE))}
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "there are too many requests", headers=seconds)


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
    @app.get("/metrics/prometheus")
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
    """An answer is true for a moment, and is never to be taken for a page."""
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
