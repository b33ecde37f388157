"""What a server says of its session: one query, asked of the old side before and of the new side after a move (rule 8).

Everything is asked by names that search_path cannot redirect, and every user may ask. Parameters with a dot in their
names stand in no catalog, so they are asked by the names that were tracked (rule 7).

Used by: session.carrying.capture (what there is), session.carrying.verify (whether it is the same on both sides).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from helios_trio.session.carrying.errors import CarryFailed
from helios_trio.session.carrying.steps import Answer, Query, Row
from helios_trio.session.guarding import NAME as GUARD
from helios_trio.sql.quote import quote_literal

#: They count from the moment that a statement begins to be parsed, and are no concern of ours: see `UNHURRIED`.
LIMITS: Final = ("statement_timeout", "lock_timeout", "transaction_timeout")
#: In front of what may take long: the text is one transaction, and what it sets ends with it. It gives no rows; servers
#: before 17 have no transaction_timeout.
UNHURRIED: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
    " SELECT FROM (SELECT CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL"
    " THEN pg_catalog.set_config('transaction_timeout', '0', true) END AS v OFFSET 0) AS t WHERE v = '-'; "
)
#: Asked before they are switched off.
_ASK_LIMITS: Final = "; ".join(
    f"SELECT 'limit', '{name}', pg_catalog.current_setting('{name}', true)" for name in LIMITS
)

#: Parameters of a transaction count as set by the session for as long as it lives; they are none of its settings.
_NOT_SETTINGS: Final = ", ".join(
    f"'{name}'"
    for name in ("transaction_isolation", "transaction_read_only", "transaction_deferrable", *LIMITS)
)
#: `to_jsonb` because a server before 16 has no column result_types.
_STATEMENTS: Final = (
    "SELECT 'identity', pg_catalog.current_setting('role'), pg_catalog.current_setting('session_authorization'),"
    " (SELECT pg_catalog.pg_get_userbyid(usesysid) FROM pg_catalog.pg_stat_get_activity("
    "pg_catalog.pg_backend_pid()))",
    "SELECT 'prepared', name, statement, parameter_types::pg_catalog.oid[],"
    " pg_catalog.array_to_string(parameter_types, ', '), from_sql, pg_catalog.to_jsonb(s) ->> 'result_types'"
    f" FROM pg_catalog.pg_prepared_statements AS s WHERE name <> '{GUARD.decode()}'",
    "SELECT 'cursor', name, is_scrollable, is_binary FROM pg_catalog.pg_cursors WHERE is_holdable",
    "SELECT 'lock', classid, objid, objsubid, mode FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"
    " AND pid = pg_catalog.pg_backend_pid() AND granted",
    "SELECT 'channel', pg_catalog.pg_listening_channels()",
    "SELECT 'temporary', pg_catalog.count(*) FROM pg_catalog.pg_depend"
    " WHERE refclassid = 2615 AND refobjid = pg_catalog.pg_my_temp_schema()",
    "SELECT 'pid', pg_catalog.pg_backend_pid()",
)


@frozen
class AdvisoryLock:
    """One key of the advisory lock space, as `pg_locks` shows it; `subid` 1: one bigint, 2: two integers."""

    classid: int
    objid: int
    subid: int

    @property
    def arguments(self) -> str:
        """The key as arguments of the lock functions."""
        if self.subid == 1:
            return f"{_signed(self.classid << 32 | self.objid, 64)}::pg_catalog.int8"
        return f"{_signed(self.classid, 32)}, {_signed(self.objid, 32)}"

    def __str__(self) -> str:
        return f"({self.arguments.replace('::pg_catalog.int8', '')})"


def _signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> (bits - 1) else number


@frozen
class PreparedThere:
    """A prepared statement as the server shows it; of one made by SQL the text is all that was sent with it."""

    name: str
    text: str
    types: tuple[int, ...]
    #: names of the same types, as they can be written in PREPARE
    type_names: str
    by_sql: bool
    #: types of its columns; None where the server does not tell
    result: str | None


@frozen
class CursorThere:
    """A held cursor as the server shows it."""

    name: str
    scrollable: bool
    binary: bool


@frozen
class Survey:
    """All that a server knows of its session. Names of parameters are in lower case."""

    #: values of all parameters that were asked for or are set for the session
    settings: dict[str, str]
    #: those that are set for the session
    listed: frozenset[str]
    #: `LIMITS` that the server has
    limits: dict[str, str]
    #: parameters with a dot in their names that were asked for; None: never set here
    placeholders: dict[str, str | None]
    role: str
    session_user: str
    login: str | None
    prepared: dict[str, PreparedThere]
    cursors: dict[str, CursorThere]
    #: key -> shared, exclusive: whether it is held so
    locks: dict[AdvisoryLock, tuple[bool, bool]]
    channels: frozenset[str]
    temporary: int
    pid: int


def survey_query(names: Iterable[str], placeholders: Iterable[str]) -> Query:
    """Asks for everything; `names` are parameters whose values are wanted although they may not be set."""
    settings = (
        "SELECT 'setting', pg_catalog.lower(name), pg_catalog.current_setting(name), source = 'session'"
        f" FROM pg_catalog.pg_settings WHERE name NOT IN ({_NOT_SETTINGS})"
        f" AND (source = 'session' OR pg_catalog.lower(name) = ANY ({_array(names)}))"
    )
    custom = (
        "SELECT 'placeholder', n, pg_catalog.current_setting(n, true)"
        f" FROM pg_catalog.unnest({_array(placeholders)}) AS n"
    )
    return Query(f"{_ASK_LIMITS}; {UNHURRIED}" + "; ".join((settings, custom, *_STATEMENTS)))


def _array(names: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(map(quote_literal, sorted(names)))}]::pg_catalog.text[]"


def read_survey(answer: Answer) -> Survey:
    """The answer to `survey_query`. Raises CarryFailed."""
    if answer.error is not None:
        raise CarryFailed("asking a server what its session has", answer.error)
    settings = list(_of("setting", answer.rows))
    ((role, session_user, login),) = _of("identity", answer.rows)
    locks: dict[AdvisoryLock, tuple[bool, bool]] = {}
    for classid, objid, subid, mode in _of("lock", answer.rows):
        key = AdvisoryLock(int(classid), int(objid), int(subid))
        shared, exclusive = locks.get(key, (False, False))
        locks[key] = shared or mode == "ShareLock", exclusive or mode == "ExclusiveLock"
    return Survey(
        settings={name: value for name, value, _ in settings},
        listed=frozenset(name for name, _, own in settings if own == "t"),
        limits={name: value for name, value in _of("limit", answer.rows) if value},
        placeholders={row[1] or "": row[2] for row in answer.rows if row[0] == "placeholder"},
        role=role,
        session_user=session_user,
        login=login or None,
        prepared={row[1] or "": _prepared(row) for row in answer.rows if row[0] == "prepared"},
        cursors={
            name: CursorThere(name, scroll == "t", binary == "t")
            for name, scroll, binary in _of("cursor", answer.rows)
        },
        locks=locks,
        channels=frozenset(name for (name,) in _of("channel", answer.rows)),
        temporary=int(next(_of("temporary", answer.rows))[0]),
        pid=int(next(_of("pid", answer.rows))[0]),
    )


def _of(kind: str, rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """The rows of one statement, without the word in front of them."""
    return (tuple(value or "" for value in row[1:]) for row in rows if row[0] == kind)


def _prepared(row: Row) -> PreparedThere:
    _, name, text, oids, type_names, by_sql, result = row
    types = tuple(int(each) for each in (oids or "{}")[1:-1].split(",") if each)
    return PreparedThere(name or "", text or "", types, type_names or "", by_sql == "t", result)
