"""Writing SQL: literals, identifiers, and the statement that sets a parameter.

Called wherever the proxy writes SQL of its own, above all to restore a session, and by `settings`. What is
written means the same on any connection, whatever its standard_conforming_strings.
"""

from __future__ import annotations

import re
from typing import Final

from pglast.keywords import COL_NAME_KEYWORDS, RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS

from .constants import folded

# Parameters whose elements PostgreSQL quotes as identifiers (GUC_LIST_QUOTE in guc_tables.c). Extensions
# cannot define such parameters.
LIST_QUOTE_PARAMETERS: Final = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)

_SAFE_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]*")
_KEYWORDS: Final[frozenset[str]] = frozenset(COL_NAME_KEYWORDS | RESERVED_KEYWORDS | TYPE_FUNC_NAME_KEYWORDS)
# An element of a list of identifiers: quoted with "" for a quote in it, or anything up to a comma or a space.
_ELEMENT: Final = re.compile(r'[ \t-\r]*(?:"((?:[^"]|"")*)"|([^ \t-\r",][^ \t-\r,]*))[ \t-\r]*(,|\Z)')


def quote_literal(value: str) -> str:
    """A string as a literal, as PostgreSQL's quote_literal() writes it.

    Raises:
        ValueError: the value holds a NUL, which no PostgreSQL text can.
    """
    _refuse_nul(value)
    doubled = value.replace("'", "''")
    if "\\" in doubled:
        return "E'" + doubled.replace("\\", "\\\\") + "'"
    return f"'{doubled}'"


def quote_identifier(name: str) -> str:
    """A name as an identifier, as PostgreSQL's quote_ident() writes it: quoted only where it must be.

    Raises:
        ValueError: the name holds a NUL.
    """
    _refuse_nul(name)
    if _SAFE_IDENTIFIER.fullmatch(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def set_statement(name: str, value: str | None) -> str:
    """A statement that gives a parameter the value that current_setting() has shown; None: its default.

    It sets for the session. A list of identifiers (search_path) is written element by element, because one
    string would be one element; an empty list becomes one empty name, which finds nothing either.

    Raises:
        ValueError: name or value holds a NUL.
    """
    parameter = folded(name)
    if value is None:
        return _default_statement(parameter)
    if parameter == "role":
        return f"SET ROLE {quote_literal(value)}"
    if parameter == "session_authorization":
        return f"SET SESSION AUTHORIZATION {quote_literal(value)}"
    return f"SET {_quoted_parameter(parameter)} TO {_value_list(parameter, value)}"


def split_identifiers(value: str) -> list[str] | None:
    """The names in a list of identifiers (PostgreSQL's SplitIdentifierString); None when it is malformed."""
    if not value.strip(" \t\n\v\f\r"):
        return []
    found: list[str] = []
    position = 0
    while True:
        match = _ELEMENT.match(value, position)
        if match is None:
            return None
        quoted, bare, comma = match.groups()
        found.append(quoted.replace('""', '"') if quoted is not None else folded(bare))
        if not comma:
            return found
        position = match.end()


def _value_list(parameter: str, value: str) -> str:
    names = split_identifiers(value) if parameter in LIST_QUOTE_PARAMETERS else None
    if not names:
        return quote_literal(value)
    return ", ".join(map(quote_literal, names))


def _default_statement(parameter: str) -> str:
    if parameter == "role":
        return "RESET ROLE"
    if parameter == "session_authorization":
        return "RESET SESSION AUTHORIZATION"
    return f"RESET {_quoted_parameter(parameter)}"


def _quoted_parameter(parameter: str) -> str:
    """Each part of a dotted name by itself: `app.tenant_id` is a custom parameter."""
    return ".".join(map(quote_identifier, parameter.split(".")))


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        raise ValueError("PostgreSQL text cannot hold a NUL")
