"""A whole proxy inside a test, over a real server that it knows under two names, and clients in threads.

The test sees the proxy's parts, and can reach between the steps of a transfer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
import trio
from attrs import define

from helios_trio.app import ServeOptions, Signals, run
from helios_trio.composition.assembly import Assembly, assemble
from helios_trio.config.loader import loads
from helios_trio.migration.fleet import LocalFleet
from helios_trio.net.listener import open_listeners
from helios_trio.proxy.session import Session

T = TypeVar("T")

CONFIG: Final = """
[proxy]
listen_address = "127.0.0.1:0"
admin_listen_address = "off"
drain_timeout = "1s"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = 10
queue_timeout = "5s"
"""


@define(eq=False)
class Client:
    """A psycopg connection whose calls run in threads."""

    connection: psycopg.Connection

    async def ask(self, text: str, *values: Any, **more: Any) -> Any:
        """The rows of a statement; None when it has none."""
        return await in_thread(self._ask, text, values or None, more)

    def _ask(self, text: str, values: Any, more: dict[str, Any]) -> Any:
        found = self.connection.execute(text, values, **more)
        return found.fetchall() if found.description is not None else None


@define
class Live:
    """The running proxy."""

    parts: Assembly
    fleet: LocalFleet
    port: int

    @asynccontextmanager
    async def client(self, **more: Any) -> AsyncIterator[Client]:
        """A client, closed at the end."""
        parameters = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "postgres",
            "dbname": "postgres",
            **more,
        }
        connection = await in_thread(partial(psycopg.connect, autocommit=True, **parameters))
        try:
            yield Client(connection)
        finally:
            await in_thread(connection.close)

    def only_session(self) -> Session:
        """The session there is."""
        (found,) = self.parts.core.proxy.sessions.values()
        return found


async def in_thread(call: Callable[..., T], *values: Any) -> T:
    """A blocking call; given up with the test that waits for it."""
    return await trio.to_thread.run_sync(call, *values, abandon_on_cancel=True)


@asynccontextmanager
async def live_proxy(address: tuple[str, int], mode: str, time_limit: float = 60.0) -> AsyncIterator[Live]:
    """A proxy in this mode between two names of the server at `address`; the block has `time_limit` seconds."""
    text = CONFIG.format(host=address[0], port=address[1], mode=mode)
    config = loads(text, {}, source="live_rig", folder=Path.cwd())
    parts = assemble(config, None)
    told = Signals()
    listeners = await open_listeners(config.proxy.listen_address)
    with trio.fail_after(time_limit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, parts, ServeOptions(), listeners, told)
            yield Live(parts, parts.core.fleet, int(str(listeners[0].address).rpartition(":")[2]))
            told.stop.set()
            told.stop_now.set()
