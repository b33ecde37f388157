"""From the settings a server connection carries to those a session wants: the statements, and whether they may fail.

Used by: session.requests, before a client's request when the labels differ.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from helios_trio.session.settings import IDENTITY_SETTINGS, Label
from helios_trio.sql.quote import LIST_QUOTE_PARAMETERS, quote_literal, set_statement

#: Settings that every role may set and that PostgreSQL accepts again once it has accepted them: their statements
#: need not be waited for. All others (roles that may be dropped meanwhile, tablespaces, text search configurations,
#: parameters of extensions) are confirmed before the client's own request is sent: it must never run with the
#: wrong role or tenant.
NEVER_REFUSED = frozenset(
    (
        "application_name",
        "bytea_output",
        "client_encoding",
        "client_min_messages",
        "constraint_exclusion",
        "cursor_tuple_fraction",
        "datestyle",
        "deadlock_timeout",
        "default_transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "enable_seqscan",
        "enable_indexscan",
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_nestloop",
        "extra_float_digits",
        "from_collapse_limit",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "join_collapse_limit",
        "lc_monetary",
        "lc_numeric",
        "lc_time",
        "lock_timeout",
        "maintenance_work_mem",
        "plan_cache_mode",
        "random_page_cost",
        "search_path",
        "standard_conforming_strings",
        "statement_timeout",
        "synchronous_commit",
        "timezone",
        "transaction_timeout",
        "work_mem",
        "xmloption",
    )
)

#: Everything that invisible code may have left behind, except prepared statements, which have names of our own
#: (compare PostgreSQL docs, DISCARD ALL, which could not run together with other statements).
CLEANSE = (
    "CLOSE ALL",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ROLE",
    "RESET ALL",
    "UNLISTEN *",
    "SELECT pg_catalog.pg_advisory_unlock_all()",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
)


@frozen
class LabelPlan:
    """The text of one simple query that makes the labels equal."""

    text: str
    #: wait for success before sending what the client asked for
    confirm: bool


def plan(
    actual: Label, wanted: Label, base: Label, *, cleanse: bool = False, emptied: Iterable[str] = ()
) -> LabelPlan | None:
    """The statements that lead from `actual` to `wanted` on a connection opened with `base`; None when equal.

    `emptied` are placeholders that the session once set and that read '' since (rule 7).
    """
    statements = list(CLEANSE) if cleanse else []
    current = dict(base) if cleanse else actual
    changed = {name: value for name, value in wanted.items() if current.get(name) != value}
    gone = [name for name in current if name not in wanted]
    identity = any(name in IDENTITY_SETTINGS for name in (*changed, *gone))
    if identity:  # parameters are set as the login role, which may do what a role it took on may not
        statements += [set_statement("session_authorization", None), set_statement("role", None)]
        changed = {**{name: wanted[name] for name in IDENTITY_SETTINGS if name in wanted}, **changed}
    statements += [set_statement(name, None) for name in gone if name not in IDENTITY_SETTINGS]
    statements += [as_given(name, value) for name, value in changed.items() if name not in IDENTITY_SETTINGS]
    statements += [set_statement(name, changed[name]) for name in IDENTITY_SETTINGS if name in changed]
    for name in emptied:
        statements += [set_statement(name, ""), set_statement(name, None)]
    if not statements:
        return None
    confirm = (
        identity or cleanse or bool(emptied) or any(name not in NEVER_REFUSED for name in (*changed, *gone))
    )
    return LabelPlan(";".join(statements), confirm)


def as_given(name: str, value: str) -> str:
    """A list keeps the spelling that its text has in SHOW only when it is set as one text."""
    if name in LIST_QUOTE_PARAMETERS:
        return f"SELECT pg_catalog.set_config({quote_literal(name)}, {quote_literal(value)}, false)"
    return set_statement(name, value)
