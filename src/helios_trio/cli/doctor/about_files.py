"""What is to be said of files: who may read secrets and write what is trusted, and how long certificates last. Pure.

Used by: cli.doctor.machine (which reads them).
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from cryptography import x509

from helios_trio.cli.doctor.findings import Finding, ok, warning, wrong
from helios_trio.config import Config, Secret
from helios_trio.config.keys import leaves
from helios_trio.net.tls import SYSTEM_CA

#: A certificate that lasts shorter should be renewed.
_SOON: Final = timedelta(days=30)


class Kind(Enum):
    """What is in a file."""

    SECRET = "a secret"
    #: digests of API keys tell nobody anything, but whoever writes them lets himself in
    HASHES = "hashed keys"
    CERTIFICATE = "certificates"


#: Last part of a configuration key -> what is in the file that it names.
_KINDS: Final = {
    "password_file": Kind.SECRET,
    "key_file": Kind.SECRET,
    "tls_key_file": Kind.SECRET,
    "auth_file": Kind.SECRET,
    "api_keys_file": Kind.HASHES,
    "cert_file": Kind.CERTIFICATE,
    "tls_cert_file": Kind.CERTIFICATE,
    "client_ca_file": Kind.CERTIFICATE,
    "ca_file": Kind.CERTIFICATE,
    "tls_ca_file": Kind.CERTIFICATE,
}


@frozen
class NamedFile:
    """A file, and the key that names it."""

    key: str
    path: Path
    kind: Kind

    @property
    def about(self) -> str:
        """As findings name it."""
        return f"{self.key}, {self.path}"


def files_of(config: Config) -> Iterator[NamedFile]:
    """The files that a configuration names, as far as it matters who reads or writes them."""
    for key, _, value in leaves(config):
        kind = _KINDS.get(str(key[-1]))
        if kind is not None and isinstance(value, Path) and str(value) != SYSTEM_CA:
            yield NamedFile(".".join(map(str, key)), value, kind)


def secrets_in(config: Config, text: str) -> list[str]:
    """The keys whose secrets stand in the text of the configuration itself, not in the environment or in files."""
    raw = tomllib.loads(text)
    return [
        ".".join(map(str, key))
        for key, _, value in leaves(config)
        if isinstance(value, Secret) and _at(raw, key) == value.reveal()
    ]


def _at(raw: Any, key: tuple[str | int, ...]) -> Any:
    """What stands there; None for nothing."""
    for part in key:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def about_mode(file: NamedFile, mode: int) -> Finding:
    """Who may read and write a file. `mode`: as stat(2) has it."""
    shown, name = stat.filemode(mode), file.path
    if mode & stat.S_IWOTH:
        return wrong("files", file.about, f"everybody may write it ({shown})", f"chmod o-w {name}")
    if mode & stat.S_IROTH and file.kind is Kind.SECRET:
        return wrong("files", file.about, f"everybody may read it ({shown})", f"chmod o-rwx {name}")
    if mode & stat.S_IWGRP:
        return warning("files", file.about, f"its group may write it ({shown})", f"chmod g-w {name}")
    return ok("files", file.about, shown)


def about_certificates(file: NamedFile, content: bytes, now: datetime) -> Finding:
    """How long the certificates in a file last; where there are several, of the first to expire."""
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        remedy = "put certificates in PEM there"
        return wrong("certificates", file.about, f"it cannot be read as certificates: {error}", remedy)
    first = min(found, key=lambda each: each.not_valid_after_utc)
    subject, end = first.subject.rfc4514_string(), first.not_valid_after_utc
    what = f"{subject} is valid until {end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return wrong("certificates", file.about, f"{subject} has expired on {end:%Y-%m-%d}", _RENEW)
    if (begin := max(each.not_valid_before_utc for each in found)) > now:
        what = f"one is valid only from {begin:%Y-%m-%d %H:%M} UTC on"
        return wrong("certificates", file.about, what, "correct this machine's clock, or wait")
    if end - now < _SOON:
        return warning("certificates", file.about, f"{what}: {(end - now).days} days", _RENEW)
    return ok("certificates", file.about, what)


_RENEW: Final = "renew it and reload the proxy (SIGHUP), which reads it again"
