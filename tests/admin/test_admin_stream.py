"""The live stream of a real proxy: WebSocket and server-sent events, good and bad clients, its end with the proxy's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import trio
import trio.testing
from admin_parts import VIEWER, make_parts
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from helios_trio.admin.keys import Role, make_key
from helios_trio.admin.live import Live
from helios_trio.admin.stream import _Asked, _server_sent
from helios_trio.config.words import WithoutKey
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

PATIENCE = 30.0
CONFIG = """
[proxy]
state_dir = "{folder}"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
"""


@pytest.fixture(scope="module")
def proxy(
    direct_address: tuple[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """One for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("stream")
    host, port = direct_address
    with running_proxy(CONFIG.format(folder=folder, host=host, port=port)) as running:
        yield running


def base_of(proxy: ProxyProcess) -> str:
    assert proxy.admin is not None
    return f"{proxy.admin[0]}:{proxy.admin[1]}"


def key_of(proxy: ProxyProcess) -> str:
    key: str = proxy.ready["admin_key"]
    return key


@asynccontextmanager
async def opened(proxy: ProxyProcess, query: str = "") -> AsyncIterator[WebSocketConnection]:
    """A client that has said nothing yet; trio-websocket leaves the socket open when the other side closes."""
    assert proxy.admin is not None
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(*proxy.admin) as tcp, trio.open_nursery() as nursery:
            yield await wrap_client_stream(nursery, tcp, base_of(proxy), f"/api/v1/stream{query}")
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def stream(
    proxy: ProxyProcess, query: str = "", key: str | None = None
) -> AsyncIterator[WebSocketConnection]:
    """A client that shows its key in its first message."""
    async with opened(proxy, query) as socket:
        await socket.send_message(json.dumps({"key": key or key_of(proxy)}))
        yield socket


async def told(socket: WebSocketConnection, topic: str) -> Any:
    """The next message of a topic."""
    while True:
        message = json.loads(await socket.get_message())
        if message["topic"] == topic:
            return message


async def close_code(socket: WebSocketConnection) -> int:
    """Read until it is closed."""
    try:
        while True:
            await socket.get_message()
    except ConnectionClosed as closed:
        return int(closed.reason.code)


async def send_for_ever(socket: WebSocketConnection, text: str) -> None:
    """As fast as it can."""
    while True:
        await socket.send_message(text)


def note_event(proxy: ProxyProcess, reason: str, key: str | None = None) -> None:
    """Have something happen that stands in the events."""
    answer = httpx.post(
        f"http://{base_of(proxy)}/api/v1/reload",
        json={"reason": reason},
        headers={"X-API-Key": key or key_of(proxy)},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


async def test_it_begins_with_everything(proxy: ProxyProcess) -> None:
    """A hello, a picture of each topic, then a second of traffic after the other."""
    async with stream(proxy) as socket:
        hello = json.loads(await socket.get_message())
        assert hello["topic"] == "hello"
        assert (hello["data"]["who"], hello["data"]["role"]) == ("local", "operator")
        wanted = set(hello["data"]["topics"]) - {"events"}
        assert {"traffic", "topology", "pools", "sessions", "migrations"} <= wanted
        while wanted:
            wanted.discard(json.loads(await socket.get_message())["topic"])
        first, second = await told(socket, "traffic"), await told(socket, "traffic")
        assert first["data"]["at"] < second["data"]["at"]


async def test_traffic_is_seen(proxy: ProxyProcess) -> None:
    """Queries, and who is connected."""
    async with stream(proxy, "?topics=traffic") as socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, work, proxy.dsn())
            while (found := (await told(socket, "traffic"))["data"])["queries_per_second"] == 0:
                pass
        assert found["backends"]["primary"]["queries_per_second"] > 0
        assert found["p99_ms"] > 0


def work(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(300):
            connection.execute("SELECT 1")


async def test_events_are_resumed(proxy: ProxyProcess) -> None:
    """Whoever comes back hears what it has missed."""
    async with stream(proxy, "?topics=events&last_event_id=0") as socket:
        await trio.to_thread.run_sync(note_event, proxy, "before")
        while (found := await told(socket, "events"))["data"]["reason"] != "before":
            pass
    await trio.to_thread.run_sync(note_event, proxy, "meanwhile")
    async with stream(proxy, f"?topics=events&last_event_id={found['id']}") as socket:
        hello = await told(socket, "hello")
        assert hello["data"]["missed"] == 0
        assert (await told(socket, "events"))["data"]["reason"] == "meanwhile"


async def test_topics_are_changed(proxy: ProxyProcess) -> None:
    """While it is open."""
    async with stream(proxy, "?topics=events") as socket:
        await told(socket, "hello")
        await socket.send_message(json.dumps({"topics": ["pools"]}))
        assert json.loads(await socket.get_message())["topic"] == "pools"


@pytest.mark.parametrize("key", ["wrong", "helios_", "x" * 4000])
async def test_a_wrong_key(proxy: ProxyProcess, key: str) -> None:
    """4401, and nothing before."""
    async with stream(proxy, key=key) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason.code == 4401


@pytest.mark.parametrize("first", ['{"key": 1}', "{}", '{"topics": ["events"]}'])
async def test_no_key_at_all(proxy: ProxyProcess, first: str) -> None:
    """The same."""
    async with opened(proxy) as socket:
        await socket.send_message(first)
        assert await close_code(socket) == 4401


@pytest.mark.parametrize(
    "nonsense", ["x", "[]", "null", "[" * 3000, '{"topics": 1}', '{"topics": [1]}', "{}", "y" * 4097]
)
async def test_nonsense(proxy: ProxyProcess, nonsense: str) -> None:
    """1008, or 1009 for what is too big."""
    async with stream(proxy, "?topics=events") as socket:
        await told(socket, "hello")
        await socket.send_message(nonsense)
        assert await close_code(socket) in (1008, 1009)


async def test_a_flood(proxy: ProxyProcess) -> None:
    """1008, and the proxy answers others as before."""
    async with stream(proxy, "?topics=events") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await send_for_ever(socket, '{"topics": ["events"]}')
        assert closed.value.reason.code == 1008
    async with stream(proxy) as socket:
        await told(socket, "traffic")


def test_server_sent_events(proxy: ProxyProcess) -> None:
    """The same with nothing but HTTP."""
    headers = {"X-API-Key": key_of(proxy), "Accept": "text/event-stream", "Last-Event-ID": "0"}
    url = f"http://{base_of(proxy)}/api/v1/stream?topics=events,topology"
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE, trust_env=False) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        found = []
        for line in answer.iter_lines():
            found.append(line)
            if line.startswith("id: "):
                break
    assert found[0] == "event: hello"
    assert "event: topology" in found


@pytest.mark.parametrize("nothing", [b"", ""])
async def test_empty_messages(proxy: ProxyProcess, nothing: str | bytes) -> None:
    """Are none."""
    async with opened(proxy) as socket:
        await socket.send_message(nothing)
        assert await close_code(socket) in (1008, 4401)


def test_the_head_of_the_stream(proxy: ProxyProcess) -> None:
    """Is all there is of it for HEAD."""
    headers = {"X-API-Key": key_of(proxy), "Accept": "text/event-stream"}
    answer = httpx.head(f"http://{base_of(proxy)}/api/v1/stream", headers=headers, trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_a_key_is_withdrawn(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """Whoever looks on with it looks no longer; others do."""
    (left, left_kept), (gone, gone_kept) = make_key("left", Role.OPERATOR), make_key("gone", Role.VIEWER)
    keys = tmp_path / "keys"
    keys.write_text(f"{left_kept.line}\n{gone_kept.line}\n")
    host, port = direct_address
    config = CONFIG.format(folder=tmp_path, host=host, port=port) + f'[admin]\napi_keys_file = "{keys}"\n'
    running = running_proxy(config)
    proxy = await trio.to_thread.run_sync(running.__enter__)
    try:
        async with (
            stream(proxy, "?topics=events", left) as stays,
            stream(proxy, "?topics=events", gone) as goes,
        ):
            await told(stays, "hello")
            await told(goes, "hello")
            keys.write_text(f"{left_kept.line}\n")
            await trio.to_thread.run_sync(note_event, proxy, "keys", left)
            assert await close_code(goes) == 4401
            async with stream(proxy, "?topics=events", gone) as again:
                assert await close_code(again) == 4401
            await trio.to_thread.run_sync(note_event, proxy, "again", left)
            while (await told(stays, "events"))["data"]["reason"] != "again":
                pass
    finally:
        await trio.to_thread.run_sync(running.__exit__, None, None, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"X-API-Key": "wrong"}, 401), ({"Accept": "text/html"}, 406)],
)
def test_no_stream(proxy: ProxyProcess, headers: dict[str, str], status: int) -> None:
    """Problem details, as everywhere."""
    if status == 406:
        headers = {**headers, "X-API-Key": key_of(proxy)}
    answer = httpx.get(f"http://{base_of(proxy)}/api/v1/stream", headers=headers, trust_env=False)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_quiet_stream_ends_with_its_key(autojump_clock: trio.testing.MockClock) -> None:
    """Though nothing happens that could be told."""
    parts = make_parts()
    live, caller = Live.of(parts), parts.access.find_key(VIEWER, None)
    found = []
    async with aclosing(_server_sent(parts, live.hub, caller, _Asked(("events",), None))) as told:
        async for each in told:
            found.append(each)
            if len(found) == 3:
                parts.access.replace((), WithoutKey.NOWHERE)
    assert found[0].startswith(b"event: hello")
    assert found[1:] == [b": still here\n\n"] * 2


async def test_the_proxy_ends(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """Streams are told so, and do not keep it from ending."""
    host, port = direct_address
    running = running_proxy(CONFIG.format(folder=tmp_path, host=host, port=port))
    proxy = await trio.to_thread.run_sync(running.__enter__)
    try:
        async with stream(proxy) as socket, stream(proxy, "?topics=events") as quiet:
            await told(socket, "hello")
            await told(quiet, "hello")
            async with trio.open_nursery() as nursery:
                codes: list[int] = []

                async def wait(each: WebSocketConnection) -> None:
                    codes.append(await close_code(each))

                nursery.start_soon(wait, socket)
                nursery.start_soon(wait, quiet)
                proxy.process.terminate()
            assert codes == [1001, 1001]
    finally:
        await trio.to_thread.run_sync(running.__exit__, None, None, None)
