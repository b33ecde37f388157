"""`RoutedSession`: a session whose requests go to several servers, each to the one that suits it.

Before each request that is not part of something open it finds out where the request goes, and takes a connection
there: from the pool where it belongs, which takes its writes, or from that of another server for one read. Settings
and prepared statements follow to whatever connection it gets, as they do in transaction mode. In session mode the
connection that takes the writes is its own from first to last: parked while a read is served elsewhere.

What a standby refuses because it writes after all, and what it breaks off because of its own recovery, is sent to the
server that takes writes, and the client never knows (rules 33, 35).

Used by: composition.directing (has `composition.recovering.Recovering` make these).
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from helios_trio.config.words import PoolMode
from helios_trio.errors import HeliosError
from helios_trio.failover.asked import Names
from helios_trio.failover.replay import ready, report
from helios_trio.failover.replies import Difference
from helios_trio.failover.session import RecoverableSession
from helios_trio.features.routing.explain import explaining_query, explanation
from helios_trio.features.routing.own_floor import OwnFloor
from helios_trio.features.routing.router import Manner, Router
from helios_trio.features.routing.search import search
from helios_trio.pipeline.routing import Decision, Question
from helios_trio.pipeline.taps import Admission
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination
from helios_trio.proxy.session import Ending
from helios_trio.session.batches import UNKNOWN, Asked, first_request
from helios_trio.session.requests import Need
from helios_trio.session.server_side import ServerSide
from helios_trio.sql.facts import Facts
from helios_trio.sql.normalise import highest_parameter
from helios_trio.wire.codes import Status
from helios_trio.wire.error_fields import ErrorFields

_log = structlog.get_logger(__name__)

#: A standby cannot do this: it writes, or is not supported in recovery (unlogged tables, SERIALIZABLE).
_REFUSALS: Final = frozenset({"25006", "0A000"})
#: A standby has broken a read off, because what it replays is in the way (PostgreSQL docs: "Handling Query Conflicts").
_CONFLICTS: Final = frozenset({"40001", "40P01"})
#: Routine that says 0A000 of a prepared statement whose columns have changed: that is the client's to hear.
_STALE_PLAN: Final = "RevalidateCachedQuery"


class RoutedSession(RecoverableSession):
    """See the module."""

    __slots__ = (
        "_abandoned",
        "_admitted",
        "_asking",
        "_choice",
        "_fingerprint",
        "_only_writer",
        "_parked",
        "_plain",
        "_reads",
        "_served_by",
        "_why",
        "decision",
        "keeps",
        "manner",
        "own",
        "router",
    )

    def __init__(self, *arguments: Any, router: Router, **parameters: Any) -> None:
        """See `RecoverableSession`."""
        super().__init__(*arguments, **parameters)
        self.router = router
        #: session mode: one connection is its own from first to last
        self.keeps = self.policy.mode is PoolMode.SESSION
        #: see `router.RoutedClient`
        self.manner: Manner | None = None
        #: what was decided of the last request that was a read
        self.decision: Decision | None = None
        self.requests.route = self._route
        #: its own connection while a read is served elsewhere
        self._parked: BackendConnection | None = None
        #: where the next request goes, found out by the task that waited for it; and whether that is where it belongs
        self._choice: tuple[Decision, bool] | None = None
        self._asking = False
        #: all that was sent over this connection is reads that stand by themselves
        self._plain = False
        #: its request cannot write
        self._reads = False
        #: what it has written
        self.own = OwnFloor(router.freshness)
        #: why a standby is being left: what it still says does not count
        self._abandoned = ""
        #: until the next quiet moment everything goes to the server that takes writes
        self._only_writer = False
        self._served_by = ""
        #: why its request, or the transaction around it, went where it went
        self._why = ""
        #: the backend where its request was let in, and which statement that is
        self._admitted = ""
        self._fingerprint: str | None = None

    def show(self, name: str) -> str | None:
        """See `Session`."""
        if name == "helios.last_route":
            return "" if self.decision is None else self.decision.backend or ""
        if name == "helios.floor":
            return "" if self.own.floor is None else str(self.own.floor)
        return super().show(name)

    def explain_route(self, facts: Facts, text: bytes) -> str | None:
        """See `Session`."""
        inner = facts.explains_route
        if inner is None:
            return None
        asked = Asked((self.facts_of(inner),), text)
        question = self.router.question(self, asked, self.readiness.now)
        if not question.must_write and self.router.wants_own_writes(self, question):
            question.floor = self.own.floor
        lines = explanation(self.router.explain(self, question), question)
        if self.virtual.pinned and self._connection is not None:
            bonds = ", ".join((*self.virtual.pins, *self.virtual.bound))
            lines[0] = f"Route to {self._connection.backend.name}: the session stays there ({bonds})"
        return explaining_query(lines, highest_parameter(inner))

    @property
    def route_taken(self) -> str:
        """See `Session`."""
        if self._reads and self.decision is not None and self.decision.fell_back and not self.reading:
            return f"{self._why}, and no standby would do"
        return self._why

    @property
    def parked(self) -> BackendConnection | None:
        """See `Session`."""
        return self._parked

    @property
    def reading(self) -> bool:
        """Its connection, or the one it waits for, is not where it belongs."""
        return self.lender is not self.pool

    # -- where the next request goes ---------------------------------------------------------------------------

    def _route(self, data: bytes, at: int) -> bool:
        """See `RequestStream.route`."""
        connection = self._connection
        if connection is not None and not self._may_leave(connection):
            if self.reading:
                return self._stays_on_reader(connection, data, at)
            self.own.wrote, self._reads = True, False
            return True
        if self._asking:
            return False
        asked = first_request(data, at, self.requests.facts_of, self.virtual.statements)
        if asked is None:
            if not self._half_closed:
                return False
            asked = UNKNOWN  # there is no more to come
        if connection is not None:
            self._release()
        chosen = self._chosen_pool()
        if chosen is not None:
            self._go(*chosen)
        elif not self._decide(asked):
            return False
        return self.router.admission is None or self._enter(self.router.admission, asked, len(data))

    def _may_leave(self, connection: BackendConnection) -> bool:
        """Nothing binds the session to the connection it has."""
        replies = connection.side.replies
        return (
            replies.idle
            and replies.status == Status.IDLE
            and not (
                self.virtual.pinned or self.virtual.probe_wanted or self._probing or connection.congested
            )
            and not (self.recovering or self.virtual.exact)
        )

    def _stays_on_reader(self, connection: BackendConnection, data: bytes, at: int) -> bool:
        """Whether another request may follow on a standby before it has answered, or inside a transaction there."""
        if connection.side.replies.quiet:
            return True
        if not self._plain:
            return False
        asked = first_request(data, at, self.requests.facts_of, self.virtual.statements)
        return asked is not None and not self.router.why_writer(self, asked) and _stands_alone(asked)

    def _decide(self, asked: Asked) -> bool:
        """Choose the pool for a request; False when that must be waited for."""
        router = self.router
        question = router.question(self, asked, self.readiness.now)
        self._reads = not question.must_write
        self._why = question.must_write or "a read"
        if question.must_write:
            self.own.wrote = True
        elif self._only_writer:
            self._why = "a read that a standby could not serve"
        if self.recovering or self._only_writer or not router.may_read_elsewhere(question):
            return self._go(self.pool)
        self._plain = _stands_alone(asked)
        if router.wants_own_writes(self, question):
            if not self.own.is_known:
                return self._ask(question)
            question.floor = self.own.floor
        decision = router.decide(self, question)
        if decision.backend is None or router.shall_be_waited_for(self, question, decision):
            return self._ask(question)
        pool = router.pool_of(self, decision.backend)
        return self._ask(question, decision) if pool is None else self._go(pool, decision)

    def _go(self, pool: Pool, decision: Decision | None = None) -> bool:
        self.lender = pool
        counters = self.router.counters
        if decision is not None:
            self.decision = decision
            counters.fell_back += decision.fell_back
        counters.by_backend[pool.backend.name] += 1
        return True

    def _enter(self, admission: Admission, asked: Asked, size: int) -> bool:
        """Have the request let in where it goes; one that is not is answered here, with the reason."""
        self._leave()
        backend = self.lender.backend.name
        self._fingerprint = asked.texts[0].fingerprint if len(asked.texts) == 1 else None
        refusal = admission.admit(backend, self.virtual.user, self._fingerprint, self.readiness.now)
        if refusal is None:
            self._admitted = backend
        elif self.recovering or not asked.end:
            self.end(Ending.REFUSED, refusal)
        else:
            self.router.counters.not_admitted += 1
            self.tell(report(refusal) + ready(Status.IDLE))
            self.journal.clear(size - asked.end)
            self.requests.answered_to = asked.end
        return True

    def _leave(self) -> None:
        """What was let in has ended."""
        if self._admitted and self.router.admission is not None:
            self.router.admission.release(self._admitted, self.virtual.user)
        self._admitted = ""

    def _ask(self, question: Question, decision: Decision | None = None) -> bool:
        """What must be known first is found out by a task; meanwhile the client's bytes are kept.

        `decision`: it is made already, but there is no pool yet.
        """
        if self.nursery is None:
            return self._go(self.pool)
        self._asking = True
        self.nursery.start_soon(self._find_out, question, decision)
        return False

    async def _find_out(self, question: Question, decision: Decision | None) -> None:
        home = self.destination.backend.name
        try:
            if decision is None:
                decision = await search(self.router, self, question, self.own)
            if decision.backend is not None and decision.backend != home:
                await self._pool_at(decision.backend)
        except HeliosError as error:
            self._asking = False
            if self._awaits_route:
                self._refused(error)
            return
        finally:
            self._asking = False
        self._choice = decision, decision.backend == home
        if self._awaits_route:
            self.readiness.refresh()
            self.active_since = self.readiness.now  # its server has not kept it waiting so far
            self._resume()

    def _chosen_pool(self) -> tuple[Pool, Decision] | None:
        """What was found out for the request that comes now, also if the session was moved meanwhile."""
        choice, self._choice = self._choice, None
        if choice is None:
            return None
        decision, at_home = choice
        if at_home or decision.backend is None:
            return self.pool, decision
        pool = self.router.pool_of(self, decision.backend)
        return None if pool is None else (pool, decision)

    @property
    def _awaits_route(self) -> bool:
        """Its next request waits until it is known where it goes, and may go there."""
        waits = self.requests.need is Need.ROUTE and not self._asking
        return waits and self.ending is None and not (self.recovering or self._at_rest)

    async def _pool_at(self, backend: str) -> Pool:
        known = self.router.pool_of(self, backend)
        return known if known is not None else await self.router.open_pool(self, backend)

    # -- connections -------------------------------------------------------------------------------------------

    def _lease_nowait(self) -> ServerSide | None:
        """See `Session`."""
        parked = self._parked
        if parked is not None and not self.reading:
            self._parked = None
            if parked.status is not SlotStatus.CLOSED:
                parked.holder = self
                self._connection = parked
                self._note_served()
                return parked.side
        found = super()._lease_nowait()
        if found is not None:
            self._note_served()
        return found

    def hold(self, connection: BackendConnection) -> None:
        """See `Session`."""
        super().hold(connection)
        self._note_served()

    def _note_served(self) -> None:
        """Which server works for it now counts in the choice between servers."""
        name = "" if self._connection is None else self._connection.backend.name
        if name != self._served_by:
            if self._served_by:
                self.router.nodes.ended(self._served_by)
            if name:
                self.router.nodes.began(name)
            self._served_by = name

    def _release(self) -> None:
        """See `Session`: its own connection is kept, in session mode."""
        connection = self._connection
        if self.keeps and not self.reading and connection is not None:
            self.requests.detach()
            connection.holder, self._connection = None, None
            self._parked = connection
        else:
            super()._release()
        self._note_served()

    def gather(self) -> None:
        """See `Session`: who exchanges its connection means its own."""
        parked, self._parked = self._parked, None
        if parked is not None and parked.status is not SlotStatus.CLOSED and self._connection is None:
            self.lender = self.pool
            self.hold(parked)

    def _drop_parked(self) -> None:
        parked, self._parked = self._parked, None
        if parked is not None and parked.status is not SlotStatus.CLOSED:
            self.pool.give_back_used(parked)

    def move_to(self, destination: Destination, pool: Pool, connection: BackendConnection | None) -> None:
        """See `Session`."""
        self._drop_parked()
        super().move_to(destination, pool, connection)
        self._note_served()

    def give_up_lease(self) -> None:
        """See `Session`."""
        self._drop_parked()
        used, connection = self.keeps and not self.reading, self._connection
        if used and connection is not None and self.requests.at_boundary:
            self.stop_waiting()
            self.requests.detach()
            self._connection = None
            self.pool.give_back_used(connection)
        super().give_up_lease()
        self._note_served()
        self._leave()

    def go_on(self) -> None:
        """See `Session`: what was decided before it stood still may not hold any more."""
        if self.requests.need in (Need.LEASE, Need.ROUTE) and self._ticket is None:
            self.requests.need, self.requests.routed = Need.STANDSTILL, False
        super().go_on()

    # -- from the client ---------------------------------------------------------------------------------------

    def on_end(self, error: Exception | None) -> None:
        """See `net.pipe.Pipe`: a request without its end goes as it is, to be judged by PostgreSQL."""
        super().on_end(error)
        if self._half_closed and self._awaits_route:
            self._resume()

    def _feed(self, data: bytes) -> None:
        super()._feed(data)
        if data and self._awaits_route:
            self._resume()  # perhaps the request has come to its end

    # -- from the server ---------------------------------------------------------------------------------------

    def on_reply_bytes(self, data: bytes) -> None:
        """See `pool.connection.LeaseHolder`."""
        if not self._abandoned:
            super().on_reply_bytes(data)

    def on_server_ready(self) -> None:
        """See `pool.connection.LeaseHolder`."""
        if self._abandoned:
            self._leave_standby()
            return
        connection = self._connection
        if connection is not None and self._served_by:
            if (tap := self.router.tap(self._served_by)) is not None:
                now = self.readiness.now
                tap.note_answer(
                    now, now - self.active_since, user=self.virtual.user, fingerprint=self._fingerprint
                )
            if self._reads and (reads := self.router.read_traffic) is not None and reads.wanted:
                reads.note_answer(self._served_by, self.readiness.now - self.active_since)
            if connection.side.replies.status == Status.IDLE:
                self._only_writer = False
                self._leave()
        super().on_server_ready()
        if self._awaits_route:
            self._resume()

    def on_server_error(self, frame: bytes, head: int) -> bytes | None:
        """See `pool.connection.LeaseHolder`: what a standby cannot do, another server can."""
        if self.reading and self.replay is None and self._may_recover and not self._abandoned:
            fields = ErrorFields.decode(frame[5:])
            if _is_of_a_standby(fields) and self._is_first():
                self._abandoned = fields.sqlstate
                return b""
        if (tap := self.router.tap(self._served_by)) is not None:
            sqlstate = ErrorFields.decode(frame[5:]).sqlstate
            tap.note_error(
                self.readiness.now, sqlstate, user=self.virtual.user, fingerprint=self._fingerprint
            )
        if self._reads and (reads := self.router.read_traffic) is not None and reads.wanted:
            reads.note_error(self._served_by)
        return super().on_server_error(frame, head)

    def _is_first(self) -> bool:
        """Nothing but the beginning of a transaction has been answered before (rule 33)."""
        done = [each for each in self.journal.exchanges() if each.done]
        names = Names(self.facts_of, {})
        texts = [facts for each in done for facts in names.asked_by(bytes(each.request))]
        return not self.journal.lost and all(_only_begins(facts) for facts in texts)

    def _leave_standby(self) -> None:
        """The standby has said all it had to say; the same is asked where writes are taken."""
        sqlstate, self._abandoned = self._abandoned, ""
        connection, counters = self._connection, self.router.counters
        assert connection is not None, "it has just answered"
        if sqlstate in _REFUSALS:
            counters.refused += 1
            self._learn(sqlstate)
        else:
            counters.resent += 1
        connection.holder = None
        self._only_writer = True
        lender, idle = self.lender, connection.side.replies.status == Status.IDLE
        self._begin_recovery(connection, f"a standby has refused it ({sqlstate})", mid_message=False)
        if idle:
            lender.give_back(connection)
        else:
            lender.discard(connection, "left in a transaction")

    def _learn(self, sqlstate: str) -> None:
        waiting = [each for each in self.journal.exchanges() if not each.done]
        statements = {name: each.facts for name, each in self.virtual.statements.items()}
        texts = Names(self.facts_of, statements).asked_by(bytes(waiting[0].request)) if waiting else ()
        for facts in texts:
            if not facts.must_write:
                self.router.learn(self.destination.database, facts, sqlstate)

    def _begin_recovery(
        self,
        connection: BackendConnection | None,
        reason: str,
        *,
        mid_message: bool | None = None,
        doom: Difference | None = None,
    ) -> None:
        self._abandoned, self._choice = "", None
        if self.reading:
            self._only_writer = True
            self.router.suspect(self.lender.backend.name, reason)
        self._leave()
        super()._begin_recovery(connection, reason, mid_message=mid_message, doom=doom)
        self.lender = self.pool
        self._note_served()

    def _refused(self, error: Exception) -> None:
        """See `Session`: a standby that gives no connection is no reason not to read elsewhere."""
        if self.reading and self._connection is None and not self.recovering and self.ending is None:
            self._ticket = None
            self.router.counters.resent += 1
            self.router.suspect(self.lender.backend.name, str(error))
            self._only_writer, self.requests.routed = True, False
            self.lender = self.pool
            self.requests.need = Need.NOTHING
            self._resume()
            return
        super()._refused(error)


def _is_of_a_standby(fields: ErrorFields) -> bool:
    """Whether the primary would perhaps not have reported this error."""
    return fields.sqlstate in _REFUSALS | _CONFLICTS and fields.get("R") != _STALE_PLAN


def _stands_alone(asked: Asked) -> bool:
    """No statement of it begins or ends a transaction."""
    for facts in asked.texts:
        for each in facts.statements:
            if each.transaction is not None:
                return False
    return True


def _only_begins(facts: Facts) -> bool:
    return facts.parsed and all(each.transaction is not None for each in facts.statements)
