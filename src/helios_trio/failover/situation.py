"""What a session had open when its server was lost: which requests, what they do, and what is to be done about them.

Pure: the journal and the loss go in, a `Situation` comes out.

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from helios_trio.failover.asked import FactsOf, Fate, Names, fate_of, leaves_nothing, names_made_by
from helios_trio.failover.journal import Exchange, Journal
from helios_trio.pipeline.rescue import Urgency
from helios_trio.session.guarding import is_copy_in
from helios_trio.session.prepared import PreparedStatement
from helios_trio.sql.facts import UNPARSED, Facts
from helios_trio.sql.kinds import TransactionVerb
from helios_trio.wire.codes import Backend, Status

_ANY: Final = frozenset({Status.IDLE, Status.IN_TRANSACTION})
_ENDS: Final = frozenset({TransactionVerb.COMMIT, TransactionVerb.ROLLBACK, TransactionVerb.PREPARE})
#: Where nobody knows whether a transaction was open, the last of these is believed.
_WORSE: Final = (Fate.ROLLED_BACK, Fate.FAILED, Fate.RESEND, Fate.RESOLVE, Fate.UNKNOWN)


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
    #: some of what was not answered was sent
    under_way: bool = False
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
            under_way=sent > 0 or any(each.dropped for each in exchanges),
        )
        found._texts = {id(each): _asked_by(names, each, bytes(each.request)) for each in exchanges}
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
    def urgency(self) -> Urgency:
        """How soon its session must go on (rule 27)."""
        if self.in_transaction:
            return Urgency.TRANSACTION
        return Urgency.REQUEST if self.under_way else Urgency.NEW

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
        wrote = bool(lost)
        for each in self.done:
            wrote |= not all(map(leaves_nothing, _asked_by(names, each, bytes(each.request))))
        asked = list(self._sent(names, sent))
        noted = _noted_by([each.texts for each in asked])
        fates, begun_in = list[Fate](), frozenset({self.begun_in})
        for at, request in enumerate(asked):
            known = token if noted == at else None
            fates.append(
                max((request.fate(status, known, wrote=wrote) for status in begun_in), key=_WORSE.index)
            )
            wrote |= not all(map(leaves_nothing, request.texts))
            begun_in = frozenset().union(*(_statuses_after(status, request.texts) for status in begun_in))
        return _of_all(fates, token)

    def _sent(self, names: Names, sent: int) -> Iterator[_Sent]:
        """Those of the open requests that were sent, as far as they were; `sent` counts those whose text is kept."""
        for each in self.open:
            if each.dropped:
                yield _Sent.of(each, _asked_by(names, each, b""), whole=each.whole)
                continue
            if sent <= 0:
                return
            texts = _asked_by(names, each, bytes(each.request[:sent]))
            sent -= len(each.request)
            yield _Sent.of(each, texts, whole=each.whole and sent >= 0)


@frozen
class _Sent:
    """A request that was sent, or part of it."""

    texts: Sequence[Facts]
    whole: bool
    failed: bool

    @classmethod
    def of(cls, exchange: Exchange, texts: Sequence[Facts], *, whole: bool) -> _Sent:
        """A COPY FROM STDIN is whole when its data is: before that it cannot have ended but by failing."""
        failed = _has_failed(exchange)
        if len(texts) == 1 and is_copy_in(texts[0]):
            whole &= exchange.copy_done or failed
        return cls(texts, whole, failed)

    def fate(self, begun_in: int, token: str | None, *, wrote: bool) -> Fate:
        """See `fate_of`."""
        return fate_of(self.texts, begun_in, whole=self.whole, failed=self.failed, token=token, wrote=wrote)


def _asked_by(names: Names, exchange: Exchange, request: bytes) -> Sequence[Facts]:
    """What a request runs; of one whose text is gone nothing is known but the Query that it began with."""
    if exchange.dropped:
        return names.asked_by(bytes(exchange.request)) or (UNPARSED,)
    return names.asked_by(request, certain=exchange.done and not _has_failed(exchange))


def _noted_by(asked: Sequence[Sequence[Facts]]) -> int | None:
    """Which request the id belongs to: behind what was not answered nothing but a COMMIT by itself is noted.

    None: that cannot be told.
    """
    commits = [at for at, texts in enumerate(asked) if any(facts.is_commit for facts in texts)]
    if len(commits) > 1:
        return None
    at = commits[0] if commits else 0
    return at if at == 0 or len(asked[at]) == 1 else None


def _of_all(fates: Sequence[Fate], token: str | None) -> Fate:
    if len(fates) <= 1:
        return fates[0] if fates else Fate.RESEND
    if all(each in (Fate.RESEND, Fate.ROLLED_BACK) for each in fates):
        return Fate.RESEND
    others = [each for each in fates if each not in (Fate.RESEND, Fate.ROLLED_BACK)]
    return Fate.RESOLVE if others == [Fate.RESOLVE] and token is not None else Fate.UNKNOWN


def _statuses_after(status: int, texts: Sequence[Facts]) -> frozenset[int]:
    """Transaction statuses that there may be behind a request that was not answered: each statement may have failed.

    Only its first cannot, if it begins or ends a transaction. One that has failed counts as one that is open.
    """
    found, now = set[int](), Status.IDLE if status == Status.IDLE else Status.IN_TRANSACTION
    if not all(facts.parsed for facts in texts):
        return _ANY
    for at, statement in enumerate(each for facts in texts for each in facts.statements):
        if at:
            found.add(now)
        control = statement.transaction
        if control is not None and (control.verb is TransactionVerb.BEGIN or control.chain):
            now = Status.IN_TRANSACTION
        elif control is not None and control.verb in _ENDS:
            now = Status.IDLE
    return frozenset({*found, now})


def _has_failed(exchange: Exchange) -> bool:
    """Whether its client has been told of an error."""
    return any(code == Backend.ERROR_RESPONSE for code, _ in exchange.answer.messages())
