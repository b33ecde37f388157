"""The recovery of one session that has lost its server, readable top to bottom.

    a server that takes writes -> what became of its COMMIT -> its state -> its transaction, again -> on it goes

Its client waits meanwhile, and is told the truth whatever happens: nothing if all went well; 40001 if its transaction
is gone and may be tried again; 08007 if nobody can tell what became of it; FATAL 57P01 if it had something that died
with the server and cannot be had again (rules 26 to 32).

Used by: composition.recovering.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, field

from helios_trio.errors import BackendLost, BackendUnavailable, HeliosError
from helios_trio.failover import verdicts
from helios_trio.failover.asked import Fate, Names, rolls_back
from helios_trio.failover.endings import rest_behind_rows, rest_of_answer, write_was_answered
from helios_trio.failover.journal import Exchange
from helios_trio.failover.loss import Loss
from helios_trio.failover.recovery_means import RecoveryMeans
from helios_trio.failover.repetition import (
    Collision,
    Repetition,
    all_drawn,
    ask_again,
    forbidden,
    repeat_cursors,
)
from helios_trio.failover.replay import Doom, Skip, ready, report
from helios_trio.failover.replies import Answer, Difference
from helios_trio.failover.session import RecoverableSession
from helios_trio.failover.situation import Situation
from helios_trio.migration.conversation import Conversation
from helios_trio.migration.transfer import take_up
from helios_trio.pipeline.fleet import MoveOrder
from helios_trio.pipeline.rescue import CommitInFlight, CommitOutcome, Urgency
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.lease import take
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.carrying.steps import Query
from helios_trio.session.switching import query_frame
from helios_trio.wire.codes import Backend, Status

_log = structlog.get_logger(__name__)

#: Seconds before a server that was lost again is asked for again.
_PAUSE: Final = 0.05
#: Leaves a transaction failed; the server's log says why.
_FAIL: Final = "DO $$BEGIN RAISE 'transaction lost with its server'; END$$"


async def recover(means: RecoveryMeans, session: RecoverableSession, loss: Loss) -> None:
    """Bring a session to a server on which it goes on. Raises nothing but what cancels, or is a bug."""
    end: HeliosError
    try:
        recovery = _Recovery(means, session, loss)
    except HeliosError as error:
        session.give_up(error, mid_message=loss.mid_message)
        return
    try:
        with trio.fail_after(means.settings.time_limit):
            await recovery.run()
    except trio.TooSlowError:
        end = verdicts.no_server(loss.reason)
    except CannotCarry as refusal:
        end = verdicts.cannot_be_had_again(refusal)
    except HeliosError as error:
        end = error
    else:
        return
    if recovery.in_doubt and not isinstance(end, verdicts.OutcomeUnknown):
        end = verdicts.outcome_unknown(f"{loss.reason}; {end.message}")
    session.give_up(end, mid_message=loss.mid_message)


@define(eq=False)
class _Recovery:
    """One recovery; what was found out stays known if the next server is lost, too."""

    means: RecoveryMeans
    session: RecoverableSession
    loss: Loss
    began: float = field(factory=trio.current_time)
    situation: Situation = field(init=False)
    #: why the open transaction cannot be done again
    doom: Difference | None = field(init=False)
    outcome: CommitOutcome | None = None
    #: what is left to be said of a write that was done again, once it has committed
    rest: bytes | None = None

    def __attrs_post_init__(self) -> None:
        session, loss = self.session, self.loss
        self.doom = loss.doom
        self.situation = Situation.of(
            session.journal,
            session.virtual.statements,
            session.facts_of,
            sent=loss.sent,
            token=loss.token if loss.xid is None else str(loss.xid),
        )
        told = all_drawn(session, self.situation)
        self.means.marks.note(loss.backend, session.destination.database, told)
        if self.situation.ends_itself:
            raise verdicts.ended()

    @property
    def in_doubt(self) -> bool:
        """Something was under way of which nobody can tell, or could yet, what became of it."""
        return self.situation.fate in (Fate.RESOLVE, Fate.UNKNOWN)

    # -- the whole ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Try until there is a server that stays."""
        urgency = self.situation.urgency
        with self.means.primaries.precedence(self.loss.home, urgency):
            await self._try_all(urgency)

    async def _try_all(self, urgency: Urgency) -> None:
        collisions = 0
        while True:
            backend = await self.means.primaries.settled(self.loss.home, urgency)
            try:
                await self._attempt(backend)
            except Collision as collision:
                collisions += 1
                self.session.drop_connection("transactions that are repeated have met")
                if collisions > self.means.settings.max_retries:
                    self.doom = collision.difference
            except (BackendLost, BackendUnavailable) as error:
                self._note_loss()
                self.session.drop_connection("lost while a session was recovered")
                self.means.primaries.suspect(backend, error.message)
                await trio.sleep(_PAUSE)
            else:
                _log.debug("session recovered", seconds=round(trio.current_time() - self.began, 3))
                return

    async def _attempt(self, backend: str) -> None:
        session, situation = self.session, self.situation
        if situation.fate is Fate.RESOLVE:
            await self._resolve(backend)
        elif situation.in_transaction or situation.open:
            await self._end_process(backend)
        await self._take_up(backend)
        if self._has_shown_rows() and situation.first is not None:
            await self._write_again(situation.first)
        elif self._is_repeated:
            self.doom = await Repetition(self.means, session, situation).run()
            if self.doom is None:
                self.means.counters.note_replay(trio.current_time() - self.began, len(situation.done))
            else:
                session.drop_connection("a transaction could not be repeated")
                await self._take_up(backend)
        await self._go_on()

    async def _take_up(self, backend: str) -> None:
        """The session's state, without what its open transaction has done."""
        session, committed = self.session, self.outcome is CommitOutcome.COMMITTED
        session.forget_transaction(committed=committed)
        if not committed:
            for name in self.situation.prepared:
                session.virtual.statements.pop(name, None)
        place = await self.means.place_of(session, backend)
        order = MoveOrder(
            target=backend, same_data=False, no_return=True, max_state_size=self.means.settings.max_state_size
        )
        cursors = session.held_cursors.to_repeat() if session.virtual.state.now.objects.cursors else []
        session.forget_cursors()
        await take_up(session, self.loss.connection, place, order, tell=not self.loss.mid_message)
        await repeat_cursors(session, cursors, self.means.settings.statement_timeout)

    @property
    def _is_repeated(self) -> bool:
        """Whether a transaction is to be done again, and may be; `doom` says why not."""
        situation = self.situation
        if not situation.in_transaction or situation.fate in (Fate.ROLLED_BACK, Fate.UNKNOWN):
            return False
        if self.doom is None:
            wanted = self.means.settings.enabled and self.loss.replayable
            self.doom = forbidden(situation, self.session, wanted=wanted)
        return self.doom is None

    # -- the outcome -------------------------------------------------------------------------------------------

    async def _resolve(self, backend: str) -> None:
        """Find out what became of the commit that was under way, and tell the client if it has succeeded."""
        loss, connection = self.loss, self.loss.connection
        assert connection is not None, "nothing was sent without one"
        # on another server it counts only if it has come there
        if loss.committed_locally and backend == loss.backend:
            self.outcome = CommitOutcome.COMMITTED
        else:
            self.outcome = await self.means.outcomes.resolve(self._commit(connection), backend)
        self.means.counters.note_outcome(self.outcome)
        _log.info("outcome of a commit found out", outcome=self.outcome.value)
        match self.outcome:
            case CommitOutcome.COMMITTED:
                self._tell_committed()
            case CommitOutcome.NOT_COMMITTED:
                self.situation.fate = Fate.RESEND
            case CommitOutcome.UNKNOWN:
                self.situation.fate = Fate.UNKNOWN

    async def _end_process(self, backend: str) -> None:
        """A server that lives may not know that the connection is lost, and hold what was locked for ever."""
        if self.loss.connection is not None:
            await self.means.outcomes.end_process(self._commit(self.loss.connection), backend)

    def _commit(self, connection: BackendConnection) -> CommitInFlight:
        return CommitInFlight(
            backend=self.loss.backend,
            database=self.session.destination.database,
            pid=connection.pid,
            token=self.loss.token,
            xid=self.loss.xid,
            sent_at=self.loss.at,
        )

    def _tell_committed(self) -> None:
        """The client gets the rest of the answer to its commit, if that is known."""
        if self.loss.mid_message:
            raise verdicts.committed_without_answer()
        first = self.situation.first
        assert first is not None, "a commit was under way"
        texts = self.situation.texts(first)
        if self.rest is not None:
            rest = self.rest
        elif len(texts) == 1 and texts[0].is_commit:
            rest = rest_of_answer(first, "COMMIT")
        elif len(self.situation.open) == 1 and write_was_answered(first, self.loss.held):
            rest = self.loss.held + ready(Status.IDLE)
        elif len(self.situation.open) == 1:
            rest = report(verdicts.committed_without_answer()) + ready(Status.IDLE)
        else:
            raise verdicts.committed_without_answer()
        if self.loss.committed_locally and self.session.destination.backend.name == self.loss.backend:
            rest = verdicts.NOT_REPLICATED + rest
        self.session.tell(rest)
        if self.loss.token is not None:
            self.session.acknowledge(self.loss.token)
        self.situation.has_committed()

    # -- going on ----------------------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """The session has its server; what was not answered is sent, or answered here."""
        session, situation, first = self.session, self.situation, self.situation.first
        if first is not None and first.dropped and (situation.in_transaction or not first.is_known_copy):
            raise self._verdict_on_dropped(first)
        if first is not None and situation.fate is not Fate.RESEND:
            self._answer(first)
        elif first is not None and first.dropped:
            self.means.counters.note_mismatch("journal")
            lost = verdicts.not_replayed(Difference("journal", session.journal.lost))
            session.tell(report(lost) + ready(Status.IDLE))
        elif self.doom is not None and situation.in_transaction:
            await self._go_on_doomed(self.doom)
            return
        elif first is not None and self.doom is not None:
            self.means.counters.note_mismatch(self.doom.kind)
            if self.loss.mid_message:
                raise verdicts.not_replayed(self.doom)
            session.tell(report(verdicts.not_replayed(self.doom)) + ready(Status.IDLE))
        elif first is not None and first.answer.size:
            session.replay = Skip(first.answer, partial(_skipped, session, self.loss.mid_message))
        session.go_on_with(session.journal.pending())

    def _verdict_on_dropped(self, first: Exchange) -> HeliosError:
        """A request of which too much has come: the rest of it may still be under way, so there is no going on."""
        if first.whole and not self.situation.in_transaction:
            return verdicts.outcome_unknown(self.loss.reason)
        return verdicts.not_replayed(Difference("journal", self.session.journal.lost))

    def _has_shown_rows(self) -> bool:
        """A write that has not committed has shown rows: sent as it is, others might be committed in their place."""
        first = self.situation.first
        if first is None or self.outcome is not CommitOutcome.NOT_COMMITTED or self.situation.in_transaction:
            return False
        shown = any(code == Backend.DATA_ROW for code, _ in first.answer.messages())
        return shown or first.answer.is_long or self.loss.mid_message

    async def _write_again(self, first: Exchange) -> None:
        """A single write, in a transaction that is committed only if its rows are those that its client has seen."""
        session, limit = self.session, self.means.settings.statement_timeout
        await ask_again(session, query_frame("BEGIN"), limit)
        answer = await Repetition(self.means, session, self.situation).write_with_values_of(first)
        if answer is not None:
            rest = _behind_rows(first, answer)
        else:
            answer = await ask_again(session, bytes(first.request), limit)
            rest = answer.behind(first.answer)
        if rest is None or _has_error(answer):
            self.doom = Difference("rows", "its rows are not those that were sent before")
            session.drop_connection(self.doom.text)
            await self._take_up(session.destination.backend.name)
            return
        self.rest = rest[: -len(ready(Status.IDLE))] + ready(Status.IDLE)
        self.loss.connection, self.loss.backend = session.leased_connection, session.destination.backend.name
        self.loss.at = trio.current_time()
        await ask_again(session, query_frame("COMMIT"), limit)
        self._tell_committed()

    def _note_loss(self) -> None:
        """The server was lost while a write was committed again: that is another commit to ask for."""
        guard = self.session.requests.guard
        if self.rest is not None and guard is not None:
            self.loss.token, self.loss.xid = guard.token, guard.xid
            self.situation.fate = Fate.RESOLVE

    def _answer(self, first: Exchange) -> None:
        """What the client is told of a request that is not sent again."""
        match self.situation.fate:
            case Fate.FAILED:
                rest = ready(Status.IDLE)
            case Fate.ROLLED_BACK:
                rest = rest_of_answer(first, "ROLLBACK")
            case _:
                if self.outcome is not CommitOutcome.UNKNOWN:
                    self.means.counters.note_outcome(CommitOutcome.UNKNOWN)
                unknown = verdicts.outcome_unknown(self.loss.reason)
                if len(self.situation.open) > 1 or self.loss.mid_message or not first.whole:
                    raise unknown
                rest = report(unknown) + ready(Status.IDLE)
        self.session.tell(rest)

    async def _go_on_doomed(self, doom: Difference) -> None:
        """The client's transaction is gone: on the new server there is one that has failed, as it must think."""
        session = self.session
        self.means.counters.note_mismatch(doom.kind)
        _log.warning("transaction not repeated", kind=doom.kind, reason=doom.text)
        if self.loss.mid_message:
            raise verdicts.not_replayed(doom)
        await self._fail_transaction()
        session.replay = Doom(
            verdicts.not_replayed(doom),
            partial(_gives_up, session),
            partial(_clear, session),
        )
        session.go_on_with(session.journal.pending())

    async def _fail_transaction(self) -> None:
        """On the new server a transaction is open that has failed. Raises BackendLost and the like."""
        session = self.session
        if session.leased_connection is None:
            session.hold(await take(session.pool, session.virtual, self.means.settings.time_limit))
        connection = session.leased_connection
        assert connection is not None, "it was taken"
        with Conversation(connection, _unheard) as conversation:
            conversation.say(Query("BEGIN"), Query(_FAIL))
            await conversation.settle()


def _behind_rows(first: Exchange, answer: Answer) -> bytes | None:
    """What its client has not been sent yet of a write, all of whose rows it has; None: they are others."""
    rows = [
        [body for code, body in each.messages() if code == Backend.DATA_ROW]
        for each in (first.answer, answer)
    ]
    tags = [body for code, body in answer.messages() if code == Backend.COMMAND_COMPLETE]
    same = rows[0] == rows[1] and len(tags) == 1
    return rest_behind_rows(first, tags[0][:-1].decode()) if same else None


def _has_error(answer: Answer) -> bool:
    return any(code == Backend.ERROR_RESPONSE for code, _ in answer.messages())


def _skipped(session: RecoverableSession, mid_message: bool, difference: Difference | None) -> None:
    session.replay = None
    if difference is not None:
        session.lose_again(difference, mid_message=mid_message)


def _clear(session: RecoverableSession) -> None:
    session.replay = None


def _unheard(frame: bytes) -> None:
    """Notifications that come while nobody listens yet."""


def _gives_up(session: RecoverableSession) -> bool:
    """Whether what its client has asked first, of all that is not answered, is ROLLBACK."""
    waiting = [each for each in session.journal.exchanges() if not each.done]
    statements = {name: each.facts for name, each in session.virtual.statements.items()}
    texts = Names(session.facts_of, statements).asked_by(bytes(waiting[0].request)) if waiting else ()
    return len(texts) == 1 and rolls_back(texts[0])
