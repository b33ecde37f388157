"""TLS of control connections: what is configured for clients' connections to a server, in libpq's words.

Used by: composition.control and cli.doctor (connect with it).
"""

from __future__ import annotations

from typing import Any

from helios_trio.config.backends import BackendSettings
from helios_trio.config.words import SslMode


def tls_parameters(backend: BackendSettings) -> dict[str, Any]:
    """Connection parameters of libpq ("Parameter Key Words"); the default mode is left to PGSSLMODE."""
    found = {
        "sslmode": None if backend.tls is SslMode.PREFER else backend.tls,
        "sslrootcert": backend.tls_ca_file,
        "sslcert": backend.tls_cert_file,
        "sslkey": backend.tls_key_file,
    }
    return {name: str(value) for name, value in found.items() if value is not None}
