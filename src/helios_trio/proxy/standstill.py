"""Bringing a session to a standstill: at a safe point (rule 17), where its server connection can be exchanged.

A session stands still when nothing is owed to it, no transaction is open, and nothing it sends is passed on: what
its client says meanwhile is kept, up to a limit, and then the client is not read from. Whoever wants it (a transfer, a
hold of a whole backend) says so, waits, and lets go; several may want it at the same time.

Used by: proxy.session (tells what happens), migration.fleet (wants it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from helios_trio.errors import HeliosError
from helios_trio.pool.connection import BackendConnection
from helios_trio.session.requests import Need, RequestStream
from helios_trio.wire.codes import Status


class SessionEnded(HeliosError):
    """The client has gone, or was sent away, while somebody waited for the session."""


class AlreadyMoving(HeliosError):
    """Somebody else is exchanging the connection of the session."""


class Budget(Protocol):
    """A limit on what is kept of clients (`proxy.holding`)."""

    def take(self, size: int) -> bool:
        """A client has sent so many bytes; returns whether it may send more."""


class NoBudget:
    """Nothing is kept beyond what has come already: the client is not read from."""

    def take(self, size: int) -> bool:
        """See `Budget`."""
        return False


class Stoppable(Protocol):
    """What a standstill must know of its session."""

    requests: RequestStream

    @property
    def leased_connection(self) -> BackendConnection | None:
        """The connection that works for it now."""

    @property
    def over(self) -> bool:
        """Whether the session has ended."""

    def stop_waiting(self) -> None:
        """Withdraw from the queue of the pool, if it waits there."""

    def gather(self) -> None:
        """Of several connections, have its own work for it."""

    def go_on(self) -> None:
        """Pass on what was kept."""


#: What a session waits for before any of its request has been sent.
_NOTHING_SENT: Final = (Need.LEASE, Need.ROUTE)


class Standstill:
    """Whether a session is to stand still, and whether it does."""

    __slots__ = ("_budget", "_changed", "_session", "_transfer", "_wanted", "kept", "reached", "since")

    def __init__(self, session: Stoppable) -> None:
        self._session = session
        self._wanted = 0
        self._budget: Budget | None = None
        self._changed = trio.Event()
        self._transfer: trio.CancelScope | None = None
        #: how often its client has sent something that was kept, since the standstill was first wanted
        self.kept = 0
        #: it stands still
        self.reached = False
        #: since when its client's requests are kept, on Trio's clock (seconds)
        self.since = 0.0

    @property
    def wanted(self) -> bool:
        """Somebody wants the session to stand still."""
        return self._wanted > 0

    # -- for those who want it ---------------------------------------------------------------------------------

    @property
    def moving(self) -> bool:
        """Its connection is being exchanged."""
        return self._transfer is not None

    @asynccontextmanager
    async def standing(self, budget: Budget | None = None) -> AsyncIterator[None]:
        """The session stands still inside, for one who exchanges its connection.

        If the session ends meanwhile, the block is cancelled. Raises SessionEnded, AlreadyMoving; bound the wait with
        a cancel scope.
        """
        if self._transfer is not None:
            raise AlreadyMoving("the session is being moved already", sqlstate="55006")
        with trio.CancelScope() as self._transfer:
            self.want(budget)
            try:
                await self.wait()
                yield
            finally:
                self._transfer = None
                self.let_go()
                self._wake()
        if self._session.over:
            raise SessionEnded("the session has ended", sqlstate="08006")

    async def wait_undisturbed(self) -> None:
        """Return when nobody is exchanging the session's connection."""
        while self._transfer is not None:
            await self._changed.wait()

    def want(self, budget: Budget | None = None) -> None:
        """The session shall stand still as soon as it can; paired with `let_go`. `budget` limits what is kept."""
        if not self._wanted:
            self.kept = 0
        self._wanted += 1
        self._budget = budget or self._budget
        if self._wanted == 1:
            self.check()

    def let_go(self) -> None:
        """One who wanted it does not any more; with the last one the session goes on."""
        self._wanted -= 1
        if not self._wanted:
            self.reached, self._budget = False, None
            self._session.go_on()

    async def wait(self) -> None:
        """Return when the session stands still. Raises SessionEnded."""
        while not self.reached:
            if self._session.over:
                raise SessionEnded("the session has ended", sqlstate="08006")
            await self._changed.wait()

    def may_keep(self, size: int) -> bool:
        """Whether the client may be read from when so many bytes of it have just been kept."""
        self.kept += 1
        return self._budget is None or self._budget.take(size)

    # -- for the session ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Something has happened: stop the client's requests if this is the moment, or let them go on for now."""
        if not self._wanted or self.reached:
            return
        session, connection = self._session, self._session.leased_connection
        requests = session.requests
        if connection is not None and not connection.side.replies.idle:
            self._while_busy(connection)
        elif requests.need in _NOTHING_SENT and connection is None:
            session.stop_waiting()
            session.gather()
            self.since = trio.current_time()
            self._reach()
        elif requests.need is Need.STANDSTILL or self._stop():
            session.gather()
            self._reach()

    def _while_busy(self, connection: BackendConnection) -> None:
        """Something is owed. Nothing new may begin unless what goes on cannot end without its client."""
        replies, requests = connection.side.replies, self._session.requests
        in_transaction = replies.quiet and replies.status != Status.IDLE
        if in_transaction or replies.copy_in:
            if requests.need is Need.STANDSTILL:
                self._session.go_on()
        elif requests.need is Need.NOTHING and replies.status == Status.IDLE:
            self._stop()

    def _stop(self) -> bool:
        """Keep what the client sends from here; False in the middle of a message or an extended batch."""
        requests = self._session.requests
        if requests.need is not Need.NOTHING or not requests.at_boundary:
            return False
        requests.stand_still()
        self.since = trio.current_time()
        return True

    def _reach(self) -> None:
        self.reached = True
        self._wake()

    def on_end(self) -> None:
        """The session has ended: nobody need wait any more."""
        self.reached = False
        if self._transfer is not None:
            self._transfer.cancel()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
