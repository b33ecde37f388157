"""Control connections use the TLS that is configured for a server; without it, libpq's own defaults hold."""

from __future__ import annotations

from pathlib import Path

from helios_trio.config.backends import BackendSettings
from helios_trio.config.words import SslMode
from helios_trio.control.tls import tls_parameters


def test_all_of_it() -> None:
    """As libpq calls it."""
    backend = BackendSettings(
        name="a",
        host="db.example",
        tls=SslMode.VERIFY_FULL,
        tls_ca_file=Path("root.crt"),
        tls_cert_file=Path("client.crt"),
        tls_key_file=Path("client.key"),
    )
    assert tls_parameters(backend) == {
        "sslmode": "verify-full",
        "sslrootcert": "root.crt",
        "sslcert": "client.crt",
        "sslkey": "client.key",
    }


def test_nothing_of_it() -> None:
    """PGSSLMODE may say something else."""
    assert tls_parameters(BackendSettings(name="a", host="db.example")) == {}
