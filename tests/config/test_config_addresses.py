"""Addresses to listen on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config import TcpAddress, UnixAddress, parse_address, parse_addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6432", TcpAddress("127.0.0.1", 6432)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:6432", TcpAddress("::1", 6432)),
        ("*:6432", TcpAddress("*", 6432)),
        (":6432", TcpAddress("*", 6432)),
        ("unix:/run/helios", UnixAddress("/run/helios", 6432)),
        ("unix:/run/helios/.s.PGSQL.5433", UnixAddress("/run/helios", 5433)),
    ],
)
def test_addresses_are_read(text: str, address: TcpAddress | UnixAddress) -> None:
    """Each way to write one, and back."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "6432", "host", "host:", "host:65536", "::1:6432", "unix:", "unix:run", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """IPv6 without brackets in particular, as its last group could be the port."""
    with pytest.raises(ValueError, match="not a"):
        parse_address(text)


def test_the_unix_socket_takes_the_port_of_the_tcp_address() -> None:
    """So that `psql -p` has the same port for both; a port of its own is kept."""
    found = parse_addresses(["unix:/a", "127.0.0.1:7000", "unix:/b/.s.PGSQL.8000"])
    assert [each.port for each in found] == [7000, 7000, 8000]
    assert isinstance(found[0], UnixAddress)
    assert found[0].path == "/a/.s.PGSQL.7000"


def test_a_free_tcp_port_is_not_shared() -> None:
    """Port 0 is not known beforehand, so that the socket keeps the default port."""
    assert [each.port for each in parse_addresses(["127.0.0.1:0", "unix:/a"])] == [0, 6432]


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.1.2.3:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        ("*:1", False),
        ("0.0.0.0:1", False),
        ("127.example.org:1", False),
    ],
)
def test_loopback_is_known(text: str, loopback: bool) -> None:
    """Trust is the default only where no other machine can connect: a name is not an address."""
    assert parse_address(text).is_loopback is loopback


@given(st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), st.integers(0, 65535))
def test_any_host_and_port_read_back(host: str, port: int) -> None:
    """Round trip."""
    assert parse_address(f"{host}:{port}") == TcpAddress(host, port)
