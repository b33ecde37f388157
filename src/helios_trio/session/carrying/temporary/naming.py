"""Names in the SQL that rebuilds objects, and the real name of the temporary schema, which must not be in it.

Before release 15 PostgreSQL prints the real name (pg_temp_3) in some definitions, and it is another one on the other
connection. As a name it is exchanged; inside a string (a function's body, a regclass constant) nobody knows what it
stands for.

Used by: session.carrying.temporary (all modules that write SQL).
"""

from __future__ import annotations

from collections.abc import Iterable

from pglast import parser

from helios_trio.sql.quote import quote_identifier, quote_literal

_DOT = "ASCII_46"
_STRINGS = frozenset({"SCONST", "USCONST", "BCONST", "XCONST"})


def temp(name: str) -> str:
    """A name in the temporary schema of whoever uses it."""
    return f"pg_temp.{quote_identifier(name)}"


def names(found: Iterable[str]) -> str:
    """Several identifiers."""
    return ", ".join(map(quote_identifier, found))


def storage_options(options: Iterable[str], prefix: str = "") -> list[str]:
    """`name=value` as the catalogs have it, as elements of WITH (...)."""
    found = []
    for option in options:
        name, _, value = option.partition("=")
        found.append(f"{prefix}{quote_identifier(name)} = {quote_literal(value)}")
    return found


def without_schema(sql: str, schema: str) -> str | None:
    """The text with `pg_temp` where it says `schema`; None if a string in it mentions that."""
    if not schema or schema not in sql:
        return sql
    tokens = parser.scan(sql)
    pieces = []
    done = 0
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        word = sql[token.start : token.end + 1]
        if token.name in _STRINGS and schema in word:
            return None
        if word in (schema, f'"{schema}"') and following is not None and following.name == _DOT:
            pieces += [sql[done : token.start], "pg_temp"]
            done = token.end + 1
    return "".join([*pieces, sql[done:]])
