"""`RecoverableSession`: a session that outlives its server.

It keeps a journal of what its client and the server have said to each other since the last quiet moment. When its
connection is lost it does not end: its client is kept waiting, and `failover.recovery` brings it to a server that takes
writes, does the open transaction again there, and lets the session go on as if nothing had happened.

Used by: composition.recovering (makes them), failover.recovery.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog
import trio

from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.failover.acknowledged import Acknowledged, has_certainly_changed
from helios_trio.failover.asked import Names
from helios_trio.failover.held_cursors import HeldCursors
from helios_trio.failover.journal import Journal, JournalLimits
from helios_trio.failover.loss import NO_BONDS, Bonds, Loss
from helios_trio.failover.replies import Difference
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import SlotStatus
from helios_trio.proxy.session import HELD_LIMIT, Ending, Session
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.guarding import CommitGuard
from helios_trio.session.requests import Need
from helios_trio.sql.facts import Facts
from helios_trio.wire.backend_messages import CommandComplete
from helios_trio.wire.codes import Status
from helios_trio.wire.error_fields import ErrorFields

_log = structlog.get_logger(__name__)

#: What a server says that is going down or is told to end a connection: the session may live on elsewhere. Whatever
#: else it ends a connection for (time limits, a dropped database) its client must hear.
_GOING: Final = frozenset({"57P01", "57P02", "57P03"})
#: Routine of the NoticeResponse with which a COMMIT gives up waiting for standbys, and has committed here. All other
#: server processes that are ended at once say 57P01 or 57P02 in a notice, too (`quickdie`), and mean nothing by it.
_COMMITTED_LOCALLY: Final = "SyncRepWaitForLSN"
_ROLLED_BACK: Final = CommandComplete("ROLLBACK").encode() + b"Z\0\0\0\5I"
#: Servers in a row that are lost while they carry out the same.
_LOSSES: Final = 3
#: Refusals in a row after which a session is not recovered any more.
_REFUSALS: Final = 3


def _is_going(fields: ErrorFields) -> bool:
    """Whether a server says that it goes down: not of its client, but of itself."""
    return fields.sqlstate in _GOING or fields.severity == "PANIC"


class Replaying(Protocol):
    """Takes what the server says to a session that is being recovered."""

    def on_reply_bytes(self, data: bytes) -> bytes:
        """Bytes for the client; returns those it gets."""

    def on_lost(self, error: HeliosError) -> None:
        """The connection is gone, or none could be had."""


class RecoverableSession(Session):
    """See the module."""

    __slots__ = (
        "_acknowledged",
        "_before",
        "_committed_locally",
        "_losses",
        "_recover",
        "_refusals",
        "_suspect",
        "held_cursors",
        "journal",
        "recovering",
        "replay",
    )

    def __init__(
        self,
        *arguments: Any,
        limits: JournalLimits,
        suspect: Callable[[str, str], None],
        recover: Callable[[RecoverableSession, Loss], Awaitable[None]] | None,
        acknowledged: Acknowledged,
        max_cursors: int = 100,
        **parameters: Any,
    ) -> None:
        """`suspect`: see `pipeline.rescue.Primaries`; `max_cursors`: held ones that are had again.

        `recover` None: it ends with its server after all.
        """
        super().__init__(*arguments, **parameters)
        self.journal = Journal(limits)
        self._acknowledged = acknowledged
        self.held_cursors = HeldCursors(max_cursors)
        #: its server is lost, and `recover` has not come to its end
        self.recovering = False
        self.replay: Replaying | None = None
        self._suspect = suspect
        self._recover = recover
        self._before = NO_BONDS
        self._committed_locally = False
        self._refusals = self._losses = 0

    def guard_commits(self, new_id: Callable[[], str], *, singles: bool, by_xid: bool = False) -> None:
        """Have commits note their ids from now on; `singles`: those of single writes, too."""
        if self.requests.guard is None:
            self.requests.guard = CommitGuard(new_id, singles and not by_xid, by_xid)

    async def run(self, rest: bytes) -> None:
        """See `Session`."""
        if rest:
            self.journal.note_sent(rest)
        await super().run(rest)

    @property
    def idle(self) -> bool:
        """See `Session`: one that is being recovered has something open."""
        return not self.recovering and super().idle

    @property
    def answered(self) -> bool:
        """See `Session`: what was asked of a lost server is still to be answered."""
        return not self.recovering and super().answered

    def show(self, name: str) -> str | None:
        """See `Session`."""
        if name == "helios.replay":
            return "on" if self.may_be_replayed else "off"
        return super().show(name)

    @property
    def may_be_replayed(self) -> bool:
        """The client has not said that it wants none of this (`SET helios.replay = off`)."""
        return self.virtual.label.get("helios.replay", "on").lower() not in ("off", "false", "no", "0")

    # -- what is kept ------------------------------------------------------------------------------------------

    def on_bytes(self, data: bytes) -> None:
        """See `net.pipe.Pipe`."""
        self.journal.note_sent(data)
        if not self.recovering:
            super().on_bytes(data)
        elif len(self.journal.pending()) > HELD_LIMIT:
            self.pause()

    def on_reply_bytes(self, data: bytes) -> None:
        """See `pool.connection.LeaseHolder`."""
        if self.replay is not None:
            data = self.replay.on_reply_bytes(data)
            if not data:
                return
        self.journal.note_received(data)
        super().on_reply_bytes(data)

    def on_server_ready(self) -> None:
        """See `pool.connection.LeaseHolder`: outside a transaction there is nothing left to do again."""
        connection, requests = self._connection, self.requests
        if (
            self.replay is None
            and connection is not None
            and connection.side.replies.status == Status.IDLE
            and requests.at_boundary
        ):
            guard = requests.guard
            if guard is not None and (guard.done is not None or guard.wrote):
                self._settle(guard)
            if self.held_cursors or self.virtual.state.now.objects.cursors:
                self._note_cursors()
            self.journal.clear(requests.held)
            self._refusals = self._losses = 0
            virtual = self.virtual
            if virtual.pins or virtual.bound or virtual.may_hold_locks:
                self._before = Bonds(dict(virtual.pins), dict(virtual.bound), virtual.may_hold_locks)
            elif self._before is not NO_BONDS:
                self._before = NO_BONDS
        super().on_server_ready()

    def _note_cursors(self) -> None:
        """A transaction of a session with held cursors has ended."""
        statements = {name: each.facts for name, each in self.virtual.statements.items()}
        names = Names(self.facts_of, statements)
        requests = [(each, names.asked_by(bytes(each.request))) for each in self.journal.with_ended()]
        self.held_cursors.note(requests, self.virtual.state.now.objects.cursors.keys())

    def forget_cursors(self) -> None:
        """Held cursors are gone with their server, and will be declared again. Raises CannotCarry: some cannot."""
        cursors = self.virtual.state.now.objects.cursors
        if not cursors and "held cursors" not in self.virtual.pins:
            return
        if self.held_cursors.reasons or not cursors:
            raise CannotCarry(tuple(self.held_cursors.reasons) or ("its held cursors are not known by name",))
        self.virtual.state.alter(self.virtual.state.now.objects.closed(None))
        self.virtual.state.commit()
        self.virtual.pins.pop("held cursors", None)

    def _settle(self, guard: CommitGuard) -> None:
        """What was noted has been answered; a client that was told of a commit must find it on every successor."""
        answers = self.journal.last_answers()
        noted = guard.done is not None and has_certainly_changed(answers)
        if guard.done is not None and noted and not answers.endswith(_ROLLED_BACK):
            self.acknowledge(guard.done)
        guard.settled()

    def acknowledge(self, token: str) -> None:
        """The client was told that this has committed."""
        at = self.destination
        self._acknowledged.note(at.backend.name, at.database, token)

    @property
    def facts_of(self) -> Callable[[bytes], Facts]:
        """Knows what a text of this client does."""
        return self.requests.facts_of

    # -- the loss ----------------------------------------------------------------------------------------------

    @property
    def _may_recover(self) -> bool:
        """Whether there is a client that could go on."""
        return not (
            self.nursery is None
            or self._recover is None
            or self.ending is not None
            or self._at_rest
            or self._half_closed
            or self._learning
            or self.requests.said_goodbye
            or self.requests.violation is not None
        )

    def on_server_error(self, frame: bytes, head: int) -> bytes | None:
        """See `pool.connection.LeaseHolder`: that the server goes down is not for the client."""
        instead = super().on_server_error(frame, head)
        connection = self._connection
        fatal = connection is not None and connection.said_fatal and self._may_recover
        if connection is not None and fatal and _is_going(ErrorFields.decode(frame[5:])):
            connection.said_fatal = False
            return b""
        return instead

    def on_server_notice(self, frame: bytes) -> bytes | None:
        """See `pool.connection.LeaseHolder`."""
        fields = ErrorFields.decode(frame[5:])
        if self._may_recover and fields.sqlstate in _GOING:
            self._committed_locally |= fields.get("R") == _COMMITTED_LOCALLY
            return b""
        return None

    def on_server_lost(self, error: Exception | None) -> None:
        """See `pool.connection.LeaseHolder`."""
        connection = self._connection
        if self.recovering:
            self._connection = None
            if self.replay is not None:
                self.replay.on_lost(BackendUnavailable(f"the server was lost again: {error}"))
        elif not self._may_recover or (connection is not None and connection.said_fatal):
            super().on_server_lost(error)
        else:
            self._begin_recovery(connection, str(error or "the server has closed the connection"))

    def _refused(self, error: Exception) -> None:
        """No connection could be had; but perhaps another server has one."""
        self._refusals += 1
        if self.recovering and self.replay is not None:
            self._ticket = None
            self.replay.on_lost(BackendUnavailable(str(error)))
        elif isinstance(error, BackendUnavailable) and self._may_recover and self._refusals < _REFUSALS:
            self._ticket = None
            self._begin_recovery(None, error.message)
        else:
            super()._refused(error)

    def _begin_recovery(
        self,
        connection: BackendConnection | None,
        reason: str,
        *,
        mid_message: bool | None = None,
        doom: Difference | None = None,
    ) -> None:
        guard = self.requests.guard
        if mid_message is None:
            mid_message = connection is not None and connection.side.replies.mid_message
        home = self.destination.backend.name
        loss = Loss(
            connection,
            home if connection is None else connection.backend.name,
            home,
            reason,
            trio.current_time(),
            sent=0 if connection is None else len(self.journal.pending()) - self.requests.held,
            mid_message=mid_message,
            doom=doom or self._too_often(),
            replayable=self.may_be_replayed,
            token=None if guard is None else guard.token,
            xid=None if guard is None else guard.xid,
            held=b"" if guard is None else guard.held,
            committed_locally=self._committed_locally,
        )
        self._connection = self._last = None
        self._committed_locally = self._probing = False
        self.recovering = True
        self.requests.begin_anew()
        self._suspect(loss.backend, reason)
        assert self.nursery is not None, "asked by _may_recover"
        assert self._recover is not None, "asked by _may_recover"
        self.nursery.start_soon(self._recover, self, loss)

    def _too_often(self) -> Difference | None:
        """A statement that ends every server it comes to must not be sent to the next one."""
        self._losses += 1
        if self._losses <= _LOSSES:
            return None
        return Difference("losses", f"the server was lost {self._losses} times while it was carried out")

    # -- for who recovers it -----------------------------------------------------------------------------------

    def forget_transaction(self, *, committed: bool) -> None:
        """The open transaction is over with its server; what it has bound the session to is gone with it."""
        virtual = self.virtual
        virtual.lost_its_server(committed=committed)
        if not committed:
            before = self._before
            virtual.pins, virtual.bound = dict(before.pins), dict(before.bound)
            virtual.may_hold_locks = before.may_hold_locks

    def feed_again(self, request: bytes) -> None:
        """Ask what the client has asked before; what is answered goes to `replay` as long as there is one."""
        self.requests.need = Need.NOTHING
        super().on_bytes(request)

    def go_on_with(self, requests: bytes) -> None:
        """It has a server again: send what was not answered, and serve the client as before."""
        self.recovering = False
        self.requests.pass_over(self.journal.gap)
        if requests:
            self.feed_again(requests)
        else:
            self.requests.need = Need.NOTHING
        if self.requests.need is Need.NOTHING and not self._stopped:
            self.unpause()
        if self.ends_when_idle and self.idle:
            self.drain()
        if self._standstill is not None:
            self._standstill.check()

    def drop_connection(self, reason: str) -> None:
        """Nothing that was said to the server it has now counts."""
        connection, self._connection = self._connection, None
        self._last = None
        self.replay = None
        self.stop_waiting()
        self.requests.begin_anew()
        if connection is not None and connection.status is not SlotStatus.CLOSED:
            connection.holder = None
            self.lender.discard(connection, reason)

    def lose_again(self, doom: Difference, *, mid_message: bool) -> None:
        """What the new server answers is not what the client has already been told."""
        connection = self._connection
        assert connection is not None, "it has answered"
        connection.holder = None
        self.lender.discard(connection, doom.text)
        self._begin_recovery(connection, doom.text, mid_message=mid_message, doom=doom)

    def tell(self, data: bytes) -> None:
        """Send the client what no server says; it is kept in the journal as if one had."""
        self.journal.note_received(data)
        self.send(data)

    def give_up(self, error: HeliosError, *, mid_message: bool) -> None:
        """It cannot go on; the client is told why, unless that would be read as the rest of a message."""
        _log.warning(
            "session not recovered", session=self.virtual.id, reason=error.message, detail=error.detail
        )
        error.severity = "FATAL"
        self.end(Ending.SERVER_LOST, None if mid_message else error)
