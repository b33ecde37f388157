"""Doing a transaction again on another server: all that was answered, in order, each compared before the next.

What its client was told of sequences is true on the new server too: an INSERT that returned its ids is sent with those
ids, and nextval() by itself is not sent at all (rule 31; `failover.sequences`).

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
import trio
from attrs import define, field

from helios_trio.errors import BackendLost, BackendUnavailable, HeliosError
from helios_trio.failover.asked import not_replayable
from helios_trio.failover.journal import Exchange
from helios_trio.failover.recovery_means import RecoveryMeans
from helios_trio.failover.replay import Repeat
from helios_trio.failover.replies import Answer, Difference
from helios_trio.failover.runs import Run, run_of
from helios_trio.failover.sequence_catalog import Catalog, SequenceFacts, merged
from helios_trio.failover.sequences import AS_IT_IS, Recorded, ReplayMode, ReplayPlan, Wanted, plan, wanted
from helios_trio.failover.session import RecoverableSession
from helios_trio.failover.situation import Situation
from helios_trio.migration.conversation import Conversation
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.carrying.steps import Query
from helios_trio.sql.facts import Facts
from helios_trio.wire.codes import Backend

_log = structlog.get_logger(__name__)

#: Errors of one transaction against another: worth another attempt when many are done again at once.
_RETRIED: Final = (b"40P01", b"55P03", b"40001")


class Collision(HeliosError):
    """A repeated statement has met another transaction."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.text)
        self.difference = difference


def forbidden(situation: Situation, session: RecoverableSession, *, wanted: bool) -> Difference | None:
    """Why the open transaction must not be done again (rule 28); None: it may."""
    if not wanted:
        return Difference("switched off", "transaction replay is switched off")
    if session.journal.lost:
        return Difference("journal", session.journal.lost)
    for each in situation.done:
        if reason := not_replayable(situation.texts(each)):
            return Difference("statement", reason)
    return None


@define(eq=False)
class Repetition:
    """One attempt."""

    means: RecoveryMeans
    session: RecoverableSession
    situation: Situation
    _passed: list[Mapping[SequenceFacts, int]] = field(factory=list)

    async def run(self) -> Difference | None:
        """Do it; None: the client could not tell the two apart.

        Raises:
            Collision: it has met another transaction; another attempt may go well.
            BackendLost, BackendUnavailable: the new server was lost, too.
        """
        for exchange in self.situation.done:
            with trio.move_on_after(self.means.settings.statement_timeout):
                difference = await self._repeat(exchange)
                if difference is not None:
                    return difference
                continue
            limit = self.means.settings.statement_timeout
            return Difference("time", f"one of its statements took more than {limit:g} s")
        self.session.replay = None
        return await self._pass_sequences()

    async def _repeat(self, exchange: Exchange) -> Difference | None:
        texts = self.situation.texts(exchange)
        run = run_of(bytes(exchange.request), self.session.virtual.statements)
        found = AS_IT_IS if run is None else await self._plan(run, exchange)
        if found.mode is not ReplayMode.AS_IT_IS and self._asks_for_values:
            return Difference("sequence", "it has asked for currval() or lastval()")
        self._passed.append(found.must_pass)
        if found.mode is ReplayMode.FROM_RECORD:
            return None
        if found.mode is ReplayMode.REWRITTEN and run is not None and found.text is not None:
            answer = await self._ask(run.with_text(found.text))
            return self._compare(_without_parsing(exchange.answer), _without_parsing(answer), texts)
        return self._compare(exchange.answer, await self._ask(bytes(exchange.request)), texts)

    async def _ask(self, request: bytes) -> Answer:
        repeat = self.session.replay = Repeat()
        self.session.feed_again(request)
        return await repeat.end()

    def _compare(self, before: Answer, now: Answer, texts: Sequence[Facts]) -> Difference | None:
        if not self.means.settings.verify_results:
            return None
        difference = before.differs(now, ordered=any(map(_is_ordered, texts)))
        if difference is not None:
            _log.info("a repeated statement has another answer", kind=difference.kind, reason=difference.text)
            if _has_error(now, _RETRIED) and not _has_error(before, _RETRIED):
                raise Collision(difference)
        return difference

    # -- sequences ---------------------------------------------------------------------------------------------

    @property
    def _asks_for_values(self) -> bool:
        """Whether its client has asked what was drawn, which a statement that is rewritten does not tell."""
        texts = (facts for each in self.situation.done for facts in self.situation.texts(each))
        return any(each.sequence_state for facts in texts for each in facts.statements)

    async def write_with_values_of(self, exchange: Exchange) -> Answer | None:
        """Do a single write again, with the values of sequences that its client has seen; None: it has seen none.

        Raises BackendLost, BackendUnavailable.
        """
        run = run_of(bytes(exchange.request), self.session.virtual.statements)
        found = AS_IT_IS if run is None else await self._plan(run, exchange)
        if run is None or found.mode is not ReplayMode.REWRITTEN or found.text is None:
            return None
        at = self.session.destination
        await self.means.sequences.move(at.backend.name, at.database, found.must_pass)
        return await ask_again(self.session, run.with_text(found.text), self.means.settings.statement_timeout)

    async def _plan(self, run: Run, exchange: Exchange) -> ReplayPlan:
        """How to do one statement again. Raises BackendLost."""
        found = drawn_by(run, exchange) if _reads_as_utf8(self.session) else None
        return AS_IT_IS if found is None else plan(found, await self._catalog(found.query))

    async def _catalog(self, query: str) -> Catalog:
        """What the session's new server says of sequences."""
        connection = self.session.leased_connection
        if connection is None:
            raise BackendLost("the new server was lost while a transaction was repeated")
        with Conversation(connection, _unheard) as conversation:
            (reading,) = conversation.say(Query(query))
            await conversation.settle()
        rows = reading.answer.rows
        return Catalog.of([[None if each is None else each.encode() for each in row] for row in rows])

    async def _pass_sequences(self) -> Difference | None:
        """Nobody shall draw what a client has been told is its own."""
        must_pass = merged(self._passed)
        at = self.session.destination
        if must_pass and not await self.means.sequences.move(at.backend.name, at.database, must_pass):
            return Difference("sequence", "a sequence could not be moved past a value that it has returned")
        return None


def _reads_as_utf8(session: RecoverableSession) -> bool:
    reported = session.virtual.reported
    return (
        reported.get("client_encoding", "UTF8") == "UTF8"
        and reported.get("standard_conforming_strings", "on") == "on"
    )


def drawn_by(run: Run, exchange: Exchange) -> Wanted | None:
    """What a statement has told its client of sequences; None: nothing, or nobody can tell."""
    columns, rows = run.columns, []
    for code, body in exchange.answer.messages():
        if code == Backend.ROW_DESCRIPTION:
            columns = body
        elif code == Backend.DATA_ROW:
            rows.append(body)
    if columns is None or exchange.answer.is_long:
        return None
    return wanted(run.text, Recorded(columns, rows, run.formats))


def all_drawn(session: RecoverableSession, situation: Situation) -> list[Wanted]:
    """What the open transaction of a session has told its client of sequences."""
    if not situation.in_transaction or not _reads_as_utf8(session):
        return []
    runs = ((run_of(bytes(each.request), session.virtual.statements), each) for each in situation.done)
    found = (drawn_by(run, each) for run, each in runs if run is not None)
    return [each for each in found if each is not None]


async def ask_again(session: RecoverableSession, request: bytes, time_limit: float) -> Answer:
    """One request, whose answer its client does not see. Raises BackendUnavailable, also when it takes too long."""
    repeat = session.replay = Repeat()
    with trio.move_on_after(time_limit):
        session.feed_again(request)
        answer = await repeat.end()
        session.replay = None
        return answer
    raise BackendUnavailable(f"a statement that is done again took more than {time_limit:g} s")


async def repeat_cursors(
    session: RecoverableSession, exchanges: Sequence[tuple[str, Exchange]], time_limit: float
) -> None:
    """Declare held cursors again, and fetch what was fetched. Raises CannotCarry (rows differ), BackendLost."""
    for name, exchange in exchanges:
        answer = await ask_again(session, bytes(exchange.request), time_limit)
        if difference := _without_status(exchange.answer).differs(_without_status(answer), ordered=True):
            raise CannotCarry((f"held cursor {name}: {difference.text}",))


def _without_parsing(answer: Answer) -> Answer:
    """A statement that is rewritten is parsed and closed, whether the client's was or not."""
    quiet = (Backend.PARSE_COMPLETE, Backend.CLOSE_COMPLETE, Backend.ROW_DESCRIPTION, Backend.NO_DATA)
    return _without(answer, quiet)


def _without_status(answer: Answer) -> Answer:
    """What was done in a transaction is done outside of one now."""
    return _without(answer, (Backend.READY_FOR_QUERY,))


def _without(answer: Answer, codes: Sequence[int]) -> Answer:
    kept = Answer()
    for code, body in answer.messages():
        if code not in codes:
            kept.add_message(code, body)
    return kept


def _unheard(frame: bytes) -> None:
    """Notifications that come while nobody listens yet."""


def _is_ordered(facts: Facts) -> bool:
    """Whether it says in which order it wants its rows; by the word, so more often than it matters."""
    return b"order" in facts.text.lower()


def _has_error(answer: Answer, codes: Sequence[bytes]) -> bool:
    return any(
        code == Backend.ERROR_RESPONSE and any(b"\0C" + each + b"\0" in body for each in codes)
        for code, body in answer.messages()
    )
