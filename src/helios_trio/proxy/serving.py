"""One client from accept to goodbye: admission, pool, greeting, session. Each in a nursery of its own.

Used by: composition.core (makes it), app (gives `Proxy.serve_client` to the listeners, drains and reloads).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Final, Protocol

import structlog
import trio
from attrs import define

from helios_trio.errors import (
    BackendCutOff,
    BackendLost,
    HeliosError,
    ServerRefused,
    TimedOut,
    TooManyConnections,
)
from helios_trio.net.errors import ConnectionLost
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ClientTLS
from helios_trio.net.transport import PlainTransport
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.pool import Pool
from helios_trio.pool.pools import Destination, Pools, base_label
from helios_trio.proxy.acquiring import acquire
from helios_trio.proxy.admission import Admitted, Authenticate, admit, conversation, read_opening
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.greeting import Greetings
from helios_trio.proxy.holding import Holds
from helios_trio.proxy.hub import Hubs
from helios_trio.proxy.limits import ProxyCounters, ProxyLimits
from helios_trio.proxy.passthrough import pass_through
from helios_trio.proxy.pausing import Pauses
from helios_trio.proxy.session import Ending, Session, SessionPolicy
from helios_trio.session.settings import Label, TransactionalState
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.relations import Rows
from helios_trio.wire.codes import PROTOCOL_3_0, PROTOCOL_3_2, Backend
from helios_trio.wire.frames import encode_frame
from helios_trio.wire.options import parse_options
from helios_trio.wire.startup import CancelRequest, check_version, startup_error

_log = structlog.get_logger(__name__)

#: Different sets of start-up settings that are remembered.
_LABELS_KEPT: Final = 4096

#: talks with a client that asks for a database which is the proxy itself; gets the number of its session too
Console = Callable[[Admitted, int], Awaitable[None]]


class Directory(Protocol):
    """Knows where clients go."""

    def destination(self, database: str, user: str, session: int, tenant: str) -> Destination:
        """Where a session that asks for `database` as `user` goes; raises HeliosError (3D000) when nowhere."""


class Proxy:
    """The clients of this process."""

    #: makes what serves a client, with the parameters of `Session`; some proxies have sessions of another kind
    make_session: Callable[..., Session] = Session

    def __init__(
        self,
        *,
        readiness: Readiness,
        pools: Pools,
        directory: Directory,
        tls: ClientTLS,
        authenticate: Authenticate,
        cancels: CancelRegistry,
        hubs: Hubs,
        facts: FactsCache,
        limits: ProxyLimits,
    ) -> None:
        self.readiness = readiness
        self.pools = pools
        self.directory = directory
        self.tls = tls
        self.authenticate = authenticate
        self.cancels = cancels
        self.hubs = hubs
        self.facts = facts
        self.limits = limits
        self._logins = trio.Semaphore(limits.max_unauthenticated)
        self.counters = ProxyCounters()
        self.sessions: dict[int, Session] = {}
        self.draining = False
        self.holds = Holds()
        self.pauses = Pauses(lambda: tuple(self.sessions.values()))
        #: who answers for a database that is the proxy itself (`admin.console`); None: it is a real one
        self.console_of: Callable[[str], Console | None] = lambda database: None
        #: waits for who takes over from a backend that may be dead, see `pipeline.rescue.Primaries`; None: nobody does
        self.settled: Callable[[str], Awaitable[str]] | None = None
        #: what rules know a session by: user, database, settings -> tenant
        self.tenant_of: Callable[[str, str, Mapping[str, str]], str] = _named_by_application
        #: relations that exist nowhere but here, by name without schema, and what they show
        self.relations: dict[str, Callable[[], Rows]] = {}
        self.unauthenticated = 0
        self._greetings = Greetings()
        self._ids = count(1)
        self._labels: dict[frozenset[tuple[str, str]], Label] = {}
        self._session_gone = trio.Event()

    # -- one client --------------------------------------------------------------------------------------------

    async def serve_client(self, transport: PlainTransport, trust: Authenticate | None = None) -> None:
        """Serve one accepted connection to its end. Raises nothing but what cancels or is a bug.

        `trust` is for clients within the process, who need not prove who they are.
        """
        self.counters.accepted += 1
        if self.unauthenticated >= self.limits.max_clients:
            self.counters.refused += 1
            transport.close()
            return
        transport.set_keepalive(self.limits.keepalive)
        stream = conversation(transport)
        opening = _Opening()
        self.unauthenticated += 1
        try:
            try:
                admitted = await self._log_in(stream, opening, trust or self.authenticate)
            finally:
                self.unauthenticated -= 1
            if admitted is not None:
                await self._serve(admitted, opening)
        except trio.TooSlowError:
            self.counters.login_failures += 1
            await _refuse(stream, opening.report(TimedOut("canceling authentication due to timeout")))
        except ConnectionLost:
            pass
        except HeliosError as error:
            self.counters.login_failures += 1
            _log.info("client refused", client=transport.peer, sqlstate=error.sqlstate, error=error.message)
            await _refuse(stream, opening.report(error))
        except Exception:  # rule 40: one client's bug stays with that client
            self.counters.crashes += 1
            _log.exception("session crashed", client=transport.peer)
        finally:
            stream.transport.close()

    async def _log_in(self, stream: FrameStream, opening: _Opening, by: Authenticate) -> Admitted | None:
        """Admit within the time limit; in a storm of connections the others wait for their turn, unread."""
        logins = self._logins
        try:
            logins.acquire_nowait()  # nearly always, and no checkpoint
        except trio.WouldBlock:
            await logins.acquire()
        try:
            with trio.move_on_after(self.limits.login_timeout):
                return await self._admit(stream, opening, by)
            raise trio.TooSlowError
        finally:
            logins.release()

    async def _admit(self, stream: FrameStream, opening: _Opening, by: Authenticate) -> Admitted | None:
        packet = await read_opening(stream, self.tls)
        if packet is None:
            return None
        if isinstance(packet, CancelRequest):
            await self.cancels.cancel(packet.pid, packet.secret)
            return None
        opening.version = packet.version
        check_version(packet.version)
        if self.draining:
            raise HeliosError("the database system is shutting down", sqlstate="57P03", severity="FATAL")
        if len(self.sessions) >= self.limits.max_clients and self.console_of(packet.database) is None:
            self.counters.refused += 1
            raise TooManyConnections("sorry, too many clients already")
        return await admit(stream, packet, by)

    async def _serve(self, admitted: Admitted, opening: _Opening) -> None:
        opening.reply = admitted.authenticated.reply
        number = next(self._ids)
        if (console := self.console_of(admitted.startup.database)) is not None:
            await console(admitted, number)
            return
        destination = await self._destination(number, admitted)
        credentials = destination.credentials or admitted.authenticated.credentials
        self.counters.logins += 1
        if admitted.is_replication:
            await pass_through(admitted, destination, credentials, self.pools)
            return
        pool = await self.pools.pool_for(destination, credentials)
        try:
            await self._run_session(admitted, opening, destination, pool, number)
        except (BackendCutOff, BackendLost):
            if self.settled is None or not opening.reply:
                raise  # there is nobody to take over, or the client has been greeted already
            await self.settled(destination.backend.name)
            destination = await self._destination(number, admitted)
            pool = await self.pools.pool_for(destination, credentials)
            await self._run_session(admitted, opening, destination, pool, number)

    async def _destination(self, number: int, admitted: Admitted) -> Destination:
        """Where the session goes, as soon as that backend is not held."""
        startup = admitted.startup
        tenant = self.tenant_of(startup.user, startup.database, startup.settings())
        while True:
            found = self.directory.destination(startup.database, startup.user, number, tenant)
            paused = await self.pauses.admit(startup.database)
            if not (paused or await self.holds.pass_by(found.backend.name)):
                return found

    def _virtual(self, number: int, admitted: Admitted) -> VirtualSession:
        startup = admitted.startup
        variant = startup.settings()
        if (options := startup.text("options")) is not None:
            variant["options"] = options
        if self.limits.application_name_suffix:
            variant["application_name"] = (
                variant.get("application_name", "") + self.limits.application_name_suffix
            )
        return VirtualSession(
            id=number,
            user=startup.user,
            database=startup.database,
            startup=variant,
            state=TransactionalState.at_start(self._interned(base_label(variant))),
        )

    def _interned(self, label: Label) -> Label:
        """The same object for equal labels: the relay compares identities."""
        if len(self._labels) >= _LABELS_KEPT:
            self._labels.clear()
        return self._labels.setdefault(frozenset(label.items()), label)

    async def _run_session(
        self, admitted: Admitted, opening: _Opening, destination: Destination, pool: Pool, number: int
    ) -> None:
        virtual = self._virtual(number, admitted)
        settings = destination.settings
        policy = SessionPolicy(
            settings.mode, settings.queue_timeout, settings.max_prepared_statements, settings.reset_always
        )
        connection: BackendConnection | None = None
        greeting = self._greetings.get(pool, virtual.startup) if destination.shared else None
        if greeting is None:
            if destination.shared and self._has_other_switches(virtual):
                await self._try_switches(admitted, destination, virtual)
            connection = await acquire(pool, virtual, settings.queue_timeout, admitted.stream)
        session = self.make_session(
            admitted.stream.transport,
            self.readiness,
            virtual,
            pool,
            policy,
            virtual_pid=self._virtual_pid(virtual, connection, destination),
            secret=self._secret(admitted.protocol),
            facts=self.facts,
            on_databases_gone=self._on_databases_gone,
            hub=self.hubs.hub_for(destination),
            destination=destination,
        )
        session.relations = self.relations
        if connection is not None:
            session.hold(connection)
        self.sessions[virtual.id] = session
        pool.sessions += 1
        self.cancels.add(session.virtual_pid, session)
        try:
            if greeting is None:
                greeting = await session.learn_greeting()
                if destination.shared:
                    self._greetings.note(pool, virtual.startup, greeting)
            virtual.reported.update(greeting.reported)
            session.requests.note_text_settings()
            reply, opening.reply = opening.reply, b""
            await admitted.stream.send(reply + greeting.frames(session.virtual_pid, session.secret))
            with structlog.contextvars.bound_contextvars(**_context(virtual, destination)):
                async with trio.open_nursery() as nursery:
                    session.nursery = nursery
                    if (hold := self.holds.of(destination.backend.name)) is not None:
                        hold.add(session)
                    self.pauses.join(session)
                    await session.run(admitted.stream.take_rest())
                    if nursery.child_tasks:
                        nursery.cancel_scope.cancel()
        finally:
            session.give_up_lease()
            self.cancels.remove(session.virtual_pid, session)
            del self.sessions[virtual.id]
            session.pool.sessions -= 1
            self._session_gone.set()
            self.counters.endings[session.ending or Ending.KILLED] += 1

    @staticmethod
    def _has_other_switches(virtual: VirtualSession) -> bool:
        """Whether `options` holds more than settings, which can be applied later."""
        return bool(parse_options(virtual.startup.get("options", "")).unknown)

    async def _try_switches(self, admitted: Admitted, to: Destination, virtual: VirtualSession) -> None:
        """Let the server itself say what it thinks of command-line switches; raises ServerRefused."""
        parameters = {"user": to.user, "database": to.database, **virtual.startup}
        greeting = await self.pools.connect_alone(to, admitted.authenticated.credentials, parameters)
        greeting.transport.close()

    def _virtual_pid(
        self, virtual: VirtualSession, connection: BackendConnection | None, to: Destination
    ) -> int:
        """In session mode the server's own, until the session moves; else one that no system gives a process."""
        if connection is not None and not to.shared:
            return connection.pid
        return shared_pid(virtual.id)

    def _secret(self, protocol: int) -> bytes:
        """Four bytes, 32 in protocol 3.2; the first is the number of this process."""
        return bytes([self.limits.process]) + secrets.token_bytes(31 if protocol >= PROTOCOL_3_2 else 3)

    def _on_databases_gone(self, databases: tuple[str, ...]) -> None:
        for database in databases:
            self.pools.close_database(database)

    def reconfigure(self, limits: ProxyLimits) -> None:
        """Take over other limits, for those who come from now on."""
        if limits.max_unauthenticated != self.limits.max_unauthenticated:
            self._logins = trio.Semaphore(limits.max_unauthenticated)
        self.limits = limits

    # -- all clients -------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Accept nobody any more and let transactions end, for so many `seconds` at most."""
        self.draining = True
        self.pauses.close()
        for session in list(self.sessions.values()):
            session.drain()
        with trio.move_on_after(seconds):
            await self.wait_empty()

    async def wait_empty(self) -> None:
        """Return when no session is left."""
        while self.sessions:
            self._session_gone = trio.Event()
            await self._session_gone.wait()

    def shut_down(self) -> None:
        """End what is left (57P01)."""
        for session in list(self.sessions.values()):
            session.shut_down()


def _context(virtual: VirtualSession, to: Destination) -> dict[str, object]:
    """What every event of a session is logged with."""
    return {
        "session": virtual.id,
        "user": virtual.user,
        "database": virtual.database,
        "backend": to.backend.name,
    }


def shared_pid(session: int) -> int:
    """The virtual pid of a session that has no server process of its own; no system gives a process such a pid."""
    return (session & 0x3FFFFFFF) | 0x40000000


def _named_by_application(user: str, database: str, settings: Mapping[str, str]) -> str:
    return settings.get("application_name", "")


async def _refuse(stream: FrameStream, report: bytes) -> None:
    """Tell a client that has no session why, within a deadline."""
    with trio.move_on_after(2):
        try:
            await stream.send(report)
        except ConnectionLost:
            return


@define
class _Opening:
    """How far a client has come: decides in which form it can be told what is wrong."""

    version: int = PROTOCOL_3_0
    #: AuthenticationOk and the like, earned and not sent yet
    reply: bytes = b""

    def report(self, error: HeliosError) -> bytes:
        """What to send to a client that is refused."""
        if isinstance(error, ServerRefused):
            return self.reply + encode_frame(Backend.ERROR_RESPONSE, error.report)
        fields = {**error.fields(), "S": "FATAL", "V": "FATAL"}
        return self.reply + startup_error(self.version, fields)
