"""Drives psycopg's generators with Trio.

psycopg writes its protocol logic as generators that yield what they wait for (readable, writable)
and get back what is ready; whoever drives them decides how to wait. This is the driver for Trio:
no threads, one task. Called by `control.connection`.
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import trio
from psycopg import errors
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import Ready, Wait

Returned = TypeVar("Returned")


async def drive(generator: PQGen[Returned], fd: int) -> Returned:
    """Run a generator that works on the one socket `fd` to its end.

    May be called again with the same generator after a cancellation: it goes on where it was.

    Raises:
        psycopg.OperationalError: the socket was closed meanwhile.
    """
    try:
        wanted = next(generator)
    except StopIteration as stop:
        await trio.lowlevel.cancel_shielded_checkpoint()  # it never waited: let others run
        return cast(Returned, stop.value)
    try:
        while True:
            wanted = generator.send(await _ready(fd, wanted))
    except StopIteration as stop:
        return cast(Returned, stop.value)
    except OSError as error:
        raise errors.OperationalError("connection socket closed") from error


async def drive_connecting(generator: PQGenConn[Returned]) -> Returned:
    """Run a generator that opens sockets itself (connecting, cancelling) to its end.

    Raises:
        psycopg.OperationalError: a socket was closed meanwhile.
    """
    try:
        fd, wanted = next(generator)
        while True:
            fd, wanted = generator.send(await _ready(fd, wanted))
    except StopIteration as stop:
        return cast(Returned, stop.value)
    except OSError as error:
        raise errors.OperationalError("connection socket closed") from error


async def _ready(fd: int, wanted: Wait) -> Ready:
    """Wait until one of the wanted conditions holds; asks the kernel first, which saves most waits."""
    if ready := _poll(fd, wanted):
        await trio.lowlevel.checkpoint()
        return ready
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fd)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fd)
        return Ready.W
    await _wait_either(fd)
    return _poll(fd, wanted)


def _poll(fd: int, wanted: Wait) -> Ready:
    """What is ready now. Errors and hang-ups count as readiness, so that libpq meets and reports them."""
    poller = select.poll()
    events = (select.POLLIN if wanted & Wait.R else 0) | (select.POLLOUT if wanted & Wait.W else 0)
    poller.register(fd, events)
    ready = 0
    for _, event in poller.poll(0):
        ready |= Ready.R if event & ~select.POLLOUT else 0
        ready |= Ready.W if event & ~select.POLLIN else 0
    return Ready(ready & wanted)


async def _wait_either(fd: int) -> None:
    """Return when `fd` is readable or writable, whichever comes first."""
    async with trio.open_nursery() as nursery:

        async def first(wait: Callable[[int], Awaitable[None]]) -> None:
            await wait(fd)
            nursery.cancel_scope.cancel()

        nursery.start_soon(first, trio.lowlevel.wait_readable)
        nursery.start_soon(first, trio.lowlevel.wait_writable)
