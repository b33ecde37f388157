"""`Desk`: one connection to one database, at which any number of sessions ask what became of their COMMITs.

After a failover hundreds ask at once. Whoever has the connection asks for all who wait at that moment; the others
find their answers when it is their turn. So there is one connection, few round trips, and no task of its own.

Used by: failover.outcome.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, LiteralString

import structlog
import trio
from attrs import define, field
from psycopg import errors

from helios_trio.control import ControlConnection
from helios_trio.pipeline.rescue import CommitOutcome

_log = structlog.get_logger(__name__)

Connect = Callable[[str, str], Awaitable[ControlConnection]]

#: Seconds for what is asked at once; a server that takes longer may hang, and another connection is tried.
ROUND_TIME_LIMIT: Final = 5.0
#: Questions that are asked at once: of each, the server may have to wait for `lock_timeout`.
BATCH: Final = 100

# No wait for a standby: what is asked for is how this server sees it, and the standby may be what is gone.
_PREPARE: Final = """
SET synchronous_commit = local; SET lock_timeout = '20ms'; SET statement_timeout = 0;
SET default_transaction_isolation = 'read committed'
"""
# Who has the pid now is the one meant only if it was there when the COMMIT was sent. The processes of superusers can
# be ended by superusers only; that failing, the others that are asked for must not fail with it.
_END_PROCESSES: Final = """
SELECT found.pid, CASE WHEN found.may_end THEN pg_terminate_backend(found.pid) ELSE false END
  FROM (SELECT a.pid,
               me.rolsuper OR NOT owner.rolsuper AND pg_has_role('pg_signal_backend', 'USAGE') AS may_end
          FROM unnest(%s::int[], %s::float8[]) AS lost (pid, ago)
          JOIN pg_stat_activity AS a ON a.pid = lost.pid
          JOIN pg_roles AS owner ON owner.oid = a.usesysid
          JOIN pg_roles AS me ON me.rolname = current_user
         WHERE a.backend_type = 'client backend' AND a.datname = current_database()
           AND a.backend_start <= clock_timestamp() - make_interval(secs => lost.ago)) AS found
"""
_SETTLE: Final = "SELECT id::text, helios.settle_commit(id) FROM unnest(%s::uuid[]) AS id"
_RECOVERING: Final = "SELECT pg_is_in_recovery()"
# The checkpointer is as old as the shared memory: a crash of any process takes both, and ids may be given again.
_XID: Final = """
SELECT txid_status(%s),
       coalesce((SELECT backend_start <= clock_timestamp() - make_interval(secs => %s)
                   FROM pg_stat_activity WHERE backend_type = 'checkpointer'), false)
"""
#: What no repetition would change: there is no `helios setup` here, or not for this user.
_NO_TOKENS: Final = (
    errors.UndefinedFunction,
    errors.UndefinedTable,
    errors.InvalidSchemaName,
    errors.InsufficientPrivilege,
)


@define(eq=False, kw_only=True)
class Question:
    """What became of one transaction."""

    #: as PostgreSQL writes a UUID
    token: str | None
    xid: int | None
    #: the server process to end; None: the server is another, on which it does not exist
    pid: int | None
    #: when the COMMIT was sent, or later (seconds on Trio's clock)
    sent_at: float
    #: until when the absence of the token means that it was never committed
    token_good_until: float
    #: ids below were given, or not, before this server took its first write
    first_xid: int | None
    #: None: not decided yet
    outcome: CommitOutcome | None = field(default=None, init=False)
    #: what the last attempt failed with
    trouble: str = field(default="", init=False)

    @property
    def by_token(self) -> bool:
        """Its token decides, not its transaction id."""
        return self.token is not None

    @property
    def age(self) -> float:
        """Seconds since the COMMIT was sent, or less."""
        return max(0.0, trio.current_time() - self.sent_at)


@define(eq=False)
class Desk:
    """See the module."""

    connect: Connect
    backend: str
    database: str
    #: how many sessions have a question here
    users: int = field(default=0, init=False)
    _waiting: list[Question] = field(factory=list, init=False)
    _turn: trio.Lock = field(factory=trio.Lock, init=False)
    _connection: ControlConnection | None = field(default=None, init=False)

    async def ask(self, question: Question) -> None:
        """Ask once; the outcome stays None when it is not decided yet.

        Raises:
            psycopg.Error, OSError, HeliosError: the server could not be asked.
        """
        self._waiting.append(question)
        try:
            async with self._turn:
                if question in self._waiting:
                    await self._ask_for_all()
        finally:
            if question in self._waiting:
                self._waiting.remove(question)

    def close(self) -> None:
        """Close the connection; it may be asked again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _ask_for_all(self) -> None:
        """Ask for those who wait. They try again if this fails."""
        batch = self._waiting[:BATCH]
        del self._waiting[:BATCH]
        with trio.move_on_after(ROUND_TIME_LIMIT) as scope:
            connection = await self._connected()
            ready = await _without_process(connection, batch)
            await _by_token(connection, [each for each in ready if each.by_token])
            for each in ready:
                if each.by_token:
                    continue
                if each.xid is None:
                    each.outcome = each.outcome or CommitOutcome.UNKNOWN
                else:
                    await _by_xid(connection, each)
        if scope.cancelled_caught:
            self.close()
            for each in batch:
                each.trouble = f"no answer within {ROUND_TIME_LIMIT:g} s"

    async def _connected(self) -> ControlConnection:
        if self._connection is None or self._connection.closed:
            connection = await self.connect(self.backend, self.database)
            self._connection = connection
            connection.cancel_grace = 0.5  # a server that hangs is given up
            await connection.execute(_PREPARE)
        return self._connection


async def _rows(
    connection: ControlConnection, query: LiteralString, *arguments: Any
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, arguments or None)).fetchall()


async def _without_process(connection: ControlConnection, batch: Sequence[Question]) -> list[Question]:
    """End the server processes; returns the questions whose process is gone, or cannot be ended by us."""
    running = [each for each in batch if each.pid is not None]
    if not running:
        return list(batch)
    pids, ages = [each.pid for each in running], [each.age for each in running]
    signalled = dict(await _rows(connection, _END_PROCESSES, pids, ages))
    for pid, ended in signalled.items():
        if not ended:
            _log.warning("not allowed to end the server process of a lost connection", pid=pid)
    return [each for each in batch if not signalled.get(each.pid, False)]


async def _by_token(connection: ControlConnection, batch: Sequence[Question]) -> None:
    """Settle what is not committed, so that it never will be."""
    tokens = [each.token for each in batch]
    if not tokens:
        return
    try:
        settled = dict(await _rows(connection, _SETTLE, tokens))
    except _NO_TOKENS as error:
        for each in batch:
            each.trouble = str(error).partition("\n")[0]
            _without_token(each)
        return
    for each in batch:
        committed = settled[each.token]
        if committed is None:
            each.trouble = "its transaction has not ended"
        elif committed:
            each.outcome = CommitOutcome.COMMITTED
        elif trio.current_time() > each.token_good_until:
            each.trouble = "its token may have been deleted"
            each.outcome = CommitOutcome.UNKNOWN
        else:
            each.outcome = CommitOutcome.NOT_COMMITTED


def _without_token(question: Question) -> None:
    """Its transaction id is asked for the next time, if there is one."""
    question.token = None
    if question.xid is None:
        question.outcome = CommitOutcome.UNKNOWN


async def _by_xid(connection: ControlConnection, question: Question) -> None:
    """Ask for the state of the transaction with that id (PostgreSQL docs: "Transaction ID and Snapshot Information").

    An id that is yet to be given was given by a predecessor of this server, and nothing of that has come here.
    """
    [(recovering,)] = await _rows(connection, _RECOVERING)
    if recovering:
        question.trouble = "the server is in recovery"
        return
    try:
        [(status, unbroken)] = await _rows(connection, _XID, question.xid, question.age)
    except errors.InvalidParameterValue:
        question.outcome = CommitOutcome.NOT_COMMITTED
        return
    question.trouble = f"its transaction id reads {status}"
    own = question.pid is not None and unbroken
    if status == "aborted":
        question.outcome = CommitOutcome.NOT_COMMITTED
    elif status == "committed" and (own or _given_before(question)):
        question.outcome = CommitOutcome.COMMITTED
    elif status != "in progress":
        question.outcome = CommitOutcome.UNKNOWN


def _given_before(question: Question) -> bool:
    """The id cannot be that of a transaction which this server began after it had succeeded another."""
    first, xid = question.first_xid, question.xid
    return first is not None and xid is not None and xid < first
