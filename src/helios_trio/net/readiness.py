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

#: Events taken from epoll at once, and how often that is done before other tasks get their turn.
_BATCH: Final = 64
_BATCHES: Final = 4


class Sender(Protocol):
    """Somebody with bytes to send when all handlers of a batch have been called."""

    def flush(self) -> None:
        """Send them."""

    def on_failure(self, error: Exception) -> None:
        """`flush` raised `error`."""


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
        #: handlers are being called: what they send can wait for the others, see `flush_later`
        self.in_batch = False
        self._senders: list[Sender] = []
        #: when the current batch of events began, on Trio's clock (seconds); old in every task but this: `refresh`
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

    def flush_later(self, sender: Sender) -> None:
        """Call `flush` once, after the handlers of this batch.

        Sending wakes the peer, which the kernel likes to run at once, on this very core. Done in between, that costs
        each handler a processor cache full of somebody else's things.
        """
        self._senders.append(sender)

    def refresh(self) -> None:
        """Look at the clock: for tasks that begin something whose time is measured."""
        self.now = trio.current_time()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._serve()
        finally:
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()

    def _serve(self) -> None:
        """What became ready meanwhile is served without a turn of Trio's loop, within bounds."""
        poll = self._epoll.poll
        for _ in range(_BATCHES):
            ready = poll(0, _BATCH)
            if not ready:
                return
            self.refresh()
            self._call(ready)
            if self._senders:
                self._flush()

    def _call(self, ready: list[tuple[int, int]]) -> None:
        get = self._handlers.get
        self.in_batch = True
        for fd, events in ready:
            handler = get(fd)
            if handler is not None:  # an earlier handler of this batch may have closed it
                try:
                    handler.on_ready(events)
                except Exception as error:
                    handler.on_failure(error)
        self.in_batch = False

    def _flush(self) -> None:
        senders, self._senders = self._senders, []
        for sender in senders:
            try:
                sender.flush()
            except Exception as error:
                sender.on_failure(error)
