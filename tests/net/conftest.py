"""Pairs of connected transports, plain and TLS."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from certificates import Authority

from helios_trio.config.words import ClientTls, SslMode
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.net.tls_transport import TLSTransport, start_tls_client, start_tls_server
from helios_trio.net.transport import PlainTransport, Transport


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def plain_pair() -> Iterator[tuple[PlainTransport, PlainTransport]]:
    """Two ends of a socket pair with small buffers."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    left, right = PlainTransport(ends[0], "left"), PlainTransport(ends[1], "right")
    yield left, right
    left.close()
    right.close()


@pytest.fixture
async def tls_pair(
    plain_pair: tuple[PlainTransport, PlainTransport], authority: Authority
) -> AsyncIterator[tuple[TLSTransport, TLSTransport]]:
    """The client's and the server's end of a TLS connection in which both have shown certificates."""
    client_key, server_key = authority.issue("alice"), authority.issue("server", "db.example")
    towards_server = ServerTLS(
        SslMode.VERIFY_CA,
        ca_file=authority.ca_file,
        cert_file=client_key.cert_file,
        key_file=client_key.key_file,
    )
    towards_client = ClientTLS(
        ClientTls.VERIFY_CA,
        cert_file=server_key.cert_file,
        key_file=server_key.key_file,
        client_ca_file=authority.ca_file,
    )
    assert towards_server.context is not None
    assert towards_client.current is not None
    found: list[TLSTransport] = []

    async def be_server(plain: PlainTransport) -> None:
        assert towards_client.current is not None
        found.append(await start_tls_server(plain, towards_client.current))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_server, plain_pair[1])
            client = await start_tls_client(plain_pair[0], towards_server.context, "db.example")
    yield client, found[0]
    client.close()
    found[0].close()


@pytest.fixture(params=["plain", "tls"])
def pair(request: pytest.FixtureRequest, plain_pair, tls_pair) -> tuple[Transport, Transport]:
    """Either kind. (Both are made, as pytest-trio resolves fixtures before a test can choose.)"""
    return plain_pair if request.param == "plain" else tls_pair
