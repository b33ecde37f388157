"""A client whose commits are guarded, and a server that keeps books: what is committed, what is noted.

`Books` is the model server with transactions: texts count as committed only when their transaction has committed, and
the guard's call is known by its text.
"""

from __future__ import annotations

from struct import pack, unpack_from

import model_server as server
from attrs import define, field
from model_server import ModelServer, message

from helios_trio.session.guarding import NAME, CommitGuard
from helios_trio.session.requests import RequestStream
from helios_trio.session.server_side import ServerSide
from helios_trio.session.settings import TransactionalState
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.replies import ReplyStream

FACTS = FactsCache()
NOTE = "SELECT FROM helios.note_commit($1, true)"
CALL = NAME.decode()
INSERT, RETURNING, UPDATE = (
    "INSERT INTO t VALUES (1)",
    "INSERT INTO t VALUES (1) RETURNING a",
    "UPDATE t SET a = 1",
)
BREAKS = "INSERT INTO t VALUES ('x') -- fail"
ONE_VALUE = b"\0\0\0\1"


def bind_value(name: str, portal: str, value: bytes) -> bytes:
    """A Bind of one parameter as text."""
    body = portal.encode() + b"\0" + name.encode() + b"\0" + ONE_VALUE + pack("!I", len(value)) + value
    return message("B", body + b"\0\0")


@define(eq=False)
class Books(ModelServer):
    """A model server that knows what it has committed, and fails where it is told to."""

    #: texts and notes whose transaction has committed, in order
    committed: list[str] = field(factory=list)
    #: message of the call at which it fails: P, B or E
    breaks_call_at: str = ""
    #: the next commit fails, as by a deferred constraint
    breaks_commit: bool = False
    _open: list[str] = field(factory=list)
    _noted: str = ""
    _simple: bool = False

    def take(self, frame: bytes) -> bytes:
        """Reads the id out of the Bind of the call."""
        if frame[:1] == b"B" and frame[5:].startswith(CALL.encode() + b"\0"):
            at = 5 + 2 * (len(CALL) + 1) + 4
            size = unpack_from("!I", frame, at)[0]
            self._noted = frame[at + 4 : at + 4 + size].decode()
        self._simple = frame[:1] == b"Q"
        return super().take(frame)

    def _end_unit(self) -> bytes:
        error = b""
        if self.status == "I" and self._open:
            error = self._commit()
        return error + super()._end_unit()

    def _commit(self) -> bytes:
        done, self._open = self._open, []
        if self.breaks_commit:
            self.breaks_commit = False
            return server.error("23503", "still referenced")
        self.committed += done
        return b""

    def _fail(self, sqlstate: str, text: str, *, extended: bool) -> bytes:
        self._open.clear()
        return super()._fail(sqlstate, text, extended=extended)

    def _run(self, text: str) -> bytes | None:
        word = text.split(" ")[0].lower()
        if word == "commit" and self.status == "T" and self._commit():
            self.status = "I"
            return None
        if text == NOTE:
            if self.breaks_call_at == "E" or self.status == "E":
                return None
            self._open.append(self._noted)
            return server.complete("SELECT 0")
        done = super()._run(text) if word != "execute" else server.complete("EXECUTE")
        if done is None or word in ("begin", "commit", "rollback", "select"):
            if word == "rollback":
                self._open.clear()
            if word == "commit":
                self.portals.clear()
            return done
        self._open.append(text)
        if "RETURNING" not in text:
            return done
        return (server.ROW_DESCRIPTION if self._simple else b"") + server.row("1") + done

    def _take_in_copy(self, code: str, body: bytes) -> bytes:
        if code == "c":
            self._open.append("copy")
        return super()._take_in_copy(code, body)

    def _parse(self, name: str, text: str) -> bytes:
        refused = self.status == "E" and text.split(" ")[0].lower() not in ("commit", "rollback")
        if refused:
            return self._fail("25P02", "current transaction is aborted", extended=True)
        if text == NOTE and self.breaks_call_at == "P":
            return self._fail("42883", "function does not exist", extended=True)
        return super()._parse(name, text)

    def _bind(self, portal: str, name: str) -> bytes:
        if self.status == "E" and self.statements.get(name, "").split(" ")[0].lower() not in (
            "commit",
            "rollback",
        ):
            return self._fail("25P02", "current transaction is aborted", extended=True)
        if portal and portal in self.portals:
            return self._fail("42P03", f'cursor "{portal}" already exists', extended=True)
        if name == CALL and self.breaks_call_at == "B":
            return self._fail("22P02", "invalid id", extended=True)
        return super()._bind(portal, name)

    def _describe(self, kind: bytes, name: str) -> bytes:
        known = self.statements if kind == b"S" else self.portals
        if "RETURNING" in known.get(name, ""):
            return (message("t", b"\0\0") if kind == b"S" else b"") + server.ROW_DESCRIPTION
        return super()._describe(kind, name)


class Owner:
    """The owner of a connection: forwards everything."""

    def on_async(self, code: int, frame: bytes) -> bytes:
        return frame

    def on_error(self, frame: bytes, head: int) -> None:
        """Of no interest here."""

    def on_notice(self, frame: bytes) -> None:
        """Of no interest here."""


def server_side(pid: int = 1) -> ServerSide:
    return ServerSide(ReplyStream(Owner()), {}, {}, {}, pid)


@define(eq=False)
class Client:
    """A session whose commits are guarded; ids are id1, id2, ..."""

    shared: bool = False
    singles: bool = True
    side: ServerSide = field(factory=server_side)
    model: Books = field(factory=Books)
    sent: bytes = b""
    ids: list[str] = field(factory=list)
    #: what the proxy sends the server of its own accord
    ahead: list[bytes] = field(factory=list)
    told: bytes = b""
    session: VirtualSession = field(init=False)
    stream: RequestStream = field(init=False)
    guard: CommitGuard = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.session = VirtualSession(7, "user", "database", {}, TransactionalState.at_start({}))
        self.stream = RequestStream(self.session, FACTS, lambda: self.side, shared=self.shared)
        self.stream.on_label = lambda error, notices: None
        self.stream.on_checked = lambda: None
        self.stream.on_ahead = self.ahead.append
        self.guard = self.stream.guard = CommitGuard(self.new_id, self.singles)

    def new_id(self) -> str:
        """The next one."""
        self.ids.append(f"id{len(self.ids) + 1}")
        return self.ids[-1]

    def feed(self, *frames: bytes) -> bytes:
        """Bytes of the client; returns those for the server. Like the session it settles when nothing is open."""
        if self.side.replies.idle and self.stream.at_boundary:
            self.guard.settled()
        self.sent = self.stream.feed(b"".join(frames))
        return self.sent

    def answer(self, out: bytes) -> bytes:
        """The server takes these bytes and answers; returns what the client gets."""
        told = self.side.replies.feed(self.model.feed(out))
        while self.ahead:
            told += self.side.replies.feed(self.model.feed(self.ahead.pop(0)))
        return told

    def ask(self, *frames: bytes) -> bytes:
        """Send, and return what the client gets."""
        return self.answer(self.feed(*frames))


def codes(data: bytes) -> str:
    """Types of the messages of a stream."""
    return "".join(chr(frame[0]) for frame in server.split_frames(data))


def unguarded(*requests: bytes) -> tuple[list[bytes], Books]:
    """What a server without guard answers, and the server."""
    books = Books()
    return [books.feed(request) for request in requests], books
