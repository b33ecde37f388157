"""The settings under which our statements run on a client's connection, and nothing of them left behind.

The old connection has whatever its client has SET. What we ask it is one simple query of several statements: an
implicit transaction that begins with SET LOCAL. Whether it succeeds or fails, the connection is in no transaction
afterwards and has its own settings back (correctness rule 18). The new connection is worked on in one explicit
transaction, and is closed or reset when that fails.

* The temporary schema comes first in search_path, as it does for the client when it is not named. So PostgreSQL
  prints temporary names without the schema, whose real name (pg_temp_3) is another one on the other connection; and
  what temporary names hide, it prints with `pg_catalog`. Our own statements name the schema of everything.
* What the old side is sent is ASCII, because client_encoding is set by that text itself: see `ascii_identifier`.

Used by: session.carrying.temporary (closure, capture, rows, restore, digest).
"""

from __future__ import annotations

from typing import Final

from helios_trio.session.carrying.steps import Query
from helios_trio.sql.quote import quote_identifier, quote_literal

#: for both sides; PostgreSQL docs, "Server Configuration"
_BOTH: Final = (
    "client_min_messages = error",
    "statement_timeout = 0",
    # whoever logged in; it also takes back the client's role
    "SESSION AUTHORIZATION DEFAULT",
    "client_encoding = 'UTF8'",
    "standard_conforming_strings = on",
    "quote_all_identifiers = off",
    # an error, rather than some rows less, where a policy would apply
    "row_security = off",
    # how values are written, and read again
    "DateStyle = 'ISO, YMD'",
    "IntervalStyle = postgres",
    "TimeZone = 'UTC'",
    "extra_float_digits = 1",
    "bytea_output = hex",
    "xmlbinary = base64",
    "xmloption = content",
    "lc_monetary = 'C'",
)
TEMPORARY_FIRST: Final = "SET LOCAL search_path = pg_temp, pg_catalog"
# Catalogs are joined as it is written, from few rows to few rows through indexes: planning is most of the work, and
# large catalogs shall not be read from one end to the other.
_READING_ONLY: Final = (
    "join_collapse_limit = 1",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "enable_bitmapscan = off",
    "jit = off",
)
_BUILDING_ONLY: Final = (
    "idle_in_transaction_session_timeout = 0",
    # only a permanent table that a temporary one inherits from can be locked by others
    "lock_timeout = '2s'",
    # nothing here outlives the connection, so there is nothing to wait for at COMMIT
    "synchronous_commit = off",
    "check_function_bodies = off",
    "transform_null_equals = off",
    "array_nulls = on",
    "default_tablespace = ''",
    "temp_tablespaces = ''",
    "default_table_access_method = heap",
)
# A function, because a release before 17 does not know the setting; gives no row.
_NO_TRANSACTION_TIMEOUT: Final = (
    "SELECT WHERE CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL"
    " THEN pg_catalog.set_config('transaction_timeout', '0', true) IS NULL END;\n"
)


def _set_local(settings: tuple[str, ...]) -> str:
    return "".join(f"SET LOCAL {each};\n" for each in settings)


_READING: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY, NOT DEFERRABLE;\n"
    + _set_local((*_BOTH, *_READING_ONLY))
    + _NO_TRANSACTION_TIMEOUT
)
_BUILDING: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE, NOT DEFERRABLE;\n"
    + _set_local((*_BOTH, *_BUILDING_ONLY))
    + _NO_TRANSACTION_TIMEOUT
)


def reading(text: str, *, role: str | None = None, first: str = "") -> str:
    """A simple query that reads as `role` (None: who logged in) and leaves nothing behind.

    `first` is asked while search_path is still the client's.
    """
    return f"{_READING}{as_role(role)};\n{first}{TEMPORARY_FIRST};\n{text}"


def read_query(text: str, *, role: str | None = None) -> Query:
    """`reading` as a request."""
    return Query(reading(text, role=role))


def begin_building() -> Query:
    """The beginning of the transaction on the new connection; it answers with the server's version number."""
    return Query(f"{_BUILDING}{TEMPORARY_FIRST};\nSELECT pg_catalog.current_setting('server_version_num')")


def as_role(role: str | None) -> str:
    """A statement that takes a role up to the end of the transaction; None is who logged in."""
    return "SET LOCAL ROLE NONE" if role is None else f"SET LOCAL ROLE {ascii_identifier(role)}"


def major_of(version_number: str) -> int:
    """16 for '160003' (server_version_num)."""
    return int(version_number) // 10_000


def ascii_identifier(name: str) -> str:
    """A name as an identifier of ASCII characters, whatever the client_encoding and standard_conforming_strings.

    Source: PostgreSQL docs, "Identifiers and Key Words" (U&"..."). Before release 13 that is limited to databases
    in UTF-8.
    """
    if name.isascii():
        return quote_identifier(name)
    return 'U&"' + "".join(map(_escaped, name)) + '"'


def ascii_literal(text: str) -> str:
    """A string as an expression of ASCII characters; U&'...' would depend on standard_conforming_strings."""
    if text.isascii():
        return quote_literal(text)
    return f"pg_catalog.convert_from(pg_catalog.decode('{text.encode().hex()}', 'hex'), 'UTF8')"


def _escaped(character: str) -> str:
    if character in '"\\':
        return character * 2
    return character if character.isascii() else f"\\+{ord(character):06X}"
