"""A pool, sessions and scripted servers on socket pairs, in one process: the relay without networks and passwords.

`open_rig` runs the readiness loop and one pool; each connection the pool opens ends in a `ServerEnd`, which answers
like `model_server.ModelServer` as long as its gate is open.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf

import model_server as server
import trio
import trio.testing
from attrs import define, field
from model_server import ModelServer

from helios_trio.config.pool import PoolSettings
from helios_trio.config.words import PoolMode, SslMode
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ServerTLS
from helios_trio.net.transport import PlainTransport
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connect import ServerGreeting
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import PoolLimits, Ticket
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination, base_label
from helios_trio.proxy.hub import ListenerHub
from helios_trio.proxy.session import Session, SessionPolicy
from helios_trio.session.settings import TransactionalState
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.codes import PROTOCOL_3_0, Status

#: Seconds, far longer than any test takes: only a test that hangs meets it.
PATIENCE = 10
SMALL_BUFFER = 4096


def transport_pair(peer: str) -> tuple[PlainTransport, socket.socket]:
    """Our end and the peer's, with small buffers."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    theirs.setblocking(False)
    return PlainTransport(ours, peer), theirs


@define(eq=False)
class ServerEnd:
    """The server's end of one connection."""

    pid: int
    socket: trio.socket.SocketType
    model: ModelServer = field(factory=ModelServer)
    #: closed while the server takes its time
    gate: trio.Event = field(factory=trio.Event)
    variant: Mapping[str, str] = field(factory=dict)
    _scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Answer until the proxy closes the connection."""
        with self.socket, self._scope:
            while not self.model.gone:
                try:
                    data = await self.socket.recv(65536)
                except ConnectionResetError:
                    return
                if not data:
                    return
                await self.gate.wait()
                await self.send(self.model.feed(data))

    async def send(self, data: bytes) -> None:
        """All of it, unless nobody reads any more."""
        view = memoryview(data)
        while view:
            try:
                view = view[await self.socket.send(view) :]
            except (BrokenPipeError, ConnectionResetError):
                return

    def close(self) -> None:
        """The server is gone."""
        self._scope.cancel()


@define(eq=False)
class ClientEnd:
    """A client's end of one session."""

    socket: trio.socket.SocketType
    session: Session
    #: set when the session's task is over
    over: trio.Event = field(factory=trio.Event)
    crash: Exception | None = None
    _buffer: bytes = b""

    async def send(self, *frames: bytes) -> None:
        """Send all in one piece."""
        view = memoryview(b"".join(frames))
        while view:
            view = view[await self.socket.send(view) :]

    async def receive(self) -> bytes:
        """The next message; b"" at the end of the stream."""
        while len(self._buffer) < 5 or len(self._buffer) < self._size:
            data = await self.socket.recv(65536)
            if not data:
                return b""
            self._buffer += data
        frame, self._buffer = self._buffer[: self._size], self._buffer[self._size :]
        return frame

    @property
    def _size(self) -> int:
        return 1 + int.from_bytes(self._buffer[1:5], "big")

    async def until_ready(self) -> list[bytes]:
        """All messages up to ReadyForQuery, that included, or to the end of the stream."""
        found = []
        while frame := await self.receive():
            found.append(frame)
            if frame[:1] == b"Z":
                break
        return found

    async def ask(self, *frames: bytes) -> list[bytes]:
        """Send, and read up to ReadyForQuery."""
        await self.send(*frames)
        return await self.until_ready()


def destination(mode: PoolMode) -> Destination:
    """Where all sessions of the rig belong."""
    backend, settings = Backend("backend", "localhost", 5432), PoolSettings(mode=mode)
    return Destination(backend, "database", "user", settings, ServerTLS(SslMode.DISABLE))


@define(eq=False)
class Wish:
    """What a session wants of a pool."""

    variant: Mapping[str, str] = field(factory=dict)
    label: Mapping[str, str] = field(factory=dict)
    exact: bool = False
    placeholders: frozenset[str] = frozenset()


@define(eq=False)
class Rig:
    """One pool and what stands around it."""

    readiness: Readiness
    nursery: trio.Nursery
    servers: list[ServerEnd] = field(factory=list)
    #: what becomes of attempts to connect, in order; after that all succeed
    outcomes: deque[Exception] = field(factory=deque)
    #: when they were made, on Trio's clock
    attempts: list[float] = field(factory=list)
    #: seconds that an attempt takes
    connect_time: float = 0.0
    connecting: int = 0
    most_connecting: int = 0
    #: what servers say at once after their greeting
    rest: bytes = b""
    freed: int = 0
    evictions: int = 0
    pool: Pool = field(init=False)
    gates_open: bool = True
    facts: FactsCache = field(factory=FactsCache)
    cancelled: list[int] = field(factory=list)
    clients: list[ClientEnd] = field(factory=list)
    at_end: list[Callable[[], None]] = field(factory=list)

    async def connect(self, variant: Mapping[str, str]) -> ServerGreeting:
        """See `pool.pool.Connect`."""
        self.attempts.append(trio.current_time())
        self.connecting += 1
        self.most_connecting = max(self.most_connecting, self.connecting)
        try:
            await trio.sleep(self.connect_time)
        finally:
            self.connecting -= 1
        if self.outcomes:
            raise self.outcomes.popleft()
        ours, theirs = transport_pair("server")
        end = ServerEnd(len(self.servers) + 1, trio.socket.from_stdlib_socket(theirs), variant=dict(variant))
        if self.gates_open:
            end.gate.set()
        self.servers.append(end)
        self.nursery.start_soon(end.run)
        return ServerGreeting(
            ours,
            PROTOCOL_3_0,
            pid=end.pid,
            secret=b"key!",
            parameters={"TimeZone": "UTC"},
            status=Status.IDLE,
            rest=self.rest,
        )

    async def cancel(self, connection: BackendConnection) -> None:
        """A cancel request for what the server does on this connection."""
        self.cancelled.append(connection.pid)
        await trio.lowlevel.checkpoint()

    def note_freed(self) -> None:
        """A connection was closed."""
        self.freed += 1

    def note_eviction(self) -> None:
        """Another pool was asked to make room."""
        self.evictions += 1

    async def take(self, wish: Wish | None = None, within: float = inf) -> BackendConnection:
        """As a session does it; raises what the pool refuses with, at the latest `within` seconds."""
        wish = wish or Wish()
        if (found := self.pool.take_nowait(wish)) is not None:
            return found
        arrived, results = trio.Event(), list[BackendConnection | Exception]()

        def settle(result: BackendConnection | Exception) -> None:
            results.append(result)
            arrived.set()

        self.pool.wait(Ticket(wish, trio.current_time() + within, settle, settle))
        await arrived.wait()
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def open_client(
        self,
        mode: PoolMode = PoolMode.TRANSACTION,
        *,
        startup: Mapping[str, str] | None = None,
        connection: BackendConnection | None = None,
        hub: ListenerHub | None = None,
        queue_timeout: float = inf,
    ) -> ClientEnd:
        """A client that is logged in already."""
        number = len(self.clients) + 1
        label = base_label(startup or {})
        ours, theirs = transport_pair("client")
        session = Session(
            ours,
            self.readiness,
            VirtualSession(
                number, "user", "database", dict(startup or {}), TransactionalState.at_start(label)
            ),
            self.pool,
            SessionPolicy(mode, queue_timeout, 200),
            virtual_pid=number,
            secret=bytes([number]) * 4,
            facts=self.facts,
            on_databases_gone=lambda names: None,
            hub=hub,  # type: ignore[arg-type]
            destination=destination(mode),
        )
        session.virtual.reported["timezone"] = "UTC"
        if connection is not None:
            session.hold(connection)
        client = ClientEnd(trio.socket.from_stdlib_socket(theirs), session)
        self.clients.append(client)
        self.nursery.start_soon(self._run, client)
        return client

    async def _run(self, client: ClientEnd) -> None:
        try:
            async with trio.open_nursery() as nursery:
                client.session.nursery = nursery
                await client.session.run(b"")
                nursery.cancel_scope.cancel()
        except* Exception as group:
            client.crash = group
        finally:
            client.over.set()


async def settled() -> None:
    """Return when everybody else has nothing to do."""
    await trio.testing.wait_all_tasks_blocked(0.002)


def patience() -> float:
    """`PATIENCE`, or for ever on a clock that jumps."""
    return inf if isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock) else PATIENCE


async def until(true: Callable[[], object]) -> None:
    """Return when it is so; every turn of Trio's loop is a chance."""
    with trio.fail_after(patience()):
        while not true():
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_rig(
    limits: PoolLimits | None = None,
    *,
    shared: bool = True,
    reset_query: str | None = "DISCARD ALL",
    room: Callable[[], int] = lambda: 1000,
    connect: Callable[[Mapping[str, str]], Awaitable[ServerGreeting]] | None = None,
) -> AsyncIterator[Rig]:
    """A running pool, until the block ends."""
    readiness = Readiness()
    with trio.fail_after(patience()):
        async with trio.open_nursery() as nursery:
            rig = Rig(readiness, nursery)
            rig.pool = Pool(
                ("backend", "database", "user"),
                Backend("backend", "localhost", 5432),
                limits or PoolLimits(10),
                shared=shared,
                reset_query=reset_query,
                connect=connect or rig.connect,
                base_label=base_label,
                readiness=readiness,
                room=room,
                on_freed=rig.note_freed,
                evict_elsewhere=rig.note_eviction,
                cancel=rig.cancel,
            )
            nursery.start_soon(readiness.run)
            await nursery.start(rig.pool.run)
            try:
                yield rig
            finally:
                for close in rig.at_end:
                    close()
                for client in rig.clients:
                    client.session.transport.close()
                    client.socket.close()
                nursery.cancel_scope.cancel()


__all__ = ["ClientEnd", "Rig", "ServerEnd", "Wish", "open_rig", "server", "settled", "until"]
