"""Events, alerts, and receivers that behave in every way a receiver should not."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field, frozen

from helios_trio.config.alerts import Severity
from helios_trio.config.secret import Secret
from helios_trio.features.alerts.alert import Alert, Status
from helios_trio.features.alerts.core import AlertCore, Naming
from helios_trio.features.alerts.receiver import AlertCounters, Delivery, Receiver
from helios_trio.features.alerts.targets import Webhook
from helios_trio.migration.events import Event

#: Seconds since 1970 of everything that happens in tests.
AT = 1_800_000_000.0
WINDOW = 300.0
#: Seconds after which a test that waits has failed.
PATIENCE = 20.0
#: Part of URLs, and keys, that must be seen nowhere.
HIDDEN = "T0SECRETxB0SECRET"


def happened(
    kind: str, subject: str = "node1", *, id: int = 1, reason: str = "", who: str = "helios"
) -> Event:
    """An event."""
    return Event(id=id, at=AT, kind=kind, who=who, subject=subject, reason=reason)


def make_core(window: float = WINDOW) -> AlertCore:
    """A core that has heard of nothing."""
    numbers = itertools.count(1)
    return AlertCore(Naming("proxy", lambda: f"id{next(numbers)}"), window)


def make_alert(**changes: Any) -> Alert:
    """An alert that a server is unhealthy, but for `changes`."""
    known: dict[str, Any] = {
        "id": "id1",
        "key": "proxy/server/node1",
        "status": Status.OPEN,
        "severity": Severity.ERROR,
        "kind": "server is unhealthy",
        "subject": "node1",
        "reason": "connection refused",
        "who": "helios",
        "at": AT,
        "source": "proxy",
        "event_id": 7,
    }
    return Alert(**{**known, **changes})


def make_receiver(url: str, *, secret: str | None = None, **delivery: Any) -> Receiver:
    """A webhook, in haste."""
    settings = {"timeout": 5.0, "retry_for": 60.0, "queue_size": 100, "first_pause": 0.01, **delivery}
    return Receiver(
        name="webhook",
        target=Webhook(Secret(url), None if secret is None else Secret(secret)),
        delivery=Delivery(**settings),
        counters=AlertCounters(),
        clock=lambda: AT,
        chance=lambda: 1.0,
    )


async def until(look: Callable[[], Any]) -> Any:
    """Wait until it is true."""
    with trio.fail_after(PATIENCE):
        while not (found := look()):  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.002)
    return found


# -- a server ------------------------------------------------------------------------------------------------------


@frozen
class Heard:
    """One request."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[trio.abc.Stream], Awaitable[None]]


@define
class Hostile:
    """A receiver of HTTP that goes through a list of behaviours, one for each connection; the last one is repeated."""

    url: str
    behaviours: list[Behaviour]
    heard: list[Heard] = field(factory=list)
    connections: int = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection."""
        behaviour = self.behaviours[min(self.connections, len(self.behaviours) - 1)]
        self.connections += 1
        try:
            async with stream:
                if behaviour is not slams:
                    self.heard.append(await read_request(stream))
                await behaviour(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # whoever asked has had enough


async def read_request(stream: trio.abc.Stream) -> Heard:
    """A whole request."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += await received(stream)
    head, body = text.split(b"\r\n\r\n", 1)
    line, *lines = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    while len(body) < int(headers["Content-Length"]):
        body += await received(stream)
    return Heard(line, {name.lower(): value for name, value in headers.items()}, body)


async def received(stream: trio.abc.Stream) -> bytes:
    """Some bytes."""
    found = bytes(await stream.receive_some())
    if not found:
        raise trio.BrokenResourceError("closed")
    return found


@asynccontextmanager
async def hostile(*behaviours: Behaviour, tls: Any = None, path: str = "/hook") -> AsyncIterator[Hostile]:
    """A receiver on a free port."""
    found = Hostile("", list(behaviours))
    serve = (
        partial(trio.serve_tcp, found.serve) if tls is None else partial(trio.serve_ssl_over_tcp, found.serve)
    )
    more = () if tls is None else (tls,)
    async with trio.open_nursery() as nursery:
        host = "127.0.0.1"
        (listener,) = await nursery.start(partial(serve, 0, *more, host=host))
        socket = listener.socket if tls is None else listener.transport_listener.socket
        scheme, name = ("http", host) if tls is None else ("https", "localhost")
        found.url = f"{scheme}://{name}:{socket.getsockname()[1]}{path}"
        yield found
        nursery.cancel_scope.cancel()


# -- behaviours ----------------------------------------------------------------------------------------------------


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """As it should be, whatever it says."""

    async def answer(stream: trio.abc.Stream) -> None:
        lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


def says(text: bytes) -> Behaviour:
    """These bytes, and nothing more."""

    async def say(stream: trio.abc.Stream) -> None:
        await stream.send_all(text)

    return say


async def slams(stream: trio.abc.Stream) -> None:
    """Closes the connection before it has read anything."""


async def hangs(stream: trio.abc.Stream) -> None:
    """Says nothing, for ever."""
    await trio.sleep_forever()


async def answers_and_hangs(stream: trio.abc.Stream) -> None:
    """Accepts it, and never ends its answer."""
    await stream.send_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nthank")
    await trio.sleep_forever()


def floods(head: bytes, chunk: bytes) -> Behaviour:
    """Never stops talking."""

    async def flood(stream: trio.abc.Stream) -> None:
        await stream.send_all(head)
        while True:
            await stream.send_all(chunk)
            await trio.lowlevel.checkpoint()

    return flood
