"""Which functions are PostgreSQL's own, how volatile they are, and which of them touch the session.

The names are those of a freshly made PostgreSQL 18 cluster, one file per volatility in `data/`, each name
under the worst volatility of its overloads. Functions of pg_catalog stand there without schema, those of
information_schema with it. To make them anew:

    psql -XAtc "SELECT name FROM (
        SELECT CASE nspname WHEN 'pg_catalog' THEN proname ELSE nspname || '.' || proname END AS name,
               max(CASE provolatile WHEN 'v' THEN 3 WHEN 's' THEN 2 ELSE 1 END) AS worst
          FROM pg_proc JOIN pg_namespace AS n ON n.oid = pronamespace
         WHERE nspname IN ('pg_catalog', 'information_schema') GROUP BY 1) AS f
     WHERE worst = 3 ORDER BY name COLLATE \"C\"" > data/volatile.txt        -- 2 stable, 1 immutable

Known limits: a user's overload of a built-in name (`lower(mytype)`) counts as built in, and so does a user's
function on an older server under a name that PostgreSQL 18 has taken. Called by `calls`.
"""

from __future__ import annotations

from enum import Enum
from importlib.resources import files
from typing import Final


class Volatility(Enum):
    """PostgreSQL docs: "Function Volatility Categories"."""

    IMMUTABLE = "immutable"
    STABLE = "stable"
    VOLATILE = "volatile"


# Those called without brackets, which are no functions in the catalog.
_VALUE_FUNCTIONS: Final = (
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "user",
)


def _load() -> dict[str, Volatility]:
    folder = files(__package__) / "data"
    found = {
        name: volatility
        for volatility in Volatility
        for name in (folder / f"{volatility.value}.txt").read_text("ascii").splitlines()
    }
    return found | dict.fromkeys(_VALUE_FUNCTIONS, Volatility.STABLE)


_BUILTINS: Final = _load()


def volatility(function: str) -> Volatility | None:
    """The volatility of a built-in function as named in `StatementFacts.functions`; None: not built in."""
    return _BUILTINS.get(function)


# They leave something behind in the session, or run SQL handed to them as text.
SESSION_FUNCTIONS: Final = frozenset(
    {
        "setseed",
        "pg_backup_start",
        "pg_backup_stop",
        "pg_replication_origin_session_setup",
        "pg_replication_origin_session_reset",
        "pg_create_physical_replication_slot",
        "pg_create_logical_replication_slot",
        "pg_copy_physical_replication_slot",
        "pg_copy_logical_replication_slot",
        "cursor_to_xml",
        "cursor_to_xmlschema",
        "query_to_xml",
        "query_to_xmlschema",
        "query_to_xml_and_xmlschema",
        "ts_rewrite",
        "ts_stat",
    }
)

# They read what nextval() left in the session (correctness rule 14).
SEQUENCE_STATE_FUNCTIONS: Final = frozenset({"currval", "lastval"})
