"""Clients that write all the time while servers change their roles, and know exactly what they were promised.

`WriterFleet` stands for the proxy: its sessions are held, moved and released as `pipeline.fleet.Fleet` says. `Bypass`
is a client that has found its own way to a server, past the proxy.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import trio
from attrs import define, field

from helios_trio.control import ControlConnection
from helios_trio.embedded import EmbeddedCluster
from helios_trio.pipeline.fleet import HoldReport, MoveOrder, MoveOutcome, MoveReport, SessionInfo

INSERT = "INSERT INTO written VALUES (%s, %s)"
CREATE = "CREATE TABLE written (client int, number int, PRIMARY KEY (client, number))"


@define(eq=False)
class Writer:
    """One session: a number higher each time, in a transaction of its own."""

    id: int
    connection: ControlConnection
    backend: str
    acknowledged: int = 0
    busy: bool = False
    longest_pause: float = 0.0


@define(eq=False)
class WriterFleet:
    """Sessions of clients that notice nothing but a pause."""

    cluster: EmbeddedCluster
    writers: dict[int, Writer] = field(factory=dict)
    _gate: trio.Event = field(factory=trio.Event)
    _warm: list[ControlConnection] = field(factory=list)
    _opened: list[ControlConnection] = field(factory=list)
    _stopped: bool = False

    async def start(self, count: int, nursery: trio.Nursery) -> None:
        """Let so many clients write."""
        self._gate.set()
        backend = self.cluster.primary.name
        for id in range(1, count + 1):
            self.writers[id] = Writer(id, await self._connect(backend), backend)
            nursery.start_soon(self._write, self.writers[id])

    async def _connect(self, node: str) -> ControlConnection:
        self._opened.append(connection := await self.cluster.connect(node))
        return connection

    def close(self) -> None:
        """Close all connections there were."""
        for connection in self._opened:
            connection.abort()

    async def _write(self, writer: Writer) -> None:
        while not self._stopped:
            while not self._gate.is_set():  # nothing may come between this look and `busy`
                await self._gate.wait()
            writer.busy, began = True, trio.current_time()
            await writer.connection.execute(INSERT, (writer.id, writer.acknowledged + 1))
            writer.acknowledged += 1
            writer.busy = False
            writer.longest_pause = max(writer.longest_pause, trio.current_time() - began)

    async def stop(self) -> None:
        """Let them end what they are doing."""
        self._stopped = True
        await self._idle()

    async def _idle(self) -> None:
        while any(each.busy for each in self.writers.values()):  # noqa: ASYNC110 - they tell nobody
            await trio.sleep(0.001)

    @property
    def acknowledged(self) -> dict[int, int]:
        """How much each was promised."""
        return {each.id: each.acknowledged for each in self.writers.values()}

    # -- pipeline.fleet.Fleet ------------------------------------------------------------------------------------

    def sessions(self) -> Sequence[SessionInfo]:
        return []

    def session(self, id: int) -> SessionInfo | None:
        raise AssertionError("all moves end")

    def on_backend(self, backend: str) -> Sequence[int]:
        return [each.id for each in self.writers.values() if each.backend == backend]

    async def warm(self, source: str, target: str, *, time_limit: float) -> int:
        self._warm = [await self._connect(target) for _ in self.writers]
        return len(self._warm)

    async def hold(self, backend: str, *, time_limit: float) -> HoldReport:
        self._gate = trio.Event()
        with trio.move_on_after(time_limit):
            await self._idle()
        busy = {each.id: "active" for each in self.writers.values() if each.busy}
        return HoldReport(held=[id for id in self.writers if id not in busy], busy=busy)

    async def release(self, backend: str, *, concurrency: int) -> None:
        self._gate.set()
        await trio.lowlevel.checkpoint()

    async def move(self, id: int, order: MoveOrder) -> MoveReport:
        writer, old = self.writers[id], self.writers[id].connection
        writer.connection, writer.backend = self._warm.pop(), order.target
        await old.close()
        return MoveReport(session=id, outcome=MoveOutcome.MOVED)

    def terminate(self, id: int, reason: str) -> bool:
        raise AssertionError(f"session {id} is ended: {reason}")


@define(eq=False)
class Bypass:
    """A client past the proxy: it writes wherever it can, and notes what was acknowledged."""

    id: int
    cluster: EmbeddedCluster
    attempts: int = 0
    acknowledged: set[int] = field(factory=set)
    refused: int = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._write_to_each()
            except psycopg.Error:
                await trio.sleep(0.005)

    async def _write_to_each(self) -> None:
        """To any node that takes it, as long as it does."""
        for node in self.cluster.nodes:
            if node.pid is None:
                continue
            async with await self.cluster.connect(node.name) as connection:
                try:
                    while True:
                        await self._write(connection)
                except psycopg.errors.ReadOnlySqlTransaction:
                    self.refused += 1

    async def _write(self, connection: ControlConnection) -> None:
        self.attempts += 1
        number = self.attempts
        await connection.execute(INSERT, (self.id, number))
        self.acknowledged.add(number)
