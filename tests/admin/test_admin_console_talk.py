"""Conversations with the admin console over a socket, message by message; among them those of bad clients."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from admin_parts import make_parts
from attrs import define, evolve
from fake_switchover import FakeSwitchover
from migration_rig import FakeFleet, make_rig, running

from helios_trio.admin.console import MOST, Consoles
from helios_trio.admin.console_access import ConsoleLogin, is_console, is_own_account
from helios_trio.admin.console_session import SEND_TIME
from helios_trio.admin.parts import Parts
from helios_trio.config import Config
from helios_trio.config.words import AuthMethod
from helios_trio.errors import AuthenticationFailed, NotAuthorised, TooManyConnections
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.transport import PlainTransport
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.admission import Admitted, conversation
from helios_trio.proxy.authentication import Authenticated
from helios_trio.wire.backend_messages import (
    AuthenticationOk,
    BindComplete,
    CloseComplete,
    CommandComplete,
    DataRow,
    ErrorResponse,
    NoData,
    NoticeResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    PortalSuspended,
    ReadyForQuery,
    RowDescription,
    decode_backend,
)
from helios_trio.wire.codes import PROTOCOL_3_0
from helios_trio.wire.frames import BACKEND, Frame, FrameReader, encode_frame
from helios_trio.wire.frontend_messages import (
    PORTAL,
    STATEMENT,
    Bind,
    Close,
    CopyData,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    PasswordMessage,
    Query,
    Sync,
    Terminate,
)
from helios_trio.wire.layout import Message
from helios_trio.wire.startup import StartupMessage


@define(eq=False)
class Client:
    """A client of the console that has been let in."""

    stream: trio.SocketStream
    reader: FrameReader

    async def send(self, *messages: Message) -> None:
        await self.stream.send_all(b"".join(each.encode() for each in messages))

    async def read(self, until: type[Message] = ReadyForQuery) -> list[Message]:
        """What comes, up to a message of this class; or to the end."""
        found: list[Message] = []
        while not found or not isinstance(found[-1], until):
            frame = await self._frame()
            if frame is None:
                return found
            found.append(decode_backend(frame.code, frame.body))
        return found

    async def _frame(self) -> Frame | None:
        while (event := self.reader.next_event()) is None:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self.reader.feed(data)
        assert isinstance(event, Frame)
        return event

    async def ask(self, *messages: Message) -> list[Message]:
        """The answer to these, without ReadyForQuery."""
        await self.send(*messages)
        found = await self.read()
        assert isinstance(found[-1], ReadyForQuery)
        return found[:-1]


def admitted(sock: socket.socket, user: str, **parameters: str) -> Admitted:
    transport = PlainTransport(sock, "127.0.0.1:4000")
    given = {"user": user, "database": "pgbouncer", **parameters}
    startup = StartupMessage(PROTOCOL_3_0, tuple((k.encode(), v.encode()) for k, v in given.items()))
    proof = Authenticated(user, AuthMethod.TRUST, Credentials(user), AuthenticationOk().encode())
    return Admitted(conversation(transport), startup, PROTOCOL_3_0, proof)


@pytest.fixture
def parts() -> Parts:
    made = make_parts()
    config = Config()
    made.running.config = evolve(
        config, admin=evolve(config.admin, admin_users=("ops",), stats_users=("exporter",))
    )
    made.proxy.console_of = lambda name: None
    return made


@pytest.fixture
def consoles(parts: Parts) -> Consoles:
    made = Consoles(parts)
    parts.proxy.console_of = made.console_of
    return made


@asynccontextmanager
async def talking(
    consoles: Consoles, user: str = "ops", ended: trio.Event | None = None
) -> AsyncIterator[Client]:
    """A client that has read its greeting; the conversation ends with the block."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    theirs.setblocking(False)

    async def serve() -> None:
        one = admitted(theirs, user)
        try:
            await consoles.serve(one, id(theirs))
        finally:
            one.stream.transport.close()
            if ended is not None:
                ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        client = Client(stream, FrameReader(1_000_000, 1_000_000, BACKEND))
        greeting = await client.read()
        assert isinstance(greeting[0], AuthenticationOk)
        assert ParameterStatus("server_version", "1.18.0/bouncer") in greeting
        with trio.fail_after(100):
            yield client
        await stream.aclose()


def errors(messages: list[Message]) -> list[tuple[str, str, str]]:
    found = [each.fields for each in messages if isinstance(each, ErrorResponse)]
    return [(each.severity, each.sqlstate, each.message) for each in found]


def kinds(messages: list[Message]) -> list[type[Message]]:
    return [type(each) for each in messages]


# -- who comes in ----------------------------------------------------------------------------------------------


async def test_nobody_else_is_let_in(consoles: Consoles) -> None:
    """Nor anybody by a name that a process of the same account may have on a unix socket, over TCP."""
    for user in ("alice", "pgbouncer", "postgres"):
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()),
        ):
            sock, _ = listener.accept()
            sock.setblocking(False)
            one = admitted(sock, user)
            with pytest.raises(NotAuthorised):
                await consoles.serve(one, 1)
            one.stream.transport.close()
    assert consoles.clients == {}


async def test_the_proxys_own_account_is_let_in_on_a_unix_socket(consoles: Consoles) -> None:
    """As in PgBouncer."""
    async with talking(consoles, "pgbouncer") as client:
        assert errors(await client.ask(Query("PAUSE nosuch"))) == [
            ("ERROR", "08P01", "no such database: nosuch")
        ]


@pytest.mark.parametrize(
    ("database", "user", "asked"),
    [
        ("pgbouncer", "pgbouncer", False),
        ("pgbouncer", "helios", False),
        ("helios", "pgbouncer", False),
        ("pgbouncer", "ops", True),
        ("shop", "pgbouncer", True),
    ],
)
async def test_the_proxys_own_account_needs_no_password(database: str, user: str, asked: bool) -> None:
    """For the console, under those names; whoever else comes is asked."""

    async def ask(stream: FrameStream, startup: StartupMessage) -> Authenticated:
        raise AuthenticationFailed("no")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        one = admitted(theirs, user, database=database)
        login = ConsoleLogin(ask, lambda name: is_console(Config(), name))
        if asked:
            with pytest.raises(AuthenticationFailed):
                await login(one.stream, one.startup)
        else:
            assert (await login(one.stream, one.startup)).method is AuthMethod.TRUST


async def test_another_account_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of somebody else has no advantage from the name."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = PlainTransport(theirs, "unix:x")
        assert is_own_account("pgbouncer", transport)
        monkeypatch.setattr("os.geteuid", lambda: 12345)
        assert not is_own_account("pgbouncer", transport)


async def test_who_may_only_look_around(consoles: Consoles) -> None:
    """SHOW, and nothing else."""
    async with talking(consoles, "exporter") as client:
        assert CommandComplete("SHOW") in await client.ask(Query("SHOW STATS"))
        for command in ("PAUSE", "RELOAD", "SHOW FDS", "SHUTDOWN", "SET a=1", "SWITCHOVER TO x"):
            assert errors(await client.ask(Query(command))) == [("ERROR", "08P01", "admin access needed")]


async def test_there_are_not_too_many(consoles: Consoles) -> None:
    """Who comes then is told so."""
    for number in range(MOST):
        consoles.clients[number] = None  # type: ignore[assignment]
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TooManyConnections):
        await consoles.serve(admitted(theirs, "ops"), MOST + 1)


# -- simple protocol -------------------------------------------------------------------------------------------


async def test_tables_notices_and_errors(consoles: Consoles) -> None:
    """Each ends with ReadyForQuery."""
    async with talking(consoles) as client:
        found = await client.ask(Query("SHOW VERSION"))
        assert kinds(found) == [RowDescription, DataRow, CommandComplete]
        found = await client.ask(Query("SHOW HELP"))
        assert kinds(found) == [NoticeResponse, CommandComplete]
        assert errors(await client.ask(Query("SELECT 1"))) == [
            ("ERROR", "08P01", "invalid command 'SELECT 1', use SHOW HELP;")
        ]
        assert errors(await client.ask(Query("SET a = 1"))) == [("ERROR", "08P01", "SET failed")]
        assert errors(await client.ask(Query("SUSPEND")))[0][1] == "0A000"
        assert errors(await client.ask(Query("KILL"))) == [("ERROR", "08P01", "a database is required")]
        assert errors(await client.ask(Query("PAUSE helios")))[0][2] == "cannot pause admin db: helios"
        assert errors(await client.ask(Query("MIGRATE SESSION 1 TO x")))[0][1] == "55000"
        assert errors(await client.ask(Query("SWITCHOVER TO x")))[0][1] == "55000"
        await client.send(Terminate())
        assert await client.read() == []


async def test_requests_may_come_together(consoles: Consoles) -> None:
    """They are answered in order."""
    async with talking(consoles) as client:
        await client.send(Query("SHOW STATE"), Query("RELOAD"), Query("FOO"), Terminate())
        tags = [each.tag for each in await client.read(ErrorResponse) if isinstance(each, CommandComplete)]
        assert tags == ["SHOW", "RELOAD"]


async def test_what_is_no_query(consoles: Consoles) -> None:
    """Function calls are refused; copy data outside of a COPY is ignored, as PostgreSQL does."""
    async with talking(consoles) as client:
        found = await client.ask(CopyData(b"x"), FunctionCall(1, (), (), 0))
        assert errors(found)[0][:2] == ("ERROR", "0A000")


async def test_a_switchover_is_ordered_and_watched(parts: Parts) -> None:
    """Its steps are said while it goes on; the answer comes when it is over."""
    switchover = FakeSwitchover()
    rig = make_rig(switchover=switchover, sessions=10)
    async with running(rig):
        made = make_parts(rig, switchover)
        made.running.config = parts.running.config
        async with talking(Consoles(made)) as client:
            await client.send(Query("SWITCHOVER TO gold"))
            said = await client.read(NoticeResponse)
            assert isinstance(said[-1], NoticeResponse)
            assert said[-1].fields.message == "holding sessions"
            switchover.go_on.set()
            assert CommandComplete("SWITCHOVER") in await client.read()
            rows = await client.ask(Query("SHOW MIGRATIONS"))
            assert [each.values[1] for each in rows if isinstance(each, DataRow)] == [b"completed"]
        assert "ops in the console" in {each.who for each in made.events.newest(50)}


# -- extended protocol -----------------------------------------------------------------------------------------


def bound(statement: str = "", portal: str = "", **more: Any) -> Bind:
    return evolve(Bind(portal, statement, (), (), ()), **more)


async def test_extended_protocol(consoles: Consoles) -> None:
    """Statements without parameters, described before and after they are bound."""
    async with talking(consoles) as client:
        found = await client.ask(
            Parse("s", "SHOW STATE", ()),
            Describe(STATEMENT, "s"),
            bound("s", "p"),
            Describe(PORTAL, "p"),
            Execute("p", 0),
            Close(PORTAL, "p"),
            Close(STATEMENT, "s"),
            Flush(),
            Parse("", "RELOAD", ()),
            bound(),
            Describe(PORTAL, ""),
            Execute("", 0),
            Sync(),
        )
        assert kinds(found) == [
            ParseComplete,
            ParameterDescription,
            RowDescription,
            BindComplete,
            RowDescription,
            *[DataRow] * 3,
            CommandComplete,
            CloseComplete,
            CloseComplete,
            ParseComplete,
            BindComplete,
            NoData,
            CommandComplete,
        ]


async def test_a_portal_is_read_in_parts(consoles: Consoles) -> None:
    """As many rows as are asked for, then the rest."""
    async with talking(consoles) as client:
        found = await client.ask(
            Parse("", "SHOW STATE", ()), bound(), Execute("", 2), Execute("", 2), Execute("", 1), Sync()
        )
        assert kinds(found)[2:] == [
            DataRow,
            DataRow,
            PortalSuspended,
            DataRow,
            CommandComplete,
            CommandComplete,
        ]


@pytest.mark.parametrize(
    ("messages", "sqlstate"),
    [
        ([Parse("", "SELECT 1", ())], "08P01"),
        ([Parse("", "SHOW STATE", (23,))], "0A000"),
        ([bound("nosuch")], "26000"),
        ([Describe(PORTAL, "nosuch")], "34000"),
        ([Execute("nosuch", 0)], "34000"),
        ([Parse("", "SHOW STATE", ()), bound(values=(b"1",))], "0A000"),
        ([Parse("", "SHOW STATE", ()), bound(result_formats=(1,))], "0A000"),
        ([Parse("s", "SHOW STATE", ()), Parse("s", "SHOW STATE", ())], "42P05"),
        ([Parse("s", "SHOW STATE", ()), bound("s", "p"), bound("s", "p")], "42P03"),
        ([Parse(str(number), "SHOW STATE", ()) for number in range(1000)], "53400"),
    ],
)
async def test_errors_of_the_extended_protocol(
    consoles: Consoles, messages: list[Message], sqlstate: str
) -> None:
    """What follows is skipped up to the Sync; then the conversation goes on."""
    async with talking(consoles) as client:
        found = await client.ask(*messages, Execute("", 0), Query("RELOAD"), Sync())
        assert [each[:2] for each in errors(found)] == [("ERROR", sqlstate)]
        assert isinstance(found[-1], ErrorResponse)
        assert CommandComplete("RELOAD") in await client.ask(Query("RELOAD"))


# -- bad clients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\0\0\0\4",
        b"Q\0\0\0\2",
        b"Q\x7f\xff\xff\xff",
        b"Q\xff\xff\xff\xff",
        b"Q" + (100_000).to_bytes(4, "big") + b"x" * 100_000,
        encode_frame(ord("Q"), b"no end"),
        encode_frame(ord("P"), b"\0"),
        encode_frame(ord("D"), b"X\0"),
        PasswordMessage("again").encode(),
        b"E\0\0\0\5\0",
    ],
)
async def test_what_cannot_be_understood_ends_the_conversation(consoles: Consoles, data: bytes) -> None:
    """Rule 5: FATAL 08P01."""
    async with talking(consoles) as client:
        try:
            await client.stream.send_all(data)
            found = await client.read()
        except trio.BrokenResourceError:
            return  # it had more to say than was listened to
        assert [each[:2] for each in errors(found)] == [("FATAL", "08P01")]


async def test_a_client_that_takes_no_answers_is_left(
    autojump_clock: trio.testing.MockClock, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are not made ahead of it, and after a time it is gone."""
    rig = make_rig(sessions=5000)
    async with running(rig):
        asked: list[int] = []
        look = FakeFleet.session

        def note(fleet: FakeFleet, id: int) -> Any:
            asked.append(id)
            return look(fleet, id)

        monkeypatch.setattr(FakeFleet, "session", note)
        made = make_parts(rig)
        made.running.config = parts.running.config
        made.proxy.sessions.update(dict.fromkeys(range(1, 5001)))  # type: ignore[call-overload]
        ended = trio.Event()
        async with talking(Consoles(made), ended=ended) as client:
            begun = trio.current_time()
            await client.send(Query("SHOW CLIENTS"))
            await ended.wait()
            assert SEND_TIME <= trio.current_time() - begun < SEND_TIME * 3
            assert len(asked) < 2500


async def test_all_rows_come_to_a_client_that_reads(parts: Parts) -> None:
    """However many there are."""
    rig = make_rig(sessions=3000)
    async with running(rig):
        made = make_parts(rig)
        made.running.config = parts.running.config
        made.proxy.sessions.update(dict.fromkeys(range(1, 3001)))  # type: ignore[call-overload]
        async with talking(Consoles(made)) as client:
            found = await client.ask(Query("SHOW SOCKETS"))
            assert len([each for each in found if isinstance(each, DataRow)]) == 3001


async def test_the_end_of_the_proxy_is_said(consoles: Consoles) -> None:
    """57P01, to a client that waits for nothing."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consoles.serve, admitted(theirs, "ops"), 1)
        client = Client(
            trio.SocketStream(trio.socket.from_stdlib_socket(ours)), FrameReader(10_000, 10_000, BACKEND)
        )
        await client.read()
        nursery.cancel_scope.cancel()
    theirs.close()
    assert [each[:2] for each in errors(await client.read())] == [("FATAL", "57P01")]
    await client.stream.aclose()
    assert consoles.clients == {}
