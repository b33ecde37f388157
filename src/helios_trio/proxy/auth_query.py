"""Runs `auth_query`: one kept connection as the user that may read password verifiers.

Used by: composition.letting_in, which gives `run` to `proxy.auth_secrets.AuthQuery`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import psycopg
import trio

from helios_trio.control.connection import ControlConnection
from helios_trio.errors import BackendUnavailable

Connect = Callable[[], Awaitable[ControlConnection]]


class AuthQueryRunner:
    """Asks the database for one user's password or verifier; PgBouncer's contract: `$1` is the name, two columns."""

    def __init__(self, query: str, connect: Connect) -> None:
        self._query = query
        self._connect = connect
        self._connection: ControlConnection | None = None
        self._lock = trio.Lock()

    async def run(self, user: str, database: str) -> str | None:
        """See `proxy.auth_secrets.QueryRunner`. A connection that was lost meanwhile is opened again once."""
        async with self._lock:
            try:
                return await self._ask(user)
            except psycopg.OperationalError:
                await self.close()
            except psycopg.Error as error:
                raise BackendUnavailable(f"auth_query failed: {error}") from error
            try:
                return await self._ask(user)
            except (psycopg.Error, OSError) as error:
                raise BackendUnavailable(f"auth_query failed: {error}") from error

    async def _ask(self, user: str) -> str | None:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        cursor = psycopg.AsyncRawCursor(self._connection)
        await cursor.execute(self._query.encode(), (user,))
        row = await cursor.fetchone()
        return None if row is None or row[1] is None else str(row[1])

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
