"""Replication connections: one client, one server connection of its own, bytes both ways (never pooled).

A walsender's state cannot be carried elsewhere, and nothing in its stream concerns the proxy.

Used by: proxy.serving.
"""

from __future__ import annotations

import secrets

import trio

from helios_trio.net.errors import ConnectionLost
from helios_trio.net.transport import Transport
from helios_trio.pool.pools import Destination, Pools
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.admission import Admitted
from helios_trio.proxy.greeting import Greeting
from helios_trio.wire.layout import to_text

_CHUNK = 64 * 1024


async def pass_through(
    admitted: Admitted, destination: Destination, credentials: Credentials, pools: Pools
) -> None:
    """Connect with the client's own start-up packet and copy bytes until either side ends."""
    parameters = {to_text(name): to_text(value) for name, value in admitted.startup.parameters}
    parameters["user"] = destination.user
    if "database" in parameters:
        parameters["database"] = destination.database
    greeting = await pools.connect_alone(destination, credentials, parameters)
    client, server = admitted.stream.transport, greeting.transport
    try:
        said = Greeting(greeting.parameters, b"".join(greeting.notices))
        frames = said.frames(greeting.pid, secrets.token_bytes(4))
        await client.send_all(admitted.authenticated.reply + frames)
        if rest := admitted.stream.take_rest():
            await server.send_all(rest)
        if greeting.rest:
            await client.send_all(greeting.rest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, server, nursery.cancel_scope)
            nursery.start_soon(_copy, server, client, nursery.cancel_scope)
    finally:
        server.close()


async def _copy(source: Transport, sink: Transport, both: trio.CancelScope) -> None:
    """Whichever side ends first ends the other."""
    try:
        while data := await source.receive_some(_CHUNK):
            await sink.send_all(data)
    except ConnectionLost:
        pass
    both.cancel()
