"""API keys: who may use the admin listener, as what. Kept hashed; a key itself is known only to whoever has it.

Keys are made by us from 256 random bits, so that a plain SHA-256 of them tells nobody anything: there is nothing to
guess, and nothing that a slow hash would protect. A line of the file is `name role sha256:HEX`, or that and
`database_user=NAME`; `#` begins a comment.

Used by: admin.access, composition (reads the file), cli (`helios admin create-key`).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

from attrs import define, frozen

from helios_trio.errors import ConfigError

#: Keys begin so, that scanners for leaked secrets find them.
PREFIX: Final = "helios_"
#: The name of the key that is made at the start where no file has any.
LOCAL: Final = "local"

_RANDOM_BYTES: Final = 32
_USER: Final = re.compile(r"[^\s#]{0,63}")
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_LINE: Final = re.compile(
    r"(?P<name>\S+)\s+(?P<role>\S+)\s+sha256:(?P<digest>[0-9a-f]{64})(?:\s+database_user=(?P<user>\S{1,63}))?"
)


class Role(StrEnum):
    """What a key allows."""

    #: to look
    VIEWER = "viewer"
    #: to look and to change
    OPERATOR = "operator"

    def allows(self, needed: Role) -> bool:
        """Whether this role is enough where `needed` is asked for."""
        return self is Role.OPERATOR or needed is Role.VIEWER


@frozen
class ApiKey:
    """A key as it is kept."""

    name: str
    role: Role
    digest: bytes
    #: who runs the statements that are sent with it; empty: it cannot be used for any
    database_user: str = ""

    @property
    def line(self) -> str:
        """Its line in the file."""
        user = f" database_user={self.database_user}" if self.database_user else ""
        return f"{self.name} {self.role} sha256:{self.digest.hex()}{user}"


@define
class KeyRing:
    """All keys that are accepted; `keys` is replaced at a reload."""

    keys: tuple[ApiKey, ...] = ()

    def find(self, presented: str) -> ApiKey | None:
        """The key that was presented; takes as long whatever was presented."""
        digest, found = digest_of(presented), None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def make_key(name: str, role: Role, database_user: str = "") -> tuple[str, ApiKey]:
    """A new key, and how it is kept. Raises ValueError for names that cannot stand in the file."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("expected a name of at most 64 letters, digits and . _ @ -")
    if _USER.fullmatch(database_user) is None:
        raise ValueError("expected a database user of at most 63 characters without blanks and #")
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, ApiKey(name, role, digest_of(key), database_user)


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a file. Raises ConfigError with every line that is wrong, but not with what is in it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"admin.api_keys_file: {path}: expected a readable file of text") from error
    keys, faults = _parse(lines)
    if len({key.name for key in keys}) < len(keys):
        faults.append("expected each name once")
    if not keys and not faults:
        faults.append("expected at least one key; `helios admin create-key` makes one")
    if faults:
        raise ConfigError("\n".join(f"admin.api_keys_file: {path}: {fault}" for fault in faults))
    return tuple(keys)


def _parse(lines: Iterable[str]) -> tuple[list[ApiKey], list[str]]:
    """The keys, and what is wrong with lines that have none."""
    keys, faults = [], []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        found = _LINE.fullmatch(text)
        if found is None or found["role"] not in list(Role) or _NAME.fullmatch(found["name"]) is None:
            faults.append(f'line {number}: expected "name viewer|operator sha256:... [database_user=...]"')
        else:
            digest = bytes.fromhex(found["digest"])
            keys.append(ApiKey(found["name"], Role(found["role"]), digest, found["user"] or ""))
    return keys, faults
