"""One pool: the connections of one (backend, database, user), opened, lent, reset and closed on Trio.

The planner decides; this does what it decided. Lending and taking back are synchronous, because the relay does both
for every transaction; opening a connection, running the reset query and giving up waiting are tasks.

Used by: pool.pools (one for each key), proxy.session (lends from it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
import trio

from helios_trio.errors import BackendCutOff, BackendLost, HeliosError
from helios_trio.net.readiness import Readiness
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connect import ServerGreeting
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.counters import PoolCounters
from helios_trio.pool.planner import Claim, Planner, PoolLimits, SlotStatus, Ticket, Variant
from helios_trio.pool.refusals import is_final, overdue, turn_away
from helios_trio.pool.reset import ResetHolder
from helios_trio.session.settings import Label

_log = structlog.get_logger(__name__)

Connect = Callable[[Mapping[str, str]], Awaitable[ServerGreeting]]
Cancel = Callable[[BackendConnection], Awaitable[None]]

# Members of SlotStatus by themselves: looking them up in their class costs as much as a call, per query.
_IDLE: Final = SlotStatus.IDLE
_CLOSED: Final = SlotStatus.CLOSED

_TERMINATE: Final = b"X\0\0\0\4"
#: Seconds a reset query may take before its connection is given up.
RESET_TIME_LIMIT: Final = 10.0
#: Seconds before a server that refused is asked again: at first, and at most.
_RETRY_FIRST, _RETRY_MOST = 0.05, 2.0
#: Seconds to tell a server to stop before its connection is closed all the same.
_STOP_TIME_LIMIT: Final = 5.0


class Pool:
    """The server connections of one (backend, database, user)."""

    def __init__(
        self,
        name: tuple[str, str, str],
        backend: Backend,
        limits: PoolLimits,
        *,
        shared: bool,
        reset_query: str | None,
        connect: Connect,
        base_label: Callable[[Mapping[str, str]], Label],
        readiness: Readiness,
        room: Callable[[], int],
        on_freed: Callable[[], None],
        evict_elsewhere: Callable[[], None],
        cancel: Cancel | None = None,
        renamed: dict[int, int] | None = None,
    ) -> None:
        """`reset_query` None: used connections are closed. `room`: connections the backend may still have.

        `on_freed` is called when there is more room, `evict_elsewhere` to have another pool make some; `cancel`
        delivers a cancel request and returns when the server has taken it (None: a busy server is just left).
        """
        self.name = name
        self.backend = backend
        self.planner: Planner[BackendConnection] = Planner(limits, shared)
        self.counters = PoolCounters()
        self.reset_query = reset_query
        #: why no connection is opened and nobody may wait (`pool.cutting_off`); empty: all is well
        self.given_up = ""
        self._connect = connect
        self._base_label = base_label
        self._readiness = readiness
        self._room = room
        self._on_freed = on_freed
        self._evict_elsewhere = evict_elsewhere
        self._cancel = cancel
        #: pid of a server process -> the virtual pid of the session that was moved to it; of all pools together
        self.renamed: dict[int, int] = {} if renamed is None else renamed
        #: servers that are being told to stop
        self.stopping = 0
        self._stopped = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._alarm = trio.Event()
        self._retry_at = self._retry_delay = 0.0
        self.last_error: str = ""
        #: called when the server looks dead: it has ended a connection, or cannot be reached
        self.on_trouble: Callable[[str], None] = lambda reason: None
        #: sessions that belong here
        self.sessions = 0
        self._unused_since: float | None = None

    # -- lending: synchronous ----------------------------------------------------------------------------------

    def take_nowait(self, claim: Claim) -> BackendConnection | None:
        """An idle connection for this session, or None: then `wait` for one."""
        return self.planner.take_nowait(claim)

    def wait(self, ticket: Ticket[BackendConnection]) -> None:
        """Queue; `granted` or `refused` of the ticket is called later. Raises TooManyConnections, BackendCutOff."""
        if self.given_up:
            raise BackendCutOff(self.given_up)
        self.planner.wait(ticket)
        self.counters.waits += 1
        ticket.waiting_since = trio.current_time()
        if not self.planner.shared and self.reset_query is None:
            self.planner.want_spare(ticket.claim.variant)
        self.act()
        self._alarm.set()

    def keep_ready(self, variant: Mapping[str, str], count: int) -> None:
        """Open connections ahead, so that `count` of this variant are idle (sessions are about to come)."""
        self.planner.keep_ready(variant, count)
        self.act()

    def withdraw(self, ticket: Ticket[BackendConnection]) -> None:
        """The session does not want it any more."""
        self.planner.withdraw(ticket)

    def give_back(self, connection: BackendConnection) -> None:
        """The session is done with the connection, which is idle and outside a transaction."""
        connection.holder = None
        if connection.status is _CLOSED:
            return
        if connection.paused:
            connection.unpause()
        if connection.cancels:  # rule 4: not before the server has closed the cancel connection
            self.planner.move(connection, SlotStatus.BUSY)
            return
        side = connection.side
        replies = side.replies
        self._hand_on(
            connection, replies.idle and not (replies.uncertain or side.spoilt or connection.said_fatal)
        )

    def give_back_used(self, connection: BackendConnection) -> None:
        """A whole session has ended: reset the connection before anybody else gets it, or close it."""
        connection.holder = None
        if connection.status is SlotStatus.CLOSED:
            return
        connection.unpause()
        replies = connection.side.replies
        known = not (
            replies.owes_client or replies.uncertain or connection.said_fatal or connection.side.spoilt
        )
        if self.reset_query is None or not known or connection.side.placeholders or connection.congested:
            self.discard(connection, "used" if known else "left in the middle")
            return
        self.planner.move(connection, SlotStatus.BUSY)
        self.counters.resets += 1
        holder = ResetHolder(
            connection, self.reset_query, self._on_reset, trio.current_time() + RESET_TIME_LIMIT
        )
        connection.holder = holder
        holder.start()
        self._alarm.set()

    def _on_reset(self, connection: BackendConnection, succeeded: bool) -> None:
        connection.holder = None
        side = connection.side
        side.forget_prepared()
        side.label, side.tainted = side.base, False
        side.replies.uncertain |= not succeeded
        if not connection.cancels:
            self._hand_on(connection, side.replies.idle and not side.replies.uncertain)

    def cancel_closed(self, connection: BackendConnection, clean: bool) -> None:
        """A cancel request for the connection is over; `clean`: the server closed it itself."""
        connection.cancels -= 1
        if not clean:  # the request may still arrive, and would stop whoever has the connection then
            connection.side.replies.uncertain = True
        if connection.status is SlotStatus.BUSY and not connection.cancels and connection.holder is None:
            replies = connection.side.replies
            self._hand_on(connection, replies.idle and not replies.uncertain)

    def _hand_on(self, connection: BackendConnection, reusable: bool) -> None:
        planner = self.planner
        ticket = planner.give_back(connection, self._readiness.now, reusable=reusable)
        if ticket is None and connection.status is _IDLE:
            if planner.waiting:
                self.act()
        elif ticket is not None:
            self._grant(ticket, connection)
        else:
            self._close(connection, "not reusable")

    def _grant(self, ticket: Ticket[BackendConnection], connection: BackendConnection) -> None:
        ticket.done = True
        self._readiness.refresh()
        self.counters.wait_seconds += max(0.0, self._readiness.now - ticket.waiting_since)
        try:
            ticket.granted(connection)
        except Exception as error:  # rule 40: the session that fails is not the pool
            connection.on_failure(error)

    def discard(self, connection: BackendConnection, reason: str) -> None:
        """Close a connection that cannot be used again.

        A server that is at work does not notice a closed socket: it is told to stop first, and keeps its slot until
        it has.
        """
        connection.holder = None
        if connection.status is SlotStatus.CLOSED:
            return
        if self._cancel is not None and self._nursery is not None and not connection.side.replies.quiet:
            self.planner.move(connection, SlotStatus.BUSY)
            connection.unpause()
            connection.side.replies.uncertain = True  # whoever else waits for it here must not hand it on
            self.stopping += 1
            self._nursery.start_soon(self._stop, self._cancel, connection, reason)
            return
        self.planner.move(connection, SlotStatus.CLOSED)
        self._close(connection, reason)

    async def _stop(self, cancel: Cancel, connection: BackendConnection, reason: str) -> None:
        """Cancel what the server does, then close. A request that cannot be delivered does not hold the slot."""
        try:
            with trio.move_on_after(_STOP_TIME_LIMIT):
                await cancel(connection)
        except (HeliosError, OSError) as error:
            _log.warning(
                "a server could not be told to stop", pool=self.name, pid=connection.pid, error=str(error)
            )
        finally:
            self.stopping -= 1
            self._stopped.set()
            if connection.status is not SlotStatus.CLOSED:
                self.planner.move(connection, SlotStatus.CLOSED)
                self._close(connection, reason)

    async def wait_stopped(self) -> None:
        """Return when no server is being told to stop."""
        while self.stopping:
            self._stopped = trio.Event()
            await self._stopped.wait()

    def _close(self, connection: BackendConnection, reason: str) -> None:
        connection.unregister()
        if not connection.congested and connection.side.replies.idle:
            connection.send(_TERMINATE)
        connection.close()
        self._note_closed(connection, reason)

    def _note_closed(self, connection: BackendConnection, reason: str) -> None:
        self.counters.closed += 1
        self.renamed.pop(connection.pid, None)
        self.counters.bytes_to_server += connection.bytes_out
        self.counters.bytes_to_client += connection.bytes_in
        self.counters.reasons_closed[reason] = self.counters.reasons_closed.get(reason, 0) + 1
        _log.debug("server connection closed", pool=self.name, pid=connection.pid, reason=reason)
        self._on_freed()
        self.act()

    def on_connection_lost(self, connection: BackendConnection, error: Exception | None) -> None:
        """See `pool.connection.ConnectionOwner`. One that was idle is replaced when it is wanted."""
        if connection.status is not SlotStatus.CLOSED:
            self.planner.move(connection, SlotStatus.CLOSED)
            _log.info("server connection lost", pool=self.name, pid=connection.pid, error=str(error or ""))
            self._note_closed(connection, "lost")
            self.on_trouble("a connection was lost")

    def close_idle(self, reason: str) -> None:
        """Close what nobody uses."""
        for connection in self.planner.idle_slots():
            self.discard(connection, reason)

    def reopen(self) -> None:
        """The server is there again: connections are opened at once, whatever failed before."""
        self.given_up = ""
        self._retry_delay = self._retry_at = 0.0
        self.act()

    # -- acting on the plan ------------------------------------------------------------------------------------

    def act(self) -> None:
        """Do what the planner wants now: open connections, make room for them."""
        if self._nursery is None or self.given_up or trio.current_time() < self._retry_at:
            return
        if (victim := self.planner.to_evict()) is not None:
            self.discard(victim, "made room")
            return  # closing it has acted again
        room = self._room()
        if room <= 0 and self.planner.waiting and not self.planner.slots and not self.planner.connecting:
            self._evict_elsewhere()
            room = self._room()
        for variant in self.planner.to_open(room):
            self._nursery.start_soon(self._open, variant)

    async def _open(self, variant: Variant) -> None:
        try:
            greeting = await self._connect(variant)
        except (HeliosError, OSError) as error:
            self._open_failed(variant, error)
            return
        except BaseException:
            self.planner.open_failed(variant)
            raise
        if self.given_up:  # meanwhile: nothing that this server says counts any more
            greeting.transport.close()
            self.planner.open_failed(variant)
            return
        self._retry_delay = self._retry_at = 0.0
        self.counters.opened += 1
        now = trio.current_time()
        connection = BackendConnection(
            greeting,
            backend=self.backend,
            variant=variant,
            base=self._base_label(variant),
            readiness=self._readiness,
            owner=self,
            now=now,
        )
        try:
            connection.start()
            if connection.transport.closed:  # its process was ended, and has said so behind its greeting
                raise BackendLost("the server has ended the connection at once")
        except HeliosError as error:
            connection.close()
            self._open_failed(variant, error)
            return
        ticket = self.planner.opened(connection, variant, now)
        if ticket is not None:
            self._grant(ticket, connection)
        elif connection.status is _CLOSED:
            self._close(connection, "not wanted any more")
        self.act()

    def _open_failed(self, variant: Variant, error: Exception) -> None:
        self.planner.open_failed(variant)
        self.counters.connect_failures += 1
        self.last_error = str(error)
        if is_final(error):
            for ticket in list(self.planner.waiting):
                if ticket.claim.variant == variant or (self.planner.shared and not variant):
                    self.planner.withdraw(ticket)
                    ticket.refused(error)
            return
        if trio.current_time() >= self._retry_at:  # others that were under way fail for the same reason
            _log.warning("cannot connect to server", pool=self.name, backend=self.name[0], error=str(error))
        self._retry_delay = min(max(self._retry_delay * 2, _RETRY_FIRST), _RETRY_MOST)
        self._retry_at = trio.current_time() + self._retry_delay
        self._alarm.set()
        turn_away(self.planner, error)
        self.on_trouble(self.last_error)

    def is_unused(self, now: float, seconds: float) -> bool:
        """Whether nobody has had any business here for that long."""
        if self.sessions or self.planner.total or self.planner.waiting or self.stopping:
            self._unused_since = None
        elif self._unused_since is None:
            self._unused_since = now
        return self._unused_since is not None and now - self._unused_since >= seconds

    def close(self) -> None:
        """Nobody needs the pool any more: `run` returns."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after the pool until cancelled: connects, deadlines, idle times. Closes everything at its end."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                while True:
                    self.act()
                    self._alarm = trio.Event()
                    with trio.move_on_at(self._next_alarm()):
                        await self._alarm.wait()
                    self._look_around(trio.current_time())
        finally:
            self._nursery = None
            for connection in list(self.planner.slots):
                self.discard(connection, "pool closed")

    def _next_alarm(self) -> float:
        """When there is something to do at the latest, unless something happens before."""
        times = [self.planner.next_deadline(), trio.current_time() + 1.0]
        if self._retry_at > trio.current_time():
            times.append(self._retry_at)
        return min(times)

    def _look_around(self, now: float) -> None:
        for ticket in self.planner.overdue(now):
            self.counters.timeouts += 1
            ticket.refused(overdue(self.name, self.planner, self.last_error))
        for connection in self.planner.expired(now):
            self.discard(connection, "idle or old")
        for connection in [slot for slot in self.planner.slots if isinstance(slot.holder, ResetHolder)]:
            if isinstance(connection.holder, ResetHolder) and connection.holder.deadline <= now:
                self.discard(connection, "reset took too long")
