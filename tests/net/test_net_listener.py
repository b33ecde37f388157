"""Listening sockets: where they are, what becomes of their files, and a loop that nothing ends."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from helios_trio.config.addresses import TcpAddress, UnixAddress, parse_address
from helios_trio.net.dial import ServerAddress, dial
from helios_trio.net.errors import ConnectFailed, ListenError
from helios_trio.net.inherited import take_inherited
from helios_trio.net.listener import Listener, open_listeners, serve_listener
from helios_trio.net.transport import PlainTransport

LOOPBACK = TcpAddress("127.0.0.1", 0)


async def echo(transport: PlainTransport) -> None:
    """A handler that sends back one piece."""
    await transport.send_all(await transport.receive_some(100))


async def asked(address: ServerAddress) -> bytes:
    """What an echo server answers there."""
    transport = await dial(address, deadline=trio.current_time() + 10)
    try:
        await transport.send_all(b"hello")
        with trio.fail_after(10):
            return await transport.receive_some(100)
    finally:
        transport.close()


@pytest.fixture
def unix(tmp_path: Path) -> UnixAddress:
    """A unix address in a folder of its own."""
    return UnixAddress(str(tmp_path), 6432)


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    """Listeners to be closed at the end."""
    found: list[Listener] = []
    yield found
    for listener in found:
        listener.close()


async def test_connections_are_served(
    nursery: trio.Nursery, opened: list[Listener], unix: UnixAddress
) -> None:
    """TCP and unix, each with the address its clients have."""
    opened += await open_listeners([LOOPBACK, unix])
    for listener in opened:
        nursery.start_soon(serve_listener, listener, echo, nursery)
    tcp, local = opened
    assert tcp.port > 0
    assert tcp.address == f"127.0.0.1:{tcp.port}"
    assert (local.is_unix, local.port, local.address) == (True, 0, unix.path)
    assert await asked(ServerAddress("127.0.0.1", tcp.port)) == b"hello"
    assert await asked(ServerAddress(unix.directory, unix.port)) == b"hello"
    nursery.cancel_scope.cancel()


async def test_every_interface(nursery: trio.Nursery, opened: list[Listener]) -> None:
    """`*` listens on one port of all families that the machine has."""
    opened += await open_listeners([parse_address("*:0")])
    assert len({listener.port for listener in opened}) == 1
    nursery.start_soon(serve_listener, opened[0], echo, nursery)
    assert "0.0.0.0" in {listener.address.rpartition(":")[0] for listener in opened}
    nursery.cancel_scope.cancel()


async def test_a_taken_port_is_named(opened: list[Listener]) -> None:
    """The error says which address, and what was opened before it is closed again."""
    opened += await open_listeners([LOOPBACK])
    taken = TcpAddress("127.0.0.1", opened[0].port)
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = TcpAddress("127.0.0.1", other.getsockname()[1])
    with pytest.raises(ListenError, match=f"cannot listen on {taken}: Address already in use"):
        await open_listeners([free, taken])
    with pytest.raises(ConnectFailed):
        await dial(ServerAddress(free.host, free.port), deadline=trio.current_time() + 10)


async def test_a_name_that_does_not_exist() -> None:
    """A host name that cannot be resolved is an error naming it."""
    with pytest.raises(ListenError, match=r"cannot listen on no\.such\.host\.invalid:1"):
        await open_listeners([TcpAddress("no.such.host.invalid", 1)])


async def test_a_shared_port(opened: list[Listener]) -> None:
    """With reuse_port a second process can listen while the first drains."""
    opened += await open_listeners([LOOPBACK], reuse_port=True)
    opened += await open_listeners([TcpAddress("127.0.0.1", opened[0].port)], reuse_port=True)
    assert opened[0].port == opened[1].port


async def test_everybody_may_open_a_unix_socket(opened: list[Listener], unix: UnixAddress) -> None:
    """Mode 0777 whatever the umask says, as PostgreSQL; the file goes with the listener."""
    before = os.umask(0o077)
    try:
        opened += await open_listeners([unix])
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(unix.path).st_mode) == 0o777
    opened[0].close()
    assert os.listdir(unix.directory) == []


async def test_a_leftover_socket_is_replaced(opened: list[Listener], unix: UnixAddress) -> None:
    """A file behind which nobody answers does not keep us from starting."""
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(unix.path)
    opened += await open_listeners([unix])
    assert opened[0].address == unix.path


async def test_a_living_socket_is_not_replaced(opened: list[Listener], unix: UnixAddress) -> None:
    """Somebody answers there: that is an error, and theirs goes on."""
    opened += await open_listeners([unix])
    with pytest.raises(ListenError, match="another process is listening there"):
        await open_listeners([unix])
    assert stat.S_ISSOCK(os.stat(unix.path).st_mode)


async def test_a_successor_takes_a_unix_socket_over(
    nursery: trio.Nursery, opened: list[Listener], unix: UnixAddress
) -> None:
    """With reuse_port the file changes hands at once, and the predecessor leaves it alone when it goes."""
    opened += await open_listeners([unix], reuse_port=True)
    opened += await open_listeners([unix], reuse_port=True)
    opened[0].close()
    nursery.start_soon(serve_listener, opened[1], echo, nursery)
    assert await asked(ServerAddress(unix.directory, unix.port)) == b"hello"
    nursery.cancel_scope.cancel()


async def test_a_file_that_is_no_socket_is_left_alone(unix: UnixAddress) -> None:
    """Nobody's data is replaced by a socket."""
    path = trio.Path(unix.path)
    await path.write_text("precious")
    with pytest.raises(ListenError, match="no socket"):
        await open_listeners([unix])
    assert await path.read_text() == "precious"


async def test_a_folder_that_does_not_exist() -> None:
    """The error names the socket."""
    with pytest.raises(ListenError, match=r"cannot listen on /no/such/folder/\.s\.PGSQL\.1"):
        await open_listeners([UnixAddress("/no/such/folder", 1)])


async def test_a_closed_listener_ends_its_loop(opened: list[Listener]) -> None:
    """That is how a drain stops accepting, while those served go on."""
    opened += await open_listeners([LOOPBACK])
    with trio.fail_after(10):
        async with trio.open_nursery() as serving, trio.open_nursery() as accepting:
            accepting.start_soon(serve_listener, opened[0], echo, serving)
            await trio.testing.wait_all_tasks_blocked()
            opened[0].close()


async def test_transports_are_closed_whatever_the_handler_does(opened: list[Listener]) -> None:
    """Rule 40 leaves errors to the handler; the socket is ours."""
    opened += await open_listeners([LOOPBACK])
    accepted: list[PlainTransport] = []

    async def fail(transport: PlainTransport) -> None:
        accepted.append(transport)
        raise KeyError("bug")

    peer = await dial(ServerAddress("127.0.0.1", opened[0].port), deadline=trio.current_time() + 10)
    with pytest.RaisesGroup(KeyError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_listener, opened[0], fail, nursery)
    assert accepted[0].closed
    peer.close()


class Exhausted(Listener):
    """A listener whose machine has no descriptors left for the first tries."""

    def __init__(self, listener: Listener, failures: list[int]) -> None:
        self._listener = listener
        self._failures = failures
        self.address = listener.address

    async def wait_readable(self) -> None:
        await self._listener.wait_readable()

    def accept_nowait(self) -> PlainTransport:
        if self._failures:
            code = self._failures.pop()
            raise OSError(code, os.strerror(code))
        return self._listener.accept_nowait()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED, errno.EPROTO])
async def test_accepting_survives_what_accept_says(
    code: int, autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Out of descriptors: back off, say so once, go on. A client gone before it was accepted: go on."""
    (listener,) = await open_listeners([LOOPBACK])
    failures = [code, code, code]
    client = socket.create_connection(("127.0.0.1", listener.port))
    served = trio.Event()

    async def handle(transport: PlainTransport) -> None:
        served.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_listener, Exhausted(listener, failures), handle, nursery)
        await served.wait()
        nursery.cancel_scope.cancel()
    client.close()
    listener.close()
    assert failures == []
    assert capsys.readouterr().out.count("accept_failed") == (
        code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    )


def inherit(sock: socket.socket, pid: int | None = None) -> dict[str, str]:
    """The environment in which systemd hands over one descriptor."""
    return {"LISTEN_FDS": "1", "LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDNAMES": "helios", "HOME": "/"}


async def test_inherited_sockets_are_used(nursery: trio.Nursery, opened: list[Listener]) -> None:
    """A socket that systemd opened is served, and its address not opened a second time."""
    given = socket.create_server(("127.0.0.1", 0))
    environment = inherit(given)
    port = given.getsockname()[1]
    found = take_inherited(environment, first=given.detach())
    opened += await open_listeners([TcpAddress("127.0.0.1", port)], inherited=found)
    assert environment == {"HOME": "/"}
    assert [listener.port for listener in opened] == [port]
    nursery.start_soon(serve_listener, opened[0], echo, nursery)
    assert await asked(ServerAddress("127.0.0.1", port)) == b"hello"
    nursery.cancel_scope.cancel()


def test_sockets_for_another_process_are_left_alone() -> None:
    """Variables that a parent forgot to remove are not for us."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        assert take_inherited(inherit(given, os.getpid() + 1), first=given.fileno()) == []
        assert take_inherited({}, first=given.fileno()) == []
        assert given.getsockname()


def test_what_is_inherited_must_listen() -> None:
    """A descriptor that is no listening socket is an error naming it."""
    with (
        socket.socket() as given,
        pytest.raises(ListenError, match=f"descriptor {given.fileno()} does not listen"),
    ):
        take_inherited(inherit(given), first=given.fileno())
    with open(os.devnull) as file, pytest.raises(ListenError, match="is no socket"):
        take_inherited({"LISTEN_FDS": "1"}, first=file.fileno())


@pytest.mark.skipif(sys.platform != "linux", reason="names of unix sockets are longer elsewhere")
async def test_a_unix_path_too_long_for_the_system(tmp_path: Path) -> None:
    """The error says so instead of a traceback."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(ListenError, match="too long"):
        await open_listeners([UnixAddress(str(folder), 1)])
