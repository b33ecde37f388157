"""Waiting for a server connection in a task: at login, before the relay has the client.

Used by: proxy.serving.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from helios_trio.net.errors import ConnectionLost
from helios_trio.net.frame_stream import FrameStream
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import Ticket
from helios_trio.pool.pool import Pool
from helios_trio.proxy.session import HELD_LIMIT
from helios_trio.session.virtual import VirtualSession


async def acquire(
    pool: Pool, virtual: VirtualSession, seconds: float, client: FrameStream
) -> BackendConnection:
    """A connection for this session; waits up to so many `seconds`, or until its client has gone.

    Raises BackendUnavailable and the like, ConnectionLost for a client that has gone.
    """
    found = pool.take_nowait(virtual)
    if found is not None:
        return found
    arrived = trio.Event()
    results: list[BackendConnection | Exception] = []

    def settle(result: BackendConnection | Exception) -> None:
        results.append(result)
        arrived.set()

    ticket = Ticket[BackendConnection](virtual, trio.current_time() + seconds, settle, settle)
    pool.wait(ticket)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_client, client, settle)
            await arrived.wait()
            nursery.cancel_scope.cancel()
    except BaseException:
        pool.withdraw(ticket)
        for result in results:
            if isinstance(result, BackendConnection):
                pool.give_back(result)
        raise
    first, *others = results
    if isinstance(first, Exception):
        pool.withdraw(ticket)
        for result in others:
            if isinstance(result, BackendConnection):
                pool.give_back(result)
        raise first
    return first


async def _watch_client(client: FrameStream, gone: Callable[[Exception], None]) -> None:
    """Notice a client that leaves while it waits; what it sends too early is kept, within bounds."""
    try:
        if not await client.read_ahead(HELD_LIMIT):
            gone(ConnectionLost(f"{client.transport.peer} left while it was waiting"))
    except ConnectionLost as error:
        gone(error)
