"""What stands around the admin application: whose turn it is before Quart is asked, and requests with fewer tasks.

An answer costs the loop that clients share as much as many queries; so what can be known before Quart makes objects
of a request is decided before.

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
from helios_trio.admin.connections import RAW
from helios_trio.admin.pacing import BURST_OF_FILES, PATIENCE, Fate, Queue
from helios_trio.admin.problems import MEDIA_TYPE, details

#: As the ASGI specification has them.
Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: An answer is true for a moment, and is never to be taken for a page.
ANSWER_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_BODIES: Final = (b"content-length", b"transfer-encoding")


@define
class Turns:
    """Whose turn it is: probes, files, those with a good key and strangers keep out of each other's way."""

    app: Application
    access: Access
    #: paths that load balancers, orchestrators and Prometheus ask
    probed: frozenset[str]
    #: requests a second of each of them
    rate: Callable[[], float]
    _probes: Queue = field(factory=Queue)
    _known: Queue = field(factory=Queue)
    #: of the web console, which are loaded before anybody has signed in
    _files: Queue = field(factory=lambda: Queue(BURST_OF_FILES))
    #: the console's stream, which shows its key later, and whoever would like to shut operators out
    _strangers: Queue = field(factory=Queue)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request, or the handshake of a WebSocket, on when it is its turn, or say that there are too many."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        turn = self._queue_of(scope).turn(trio.current_time(), self.rate())
        if turn.wait:
            await trio.sleep(turn.wait)
        match turn.fate:
            case Fate.SERVED:
                await self.app(scope, receive, send)
            case Fate.REFUSED:
                await _refuse(scope, receive, send)
            case Fate.DROPPED:
                scope["state"][RAW].end()

    def _queue_of(self, scope: Scope) -> Queue:
        if scope["path"] == "/" or scope["path"].startswith("/console/"):
            return self._files
        headers = dict(reversed(list(scope["headers"])))  # of several the first counts, as for Quart
        presented = presented_in(headers)
        known = presented is not None and self.access.knows(presented)
        host = headers.get(b"host", b"").decode("latin1")
        if scope["path"] in self.probed and (known or self.access.is_open_to(host)):
            return self._probes
        return self._known if known else self._strangers


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Say that there are too many; a body that nobody wants is read, or whoever passes it on would wait for ever."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, receive)
        await _send_refusal(scope, send)
        nursery.cancel_scope.cancel()


async def _drain(receive: Receive) -> None:
    while True:
        await receive()


async def _send_refusal(scope: Scope, send: Send) -> None:
    status = HTTPStatus.TOO_MANY_REQUESTS
    body = json.dumps(details(status, "there are too many requests", scope["path"])).encode()
    headers = ANSWER_HEADERS | {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Retry-After": str(round(PATIENCE)),
    }
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    kind = "websocket.http" if scope["type"] == "websocket" else "http"
    await send({"type": f"{kind}.response.start", "status": status, "headers": named})
    await send({"type": f"{kind}.response.body", "body": body})


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
