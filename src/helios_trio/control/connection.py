"""`ControlConnection`: psycopg's asynchronous connection, on Trio.

Only the places where psycopg meets the event loop are replaced: its lock, connecting (with name
resolution), waiting and closing. They rely on names that psycopg keeps private (`_connect_gen`,
`_cancel_gen`, `_WaitTimeout`, `_adapters`), which is why its minor version is pinned. Used by probes,
promotion, `helios setup` and the embedded cluster.

Cancellation is Trio's: a cancelled query is cancelled in the server too, and the connection stays
usable. Only when the server does not end the query within `cancel_grace` seconds is the connection
given up.
"""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg
import trio
from psycopg import AsyncCursor, AsyncTransaction, errors
from psycopg.abc import AdaptContext, ConnParam, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory, TupleRow, tuple_row

from helios_trio.control.waiting import drive, drive_connecting

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

Returned = TypeVar("Returned")

DEFAULT_PORT = 5432
DEFAULT_CONNECT_TIMEOUT = 10.0  # seconds, for each address; the libpq parameter connect_timeout overrides it


class ControlConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection of the proxy's own to one server: `psycopg.AsyncConnection`, awaited on Trio."""

    cancel_grace = 2.0
    """Seconds that the server has to end a cancelled query before the connection is closed."""

    exit_timeout = 10.0
    """Seconds for the COMMIT or ROLLBACK at the end of a block, which a cancellation does not interrupt."""

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[TupleRow] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = trio.Lock()  # type: ignore[assignment]

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[TupleRow] | None = None,
        cursor_factory: type[AsyncCursor[TupleRow]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect to one server; parameters are libpq's ("Parameter Key Words"), `host` names a single host.

        Each address that the host name has is tried in turn.

        Raises:
            psycopg.OperationalError: none of the addresses led to a session; it carries the last reason.
            psycopg.errors.ConnectionTimeout: likewise, and the last one did not answer in time.
        """
        params = conninfo_to_dict(conninfo, **kwargs)
        timeout = float(params.get("connect_timeout") or DEFAULT_CONNECT_TIMEOUT)
        failure: psycopg.Error | None = None
        for address in await _addresses(params):
            try:
                connection = await cls._connect_once({**params, **address}, timeout)
            except psycopg.Error as error:
                failure = error
                continue
            connection._adapters = AdaptersMap(context.adapters) if context else connection._adapters
            connection.row_factory = row_factory or connection.row_factory
            connection.cursor_factory = cursor_factory or connection.cursor_factory
            connection.prepare_threshold = prepare_threshold
            try:
                await connection.set_autocommit(autocommit)
            except BaseException:  # cancelled: nobody else has it yet who could close it
                connection.abort()
                raise
            return connection
        raise failure or errors.OperationalError(f"host name {params.get('host')!r} has no address")

    @classmethod
    async def _connect_once(cls, params: dict[str, Any], seconds: float) -> Self:
        with trio.move_on_after(seconds):
            return await drive_connecting(cls._connect_gen(make_conninfo("", **params)))
        raise errors.ConnectionTimeout(f"no answer within {seconds:g} s")

    async def wait(
        self,
        gen: PQGen[Returned],
        interval: float = 0.0,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own signature
    ) -> Returned:
        """Run one of psycopg's generators on this connection; `interval` has no use on Trio.

        Raises:
            psycopg.errors._WaitTimeout: `timeout` seconds are over (psycopg's own callers expect it).
        """
        try:
            with trio.move_on_after(math.inf if timeout is None else timeout):
                return await drive(gen, self.pgconn.socket)
        except (trio.Cancelled, KeyboardInterrupt):
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self._end_query(gen)
            raise
        raise errors._WaitTimeout("wait timeout expired")

    async def _end_query(self, gen: PQGen[Any]) -> None:
        """Cancel the running query in the server and read the rest of its reply, or close the connection."""
        ended = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.cancel_grace):
            try:
                await drive_connecting(self._cancel_gen())
                await drive(gen, self.pgconn.socket)
                ended = True
            except errors.QueryCanceled:
                ended = True
            except psycopg.Error:
                # The query may have failed on its own account just before; then the session is intact.
                ended = self.pgconn.transaction_status != TransactionStatus.ACTIVE
        if not ended:
            self.abort()

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        """A transaction, or a savepoint within one; a cancellation does not interrupt its end.

        Raises:
            psycopg.OperationalError: COMMIT was not answered within `exit_timeout`; its outcome is unknown.
        """
        block = AsyncTransaction(self, savepoint_name, force_rollback)
        await block.__aenter__()
        try:
            yield block
        except BaseException as error:
            if not await self._leave(block, error):
                raise
        else:
            await self._leave(block, None)

    async def _leave(self, block: AsyncTransaction, error: BaseException | None) -> bool:
        """End the transaction block as its own exit would; true if the error was meant to end there."""
        traceback = error.__traceback__ if error else None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.exit_timeout):
            return await block.__aexit__(type(error) if error else None, error, traceback)
        self.abort()
        if error is None:
            raise errors.OperationalError(f"no answer to COMMIT in {self.exit_timeout:g} s, outcome unknown")
        return False

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit or roll back what is open, then close, also when cancelled."""
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self.exit_timeout):
                await super().__aexit__(exc_type, exc_val, exc_tb)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connection; does not wait for anything."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        await super().close()

    def abort(self) -> None:
        """Close the socket at once, whatever the session is doing; for one in an unknown state."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
            self.pgconn.finish()


async def _addresses(params: dict[str, Any]) -> list[dict[str, str]]:
    """Parameters to add for each address to try: libpq would block the thread while resolving a name."""
    host = params.get("host")
    if not host or host.startswith(("/", "@")) or params.get("hostaddr"):
        return [{}]
    if "," in host:
        raise errors.ProgrammingError("a control connection leads to one host, not to a list")
    try:
        port = params.get("port") or DEFAULT_PORT
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise errors.OperationalError(f"could not resolve host name {host!r}: {error.strerror}") from error
    return [{"hostaddr": str(address[4][0])} for address in found]
