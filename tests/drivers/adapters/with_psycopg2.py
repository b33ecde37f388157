"""psycopg2: the simple protocol only."""

from __future__ import annotations

import io
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extras

from .adapter import Adapter, Endpoint, Row, Session, plain, to_format_style


class Psycopg2Session(Session):
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(to_format_style(sql), parameters)
            return [plain(row) for row in cursor.fetchall()]

    def execute(self, sql: str, *parameters: Any) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(to_format_style(sql) if parameters else sql, parameters or None)
            return cursor.statusmessage, cursor.rowcount

    def script(self, sql: str) -> None:
        self.execute(sql)

    @contextmanager
    def transaction(self, isolation: str | None = None) -> Iterator[None]:
        self._connection.autocommit = False
        if isolation:
            self._connection.isolation_level = isolation.upper()
        try:
            with self._connection:
                yield
        finally:
            if not self._connection.closed:
                self._connection.isolation_level = None
                self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(to_format_style(sql), rows)

    def stream(self, sql: str, size: int) -> Iterable[Row]:
        with self._connection.cursor("streamed") as cursor:
            cursor.itersize = size
            cursor.execute(sql)
            yield from (plain(row) for row in cursor)

    def copy_in(self, sql: str, data: bytes) -> None:
        with self._connection.cursor() as cursor:
            cursor.copy_expert(sql, io.BytesIO(data))

    def copy_out(self, sql: str) -> bytes:
        found = io.BytesIO()
        with self._connection.cursor() as cursor:
            cursor.copy_expert(sql, found)
        return found.getvalue()

    def notifications(self, count: int) -> list[tuple[str, str]]:
        deadline = time.monotonic() + 10
        while len(self._connection.notifies) < count and time.monotonic() < deadline:
            select.select([self._connection], [], [], 0.5)
            self._connection.poll()
        found, self._connection.notifies[:count] = self._connection.notifies[:count], []
        return [(notify.channel, notify.payload) for notify in found]

    def cancel(self) -> None:
        self._connection.cancel()

    def parameter_status(self, name: str) -> str | None:
        found: str | None = self._connection.get_parameter_status(name)
        return found

    def notices(self) -> list[str]:
        return [notice.strip() for notice in self._connection.notices]


class Psycopg2(Adapter):
    name = "psycopg2"
    can = frozenset({"many", "stream", "copy", "listen", "cancel", "status", "notices", "script"})

    def connect(self, endpoint: Endpoint, **settings: str) -> Session:
        connection = psycopg2.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            dbname=endpoint.database,
            options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
        )
        connection.autocommit = True
        psycopg2.extras.register_uuid(conn_or_curs=connection)
        return Psycopg2Session(connection)

    def sqlstate(self, error: BaseException) -> str | None:
        return error.pgcode if isinstance(error, psycopg2.Error) else None
