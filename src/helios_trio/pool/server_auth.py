"""Our side of the authentication a server asks for: what to answer to each Authentication message.

Knows no socket; `pool.connect` carries the messages. Credentials are what the configuration gives or what a
client's own login has shown: with the keys of a SCRAM exchange, or the digest of md5, the server can be
logged in to as that client without its password. Source: PostgreSQL docs, "Start-up" in "Message Flow".
"""

from __future__ import annotations

import trio
from attrs import field, frozen

from helios_trio.errors import BackendUnavailable, ProtocolViolation
from helios_trio.net.tls import ChannelBinding
from helios_trio.wire.backend_messages import (
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    decode_backend,
)
from helios_trio.wire.codes import Backend
from helios_trio.wire.frontend_messages import PasswordMessage, SASLInitialResponse, SASLResponse
from helios_trio.wire.layout import Message
from helios_trio.wire.passwords import md5_response, md5_stored
from helios_trio.wire.scram import SCRAM_SHA_256_PLUS, ClientExchange, ServerNotProven, choose_mechanism
from helios_trio.wire.scram_keys import ScramKeys


class ServerLoginFailed(BackendUnavailable):
    """What we know about the user does not do for what the server asks; trying again would not help."""

    code = "server_login_failed"


@frozen
class Credentials:
    """A user, and whatever is known to prove it; the password counts first, as it serves every method."""

    user: str
    password: str | None = field(default=None, repr=False)
    scram_keys: ScramKeys | None = field(default=None, repr=False)
    md5_stored: str | None = field(default=None, repr=False)
    """`md5` and 32 digits, as `wire.passwords.md5_stored` makes it."""


class ServerAuthentication:
    """One authentication exchange."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        binding: bytes | None,
        channel_binding: ChannelBinding = ChannelBinding.PREFER,
    ) -> None:
        """`binding` is the connection's channel binding data, None without TLS."""
        self._credentials = credentials
        self._binding = None if channel_binding is ChannelBinding.DISABLE else binding
        self._require_binding = channel_binding is ChannelBinding.REQUIRE
        self._exchange: ClientExchange | None = None
        self._proven = False
        self._bound = False
        self.finished = False

    async def answer(self, body: bytes) -> Message | None:
        """What to answer to the Authentication message with this body; None for nothing.

        Raises `ServerLoginFailed`, and `ServerNotProven` or `ProtocolViolation` for a server not to be
        trusted.
        """
        match decode_backend(Backend.AUTHENTICATION, body):
            case AuthenticationOk():
                self._finish()
                return None
            case AuthenticationCleartextPassword():
                return PasswordMessage(self._password("a cleartext password"))
            case AuthenticationMD5Password(salt=salt):
                return PasswordMessage(md5_response(self._md5_stored(), salt))
            case AuthenticationSASL(mechanisms=mechanisms):
                return self._begin(mechanisms)
            case AuthenticationSASLContinue(data=data):
                return SASLResponse(await self._prove(data))
            case AuthenticationSASLFinal(data=data):
                self._running().verify(data)
                self._proven = True
                return None
            case other:
                name = type(other).__name__.removeprefix("Authentication")
                raise ServerLoginFailed(
                    f"the server asks for authentication by {name}, which is not supported"
                )

    def _finish(self) -> None:
        """AuthenticationOk counts only from a server that has kept to what it began."""
        if self._exchange is not None and not self._proven:
            raise ServerNotProven("the server ended the SCRAM exchange without proving itself")
        if self._require_binding and not self._bound:
            raise ServerNotProven(
                "channel binding required, but server authenticated client without channel binding"
            )
        self.finished = True

    def _password(self, wanted: str) -> str:
        if self._require_binding:
            raise ServerNotProven(
                "channel binding required but not supported by server's authentication request"
            )
        if self._credentials.password is None:
            raise self._lacking(wanted)
        return self._credentials.password

    def _md5_stored(self) -> str:
        if self._credentials.password is None and self._credentials.md5_stored and not self._require_binding:
            return self._credentials.md5_stored
        return md5_stored(self._credentials.user, self._password("an md5 password"))

    def _begin(self, mechanisms: tuple[str, ...]) -> SASLInitialResponse:
        if self._exchange is not None:
            raise ProtocolViolation("duplicate SASL authentication request")
        credentials = self._credentials
        proof = credentials.scram_keys if credentials.password is None else credentials.password
        if proof is None:
            raise self._lacking("a SCRAM-SHA-256 password")
        mechanism = choose_mechanism(mechanisms, self._binding, require_binding=self._require_binding)
        self._bound = mechanism == SCRAM_SHA_256_PLUS
        self._exchange = ClientExchange(mechanism, proof, binding=self._binding)
        return SASLInitialResponse(mechanism, self._exchange.first())

    async def _prove(self, challenge: bytes) -> bytes:
        """The proof; from a password it takes as many rounds of PBKDF2 as the server says, hence a thread."""
        exchange = self._running()
        if self._credentials.password is None:
            return exchange.final(challenge)
        return await trio.to_thread.run_sync(exchange.final, challenge, abandon_on_cancel=True)

    def _running(self) -> ClientExchange:
        if self._exchange is None:
            raise ProtocolViolation("invalid SASL authentication request")
        return self._exchange

    def _lacking(self, wanted: str) -> ServerLoginFailed:
        return ServerLoginFailed(
            f'the server asks for {wanted} of user "{self._credentials.user}", and what is known does not do',
            hint="Give the backend a password, or let clients log in with secrets that can be passed on.",
        )
