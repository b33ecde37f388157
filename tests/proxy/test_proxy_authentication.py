"""Clients log in: by every method, with libpq and byte by byte, and are told nothing they should not know."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from certificates import Authority, KeyPair

from helios_trio.config.addresses import TcpAddress
from helios_trio.config.auth import AuthRule
from helios_trio.config.words import AuthMethod, ClientTls, RuleMethod
from helios_trio.errors import AuthenticationFailed, HeliosError, NotAuthorised, ProtocolViolation
from helios_trio.net.certificates import TLSInfo
from helios_trio.net.errors import ConnectionLost
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.listener import open_listeners, serve_listener
from helios_trio.net.tls import ClientTLS
from helios_trio.net.transport import PlainTransport
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.auth_rules import AuthRules, ClientIdentity
from helios_trio.proxy.auth_secrets import StoredSecret
from helios_trio.proxy.authentication import Authenticated, AuthenticationSettings, authenticate
from helios_trio.wire.backend_messages import (
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    ParameterStatus,
    ReadyForQuery,
    decode_backend,
    error_response,
)
from helios_trio.wire.codes import Status
from helios_trio.wire.frames import AUTHENTICATING, BACKEND, FrameReader
from helios_trio.wire.frontend_messages import PasswordMessage, Query, SASLInitialResponse, SASLResponse
from helios_trio.wire.layout import Message
from helios_trio.wire.passwords import PasswordType, md5_response, md5_stored
from helios_trio.wire.scram import ClientExchange
from helios_trio.wire.scram_keys import ScramKeys, Verifier
from helios_trio.wire.startup import SSLRequest, StartupMessage

PASSWORD = "pa$$ wörd"
VERIFIER = Verifier.from_password(PASSWORD)
SECRETS = {
    PasswordType.PLAIN: PASSWORD,
    PasswordType.MD5: md5_stored("alice", PASSWORD),
    PasswordType.SCRAM: str(VERIFIER),
}
IDENTITY = ClientIdentity("alice", "shop", "127.0.0.1")


@define
class Users:
    """A `SecretSource` of fixed users."""

    secrets: dict[str, str]
    typical: PasswordType = PasswordType.SCRAM
    doubted: list[str] = field(factory=list)

    async def lookup(self, user: str, database: str) -> StoredSecret | None:
        await trio.lowlevel.checkpoint()
        return StoredSecret(self.secrets[user]) if user in self.secrets else None

    def doubt(self, user: str, database: str) -> None:
        self.doubted.append(user)


@define
class Door:
    """A listener that lets clients in by one method, and remembers what became of them."""

    method: AuthMethod
    users: Users
    tls: ClientTLS
    settings: AuthenticationSettings = field(factory=AuthenticationSettings)
    port: int = 0
    outcomes: list[Authenticated | HeliosError] = field(factory=list)

    async def serve(self, transport: PlainTransport) -> None:
        """What a handshake does, without a session behind it."""
        stream = FrameStream(transport, FrameReader(65535, 65535, AUTHENTICATING))
        try:
            startup = await stream.read_startup()
            if startup == SSLRequest():
                await stream.send(b"S" if self.tls.current else b"N")
                if self.tls.current:
                    await stream.start_tls(self.tls.current)
                startup = await stream.read_startup()
            assert isinstance(startup, StartupMessage)
            await self.let_in(stream, startup)
        except HeliosError as error:
            self.outcomes.append(error)
        finally:
            stream.transport.close()

    async def let_in(self, stream: FrameStream, startup: StartupMessage) -> None:
        """Authenticate, greet, and wait until the client goes."""
        identity = ClientIdentity(startup.user, startup.database, "127.0.0.1", stream.transport.tls)
        rules = AuthRules([], self.method)
        try:
            found = await authenticate(stream, identity, rules, self.users, self.settings)
        except (AuthenticationFailed, NotAuthorised, ProtocolViolation) as error:
            await stream.send(error_response(error.fields()))
            raise
        self.outcomes.append(found)
        greeting = ParameterStatus("server_version", "18.1").encode() + ReadyForQuery(Status.IDLE).encode()
        await stream.send(found.reply + greeting)
        await stream.transport.receive_some(100)


@asynccontextmanager
async def open_door(door: Door) -> AsyncIterator[Door]:
    """Listen for a while."""
    (listener,) = await open_listeners([TcpAddress("127.0.0.1", 0)])
    door.port = listener.port
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_listener, listener, door.serve, nursery)
            yield door
            listener.close()


async def libpq(door: Door, user: str = "alice", password: str = PASSWORD, **options: Any) -> str:
    """ "in", or what libpq says."""

    def connect() -> str:
        parameters = {"sslmode": "disable", "gssencmode": "disable", "connect_timeout": 20, **options}
        try:
            psycopg.connect(
                host="127.0.0.1", port=door.port, user=user, password=password, dbname="shop", **parameters
            ).close()
        except psycopg.OperationalError as error:
            return str(error)
        return "in"

    return await trio.to_thread.run_sync(connect)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def client(authority: Authority) -> KeyPair:
    """Alice's certificate."""
    pair = authority.issue("alice")
    pair.key_file.chmod(0o600)
    return pair


@pytest.fixture
def tls(authority: Authority) -> ClientTLS:
    """TLS towards clients, whose certificates are looked at."""
    pair = authority.issue("server", "localhost")
    return ClientTLS(
        ClientTls.ALLOW, cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=authority.ca_file
    )


METHODS = [
    (AuthMethod.PASSWORD, PasswordType.PLAIN),
    (AuthMethod.PASSWORD, PasswordType.MD5),
    (AuthMethod.PASSWORD, PasswordType.SCRAM),
    (AuthMethod.MD5, PasswordType.PLAIN),
    (AuthMethod.MD5, PasswordType.MD5),
    (AuthMethod.MD5, PasswordType.SCRAM),
    (AuthMethod.SCRAM_SHA_256, PasswordType.PLAIN),
    (AuthMethod.SCRAM_SHA_256, PasswordType.SCRAM),
]


@pytest.mark.parametrize("sslmode", ["disable", "require"])
@pytest.mark.parametrize(("method", "kind"), METHODS)
async def test_libpq_logs_in(method: AuthMethod, kind: PasswordType, sslmode: str, tls: ClientTLS) -> None:
    """By every method, with every kind of stored secret that goes with it; a wrong password does not."""
    users = Users({"alice": SECRETS[kind]}, kind)
    async with open_door(Door(method, users, tls)) as door:
        assert await libpq(door, sslmode=sslmode) == "in"
        wrong = await libpq(door, password="wrong", sslmode=sslmode)
        unknown = await libpq(door, user="nobody", sslmode=sslmode)
    assert 'FATAL:  password authentication failed for user "alice"' in wrong
    assert unknown.replace("nobody", "alice") == wrong
    assert users.doubted == ["alice", "nobody"]
    first, *refused = door.outcomes
    assert isinstance(first, Authenticated)
    assert [error.sqlstate for error in refused if isinstance(error, AuthenticationFailed)] == ["28P01"] * 2


@pytest.mark.parametrize("binding", ["require", "prefer", "disable"])
async def test_channel_binding(binding: str, tls: ClientTLS) -> None:
    """libpq binds SCRAM to our TLS, and is content to do without if it is told to."""
    users = Users({"alice": SECRETS[PasswordType.SCRAM]})
    async with open_door(Door(AuthMethod.SCRAM_SHA_256, users, tls)) as door:
        assert await libpq(door, sslmode="require", channel_binding=binding) == "in"


async def test_channel_binding_is_not_offered_in_plain(tls: ClientTLS) -> None:
    """Without TLS there is nothing to bind to."""
    users = Users({"alice": SECRETS[PasswordType.SCRAM]})
    async with open_door(Door(AuthMethod.SCRAM_SHA_256, users, tls)) as door:
        assert "channel binding" in await libpq(door, channel_binding="require")


@pytest.mark.parametrize(
    ("method", "kind", "expected"),
    [
        (AuthMethod.TRUST, PasswordType.SCRAM, Credentials("alice")),
        (AuthMethod.PASSWORD, PasswordType.SCRAM, Credentials("alice", password=PASSWORD)),
        (AuthMethod.MD5, PasswordType.PLAIN, Credentials("alice", password=PASSWORD)),
        (AuthMethod.MD5, PasswordType.MD5, Credentials("alice", md5_stored=SECRETS[PasswordType.MD5])),
        (AuthMethod.SCRAM_SHA_256, PasswordType.PLAIN, Credentials("alice", password=PASSWORD)),
        (
            AuthMethod.SCRAM_SHA_256,
            PasswordType.SCRAM,
            Credentials("alice", scram_keys=ScramKeys.derive(PASSWORD, VERIFIER.salt, VERIFIER.iterations)),
        ),
    ],
)
async def test_what_was_shown_serves_for_the_server(
    method: AuthMethod, kind: PasswordType, expected: Credentials, tls: ClientTLS
) -> None:
    """The password where it is known, else the keys or the digest that prove it."""
    async with open_door(Door(method, Users({"alice": SECRETS[kind]}), tls)) as door:
        assert await libpq(door) == "in"
    (found,) = door.outcomes
    assert isinstance(found, Authenticated)
    assert found.method is method
    assert found.credentials == expected
    assert PASSWORD not in repr(found)


def certified(pair: KeyPair) -> dict[str, str]:
    """libpq's options to show a certificate."""
    return {"sslmode": "require", "sslcert": str(pair.cert_file), "sslkey": str(pair.key_file)}


async def test_certificates(authority: Authority, client: KeyPair, tls: ClientTLS) -> None:
    """The name in the certificate must be the user's; without one there is no way in."""
    async with open_door(Door(AuthMethod.CERT, Users({}), tls)) as door:
        assert await libpq(door, **certified(client)) == "in"
        assert 'certificate authentication failed for user "bob"' in await libpq(
            door, "bob", **certified(client)
        )
        for sslmode in ("require", "disable"):
            assert "requires a valid client certificate" in await libpq(door, sslmode=sslmode)


async def test_certificates_of_strangers(tmp_path: Path, tls: ClientTLS) -> None:
    """A certificate of another authority does not pass the handshake."""
    stranger = Authority(tmp_path, "stranger").issue("alice", file="stranger")
    stranger.key_file.chmod(0o600)
    async with open_door(Door(AuthMethod.CERT, Users({}), tls)) as door:
        assert await libpq(door, **certified(stranger)) != "in"


async def test_names_in_certificates_can_be_mapped(client: KeyPair, tls: ClientTLS) -> None:
    """A name that is listed is those users, and no longer itself."""
    settings = AuthenticationSettings(certificate_users={"alice": frozenset({"bob", "carol"})})
    async with open_door(Door(AuthMethod.CERT, Users({}), tls, settings)) as door:
        assert await libpq(door, "bob", **certified(client)) == "in"
        assert "certificate authentication failed" in await libpq(door, "alice", **certified(client))


async def test_verify_full_goes_with_any_method(client: KeyPair, tls: ClientTLS) -> None:
    """Password and certificate: both must be alice's."""
    settings = AuthenticationSettings(verify_certificate_name=True)
    users = Users({"alice": SECRETS[PasswordType.SCRAM], "bob": SECRETS[PasswordType.SCRAM]})
    async with open_door(Door(AuthMethod.SCRAM_SHA_256, users, tls, settings)) as door:
        assert await libpq(door, **certified(client)) == "in"
        assert "certificate authentication failed" in await libpq(door, "bob", **certified(client))
        assert "valid client certificate" in await libpq(door, sslmode="require")


# What a client sees, message by message


@define
class Peer:
    """A client's end, and the login going on at the other."""

    stream: FrameStream

    async def receive(self) -> Message:
        frame = await self.stream.read_frame()
        return decode_backend(frame.code, frame.body)

    async def send(self, message: Message) -> None:
        await self.stream.send(message.encode())


async def log_in(
    method: AuthMethod,
    users: Users,
    behave: Callable[[Peer], Awaitable[None]],
    identity: ClientIdentity = IDENTITY,
    settings: AuthenticationSettings | None = None,
) -> Authenticated | HeliosError:
    """What comes of it when a client behaves like this."""
    left, right = socket.socketpair()
    near, far = PlainTransport(left, "client"), PlainTransport(right, "proxy")
    stream = FrameStream(near, FrameReader(65535, 65535, AUTHENTICATING))
    outcome: list[Authenticated | HeliosError] = []

    async def serve() -> None:
        rules = AuthRules([AuthRule(method=RuleMethod(method))], None)
        try:
            found = await authenticate(stream, identity, rules, users, settings or AuthenticationSettings())
            outcome.append(found)
        except HeliosError as error:
            outcome.append(error)
        near.close()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await behave(Peer(FrameStream(far, FrameReader(65535, 65535, BACKEND))))
    far.close()
    return outcome[0]


async def try_scram(peer: Peer, seen: list[Message], password: str = PASSWORD) -> None:
    """SCRAM as clients do it, noting what was seen up to the proof."""
    request = await peer.receive()
    seen.append(request)
    if isinstance(request, AuthenticationMD5Password):
        await peer.send(PasswordMessage(md5_response(md5_stored("x", password), request.salt)))
        return
    assert isinstance(request, AuthenticationSASL)
    exchange = ClientExchange(request.mechanisms[0], password, binding=None)
    await peer.send(SASLInitialResponse(request.mechanisms[0], exchange.first()))
    challenge = await peer.receive()
    assert isinstance(challenge, AuthenticationSASLContinue)
    seen.append(challenge)
    await peer.send(SASLResponse(exchange.final(challenge.data)))


def shape(messages: list[Message]) -> list[object]:
    """What tells exchanges apart, without random parts."""
    found: list[object] = []
    for message in messages:
        if isinstance(message, AuthenticationSASLContinue):
            nonce, salt, iterations = message.data.split(b",")
            found.append((len(nonce), len(salt), iterations))
        else:
            found.append(evolve(message, salt=b"****") if hasattr(message, "salt") else message)
    return found


@pytest.mark.parametrize("method", [AuthMethod.MD5, AuthMethod.SCRAM_SHA_256])
@pytest.mark.parametrize("kind", list(PasswordType))
async def test_unknown_users_look_like_any_other(method: AuthMethod, kind: PasswordType) -> None:
    """The same messages of the same shape, the same error, whatever is typical here."""
    users = Users({"alice": SECRETS[kind]}, kind)
    shapes, errors = [], []
    for user in ("alice", "nobody"):
        seen: list[Message] = []
        found = await log_in(
            method, users, partial(try_scram, seen=seen, password="wrong"), evolve(IDENTITY, user=user)
        )
        assert isinstance(found, AuthenticationFailed)
        shapes.append(shape(seen))
        errors.append({name: text.replace(user, "...") for name, text in found.fields().items()})
    assert shapes[0] == shapes[1]
    assert errors[0] == errors[1] == {**errors[0], "C": "28P01", "S": "FATAL"}


@pytest.mark.parametrize("kind", list(PasswordType))
async def test_the_salt_of_an_unknown_user_stays_the_same(kind: PasswordType) -> None:
    """A salt that changes would tell that there is no verifier; so would one that is everybody's."""
    users = Users({}, kind)
    settings = AuthenticationSettings()
    salts: Counter[bytes] = Counter()
    for user in ("nobody", "nobody", "no-one"):
        seen: list[Message] = []
        await log_in(
            AuthMethod.SCRAM_SHA_256,
            users,
            partial(try_scram, seen=seen),
            evolve(IDENTITY, user=user),
            settings,
        )
        assert isinstance(seen[-1], AuthenticationSASLContinue)
        salts[seen[-1].data.split(b",")[1]] += 1
    assert sorted(salts.values()) == [1, 2]


async def test_work_is_the_same_for_unknown_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever must be compared with slowly has a slow stand-in: as many derivations of keys for both."""
    derived: list[str] = []
    derive = ScramKeys.derive

    def count(password: str, salt: bytes, iterations: int) -> ScramKeys:
        derived.append(password)
        return derive(password, salt, iterations)

    async def send_password(peer: Peer) -> None:
        await peer.receive()
        await peer.send(PasswordMessage("wrong"))

    async def send_scram(peer: Peer) -> None:
        await try_scram(peer, [], "wrong")

    monkeypatch.setattr(ScramKeys, "derive", count)
    for method, kind, behave in (
        (AuthMethod.PASSWORD, PasswordType.SCRAM, send_password),
        (AuthMethod.PASSWORD, PasswordType.PLAIN, send_password),
        (AuthMethod.SCRAM_SHA_256, PasswordType.SCRAM, send_scram),
        (AuthMethod.SCRAM_SHA_256, PasswordType.PLAIN, send_scram),
    ):
        counts = []
        for user in ("alice", "nobody"):
            derived.clear()
            await log_in(method, Users({"alice": SECRETS[kind]}, kind), behave, evolve(IDENTITY, user=user))
            counts.append(len(derived))
        assert counts[0] == counts[1]


async def test_an_md5_digest_is_no_scram_verifier() -> None:
    """Such a user fails as with a wrong password, even with the right one."""
    users = Users({"alice": SECRETS[PasswordType.MD5]})
    found = await log_in(AuthMethod.SCRAM_SHA_256, users, partial(try_scram, seen=[]))
    assert isinstance(found, AuthenticationFailed)


@pytest.mark.parametrize(
    ("messages", "sqlstate", "text"),
    [
        ([Query("select 1")], "08P01", "expected SASL response, got message type 81"),
        ([SASLInitialResponse("OAUTHBEARER", b"")], "08P01", "invalid SASL authentication mechanism"),
        ([SASLInitialResponse("SCRAM-SHA-256-PLUS", b"x")], "08P01", "invalid SASL authentication mechanism"),
        ([SASLInitialResponse("SCRAM-SHA-256", b"garbage")], "08P01", "malformed SCRAM message"),
        ([PasswordMessage(PASSWORD)], "08P01", "message"),
        (
            [SASLInitialResponse("SCRAM-SHA-256", b"n,,n=,r=abc"), Query("x")],
            "08P01",
            "expected SASL response",
        ),
        (
            [SASLInitialResponse("SCRAM-SHA-256", b"n,,n=,r=abc"), SASLResponse(b"c=biws,r=abc,p=AAAA")],
            "08P01",
            "malformed SCRAM message",
        ),
    ],
)
async def test_bad_exchanges(messages: list[Message], sqlstate: str, text: str) -> None:
    """Rule 5: FATAL, with PostgreSQL's code and words."""

    async def behave(peer: Peer) -> None:
        for message in messages:
            await peer.receive()
            await peer.send(message)

    found = await log_in(AuthMethod.SCRAM_SHA_256, Users({"alice": SECRETS[PasswordType.SCRAM]}), behave)
    assert isinstance(found, HeliosError)
    assert (found.sqlstate, found.severity) == (sqlstate, "FATAL")
    assert text in found.message


async def test_a_scram_exchange_may_begin_empty() -> None:
    """SASL without an initial response: the first message answers an empty challenge."""
    exchange = ClientExchange("SCRAM-SHA-256", PASSWORD, binding=None)

    async def behave(peer: Peer) -> None:
        await peer.receive()
        await peer.send(SASLInitialResponse("SCRAM-SHA-256", None))
        assert await peer.receive() == AuthenticationSASLContinue(b"")
        await peer.send(SASLResponse(exchange.first()))
        challenge = await peer.receive()
        assert isinstance(challenge, AuthenticationSASLContinue)
        await peer.send(SASLResponse(exchange.final(challenge.data)))

    found = await log_in(AuthMethod.SCRAM_SHA_256, Users({"alice": SECRETS[PasswordType.SCRAM]}), behave)
    assert isinstance(found, Authenticated)
    assert found.reply.endswith(AuthenticationOk().encode())


@pytest.mark.parametrize("method", [AuthMethod.PASSWORD, AuthMethod.MD5])
@pytest.mark.parametrize(
    ("message", "sqlstate", "text"),
    [
        (PasswordMessage(""), "28P01", "empty password returned by client"),
        (Query("select 1"), "08P01", "expected password response, got message type 81"),
    ],
)
async def test_bad_passwords(method: AuthMethod, message: Message, sqlstate: str, text: str) -> None:
    """Rule 5, for methods of one message."""

    async def behave(peer: Peer) -> None:
        await peer.receive()
        await peer.send(message)

    found = await log_in(method, Users({"alice": PASSWORD}), behave)
    assert isinstance(found, HeliosError)
    assert (found.sqlstate, found.severity, found.message) == (sqlstate, "FATAL", text)


async def test_a_client_that_goes_to_ask_for_a_password() -> None:
    """As psql does: no failure of the user's."""

    async def behave(peer: Peer) -> None:
        await peer.receive()
        peer.stream.transport.close()

    users = Users({"alice": PASSWORD})
    assert isinstance(await log_in(AuthMethod.PASSWORD, users, behave), ConnectionLost)
    assert users.doubted == []


async def test_an_oversize_password() -> None:
    """Rule 5: more than any password needs is not read."""

    async def behave(peer: Peer) -> None:
        await peer.receive()
        await peer.stream.send(b"p\x00\x10\x00\x00")

    found = await log_in(AuthMethod.PASSWORD, Users({"alice": PASSWORD}), behave)
    assert isinstance(found, ProtocolViolation)
    assert found.message == "invalid message length"


async def test_a_client_that_never_answers(autojump_clock: trio.testing.MockClock) -> None:
    """The caller's time limit ends it, at any step."""
    left, right = socket.socketpair()
    transport, silent = PlainTransport(left, "client"), PlainTransport(right, "proxy")
    stream = FrameStream(transport, FrameReader(65535, 65535, AUTHENTICATING))
    rules = AuthRules([], AuthMethod.SCRAM_SHA_256)
    with trio.move_on_after(60) as scope:
        await authenticate(stream, IDENTITY, rules, Users({}), AuthenticationSettings())
    assert scope.cancelled_caught
    transport.close()
    silent.close()


async def test_who_is_rejected_is_asked_nothing() -> None:
    """A rule that rejects comes before any exchange."""
    rules = AuthRules([AuthRule(method=RuleMethod.REJECT)], AuthMethod.TRUST)
    left, right = socket.socketpair()
    transport, other = PlainTransport(left, "client"), PlainTransport(right, "proxy")
    stream = FrameStream(transport, FrameReader(65535, 65535, AUTHENTICATING))
    with pytest.raises(NotAuthorised, match=r"pg_hba\.conf rejects connection"):
        await authenticate(stream, IDENTITY, rules, Users({}), AuthenticationSettings())
    transport.close()
    assert await other.receive_some(10) == b""
    other.close()


async def test_verify_full_is_not_for_unix_sockets() -> None:
    """They have no TLS and need none."""

    async def behave(peer: Peer) -> None:
        with pytest.raises(ConnectionLost):
            await peer.receive()

    settings = AuthenticationSettings(verify_certificate_name=True)
    found = await log_in(AuthMethod.TRUST, Users({}), behave, evolve(IDENTITY, address=None), settings)
    assert isinstance(found, Authenticated)


async def test_a_certificate_without_a_name() -> None:
    """TLS alone, or a certificate that names nobody, is not enough for cert."""
    tls = TLSInfo("TLSv1.3", "", 256, None, b"der", (), "", ())

    async def behave(peer: Peer) -> None:
        with pytest.raises(ConnectionLost):
            await peer.receive()

    found = await log_in(AuthMethod.CERT, Users({}), behave, evolve(IDENTITY, tls=tls))
    assert isinstance(found, NotAuthorised)
    assert found.message == 'certificate authentication failed for user "alice"'
