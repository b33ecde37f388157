"""Keys and verifiers of SCRAM-SHA-256, without the messages.

A verifier is what `pg_authid.rolpassword` holds; with it a password can be checked but nobody can log in.
Keys are what a client needs to log in, and a server learns the client's one from each successful exchange: so
a proxy that holds the same verifier as the server can log in there without a password. Used by `wire.scram`,
`wire.passwords` and whoever reads password files. Sources: RFC 5802, RFC 7677, PostgreSQL's scram-common.c
and auth-scram.c.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac, sha256
from hmac import compare_digest, digest
from secrets import token_bytes
from typing import Final, Self

from attrs import field, frozen

from helios_trio.wire.layout import to_bytes
from helios_trio.wire.saslprep import prepare_password

KEY_SIZE: Final = 32
SALT_SIZE: Final = 16
DEFAULT_ITERATIONS: Final = 4096
"""Rounds of PBKDF2 in a new verifier (`scram_iterations`); about 1 ms of processor time."""
MAX_ITERATIONS: Final = 10_000_000
"""More rounds than this, some seconds, are not computed whoever asks for them."""

_SCHEME: Final = "SCRAM-SHA-256"
_VERIFIER: Final = re.compile(_SCHEME + r"\$([0-9]{1,10}):([^$:]*)\$([^$:]{44}):([^$:]{44})")


@frozen
class ScramKeys:
    """What proves a client (`client_key`) and a server (`server_key`) to each other."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, password: str, salt: bytes, iterations: int) -> Self:
        """The keys of a password, after `iterations` rounds of PBKDF2 (worth a thread when many)."""
        salted = pbkdf2_hmac("sha256", prepare_password(password), salt, iterations)
        return cls(digest(salted, b"Client Key", "sha256"), digest(salted, b"Server Key", "sha256"))

    @property
    def stored_key(self) -> bytes:
        """The hash of the client key that a verifier holds."""
        return sha256(self.client_key).digest()

    def proof(self, auth_message: bytes) -> bytes:
        """The client's proof for this exchange."""
        return xor(self.client_key, digest(self.stored_key, auth_message, "sha256"))


@frozen
class Verifier:
    """What a server keeps of a password."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def from_password(
        cls, password: str, salt: bytes | None = None, iterations: int = DEFAULT_ITERATIONS
    ) -> Self:
        """The verifier of a password, by default with a random salt. As slow as `ScramKeys.derive`."""
        salt = token_bytes(SALT_SIZE) if salt is None else salt
        keys = ScramKeys.derive(password, salt, iterations)
        return cls(iterations, salt, keys.stored_key, keys.server_key)

    @classmethod
    def mock(cls, user: str, nonce: bytes, iterations: int = DEFAULT_ITERATIONS) -> Self:
        """A verifier for a user who does not exist: looks the same each time and no password fits it.

        `nonce` is a secret of this installation; without it the salt would tell that the user is unknown.
        """
        return cls(iterations, stable_salt(user, nonce), token_bytes(KEY_SIZE), token_bytes(KEY_SIZE))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The verifier written `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`; None for other text."""
        parts = _VERIFIER.fullmatch(text)
        if parts is None:
            return None
        try:
            salt, stored_key, server_key = (b64decode(part, validate=True) for part in parts.groups()[1:])
        except ValueError:
            return None
        found = cls(int(parts[1]), salt, stored_key, server_key)
        return found if found._is_sound() else None

    def __str__(self) -> str:
        """The form that `pg_authid.rolpassword` holds."""
        salt, stored, server = (
            b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"{_SCHEME}${self.iterations}:{salt}${stored}:{server}"

    def accepts(self, password: str) -> bool:
        """Whether this is the password. As slow as `ScramKeys.derive`."""
        keys = ScramKeys.derive(password, self.salt, self.iterations)
        return compare_digest(keys.server_key, self.server_key)

    def client_key(self, proof: bytes, auth_message: bytes) -> bytes | None:
        """The client key that the proof shows, or None when it shows another password."""
        found = xor(proof, digest(self.stored_key, auth_message, "sha256"))
        return found if compare_digest(sha256(found).digest(), self.stored_key) else None

    def _is_sound(self) -> bool:
        sizes = {len(self.stored_key), len(self.server_key)}
        return sizes == {KEY_SIZE} and 0 < self.iterations <= MAX_ITERATIONS


def stable_salt(user: str, nonce: bytes) -> bytes:
    """A salt that is always the same for this user and tells nothing without the nonce.

    For verifiers made from plain passwords at start, so that these cannot be told from mock ones.
    """
    return sha256(to_bytes(user) + nonce).digest()[:SALT_SIZE]


def server_signature(server_key: bytes, auth_message: bytes) -> bytes:
    """The server's proof for this exchange."""
    return digest(server_key, auth_message, "sha256")


def xor(left: bytes, right: bytes) -> bytes:
    """Bitwise exclusive or of two keys."""
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
