"""Giving a new connection the state of a session: what is said to it, in which order, and what may fail.

    temporary objects (`temporary`) -> settings -> prepared statements, LISTEN -> sequence values -> cursors

Settings come before what is read under them; among them the role comes last (rule 22). A prepared statement that does
not parse any more is left out: its client gets the error when it uses it (rule 9).

Used by: session.carrying.carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from helios_trio.session.carrying.channels import listen_requests
from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.state import IDENTITY, SessionState
from helios_trio.session.carrying.steps import Answer, Parse, Plan, Query, Request, Side, ask
from helios_trio.session.carrying.survey import LIMITS
from helios_trio.session.carrying.tracked import Tracked
from helios_trio.session.labels import CLEANSE, as_given, plan
from helios_trio.sql.quote import quote_identifier, set_statement
from helios_trio.wire.layout import to_text

#: What is set at another time than the other settings.
_LATER: Final = (*IDENTITY, *LIMITS, "client_encoding")
#: transaction_timeout on a server before 17.
_UNKNOWN_PARAMETER: Final = "42704"
#: Classes of SQLSTATE that say nothing about a statement: of the connection, resources, operators, the system.
_NOT_ITS_FAULT: Final = ("08", "40", "53", "54", "55", "57", "58", "XX")


# -- settings ------------------------------------------------------------------------------------------------------


def setting_requests(state: SessionState, tracked: Tracked) -> list[Query]:
    """One request for each setting but the limits, so that one that fails names itself; the identity comes last."""
    speak = [Query("SET client_encoding = 'UTF8'")] if _has_encoding(state, tracked) else []
    if tracked.shared:
        return speak + _label_requests(state, tracked) + speak
    settings = [Query(as_given(name, value)) for name, value in state.settings.items() if name not in _LATER]
    return speak + settings + _emptied(state) + _identity(state)


def limit_requests(state: SessionState) -> list[Query]:
    """The client's own limits."""
    return [Query(set_statement(name, value)) for name, value in state.limits.items()]


def _has_encoding(state: SessionState, tracked: Tracked) -> bool:
    """Whether the connection may be opened with another client_encoding than plans speak, or than the client wants."""
    return tracked.shared or tracked.encoding != "UTF8" or "client_encoding" in state.settings


def _emptied(state: SessionState) -> list[Query]:
    return [Query(f"{set_statement(name, '')}; {set_statement(name, None)}") for name in state.emptied]


def _identity(state: SessionState) -> list[Query]:
    return [Query(set_statement(name, state.settings[name])) for name in IDENTITY if name in state.settings]


def _label_requests(state: SessionState, tracked: Tracked) -> list[Query]:
    """Shared: from what the connection was opened with to what the client wants."""
    base = tracked.new.base
    label = {**tracked.session.label, **state.settings}
    wanted = {name: value for name, value in label.items() if name in IDENTITY or name not in _LATER}
    actual = {name: value for name, value in base.items() if name not in _LATER}
    steps = plan(actual, wanted, base, emptied=state.emptied)
    return [Query(steps.text)] if steps is not None else []


def blank_requests(tracked: Tracked) -> list[Query]:
    """Shared: whatever the connection carries, or had left on it by function bodies, is taken away."""
    return [Query(";".join(CLEANSE))] if tracked.shared else []


def open_new(tracked: Tracked) -> Plan[None]:
    """As it was opened, and without limits while it is worked on. Raises CarryFailed."""
    unlimited = [Query(f"SET {name} = 0") for name in LIMITS]
    _check("preparing the new connection", (yield from ask(Side.NEW, *blank_requests(tracked), *unlimited)))


def set_limits(state: SessionState) -> Plan[None]:
    """As the client has them. Raises CarryFailed."""
    _check("setting timeouts", (yield from ask(Side.NEW, *limit_requests(state))))


def _check(what: str, answers: Sequence[Answer]) -> None:
    for answer in answers:
        if answer.error is not None and answer.error.sqlstate != _UNKNOWN_PARAMETER:
            raise CarryFailed(what, answer.error)


def restore_settings(state: SessionState, tracked: Tracked) -> Plan[None]:
    """All but the limits. One that only the taken role may set is set under it. Raises CannotCarry."""
    requests = setting_requests(state, tracked)
    answers = yield from ask(Side.NEW, *requests)
    failed = [request for request, answer in zip(requests, answers, strict=True) if answer.error is not None]
    refuse_failed(failed, (yield from ask(Side.NEW, *failed)))


def refuse_failed(requests: Sequence[Query], answers: Sequence[Answer]) -> None:
    """Raises CannotCarry naming the requests that were answered with an error."""
    reasons = [
        f"{_what(request)}: {answer.error.message}"
        for request, answer in zip(requests, answers, strict=True)
        if answer.error is not None
    ]
    if reasons:
        raise CannotCarry(tuple(reasons))


def _what(request: Query) -> str:
    """The statement without its value, which may be a secret (rule 39)."""
    words = request.text.replace("SELECT pg_catalog.set_config(", "SET ").split()
    return " ".join(words[:2]).rstrip(",;")


def last_requests(state: SessionState, tracked: Tracked) -> list[Request]:
    """The very end: the client's own encoding, and the unnamed statement, which any simple query destroys."""
    requests: list[Request] = []
    if _has_encoding(state, tracked):
        requests.append(Query(set_statement("client_encoding", tracked.encoding)))
    return requests + unnamed_request(tracked)


def unnamed_request(tracked: Tracked) -> list[Request]:
    """Prepares the unnamed statement again, in the client's encoding."""
    unnamed = tracked.unnamed
    return [] if unnamed is None else [Parse(unnamed.name, unnamed.text, unnamed.types)]


# -- prepared statements, channels ---------------------------------------------------------------------------------


def statement_requests(state: SessionState) -> list[Request]:
    """Prepared statements of both kinds."""
    by_protocol = [Parse(each.name, each.text, each.types) for each in state.prepared]
    return [*by_protocol, *(Query(each.text) for each in state.by_sql)]


def left_out(state: SessionState, answers: Sequence[Answer]) -> frozenset[str]:
    """Names of statements that do not parse (rule 9). Raises CarryFailed for an error that is not their own."""
    names = [*(to_text(each.name) for each in state.prepared), *(each.name for each in state.by_sql)]
    for answer in answers:
        if answer.error is not None and answer.error.sqlstate.startswith(_NOT_ITS_FAULT):
            raise CarryFailed("preparing its statements", answer.error)
    return frozenset(name for name, answer in zip(names, answers, strict=True) if answer.error is not None)


def restore_names(state: SessionState) -> Plan[frozenset[str]]:
    """Prepared statements and channels, in one exchange; returns the names of statements that do not parse.

    Raises CarryFailed, CannotCarry.
    """
    statements, channels = statement_requests(state), listen_requests(state.channels)
    answers = yield from ask(Side.NEW, *statements, *channels)
    refuse_failed(channels, answers[len(statements) :])  # LISTEN on a standby: 25006 (rule 13)
    return left_out(state, answers[: len(statements)])


def forget_statements(names: Sequence[str]) -> Plan[None]:
    """Statements that would give other columns than their client was told of: it gets an error instead."""
    yield from ask(Side.NEW, *(Query(f"DEALLOCATE {quote_identifier(name)}") for name in names))
