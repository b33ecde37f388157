"""What the service manager hears, on a real datagram socket."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from helios_trio.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening service manager and its address as $NOTIFY_SOCKET gives it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@helios-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        sock.settimeout(10)
        yield sock, address


def test_life_of_a_service(manager: tuple[socket.socket, str]) -> None:
    """Ready, reload, ready, watchdog, stopping: each a datagram of its own."""
    sock, address = manager
    service = ServiceManager.from_environment({"NOTIFY_SOCKET": address})
    assert service.ready("listening on 127.0.0.1:6432")
    assert sock.recv(4096) == b"READY=1\nSTATUS=listening on 127.0.0.1:6432"
    assert service.reloading()
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=[0-9]+", sock.recv(4096))
    assert service.ready()
    assert sock.recv(4096) == b"READY=1"
    assert service.alive()
    assert sock.recv(4096) == b"WATCHDOG=1"
    assert service.stopping("draining\n3 clients")
    assert sock.recv(4096) == b"STOPPING=1\nSTATUS=draining 3 clients"


async def test_watchdog_is_fed_twice_as_often_as_asked(
    manager: tuple[socket.socket, str], autojump_clock: trio.testing.MockClock
) -> None:
    """For as long as the loop turns."""
    sock, address = manager
    sock.setblocking(False)
    service = ServiceManager.from_environment(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    )
    assert service.watchdog == 30.0
    with trio.move_on_after(50):
        await service.keep_alive()
    heard = []
    while len(heard) < 4:
        heard.append(sock.recv(4096))
    assert heard == [b"WATCHDOG=1"] * 4
    with pytest.raises(BlockingIOError):
        sock.recv(4096)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1000"},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1000"},
    ],
)
async def test_nobody_asked(environment: dict[str, str]) -> None:
    """Outside of a service nothing is sent and nothing runs."""
    service = ServiceManager.from_environment(environment)
    assert service == ServiceManager(None, None)
    assert not service.ready()
    with trio.fail_after(10):
        await service.keep_alive()


@pytest.mark.parametrize(("pid", "microseconds"), [("1", "1000"), ("mine", "x"), ("mine", "0")])
def test_watchdog_of_somebody_else(pid: str, microseconds: str) -> None:
    """$WATCHDOG_PID names another process, or there is no time."""
    environment = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": microseconds,
        "WATCHDOG_PID": pid.replace("mine", str(os.getpid())),
    }
    assert ServiceManager.from_environment(environment).watchdog is None


def test_absent_manager_stops_nobody(tmp_path: Path) -> None:
    """The call says that nobody heard."""
    assert not ServiceManager(str(tmp_path / "nobody")).ready()
