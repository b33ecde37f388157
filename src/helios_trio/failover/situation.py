"""What a session had open when its server was lost: which requests, what they do, and what is to be done about them.

Pure: the journal and the loss go in, a `Situation` comes out.

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field

from helios_trio.failover.asked import FactsOf, Fate, Names, fate_of, leaves_nothing
from helios_trio.failover.journal import Exchange, Journal
from helios_trio.session.prepared import PreparedStatement
from helios_trio.sql.facts import Facts
from helios_trio.wire.codes import Backend, Status

_AFTER: Final = {"BEGIN": Status.IN_TRANSACTION, "COMMIT": Status.IDLE, "ROLLBACK": Status.IDLE}


@define(eq=False)
class Situation:
    """See the module."""

    #: requests of the open transaction that were answered to their end
    done: list[Exchange]
    #: those that were not: sent, sent in part, or not sent
    open: list[Exchange]
    #: transaction status before the first of them
    begun_in: int
    #: what becomes of those that were sent
    fate: Fate
    #: names of statements that the open transaction has prepared
    prepared: frozenset[bytes]
    _texts: dict[int, Sequence[Facts]] = field(factory=dict)

    @classmethod
    def of(
        cls,
        journal: Journal,
        statements: Mapping[bytes, PreparedStatement],
        facts_of: FactsOf,
        *,
        sent: int,
        token: str | None,
    ) -> Situation:
        """Read a journal.

        Args:
            journal: of the session.
            statements: its prepared statements by name.
            facts_of: knows what a text does.
            sent: bytes of what was not answered that were sent to the server.
            token: the id under which a commit was under way; None: under none.
        """
        known = {name: each.facts for name, each in statements.items()}
        exchanges = journal.exchanges()
        names = Names(facts_of, known)
        found = cls(
            done=[each for each in exchanges if each.done],
            open=[each for each in exchanges if not each.done],
            begun_in=journal.begun_in,
            fate=Fate.RESEND,
            prepared=frozenset(),
        )
        found._texts = {id(each): names.asked_by(bytes(each.request)) for each in exchanges}
        found.prepared = names.parsed
        found.fate = found._judge(Names(facts_of, known), sent, token, journal.lost)
        return found

    @property
    def first(self) -> Exchange | None:
        """The request whose answer was broken off."""
        return self.open[0] if self.open else None

    @property
    def in_transaction(self) -> bool:
        """A transaction was open before the first request that was not answered."""
        return self.begun_in != Status.IDLE

    @property
    def ends_itself(self) -> bool:
        """What was under way is meant to end server processes; its own, as it seems."""
        under_way = self.texts(self.open[0]) if self.open else ()
        called = (name for facts in under_way for each in facts.statements for name in each.functions)
        return any(name.rpartition(".")[2] == "pg_terminate_backend" for name in called)

    def texts(self, exchange: Exchange) -> Sequence[Facts]:
        """What a request runs."""
        return self._texts[id(exchange)]

    def has_committed(self) -> None:
        """The first of the open requests has ended the transaction; only what is behind it is still open."""
        self.open, self.done = self.open[1:], []
        self.begun_in, self.fate = Status.IDLE, Fate.RESEND

    def _judge(self, names: Names, sent: int, token: str | None, lost: str) -> Fate:
        """What becomes of all that was sent; of several requests, what is worst."""
        status, fates = self.begun_in, []
        wrote = bool(lost)
        for each in self.done:
            wrote |= not all(map(leaves_nothing, names.asked_by(bytes(each.request))))
        for each in self.open:
            if sent <= 0:
                break
            texts = names.asked_by(bytes(each.request[:sent]))
            sent -= len(each.request)
            whole = each.whole and sent >= 0
            fates.append(
                fate_of(texts, status, whole=whole, failed=_has_failed(each), token=token, wrote=wrote)
            )
            wrote |= not all(map(leaves_nothing, texts))
            status = _status_after(status, texts)
        return _of_all(fates, token)


def _of_all(fates: Sequence[Fate], token: str | None) -> Fate:
    if len(fates) <= 1:
        return fates[0] if fates else Fate.RESEND
    if all(each in (Fate.RESEND, Fate.ROLLED_BACK) for each in fates):
        return Fate.RESEND
    certain = fates.count(Fate.RESOLVE) == 1 and Fate.UNKNOWN not in fates
    return Fate.RESOLVE if certain and token is not None else Fate.UNKNOWN


def _status_after(status: int, texts: Sequence[Facts]) -> int:
    """Transaction status behind a request that was not answered, if it succeeds."""
    for facts in texts:
        for statement in facts.statements:
            if statement.transaction is not None:
                status = _AFTER.get(statement.transaction.verb.name, status)
    return status


def _has_failed(exchange: Exchange) -> bool:
    """Whether its client has been told of an error."""
    return any(code == Backend.ERROR_RESPONSE for code, _ in exchange.answer.messages())
