"""What can go wrong on a socket, as errors of this project.

This room is the one edge where `OSError`, `ssl.SSLError` and Trio's own errors become ours; no caller above
it catches any of those.
"""

from __future__ import annotations

from helios_trio.errors import HeliosError


class ConnectionLost(HeliosError):
    """The peer is gone, or the connection was closed under whoever was using it."""

    sqlstate = "08006"
    severity = "FATAL"
    code = "connection_lost"


class ConnectFailed(HeliosError):
    """No connection to an address could be made; the message names each address tried and why it failed."""

    sqlstate = "08001"
    severity = "FATAL"
    code = "connect_failed"
    #: every address answered that nobody listens there
    refused: bool = False


class TLSFailed(ConnectionLost):
    """The TLS handshake failed, a certificate was not accepted, or TLS was demanded and not to be had."""

    code = "tls_failed"


class ListenError(HeliosError):
    """A listening socket cannot be opened; the message names the address."""

    sqlstate = "58000"
    severity = "FATAL"
    code = "listen_failed"
