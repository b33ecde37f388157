"""Errors of the admin listener as problem details (RFC 9457): also for paths and methods that do not exist.

Used by: admin.api.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from quart import Response, request
from werkzeug.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str) -> Response:
    """An answer that says what is wrong with a request, or that we are."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
    }
    return Response(json.dumps(body), status, content_type=MEDIA_TYPE)


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
