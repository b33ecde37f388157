"""The recovery of one session that has lost its server, readable top to bottom.

    a server that takes writes -> what became of its COMMIT -> its state -> its transaction, again -> on it goes

Its client waits meanwhile, and is told the truth whatever happens: nothing if all went well; 40001 if its transaction
is gone and may be tried again; 08007 if nobody can tell what became of it; FATAL 57P01 if it had something that died
with the server and cannot be had again (rules 26 to 32).

Used by: failing_over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, field, frozen

from helios_trio.errors import BackendLost, BackendUnavailable, HeliosError
from helios_trio.failover.asked import FactsOf, Fate, Names, fate_of, not_replayable, rolls_back
from helios_trio.failover.counters import ReplayCounters
from helios_trio.failover.endings import rest_of_answer, write_was_answered
from helios_trio.failover.journal import Exchange
from helios_trio.failover.replay import Doom, Repeat, Skip, ready, report
from helios_trio.failover.replies import Difference
from helios_trio.failover.sequence_moves import SequenceMover
from helios_trio.failover.session import Loss, RecoverableSession
from helios_trio.migration.conversation import Conversation
from helios_trio.migration.transfer import Place, take_up
from helios_trio.pipeline.fleet import MoveOrder
from helios_trio.pipeline.rescue import CommitInFlight, CommitOutcome, Outcomes, Primaries
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.lease import take
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.carrying.steps import Query
from helios_trio.sql.facts import Facts
from helios_trio.wire.codes import Backend, Status

_log = structlog.get_logger(__name__)

#: Seconds before a server that was lost again is asked for again.
_PAUSE: Final = 0.05
#: Errors of one transaction against another: worth another attempt when many are done again at once.
_RETRIED: Final = (b"40P01", b"55P03", b"40001")
#: Leaves a transaction failed; the server's log says why.
_FAIL: Final = "DO $$BEGIN RAISE 'transaction lost with its server'; END$$"


@frozen(kw_only=True)
class ReplaySettings:
    """How sessions are recovered (config: [transaction_replay], [failover]). Times in seconds."""

    enabled: bool = True
    verify_results: bool = True
    statement_timeout: float = 30.0
    max_retries: int = 3
    #: for the whole of one session
    time_limit: float = 60.0
    max_state_size: int = 64 * 1024 * 1024


@define(eq=False)
class Means:
    """What a recovery needs of the rest of the proxy."""

    primaries: Primaries
    outcomes: Outcomes
    place_of: Callable[[RecoverableSession, str], Awaitable[Place]]
    facts_of: FactsOf
    settings: ReplaySettings
    counters: ReplayCounters
    sequences: SequenceMover


class NotReplayed(HeliosError):
    """A transaction could not be done again: nothing of it has happened."""

    sqlstate = "40001"
    code = "not_replayed"


class OutcomeUnknown(HeliosError):
    """Nobody can tell whether a transaction has committed."""

    sqlstate = "08007"
    code = "outcome_unknown"


async def recover(means: Means, session: RecoverableSession, loss: Loss) -> None:
    """Bring a session to a server on which it goes on. Raises nothing but what cancels, or is a bug."""
    end: HeliosError
    try:
        with trio.fail_after(means.settings.time_limit):
            await _Recovery(means, session, loss).run()
    except trio.TooSlowError:
        end = BackendUnavailable(
            "no server takes writes", sqlstate="57P03", hint="Retry later.", detail=loss.reason
        )
    except CannotCarry as refusal:
        end = BackendLost(
            "terminating connection because the server was lost, and with it something of the session",
            sqlstate="57P01",
            detail="; ".join(refusal.reasons),
        )
    except HeliosError as error:
        end = error
    else:
        return
    session.give_up(end, mid_message=loss.mid_message)


@define(eq=False)
class _Recovery:
    """One recovery; what was found out stays known if the next server is lost, too."""

    means: Means
    session: RecoverableSession
    loss: Loss
    began: float = field(factory=trio.current_time)
    #: of the requests that were not answered: what is done about them
    fate: Fate = field(init=False)
    #: transaction status before the first of them
    begun_in: int = field(init=False)
    done: list[Exchange] = field(init=False)
    open: list[Exchange] = field(init=False)
    texts: dict[int, Sequence[Facts]] = field(init=False)
    #: why the open transaction cannot be done again
    doom: Difference | None = None
    outcome: CommitOutcome | None = None

    # -- what there is -----------------------------------------------------------------------------------------

    def __attrs_post_init__(self) -> None:
        exchanges = self.session.journal.exchanges()
        self.done = [each for each in exchanges if each.done]
        self.open = [each for each in exchanges if not each.done]
        self.begun_in = self.done[-1].status or Status.IDLE if self.done else Status.IDLE
        names = self._names()
        self.texts = {id(each): names.asked_by(bytes(each.request)) for each in exchanges}
        self.names = names.parsed
        self.fate = self._judge()
        _log.debug(
            "session is recovered",
            session=self.session.virtual.id,
            fate=self.fate.value,
            answered=len(self.done),
            open=len(self.open),
        )
        self.doom = self.loss.doom

    names: frozenset[bytes] = frozenset()

    def _names(self) -> Names:
        statements = {name: each.facts for name, each in self.session.virtual.statements.items()}
        return Names(self.means.facts_of, statements)

    def _judge(self) -> Fate:
        """What becomes of all that was not answered; of several requests, what is worst."""
        status, fates, left = self.begun_in, [], self.loss.sent
        names = self._names()
        for each in self.done:
            names.asked_by(bytes(each.request))
        for each in self.open:
            if left <= 0:  # nothing of it was sent
                break
            texts = names.asked_by(bytes(each.request[:left]))
            left -= len(each.request)
            fates.append(
                fate_of(
                    texts,
                    status,
                    whole=each.whole and left >= 0,
                    failed=_has_failed(each),
                    token=self.loss.token,
                )
            )
            status = _status_after(status, texts)
        if len(fates) <= 1:
            return fates[0] if fates else Fate.RESEND
        if all(each in (Fate.RESEND, Fate.ROLLED_BACK) for each in fates):
            return Fate.RESEND
        certain = fates.count(Fate.RESOLVE) == 1 and Fate.UNKNOWN not in fates
        return Fate.RESOLVE if certain and self.loss.token is not None else Fate.UNKNOWN

    # -- the whole ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Try until there is a server that stays."""
        attempts = 0
        while True:
            try:
                await self._attempt()
            except _Collision as collision:
                attempts += 1
                self._drop_connection("transactions that are replayed have met")
                if attempts > self.means.settings.max_retries:
                    self.doom = collision.difference
            except (BackendLost, BackendUnavailable) as error:
                backend = self.session.destination.backend.name
                self._drop_connection("lost while a session was recovered")
                self.means.primaries.suspect(backend, error.message)
                await trio.sleep(_PAUSE)
            else:
                return

    async def _attempt(self) -> None:
        means, session = self.means, self.session
        backend = await means.primaries.settled(self.loss.backend)
        if self.fate is Fate.RESOLVE:
            await self._resolve(backend)
        elif self.done or self.open:
            await self._end_process(backend)
        session.forget_transaction(committed=self.outcome is CommitOutcome.COMMITTED)
        await self._take_up(backend)
        if self._is_replayed:
            await self._repeat()
        await self._go_on()

    async def _take_up(self, backend: str) -> None:
        """The session's state, without what its open transaction has done."""
        session = self.session
        place = await self.means.place_of(session, backend)
        if self.outcome is not CommitOutcome.COMMITTED:
            for name in self.names:
                session.virtual.statements.pop(name, None)
        order = MoveOrder(
            target=backend, same_data=False, no_return=True, max_state_size=self.means.settings.max_state_size
        )
        await take_up(session, self.loss.connection, place, order, tell=not self.loss.mid_message)

    def _drop_connection(self, reason: str) -> None:
        self.session.replay = None
        self.session.drop_connection(reason)

    # -- the outcome -------------------------------------------------------------------------------------------

    async def _resolve(self, backend: str) -> None:
        """Find out what became of the commit that was under way, and tell the client if it has succeeded."""
        loss, connection = self.loss, self.loss.connection
        assert connection is not None, "nothing was sent without one"
        if loss.committed_locally:
            self.outcome = CommitOutcome.COMMITTED
        else:
            self.outcome = await self.means.outcomes.resolve(self._commit(connection), backend)
        self._count(self.outcome)
        _log.info("outcome of a commit found out", outcome=self.outcome.value, token=loss.token)
        match self.outcome:
            case CommitOutcome.COMMITTED:
                self._tell_committed()
            case CommitOutcome.NOT_COMMITTED:
                self.fate = Fate.RESEND
            case CommitOutcome.UNKNOWN:
                self.fate = Fate.UNKNOWN

    async def _end_process(self, backend: str) -> None:
        """A server that lives may not know that the connection is lost, and hold what was locked for ever."""
        if self.loss.connection is not None:
            await self.means.outcomes.end_process(self._commit(self.loss.connection), backend)

    def _commit(self, connection: BackendConnection) -> CommitInFlight:
        loss = self.loss
        return CommitInFlight(
            backend=loss.backend,
            database=self.session.destination.database,
            pid=connection.pid,
            token=loss.token,
            sent_at=loss.at,
        )

    def _count(self, outcome: CommitOutcome) -> None:
        counters = self.means.counters
        match outcome:
            case CommitOutcome.COMMITTED:
                counters.outcomes_committed += 1
            case CommitOutcome.NOT_COMMITTED:
                counters.outcomes_replayed += 1
            case CommitOutcome.UNKNOWN:
                counters.outcomes_unknown += 1

    def _tell_committed(self) -> None:
        """The client gets the rest of the answer to its commit, if that is known."""
        if self.loss.mid_message:
            raise _committed_without_answer()
        self.fate = Fate.RESEND  # of what came behind it
        first, session = self.open[0], self.session
        alone = len(self.open) == 1 or self.texts[id(first)][0].is_commit
        if alone and len(self.texts[id(first)]) == 1 and self.texts[id(first)][0].is_commit:
            rest = rest_of_answer(first, "COMMIT")
        elif alone and write_was_answered(first, self.loss.held):
            rest = self.loss.held + ready(Status.IDLE)
        else:
            rest = report(_committed_without_answer()) + ready(Status.IDLE)
        session.tell(rest)
        self.open, self.done, self.begun_in = self.open[1:], [], Status.IDLE

    # -- the transaction ---------------------------------------------------------------------------------------

    @property
    def _is_replayed(self) -> bool:
        """Whether there is something to do again, and it may be; `doom` says why not."""
        if not self.done or self.begun_in == Status.IDLE or self.fate is Fate.ROLLED_BACK:
            return False
        if self.doom is None:
            self.doom = self._forbidden()
        return self.doom is None

    def _forbidden(self) -> Difference | None:
        """Rule 28."""
        journal, settings = self.session.journal, self.means.settings
        if not (settings.enabled and self.session.may_be_replayed):
            return Difference("switched off", "transaction replay is switched off")
        if journal.lost:
            return Difference("journal", journal.lost)
        for each in self.done:
            if reason := not_replayable(self.texts[id(each)]):
                return Difference("statement", reason)
        return None

    async def _repeat(self) -> None:
        """All that was answered, in order, each compared before the next."""
        session, settings = self.session, self.means.settings
        repeat = session.replay = Repeat()
        for exchange in self.done:
            repeat.begin()
            with trio.move_on_after(settings.statement_timeout) as limit:
                session.feed_again(bytes(exchange.request))
                answer = await repeat.end()
            if limit.cancelled_caught:
                self.doom = Difference("time", f"a statement took more than {settings.statement_timeout:g} s")
            elif settings.verify_results:
                ordered = any(map(_is_ordered, self.texts[id(exchange)]))
                self.doom = exchange.answer.differs(answer, ordered=ordered)
                if self.doom is not None and _has_error(answer.messages(), _RETRIED):
                    raise _Collision(self.doom)
            if self.doom is not None:
                self._drop_connection("a transaction could not be replayed")
                session.forget_transaction(committed=False)
                await self._take_up(session.destination.backend.name)
                return
        session.replay = None
        self.means.counters.transactions_replayed += 1

    # -- going on ----------------------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """The session has its server; what was not answered is sent, or answered here."""
        session, first = self.session, self.open[0] if self.open else None
        if self.begun_in != Status.IDLE and self.doom is not None and self.fate is not Fate.ROLLED_BACK:
            await self._go_on_doomed(self.doom)
            return
        if first is not None and self.fate is not Fate.RESEND:
            self._answer(first)
        elif first is not None and self.doom is not None:
            session.tell(report(self._not_replayed(self.doom)) + ready(Status.IDLE))
        elif first is not None and first.answer.size:
            session.replay = Skip(first.answer, partial(_skipped, session, self.loss.mid_message))
        session.go_on_with(session.journal.pending())

    def _answer(self, first: Exchange) -> None:
        """What the client is told of a request that is not sent again."""
        match self.fate:
            case Fate.FAILED:
                rest = ready(Status.IDLE)
            case Fate.ROLLED_BACK:
                rest = rest_of_answer(first, "ROLLBACK")
            case _:
                self._count(CommitOutcome.UNKNOWN)
                unknown = OutcomeUnknown(
                    "the server was lost, and nobody can tell whether the statement was carried out",
                    detail=self.loss.reason,
                    hint="Look up what it has done before you repeat it.",
                )
                if len(self.open) > 1 or self.loss.mid_message or not first.whole:
                    raise unknown
                rest = report(unknown) + ready(Status.IDLE)
        self.session.tell(rest)

    async def _go_on_doomed(self, doom: Difference) -> None:
        """The client's transaction is gone: on the new server there is one that has failed, as it must think."""
        session = self.session
        self.means.counters.replay_mismatches[doom.kind] += 1
        _log.warning("transaction not replayed", kind=doom.kind, reason=doom.text)
        if self.loss.mid_message:
            raise self._not_replayed(doom)
        await self._fail_transaction()
        session.replay = Doom(
            self._not_replayed(doom),
            partial(_gives_up, session, self.means.facts_of),
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

    @staticmethod
    def _not_replayed(doom: Difference) -> NotReplayed:
        return NotReplayed(
            f"could not repeat the transaction on another server: {doom.text}",
            detail="The server was lost, and with it the open transaction: nothing of it has happened.",
            hint="Retry the transaction.",
        )


def _committed_without_answer() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the transaction has committed, but what the server answered was lost with it",
        hint="Look up what it has done; do not repeat it.",
    )


class _Collision(HeliosError):
    """A repeated statement has met another transaction."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.text)
        self.difference = difference


def _skipped(session: RecoverableSession, mid_message: bool, difference: Difference | None) -> None:
    session.replay = None
    if difference is not None:
        session.lose_again(difference, mid_message=mid_message)


def _unheard(frame: bytes) -> None:
    """Notifications that come while nobody listens yet."""


def _clear(session: RecoverableSession) -> None:
    session.replay = None


def _gives_up(session: RecoverableSession, facts_of: FactsOf) -> bool:
    """Whether what its client has asked first, of all that is not answered, is ROLLBACK."""
    waiting = [each for each in session.journal.exchanges() if not each.done]
    statements = {name: each.facts for name, each in session.virtual.statements.items()}
    texts = Names(facts_of, statements).asked_by(bytes(waiting[0].request)) if waiting else ()
    return len(texts) == 1 and rolls_back(texts[0])


def _status_after(status: int, texts: Sequence[Facts]) -> int:
    """Transaction status behind a request that was not answered, if it succeeds."""
    for facts in texts:
        for statement in facts.statements:
            if statement.transaction is not None:
                status = _AFTER.get(statement.transaction.verb.name, status)
    return status


_AFTER: Final = {"BEGIN": Status.IN_TRANSACTION, "COMMIT": Status.IDLE, "ROLLBACK": Status.IDLE}


def _is_ordered(facts: Facts) -> bool:
    """Whether it says in which order it wants its rows; by the word, so more often than it matters."""
    return b"order" in facts.text.lower()


def _has_failed(exchange: Exchange) -> bool:
    """Whether its client has been told of an error."""
    return any(code == Backend.ERROR_RESPONSE for code, _ in exchange.answer.messages())


def _has_error(messages: Sequence[tuple[int, bytes]], codes: Sequence[bytes]) -> bool:
    return any(
        code == Backend.ERROR_RESPONSE and any(b"\0C" + each + b"\0" in body for each in codes)
        for code, body in messages
    )
