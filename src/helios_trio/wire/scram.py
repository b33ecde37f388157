"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as exchanges of bytes, for both roles.

`ServerExchange` stands towards clients, `ClientExchange` towards servers; each call takes one message and
returns the next. Channel binding is of the type `tls-server-end-point`: its data, a hash of the server's
certificate, comes from whoever knows the TLS connection, and None means there is no TLS. Called by the
authentication of both sides. Sources: RFC 5802, RFC 7677, RFC 5929; errors are those of PostgreSQL's
auth-scram.c and fe-auth-scram.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from hmac import compare_digest
from secrets import token_bytes
from typing import Final

from helios_trio.errors import (
    AuthenticationFailed,
    FeatureNotSupported,
    HeliosError,
    NotAuthorised,
    ProtocolViolation,
)
from helios_trio.wire.scram_attributes import (
    Attributes,
    decode_base64,
    encode_base64,
    is_printable,
    malformed,
    shown,
    shown_text,
)
from helios_trio.wire.scram_keys import KEY_SIZE, MAX_ITERATIONS, ScramKeys, Verifier, server_signature

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS: Final = "SCRAM-SHA-256-PLUS"
BINDING_TYPE: Final = b"tls-server-end-point"
NONCE_BYTES: Final = 18

_PLUS_HEADER: Final = b"p=" + BINDING_TYPE + b",,"


class ServerNotProven(HeliosError):
    """The server did not show that it knows the password's verifier, or broke the exchange."""

    sqlstate = "08006"
    severity = "FATAL"
    code = "server_not_proven"


def offered_mechanisms(binding: bytes | None) -> tuple[str, ...]:
    """What to offer a client: with binding data also the mechanism that uses it, which comes first."""
    return (SCRAM_SHA_256,) if binding is None else (SCRAM_SHA_256_PLUS, SCRAM_SHA_256)


def choose_mechanism(offered: Sequence[str], binding: bytes | None, *, require_binding: bool = False) -> str:
    """The mechanism to answer a server's offer with. Raises `ServerNotProven` when none will do."""
    if SCRAM_SHA_256_PLUS in offered:
        if binding is not None:
            return SCRAM_SHA_256_PLUS
        if SCRAM_SHA_256 not in offered:
            raise ServerNotProven(
                "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"
            )
    if require_binding:
        raise ServerNotProven(
            "channel binding is required, but server did not offer an authentication method that supports "
            "channel binding"
        )
    if SCRAM_SHA_256 not in offered:
        raise ServerNotProven("none of the server's SASL authentication mechanisms are supported")
    return SCRAM_SHA_256


def make_nonce() -> bytes:
    """One side's part of the nonce."""
    return encode_base64(token_bytes(NONCE_BYTES))


class ServerExchange:
    """The server's side: `first`, then `final`, then `client_key` and `keys` may be read.

    For an unknown user the verifier is `Verifier.mock`: the messages, the time and the error are the same.
    Errors are `ProtocolViolation` for what no client should send, `NotAuthorised` for channel binding gone
    wrong, and `AuthenticationFailed` for a wrong password.
    """

    def __init__(
        self, mechanism: str, verifier: Verifier, *, user: str, binding: bytes | None, nonce: bytes = b""
    ) -> None:
        if mechanism not in offered_mechanisms(binding):
            raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
        self._bound = mechanism == SCRAM_SHA_256_PLUS
        self._verifier = verifier
        self._user = user
        self._binding = binding
        self._nonce = nonce or make_nonce()
        self._flag = b""
        self._first_bare = b""
        self._server_first = b""
        self._client_key: bytes | None = None

    @property
    def keys(self) -> ScramKeys:
        """After success: with these the same user can log in wherever the verifier is the same."""
        if self._client_key is None:
            raise RuntimeError("the exchange has not succeeded")
        return ScramKeys(self._client_key, self._verifier.server_key)

    def first(self, data: bytes | None) -> bytes:
        """The challenge for the client's first message; for None an empty one, then call again."""
        if data is None:
            return b""
        attributes = _attributes(data)
        self._read_binding_header(attributes)
        self._first_bare = attributes.rest()
        if attributes.peek() == b"m":
            raise _unsupported("client requires an unsupported SCRAM extension")
        attributes.take(b"n")
        nonce = attributes.take(b"r")
        if not is_printable(nonce):
            raise ProtocolViolation("non-printable characters in SCRAM nonce")
        attributes.skip_all()
        self._nonce = nonce + self._nonce
        salt = encode_base64(self._verifier.salt)
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, salt, self._verifier.iterations)
        return self._server_first

    def final(self, data: bytes) -> bytes:
        """The last message, for the client's proof."""
        attributes = _attributes(data)
        self._check_binding(attributes.take(b"c"))
        nonce = attributes.take(b"r")
        without_proof, proof = _take_proof(attributes)
        if not compare_digest(nonce, self._nonce):
            raise ProtocolViolation("invalid SCRAM response", detail="Nonce does not match.")
        auth_message = b",".join((self._first_bare, self._server_first, without_proof))
        self._client_key = self._verifier.client_key(proof, auth_message)
        if self._client_key is None:
            raise AuthenticationFailed(f'password authentication failed for user "{self._user}"')
        return b"v=" + encode_base64(server_signature(self._verifier.server_key, auth_message))

    def _read_binding_header(self, attributes: Attributes) -> None:
        """The GS2 header: whether the client binds to the channel, could do so, or cannot."""
        self._flag = attributes.peek()
        if self._flag == b"p":
            self._read_binding_type(attributes)
        elif self._flag in (b"n", b"y"):
            self._check_unbound()
            attributes.at += 1
            attributes.skip_comma()
        else:
            raise malformed(f'Unexpected channel-binding flag "{shown(self._flag)}".')
        if attributes.peek() == b"a":
            raise _unsupported("client uses authorization identity, but it is not supported")
        if attributes.peek() != b",":
            found = shown(attributes.peek())
            raise malformed(f'Unexpected attribute "{found}" in client-first-message.')
        attributes.at += 1

    def _read_binding_type(self, attributes: Attributes) -> None:
        if not self._bound:
            raise malformed(
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes "
                "channel binding data."
            )
        found = attributes.take(b"p")
        if found != BINDING_TYPE:
            raise ProtocolViolation(f'unsupported SCRAM channel-binding type "{shown_text(found)}"')

    def _check_unbound(self) -> None:
        if self._bound:
            raise malformed(
                "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel "
                "binding data."
            )
        # A client that can bind and was offered it would have: somebody took the offer away.
        if self._flag == b"y" and self._binding is not None:
            raise NotAuthorised(
                "SCRAM channel binding negotiation error",
                detail="The client supports SCRAM channel binding but thinks the server does not.  "
                "However, this server does support channel binding.",
            )

    def _check_binding(self, found: bytes) -> None:
        if self._bound:
            if not compare_digest(found, encode_base64(_PLUS_HEADER + (self._binding or b""))):
                raise NotAuthorised("SCRAM channel binding check failed")
        elif found != encode_base64(self._flag + b",,"):
            raise ProtocolViolation("unexpected SCRAM channel-binding attribute in client-final-message")


class ClientExchange:
    """The client's side: `first`, `final`, `verify`; only after `verify` is the server who it should be.

    `credentials` are a password or the keys that a `ServerExchange` found. `binding` is given when TLS is
    used and binding is wanted, even where the server does not offer it: so it can tell that its offer was
    taken away. Errors are `ServerNotProven`, and `ProtocolViolation` for malformed messages.
    """

    def __init__(
        self, mechanism: str, credentials: str | ScramKeys, *, binding: bytes | None, nonce: bytes = b""
    ) -> None:
        self._header = _client_header(mechanism, binding)
        self._binding = binding if mechanism == SCRAM_SHA_256_PLUS else None
        self._credentials = credentials
        self._nonce = nonce or make_nonce()
        self._signature = b""

    @property
    def _first_bare(self) -> bytes:
        # The user name of the start-up packet counts; PostgreSQL's own clients leave this one empty.
        return b"n=,r=" + self._nonce

    def first(self) -> bytes:
        """The data of SASLInitialResponse."""
        return self._header + self._first_bare

    def final(self, challenge: bytes) -> bytes:
        """The proof, for the server's challenge. With a password this takes its rounds of PBKDF2."""
        attributes = _attributes(challenge)
        nonce = attributes.take(b"r")
        if not nonce.startswith(self._nonce):
            raise ServerNotProven("invalid SCRAM response (nonce mismatch)")
        salt = decode_base64(attributes.take(b"s"))
        if salt is None:
            raise ProtocolViolation("malformed SCRAM message (invalid salt)")
        iterations = _parse_iterations(attributes.take(b"i"))
        attributes.skip_all()
        keys = self._keys(salt, iterations)
        bound = encode_base64(self._header + (self._binding or b""))
        without_proof = b"c=%b,r=%b" % (bound, nonce)
        auth_message = b",".join((self._first_bare, challenge, without_proof))
        self._signature = server_signature(keys.server_key, auth_message)
        return b"%b,p=%b" % (without_proof, encode_base64(keys.proof(auth_message)))

    def verify(self, outcome: bytes) -> None:
        """Check the server's last message, the data of AuthenticationSASLFinal."""
        attributes = _attributes(outcome)
        if attributes.peek() == b"e":
            reason = shown_text(attributes.take(b"e"))
            raise ServerNotProven(f"error received from server in SCRAM exchange: {reason}")
        found = decode_base64(attributes.take(b"v"))
        if found is None:
            raise ProtocolViolation("malformed SCRAM message (invalid server signature)")
        if not self._signature or not compare_digest(found, self._signature):
            raise ServerNotProven("incorrect server signature")

    def _keys(self, salt: bytes, iterations: int) -> ScramKeys:
        if isinstance(self._credentials, ScramKeys):
            return self._credentials
        return ScramKeys.derive(self._credentials, salt, iterations)


def _client_header(mechanism: str, binding: bytes | None) -> bytes:
    if mechanism == SCRAM_SHA_256_PLUS:
        return _PLUS_HEADER
    return b"n,," if binding is None else b"y,,"


def _attributes(data: bytes) -> Attributes:
    if not data:
        raise malformed("The message is empty.")
    if 0 in data:
        raise malformed("Message length does not match input length.")
    return Attributes(data)


def _take_proof(attributes: Attributes) -> tuple[bytes, bytes]:
    """The message before the proof, and the proof, which must be the last attribute."""
    name = b""
    while name != b"p":
        end = attributes.at - 1
        name, value = attributes.take_any()
    proof = decode_base64(value)
    if proof is None or len(proof) != KEY_SIZE:
        raise malformed("Malformed proof in client-final-message.")
    if attributes.peek():
        raise malformed("Garbage found at the end of client-final-message.")
    return attributes.text[:end], proof


def _parse_iterations(text: bytes) -> int:
    if not (text.isdigit() and len(text) <= len(str(MAX_ITERATIONS)) and 0 < int(text) <= MAX_ITERATIONS):
        raise ProtocolViolation("malformed SCRAM message (invalid iteration count)")
    return int(text)


def _unsupported(message: str) -> FeatureNotSupported:
    return FeatureNotSupported(message, severity="FATAL")
