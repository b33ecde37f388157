"""Connecting to servers: addresses tried in turn, and errors that say what was tried."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from helios_trio.net.dial import ServerAddress, dial
from helios_trio.net.errors import ConnectFailed


class Resolver(trio.abc.HostnameResolver):
    """Says that a name has these addresses."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in self._addresses]

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        raise NotImplementedError


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Somebody who listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def soon() -> float:
    """A deadline that no passing test reaches."""
    return trio.current_time() + 10


async def test_all_addresses_of_a_name_are_tried(server: socket.socket, closed_port: int) -> None:
    """The second address serves when the first refuses."""
    trio.socket.set_custom_hostname_resolver(Resolver(("127.0.0.2", closed_port), server.getsockname()))
    transport = await dial(ServerAddress("db.example", 5432), deadline=soon())
    assert transport.peer.startswith("127.0.0.1:")
    transport.close()


async def test_the_reason_for_each_address_is_given(closed_port: int) -> None:
    """Nobody has to guess which address was meant."""
    trio.socket.set_custom_hostname_resolver(Resolver(("127.0.0.2", closed_port), ("127.0.0.3", closed_port)))
    with pytest.raises(ConnectFailed) as caught:
        await dial(ServerAddress("db.example", closed_port), deadline=soon())
    for address in ("127.0.0.2", "127.0.0.3"):
        assert f"{address}:{closed_port}: Connection refused" in caught.value.message


async def test_a_silent_address_leaves_time_for_the_next(autojump_clock: trio.testing.MockClock) -> None:
    """Each address has its share of the time, and the error says where it went."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        with socket.socket() as second:  # beyond the backlog connections are neither taken nor refused
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            trio.socket.set_custom_hostname_resolver(Resolver(full.getsockname(), full.getsockname()))
            begin = trio.current_time()
            with pytest.raises(ConnectFailed, match=r"timeout expired; 127\.0\.0\.1:\d+: timeout expired"):
                await dial(ServerAddress("db.example"), deadline=begin + 4)
            assert trio.current_time() - begin == pytest.approx(4)


async def test_a_name_that_does_not_exist() -> None:
    """The error is libpq's."""
    with pytest.raises(ConnectFailed, match=r'could not translate host name "no\.such\.host\.invalid"'):
        await dial(ServerAddress("no.such.host.invalid"), deadline=soon())


async def test_unix_sockets_are_named_by_folder_and_port(tmp_path: Path) -> None:
    """As libpq's host and port do."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5433"))
        server.listen()
        transport = await dial(ServerAddress(str(tmp_path), 5433), deadline=soon())
        assert transport.is_unix
        transport.close()
    with pytest.raises(ConnectFailed, match=r"\.s\.PGSQL\.5434: No such file or directory"):
        await dial(ServerAddress(str(tmp_path), 5434), deadline=soon())


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (ServerAddress("db", 5433), "db:5433"),
        (ServerAddress("::1"), "[::1]:5432"),
        (ServerAddress("/run/postgresql"), "/run/postgresql/.s.PGSQL.5432"),
    ],
)
def test_addresses_are_printed(address: ServerAddress, text: str) -> None:
    """As people write them."""
    assert str(address) == text


async def test_whether_nobody_listens_is_told(tmp_path: Path) -> None:
    """A refusal is an answer of the kernel there; a timeout is none."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    for host in ("127.0.0.1", str(tmp_path)):
        with pytest.raises(ConnectFailed) as caught:
            await dial(ServerAddress(host, port), deadline=trio.current_time() + 10)
        assert caught.value.refused
    with pytest.raises(ConnectFailed) as caught:
        await dial(ServerAddress("127.0.0.1", port), deadline=trio.current_time() - 1)
    assert not caught.value.refused
