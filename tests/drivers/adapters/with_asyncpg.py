"""asyncpg: everything prepared, binary; it runs in an asyncio loop in a thread of its own."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg

from .adapter import Adapter, Endpoint, Row, Session, plain

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
WAIT_SECONDS = 20


class AsyncpgSession(Session):
    def __init__(self, connection: asyncpg.Connection, run: Run) -> None:
        self._connection = connection
        self._run = run
        self._heard: list[tuple[str, str]] = []
        self._woken = threading.Condition()
        self._notices: list[str] = []
        self._current: Any = None
        connection.add_log_listener(lambda _, notice: self._notices.append(notice.message))

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        return [plain(row) for row in self._run(self._fetch(sql, parameters))]

    async def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        self._current = asyncio.ensure_future(self._connection.fetch(sql, *parameters))
        found: list[Any] = await self._current
        return found

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._run(self._connection.execute(sql, *parameters))

    def script(self, sql: str) -> None:
        self._run(self._connection.execute(sql))

    @contextmanager
    def transaction(self, isolation: str | None = None) -> Iterator[None]:
        level = isolation.lower().replace(" ", "_") if isolation else None
        transaction = self._connection.transaction(isolation=level)
        self._run(transaction.start())
        try:
            yield
        except BaseException:
            if not self._connection.is_closed():
                self._run(transaction.rollback())
            raise
        self._run(transaction.commit())

    def close(self) -> None:
        self._run(self._connection.close(timeout=5))

    def prepare(self, sql: str) -> Callable[..., list[Row]]:
        statement = self._run(self._connection.prepare(sql))
        return lambda *parameters: [plain(row) for row in self._run(statement.fetch(*parameters))]

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        self._run(self._connection.executemany(sql, rows))

    def stream(self, sql: str, size: int) -> Iterable[Row]:
        cursor = self._run(self._open_cursor(sql))
        while rows := self._run(cursor.fetch(size)):
            yield from (plain(row) for row in rows)

    async def _open_cursor(self, sql: str) -> Any:
        return await self._connection.cursor(sql)

    def copy_in(self, sql: str, data: bytes) -> None:
        table = sql.split()[1]
        self._run(self._connection.copy_to_table(table, source=io.BytesIO(data)))

    def copy_out(self, sql: str) -> bytes:
        found = io.BytesIO()
        inner = sql.removeprefix("copy ").rpartition(" to ")[0]
        query = inner.strip("()") if inner.startswith("(") else f"table {inner}"
        self._run(self._connection.copy_from_query(query, output=found))
        return found.getvalue()

    def listen(self, channel: str) -> None:
        self._run(self._connection.add_listener(channel, self._hear))

    def _hear(self, _: Any, __: int, channel: str, payload: str) -> None:
        with self._woken:
            self._heard.append((channel, payload))
            self._woken.notify_all()

    def notifications(self, count: int) -> list[tuple[str, str]]:
        with self._woken:
            self._woken.wait_for(lambda: len(self._heard) >= count, 10)
            found, self._heard = self._heard[:count], self._heard[count:]
        return found

    def cancel(self) -> None:
        self._current.get_loop().call_soon_threadsafe(self._current.cancel)

    def parameter_status(self, name: str) -> str | None:
        settings = self._connection.get_settings()
        found: str | None = getattr(settings, name.lower(), None)
        return found

    def notices(self) -> list[str]:
        return list(self._notices)


class Asyncpg(Adapter):
    name = "asyncpg"
    can = frozenset({"prepare", "many", "stream", "copy", "listen", "cancel", "status", "notices", "script"})

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asyncpg", daemon=True)
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    def connect(self, endpoint: Endpoint, **settings: str) -> Session:
        connection = self._run(
            asyncpg.connect(
                host=endpoint.host,
                port=endpoint.port,
                user=endpoint.user,
                database=endpoint.database,
                server_settings=settings,
                ssl=False,
            )
        )
        return AsyncpgSession(connection, self._run)

    def sqlstate(self, error: BaseException) -> str | None:
        return getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
