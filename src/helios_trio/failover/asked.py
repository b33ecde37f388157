"""What the requests of a journal ask for, and what may be done about one that was not answered. Pure.

Used by: failover.recovery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

from attrs import define, field

from helios_trio.failover.replies import frames_of
from helios_trio.session.guarding import is_copy_in
from helios_trio.session.preparing import STATEMENT, read_bind, read_parse
from helios_trio.sql.facts import UNPARSED, Facts, StatementFacts
from helios_trio.sql.kinds import CopyPeer, StatementKind, TransactionVerb
from helios_trio.wire.codes import Frontend, Status
from helios_trio.wire.frames import encode_frame

FactsOf: TypeAlias = Callable[[bytes], Facts]

#: Functions that PostgreSQL calls volatile and that leave nothing behind that anybody could miss or find twice.
_HARMLESS: Final = frozenset(
    {
        *("random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday"),
        *("pg_sleep", "pg_sleep_for", "pg_sleep_until", "nextval", "currval", "lastval", "set_config"),
        *(
            "pg_advisory_lock",
            "pg_advisory_lock_shared",
            "pg_try_advisory_lock",
            "pg_try_advisory_lock_shared",
        ),
        *("pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_try_advisory_xact_lock"),
        *("pg_try_advisory_xact_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_shared"),
        *("pg_advisory_unlock_all", "pg_is_in_recovery", "pg_backend_pid"),
    }
)
#: Statements that change nothing but the session, which is restored without them.
_OF_THE_SESSION: Final = frozenset(
    {
        *(StatementKind.SET, StatementKind.RESET, StatementKind.SHOW, StatementKind.DISCARD),
        *(StatementKind.PREPARE, StatementKind.DEALLOCATE, StatementKind.LISTEN, StatementKind.UNLISTEN),
        *(StatementKind.DECLARE, StatementKind.FETCH, StatementKind.MOVE, StatementKind.CLOSE),
    }
)
_READING: Final = frozenset({StatementKind.SELECT, StatementKind.VALUES, StatementKind.EXPLAIN})
#: Functions whose effects are not in the transaction (rule 28).
_OUTSIDE: Final = ("dblink", "lo_export", "pg_file_", "pg_terminate_backend", "pg_cancel_backend")
_GIVES_UP: Final = frozenset({TransactionVerb.ROLLBACK})
_PREPARED: Final = frozenset(
    {TransactionVerb.PREPARE, TransactionVerb.COMMIT_PREPARED, TransactionVerb.ROLLBACK_PREPARED}
)
#: What ends a transaction, or decides of another.
_ENDS: Final = _GIVES_UP | _PREPARED | {TransactionVerb.COMMIT}


@define(eq=False)
class Names:
    """Prepared statements and portals by their names, as the requests of a journal have made them."""

    facts_of: FactsOf
    #: those that were there before
    statements: Mapping[bytes, Facts]
    _parsed: dict[bytes, Facts] = field(factory=dict)
    _portals: dict[bytes, Facts] = field(factory=dict)

    def asked_by(self, request: bytes, *, certain: bool = True) -> Sequence[Facts]:
        """What a request runs, text by text; `UNPARSED` where that cannot be known.

        `certain`: it was carried out to its end. Otherwise a part of it may have been skipped, and what its names
        mean to the next request nobody can tell: what it has made, or what was there before.
        """
        before, bound_before = dict(self._parsed), dict(self._portals)
        found = tuple(self._texts(request))
        if not certain:
            _doubt(self._parsed, before)
            _doubt(self._portals, bound_before)
        return found

    @property
    def parsed(self) -> frozenset[bytes]:
        """Names of statements that the requests have prepared."""
        return frozenset(self._parsed)

    def _texts(self, request: bytes) -> Iterator[Facts]:
        for code, body in frames_of(request):
            if code == Frontend.QUERY:
                yield self.facts_of(body[:-1])
            elif code == Frontend.FUNCTION_CALL:
                yield UNPARSED
            elif code == Frontend.EXECUTE:
                yield self._portals.get(body[: body.find(0)], UNPARSED)
            else:
                self._note(code, body)

    def _note(self, code: int, body: bytes) -> None:
        frame = encode_frame(code, body)
        if code == Frontend.PARSE:
            if (found := read_parse(frame, 0, len(frame), self.facts_of)) is not None:
                known = self._parsed.get(found.name) if found.name else None
                same = known is None or known is found.facts
                self._parsed[found.name] = found.facts if same else UNPARSED
        elif code == Frontend.BIND:
            if (names := read_bind(frame, 0, len(frame))) is not None:
                portal, name, _ = names
                bound = self._parsed.get(name) or self.statements.get(name)
                self._portals[portal] = UNPARSED if bound is None else bound
        elif code == Frontend.CLOSE and body[:1] == bytes([STATEMENT]):
            self._parsed.pop(body[1:-1], None)


def _doubt(known: dict[bytes, Facts], before: Mapping[bytes, Facts]) -> None:
    """Of what has changed nothing is known."""
    changed = [name for name, facts in known.items() if before.get(name) is not facts]
    known.update(dict.fromkeys(changed, UNPARSED))


class Fate(Enum):
    """What is done about a request that was not answered to its end."""

    #: it is sent again, behind what was replayed: it cannot have had effects that stayed
    RESEND = "resend"
    #: it ends a transaction, or is one: find out what became of it
    RESOLVE = "resolve"
    #: it may have had effects that stayed, and nobody can tell
    UNKNOWN = "unknown"
    #: all that was to be said about it has been said, but for the end of the batch
    FAILED = "failed"
    #: it gives up a transaction that the server has given up already
    ROLLED_BACK = "rolled back"


def fate_of(
    texts: Sequence[Facts], begun_in: int, *, whole: bool, failed: bool, token: str | None, wrote: bool
) -> Fate:
    """What to do about a request that was sent, and not answered to its end.

    Args:
        texts: what it runs.
        begun_in: transaction status before it.
        whole: it was sent to its end.
        failed: its client has been told of an error.
        token: the id under which it, or its transaction, commits; None: under none.
        wrote: its transaction may have changed something before.
    """
    if len(texts) == 1 and (texts[0].is_commit or rolls_back(texts[0])):
        return _fate_of_end(texts[0], begun_in, whole=whole, token=token, wrote=wrote)
    if begun_in == Status.IDLE and whole and failed and not _begins(texts):
        return Fate.FAILED
    if may_have_stayed(texts, begun_in, whole=whole):
        return Fate.RESOLVE if token is not None and whole and _is_noted(texts, begun_in) else Fate.UNKNOWN
    outside = all(facts.parsed for facts in texts) and not_replayable(texts)
    return Fate.UNKNOWN if outside else Fate.RESEND


def _fate_of_end(facts: Facts, begun_in: int, *, whole: bool, token: str | None, wrote: bool) -> Fate:
    """COMMIT or ROLLBACK by itself."""
    if begun_in == Status.IDLE:
        return Fate.RESEND  # there is no transaction for it to end
    if rolls_back(facts) or begun_in == Status.FAILED:
        return Fate.ROLLED_BACK if whole else Fate.RESEND
    if not wrote:
        return Fate.RESEND
    return Fate.RESOLVE if whole and token is not None else Fate.UNKNOWN


def may_have_stayed(texts: Sequence[Facts], begun_in: int, *, whole: bool) -> bool:
    """Whether anything that the request does may be committed, if it was sent as far as these texts.

    What stands outside of BEGIN and COMMIT is committed at the end of the request, with all of that kind.
    """
    open_block, loose = begun_in != Status.IDLE, False
    for facts in texts:
        if not facts.parsed:
            return True
        for statement in facts.statements:
            control = statement.transaction
            if control is None:
                loose |= not open_block and not _leaves_nothing(statement)
                at_once = statement.ends_transaction_itself or (loose and statement.outside_transaction)
                if at_once and not open_block:
                    return True
            elif control.verb is TransactionVerb.BEGIN:
                # what stood before it belongs to the block, in both protocols (BeginTransactionBlock)
                open_block, loose = True, False
            elif control.verb in _ENDS:
                if control.verb not in _GIVES_UP and (open_block or loose):
                    return True
                if control.verb in _PREPARED:
                    return True
                open_block, loose = control.chain, False
    return whole and loose


def _is_noted(texts: Sequence[Facts], begun_in: int) -> bool:
    """Whether the id that is written with these is that of all they do."""
    if len(texts) == 1 and is_copy_in(texts[0]):
        return True
    if all(facts.is_single_write or (facts.plain and not facts.writes) for facts in texts):
        return True
    return texts[-1].is_commit and not may_have_stayed(texts[:-1], begun_in, whole=False)


def leaves_nothing(facts: Facts) -> bool:
    """Whether it can be run twice and nobody could tell, as far as its text shows (rule 30)."""
    return facts.parsed and all(map(_leaves_nothing, facts.statements))


def _leaves_nothing(statement: StatementFacts) -> bool:
    if statement.transaction is not None:
        return statement.transaction.verb is TransactionVerb.BEGIN
    if statement.written or statement.user_functions or statement.executes or statement.notifies:
        return False
    if statement.copy is not None and statement.copy.peer is not CopyPeer.STDIO:
        return False
    if not {*statement.volatile_functions, *statement.session_functions} <= _HARMLESS:
        return False
    if not statement.writes and not statement.opaque:
        return True
    return statement.kind in _OF_THE_SESSION or statement.kind in _READING


def names_made_by(requests: Iterable[bytes]) -> set[bytes]:
    """Names of statements that requests prepare or close: what they meant before is not known any more."""
    found: set[bytes] = set()
    for request in requests:
        for code, body in frames_of(request):
            if code == Frontend.PARSE:
                found.add(body[: body.find(0)])
            elif code == Frontend.CLOSE and body[:1] == bytes([STATEMENT]):
                found.add(body[1:-1])
    return found


def rolls_back(facts: Facts) -> bool:
    """One ROLLBACK and nothing else, that does not begin another transaction."""
    control = facts.statements[0].transaction if len(facts.statements) == 1 else None
    return control is not None and control.verb is TransactionVerb.ROLLBACK and not control.chain


def _begins(texts: Sequence[Facts]) -> bool:
    """Whether one of its statements begins a transaction, which an error behind it leaves open as a failed one."""
    controls = (statement.transaction for facts in texts for statement in facts.statements)
    return any(each is not None and (each.verb is TransactionVerb.BEGIN or each.chain) for each in controls)


def not_replayable(texts: Sequence[Facts]) -> str:
    """Why a request that was answered must not be done again (rule 28); empty: it may."""
    for facts in texts:
        if not facts.parsed:
            return "a statement of its could not be read"
        for statement in facts.statements:
            if reason := _not_replayable(statement):
                return reason
    return ""


def _not_replayable(statement: StatementFacts) -> str:
    if statement.copy is not None and statement.copy.peer is not CopyPeer.STDIO:
        return "it has run COPY with a file or a program of the server"
    for name in (*statement.user_functions, *statement.volatile_functions, *statement.session_functions):
        if name.rpartition(".")[2].startswith(_OUTSIDE):
            return f"it has called {name}(), whose effects are outside of the transaction"
    control = statement.transaction
    if control is not None and control.verb in (
        TransactionVerb.PREPARE,
        TransactionVerb.COMMIT_PREPARED,
        TransactionVerb.ROLLBACK_PREPARED,
    ):
        return "it has used two-phase commit"
    return ""
