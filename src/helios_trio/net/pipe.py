"""One end of the relay: a registered socket with a backlog, so that a slow reader slows its peer down.

Used by: pool.connection (towards the server), proxy.session (towards the client).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from helios_trio.errors import HeliosError
from helios_trio.net.readiness import BROKEN, GONE, READ, WRITE, Readiness
from helios_trio.net.transport import Transport, lost

#: Bytes asked for at once. Small reads are cheaper (the buffer is allocated first); a full one doubles the next.
RECV_MIN: Final = 8 * 1024
RECV_MAX: Final = 256 * 1024
#: Messages of fewer bytes are sent when the other handlers of their batch have been called.
SEND_LATER: Final = 8 * 1024


class Pipe:
    """Reads and writes one transport without ever waiting. Subclasses say what to do with the bytes."""

    __slots__ = (
        "_backlog",
        "_encrypted",
        "_events",
        "_fd",
        "_gone",
        "_on_taken",
        "_recv",
        "_recv_size",
        "_registered",
        "_send",
        "_unsent",
        "bytes_in",
        "bytes_out",
        "paused",
        "readiness",
        "transport",
    )

    def __init__(self, transport: Transport, readiness: Readiness) -> None:
        self.transport = transport
        self.readiness = readiness
        self.paused = False
        self.bytes_in = 0
        self.bytes_out = 0
        self._fd = transport.fileno()
        self._recv, self._send = transport.direct()
        self._encrypted = transport.tls is not None
        self._backlog: list[memoryview] = []
        self._unsent: list[bytes] = []
        self._recv_size = RECV_MIN
        self._registered = False
        self._gone = False
        self._events = 0
        self._on_taken: Callable[[bytes], None] | None = None

    def watch(self, on_received: Callable[[bytes], None], on_taken: Callable[[bytes], None]) -> None:
        """Have somebody see what comes from the peer before it is passed on, and what the socket takes for the peer.

        At most once, before the first byte. A pipe that is not watched does nothing for it.
        """
        recv, send = self._recv, self._send

        def watched_recv(size: int) -> bytes:
            data = recv(size)
            on_received(data)
            return data

        def watched_send(data: bytes) -> int:
            sent = send(data)
            on_taken(data if sent == len(data) else data[:sent])
            return sent

        self._recv, self._send, self._on_taken = watched_recv, watched_send, on_taken

    @property
    def unsent(self) -> bool:
        """Whether the socket has not taken all that was given to `send`."""
        return bool(self._unsent or self._backlog)

    # -- to be said by subclasses ------------------------------------------------------------------------------

    def on_bytes(self, data: bytes) -> None:
        """Bytes have come."""
        raise NotImplementedError

    def on_end(self, error: Exception | None) -> None:
        """The peer has closed the connection, or it broke."""
        raise NotImplementedError

    def on_congested(self) -> None:
        """The peer does not take what was sent: whoever fills this pipe must stop."""
        raise NotImplementedError

    def on_drained(self) -> None:
        """The backlog is empty again: whoever fills this pipe may go on."""
        raise NotImplementedError

    def on_failure(self, error: Exception) -> None:
        """A callback raised `error`."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------------------

    def register(self) -> None:
        """The relay owns the socket from here."""
        self._registered = True
        self._events = READ
        self.readiness.add(self._fd, self, READ)

    def unregister(self) -> None:
        """The relay lets go of the socket."""
        if self._registered:
            self._registered = False
            self.readiness.remove(self._fd)

    def close(self) -> None:
        """Let go of the socket and close it."""
        if self._unsent:
            self._send_last()
        self.unregister()
        self._backlog.clear()
        self.transport.close()

    # -- reading -----------------------------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """See `net.readiness.Handler`."""
        if events == READ and not self.paused:  # nearly always
            self._read()
            return
        if events & WRITE:
            self._flush()
        if events & READ and not self.paused:
            self._read()
        elif events & GONE and not events & READ:
            if self.paused and not events & BROKEN:  # what was sent before it left is still to be read
                self._gone = True
                self.unregister()
            else:
                self.on_end(None)

    def _read(self) -> None:
        size = self._recv_size
        try:
            data = self._recv(size)
        except BlockingIOError:
            self._set_events()
            return
        except (HeliosError, OSError) as error:
            self._on_error(error)
            return
        received = len(data)
        self.bytes_in += received
        if received == size:
            if size < RECV_MAX:
                self._recv_size = size * 2
        elif size > RECV_MIN and received < size >> 2:
            self._recv_size = RECV_MIN
        if received:
            self.on_bytes(data)
            if self._encrypted:
                self._read_all_pending()
        else:
            self.on_end(None)

    def _read_all_pending(self) -> None:
        transport = self.transport
        while not self.paused and not transport.closed and transport.pending():
            self._read_pending()

    def _read_pending(self) -> None:
        """What TLS has decrypted already: no epoll announces it."""
        try:
            data = self._recv(self.transport.pending())
        except BlockingIOError:
            return
        except HeliosError as error:
            self.on_end(error)
            return
        self.bytes_in += len(data)
        self.on_bytes(data)

    def pause(self) -> None:
        """Read no more: the other side cannot take it."""
        if not self.paused:
            self.paused = True
            self._set_events()

    def unpause(self) -> None:
        """Read again."""
        if self.paused:
            self.paused = False
            if self._gone:
                self._gone = False
                self.register()
            self._set_events()
            if self.transport.pending():
                self._read_pending()

    # -- writing -----------------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Whether bytes wait to be taken by the peer."""
        return bool(self._backlog)

    def send(self, data: bytes) -> None:
        """Send, at once or at the end of the batch, and keep what the socket does not take (`on_congested`)."""
        size = len(data)
        self.bytes_out += size
        if self._backlog:
            self._backlog.append(memoryview(data))
        elif self.readiness.in_batch and size < SEND_LATER:
            if not self._unsent:
                self.readiness.flush_later(self)
            self._unsent.append(data)
        else:
            self._unsent.append(data)
            self.flush()

    def flush(self) -> None:
        """See `net.readiness.Sender`."""
        unsent = self._unsent
        if not unsent:  # sent already: something large came after it
            return
        data = unsent[0] if len(unsent) == 1 else b"".join(unsent)
        unsent.clear()
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except (HeliosError, OSError) as error:
            self._on_error(error)
            return
        if sent < len(data):
            self._backlog.append(memoryview(data)[sent:])
            self._set_events()
            self.on_congested()

    def _send_last(self) -> None:
        """The pipe is being closed: what the socket takes of the rest."""
        unsent, self._unsent = b"".join(self._unsent), []
        with suppress(HeliosError):
            self.transport.send_nowait(unsent)

    def _on_error(self, error: HeliosError | OSError) -> None:
        self.on_end(error if isinstance(error, HeliosError) else lost(self.transport.peer, error))

    def _flush(self) -> None:
        backlog = self._backlog
        while backlog:
            try:
                sent = self.transport.send_nowait(backlog[0])
            except HeliosError as error:
                self.on_end(error)
                return
            if self._on_taken is not None:
                self._on_taken(bytes(backlog[0][:sent]))
            if sent < len(backlog[0]):
                backlog[0] = backlog[0][sent:]
                self._set_events()
                return
            del backlog[0]
        self._set_events()
        self.on_drained()

    def _set_events(self) -> None:
        wanted = 0 if self.paused else READ
        if self._backlog or self.transport.wants_write:
            wanted |= WRITE
        if self.transport.wants_read:
            wanted |= READ
        if wanted != self._events and self._registered:
            self._events = wanted
            self.readiness.change(self._fd, wanted)
