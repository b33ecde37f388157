"""`Session`: the Trio side of one client. Its socket, its `VirtualSession`, its lease, and what they do to each other.

After the handshake the session lives in callbacks of the relay: bytes from the client go through its `RequestStream`
to the leased connection, bytes from there through the `ReplyStream` back. The session's task sleeps meanwhile; it is
woken when the session ends, and to wait for what a callback cannot wait for.

Used by: proxy.serving (makes and runs it), pool.connection (calls it as lease holder).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

import trio
from attrs import evolve, frozen

from helios_trio.config.words import PoolMode
from helios_trio.errors import BackendLost, HeliosError, ProtocolViolation, ServerRefused
from helios_trio.net.pipe import Pipe
from helios_trio.net.readiness import Readiness
from helios_trio.net.transport import Transport
from helios_trio.pipeline.taps import RequestTap
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus, Ticket
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination
from helios_trio.proxy.greeting import Greeting
from helios_trio.proxy.hub import ListenerHub
from helios_trio.proxy.standstill import Standstill
from helios_trio.session.requests import TEXT_SETTINGS, Need, RequestStream
from helios_trio.session.server_side import ServerSide
from helios_trio.session.switching import PROBE, PinProbe, ask_for_locks, query_frame
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.facts import Facts
from helios_trio.sql.relations import Rows, rewritten
from helios_trio.wire import replies
from helios_trio.wire.backend_messages import ErrorResponse, NotificationResponse
from helios_trio.wire.codes import Status
from helios_trio.wire.error_fields import ErrorFields

#: Notifications kept for a session whose transaction is open, or that does not read.
NOTIFICATIONS_KEPT: Final = 10_000
#: A Flush message.
FLUSH: Final = b"H\0\0\0\4"
#: Seconds for a server to answer a client that has closed its direction of the connection.
LAST_ANSWERS_TIME: Final = 1.0
#: Bytes of a client that are kept while its request waits; beyond, it is not read from.
HELD_LIMIT: Final = 64 * 1024


# Members of enumerations by themselves: looking them up in their class costs as much as a call, per query.
_NOTHING: Final = Need.NOTHING
_CONFIRMATION: Final = Need.CONFIRMATION
_STATEMENT: Final = PoolMode.STATEMENT
_IDLE: Final = Status.IDLE


class Ending(Enum):
    """Why a session ended; the metrics count them."""

    TERMINATED = "terminated"
    CLIENT_LOST = "client lost"
    SERVER_LOST = "server lost"
    REFUSED = "refused"
    PROTOCOL = "protocol violation"
    TIMED_OUT = "timed out"
    SHUT_DOWN = "shut down"
    KILLED = "killed"
    CRASHED = "crashed"


@frozen
class SessionPolicy:
    """What of the configuration a session must know."""

    mode: PoolMode
    queue_timeout: float
    max_prepared: int
    cleanse_always: bool = False


class Session(Pipe):
    """One client, from the end of its authentication to its goodbye."""

    __slots__ = (
        "_connection",
        "_ended",
        "_error",
        "_half_closed",
        "_last",
        "_learning",
        "_notifications",
        "_probing",
        "_settled",
        "_standstill",
        "_start_notices",
        "_ticket",
        "active_since",
        "crash",
        "destination",
        "ending",
        "ends_when_idle",
        "hub",
        "lender",
        "nursery",
        "policy",
        "pool",
        "relations",
        "requests",
        "secret",
        "shared",
        "since",
        "tap",
        "virtual",
        "virtual_pid",
    )

    def __init__(
        self,
        transport: Transport,
        readiness: Readiness,
        virtual: VirtualSession,
        pool: Pool,
        policy: SessionPolicy,
        *,
        virtual_pid: int,
        secret: bytes,
        facts: FactsCache,
        on_databases_gone: Callable[[tuple[str, ...]], None],
        hub: ListenerHub,
        destination: Destination,
    ) -> None:
        super().__init__(transport, readiness)
        self.destination = destination
        #: when it began, on Trio's clock (seconds)
        self.since = trio.current_time()
        #: where it hears notifications from, in the shared modes
        self.hub = hub
        self._notifications: list[tuple[str, bytes]] = []
        self.virtual = virtual
        #: where it belongs, and where its connections come from: the same, unless its requests are routed
        self.pool = self.lender = pool
        self.policy = policy
        self.shared = destination.shared
        self.virtual_pid = virtual_pid
        self.secret = secret
        self.requests = RequestStream(
            virtual, facts, self._lease_nowait, shared=self.shared, max_prepared=policy.max_prepared
        )
        self.requests.cleanse_always = policy.cleanse_always
        self.requests.on_label = self._on_label
        self.requests.on_databases_gone = on_databases_gone
        self.requests.on_checked = self._on_checked
        self.requests.on_ahead = self._send_ahead
        self.requests.on_show = self.show
        self.requests.on_question = self.answer
        #: what relations that exist nowhere show, by name without schema (helios_proxy.circuit_breaker_status)
        self.relations: Mapping[str, Callable[[], Rows]] = MappingProxyType({})
        self.ending: Ending | None = None
        self.crash: Exception | None = None
        #: close as soon as no transaction is open (drain)
        self.ends_when_idle = False
        #: when the last thing happened, on Trio's clock (seconds)
        readiness.refresh()
        self.active_since = readiness.now
        self._connection: BackendConnection | None = None
        self._last: BackendConnection | None = None
        self._ticket: Ticket[BackendConnection] | None = None
        self._standstill: Standstill | None = None
        self._probing = False
        self._learning = False
        self._start_notices: list[bytes] = []
        self._half_closed = False
        self._ended = trio.Event()
        self._settled = trio.Event()
        self._error: HeliosError | None = None
        #: follows its requests; None: nobody does
        self.tap: RequestTap | None = None
        #: everything that belongs to this session runs here
        self.nursery: trio.Nursery | None = None

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self, rest: bytes) -> None:
        """Serve the client until it goes or must go; `rest` is what it sent too early to be served before.

        Gives the lease back whatever happens. Raises what a callback raised.
        """
        self.register()
        self.readiness.refresh()
        try:
            if rest:
                if self.tap is not None:
                    self.tap.note_early(rest)
                self._feed(rest)
            await self._ended.wait()
        finally:
            self.unregister()
            if self._standstill is not None:
                await self._leave_in_peace(self._standstill)
            self.give_up_lease()
            if self.ending not in (Ending.TERMINATED, Ending.CLIENT_LOST):
                with trio.move_on_after(_FAREWELL_TIME) as scope:
                    scope.shield = True
                    await self._farewell()
            self.transport.close()
            if self.tap is not None:
                error = self._error
                self.tap.note_end((self.ending or Ending.KILLED).value, error.sqlstate if error else "")
        if self.crash is not None:
            raise self.crash

    async def _leave_in_peace(self, standstill: Standstill) -> None:
        """Who is exchanging the connection puts right what was touched before it is given up."""
        with trio.move_on_after(_PEACE_TIME) as scope:
            scope.shield = True
            await standstill.wait_undisturbed()

    async def _farewell(self) -> None:
        """Say why, if there is something to say, to somebody who is there to hear it."""
        last = b"".join(bytes(part) for part in self._backlog)
        if self._error is not None:
            last += ErrorResponse(ErrorFields(tuple(self._error.fields().items()))).encode()
        try:
            await self.transport.send_all(last)
        except HeliosError:
            return

    def end(self, ending: Ending, error: HeliosError | None = None) -> None:
        """The session is over; `error` is what the client is told."""
        if self.ending is None:
            self.ending = ending
            self._error = error
            connection = self._connection
            if connection is not None and connection.side.replies.mid_message:
                self._error = None  # it would be read as the rest of the message
            self.unregister()
            self._ended.set()
            self._settled.set()
            if self._standstill is not None:
                self._standstill.on_end()

    def drain(self) -> None:
        """The proxy is going down: end as soon as no transaction is open."""
        self.ends_when_idle = True
        if self.idle:
            self.end(Ending.SHUT_DOWN, _shutting_down())

    def shut_down(self) -> None:
        """The proxy cannot wait any longer."""
        self.end(Ending.SHUT_DOWN, _shutting_down())

    async def learn_greeting(self) -> Greeting:
        """What the server reports to a session with these settings, before it is greeted.

        In a shared mode the connection is given back. Raises what came in the way.
        """
        connection = self._connection
        assert connection is not None
        self._start_notices = connection.greeting.notices
        if self.shared and (lead := self.requests.settle()):
            self._learning = True
            connection.send(lead)
            await self._settled.wait()
            self._learning = False
            self.requests.need = Need.NOTHING
            if self._error is not None:
                raise self._error
        reported = connection.side.parameters
        parameters = {name: reported[name.lower()] for name in connection.greeting.parameters}
        if self.shared:
            self._release()
        return Greeting(parameters, b"".join(self._start_notices))

    def show(self, name: str) -> str | None:
        """The value of a parameter of the proxy's own (SHOW helios.backend); None: there is none of that name."""
        match name:
            case "helios.backend":
                return self.destination.backend.name
            case "helios.session":
                return str(self.virtual.id)
            case "helios.pool_mode":
                return self.policy.mode.value
        return None

    def answer(self, facts: Facts, text: bytes) -> str | None:
        """A query that has the proxy's answer to a question about itself in it; None: it has none."""
        if facts.explains_route:
            return self.explain_route(facts, text)
        asked = rewritten(text, self._rows_of)
        return None if asked == text else asked.decode()

    def explain_route(self, facts: Facts, text: bytes) -> str | None:
        """What EXPLAIN (ROUTE) shows, as a query; None: requests are not routed."""
        return None

    def _rows_of(self, name: str) -> Rows | None:
        relation = self.relations.get(name)
        return None if relation is None else relation()

    @property
    def idle(self) -> bool:
        """Nothing is asked, nothing is owed, no transaction is open."""
        if self._ticket is not None or self.requests.holding:
            return False
        return self._connection is None or (self._connection.side.replies.idle and self.requests.at_boundary)

    @property
    def answered(self) -> bool:
        """No request of its client is waiting, held or owed an answer; a transaction, or a batch, may be open."""
        if self._ticket is not None or self.requests.holding:
            return False
        connection = self._connection
        return connection is None or connection.side.replies.quiet or not connection.side.replies.owes_client

    @property
    def route_taken(self) -> str:
        """Why its last request went where it went; empty: all of its requests go to one server."""
        return ""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open that only waits for its client."""
        connection = self._connection
        return (
            connection is not None
            and connection.side.replies.quiet
            and connection.side.replies.status != Status.IDLE
        )

    @property
    def waiting(self) -> bool:
        """Whether the session waits for a server connection."""
        return self._ticket is not None

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self.ending is not None

    @property
    def leased_connection(self) -> BackendConnection | None:
        """The connection that works for it now."""
        return self._connection

    @property
    def parked(self) -> BackendConnection | None:
        """A connection of its own that does not work for it now."""
        return None

    @property
    def standstill(self) -> Standstill:
        """How others bring this session to a safe point."""
        if self._standstill is None:
            self._standstill = Standstill(self)
        return self._standstill

    @property
    def served_by(self) -> str:
        """Name of the backend that its last request went to, or the next one will."""
        return self.lender.backend.name

    @property
    def leased(self) -> tuple[Pool, BackendConnection] | None:
        """See `proxy.cancels.Cancellable`."""
        return None if self._connection is None else (self.lender, self._connection)

    # -- from the client ---------------------------------------------------------------------------------------

    def on_bytes(self, data: bytes) -> None:
        """See `net.pipe.Pipe`."""
        self.active_since = self.readiness.now
        requests = self.requests
        if requests.need is not _NOTHING:
            self._feed(data)
            return
        out = requests.feed(data)
        connection = self._connection
        if requests.need is _NOTHING and connection is not None and not self._half_closed:
            if out:
                connection.send(out)
                if connection._backlog:
                    self.pause()
        else:
            self._forward(out)
        if self._standstill is not None:
            self._standstill.check()

    def _feed(self, data: bytes) -> None:
        requests = self.requests
        waiting = requests.need is not Need.NOTHING
        out = requests.feed(data)
        if waiting:
            if requests.held > HELD_LIMIT or not (
                self._standstill is None or self._standstill.may_keep(len(data))
            ):
                self.pause()
            return
        self._forward(out)

    def _resume(self) -> None:
        """What stopped the request stream is there."""
        self._forward(self.requests.resume())
        if self.requests.need is Need.NOTHING and not self._stopped:
            self.unpause()

    def _forward(self, out: bytes) -> None:
        connection = self._connection
        if out and connection is not None:
            connection.send(out)
            if connection.congested:
                self.pause()
        need = self.requests.need
        if need is not Need.NOTHING:
            self._provide(need)
        elif self._half_closed:
            self._close_requests()

    def _provide(self, need: Need) -> None:
        if need is Need.END:
            self.end(Ending.TERMINATED)
        elif need is Need.VIOLATION:
            self.pause()
            if self._connection is not None and self.virtual.in_batch:
                self._connection.send(FLUSH)
            self._end_violation()
        elif need is Need.LEASE and self._ticket is None:
            now = trio.current_time()
            elsewhere = self.lender is not self.pool
            deadline = now + self.policy.queue_timeout
            ticket = Ticket(self.virtual, deadline, self._granted, self._refused, elsewhere)
            self._ticket = ticket
            try:
                self.lender.wait(ticket)
            except HeliosError as error:
                self._refused(error)
            if self.tap is not None and self._ticket is not None:
                self.tap.note_waiting()
        elif need is Need.EXACT_LEASE:
            self._change_lease()
        elif need is Need.HUB and self.nursery is not None:
            self.nursery.start_soon(self._listen)

    def _change_lease(self) -> None:
        """Give the connection back for one that was opened with this client's own start-up parameters."""
        connection = self._connection
        assert connection is not None
        self.requests.detach()
        self._connection = None
        self.virtual.exact = True
        self.lender.give_back(connection)
        self.requests.need = Need.LEASE
        self._provide(Need.LEASE)

    async def _listen(self) -> None:
        """The hub must listen before the client's LISTEN runs."""
        channels = self.requests.wanted_channels
        try:
            await self.hub.listen(channels, self)
        except HeliosError as error:
            self.end(Ending.REFUSED, error)
            return
        self.requests.hub_channels |= frozenset(channels)
        self._resume()

    def _end_violation(self) -> None:
        """What came before the message that cannot be read is answered first, as by PostgreSQL."""
        if self._connection is None or self._connection.side.replies.quiet:
            self.end(Ending.PROTOCOL, self.requests.violation)

    @property
    def _stopped(self) -> bool:
        """Whether the client must not be read, for another reason than that its request waits."""
        congested = self._connection is not None and self._connection.congested
        return congested or self._half_closed or self.ending is not None

    def on_end(self, error: Exception | None) -> None:
        """See `net.pipe.Pipe`: the client has gone, or will say no more.

        As PostgreSQL does, what it has asked for is still answered: it may have closed only its own direction.
        """
        if error is not None or self.ending is not None or self._half_closed or self.requests.said_goodbye:
            self.end(Ending.CLIENT_LOST)
            return
        self._half_closed = True
        self.pause()
        if self.requests.need is Need.NOTHING:
            self._close_requests()

    def _close_requests(self) -> None:
        """All that a client asked for which closed its direction is with the server."""
        connection = self._connection
        if connection is None or connection.side.replies.quiet or self.nursery is None:
            self.end(Ending.CLIENT_LOST)
            return
        self.requests.said_goodbye = True
        self.nursery.start_soon(self._await_last_answers)

    async def _await_last_answers(self) -> None:
        """Give the server a moment to answer, then stop what it does: nobody may be there to read it."""
        connection = self._connection
        if connection is not None:
            connection.end_of_requests()
        await trio.sleep(LAST_ANSWERS_TIME)
        self.end(Ending.CLIENT_LOST)

    def on_congested(self) -> None:
        """See `net.pipe.Pipe`: the client does not take its answers, so the server is not read meanwhile."""
        if self._connection is not None:
            self._connection.pause()

    def on_drained(self) -> None:
        """See `net.pipe.Pipe`: the client takes bytes again, so the server may be read again."""
        if self._notifications and (self._connection is None or self._connection.side.replies.idle):
            self._deliver_notifications()
        if self._connection is not None:
            self._connection.unpause()

    def on_failure(self, error: Exception) -> None:
        """See `net.readiness.Handler`: a bug stays with its session (rule 40)."""
        self.crash = error
        self.end(Ending.CRASHED, HeliosError("internal error of the proxy", severity="FATAL"))

    # -- the lease ---------------------------------------------------------------------------------------------

    def hold(self, connection: BackendConnection) -> None:
        """The connection is this session's from now on (session mode: for all its life)."""
        connection.holder = self
        self._connection = connection
        if not self.shared and connection.pid != self.virtual_pid:
            self.pool.renamed[connection.pid] = self.virtual_pid
        if self.requests.server is not connection.side:
            self.requests.attach(connection.side)

    def _lease_nowait(self) -> ServerSide | None:
        """An idle connection; the one used last, if nobody had it since, carries all that is needed."""
        connection = self._last
        if (
            connection is None
            or connection.side.last_session != self.virtual.id
            or self.virtual.exact
            or connection.owner is not self.lender
            or not self.lender.planner.take_again_nowait(connection)
        ):
            connection = self.lender.take_nowait(self.virtual)
            if connection is None:
                return None
            self._last = connection
        connection.holder = self
        self._connection = connection
        return connection.side

    def _granted(self, connection: BackendConnection) -> None:
        self._ticket = None
        self.active_since = self.readiness.now
        if self.tap is not None:
            self.tap.note_granted()
        self.hold(connection)
        self._resume()

    def _refused(self, error: Exception) -> None:
        self._ticket = None
        self.end(Ending.REFUSED, error if isinstance(error, HeliosError) else BackendLost(str(error)))

    def gather(self) -> None:
        """It stands still, for somebody who may exchange its connection: of several, its own is meant."""

    def stop_waiting(self) -> None:
        """Withdraw from the queue of the pool; `go_on` queues again."""
        if self._ticket is not None:
            self.lender.withdraw(self._ticket)
            self._ticket = None

    def go_on(self) -> None:
        """The standstill is over: pass on what the client has sent meanwhile."""
        if self.ending is not None:
            return
        if self._connection is not None and self._connection.status is SlotStatus.CLOSED:
            self.on_server_lost(None)  # it was lost meanwhile, and nobody had another server for the session
            return
        if self.requests.need is Need.STANDSTILL:
            self._resume()
        elif self.requests.need is Need.LEASE and self._ticket is None:
            self._provide(Need.LEASE)

    def abort_transaction(self) -> bool:
        """Have the open transaction aborted: it holds nothing any more, and waits for its client to say ROLLBACK.

        False when there is none, or something is running in it. Savepoints go with it.
        """
        connection = self._connection
        if connection is None or not self.in_transaction:
            return False
        for text in ("ROLLBACK", "BEGIN", _ABORT):
            connection.side.replies.push(replies.QUERY | replies.SWALLOW)
            connection.send(query_frame(text))
        return True

    def move_to(self, destination: Destination, pool: Pool, connection: BackendConnection | None) -> None:
        """From here on the session belongs to another pool, and has this connection there, or none yet.

        Only at a standstill. Its old connection is the caller's to give back.
        """
        self.destination = destination
        self.requests.detach()
        self._connection = self._last = None
        self.pool.sessions -= 1
        pool.sessions += 1
        self.pool = self.lender = pool
        if connection is not None:
            self.hold(connection)

    def give_up_lease(self) -> None:
        """The session is over: what becomes of its connection. May be called again."""
        self.stop_waiting()
        if self.requests.hub_channels:
            self.hub.leave(self, self.requests.hub_channels)
            self.requests.hub_channels = frozenset()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        clean = self.requests.at_boundary and connection.side.replies.idle and not self.virtual.probe_wanted
        self.requests.detach()
        if self.shared and clean and not self.virtual.pinned:
            self.lender.give_back(connection)
        elif self.requests.at_boundary:
            self.lender.give_back_used(connection)
        else:
            self.lender.discard(connection, "client left in the middle")

    def _release(self) -> None:
        """Between transactions: somebody else may have the connection."""
        connection = self._connection
        assert connection is not None
        self.requests.detach()
        self._connection = None
        self.lender.give_back(connection)

    # -- from the server (pool.connection.LeaseHolder) ----------------------------------------------------------

    @property
    def _at_rest(self) -> bool:
        """Somebody else decides what becomes of the session."""
        return self._standstill is not None and self._standstill.reached

    def on_reply_bytes(self, data: bytes) -> None:
        """Bytes for the client."""
        if self._at_rest and self._connection is not None and self._connection.said_fatal:
            return
        self.send(data)
        if self._backlog and self._connection is not None:
            self._connection.pause()
        if self.requests.violation is not None:
            self._end_violation()
        if self._standstill is not None:
            self._standstill.check()

    def on_server_ready(self) -> None:
        """Nothing is owed any more: in a shared mode the connection may go."""
        counters = self.lender.counters
        counters.queries += 1
        counters.times.append(self.readiness.now - self.active_since)
        self.active_since = self.readiness.now
        if self.tap is not None:
            self.tap.note_answered(self.lender.backend)
        connection, requests = self._connection, self.requests
        if self._learning:
            self._settled.set()
            return
        if connection is None or self.ending is not None or requests.said_goodbye:
            return
        if connection.side.replies.status == _IDLE:
            counters.transactions += 1
            if self.shared and requests.between:
                self._after_transaction(connection)
            elif self.virtual.locks_in_doubt and requests.between and not self.shared:
                self.virtual.locks_in_doubt = False
                connection.send(ask_for_locks(connection.side, self._on_locks))
            if self._notifications:
                self._deliver_notifications()
            if self.ends_when_idle and self.idle:
                self.end(Ending.SHUT_DOWN, _shutting_down())
        elif self.policy.mode is _STATEMENT:
            self.end(
                Ending.PROTOCOL,
                ProtocolViolation(
                    "transaction blocks not allowed in statement pooling mode", sqlstate="0A000"
                ),
            )
        if requests.need is _CONFIRMATION and connection is self._connection:
            self._resume()
        if self._standstill is not None:
            self._standstill.check()

    def _after_transaction(self, connection: BackendConnection) -> None:
        """Give the connection back, unless something keeps the session on it, or may do so."""
        virtual = self.virtual
        if virtual.probe_wanted:
            self._probe(connection)
        elif virtual.pins or virtual.bound:
            self.requests.keep_sequences()
        elif not connection._backlog:
            self._release()

    def _probe(self, connection: BackendConnection) -> None:
        """Something ran that may keep the session on this connection: ask the server what is there."""
        if self._probing:
            return
        self._probing = True
        self.virtual.probe_wanted = False
        connection.side.replies.watch(replies.QUERY | replies.SWALLOW, PinProbe(self._on_probed))
        connection.side.unnamed = None
        connection.send(query_frame(PROBE))

    def _send_ahead(self, frames: bytes) -> None:
        """See `RequestStream.on_ahead`; a server that has heard the end of all requests waits for nothing more."""
        if self._connection is not None and not self.requests.said_goodbye:
            self._connection.send(frames)

    def _on_checked(self) -> None:
        """A statement has been described again: the message that waits for it can be judged."""
        if self.requests.need is Need.CONFIRMATION and self.ending is None:
            self._resume()

    def _on_probed(self, pins: dict[str, int] | None) -> None:
        self._probing = False
        self.virtual.pins = {"unknown state": 1} if pins is None else pins
        if pins is not None:
            self._on_locks("advisory locks" in pins)

    def _on_locks(self, held: bool) -> None:
        """The server has told, between two transactions, whether it holds advisory locks for this session."""
        self.virtual.may_hold_locks, self.virtual.locks_in_doubt = held, False

    def _on_label(self, error: bytes | None, notices: list[bytes]) -> None:
        """The settings that were sent ahead were taken, or not: then the session must not go on with others."""
        if self._learning:
            self._start_notices = notices
        if error is None:
            return
        reason = ErrorFields.decode(error)
        if self._learning:
            fatal = {"S": "FATAL", "V": "FATAL"}
            report = ErrorFields(tuple((name, fatal.get(name, text)) for name, text in reason.pairs))
            self._error = ServerRefused(reason.message, report=report.encode(), sqlstate=reason.sqlstate)
            return
        self.end(
            Ending.SERVER_LOST,
            HeliosError(
                f"the settings of this session could not be restored: {reason.message}",
                sqlstate=reason.sqlstate,
                severity="FATAL",
            ),
        )

    def on_parameter(self, name: str, frame: bytes, swallowed: bool) -> bytes:
        """ParameterStatus: passed on when it is news for the client."""
        connection = self._connection
        if connection is None:
            return b""
        value = connection.side.parameters[name]
        reported = self.virtual.reported
        if swallowed or (self.shared and reported.get(name) == value):
            return b""
        reported[name] = value
        if name in TEXT_SETTINGS:
            self.requests.note_text_settings()
        return frame

    def on_notification(self, frame: bytes) -> bytes:
        """NotificationResponse: in shared modes they come from the listener connection."""
        return b"" if self.shared else self._with_virtual_pid(frame)

    def _with_virtual_pid(self, frame: bytes) -> bytes:
        """A session that was moved is still known by the pid its client was told (rule 4)."""
        renamed = self.pool.renamed
        if not renamed:
            return frame
        found = NotificationResponse.decode(frame[5:])
        return evolve(found, pid=renamed.get(found.pid, found.pid)).encode()

    def on_hub_notification(self, channel: str, frame: bytes) -> None:
        """See `proxy.hub.Subscriber`: kept while a transaction is open, as PostgreSQL does."""
        self._notifications.append((channel, frame))
        if len(self._notifications) > NOTIFICATIONS_KEPT:
            self.end(
                Ending.REFUSED,
                HeliosError("too many notifications are waiting", sqlstate="53200", severity="FATAL"),
            )
            return
        if not self.congested and (self._connection is None or self._connection.side.replies.idle):
            self._deliver_notifications()

    def _deliver_notifications(self) -> None:
        listening = self.virtual.state.listening
        frames = b"".join(frame for channel, frame in self._notifications if channel in listening)
        self._notifications.clear()
        if frames and self.ending is None:
            self.send(frames)

    def on_hub_lost(self) -> None:
        """See `proxy.hub.Subscriber`."""
        self.end(
            Ending.SERVER_LOST,
            HeliosError(
                "terminating connection because the listener connection was lost",
                sqlstate="57P01",
                severity="FATAL",
                detail="Notifications may have been missed.",
            ),
        )

    def on_server_notice(self, frame: bytes) -> bytes | None:
        """NoticeResponse: passed on as it is."""
        return None

    def on_server_error(self, frame: bytes, head: int) -> bytes | None:
        """ErrorResponse: the open unit has failed; it is passed on as it is."""
        self.lender.counters.errors += 1
        if self.tap is not None:
            self.tap.note_error(frame)
        if self.virtual.following:
            self.virtual.failed = True
        if head & (replies.PARSE | replies.WATCH) == replies.PARSE and self._connection is not None:
            self._connection.side.unnamed = None  # that of a name is watched
            self.virtual.statements.pop(b"", None)
        return None

    def on_server_lost(self, error: Exception | None) -> None:
        """The connection is gone. What the server said about it has been forwarded, but for a session at rest."""
        if self._at_rest:  # whoever holds it may have another server for it; `go_on` finds out
            return
        connection, self._connection = self._connection, None
        self.requests.detach()
        if connection is not None and connection.side.replies.mid_message:
            self.end(Ending.SERVER_LOST)  # a report would be read as the rest of the message
        elif self.requests.said_goodbye:
            self.end(Ending.TERMINATED)
        elif connection is not None and connection.said_fatal:
            self.end(Ending.SERVER_LOST)
        else:
            self.end(
                Ending.SERVER_LOST,
                BackendLost(
                    "server closed the connection unexpectedly", detail=str(error) if error else None
                ),
            )

    def on_server_congested(self) -> None:
        """The server does not take the requests, so the client is not read meanwhile."""
        self.pause()

    def on_server_drained(self) -> None:
        """The server takes bytes again, so the client may be read again; it may even have answered already."""
        if self._connection is not None and self._connection.side.replies.idle:
            self.on_server_ready()
        if self.requests.need is Need.NOTHING and not self._stopped:
            self.unpause()

    def on_crash(self, error: Exception) -> None:
        """A callback of the connection failed: the connection is closed already."""
        self._connection = None
        self.on_failure(error)


#: Seconds for a transfer to find its end when the session is over.
_PEACE_TIME: Final = 6.0
#: Leaves a transaction aborted; the server's log says why.
_ABORT: Final = "DO $$BEGIN RAISE 'transaction aborted so that its session can be moved'; END$$"
#: Seconds for the last words to a client.
_FAREWELL_TIME: Final = 2.0


def _shutting_down() -> HeliosError:
    return HeliosError(
        "terminating connection due to administrator command", sqlstate="57P01", severity="FATAL"
    )
