"""pg8000: pure Python, unnamed and named statements, text format."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pg8000.dbapi
import pg8000.native

from .adapter import Adapter, Endpoint, Row, Session, plain, to_format_style


class Pg8000Session(Session):
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def _cursor(self, sql: str, parameters: Sequence[Any]) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(to_format_style(sql), parameters)
        return cursor

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        return [plain(row) for row in self._cursor(sql, parameters).fetchall()]

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._cursor(sql, parameters).rowcount

    def script(self, sql: str) -> None:
        self._connection.execute_simple(sql)

    @contextmanager
    def transaction(self, isolation: str | None = None) -> Iterator[None]:
        self._connection.autocommit = False
        try:
            if isolation:
                self.execute(f"set transaction isolation level {isolation}")
            yield
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        finally:
            self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def prepare(self, sql: str) -> Callable[..., list[Row]]:
        names = {f"${number}": f":p{number}" for number in range(1, 10)}
        for found, wanted in names.items():
            sql = sql.replace(found, wanted)
        statement = pg8000.native.PreparedStatement(self._connection, sql)

        def run(*parameters: Any) -> list[Row]:
            named = {f"p{at}": value for at, value in enumerate(parameters, 1)}
            return [plain(row) for row in statement.run(**named)]

        return run

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        self._connection.cursor().executemany(to_format_style(sql), rows)

    def copy_in(self, sql: str, data: bytes) -> None:
        self._connection.cursor().execute(sql, stream=io.BytesIO(data))

    def copy_out(self, sql: str) -> bytes:
        found = io.BytesIO()
        self._connection.cursor().execute(sql, stream=found)
        return found.getvalue()

    def parameter_status(self, name: str) -> str | None:
        found: str | None = self._connection.parameter_statuses.get(name)
        return found

    def notices(self) -> list[str]:
        return [notice[b"M"].decode() for notice in self._connection.notices]


class Pg8000(Adapter):
    name = "pg8000"
    can = frozenset({"prepare", "many", "copy", "status", "notices", "script"})

    def connect(self, endpoint: Endpoint, **settings: str) -> Session:
        connection = pg8000.dbapi.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            database=endpoint.database,
            application_name=settings.pop("application_name", None),
            startup_params=settings,
            ssl_context=False,
        )
        connection.autocommit = True
        return Pg8000Session(connection)

    def sqlstate(self, error: BaseException) -> str | None:
        fields = error.args[0] if isinstance(error, pg8000.dbapi.Error) and error.args else None
        return fields.get("C") if isinstance(fields, dict) else None
