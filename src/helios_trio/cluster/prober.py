"""Asks every server again and again how it is, over one kept control connection each, and tells the topology.

Each server has a task of its own, so that one that hangs delays no other. What is made of the answers is
decided in `cluster.topology`.

Used by: app (runs `watch`).
"""

from __future__ import annotations

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

#: A server that says one of these to `PROBE` may still answer `REDUCED_PROBE`.
_REFUSALS: Final = (errors.InsufficientPrivilege, errors.UndefinedFunction, errors.FeatureNotSupported)


async def watch(
    topology: Topology,
    connect: Connect,
    interval: float,
    timeout: float,  # noqa: ASYNC109 - of each probe, not of this function
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Probe all servers every `interval` seconds until cancelled; started once each was asked.

    Args:
        topology: told about every answer and every failure.
        connect: opens a control connection in autocommit; raises psycopg.Error, HeliosError or OSError.
        interval: seconds from the beginning of a probe to the beginning of the next.
        timeout: seconds a server has to answer a probe.
        task_status: see `trio.Nursery.start`.
    """
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first_round:
            for node in topology:
                prober = _Prober(node.backend, topology, connect, interval, timeout)
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
    _begun: float = field(default=0.0, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled."""
        try:
            await self._probe()
            task_status.started()
            while True:
                await trio.sleep_until(self._begun + self.interval)
                await self._probe()
        finally:
            self._hang_up()

    async def _probe(self) -> None:
        """Ask once and pass on what came of it."""
        self._begun = trio.current_time()
        name, topology = self.backend.name, self.topology
        try:
            connection = self._connection or await self._reconnect()
            with trio.fail_after(self.timeout):
                seen = await self._ask(connection)
        except trio.TooSlowError:
            self._hang_up()
            changed = topology.note_timeout(name, self._too_slow(), trio.current_time())
        except (psycopg.Error, HeliosError, OSError) as error:
            self._hang_up()
            changed = topology.note_failure(name, _first_line(error), trio.current_time())
        else:
            changed = topology.note_answer(name, seen, trio.current_time(), self._begun)
        if changed:
            self._log_change()

    async def _reconnect(self) -> ControlConnection:
        """Raises what `connect` does, and OperationalError when it takes too long."""
        with trio.move_on_after(CONNECT_TIME_LIMIT):
            connection = self._connection = await self.connect(self.backend)
            connection.cancel_grace = 0.0  # one that did not answer is given up, not asked to cancel
            self._query = PROBE
            return connection
        raise errors.ConnectionTimeout(f"no connection within {CONNECT_TIME_LIMIT:g} s")

    async def _ask(self, connection: ControlConnection) -> Observation:
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
