"""psycopg 3, synchronous; once with its defaults, once preparing at first use with binary results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql as composing

from .adapter import Adapter, Endpoint, Row, Session, plain, to_format_style


class PsycopgSession(Session):
    def __init__(self, connection: psycopg.Connection[Any], binary: bool) -> None:
        self._connection = connection
        self._binary = binary
        self._notices: list[str] = []
        connection.add_notice_handler(lambda notice: self._notices.append(notice.message_primary or ""))

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        cursor = self._connection.execute(to_format_style(sql), parameters, binary=self._binary)
        return [plain(row) for row in cursor.fetchall()]

    def execute(self, sql: str, *parameters: Any) -> Any:
        cursor = self._connection.execute(to_format_style(sql) if parameters else sql, parameters or None)
        return cursor.statusmessage, cursor.rowcount

    def script(self, sql: str) -> None:
        self._connection.execute(sql, prepare=False)

    @contextmanager
    def transaction(self, isolation: str | None = None) -> Iterator[None]:
        level = psycopg.IsolationLevel[isolation.upper().replace(" ", "_")] if isolation else None
        self._connection.isolation_level = level
        try:
            with self._connection.transaction():
                yield
        finally:
            if not self._connection.closed:
                self._connection.isolation_level = None

    def close(self) -> None:
        self._connection.close()

    def prepare(self, sql: str) -> Callable[..., list[Row]]:
        def run(*parameters: Any) -> list[Row]:
            cursor = self._connection.execute(to_format_style(sql), parameters, prepare=True)
            return [plain(row) for row in cursor.fetchall()]

        return run

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(to_format_style(sql), rows)

    def stream(self, sql: str, size: int) -> Iterable[Row]:
        with self._connection.cursor("streamed") as cursor:
            cursor.itersize = size
            cursor.execute(sql)
            yield from (plain(row) for row in cursor)

    def copy_in(self, sql: str, data: bytes) -> None:
        with self._connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.write(data)

    def copy_out(self, sql: str) -> bytes:
        with self._connection.cursor() as cursor, cursor.copy(sql) as copy:
            return b"".join(bytes(block) for block in copy)

    def notifications(self, count: int) -> list[tuple[str, str]]:
        found = self._connection.notifies(timeout=10, stop_after=count)
        return [(notify.channel, notify.payload) for notify in found]

    def listen(self, channel: str) -> None:
        self._connection.execute(composing.SQL("listen {}").format(composing.Identifier(channel)))

    def cancel(self) -> None:
        self._connection.cancel_safe(timeout=5)

    def pipeline(self, statements: Sequence[tuple[str, Row]]) -> list[list[Row]]:
        with self._connection.pipeline():
            cursors = [self._connection.execute(to_format_style(sql), row) for sql, row in statements]
            return [[plain(row) for row in cursor.fetchall()] for cursor in cursors]

    def parameter_status(self, name: str) -> str | None:
        return self._connection.info.parameter_status(name)

    def notices(self) -> list[str]:
        return list(self._notices)


class Psycopg(Adapter):
    name = "psycopg"
    can = frozenset(
        {"prepare", "many", "stream", "copy", "listen", "cancel", "pipeline", "status", "notices", "script"}
    )
    binary = False
    prepare_threshold: int | None = 5

    def connect(self, endpoint: Endpoint, **settings: str) -> Session:
        connection = psycopg.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            dbname=endpoint.database,
            autocommit=True,
            prepare_threshold=self.prepare_threshold,
            options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
        )
        return PsycopgSession(connection, self.binary)

    def sqlstate(self, error: BaseException) -> str | None:
        return error.sqlstate if isinstance(error, psycopg.Error) else None


class PsycopgPreparing(Psycopg):
    """Every statement prepared at once, results in binary: what psycopg does for repeated work."""

    name = "psycopg-preparing"
    binary = True
    prepare_threshold = 0
