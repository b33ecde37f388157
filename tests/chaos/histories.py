"""Histories: what many clients did at the same time and what they were told, judged by what is in the database.

Each client numbers what it does. A write enters itself into a ledger (client and number), and pays an amount from one
account to another in the same transaction. When all is over, `violations` says where what clients were told and what
they were shown does not agree with the ledger and the accounts:

* what was acknowledged is there exactly once, with the content that it was written with;
* what was refused, for whatever reason but 08007, is not there; what is unknown is there at most once;
* the balances are what the ledger says, and nothing is in it that nobody wrote;
* ids that clients were given are those of their entries;
* a read saw nothing that is not there now, and all that had been acknowledged before it began.

Used by: chaos_bank (makes them), the tests of failover in this folder.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from attrs import define, field, frozen

Key = tuple[int, int]
#: Of violations of one kind so many are named; more are counted.
NAMED: Final = 10


class Outcome(Enum):
    """What a client was told of a write."""

    ACKNOWLEDGED = "acknowledged"
    #: an error that says that nothing has happened
    REFUSED = "refused"
    #: 08007 that says that it has committed, though not what was answered
    COMMITTED_UNANSWERED = "committed, answer lost"
    #: 08007: nobody can tell
    UNKNOWN = "unknown"
    #: the connection ended without a word
    LOST = "connection lost"


_ALLOWED: Final[Mapping[Outcome, frozenset[int]]] = {
    Outcome.ACKNOWLEDGED: frozenset({1}),
    Outcome.COMMITTED_UNANSWERED: frozenset({1}),
    Outcome.REFUSED: frozenset({0}),
    Outcome.UNKNOWN: frozenset({0, 1}),
    Outcome.LOST: frozenset({0, 1}),
}


@frozen(kw_only=True)
class Payment:
    """What a write means to do; account None: nothing but the entry."""

    payer: int | None = None
    payee: int | None = None
    amount: int = 0


@frozen(kw_only=True)
class Write:
    """One write, and what its client was told. Times in seconds on one clock for all clients."""

    client: int
    number: int
    #: how it was done: protocol, shape of the transaction
    way: str
    payment: Payment
    began: float
    ended: float
    outcome: Outcome
    sqlstate: str | None = None
    message: str = ""
    #: the id of the entry, where the client was given it
    id: int | None = None

    @property
    def key(self) -> Key:
        """By this it is known in the ledger."""
        return self.client, self.number


@frozen(kw_only=True)
class Read:
    """What one client saw of the entries of another with numbers above one."""

    client: int
    about: int
    above: int
    began: float
    #: the numbers, one by one
    seen: tuple[int, ...]


@frozen(kw_only=True)
class Entry:
    """A row of the ledger."""

    id: int
    client: int
    number: int
    payment: Payment

    @property
    def key(self) -> Key:
        """See `Write`."""
        return self.client, self.number


@define
class History:
    """All that was done; clients append to it concurrently."""

    writes: list[Write] = field(factory=list)
    reads: list[Read] = field(factory=list)
    #: errors of what was not a write: connecting, reading
    troubles: list[str] = field(factory=list)

    def tally(self) -> Counter[str]:
        """How often clients were told what; errors by their SQLSTATE."""
        return Counter(each.sqlstate or each.outcome.value for each in self.writes)

    def errors(self) -> list[Write]:
        """All but what was acknowledged."""
        return [each for each in self.writes if each.outcome is not Outcome.ACKNOWLEDGED]

    def complaints(self, *allowed: Outcome) -> list[str]:
        """What clients noticed, in words, but for what is allowed; empty: nothing."""
        errors = [each for each in self.errors() if each.outcome not in allowed]
        told = Counter(f"{each.way}: {each.sqlstate} {each.message}" for each in errors)
        return [f"{count} x {text}" for text, count in (told + Counter(self.troubles)).most_common(NAMED)]


@frozen
class Ledger:
    """What is in the database when all is over."""

    entries: Sequence[Entry]
    #: by account
    balances: Mapping[int, int]
    #: of each account, at the beginning
    opening_balance: int


def violations(history: History, ledger: Ledger) -> list[str]:
    """Where history and ledger do not agree, in words; empty: nowhere."""
    found = defaultdict[str, list[str]](list)
    for kind, text in _violations(history, ledger):
        found[kind].append(text)
    return [
        f"{kind} ({len(texts)}): {text}" for kind, texts in found.items() for text in sorted(texts)[:NAMED]
    ]


def _violations(history: History, ledger: Ledger) -> Iterator[tuple[str, str]]:
    counts = Counter(entry.key for entry in ledger.entries)
    yield from _wrong_counts(history, counts)
    yield from _wrong_contents(history, ledger)
    yield from _wrong_balances(ledger)
    yield from _wrong_reads(history, counts)


def _wrong_counts(history: History, counts: Mapping[Key, int]) -> Iterator[tuple[str, str]]:
    known = {each.key for each in history.writes}
    if len(known) != len(history.writes):
        yield "bad history", "a number was used twice"
    for write in history.writes:
        count = counts.get(write.key, 0)
        if count not in _ALLOWED[write.outcome]:
            kind = "doubled" if count > 1 else f"{write.outcome.value}, and {'there' if count else 'lost'}"
            yield kind, f"{write.key} {write.way} {write.sqlstate or ''} {write.message}, {count} times"
    for key in counts.keys() - known:
        yield "from nowhere", f"{key}"


def _wrong_contents(history: History, ledger: Ledger) -> Iterator[tuple[str, str]]:
    writes = {each.key: each for each in history.writes}
    for entry in ledger.entries:
        write = writes.get(entry.key)
        if write is None:
            continue
        if entry.payment != write.payment:
            yield "changed", f"{entry.key} {write.way}: {entry.payment} instead of {write.payment}"
        if write.id is not None and write.id != entry.id:
            yield "other id", f"{entry.key} {write.way}: {entry.id} where its client was given {write.id}"
    for id, number in Counter(entry.id for entry in ledger.entries).items():
        if number > 1:
            yield "id given twice", f"{id}"


def _wrong_balances(ledger: Ledger) -> Iterator[tuple[str, str]]:
    expected = dict.fromkeys(ledger.balances, ledger.opening_balance)
    for entry in ledger.entries:
        payment = entry.payment
        for account, amount in ((payment.payer, -payment.amount), (payment.payee, payment.amount)):
            if account is not None:
                expected[account] = expected.get(account, 0) + amount
    for account in sorted(expected):
        if ledger.balances.get(account) != expected[account]:
            yield (
                "wrong balance",
                f"account {account}: {ledger.balances.get(account)} instead of {expected[account]}",
            )


def _wrong_reads(history: History, counts: Mapping[Key, int]) -> Iterator[tuple[str, str]]:
    told = defaultdict[int, list[Write]](list)
    for write in history.writes:
        if write.outcome is Outcome.ACKNOWLEDGED:
            told[write.client].append(write)
    for read in history.reads:
        seen = Counter(read.seen)
        for number, times in seen.items():
            if times > 1:
                yield "seen twice", f"{(read.about, number)} by {read.client}"
            if not counts.get((read.about, number)):
                yield "seen, and lost", f"{(read.about, number)} by {read.client}"
        for write in told[read.about]:
            if write.number > read.above and write.ended < read.began and write.number not in seen:
                yield "not seen", f"{write.key} by {read.client}, acknowledged before"
