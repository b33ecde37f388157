"""One epoll for all sockets through which bytes merely pass, waited for by one Trio task.

A task switch of Trio costs about 3 microseconds and a query would need two of them; a callback costs a tenth
of that. So sockets that the relay owns are registered here once, and their handlers are called synchronously,
a bounded number of events at a time, with a checkpoint in between so that tasks are never starved. A handler
that fails is told so by its own `on_failure`: one session's bug stays with that session (correctness rule
40).

Used by: pool.connection, proxy.session. Linux only (epoll).
"""

from __future__ import annotations

import select
from typing import Final, Protocol

import trio

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
#: What epoll reports unasked: the peer is gone.
BROKEN: Final = select.EPOLLERR
GONE: Final = select.EPOLLHUP | BROKEN

_BATCH: Final = 256
_BATCHES: Final = 4


class Handler(Protocol):
    """The owner of a registered socket."""

    def on_ready(self, events: int) -> None:
        """The socket is readable, writable or gone. Must not block."""

    def on_failure(self, error: Exception) -> None:
        """`on_ready` raised `error`."""


class Readiness:
    """The epoll and the handlers registered with it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        #: when the current batch of events began, on Trio's clock (seconds): good enough for idle times
        self.now = 0.0

    def __len__(self) -> int:
        return len(self._handlers)

    def add(self, fd: int, handler: Handler, events: int = READ) -> None:
        """Call `handler.on_ready` whenever `fd` has one of `events`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events; none pauses the socket (its end is still reported)."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget the socket; must be called before it is closed."""
        if self._handlers.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self.now = trio.current_time()
                self._serve()
        finally:
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()

    def _serve(self) -> None:
        """What became ready meanwhile is served without a turn of Trio's loop, within bounds."""
        poll, get = self._epoll.poll, self._handlers.get
        for _ in range(_BATCHES):
            ready = poll(0, _BATCH)
            if not ready:
                return
            for fd, events in ready:
                handler = get(fd)
                if handler is not None:  # an earlier handler of this batch may have closed it
                    try:
                        handler.on_ready(events)
                    except Exception as error:
                        handler.on_failure(error)
