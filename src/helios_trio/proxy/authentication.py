"""A client proves who it is: the conversation between its start-up packet and AuthenticationOk.

The method comes from `proxy.auth_rules`, what to compare with from a `SecretSource`. Nothing a client can see
or measure tells an unknown user from a wrong password: an unknown one is taken through the same exchange,
with the same amount of work, towards the same error. What the exchange reveals about the password is kept as
credentials, so that the server can be logged in to as the same user. Source: PostgreSQL's auth.c and crypt.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_bytes, token_hex
from typing import Final

import trio
from attrs import Factory, field, frozen

from helios_trio.config.words import AuthMethod
from helios_trio.errors import AuthenticationFailed, HeliosError, NotAuthorised, ProtocolViolation
from helios_trio.net.frame_stream import FrameStream
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.auth_rules import AuthRules, ClientIdentity
from helios_trio.proxy.auth_secrets import SecretSource, StoredSecret
from helios_trio.wire.backend_messages import (
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
)
from helios_trio.wire.codes import Frontend
from helios_trio.wire.frontend_messages import PasswordMessage, SASLInitialResponse, SASLResponse
from helios_trio.wire.layout import Message
from helios_trio.wire.passwords import PasswordType, md5_accepts, md5_stored, plain_accepts
from helios_trio.wire.scram import ServerExchange, offered_mechanisms
from helios_trio.wire.scram_keys import Verifier, stable_salt

MD5_SALT_BYTES: Final = 4


@frozen
class AuthenticationSettings:
    """What holds for all logins."""

    nonce: bytes = field(factory=lambda: token_bytes(32), repr=False)
    """A secret that makes the salts of unknown users; kept as long as the process lives."""
    verify_certificate_name: bool = False
    """Whatever the method, certificates of TCP clients must be in the user's name (`verify-full`)."""
    certificate_users: Mapping[str, frozenset[str]] = Factory(dict)
    """For common names in client certificates the users they may be; a name not listed may be itself."""


@frozen
class Authenticated:
    """A client that has proved who it is."""

    user: str
    method: AuthMethod
    credentials: Credentials
    """What is known to log in to a server as this user; nothing for `trust` and `cert`."""
    reply: bytes = field(repr=False)
    """What the client must be sent first, AuthenticationOk included; left to be joined with what follows."""


async def authenticate(
    stream: FrameStream,
    identity: ClientIdentity,
    rules: AuthRules,
    secrets: SecretSource,
    settings: AuthenticationSettings,
) -> Authenticated:
    """Take the client through the authentication that the rules ask for.

    Errors are FATAL, whatever they are later. Raises `NotAuthorised` (28000) if no rule lets it in or its
    certificate is not good enough, `AuthenticationFailed` (28P01) for whatever is wrong with user or
    password, `ProtocolViolation`, `ConnectionLost` if it goes (psql does, to ask for a password first), and
    what `SecretSource.lookup` raises. The caller sets the time limit.
    """
    try:
        return await _authenticate(stream, identity, rules.method_for(identity), secrets, settings)
    except HeliosError as error:
        error.severity = "FATAL"
        raise


async def _authenticate(
    stream: FrameStream,
    identity: ClientIdentity,
    method: AuthMethod,
    secrets: SecretSource,
    settings: AuthenticationSettings,
) -> Authenticated:
    if method is AuthMethod.CERT or (settings.verify_certificate_name and identity.address is not None):
        _check_certificate(identity, settings)
    if method in (AuthMethod.TRUST, AuthMethod.CERT):
        return Authenticated(identity.user, method, Credentials(identity.user), AuthenticationOk().encode())
    login = _Login(stream, identity.user, settings.nonce, secrets.typical)
    stored = await secrets.lookup(identity.user, identity.database)
    try:
        credentials, reply = await login.run(method, stored)
    except AuthenticationFailed:
        secrets.doubt(identity.user, identity.database)
        raise
    return Authenticated(identity.user, method, credentials, reply + AuthenticationOk().encode())


def stored_credentials(user: str, stored: StoredSecret) -> Credentials:
    """What a stored secret is good for on a server; a SCRAM verifier alone is good for nothing."""
    match stored.kind:
        case PasswordType.PLAIN:
            return Credentials(user, password=stored.text)
        case PasswordType.MD5:
            return Credentials(user, md5_stored=stored.text)
        case PasswordType.SCRAM:
            return Credentials(user)


def _check_certificate(identity: ClientIdentity, settings: AuthenticationSettings) -> None:
    tls = identity.tls
    if tls is None or tls.peer_certificate is None:
        raise NotAuthorised("connection requires a valid client certificate")
    allowed = settings.certificate_users
    if not any(identity.user in allowed.get(name, frozenset({name})) for name in tls.common_names):
        raise NotAuthorised(f'certificate authentication failed for user "{identity.user}"')


@frozen
class _Login:
    """One client's exchange, by whatever method; results are credentials and what to send with success."""

    stream: FrameStream
    user: str
    nonce: bytes
    typical: PasswordType

    async def run(self, method: AuthMethod, stored: StoredSecret | None) -> tuple[Credentials, bytes]:
        """By this method; as in PostgreSQL and PgBouncer `md5` becomes SCRAM for users with a verifier."""
        if method is AuthMethod.PASSWORD:
            return await self._cleartext(stored)
        kind = self.typical if stored is None else stored.kind
        if method is AuthMethod.MD5 and kind is not PasswordType.SCRAM:
            return await self._md5(stored)
        return await self._scram(stored)

    async def _cleartext(self, stored: StoredSecret | None) -> tuple[Credentials, bytes]:
        password = await self._ask_password(AuthenticationCleartextPassword())
        compared = stored or self._nobodys_secret()
        accepted = await trio.to_thread.run_sync(
            plain_accepts, compared.text, self.user, password, abandon_on_cancel=True
        )
        if not accepted or stored is None:
            raise self._failed()
        return Credentials(self.user, password=password), b""

    async def _md5(self, stored: StoredSecret | None) -> tuple[Credentials, bytes]:
        salt = token_bytes(MD5_SALT_BYTES)
        response = await self._ask_password(AuthenticationMD5Password(salt))
        text = token_hex() if stored is None else stored.text
        digest = text if stored and stored.kind is PasswordType.MD5 else md5_stored(self.user, text)
        if not md5_accepts(digest, salt, response) or stored is None:
            raise self._failed()
        return stored_credentials(self.user, stored), b""

    async def _scram(self, stored: StoredSecret | None) -> tuple[Credentials, bytes]:
        binding = self.stream.transport.server_end_point()
        await self.stream.send(AuthenticationSASL(offered_mechanisms(binding)).encode())
        begin = SASLInitialResponse.decode(await self._read_answer("SASL response"))
        verifier = await self._verifier(stored)
        exchange = ServerExchange(begin.mechanism, verifier, user=self.user, binding=binding)
        challenge = exchange.first(begin.data)
        while not challenge:
            challenge = exchange.first(await self._continue(challenge))
        outcome = exchange.final(await self._continue(challenge))
        if stored is None:
            raise self._failed()
        known = stored_credentials(self.user, stored)
        credentials = known if known.password else Credentials(self.user, scram_keys=exchange.keys)
        return credentials, AuthenticationSASLFinal(outcome).encode()

    async def _continue(self, challenge: bytes) -> bytes:
        await self.stream.send(AuthenticationSASLContinue(challenge).encode())
        return SASLResponse.decode(await self._read_answer("SASL response")).data

    async def _verifier(self, stored: StoredSecret | None) -> Verifier:
        """What the proof is checked with; for who has no password or an md5 one, something no proof fits."""
        if stored is not None and stored.kind is PasswordType.SCRAM:
            verifier = Verifier.parse(stored.text)
            assert verifier is not None, "the kind says that it is one"
            return verifier
        plain = stored.text if stored is not None and stored.kind is PasswordType.PLAIN else None
        if plain is None and self.typical is not PasswordType.PLAIN:
            return Verifier.mock(self.user, self.nonce)
        salt = stable_salt(self.user, self.nonce)
        return await trio.to_thread.run_sync(
            Verifier.from_password, token_hex() if plain is None else plain, salt, abandon_on_cancel=True
        )

    def _nobodys_secret(self) -> StoredSecret:
        """A secret as slow to compare with as those of users that exist."""
        match self.typical:
            case PasswordType.SCRAM:
                return StoredSecret(str(Verifier.mock(self.user, self.nonce)))
            case PasswordType.MD5:
                return StoredSecret(md5_stored(self.user, token_hex()))
            case PasswordType.PLAIN:
                return StoredSecret(token_hex())

    async def _ask_password(self, request: Message) -> str:
        await self.stream.send(request.encode())
        password = PasswordMessage.decode(await self._read_answer("password response")).password
        if not password:
            raise AuthenticationFailed("empty password returned by client")
        return password

    async def _read_answer(self, expected: str) -> bytes:
        """The body of the client's next message, which must be of the password family."""
        frame = await self.stream.read_frame()
        if frame.code != Frontend.PASSWORD:
            raise ProtocolViolation(f"expected {expected}, got message type {frame.code}")
        return frame.body

    def _failed(self) -> AuthenticationFailed:
        return AuthenticationFailed(f'password authentication failed for user "{self.user}"')
