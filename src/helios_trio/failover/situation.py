"""What a session had open when its server was lost: which requests, what they do, and what is to be done about them.

Pure: the journal and the loss go in, a `Situation` comes out.

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field

from helios_trio.failover.asked import FactsOf, Fate, Names, fate_of, leaves_nothing, names_made_by
from helios_trio.failover.journal import Exchange, Journal
from helios_trio.session.prepared import PreparedStatement
from helios_trio.sql.facts import Facts
from helios_trio.sql.kinds import TransactionVerb
from helios_trio.wire.codes import Backend, Status


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
        exchanges = journal.exchanges()
        changed = names_made_by(bytes(each.request) for each in exchanges)
        known = {name: each.facts for name, each in statements.items() if name not in changed}
        names = Names(facts_of, known)
        found = cls(
            done=[each for each in exchanges if each.done],
            open=[each for each in exchanges if not each.done],
            begun_in=journal.begun_in,
            fate=Fate.RESEND,
            prepared=frozenset(),
        )
        found._texts = {
            id(each): names.asked_by(bytes(each.request), failed=_has_failed(each)) for each in exchanges
        }
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
        status, fates, wrote = self.begun_in, list[Fate](), bool(lost)
        for each in self.done:
            texts = names.asked_by(bytes(each.request), failed=_has_failed(each))
            wrote |= not all(map(leaves_nothing, texts))
        for at, each in enumerate(self.open):
            if sent <= 0:
                break
            failed = _has_failed(each)
            texts = names.asked_by(bytes(each.request[:sent]), failed=failed)
            sent -= len(each.request)
            # nothing but a COMMIT is noted behind what was not answered yet
            noted = at == 0 or (len(texts) == 1 and texts[0].is_commit)
            fates.append(
                fate_of(
                    texts,
                    status,
                    whole=each.whole and sent >= 0,
                    failed=failed,
                    token=token if noted else None,
                    wrote=wrote,
                )
            )
            wrote |= not all(map(leaves_nothing, texts))
            status = _status_after(status, texts)
        return _of_all(fates, token)


def _of_all(fates: Sequence[Fate], token: str | None) -> Fate:
    if len(fates) <= 1:
        return fates[0] if fates else Fate.RESEND
    if all(each in (Fate.RESEND, Fate.ROLLED_BACK) for each in fates):
        return Fate.RESEND
    others = [each for each in fates if each not in (Fate.RESEND, Fate.ROLLED_BACK)]
    return Fate.RESOLVE if others == [Fate.RESOLVE] and token is not None else Fate.UNKNOWN


def _status_after(status: int, texts: Sequence[Facts]) -> int:
    """Transaction status behind a request that was not answered: in a block only if nothing can have prevented it."""
    for at, statement in enumerate(each for facts in texts for each in facts.statements):
        verb = None if statement.transaction is None else statement.transaction.verb
        if verb is TransactionVerb.BEGIN:
            status = Status.IN_TRANSACTION if at == 0 else status
        elif verb in (TransactionVerb.COMMIT, TransactionVerb.ROLLBACK):
            status = Status.IDLE
    return status


def _has_failed(exchange: Exchange) -> bool:
    """Whether its client has been told of an error."""
    return any(code == Backend.ERROR_RESPONSE for code, _ in exchange.answer.messages())
