"""Who reads the answers to what `session.preparing` sends: prepared statements come and go as PostgreSQL says.

Used by: session.preparing, session.requests.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.server_side import ServerSide
from helios_trio.session.virtual import VirtualSession
from helios_trio.wire.codes import Backend
from helios_trio.wire.frames import encode_frame as frame


@define(eq=False)
class ParseWatcher:
    """Reads the answer to a Parse; a statement that does not parse is not prepared."""

    statement: PreparedStatement
    session: VirtualSession
    server: ServerSide
    #: the proxy's own, ahead of a Bind or Describe of the client
    injected: bool
    #: a Close of the same name goes ahead of it
    replaces: bool = False

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code != Backend.ERROR_RESPONSE:
            return None
        self._undo()
        return frame(code, body) if self.injected else None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed; so a Close ahead of it was discarded too."""
        self._undo(on_server=not self.replaces)

    def _undo(self, *, on_server: bool = True) -> None:
        statement = self.statement
        if not statement.name:
            if self.server.unnamed is statement:
                self.server.unnamed = None
            return
        if on_server:
            self.server.prepared.pop(statement.server_name, None)
        if not self.injected and self.session.statements.get(statement.name) is statement:
            del self.session.statements[statement.name]


@define(eq=False)
class NamedParseWatcher:
    """Reads the answer to a Parse of a named statement under its own name: one that fails leaves all as it was."""

    before: PreparedStatement | None
    name: bytes
    session: VirtualSession

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.on_skipped()
        return None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed."""
        if self.before is None:
            self.session.statements.pop(self.name, None)
        else:
            self.session.statements[self.name] = self.before


@define(eq=False)
class LateParseWatcher:
    """Reads the answer to a Parse, ahead of a client's request, of a statement that a move has left behind."""

    name: bytes
    session: VirtualSession

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            return frame(code, body)
        if code == Backend.PARSE_COMPLETE:
            self.session.left_behind.pop(self.name, None)
        return None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed: it is still left behind."""


@define(eq=False)
class ServerCloseWatcher:
    """A Close that the server discarded leaves its statement there."""

    name: bytes
    description: bytes | None
    server: ServerSide

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        return None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed."""
        self.server.prepared[self.name] = self.description


@define(eq=False)
class UnnamedWatcher:
    """Reads the answer to a Parse of the unnamed statement in the middle of a batch."""

    before: PreparedStatement | None
    on_server: PreparedStatement | None
    session: VirtualSession
    server: ServerSide

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """A Parse that fails has dropped the statement that was there."""
        if code == Backend.ERROR_RESPONSE:
            self.server.unnamed = None
            self.session.statements.pop(b"", None)
        return None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed: what was there is still there."""
        self.server.unnamed = self.on_server
        if self.before is None:
            self.session.statements.pop(b"", None)
        else:
            self.session.statements[b""] = self.before


@define(eq=False)
class DescribeWatcher:
    """Keeps what Describe says of a statement: for the client the first time, for the connection each time."""

    statement: PreparedStatement
    server: ServerSide
    done: Callable[[], None] | None = None
    seen: bytes = b""

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.on_skipped()
            return frame(code, body) if self.done is not None else None
        self.seen += frame(code, body)
        if code in (Backend.ROW_DESCRIPTION, Backend.NO_DATA):
            if self.done is None:
                self.statement.described = self.seen
            self.server.prepared[self.statement.server_name] = self.seen
            self._finish()
        return None

    def on_skipped(self) -> None:
        """An earlier message failed: nothing is known, and the client's own message will be skipped too."""
        if self.done is not None:
            self.statement.described = None
        self._finish()

    def _finish(self) -> None:
        if self.done is not None:
            self.done()


@define(eq=False)
class CloseWatcher:
    """A Close that the server discarded closes nothing."""

    statement: PreparedStatement
    session: VirtualSession

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        if code == Backend.ERROR_RESPONSE:
            self.on_skipped()
        return None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed."""
        self.session.statements.setdefault(self.statement.name, self.statement)


@define(eq=False)
class RefusalWatcher:
    """Replaces the error that `refuse` provoked."""

    instead: bytes

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `wire.replies.Watcher`."""
        return self.instead if code == Backend.ERROR_RESPONSE else None

    def on_skipped(self) -> None:
        """An earlier message of the batch failed: the client sees that error."""
