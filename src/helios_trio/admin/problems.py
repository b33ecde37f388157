"""Errors of the admin listener as problem details (RFC 9457): also for paths and methods that do not exist.

Used by: admin.api (registers the handlers), admin.asgi, admin.access and admin.bodies (raise `Refused`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from quart import Response, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException

from helios_trio.errors import BackendUnavailable, HeliosError, StatementFailed
from helios_trio.migration.errors import Conflict, Fault, InvalidOrder, NotAvailable, NotFound, OrderRefused

MEDIA_TYPE: Final = "application/problem+json"

#: What an error of ours is in HTTP; the first that fits.
_STATUSES: Final[tuple[tuple[type[HeliosError], HTTPStatus], ...]] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (InvalidOrder, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotAvailable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (BackendUnavailable, HTTPStatus.CONFLICT),
    (StatementFailed, HTTPStatus.UNPROCESSABLE_ENTITY),
)


class Refused(Exception):
    """A request that is refused before anybody has looked at what it wants."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def problem(
    status: int, detail: str, *, code: str = "", hint: str | None = None, faults: Iterable[Fault] = ()
) -> Response:
    """An answer that says what is wrong with a request, or that we are.

    `code`, `hint` and `errors` (one for each fault) are members of our own, as the RFC allows.
    """
    body = details(status, detail, (request if has_request_context() else websocket).path)
    if code:
        body["code"] = code
    if hint:
        body["hint"] = hint
    if errors := [{"path": each.path, "message": each.message} for each in faults]:
        body["errors"] = errors
    return Response(json.dumps(body), status, content_type=MEDIA_TYPE)


def details(status: int, detail: str, instance: str) -> dict[str, Any]:
    """The members that the RFC has; `instance` is the path that was asked for."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }


async def on_refused(error: Refused) -> Response:
    """Keys and bodies."""
    answer = problem(error.status, error.detail, faults=error.faults)
    answer.headers.update(error.headers)
    return answer


async def on_helios_error(error: HeliosError) -> Response:
    """What the rooms below say to an order. Those that are nobody's fault but ours have been logged by them."""
    faults = error.faults if isinstance(error, OrderRefused) else ()
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), None)
    status = status or HTTPStatus.SERVICE_UNAVAILABLE
    code = error.sqlstate if isinstance(error, StatementFailed) else error.code
    return problem(status, error.message, code=code, hint=error.hint, faults=faults)


async def on_http_error(error: HTTPException) -> Response:
    """What Quart would answer in HTML. An exception in a view comes here as 500; Quart has logged it."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(status, "The request failed; the log of the proxy says why.")
    answer = problem(status, error.description or HTTPStatus(status).phrase)
    methods = getattr(error, "valid_methods", None)
    if methods:
        answer.headers["Allow"] = ", ".join(sorted(methods))
    return answer
