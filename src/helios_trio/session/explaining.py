"""What a session has, kind by kind, and why it could not be moved now: the answer to an operator's question (rule 15).

From what was tracked alone: nothing is asked of a server, so what function bodies did is not in it.

Used by: session.virtual, and through it the admin room and migration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from attrs import frozen

from helios_trio.config.words import StateKind
from helios_trio.session.pins import REASONS, Bond
from helios_trio.session.settings import Label

if TYPE_CHECKING:
    from helios_trio.session.virtual import VirtualSession

#: Settings that are a kind of state of their own: SET SESSION CHARACTERISTICS.
ISOLATION_SETTINGS: Final = frozenset(
    ("default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable")
)
#: The kind of state that has no word in the configuration, because it is always carried.
SEQUENCE_VALUES: Final = "sequence_values"
#: Values of the start-up parameter `replication` that make no walsender (PostgreSQL docs, "Message Flow").
_NO_WALSENDER: Final = frozenset(("", "false", "off", "no", "0"))


@frozen
class Amount:
    """How much of a kind there is; `size` is the bytes of its texts that are kept here."""

    count: int
    size: int = 0


@frozen
class Explanation:
    """All that a session has, as far as it was tracked."""

    #: `StateKind` or `SEQUENCE_VALUES` -> how much; kinds of which there is nothing are left out
    state: Mapping[str, Amount]
    #: short sentences, each naming the thing; none: it can be moved
    reasons: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> how many."""
        return {kind: amount.count for kind, amount in self.state.items()}

    @property
    def size(self) -> int:
        """Bytes of all texts together."""
        return sum(amount.size for amount in self.state.values())


def explain(session: VirtualSession) -> Explanation:
    """See `VirtualSession.explain`."""
    found = {kind: Amount(count, size) for kind, count, size in _amounts(session) if count}
    return Explanation(found, tuple(_reasons(session)))


def _amounts(session: VirtualSession) -> Iterator[tuple[str, int, int]]:
    """Kind, how many, bytes; most sessions have nothing of most kinds."""
    state, pins = session.state, session.pins
    now, objects = state.now, state.now.objects
    if now.wanted is not state.startup:
        yield from _of_settings(now.wanted, state.startup)
    if session.statements or session.sql_prepared:
        yield _of_statements(session)
    yield StateKind.TEMPORARY_TABLES, max(len(objects.temporary), pins.get("temporary objects", 0)), 0
    yield StateKind.CURSORS, max(len(objects.cursors), pins.get("held cursors", 0)), 0
    yield StateKind.ADVISORY_LOCKS, max(int(session.may_hold_locks), pins.get("advisory locks", 0)), 0
    if listening := state.listening:
        yield StateKind.CHANNELS, len(listening), sum(map(len, listening))
    yield SEQUENCE_VALUES, int(Bond.SEQUENCES in session.bound), 0


def _of_settings(label: Label, startup: Label) -> Iterator[tuple[str, int, int]]:
    count = size = special = special_size = 0
    for name, value in label.items():
        if startup.get(name) == value:
            continue
        if name in ISOLATION_SETTINGS:
            special, special_size = special + 1, special_size + len(name) + len(value)
        else:
            count, size = count + 1, size + len(name) + len(value)
    yield StateKind.SESSION_VARIABLES, count, size
    yield StateKind.TRANSACTION_ISOLATION, special, special_size


def _of_statements(session: VirtualSession) -> tuple[str, int, int]:
    """The unnamed statement is none that a client means to keep."""
    protocol, sql = session.statements, session.sql_prepared
    size = sum(len(each.text) + len(name) for name, each in protocol.items() if name)
    size += sum(len(each.text or "") + len(name) for name, each in sql.items())
    return StateKind.PREPARED_STATEMENTS, len(protocol) - (b"" in protocol) + len(sql), size


def _reasons(session: VirtualSession) -> Iterator[str]:
    if "replication" in session.startup and is_walsender(session.startup):
        yield "it is a replication connection"
    for bond in session.bound:
        if bond in REASONS:
            yield REASONS[bond]
    for name in sorted(session.two_phase) if session.two_phase else ():
        yield f'transaction "{name}" is prepared and neither committed nor rolled back'
    if session.overfull:
        yield "it has made more temporary objects, cursors or prepared statements than are followed"
    unnamed = session.statements.get(b"")
    if unnamed is not None and not unnamed.kept:
        yield "its unnamed statement is very large, and no server can be asked for its text"


def is_walsender(startup: Mapping[str, str]) -> bool:
    """Whether these start-up parameters ask for a replication connection."""
    return startup.get("replication", "").lower() not in _NO_WALSENDER
