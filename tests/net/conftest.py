"""Pairs of connected transports, plain and TLS."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from certificates import Authority

from helios_trio.config.words import ClientTls, SslMode
from helios_trio.errors import HeliosError
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.net.tls_transport import TLSTransport, start_tls_client, start_tls_server
from helios_trio.net.transport import PlainTransport, Transport

PlainPair = tuple[PlainTransport, PlainTransport]
TLSPair = tuple[TLSTransport, TLSTransport]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates of a test."""
    return Authority(tmp_path)


@pytest.fixture
def plain_pair() -> Iterator[PlainPair]:
    """Two ends of a connection with small buffers."""
    left, right = connected()
    yield left, right
    left.close()
    right.close()


@pytest.fixture
async def tls_pair(authority: Authority) -> AsyncIterator[TLSPair]:
    """The client's and the server's end of a TLS connection in which both have shown certificates."""
    client, server = authority.issue("alice"), authority.issue("server", "db.example")
    ca = authority.ca_file
    towards_server = ServerTLS(
        SslMode.VERIFY_FULL, ca_file=ca, cert_file=client.cert_file, key_file=client.key_file
    )
    towards_client = ClientTLS(
        ClientTls.VERIFY_CA, cert_file=server.cert_file, key_file=server.key_file, client_ca_file=ca
    )
    ends = await tls_connected(towards_server, towards_client, "db.example")
    yield ends
    for end in ends:
        end.close()


@pytest.fixture(params=["plain", "tls"])
def pair(
    request: pytest.FixtureRequest, plain_pair: PlainPair, tls_pair: TLSPair
) -> tuple[Transport, Transport]:
    """Connected ends of either kind (both are made: async fixtures cannot be asked for later)."""
    return plain_pair if request.param == "plain" else tls_pair


@pytest.fixture
def make_tls_pair():
    """`tls_connected`, for tests that choose the contexts."""
    return tls_connected


def connected() -> PlainPair:
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return PlainTransport(ends[0], "left"), PlainTransport(ends[1], "right")


async def tls_connected(client: ServerTLS, server: ClientTLS, hostname: str | None) -> TLSPair:
    """Ends of a connection after the handshake; if that fails both are closed and its error is raised."""
    left, right = connected()
    context, side = client.context, server.current
    assert context is not None
    assert side is not None
    ends: dict[str, TLSTransport] = {}
    errors: list[HeliosError] = []

    async def shake(name: str, start: Callable[[], Awaitable[TLSTransport]]) -> None:
        try:
            ends[name] = await start()
        except HeliosError as error:
            errors.append(error)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, "server", partial(start_tls_server, right, side))
            nursery.start_soon(shake, "client", partial(start_tls_client, left, context, hostname))
    if errors:
        for end in ends.values():
            end.close()
        raise errors[0]
    return ends["client"], ends["server"]
