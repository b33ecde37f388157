"""Asks every server again and again how it is, over one kept control connection each, and tells the topology.

Each server has a task of its own, so that one that hangs delays no other. A kept connection says little about new ones:
its server process may outlive the postmaster for a while (rule 25), and it may be lost while the server lives. So when
somebody has seen a sign of death (`probe_now`), or the kept connection is lost, a new one decides. What is made of
the answers is decided in `cluster.topology`.

Used by: composition.watching (makes it, runs it), failover (`probe_now`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import structlog
import trio
from attrs import define, field
from psycopg import errors

from helios_trio.cluster.observation import PROBE, REDUCED_PROBE, Observation
from helios_trio.cluster.topology import Topology
from helios_trio.control import ControlConnection
from helios_trio.errors import HeliosError
from helios_trio.pipeline.backend import Backend

_log = structlog.get_logger(__name__)

Connect = Callable[[Backend], Awaitable[ControlConnection]]

#: Seconds to connect and log in, which takes longer than to answer a query.
CONNECT_TIME_LIMIT: Final = 5.0
#: Seconds at least from the beginning of one probe of a server to that of the next, however often it is suspected.
SPACING: Final = 0.02

#: A server that says one of these to `PROBE` may still answer `REDUCED_PROBE`.
_REFUSALS: Final = (errors.InsufficientPrivilege, errors.UndefinedFunction, errors.FeatureNotSupported)
_FAILURES: Final = (psycopg.Error, HeliosError, OSError)
# libpq gives no SQLSTATE for a failed login, but two spaces after the severity. What a server says that is not ready
# (57P03) is no reason to go on with a connection that it had before.
_SPOKE: Final = re.compile(r"failed: \S+:  (?!the database system is)")


class Probes:
    """The probes of all servers."""

    def __init__(
        self,
        topology: Topology,
        connect: Connect,
        interval: float,
        timeout: float,
    ) -> None:
        """Nothing is asked before `run`.

        Args:
            topology: told about every answer and every failure.
            connect: opens a control connection in autocommit; raises psycopg.Error, HeliosError or OSError.
            interval: seconds from the beginning of a probe to the beginning of the next; infinity: only when asked.
            timeout: seconds a server has to answer a probe.
        """
        self._probers = {
            node.backend.name: _Prober(node.backend, topology, connect, interval, timeout)
            for node in topology
        }

    def probe_now(self, name: str) -> None:
        """Look at a server at once, over a new connection; returns at once, and the topology is told what is seen.

        Asked again before that look has begun, it is still one look; while it is under way, there will be one more.
        Raises KeyError for a name that is no server's.
        """
        self._probers[name].ask()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe all servers until cancelled; started once each was asked."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as first_round:
                for prober in self._probers.values():
                    first_round.start_soon(nursery.start, prober.run)
            task_status.started()


@define(eq=False)
class _Prober:
    """Asks one server."""

    backend: Backend
    topology: Topology
    connect: Connect
    interval: float
    timeout: float
    _connection: ControlConnection | None = field(default=None, init=False)
    _query: str = field(default=PROBE, init=False)
    #: when the last probe began, on Trio's clock (seconds)
    _begun: float = field(default=-math.inf, init=False)
    #: when the last question was put
    _asked_at: float = field(default=0.0, init=False)
    #: set: somebody wants to know now
    _wanted: trio.Event = field(factory=trio.Event, init=False)
    #: the question under way over a connection that was kept
    _routine: trio.CancelScope | None = field(default=None, init=False)

    def ask(self) -> None:
        """See `Probes.probe_now`. A question over the kept connection is given up for it."""
        self._wanted.set()
        if self._routine is not None:
            self._routine.cancel()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled."""
        try:
            await self._probe(fresh=True)
            task_status.started()
            while True:
                await self._until_due()
                fresh = self._wanted.is_set()
                self._wanted = trio.Event()
                await self._probe(fresh)
        finally:
            self._hang_up()

    async def _until_due(self) -> None:
        """Wait for the interval to pass, or for somebody who wants to know."""
        await trio.sleep_until(self._begun + min(SPACING, self.interval))
        with trio.move_on_at(self._begun + self.interval):
            await self._wanted.wait()

    async def _probe(self, fresh: bool) -> None:
        """Ask once and pass on what came of it."""
        self._begun = trio.current_time()
        name, topology = self.backend.name, self.topology
        try:
            seen = await self._see(fresh)
        except trio.TooSlowError:
            self._hang_up()
            changed = topology.note_timeout(name, self._too_slow(), trio.current_time())
        except _FAILURES as error:
            self._hang_up()
            changed = topology.note_failure(name, _first_line(error), trio.current_time())
        else:
            if seen is None:
                return
            changed = topology.note_answer(name, seen, trio.current_time(), self._asked_at)
        if changed:
            self._log_change()

    async def _see(self, fresh: bool) -> Observation | None:
        """What the server says; None: somebody wants to know better. Raises _FAILURES and TooSlowError."""
        kept = self._connection
        if kept is not None and not fresh:
            try:
                with trio.CancelScope() as self._routine:
                    return await self._ask(kept)
                self._hang_up()  # a reply may still be on its way
                return None
            except _FAILURES:
                self._hang_up()
            finally:
                self._routine = None
        try:
            connection = await self._connect()
        except psycopg.OperationalError as error:
            if self._connection is None or _SPOKE.search(str(error)) is None:
                raise
            connection = self._connection  # it lives, and has no room for another connection, or such
        return await self._ask(connection)

    async def _connect(self) -> ControlConnection:
        """Replace the kept connection. Raises _FAILURES; then it is still there.

        While this takes long, each time in which a server should have answered counts as a probe without an answer.
        """
        failure: Exception | None = None
        before = self._connection
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count_silence)
            with trio.move_on_after(CONNECT_TIME_LIMIT):
                try:
                    self._keep(await self.connect(self.backend))
                except _FAILURES as error:
                    failure = error
            nursery.cancel_scope.cancel()
        if self._connection is None or self._connection is before:
            raise failure or errors.ConnectionTimeout(f"no connection within {CONNECT_TIME_LIMIT:g} s")
        return self._connection

    def _keep(self, connection: ControlConnection) -> None:
        self._hang_up()
        self._connection, self._query = connection, PROBE
        connection.cancel_grace = 0.0  # one that did not answer is given up, not asked to cancel

    async def _count_silence(self) -> None:
        """Of a server that was well; one that nobody knows yet, or is down, may take its time."""
        name, topology = self.backend.name, self.topology
        wait, again = self.timeout, self.timeout if math.isinf(self.interval) else self.interval
        while True:
            await trio.sleep(wait)
            wait = max(self.timeout, again)
            if topology.nodes[name].healthy and topology.note_timeout(
                name, self._too_slow(), trio.current_time()
            ):
                self._log_change()

    async def _ask(self, connection: ControlConnection) -> Observation:
        """Raises psycopg.Error and TooSlowError."""
        with trio.fail_after(self.timeout):
            self._asked_at = trio.current_time()
            try:
                row = await (await connection.execute(self._query)).fetchone()
            except _REFUSALS as error:
                if self._query is REDUCED_PROBE:
                    raise
                _log.warning("server does not tell all", node=self.backend.name, reason=_first_line(error))
                self._query = REDUCED_PROBE
                row = await (await connection.execute(self._query)).fetchone()
        assert row is not None, "a SELECT without a table has one row"
        return Observation.from_row(row)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _too_slow(self) -> str:
        return f"no answer within {self.timeout:g} s"

    def _log_change(self) -> None:
        node = self.topology.nodes[self.backend.name]
        say = _log.info if node.healthy else _log.warning
        say(
            "server state changed",
            node=self.backend.name,
            role=node.role,
            healthy=node.healthy,
            reason=node.reason,
        )


def _first_line(error: Exception) -> str:
    """What an error says; libpq adds advice in further lines."""
    return str(error).partition("\n")[0] or type(error).__name__
