"""Requests' bodies and queries as classes of keys, the way the configuration has them: all that is wrong at once.

Used by: admin.routing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from quart import Request

from helios_trio.admin.problems import Refused
from helios_trio.config.environment import typed
from helios_trio.config.keys import dotted, find
from helios_trio.config.problems import Problem
from helios_trio.config.structure import Words, structure_once
from helios_trio.migration.errors import Fault

#: Bytes of the largest body.
LARGEST: Final = 64 * 1024
#: Seconds that a body may take to come.
BODY_TIME_LIMIT: Final = 10.0

_WORDS: Final = Words("an object", "an array of objects")
_JSON: Final = "application/json"


async def read_body(request: Request, body: type) -> Any:
    """The body of a request as a value of the class `body`; no body is an empty object. Raises Refused."""
    raw = await request.get_data()
    if not raw:
        return _structured({}, body, "The body is not as it must be.")
    if request.mimetype != _JSON:
        what = f"expected a body of the type {_JSON}"
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, what)
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:  # the second: 60,000 brackets
        raise Refused(HTTPStatus.BAD_REQUEST, "expected JSON in the body") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "expected a JSON object in the body")
    return _structured(_without_nulls(tree), body, "The body is not as it must be.")


def read_query(arguments: Mapping[str, str], query: type) -> Any:
    """The query of a URL as a value of the class `query`. Raises Refused."""
    tree = {name: typed(find(query, (name,)), text) for name, text in arguments.items()}
    return _structured(tree, query, "The query is not as it must be.")


def _without_nulls(value: Any) -> Any:
    """null is the same as nothing."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _structured(tree: dict[str, Any], root: type, detail: str) -> Any:
    found, problems = structure_once(tree, root, _WORDS)
    if problems:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, detail, faults=[_fault(each) for each in problems])
    return found


def _fault(problem: Problem) -> Fault:
    shown = f"{problem.shown}: " if problem.shown else ""
    return Fault(dotted(problem.path), f"{shown}{problem.message}")
