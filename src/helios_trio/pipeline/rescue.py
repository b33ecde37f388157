"""What a session that has lost its server asks of the rest of the proxy: where to go on, and what became of its COMMIT.

Data classes and protocols only. A session knows what it had and what its client was told; it does not know whether its
server is dead, who succeeds it, or how a transaction ended whose COMMIT was never answered.

Used by: failover (implements and asks), proxy.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import IntEnum, StrEnum
from typing import Protocol

from attrs import frozen


class CommitOutcome(StrEnum):
    """What became of a transaction whose COMMIT was sent and not answered (rule 29)."""

    COMMITTED = "committed"
    #: it has not committed, and never will
    NOT_COMMITTED = "not committed"
    #: nobody can tell: the client gets 08007, never success
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class CommitInFlight:
    """A COMMIT, or a single write that commits by itself, that was sent and not answered."""

    #: name of the backend it was sent to
    backend: str
    #: the server's own name of the database
    database: str
    #: pid of the server process it was sent to
    pid: int
    #: the id that the transaction wrote for itself, as a UUID in text form; None: it wrote none
    token: str | None = None
    #: its transaction id as `pg_current_xact_id()` tells it, where that was asked; None: it was not
    xid: int | None = None
    #: when it was sent (seconds on Trio's clock): who has the pid now but came later is another; None: not known
    sent_at: float | None = None


class Outcomes(Protocol):
    """Finds out what became of transactions."""

    async def resolve(self, commit: CommitInFlight, at: str) -> CommitOutcome:
        """Ask the backend named `at`, which takes writes, what became of a transaction.

        Makes sure that the answer stays true: what has not committed will not commit later. `at` is the backend that
        the transaction ran on if that server lives, else the one that has succeeded it (and the old one is fenced).
        Raises nothing but what cancels: what cannot be found out is UNKNOWN.
        """

    async def end_process(self, commit: CommitInFlight, at: str) -> None:
        """Make sure that the server process has ended, and with it whatever transaction it had open.

        Does nothing where `at` is another backend than the one it ran on. Returns in any case, after a time limit if
        need be. Raises nothing but what cancels.
        """


class Urgency(IntEnum):
    """In which order sessions go on after a failover (rule 27): the smaller, the sooner."""

    #: a transaction is to be done again, and must find what it has found before
    TRANSACTION = 0
    #: a request was under way, and nothing before it
    REQUEST = 1
    #: nothing was: new clients, and sessions that had no connection or asked for nothing
    NEW = 2


class Primaries(Protocol):
    """Knows which backend takes the writes of another that may be dead."""

    def suspect(self, backend: str, reason: str) -> None:
        """Something that only a dead or dying server does has been seen: look at it now. Returns at once."""

    async def settled(self, backend: str, urgency: Urgency = Urgency.NEW) -> str:
        """The name of the backend that serves what `backend` served, once it is known to take writes.

        That is `backend` itself when its server lives, or lives again. After a failover it is the new primary, and
        returns in the order in which sessions may go on: by urgency, and without a stampede. Raises
        BackendUnavailable (57P03, with a hint) when there is none within failover_timeout.
        """

    def precedence(self, backend: str, urgency: Urgency) -> AbstractContextManager[None]:
        """While the block runs a session is being brought from there to where it goes on.

        Those that are less urgent are not `settled` before its end, unless that takes too long.
        """
