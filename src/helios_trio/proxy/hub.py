"""LISTEN in shared modes: one listener connection per database serves all its sessions.

A session's LISTEN still runs on its pooled connection, so that PostgreSQL checks it and the transaction decides; but
before it is sent the hub listens too, so that from the commit on nothing can be missed. Notifications reach the
session from here only.

Used by: proxy.serving (one `Hubs` for all), proxy.session (subscribes).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio
from attrs import define, field

from helios_trio.errors import HeliosError
from helios_trio.net.readiness import Readiness
from helios_trio.pool.connect import ServerGreeting
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.pools import Destination, PoolKey
from helios_trio.session.switching import query_frame
from helios_trio.sql.quote import quote_identifier
from helios_trio.wire.backend_messages import NotificationResponse
from helios_trio.wire.codes import Backend as Code
from helios_trio.wire.replies import QUERY, SWALLOW

_log = structlog.get_logger(__name__)

OpenListener = Callable[[Destination], Awaitable[ServerGreeting]]


class Subscriber(Protocol):
    """A session that listens, as far as the hub knows it."""

    def on_hub_notification(self, channel: str, frame: bytes) -> None:
        """A notification of a channel that the session has asked the hub for."""

    def on_hub_lost(self) -> None:
        """The listener connection is gone: notifications may be missing."""


class ListenerHub:
    """The listener connection of one database and the sessions behind it."""

    def __init__(
        self,
        destination: Destination,
        open_listener: OpenListener,
        readiness: Readiness,
        virtual_pid: Callable[[int], int],
    ) -> None:
        """`virtual_pid` turns the pid of a server process of ours into that of the session it works for."""
        self._destination = destination
        self._open_listener = open_listener
        self._readiness = readiness
        self._virtual_pid = virtual_pid
        self._connection: BackendConnection | None = None
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._answers: list[_Answer] = []
        self._lock = trio.Lock()
        self.notifications = 0

    async def listen(self, channels: tuple[str, ...], subscriber: Subscriber) -> None:
        """Return when the hub listens to all of them. Raises HeliosError when the server cannot be had."""
        try:
            async with self._lock:
                if self._connection is None:
                    await self._open()
                for channel in channels:
                    if channel not in self._subscribers:
                        await self._say(f"LISTEN {quote_identifier(channel)}")
                        self._subscribers[channel] = set()
                    self._subscribers[channel].add(subscriber)
        except BaseException:  # the session has ended meanwhile, or cannot listen to all of them
            self.leave(subscriber, frozenset(channels))
            raise
        if not self._lock.locked():
            self._unlisten_unheard()

    def join(self, subscriber: Subscriber, channels: frozenset[str]) -> None:
        """Subscribe to channels that the hub listens to already, for somebody else."""
        if any(channel not in self._subscribers for channel in channels):  # the connection was lost meanwhile
            subscriber.on_hub_lost()
            return
        for channel in channels:
            self._subscribers[channel].add(subscriber)

    async def notify(self, channel: str) -> None:
        """Send a notification from here. Raises HeliosError."""
        await self._say(f"NOTIFY {quote_identifier(channel)}")

    def leave(self, subscriber: Subscriber, channels: frozenset[str]) -> None:
        """The session does not want these channels any more."""
        for channel in channels:
            if (sessions := self._subscribers.get(channel)) is not None:
                sessions.discard(subscriber)
        if not self._lock.locked():
            self._unlisten_unheard()

    def _unlisten_unheard(self) -> None:
        """Channels that nobody listens to any more."""
        for channel in [channel for channel, sessions in self._subscribers.items() if not sessions]:
            del self._subscribers[channel]
            self._send(f"UNLISTEN {quote_identifier(channel)}", _Answer())

    async def _open(self) -> None:
        greeting = await self._open_listener(self._destination)
        connection = BackendConnection(
            greeting,
            backend=self._destination.backend,
            variant={},
            base={},
            readiness=self._readiness,
            owner=self,
            now=trio.current_time(),
        )
        connection.holder = self
        connection.start()
        self._connection = connection

    async def _say(self, text: str) -> None:
        answer = _Answer()
        self._send(text, answer)
        await answer.arrived.wait()
        if answer.error is not None:
            raise HeliosError(answer.error, sqlstate="58000")

    def _send(self, text: str, answer: _Answer) -> None:
        connection = self._connection
        if connection is None:
            answer.fail("the listener connection is lost")
            return
        self._answers.append(answer)
        connection.side.replies.watch(QUERY | SWALLOW, answer)
        connection.send(query_frame(text))

    def close(self) -> None:
        """The proxy stops."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.holder = None
            connection.close()

    # -- pool.connection.ConnectionOwner and LeaseHolder --------------------------------------------------------

    def on_connection_lost(self, connection: BackendConnection, error: Exception | None) -> None:
        """All sessions that listen must know: they may have missed something."""
        self._connection = None
        sessions = {session for sessions in self._subscribers.values() for session in sessions}
        self._subscribers.clear()
        _log.warning(
            "listener connection lost", backend=self._destination.backend.name, sessions=len(sessions)
        )
        for answer in self._answers:
            answer.fail("the listener connection is lost")
        self._answers.clear()
        for session in sessions:
            session.on_hub_lost()

    def on_notification(self, frame: bytes) -> bytes:
        """Give it to everybody who asked for the channel."""
        self.notifications += 1
        found = NotificationResponse.decode(frame[5:])
        frame = NotificationResponse(self._virtual_pid(found.pid), found.channel, found.payload).encode()
        for session in tuple(self._subscribers.get(found.channel, ())):
            session.on_hub_notification(found.channel, frame)
        return b""

    def on_reply_bytes(self, data: bytes) -> None:
        """Notices: nobody reads them."""

    def on_server_ready(self) -> None:
        """All answers have come."""
        self._answers.clear()

    def on_parameter(self, name: str, frame: bytes, swallowed: bool) -> bytes:
        """Of no interest here."""
        return b""

    def on_server_error(self, frame: bytes, head: int) -> None:
        """The answer that waits for it knows."""

    def on_server_notice(self, frame: bytes) -> None:
        """Of no interest: nothing is forwarded."""

    def on_server_lost(self, error: Exception | None) -> None:
        """See `on_connection_lost`."""

    def on_server_congested(self) -> None:
        """Nobody is read meanwhile."""

    def on_server_drained(self) -> None:
        """Nothing waits to be sent."""

    def on_crash(self, error: Exception) -> None:
        """The connection is closed already."""
        _log.error("listener connection failed", error=repr(error))


@define(eq=False)
class _Answer:
    """Waits for the answer to one statement (`wire.replies.Watcher`)."""

    arrived: trio.Event = field(factory=trio.Event)
    error: str | None = None

    def fail(self, reason: str) -> None:
        self.error = reason
        self.arrived.set()

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        if code == Code.ERROR_RESPONSE:
            self.error = "the listener connection was refused a LISTEN"
        elif code == Code.READY_FOR_QUERY:
            self.arrived.set()
        return None

    def on_skipped(self) -> None:
        self.fail("skipped")


class Hubs:
    """The listener hubs of this process, by database."""

    def __init__(
        self, open_listener: OpenListener, readiness: Readiness, virtual_pid: Callable[[int], int]
    ) -> None:
        self._open_listener = open_listener
        self._readiness = readiness
        self._virtual_pid = virtual_pid
        self._hubs: dict[PoolKey, ListenerHub] = {}

    def hub_for(self, destination: Destination) -> ListenerHub:
        """The hub of a destination's database."""
        key = destination.key
        hub = self._hubs.get(key)
        if hub is None:
            hub = self._hubs[key] = ListenerHub(
                destination, self._open_listener, self._readiness, self._virtual_pid
            )
        return hub

    def close(self) -> None:
        """The proxy stops."""
        for hub in self._hubs.values():
            hub.close()
