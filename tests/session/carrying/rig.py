"""A client whose session is tracked the way the proxy does it, over an ordinary connection; and what it sees of itself.

The same statements run on a connection that is never moved, and on one that is: all answers must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from attrs import define, field
from driver import Driver, consume, encode, fields, results, rows_of
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn

from helios_trio.errors import BackendLost, HeliosError
from helios_trio.session.carrying.carry import Carried, CarryOrder, carry
from helios_trio.session.carrying.channels import ChannelDivision
from helios_trio.session.carrying.steps import Step
from helios_trio.session.carrying.tracked import Tracked
from helios_trio.session.effects import QueryWatcher
from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.server_side import ServerSide
from helios_trio.session.settings import TransactionalState
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.backend_messages import NotificationResponse
from helios_trio.wire.codes import Backend
from helios_trio.wire.replies import ReplyStream

FACTS = FactsCache()
PLAIN = CarryOrder()
#: parameters that PostgreSQL reports
REPORTED = ("client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "application_name", "search_path")
_STATUS = {0: b"I", 1: b"T", 2: b"T", 3: b"E"}


class Listener:
    """The owner of a connection that is never fed."""

    def on_async(self, code: int, frame: bytes) -> bytes:
        return frame

    def on_error(self, frame: bytes, head: int) -> None:
        raise AssertionError("not fed")

    def on_notice(self, frame: bytes) -> None:
        """Of no interest here."""


def side_of(connection: psycopg.Connection) -> ServerSide:
    """What the proxy would know of a connection."""
    return ServerSide(ReplyStream(Listener()), {}, {}, {}, connection.info.backend_pid)


@define(eq=False)
class Client:
    """One session, in session mode unless told otherwise."""

    connection: psycopg.Connection
    shared: bool = False
    side: ServerSide = field(init=False)
    session: VirtualSession = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.side = side_of(self.connection)
        self.session = VirtualSession(7, "postgres", "postgres", {}, TransactionalState.at_start({}))
        self._note_parameters()

    @property
    def pgconn(self) -> PGconn:
        return self.connection.pgconn

    def query(self, text: str) -> list[object]:
        """A simple query, followed; returns what came back: rows with their columns, tags, SQLSTATEs."""
        facts = FACTS.facts(encode(text))
        watcher = None
        if self.session.following or not facts.plain:
            self.session.following = True
            self.session.outstanding += 1
            watcher = QueryWatcher(facts, self.session, self.side)
        seen: list[object] = []
        self.pgconn.send_query(encode(text))
        for result in results(self.pgconn):
            if result.status == ExecStatus.FATAL_ERROR:
                seen.append(fields(result).sqlstate)
                code, body = Backend.ERROR_RESPONSE, b""
            else:
                columns = [
                    (result.fname(at), result.ftype(at), result.fmod(at)) for at in range(result.nfields)
                ]
                seen.append((result.command_status, columns, rows_of(result)))
                code, body = Backend.COMMAND_COMPLETE, (result.command_status or b"") + b"\0"
            if watcher is not None:
                watcher.on_reply(code, body)
        self._note_parameters()
        if watcher is not None:
            watcher.on_reply(Backend.READY_FOR_QUERY, _STATUS[self.pgconn.transaction_status])
        return seen

    def prepare(self, name: str, text: str) -> None:
        """A Parse of the protocol."""
        result = self.pgconn.prepare(encode(name), encode(text))
        assert result.status == ExecStatus.COMMAND_OK, result.error_message
        facts = FACTS.facts(encode(text))
        self.session.statements[encode(name)] = PreparedStatement(encode(name), encode(text), b"\0\0", facts)

    def execute(self, name: str, *values: str) -> object:
        """Bind and Execute of a prepared statement."""
        result = self.pgconn.exec_prepared(encode(name), [encode(value) for value in values])
        if result.status == ExecStatus.FATAL_ERROR:
            return fields(result).sqlstate
        return rows_of(result)

    def _note_parameters(self) -> None:
        for name in REPORTED:
            value = self.pgconn.parameter_status(name.encode())
            if value is not None:
                self.side.parameters[name.lower()] = value.decode()
        self.session.reported.update(self.side.parameters)

    def tracked(self, new: psycopg.Connection) -> Tracked:
        """On its way to another connection."""
        return Tracked.of(self.session, self.side, side_of(new), shared=self.shared)

    def carried_to(self, new: psycopg.Connection, order: CarryOrder = PLAIN) -> tuple[Carried, Client]:
        """Its state carried; returns a client that goes on there."""
        tracked = self.tracked(new)
        carried = driver_for(tracked, self.connection, new).run(carry(tracked, order))
        return carried, self.moved(new, tracked)

    def moved(self, new: psycopg.Connection, tracked: Tracked) -> Client:
        """The same session over its new connection."""
        client = Client(new, self.shared)
        client.session, client.side = self.session, tracked.new
        return client


class Refused(HeliosError):
    """What a test throws into a plan."""


@define
class NotifyingDriver(Driver):
    """Hands on notifications as they come; and in place of one step, if told so, does what is told.

    A step that cannot be done is ended on the side that is still there, as `steps` demands of a driver.
    """

    division: ChannelDivision | None = None
    at: int | None = None
    #: raises, or does harm to a connection before the step is done
    instead: Callable[[], None] = lambda: None
    disturbed: bool = False
    before_each: Callable[[], None] = lambda: None
    #: what the client got meanwhile
    delivered: list[str] = field(factory=list)

    def do(self, step: Step) -> object:
        self.before_each()
        if not self.disturbed and len(self.steps) - 1 == self.at:
            self.disturbed = True
            self.instead()
        try:
            return super().do(step)
        except BackendLost:
            for side in (self.old, self.new):
                if side.status == ConnStatus.OK:
                    list(results(side))
            raise
        finally:
            self.listen()

    def listen(self) -> None:
        """Hand on what has come."""
        if self.division is not None:
            for frame in notifications(self.old):
                self.delivered += payloads(self.division.on_old(frame))
            for frame in notifications(self.new):
                self.delivered += payloads(self.division.on_new(frame))


def notifications(connection: PGconn) -> Iterator[bytes]:
    """What a connection has received, as messages."""
    if connection.status == ConnStatus.OK:
        with suppress(BackendLost):  # the step that needs it will tell
            consume(connection)
    while (found := connection.notifies()) is not None:
        yield NotificationResponse(found.be_pid, found.relname.decode(), found.extra.decode()).encode()


def payloads(frames: bytes) -> list[str]:
    """The payloads of messages that follow each other."""
    found = []
    while frames:
        end = 1 + int.from_bytes(frames[1:5], "big")
        found.append(frames[9:end].split(b"\0")[1].decode())
        frames = frames[end:]
    return found


@contextmanager
def pair(dsn: str) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """Two connections to one server."""
    with psycopg.connect(dsn, autocommit=True) as old, psycopg.connect(dsn, autocommit=True) as new:
        yield old, new


def driver_for(tracked: Tracked, old: psycopg.Connection, new: psycopg.Connection) -> NotifyingDriver:
    """With the division that the plan looks at."""
    return NotifyingDriver(old.pgconn, new.pgconn, division=tracked.division)


def refuse() -> None:
    """To be thrown in place of a step."""
    raise Refused("no further")
