"""One epoll for all sockets through which bytes merely pass, waited for by one Trio task.

A task switch of Trio costs about 3 microseconds and a query would need two of them; a callback costs a tenth
of that. So sockets that the relay owns are registered here once, and their handlers are called synchronously,
a bounded number of events at a time, with a checkpoint in between so that tasks are never starved. A handler
that fails is told so by its own `on_failure`: one session's bug stays with that session (correctness rule
40).

A turn of Trio's loop costs more than a query does here, and what a handler sends is mostly answered within
fractions of a millisecond. So, while no Trio task could run anyway, the relay lingers for the next events in its
own epoll: for about a millisecond, which is all that Trio's own sockets and deadlines may be late by.

Used by: pool.connection, proxy.session. Linux only (epoll).
"""

from __future__ import annotations

import select
from time import perf_counter
from typing import Final, Protocol

import trio

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
#: What epoll reports unasked: the peer is gone.
BROKEN: Final = select.EPOLLERR
GONE: Final = select.EPOLLHUP | BROKEN

#: Events taken from epoll at once, and how often that is done while a task of Trio waits for its turn.
_BATCH: Final = 64
_BATCHES: Final = 4
#: Seconds that a turn may go on while no task waits for its own, and that one wait of it may last (epoll's least).
_TURN: Final = 0.001
_LINGER: Final = 0.001


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


class _OtherTasks(trio.abc.Instrument):
    """Whether a task other than the relay's may be waiting for its turn."""

    def __init__(self, relay: trio.lowlevel.Task) -> None:
        self._relay = relay
        self.runnable = True

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        if task is not self._relay:
            self.runnable = True

    def before_io_wait(self, timeout: float) -> None:
        """Trio waits only when no task can run."""
        if timeout > 0:
            self.runnable = False


class Readiness:
    """The epoll and the handlers registered with it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        #: tasks that wait for sockets of their own and must not be late: no lingering meanwhile
        self.in_a_hurry = 0
        #: handlers are being called: what they send can wait for the others, see `flush_later`
        self.in_batch = False
        self._senders: list[Sender] = []
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

    def flush_later(self, sender: Sender) -> None:
        """Call `flush` once, after the handlers of this batch.

        Sending wakes the peer, which the kernel likes to run at once, on this very core. Done in between, that costs
        each handler a processor cache full of somebody else's things.
        """
        self._senders.append(sender)

    async def run(self) -> None:
        """Serve until cancelled."""
        others = _OtherTasks(trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(others)
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self.now = trio.current_time()
                self._serve(others)
        finally:
            trio.lowlevel.remove_instrument(others)
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()

    def _serve(self, others: _OtherTasks) -> None:
        """One turn: what is ready, and what becomes ready meanwhile, within bounds."""
        poll, get = self._epoll.poll, self._handlers.get
        batches, end = 0, perf_counter() + _TURN
        while ready := poll(0 if others.runnable or self.in_a_hurry else _LINGER, _BATCH):
            self.in_batch = True
            for fd, events in ready:
                handler = get(fd)
                if handler is not None:  # an earlier handler of this batch may have closed it
                    try:
                        handler.on_ready(events)
                    except Exception as error:
                        handler.on_failure(error)
            self.in_batch = False
            if self._senders:
                self._flush()
            batches += 1
            hurry = others.runnable or self.in_a_hurry
            if batches >= _BATCHES if hurry else perf_counter() >= end:
                return

    def _flush(self) -> None:
        senders, self._senders = self._senders, []
        for sender in senders:
            try:
                sender.flush()
            except Exception as error:
                sender.on_failure(error)
