"""`OutcomeResolver`: finds out what became of a transaction whose COMMIT was never answered (correctness rule 29).

The answer must stay true, so what can still commit is ended first. On the server that the transaction ran on, that
is its server process; a COMMIT that waits for a standby shows nothing to anybody until then. A server that has been
promoted has replayed all it ever will of its predecessor, which is fenced. What then decides is the transaction's
token (`control.setup_commits`), or its transaction id where there is no token.

Used by: composition.recovering (makes it), failover's recovery of sessions (asks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

import psycopg
import structlog
import trio
from attrs import define, evolve, field

from helios_trio.errors import HeliosError
from helios_trio.failover.outcome_desk import Connect, Desk, Question
from helios_trio.pipeline.rescue import CommitInFlight, CommitOutcome

_log = structlog.get_logger(__name__)

#: Seconds between two looks at what is not decided yet: they double from the first to the second.
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.25


def _not_known(backend: str) -> int | None:
    return None


@define(eq=False, kw_only=True)
class OutcomeResolver:
    """See `pipeline.rescue.Outcomes`. Sessions that ask at the same time share one connection per database."""

    #: opens a control connection in autocommit, by names of backend and database; raises psycopg.Error, OSError,
    #: HeliosError
    connect: Connect
    #: seconds for one question; after that its answer is UNKNOWN
    time_limit: float = 30.0
    #: seconds after which a token may have been deleted (see `commit_notes`), so that its absence says nothing
    token_lifetime: float = 3600.0
    #: the id that the first new transaction of a promoted server got, or any up to it, by its name; where it is not
    #: known, an id that reads as committed there may be another's
    first_xid: Callable[[str], int | None] = _not_known
    _desks: dict[tuple[str, str], Desk] = field(factory=dict, init=False)

    async def resolve(self, commit: CommitInFlight, at: str) -> CommitOutcome:
        """See `pipeline.rescue.Outcomes`."""
        await trio.lowlevel.checkpoint()
        question = self._question(commit, at)
        if commit.token is None and commit.xid is None:
            return self._give_up(question, "it has neither a token nor a transaction id")
        return await self._at_desk(question, commit, at)

    async def end_process(self, commit: CommitInFlight, at: str) -> None:
        """See `pipeline.rescue.Outcomes`."""
        await trio.lowlevel.checkpoint()
        if at == commit.backend:
            question = self._question(evolve(commit, token=None, xid=None), at)
            await self._at_desk(question, commit, at)

    async def _at_desk(self, question: Question, commit: CommitInFlight, at: str) -> CommitOutcome:
        """Share the connection with whoever asks the same server."""
        desk = self._desks.setdefault((at, commit.database), Desk(self.connect, at, commit.database))
        desk.users += 1
        try:
            with trio.move_on_after(self.time_limit):
                return await self._ask(desk, question)
            return self._give_up(question, f"not decided within {self.time_limit:g} s")
        finally:
            desk.users -= 1
            if not desk.users:
                del self._desks[at, commit.database]
                desk.close()

    def _question(self, commit: CommitInFlight, at: str) -> Question:
        now = trio.current_time()
        return Question(
            token=None if commit.token is None else str(UUID(commit.token)),
            xid=commit.xid,
            pid=commit.pid if at == commit.backend else None,
            sent_at=now if commit.sent_at is None else commit.sent_at,
            token_good_until=(now if commit.sent_at is None else commit.sent_at) + self.token_lifetime / 2,
            first_xid=self.first_xid(at),
        )

    async def _ask(self, desk: Desk, question: Question) -> CommitOutcome:
        """Ask until there is an answer."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await desk.ask(question)
            except (psycopg.Error, OSError, HeliosError) as error:
                question.trouble = str(error).partition("\n")[0] or type(error).__name__
            if question.outcome is CommitOutcome.UNKNOWN and (question.by_token or question.xid is not None):
                return self._give_up(question, "nothing can tell")
            if question.outcome is not None:
                return question.outcome
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _give_up(self, question: Question, reason: str) -> CommitOutcome:
        _log.warning("outcome of a COMMIT stays unknown", reason=question.trouble or reason, pid=question.pid)
        return CommitOutcome.UNKNOWN
