"""Networks that cut connections at any byte, and carry one byte at a time."""

from __future__ import annotations

import re
import subprocess
from functools import partial

import psycopg
import pytest
import trio
from chaos_tools import MakeProxy, Observer, RawClient, clients, query, until

from helios_trio.embedded.binaries import wheel_bin_dir
from helios_trio.testing.faults import open_fault_proxy
from helios_trio.testing.running import ProxyProcess

#: What befalls a server is what its sessions see, as with PostgreSQL itself; failover has tests of its own.
SETTINGS = {"failover": "false"}

pytestmark = pytest.mark.cluster

MODES = ("transaction", "session")
PROTOCOLS = ("simple", "extended", "prepared")


def ask(proxy: ProxyProcess) -> str:
    """What one client gets, in full or in part, ended by an error: SQLSTATE, or "ok"."""
    with RawClient((proxy.host, proxy.port)) as client:
        try:
            client.wait_for(b"Z")
            client.send(query("select repeat('x', 300)"))
            row = client.wait_for(b"D")
            assert row == b"\0\1\0\0\1\x2c" + b"x" * 300
            client.wait_for(b"Z")
        except ConnectionError:
            return "closed"
    return "ok"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_cut_at_any_byte(
    make_proxy: MakeProxy, address: tuple[str, int], mode: str, direction: str, rounds: int
) -> None:
    """Wherever the connection to the server is cut, nobody hangs, and all is well with a whole network."""
    async with open_fault_proxy(address) as network:
        proxy = make_proxy(network.address, mode=mode, queue_timeout="300ms")
        line = getattr(network, direction)
        outcomes = set()
        for cut_at in range(1, 1000, max(1, 97 // rounds)):
            line.cut_at = cut_at
            network.cut()
            outcomes.add(await trio.to_thread.run_sync(ask, proxy))
        assert "closed" in outcomes
        line.cut_at = None
        network.cut()
        await trio.to_thread.run_sync(until, lambda: ask(proxy) == "ok", "the proxy has recovered")
        idle = partial(until, lambda: not sum(clients(proxy).values()), "the metrics count no client")
        await trio.to_thread.run_sync(idle)


@pytest.fixture(scope="module")
def accounts(observer: Observer, address: tuple[str, int]) -> None:
    """pgbench's tables."""
    pgbench(address, "-i", "-q", "-I", "dtgp", "-s", "1")


def pgbench(address: tuple[str, int], *arguments: str) -> str:
    """Run it; what it wrote. Fails as it fails."""
    command = [str(wheel_bin_dir() / "pgbench"), "-h", address[0], "-p", str(address[1]), "-U", "postgres"]
    done = subprocess.run(
        [*command, *arguments, "postgres"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.usefixtures("accounts")
async def test_one_byte_at_a_time(
    make_proxy: MakeProxy, address: tuple[str, int], rounds: int, mode: str, protocol: str
) -> None:
    """pgbench works through networks that break every message into bytes, on both sides of the proxy (rule 3)."""
    async with open_fault_proxy(address) as inner:
        inner.to_server.segment = inner.to_client.segment = 1
        proxy = make_proxy(inner.address, mode=mode, max_connections=2)
        async with open_fault_proxy((proxy.host, proxy.port)) as outer:
            outer.to_server.segment = outer.to_client.segment = 1
            arguments = ("-n", "-c", "1", "-t", str(2 * rounds), "-M", protocol)
            said = await trio.to_thread.run_sync(partial(pgbench, outer.address, *arguments))
    assert re.search(rf"actually processed: {2 * rounds}/{2 * rounds}", said), said


async def test_network_that_loses_everything(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer
) -> None:
    """Silence towards the server: waiting clients get 08006 in time, and all go on once it ends."""
    async with open_fault_proxy(address) as network:
        proxy = make_proxy(network.address, queue_timeout="300ms", max_connections=1)
        assert await trio.to_thread.run_sync(ask, proxy) == "ok"
        network.to_server.silence()
        network.to_client.silence()
        refused = await trio.to_thread.run_sync(silent_conversation, proxy)
        assert refused == "08006"
        network.to_server.resume()
        network.to_client.resume()
        await trio.to_thread.run_sync(until, lambda: ask(proxy) == "ok", "the network is back")


def silent_conversation(proxy: ProxyProcess) -> str | None:
    """One client's query has the only connection; what is another told that wants it?"""
    with RawClient((proxy.host, proxy.port)) as first:
        first.wait_for(b"Z")
        first.send(query("select 1"))
        until(lambda: clients(proxy)["active"] == 1, "the query is on its way")
        with psycopg.connect(proxy.dsn(), autocommit=True) as second:
            try:
                second.execute("select 1")
            except psycopg.OperationalError as error:
                return error.sqlstate
    return "ok"
