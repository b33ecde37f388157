"""Who does not read is waited for: without memory, and at nobody else's cost (rule 3)."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import psycopg
import pytest
import trio
from chaos_tools import MakeProxy, Observer, RawClient, frame, query, resident_bytes, until

from helios_trio.testing.faults import open_fault_proxy
from helios_trio.testing.running import ProxyProcess

pytestmark = pytest.mark.cluster

ROWS, WIDTH = 50_000, 1000
MEMORY = 32 << 20
#: Turns of another client, so that a proxy which kept on reading would have read it all meanwhile.
TURNS = 300


def work(proxy: ProxyProcess, turns: int = TURNS) -> None:
    """Another client's short queries."""
    with psycopg.connect(proxy.dsn(), autocommit=True) as other:
        for at in range(turns):
            assert other.execute("select %s + 0", (at,)).fetchone() == (at,)


def stuck(observer: Observer) -> bool:
    """Whether a server process waits for its client to read."""
    return observer.execute("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'") == [
        (1,)
    ]


def rows_digest(client: RawClient) -> tuple[int, str]:
    """Read a result to its end: number of rows, and a hash of all of them."""
    count, digest = 0, hashlib.sha256()
    while True:
        code, body = client.message()
        if code in b"Dd":
            count += 1
            digest.update(body)
        elif code == b"Z":
            return count, digest.hexdigest()
        assert code != b"E", body


STATEMENTS = {
    "simple": query(f"select n, repeat(md5(n::text), {WIDTH // 32}) from generate_series(1, {ROWS}) n"),
    "copy": query(
        f"copy (select n, repeat(md5(n::text), {WIDTH // 32}) from generate_series(1, {ROWS}) n) to stdout"
    ),
    "extended": frame(
        b"P",
        f"\0select n, repeat(md5(n::text), {WIDTH // 32}) from generate_series(1, {ROWS}) n\0".encode()
        + b"\0\0",
    )
    + frame(b"B", b"\0\0\0\0\0\0\0\0")
    + frame(b"E", b"\0" + struct.pack("!I", 0))
    + frame(b"S"),
    "one row": query("select repeat('0123456789', 5000000)"),
}


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_client_that_does_not_read(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer, mode: str, statement: str
) -> None:
    """50 MB wait in the server, others work; then every byte arrives."""
    proxy = make_proxy(address, mode=mode, max_connections=2)
    work(proxy)
    with RawClient(address) as direct:
        direct.wait_for(b"Z")
        direct.send(STATEMENTS[statement])
        expected = rows_digest(direct)
    with RawClient((proxy.host, proxy.port), receive_buffer=4096) as slow:
        slow.wait_for(b"Z")
        before = resident_bytes(proxy.pid)
        slow.send(STATEMENTS[statement])
        until(partial(stuck, observer), "the server waits for the proxy")
        work(proxy)
        assert resident_bytes(proxy.pid) - before < MEMORY
        assert stuck(observer)
        slow.widen()
        assert rows_digest(slow) == expected
        assert resident_bytes(proxy.pid) - before < MEMORY


def test_client_that_sends_without_reading(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer
) -> None:
    """A pipeline whose answers are not read fills no memory: the client is read no further, others work."""
    proxy = make_proxy(address, max_connections=2)
    work(proxy)
    with RawClient((proxy.host, proxy.port), receive_buffer=4096) as slow:
        slow.wait_for(b"Z")
        before = resident_bytes(proxy.pid)
        one = query("select repeat('x', 100000)")
        many = 500
        sender = threading.Thread(target=slow.send, args=(one * many,))
        sender.start()
        work(proxy)
        assert resident_bytes(proxy.pid) - before < MEMORY
        slow.widen()
        answers = 0
        while answers < many:
            answers += slow.message()[0] == b"Z"
        sender.join()


def copy_everything(proxy: ProxyProcess, begun: threading.Event, silent: threading.Event) -> None:
    """COPY many rows into the table `copied`, as fast as they are taken."""
    with (
        psycopg.connect(proxy.dsn()) as connection,
        connection.cursor() as cursor,
        cursor.copy("copy copied from stdin") as copy,
    ):
        row = b"x" * WIDTH + b"\n"
        copy.write(row * 100)
        begun.set()
        assert silent.wait(60)
        for _ in range(1, ROWS // 100):
            copy.write(row * 100)


async def test_server_that_does_not_read(
    make_proxy: MakeProxy, address: tuple[str, int], observer: Observer
) -> None:
    """A server that reads no more stops the client who copies, not the memory's limit; then all rows are there."""
    observer.execute("create table copied (t text)")
    run: Callable[..., Awaitable[object]] = trio.to_thread.run_sync
    try:
        async with open_fault_proxy(address) as network:
            proxy = make_proxy((network.address[0], network.address[1]), max_connections=2)
            await run(work, proxy)
            before = resident_bytes(proxy.pid)
            begun, silent = threading.Event(), threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, copy_everything, proxy, begun, silent)
                assert await run(begun.wait, 60)
                network.to_server.silence()
                silent.set()
                try:
                    await run(until, lambda: stalled(proxy), "the proxy reads no more")
                    assert resident_bytes(proxy.pid) - before < MEMORY
                finally:
                    network.to_server.resume()
            assert resident_bytes(proxy.pid) - before < MEMORY
        assert observer.execute("select count(*), count(distinct t) from copied") == [(ROWS, 1)]
    finally:
        observer.execute("drop table copied")


def stalled(proxy: ProxyProcess) -> bool:
    """Whether bytes of a client wait in the kernel because the proxy does not read them."""
    port = f":{proxy.port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return any(row[1].endswith(port) and int(row[4].split(":")[1], 16) > 0x4000 for row in rows)
