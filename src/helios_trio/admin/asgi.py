"""What stands around the admin application: whose turn it is before Quart is asked, and requests with fewer tasks.

An answer costs the loop that clients share about a thousand instructions of theirs; so what can be known before Quart
makes objects of a request is decided before.

Used by: admin.api.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import trio
from attrs import define, field
from quart_trio.asgi import TrioASGIHTTPConnection

from helios_trio.admin.access import Access, presented_in
from helios_trio.admin.pacing import PATIENCE, Queue
from helios_trio.admin.problems import MEDIA_TYPE, details

#: As the ASGI specification has them.
Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Asked by load balancers, orchestrators and Prometheus.
_PROBES: Final = ("/health", "/metrics")
#: An answer is true for a moment, and is never to be taken for a page.
ANSWER_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_BODIES: Final = (b"content-length", b"transfer-encoding")


@define
class Turns:
    """Whose turn it is: probes, those with a good key and strangers keep out of each other's way."""

    app: Application
    access: Access
    #: requests a second of each of them
    rate: Callable[[], float]
    _probes: Queue = field(factory=Queue)
    _known: Queue = field(factory=Queue)
    #: the page of the console, before anybody has signed in, and whoever would like to shut operators out
    _strangers: Queue = field(factory=Queue)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when it is its turn, or say that there are too many."""
        if scope["type"] == "http":
            turn = self._queue_of(scope).turn(trio.current_time(), self.rate())
            if turn.wait:
                await trio.sleep(turn.wait)
            if turn.refused:
                await _refuse(scope["path"], send)
                return
        await self.app(scope, receive, send)

    def _queue_of(self, scope: Scope) -> Queue:
        if scope["path"].startswith(_PROBES):
            return self._probes
        presented = presented_in(dict(scope["headers"]))
        return self._strangers if presented is None or not self.access.knows(presented) else self._known


async def _refuse(path: str, send: Send) -> None:
    status = HTTPStatus.TOO_MANY_REQUESTS
    body = json.dumps(details(status, "there are too many requests", path)).encode()
    headers = ANSWER_HEADERS | {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Retry-After": str(round(PATIENCE)),
    }
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})


class Requests(TrioASGIHTTPConnection):
    """quart-trio's, but for requests without a body: there is nothing to wait for beside the answer.

    Who goes away meanwhile ends the whole connection (`admin.connections`), and this with it.
    """

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if any(name in _BODIES for name, _ in self.scope["headers"]):
            await super().__call__(receive, send)
            return
        request = self._create_request_from_scope(send)
        while True:  # what a server says of a request without a body, it says at once
            said = await receive()
            request.body.append(said.get("body", b""))
            if not said.get("more_body", False):
                break
        request.body.set_complete()
        async with trio.open_nursery() as nursery:
            await self.handle_request(nursery, request, send)
