"""Passwords other than in a SCRAM exchange: md5 digests, and what kind of thing a stored password is.

Called by the authentication of both sides and by whoever reads password files. Source: PostgreSQL's crypt.c
and the docs, "Start-up" (AuthenticationMD5Password).
"""

from __future__ import annotations

import re
from enum import Enum
from hashlib import md5
from hmac import compare_digest
from typing import Final

from helios_trio.wire.layout import to_bytes
from helios_trio.wire.scram_keys import Verifier

_MD5_STORED: Final = re.compile(r"md5[0-9a-f]{32}")


class PasswordType(Enum):
    """What a stored password is (`get_password_type` in crypt.c)."""

    PLAIN = "plain"
    MD5 = "md5"
    SCRAM = "scram-sha-256"


def password_type(stored: str) -> PasswordType:
    """The type of a stored password; what is no digest and no verifier is the password itself."""
    if _MD5_STORED.fullmatch(stored):
        return PasswordType.MD5
    return PasswordType.PLAIN if Verifier.parse(stored) is None else PasswordType.SCRAM


def md5_stored(user: str, password: str) -> str:
    """The digest that `pg_authid` holds: `md5` and 32 hex digits."""
    return _md5(to_bytes(password) + to_bytes(user))


def md5_response(stored: str, salt: bytes) -> str:
    """What a client answers to AuthenticationMD5Password; `stored` is the result of `md5_stored`."""
    return _md5(stored[3:].encode() + salt)


def md5_accepts(stored: str, salt: bytes, response: str) -> bool:
    """Whether a client's answer fits the stored digest."""
    return compare_digest(md5_response(stored, salt).encode(), to_bytes(response))


def plain_accepts(stored: str, user: str, password: str) -> bool:
    """Whether a password sent in clear is the stored one, of whatever type (`plain_crypt_verify`)."""
    if _MD5_STORED.fullmatch(stored):
        return compare_digest(stored, md5_stored(user, password))
    verifier = Verifier.parse(stored)
    if verifier is not None:
        return verifier.accepts(password)
    return compare_digest(to_bytes(stored), to_bytes(password))


def _md5(data: bytes) -> str:
    return "md5" + md5(data, usedforsecurity=False).hexdigest()
