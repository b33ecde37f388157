"""How far the servers have come: asked of them when a session wants to read what it has written, many at a time.

Each server has one connection and one question under way; whoever asks meanwhile shares the next one, as an answer
counts only if it was asked for after the write. What probes have told counts as well.

Used by: features.routing (through `pipeline.freshness.Freshness`), composition.directing (makes it, runs it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import psycopg
import trio
from attrs import define, field

from helios_trio.cluster.topology import NodeState, Topology
from helios_trio.control.connection import ControlConnection
from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.freshness import Floor

Connect = Callable[[Backend], Awaitable[ControlConnection]]

#: Seconds that a server has to say where it is.
TIME_LIMIT: Final = 1.0
#: Seconds that a read waits for the words of standbys; then the server that takes writes serves it.
_LOOK_LIMIT: Final = 0.05

#: Asked after the commit, on whatever connection: `pg_current_wal_lsn()` stands still with synchronous_commit off, and
#: inside the transaction the insert position is too low.
_WRITER: Final = """
SELECT pg_current_wal_insert_lsn() - '0/0',
       ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
"""
_STANDBY: Final = """
SELECT pg_last_wal_replay_lsn() - '0/0',
       greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'
"""


class Positions:
    """See `pipeline.freshness.Freshness`."""

    def __init__(self, topology: Topology, connect: Connect) -> None:
        """`connect` opens a connection of the proxy's own to a server."""
        self._topology = topology
        self._connect = connect
        self._askers: dict[tuple[str, str], Asker] = {}
        self._heard: dict[str, _Heard] = {}
        self._nursery: trio.Nursery | None = None
        #: questions that were put to servers
        self.asked = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the connections until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    # -- Freshness ---------------------------------------------------------------------------------------------

    async def floor(self) -> Floor:
        """See `pipeline.freshness.Freshness`."""
        writer = self._topology.writer
        if writer is None:
            raise BackendUnavailable("no server is known to take writes")
        position, timeline = await self._ask(writer, _WRITER)
        return Floor(position=int(position), timeline=timeline, system=writer.system_identifier)

    def is_current(self, floor: Floor) -> bool:
        """See `pipeline.freshness.Freshness`."""
        writer = self._topology.writer
        return (
            writer is not None
            and writer.system_identifier == floor.system
            and writer.timeline == floor.timeline
        )

    def has(self, name: str, floor: Floor, *, flushed: bool = False) -> bool:
        """See `pipeline.freshness.Freshness`."""
        node = self._topology.nodes[name]
        seen = node.observed
        if seen is None or node.system_identifier != floor.system or node.timeline != floor.timeline:
            return False
        heard = self._heard.get(name)
        if heard is not None and heard.timeline == floor.timeline and heard.where(flushed) >= floor.position:
            return True
        known = seen.position if flushed else seen.replayed
        return known is not None and known >= floor.position

    async def look(self, names: Sequence[str], floor: Floor, *, flushed: bool = False) -> bool:
        """See `pipeline.freshness.Freshness`."""
        with trio.move_on_after(_LOOK_LIMIT):
            async with trio.open_nursery() as nursery:

                async def look_at(name: str) -> None:
                    await self._hear(self._topology.nodes[name])
                    if self.has(name, floor, flushed=flushed):
                        nursery.cancel_scope.cancel()

                for name in names:
                    nursery.start_soon(look_at, name)
        return any(self.has(name, floor, flushed=flushed) for name in names)

    def on_news(self, name: str) -> None:
        """A probe has told something of a server: one that is gone, or has less than it had, was started anew.

        What it had shown before counts no more: after a crash a standby lets readers in as soon as it is consistent,
        which may be before the place that it had come to.
        """
        heard, node = self._heard.get(name), self._topology.nodes[name]
        if heard is None:
            return
        seen = None if node.observed is None else node.observed.replayed
        if node.healthy is False or (seen is not None and seen < heard.replayed):
            del self._heard[name]

    async def _hear(self, node: NodeState) -> None:
        timeline = node.timeline
        try:
            replayed, received = await self._ask(node, _STANDBY)
        except HeliosError:
            self._heard.pop(node.backend.name, None)  # then it is not known to have anything
            return
        if replayed is not None and timeline is not None:
            self._heard[node.backend.name] = _Heard(timeline, int(replayed), int(received))

    async def _ask(self, node: NodeState, question: str) -> Sequence[Any]:
        key = node.backend.name, question
        asker = self._askers.get(key)
        if asker is None:
            if self._nursery is None:
                raise BackendUnavailable("servers are not asked any more")
            asker = self._askers[key] = Asker(node.backend, question, self._connect)
            self._nursery.start_soon(asker.run)
        self.asked += 1
        return await asker.ask()


@define
class _Heard:
    """Where a standby was when it was last asked, in bytes."""

    timeline: int
    replayed: int
    received: int

    def where(self, flushed: bool) -> int:
        return self.received if flushed else self.replayed


@define(eq=False)
class _Round:
    """One question to one server, for all who asked before it was put."""

    done: trio.Event = field(factory=trio.Event)
    answer: Sequence[Any] | None = None
    reason: str = ""


@define(eq=False)
class Asker:
    """Puts one question to one server, on a connection that it keeps."""

    backend: Backend
    question: str
    connect: Connect
    _next: _Round | None = field(default=None, init=False)
    _wanted: trio.Event = field(factory=trio.Event, init=False)

    async def ask(self) -> Sequence[Any]:
        """The answer to a question that is put from now on. Raises BackendUnavailable."""
        mine = self._next
        if mine is None:
            mine = self._next = _Round()
            self._wanted.set()
        await mine.done.wait()
        if mine.answer is None:
            raise BackendUnavailable(f"{self.backend.name} does not say how far it is: {mine.reason}")
        return mine.answer

    async def run(self) -> None:
        """Ask as long as somebody wants to know, until cancelled."""
        connection: ControlConnection | None = None
        try:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                mine, self._next = self._next, None
                assert mine is not None, "it is made before the event is set"
                connection = await self._put(mine, connection)
                mine.done.set()
        finally:
            if connection is not None:
                connection.abort()

    async def _put(self, mine: _Round, connection: ControlConnection | None) -> ControlConnection | None:
        """Returns the connection for the next question; None: it is gone."""
        try:
            with trio.fail_after(TIME_LIMIT):
                if connection is None:
                    connection = await self.connect(self.backend)
                    connection.cancel_grace = 0.0  # one that does not answer is given up
                cursor = await connection.execute(self.question)
                mine.answer = await cursor.fetchone()
        except (psycopg.Error, OSError, HeliosError, trio.TooSlowError) as error:
            mine.reason = str(error) or "it does not answer"
            if connection is not None:
                connection.abort()
            return None
        return connection
