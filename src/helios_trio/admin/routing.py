"""`Route`: one path of the API and all that is known of it: the application and its OpenAPI document are made of these.

Used by: admin.api (adds them to the application), admin.openapi (documents them), each module of routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from attrs import field, frozen
from quart import Response, jsonify, request
from quart_trio import QuartTrio

from helios_trio.admin.access import Access, Caller
from helios_trio.admin.bodies import read_body, read_query
from helios_trio.admin.keys import Role
from helios_trio.admin.plain import plain


@frozen(kw_only=True)
class Call:
    """One request, checked: who asks, and for what."""

    caller: Caller
    #: what stands in the path, by name
    path: Mapping[str, Any] = field(factory=dict)
    #: a value of the route's `query` class
    query: Any = None
    #: a value of the route's `body` class
    body: Any = None

    @property
    def who(self) -> str:
        """The name of the key, as it stands in the events."""
        return self.caller.name


#: Gives a value of the route's `answer` class, or a Reply with one; raises HeliosError.
Handler = Callable[[Call], Awaitable[Any]]


@frozen
class Reply:
    """An answer with a status of its own, in place of the route's."""

    view: Any
    status: int


@frozen(kw_only=True)
class Route:
    """One path and method."""

    method: Literal["GET", "POST", "DELETE"]
    #: as werkzeug has it, such as `/api/v1/sessions/<int:id>`
    path: str
    summary: str
    handle: Handler
    #: None: a plain object of whatever members
    answer: type | None
    role: Role
    query: type | None = None
    body: type | None = None
    status: int = HTTPStatus.OK
    #: other statuses that come with the same answer, and what they mean
    also: Mapping[int, str] = field(factory=dict)
    #: can be read without a key where the configuration says so
    health: bool = False

    @property
    def name(self) -> str:
        """Unique among routes."""
        return f"{self.method} {self.path}"


def reads(path: str, summary: str, answer: type | None, handle: Handler, **more: Any) -> Route:
    """A route that changes nothing."""
    return Route(
        method="GET", path=path, summary=summary, answer=answer, handle=handle, role=Role.VIEWER, **more
    )


def changes(path: str, summary: str, answer: type | None, handle: Handler, **more: Any) -> Route:
    """A route that changes something."""
    method = more.pop("method", "POST")
    return Route(
        method=method, path=path, summary=summary, answer=answer, handle=handle, role=Role.OPERATOR, **more
    )


def add_route(app: QuartTrio, access: Access, route: Route) -> None:
    """Serve a route."""

    async def view(**path: Any) -> Response:
        caller = access.admit(request, route.role, health=route.health)
        query = read_query(request.args, route.query) if route.query is not None else None
        body = await read_body(request, route.body) if route.body is not None else None
        found = await route.handle(Call(caller=caller, path=path, query=query, body=body))
        reply = found if isinstance(found, Reply) else Reply(found, route.status)
        answer = jsonify(plain(reply.view))
        answer.status_code = reply.status
        return answer

    app.add_url_rule(route.path, route.name, view, methods=[route.method])
