"""Logging in to servers: what they ask for, how they refuse, and peers that are no servers at all."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing

from helios_trio.config.words import SslMode
from helios_trio.errors import BackendUnavailable, ServerRefused
from helios_trio.net.dial import ServerAddress
from helios_trio.net.errors import ConnectionLost
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.tls import ServerTLS
from helios_trio.net.transport import PlainTransport
from helios_trio.pool.connect import ServerGreeting, open_server_connection, send_cancel
from helios_trio.pool.server_auth import Credentials, ServerLoginFailed
from helios_trio.wire.backend_messages import (
    AuthenticationCleartextPassword,
    AuthenticationGSS,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    BackendKeyData,
    ErrorResponse,
    NegotiateProtocolVersion,
    NoticeResponse,
    ParameterStatus,
    ReadyForQuery,
)
from helios_trio.wire.codes import PROTOCOL_3_0, PROTOCOL_3_2, Status
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import AUTHENTICATING, FrameReader
from helios_trio.wire.frontend_messages import PasswordMessage, SASLInitialResponse, SASLResponse
from helios_trio.wire.layout import Message
from helios_trio.wire.passwords import md5_response, md5_stored
from helios_trio.wire.scram import SCRAM_SHA_256, ServerExchange
from helios_trio.wire.scram_keys import ScramKeys, Verifier
from helios_trio.wire.startup import CancelRequest, SSLRequest, StartupMessage

Behaviour = Callable[[FrameStream], Awaitable[None]]

ALICE = Credentials("alice", password="secret")
PLAIN = ServerTLS(SslMode.DISABLE)
GREETING: tuple[Message, ...] = (
    AuthenticationOk(),
    ParameterStatus("server_version", "18.1"),
    ParameterStatus("TimeZone", "Europe/Zürich"),
    BackendKeyData(4711, b"1234"),
    ReadyForQuery(Status.IDLE),
)


@asynccontextmanager
async def server(*behaviours: Behaviour) -> AsyncIterator[ServerAddress]:
    """A server that treats one connection after the other so; all must have been made at the end."""
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()

        async def serve() -> None:
            for behaviour in behaviours:
                accepted, _ = await listener.accept()
                sock = socket.socket(fileno=accepted.detach())
                transport = PlainTransport(sock, "client")
                try:
                    await behaviour(FrameStream(transport, FrameReader(65535, 65535, AUTHENTICATING)))
                finally:
                    transport.close()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                yield ServerAddress("127.0.0.1", listener.getsockname()[1])


async def say(stream: FrameStream, *messages: Message) -> None:
    """Send these in one piece."""
    await stream.send(b"".join(message.encode() for message in messages))


async def welcome(stream: FrameStream, *first: Message, then: bytes = b"") -> None:
    """Let the client in, say these before and that after, and wait until it goes."""
    await stream.read_startup()
    await stream.send(b"".join(message.encode() for message in (*first, *GREETING)) + then)
    await until_gone(stream)


async def until_gone(stream: FrameStream) -> None:
    """Wait for the other side to close, or to break off."""
    with suppress(ConnectionLost):
        while await stream.transport.receive_some(100):
            pass


async def log_in(
    target: ServerAddress,
    credentials: Credentials = ALICE,
    tls: ServerTLS = PLAIN,
    version: int = PROTOCOL_3_0,
    time_limit: float = 10,
) -> ServerGreeting:
    """A connection for this user, closed at once."""
    parameters = {"user": credentials.user, "database": "shop"}
    greeting = await open_server_connection(
        target, parameters, credentials, tls, protocol_version=version, time_limit=time_limit
    )
    greeting.transport.close()
    return greeting


def refusal(sqlstate: str, message: str = "no") -> ErrorResponse:
    """A server's FATAL."""
    return ErrorResponse(ErrorFields.of({"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": message}))


async def refuse(stream: FrameStream, sqlstate: str) -> None:
    """Answer the start-up packet with an error."""
    await stream.read_startup()
    await say(stream, refusal(sqlstate))


async def without_tls(stream: FrameStream, behaviour: Behaviour) -> None:
    """Answer the request for TLS with N and go on."""
    assert await stream.read_startup() == SSLRequest()
    await stream.send(b"N")
    await behaviour(stream)


async def test_what_the_server_says_is_kept() -> None:
    """Parameters in order, raw and read, the key, notices, and bytes behind ReadyForQuery."""
    notice = NoticeResponse(ErrorFields.of({"S": "NOTICE", "C": "00000", "M": "hello"}))
    early = ParameterStatus("late", "1").encode()
    async with server(partial(welcome, then=early)) as target:
        greeting = await log_in(target)
    assert greeting.parameters == {"server_version": "18.1", "TimeZone": "Europe/Zürich"}
    assert greeting.parameter_frames == [message.encode() for message in GREETING[1:3]]
    assert (greeting.pid, greeting.secret, greeting.status) == (4711, b"1234", Status.IDLE)
    assert (greeting.rest, greeting.protocol) == (early, PROTOCOL_3_0)
    async with server(lambda stream: welcome(stream, GREETING[0], notice)) as target:
        greeting = await log_in(target)
    assert greeting.notices == [notice.encode()]


async def test_the_startup_packet_is_the_callers() -> None:
    """Nothing is added to it, and its order stays."""
    seen: list[object] = []

    async def look(stream: FrameStream) -> None:
        seen.append(await stream.read_startup())
        await say(stream, *GREETING)
        await until_gone(stream)

    async with server(look) as target:
        await log_in(target, version=PROTOCOL_3_2)
    assert seen == [StartupMessage(PROTOCOL_3_2, ((b"user", b"alice"), (b"database", b"shop")))]


async def test_an_older_protocol_can_be_negotiated() -> None:
    """A server without 3.2 says so, and 3.0 is spoken."""
    older = NegotiateProtocolVersion(PROTOCOL_3_0, ())
    async with server(lambda stream: welcome(stream, older)) as target:
        assert (await log_in(target, version=PROTOCOL_3_2)).protocol == PROTOCOL_3_0


async def test_long_cancel_keys() -> None:
    """Protocol 3.2 has secrets of up to 256 bytes."""
    secret = bytes(range(256))
    messages = (AuthenticationOk(), BackendKeyData(1, secret), ReadyForQuery(Status.IDLE))
    reply = b"".join(message.encode() for message in messages)
    async with server(partial(answer, reply=reply)) as target:
        greeting = await log_in(target, version=PROTOCOL_3_2)
    assert greeting.secret == secret
    assert str(secret) not in repr(greeting)


async def test_the_servers_own_report_is_passed_on() -> None:
    """An ErrorResponse at start-up comes back byte for byte."""
    async with server(partial(refuse, sqlstate="3D000")) as target:
        with pytest.raises(ServerRefused) as caught:
            await log_in(target)
    assert caught.value.sqlstate == "3D000"
    assert caught.value.report == refusal("3D000").body()


async def demand_password(stream: FrameStream, request: Message, expected: str) -> None:
    """Ask for a password and accept only this answer."""
    await stream.read_startup()
    await say(stream, request)
    body = (await stream.read_frame()).body
    if PasswordMessage.decode(body).password == expected:
        await say(stream, *GREETING)
        await until_gone(stream)
    else:
        await say(stream, refusal("28P01"))


async def test_a_password_in_clear() -> None:
    """AuthenticationCleartextPassword is answered with the password."""
    behaviour = partial(demand_password, request=AuthenticationCleartextPassword(), expected="secret")
    async with server(behaviour) as target:
        assert (await log_in(target)).pid == 4711


@pytest.mark.parametrize(
    "credentials", [ALICE, Credentials("alice", md5_stored=md5_stored("alice", "secret"))]
)
async def test_md5(credentials: Credentials) -> None:
    """With the password, or with the stored digest of a client that was let in by it."""
    expected = md5_response(md5_stored("alice", "secret"), b"salt")
    behaviour = partial(demand_password, request=AuthenticationMD5Password(b"salt"), expected=expected)
    async with server(behaviour) as target:
        assert (await log_in(target, credentials)).pid == 4711


VERIFIER = Verifier.from_password("secret", b"0123456789abcdef", 4096)
KEYS = ScramKeys.derive("secret", b"0123456789abcdef", 4096)


async def demand_scram(
    stream: FrameStream, *, skip_proof: bool = False, mechanisms: tuple[str, ...] = (SCRAM_SHA_256,)
) -> None:
    """Go through SCRAM, perhaps without proving that we know the password too."""
    await stream.read_startup()
    await say(stream, AuthenticationSASL(mechanisms))
    begin = SASLInitialResponse.decode((await stream.read_frame()).body)
    exchange = ServerExchange(begin.mechanism, VERIFIER, user="alice", binding=None)
    await say(stream, AuthenticationSASLContinue(exchange.first(begin.data)))
    outcome = exchange.final(SASLResponse.decode((await stream.read_frame()).body).data)
    if not skip_proof:
        await say(stream, AuthenticationSASLFinal(outcome))
    await say(stream, *GREETING)
    await until_gone(stream)


@pytest.mark.parametrize("credentials", [ALICE, Credentials("alice", scram_keys=KEYS)])
async def test_scram(credentials: Credentials) -> None:
    """With the password, or with keys that a client's own login has shown."""
    async with server(demand_scram) as target:
        assert (await log_in(target, credentials)).pid == 4711


async def test_a_server_must_prove_itself() -> None:
    """One that lets us in without having known the password is not trusted."""
    async with server(partial(demand_scram, skip_proof=True)) as target:
        with pytest.raises(BackendUnavailable, match="without proving itself"):
            await log_in(target)


@pytest.mark.parametrize(
    ("request_", "credentials", "message"),
    [
        (
            AuthenticationCleartextPassword(),
            Credentials("alice", scram_keys=KEYS),
            "asks for a cleartext password",
        ),
        (AuthenticationMD5Password(b"salt"), Credentials("alice"), "asks for an md5 password"),
        (AuthenticationSASL((SCRAM_SHA_256,)), Credentials("alice"), "asks for a SCRAM-SHA-256 password"),
        (AuthenticationGSS(), ALICE, "authentication by GSS, which is not supported"),
    ],
)
async def test_what_cannot_be_answered_is_said(
    request_: Message, credentials: Credentials, message: str
) -> None:
    """The error names what the server wants; trying again would not help."""

    async def demand(stream: FrameStream) -> None:
        await stream.read_startup()
        await say(stream, request_)
        await until_gone(stream)

    async with server(demand) as target:
        with pytest.raises(ServerLoginFailed, match=message):
            await log_in(target, credentials)


async def test_unknown_sasl_mechanisms() -> None:
    """A server that offers nothing we know is refused by us."""
    async with server(partial(answer, reply=AuthenticationSASL(("OAUTHBEARER",)).encode())) as target:
        with pytest.raises(BackendUnavailable, match="SASL authentication mechanisms are supported"):
            await log_in(target)


async def answer(stream: FrameStream, reply: bytes) -> None:
    """Answer the start-up packet with these bytes."""
    await stream.read_startup()
    await stream.send(reply)
    await until_gone(stream)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "invalid message length"),
        (b"R\0\0\0\x03", "invalid message length"),
        (b"R" + struct.pack("!i", 1 << 30), "invalid message length"),
        (b"R\0\0\0\x08\0\0\0\x63", "authentication method 99 not supported"),
        (ReadyForQuery(Status.IDLE).encode(), "type 'Z' before it was ready"),
        (b"D\0\0\0\x04", "type 'D' before it was ready"),
        (AuthenticationSASLContinue(b"r=x,s=eA==,i=1").encode(), "invalid SASL authentication request"),
        (NoticeResponse(ErrorFields(())).encode() * 1000, "1000 messages without becoming ready"),
    ],
)
async def test_peers_that_are_no_servers(reply: bytes, message: str) -> None:
    """Rule 5, from the other side: whatever answers, time and memory are bounded and the error is clear."""
    async with server(partial(answer, reply=reply)) as target:
        with pytest.raises(BackendUnavailable, match=message):
            await log_in(target)


async def test_a_server_that_hangs_up() -> None:
    """Closing instead of answering is an error."""

    async def hang_up(stream: FrameStream) -> None:
        await stream.read_startup()

    async with server(hang_up) as target:
        with pytest.raises(BackendUnavailable, match="closed the connection"):
            await log_in(target)


async def test_a_server_that_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """The time limit covers the login too, and the socket is closed then."""
    async with server(until_gone) as target:
        with pytest.raises(BackendUnavailable, match="timeout expired"):
            await log_in(target, time_limit=5)


async def test_nobody_there() -> None:
    """The error names the address and the system's reason."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{port}: Connection refused"):
        await log_in(ServerAddress("127.0.0.1", port))


async def test_prefer_goes_on_in_plain() -> None:
    """A server without TLS serves prefer on the same connection, and require not at all."""
    async with server(partial(without_tls, behaviour=welcome)) as target:
        assert (await log_in(target, tls=ServerTLS(SslMode.PREFER))).transport.tls is None
    async with server(partial(without_tls, behaviour=until_gone)) as target:
        with pytest.raises(BackendUnavailable, match="does not support SSL, but SSL was required"):
            await log_in(target, tls=ServerTLS(SslMode.REQUIRE))


async def test_allow_tries_tls_after_a_refusal() -> None:
    """Refused in plain, allow asks for TLS; without TLS the refusal stands."""
    async with server(
        partial(refuse, sqlstate="28000"), partial(without_tls, behaviour=until_gone)
    ) as target:
        with pytest.raises(ServerRefused) as caught:
            await log_in(target, tls=ServerTLS(SslMode.ALLOW))
    assert caught.value.sqlstate == "28000"


@pytest.mark.parametrize("mode", [SslMode.ALLOW, SslMode.PREFER])
async def test_what_encryption_cannot_change_is_not_tried_again(mode: SslMode) -> None:
    """A database that does not exist is asked for once."""
    behaviour: Behaviour = partial(refuse, sqlstate="3D000")
    if mode is SslMode.PREFER:
        behaviour = partial(without_tls, behaviour=behaviour)
    async with server(behaviour) as target:
        with pytest.raises(ServerRefused):
            await log_in(target, tls=ServerTLS(mode))


async def test_a_server_without_tls_is_not_asked_twice() -> None:
    """What it refuses to prefer on the connection without TLS it would refuse again."""
    async with server(partial(without_tls, behaviour=partial(refuse, sqlstate="28000"))) as target:
        with pytest.raises(ServerRefused):
            await log_in(target, tls=ServerTLS(SslMode.PREFER))


async def test_an_error_before_encryption_is_not_believed() -> None:
    """An answer to the request for TLS that is neither S nor N may come from anybody (CVE-2024-10977)."""

    async def fail(stream: FrameStream) -> None:
        await stream.read_startup()
        await say(stream, refusal("XX000", "send your password to ..."))
        await until_gone(stream)

    async with server(fail) as target:
        with pytest.raises(BackendUnavailable, match="neither S nor N") as caught:
            await log_in(target, tls=ServerTLS(SslMode.REQUIRE))
    assert "password" not in caught.value.message


async def test_a_cancel_request_waits_for_its_effect() -> None:
    """Rule 4: `send_cancel` returns only when the server has closed the connection."""
    closing = trio.Event()
    seen: list[object] = []

    async def take(stream: FrameStream) -> None:
        seen.append(await stream.read_startup())
        await trio.testing.wait_all_tasks_blocked()
        closing.set()

    async with server(take) as target:
        await send_cancel(target, 4711, b"1234", PLAIN, time_limit=10)
        assert closing.is_set()
    assert seen == [CancelRequest(4711, b"1234")]


async def test_a_cancel_request_that_is_not_finished(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 4: a server that does not close in time is reported, so that the connection is discarded."""
    async with server(until_gone) as target:
        with pytest.raises(BackendUnavailable, match="timeout expired"):
            await send_cancel(target, 4711, b"1234", PLAIN, time_limit=5)


async def test_a_cancel_request_asks_for_tls() -> None:
    """With prefer it goes in plain only after the server has declined."""

    async def take(stream: FrameStream) -> None:
        assert await stream.read_startup() == CancelRequest(1, b"key!")

    async with server(partial(without_tls, behaviour=take)) as target:
        await send_cancel(target, 1, b"key!", ServerTLS(SslMode.PREFER), time_limit=10)


def test_secrets_are_not_shown() -> None:
    """Rule 39: neither passwords nor keys are in what is printed."""
    shown = repr(Credentials("alice", password="secret", scram_keys=KEYS, md5_stored="md5abc"))
    assert shown == "Credentials(user='alice')"
