"""`BackendConnection`: one authenticated connection to a backend, with the label of the session state it carries.

It is a pipe of the relay for all its life, also while idle: that a server has gone is seen at once. What arrives is
cut by its `ReplyStream` and goes to whoever holds the lease.

Used by: pool.pool (life), proxy.session (requests), pool.reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from helios_trio.errors import HeliosError
from helios_trio.net.pipe import Pipe
from helios_trio.net.readiness import Readiness
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connect import ServerGreeting
from helios_trio.pool.planner import SlotStatus
from helios_trio.session.server_side import ServerSide
from helios_trio.session.settings import Label
from helios_trio.wire.codes import Backend as Code
from helios_trio.wire.replies import ReplyStream


class LeaseHolder(Protocol):
    """Whoever holds the lease of a connection: told synchronously what comes from the server."""

    def on_reply_bytes(self, data: bytes) -> None:
        """Bytes for the client."""

    def on_server_ready(self) -> None:
        """Nothing is owed any more."""

    def on_parameter(self, name: str, frame: bytes, swallowed: bool) -> bytes:
        """ParameterStatus; returns what the client gets of it."""

    def on_notification(self, frame: bytes) -> bytes:
        """NotificationResponse; returns what the client gets of it."""

    def on_server_error(self, frame: bytes, head: int) -> bytes | None:
        """ErrorResponse for the expectation `head`; bytes returned are what the client gets in its place."""

    def on_server_notice(self, frame: bytes) -> bytes | None:
        """NoticeResponse; bytes returned are what the client gets in its place."""

    def on_server_lost(self, error: Exception | None) -> None:
        """The connection is gone; it is closed already."""

    def on_server_congested(self) -> None:
        """The server does not take what was sent to it."""

    def on_server_drained(self) -> None:
        """The server takes bytes again."""

    def on_crash(self, error: Exception) -> None:
        """A callback of this connection failed while the holder had it."""


class ConnectionOwner(Protocol):
    """The pool: told when a connection of its own is gone."""

    def on_connection_lost(self, connection: BackendConnection, error: Exception | None) -> None:
        """The connection is closed already."""


class BackendConnection(Pipe):
    """A server connection as a slot of the planner, a pipe of the relay and the listener of its replies."""

    __slots__ = (
        "backend",
        "cancels",
        "greeting",
        "holder",
        "idle_since",
        "opened_at",
        "owner",
        "pid",
        "said_fatal",
        "secret",
        "side",
        "status",
        "variant",
    )

    def __init__(
        self,
        greeting: ServerGreeting,
        *,
        backend: Backend,
        variant: Mapping[str, str],
        base: Label,
        readiness: Readiness,
        owner: ConnectionOwner,
        now: float,
    ) -> None:
        super().__init__(greeting.transport, readiness)
        self.backend = backend
        self.variant = variant
        self.greeting = greeting
        self.pid = greeting.pid
        self.secret = greeting.secret
        self.owner = owner
        self.holder: LeaseHolder | None = None
        self.status = SlotStatus.NEW
        self.opened_at = self.idle_since = now
        #: cancel requests of its session that the server has not closed yet (rule 4)
        self.cancels = 0
        self.said_fatal = False
        parameters = {name.lower(): value for name, value in greeting.parameters.items()}
        self.side = ServerSide(ReplyStream(self), base, base, parameters, greeting.pid)

    @property
    def label(self) -> Label:
        """Settings it carries (`pool.planner` prefers an equal one)."""
        return self.side.label

    @property
    def placeholders(self) -> set[str]:
        """See `pool.planner.Slot`."""
        return self.side.placeholders

    def start(self) -> None:
        """From here the relay reads it."""
        self.register()
        if self.greeting.rest:
            self.on_bytes(self.greeting.rest)

    def end_of_requests(self) -> None:
        """Tell the server that nothing more will come; it may still answer, but serves nobody else."""
        self.side.spoilt = True
        try:
            self.transport.shutdown_write()
        except HeliosError as error:
            self.on_end(error)

    # -- Pipe --------------------------------------------------------------------------------------------------

    def on_bytes(self, data: bytes) -> None:
        """See `net.pipe.Pipe`."""
        replies = self.side.replies
        out = replies.feed(data)
        holder = self.holder
        if holder is None:
            if self.said_fatal and self.status is not SlotStatus.CLOSED:
                self.on_end(None)  # nobody must get it any more
            return
        if out:
            holder.on_reply_bytes(out)
        if replies.ready:
            holder.on_server_ready()

    def on_end(self, error: Exception | None) -> None:
        """See `net.pipe.Pipe`."""
        if self.status is SlotStatus.CLOSED:
            return
        self.close()
        self.owner.on_connection_lost(self, error)
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.on_server_lost(error)

    def on_congested(self) -> None:
        """See `net.pipe.Pipe`."""
        if self.holder is not None:
            self.holder.on_server_congested()

    def on_drained(self) -> None:
        """See `net.pipe.Pipe`."""
        if self.holder is not None:
            self.holder.on_server_drained()

    def on_failure(self, error: Exception) -> None:
        """See `net.readiness.Handler`: the holder's session fails, the connection cannot be trusted any more."""
        holder, self.holder = self.holder, None
        if self.status is not SlotStatus.CLOSED:
            self.close()
            self.owner.on_connection_lost(self, error)
        if holder is not None:
            holder.on_crash(error)

    # -- Listener of the reply stream --------------------------------------------------------------------------

    def on_async(self, code: int, frame: bytes) -> bytes:
        """See `wire.replies.Listener`."""
        holder = self.holder
        if code == Code.NOTIFICATION_RESPONSE:
            return holder.on_notification(frame) if holder is not None else b""
        name_end = frame.index(0, 5)
        name = frame[5:name_end].decode().lower()
        self.side.parameters[name] = frame[name_end + 1 : -1].decode("utf-8", "surrogateescape")
        if holder is None:
            return b""
        return holder.on_parameter(name, frame, self.side.replies.swallowing)

    def on_error(self, frame: bytes, head: int) -> bytes | None:
        """See `wire.replies.Listener`."""
        if b"\0VFATAL\0" in frame or b"\0VPANIC\0" in frame:
            self.said_fatal = True
        return None if self.holder is None else self.holder.on_server_error(frame, head)

    def on_notice(self, frame: bytes) -> bytes | None:
        """See `wire.replies.Listener`."""
        return None if self.holder is None else self.holder.on_server_notice(frame)
