"""`auth_file`: users and their secrets in the format of PgBouncer's userlist.txt.

One user per line, `"name" "secret"`, a quote inside written twice; the rest of a line and lines that begin
with `;` are ignored. A secret is a password, `md5` and 32 digits, or a SCRAM-SHA-256 verifier. The file is
looked at again for every login, so that a change needs no reload. Source: PgBouncer's documentation,
"Authentication file format".
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import structlog

from helios_trio.errors import ConfigError
from helios_trio.proxy.auth_secrets import StoredSecret
from helios_trio.wire.passwords import PasswordType

_ENTRY: Final = re.compile(r'\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"(?:\s.*)?', re.DOTALL)

_log = structlog.get_logger(__name__)


def parse_userlist(text: str, name: str) -> dict[str, StoredSecret]:
    """The users in the text of a file called `name`; an empty secret is one nobody can log in with.

    Raises `ConfigError` with file and line, never with what stands there.
    """
    found: dict[str, StoredSecret] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            raise ConfigError(f'{name}, line {number}: expected "user" "password or verifier"')
        user, secret = (part.replace('""', '"') for part in entry.groups())
        if secret:
            found[user] = StoredSecret(secret)
        else:
            found.pop(user, None)
    return found


class AuthFile:
    """A `SecretSource` that follows a file."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `ConfigError` if it cannot be read or understood."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[str, StoredSecret] = {}
        self._typical = PasswordType.SCRAM
        self.reload()

    @property
    def typical(self) -> PasswordType:
        """See `SecretSource.typical`."""
        return self._typical

    async def lookup(self, user: str, database: str) -> StoredSecret | None:
        """See `SecretSource.lookup`; a new file that is no good is logged, and the last good one counts."""
        try:
            self.reload()
        except ConfigError as error:
            _log.error("auth_file_not_reloaded", reason=error.message)
        return self._users.get(user)

    def doubt(self, user: str, database: str) -> None:
        """See `SecretSource.doubt`; nothing is remembered here that the file does not say."""

    def reload(self) -> bool:
        """Read the file if it has changed; whether it had. Raises `ConfigError`; what was known stays."""
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return False
            # Noted before reading: a file that is no good is complained about once, not at every login.
            self._stamp = stamp
            text = self._path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise ConfigError(f"auth_file {self._path} cannot be read: {error.strerror}") from error
        self._users = parse_userlist(text, str(self._path))
        kinds = Counter(secret.kind for secret in self._users.values())
        self._typical = kinds.most_common(1)[0][0] if kinds else PasswordType.SCRAM
        return True
