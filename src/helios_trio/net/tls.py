"""TLS contexts: towards clients from files that may change, towards servers from libpq's sslmode words.

Contexts are made when the configuration is read or the files change, never per connection. What a connection
must have (TLS at all? a certificate in the user's name?) are properties here and decisions of the callers.
"""

from __future__ import annotations

import ssl
from enum import Enum
from pathlib import Path
from typing import Final

from attrs import frozen

from helios_trio.config.words import ClientTls, SslMode
from helios_trio.errors import ConfigError
from helios_trio.net.certificates import server_end_point

ALPN: Final = "postgresql"
"""The protocol's name in ALPN (PostgreSQL docs, "SSL Session Encryption")."""
SYSTEM_CA: Final = "system"
"""As a CA file: the certificate authorities the operating system trusts (libpq's sslrootcert=system)."""


class ChannelBinding(Enum):
    """libpq's words for SCRAM channel binding."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"


@frozen
class ServerSideTLS:
    """What the server's end of a handshake needs: a context, and channel binding data of its certificate."""

    context: ssl.SSLContext
    end_point: bytes | None


class ClientTLS:
    """TLS towards clients, from files that may be replaced while running.

    Connections already made keep what they have; `current` serves the next one.
    """

    def __init__(
        self,
        mode: ClientTls,
        *,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        client_ca_file: Path | None = None,
    ) -> None:
        """Read the files. Raises `ConfigError`. Without `key_file` the key is looked for in `cert_file`."""
        self.mode = mode
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._seen: tuple[_Stamp, ...] = ()
        self._current: ServerSideTLS | None = None
        self.reload()

    @property
    def current(self) -> ServerSideTLS | None:
        """What a new connection is served with; None if TLS is off."""
        return self._current

    @property
    def required(self) -> bool:
        """Whether a client without TLS is refused."""
        return self.mode not in (ClientTls.DISABLE, ClientTls.ALLOW)

    @property
    def verifies_name(self) -> bool:
        """Whether the name in the client's certificate must be that of the user, whatever the method."""
        return self.mode is ClientTls.VERIFY_FULL

    def reload(self) -> bool:
        """Read the files again if they have changed; whether they had.

        Raises `ConfigError` if they cannot be used; `current` is then what it was.
        """
        if self.mode is ClientTls.DISABLE:
            return False
        stamps = tuple(_stamp(path) for path in (self._cert_file, self._key_file, self._client_ca_file))
        if stamps == self._seen:
            return False
        self._current = self._load()
        self._seen = stamps
        return True

    def _load(self) -> ServerSideTLS:
        if self._cert_file is None:
            raise ConfigError(f"TLS towards clients (mode {self.mode.value}) needs a cert_file")
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0
        _load_certificate(context, self._cert_file, self._key_file)
        if self._client_ca_file is not None:
            _load_authorities(context, str(self._client_ca_file))
            context.verify_mode = ssl.CERT_OPTIONAL
        if self.mode in (ClientTls.VERIFY_CA, ClientTls.VERIFY_FULL):
            if self._client_ca_file is None:
                raise ConfigError(f"TLS towards clients (mode {self.mode.value}) needs a client_ca_file")
            context.verify_mode = ssl.CERT_REQUIRED
        return ServerSideTLS(context, _own_end_point(self._cert_file))


class ServerTLS:
    """TLS towards one server: an sslmode, and the context that goes with it."""

    def __init__(
        self,
        mode: SslMode = SslMode.PREFER,
        *,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        channel_binding: ChannelBinding = ChannelBinding.PREFER,
    ) -> None:
        """Read the files. Raises `ConfigError`.

        As in libpq a `ca_file` makes `require` verify the chain, and the path "system" (which goes with
        `verify-full` only) stands for the operating system's authorities.
        """
        self.mode = mode
        self.channel_binding = channel_binding
        self.context: ssl.SSLContext | None = None
        if mode is not SslMode.DISABLE:
            self.context = _server_context(mode, ca_file)
            if cert_file is not None:
                _load_certificate(self.context, cert_file, key_file)


def _server_context(mode: SslMode, ca_file: Path | None) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if mode in (SslMode.DISABLE, SslMode.ALLOW, SslMode.PREFER):
        return context
    if ca_file is None:
        if mode is not SslMode.REQUIRE:
            raise ConfigError(f"TLS towards servers (mode {mode.value}) needs a CA file")
        return context
    if str(ca_file) == SYSTEM_CA:
        if mode is not SslMode.VERIFY_FULL:
            raise ConfigError(f"weak sslmode {mode.value} may not be used with the CA file {SYSTEM_CA}")
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, str(ca_file))
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = mode is SslMode.VERIFY_FULL
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        where = f"{cert_file}" if key_file is None else f"{cert_file} with key {key_file}"
        raise ConfigError(f"certificate {where} cannot be used: {error}") from error


def _load_authorities(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"CA file {ca_file} cannot be used: {error}") from error


def _no_passphrase() -> str:
    """Without this OpenSSL would stop the process to ask on the terminal."""
    raise ValueError("the key is protected by a passphrase, which is not supported")


def _own_end_point(cert_file: Path) -> bytes | None:
    first, _, _ = cert_file.read_text(encoding="ascii", errors="replace").partition(ssl.PEM_FOOTER)
    header = first.find(ssl.PEM_HEADER)
    return server_end_point(ssl.PEM_cert_to_DER_cert(f"{first[header:]}{ssl.PEM_FOOTER}\n"))


_Stamp = tuple[int, int, int] | None


def _stamp(path: Path | None) -> _Stamp:
    """What changes when a file is replaced or rewritten; None for a file that is not there."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
