"""Random programs of statements, run by two clients in step: one directly, one through a proxy that moves sessions at
every safe point. Whatever is answered must be the same.

The clients have a database each, so that the advisory locks and channels of the one are none of the other's.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import psycopg
from attrs import define, field, frozen
from hypothesis import strategies as st
from psycopg import pq

TABLES: Final = ("t1", "t2", '"odd ""name"""')
PREPARED: Final = ("p1", "p2")
CURSORS: Final = ("c1", "c2")
SAVEPOINTS: Final = ("s1", "s2")
CHANNELS: Final = ("news", "weather")
SETTINGS: Final = {
    "work_mem": ("'8MB'", "'5555kB'", "DEFAULT"),
    "application_name": ("'one'", "'it''s'", "DEFAULT"),
    "search_path": ("public, pg_catalog", "other, public", "''", "DEFAULT"),
    "DateStyle": ("'German'", "'SQL, DMY'", "DEFAULT"),
    "statement_timeout": ("'1h'", "0"),
    "app.tenant": ("'acme'", "''", "DEFAULT"),
    "TimeZone": ("'UTC'", "'Asia/Tokyo'", "INTERVAL '+02:30' HOUR TO MINUTE"),
    "standard_conforming_strings": ("on",),
    "extra_float_digits": ("0", "3"),
    "role": ("reader", "NONE"),
}


@frozen
class Say:
    """One simple query."""

    text: str


@frozen
class Prepare:
    """One prepared statement of the protocol."""

    name: str
    text: str


@frozen
class Run:
    """Bind and Execute one prepared statement of the protocol."""

    name: str
    values: tuple[str | None, ...]


Action = Say | Prepare | Run


def one_of(*texts: str) -> st.SearchStrategy[str]:
    """One of these, as it is."""
    return st.sampled_from(texts)


def _settings() -> st.SearchStrategy[str]:
    names = st.sampled_from(sorted(SETTINGS))
    changes = names.flatmap(
        lambda name: st.builds(
            lambda scope, value: f"SET {scope}{name} TO {value}",
            one_of("", "", "SESSION ", "LOCAL "),
            st.sampled_from(SETTINGS[name]),
        )
    )
    looks = names.map(lambda name: f"SHOW {name}")
    resets = names.map(lambda name: f"RESET {name}")
    config = st.builds(
        lambda value, local: f"SELECT set_config('app.tenant', '{value}', {local})",
        one_of("a", "b"),
        one_of("true", "false"),
    )
    return st.one_of(changes, looks, resets, config, one_of("RESET ALL", "SELECT current_user, session_user"))


def _transactions() -> st.SearchStrategy[str]:
    points = st.builds(
        lambda verb, name: f"{verb} {name}",
        one_of("SAVEPOINT", "ROLLBACK TO", "RELEASE"),
        st.sampled_from(SAVEPOINTS),
    )
    return st.one_of(
        one_of("BEGIN", "COMMIT", "ROLLBACK", "COMMIT", "BEGIN ISOLATION LEVEL SERIALIZABLE"), points
    )


def _tables() -> st.SearchStrategy[str]:
    table = st.sampled_from(TABLES)
    number = st.integers(-5, 5)
    return st.one_of(
        st.builds(
            lambda name, more, end: f"CREATE TEMP TABLE {name} (id serial PRIMARY KEY, v int{more}){end}",
            table,
            one_of(
                "", " CHECK (v < 5)", " DEFAULT 7", " UNIQUE", ", w int GENERATED ALWAYS AS (v * 2) STORED"
            ),
            one_of("", " ON COMMIT DELETE ROWS", " WITH (fillfactor = 50)"),
        ),
        st.builds(
            lambda name: (
                f"CREATE TEMP TABLE {name} AS SELECT i AS id, i * i AS v FROM generate_series(1, 5) i"
            ),
            table,
        ),
        st.builds(
            lambda name, v: f"INSERT INTO {name} (v) VALUES ({v}), ({v} + 1) RETURNING id, v", table, number
        ),
        st.builds(lambda name, v: f"UPDATE {name} SET v = v + 1 WHERE v < {v}", table, number),
        st.builds(lambda name, v: f"DELETE FROM {name} WHERE v = {v}", table, number),
        st.builds(lambda name: f"SELECT * FROM {name} ORDER BY 1, 2", table),
        st.builds(lambda name: f"ALTER TABLE {name} ADD COLUMN extra text DEFAULT 'x'", table),
        st.builds(lambda name: f"CREATE INDEX ON {name} (v)", table),
        st.builds(lambda name: f"CREATE TEMP VIEW view1 AS SELECT v FROM {name}", table),
        st.builds(lambda name: f"DROP TABLE {name} CASCADE", table),
        one_of(
            "SELECT * FROM view1 ORDER BY 1",
            "DROP VIEW view1",
            "CREATE TEMP SEQUENCE seq1 START 10",
            "SELECT nextval('seq1')",
        ),
    )


def _prepared() -> st.SearchStrategy[Action]:
    name = st.sampled_from(PREPARED)
    texts = one_of(
        "SELECT $1::int + 1",
        "SELECT v FROM t1 WHERE v > $1::int ORDER BY 1",
        "SELECT current_setting('work_mem'), $1::text",
    )
    return st.one_of(
        st.builds(lambda which, text: Say(f"PREPARE {which} AS {text}"), name, texts),
        st.builds(lambda which: Say(f"EXECUTE {which}(3)"), name),
        st.builds(lambda which: Say(f"DEALLOCATE {which}"), name),
        st.builds(Prepare, st.sampled_from((*PREPARED, "")), texts),
        st.builds(lambda which, v: Run(which, (v,)), st.sampled_from((*PREPARED, "")), one_of("1", "2")),
    )


def _cursors() -> st.SearchStrategy[str]:
    cursor = st.sampled_from(CURSORS)
    return st.one_of(
        st.builds(
            lambda name, scroll, query: f"DECLARE {name} {scroll}CURSOR WITH HOLD FOR {query}",
            cursor,
            one_of("", "SCROLL ", "NO SCROLL "),
            one_of("SELECT i, i::text FROM generate_series(1, 7) i", "SELECT v FROM t1 ORDER BY v"),
        ),
        st.builds(
            lambda n, name: f"FETCH {n} FROM {name}",
            one_of("1", "3", "ALL", "PRIOR", "ABSOLUTE 2", "BACKWARD ALL"),
            cursor,
        ),
        st.builds(lambda name: f"MOVE 2 FROM {name}", cursor),
        st.builds(lambda name: f"CLOSE {name}", cursor),
    )


def _locks_and_channels() -> st.SearchStrategy[str]:
    key = st.integers(1, 3)
    channel = st.sampled_from(CHANNELS)
    return st.one_of(
        st.builds(
            lambda how, k: f"SELECT {how}({k})",
            one_of(
                "pg_advisory_lock",
                "pg_try_advisory_lock_shared",
                "pg_advisory_unlock",
                "pg_advisory_xact_lock",
            ),
            key,
        ),
        one_of(
            "SELECT pg_advisory_unlock_all()",
            "SELECT mode, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1, 2",
        ),
        st.builds(lambda name: f"LISTEN {name}", channel),
        st.builds(lambda name: f"UNLISTEN {name}", channel),
        st.builds(lambda name: f"NOTIFY {name}, 'x'", channel),
    )


def _rest() -> st.SearchStrategy[str]:
    return one_of(
        "DISCARD ALL",
        "DISCARD TEMP",
        "DISCARD PLANS",
        "SELECT 1; SELECT 2",
        "SELECT 1/0",
        "SET work_mem TO '9MB'; SELECT 1/0",
        "SELECT count(*) FROM kept",
        "INSERT INTO kept VALUES (1)",
        "nonsense",
    )


def actions() -> st.SearchStrategy[Action]:
    """Anything that a client may do to its session."""
    said = st.one_of(
        _settings(), _transactions(), _tables(), _tables(), _cursors(), _locks_and_channels(), _rest()
    )
    return st.one_of(said.map(Say), said.map(Say), said.map(Say), _prepared())


def programs(size: int = 30) -> st.SearchStrategy[list[Action]]:
    """What one client does, one thing after the other."""
    return st.lists(actions(), min_size=3, max_size=size)


@define
class Client:
    """One of the twins."""

    connection: psycopg.Connection
    heard: list[tuple[str, str]] = field(factory=list)

    def do(self, action: Action) -> Any:
        """What comes of it, with nothing in it that may differ: no OIDs of temporary objects, no pids."""
        pgconn = self.connection.pgconn
        if isinstance(action, Say):
            pgconn.send_query(action.text.encode())
        elif isinstance(action, Prepare):
            pgconn.send_prepare(action.name.encode(), action.text.encode())
        else:
            values = [None if value is None else value.encode() for value in action.values]
            pgconn.send_query_prepared(action.name.encode(), values)
        results = []
        while (result := pgconn.get_result()) is not None:
            results.append(_shown(result))
            if result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT):
                break
        self.listen()
        return results, pgconn.transaction_status

    def listen(self) -> None:
        """Take the notifications that have come."""
        pgconn = self.connection.pgconn
        pgconn.consume_input()
        while (found := pgconn.notifies()) is not None:
            self.heard.append((found.relname.decode(), found.extra.decode()))

    def hear(self, count: int, seconds: float) -> Counter[tuple[str, str]]:
        """All notifications, after waiting for `count` of them for a limited time."""
        deadline = time.monotonic() + seconds
        while len(self.heard) < count and time.monotonic() < deadline:
            self.listen()
            time.sleep(0.005)
        return Counter(self.heard)


def _shown(result: Any) -> tuple[Any, ...]:
    if result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.NONFATAL_ERROR):
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
        return "error", sqlstate, result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    columns = [
        (result.fname(i), result.ftype(i) if result.ftype(i) < 16384 else 0) for i in range(result.nfields)
    ]
    rows = [tuple(result.get_value(row, i) for i in range(result.nfields)) for row in range(result.ntuples)]
    return "rows", result.command_status, columns, rows
