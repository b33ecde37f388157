"""Transports, plain and TLS: the two faces of a connection behave alike."""

from __future__ import annotations

import hashlib
import socket
import struct
from pathlib import Path

import pytest
import trio
import trio.testing
from certificates import Authority
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA384

from helios_trio.net.certificates import server_end_point
from helios_trio.net.errors import ConnectionLost, TLSFailed
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.net.tls_transport import start_tls_client, start_tls_server
from helios_trio.net.transport import Keepalive, PlainTransport

BIG = bytes(range(256)) * 8192
"""Two mebibytes: more than any socket buffer here takes at once."""
