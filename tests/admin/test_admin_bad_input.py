"""The admin listener of a real proxy against clients that mean no good, or know no better: it refuses, and goes on."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

PATIENCE = 60.0
CONFIG = """
[proxy]
state_dir = "{folder}"
[auth]
method = "trust"
[control]
user = "postgres"
[admin]
max_requests_per_second = 100000
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
priority = 20
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
[routing]
read_write_split = true
"""
UPGRADE = (
    b"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Victim:
    """A proxy that is ill-treated, and a client of it that must not notice."""

    def __init__(self, proxy: ProxyProcess, client: psycopg.Connection[Any]) -> None:
        assert proxy.admin is not None
        self.proxy = proxy
        self.admin = proxy.admin
        self.url = f"http://{proxy.admin[0]}:{proxy.admin[1]}"
        self.key = str(proxy.ready["admin_key"])
        self.client = client

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"X-API-Key": self.key, **more.pop("headers", {})}
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            return http.request(method, self.url + path, headers=headers, **more)

    def raw(self, data: bytes) -> bytes:
        """What is answered until the proxy closes."""
        with self.connected() as sock:
            sock.sendall(data)
            return read_all(sock)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.admin, timeout=PATIENCE) as sock:
            yield sock

    def is_well(self) -> bool:
        """The listener answers, and so does the data path."""
        row = self.client.execute("SELECT 42").fetchone()
        return row == (42,) and self.ask("GET", "/api/v1/version").status_code == 200

    def rss(self) -> int:
        """Bytes."""
        text = Path(f"/proc/{self.proxy.pid}/statm").read_text()
        return int(text.split()[1]) * resource.getpagesize()


def read_all(sock: socket.socket) -> bytes:
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def send_for_ever(sock: socket.socket, data: bytes) -> None:
    while True:
        sock.sendall(data)


def is_problem(answer: httpx.Response, status: int) -> bool:
    """Problem details that tell nothing about the inside."""
    media_type = answer.headers["Content-Type"]
    assert (answer.status_code, media_type) == (status, "application/problem+json"), answer.text
    assert answer.json()["status"] == status
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    return True


@pytest.fixture(scope="module")
def victim(direct_address: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    host, port = direct_address
    folder = tmp_path_factory.mktemp("bad")
    config = CONFIG.format(folder=folder, host=host, port=port)
    with running_proxy(config) as proxy, psycopg.connect(proxy.dsn(), autocommit=True) as client:
        yield Victim(proxy, client)


@pytest.fixture(autouse=True)
def _well(victim: Victim) -> Iterator[None]:
    """Whatever was done: it goes on, and no exception has reached its log."""
    mark = victim.proxy.log_size()
    yield
    assert victim.is_well()
    assert "Traceback" not in victim.proxy.log_since(mark)


# -- requests --------------------------------------------------------------------------------------------------


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 4096):
        yield b"x" * 4096


@pytest.mark.parametrize("size", [68 * 1024, 10 * 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True])
def test_huge_bodies(victim: Victim, size: int, chunked: bool) -> None:
    """413, whatever was announced. Who sends ten megabytes may also find the connection closed."""
    content: Any = chunks(size) if chunked else b"x" * size
    headers = {"Content-Type": "application/json"}
    try:
        answer = victim.ask("POST", "/api/v1/reload", content=content, headers=headers)
    except (httpx.WriteError, httpx.ReadError):
        assert size > 4 * 1024 * 1024
    else:
        assert is_problem(answer, 413)


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "/"],
)
def test_wrong_content_types(victim: Victim, media_type: str) -> None:
    """415."""
    headers = {"Content-Type": media_type}
    assert is_problem(victim.ask("POST", "/api/v1/reload", content=b"{}", headers=headers), 415)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 10_000, b"NaN", b"1e999"])
def test_what_is_no_json(victim: Victim, body: bytes) -> None:
    """400 or 422."""
    headers = {"Content-Type": "application/json"}
    answer = victim.ask("POST", "/api/v1/reload", content=body, headers=headers)
    assert is_problem(answer, 422 if body in (b"NaN", b"1e999") else 400)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "QUERY", "CONNECT", "x"])
@pytest.mark.parametrize(("path", "allowed"), [("/api/v1/version", "GET"), ("/api/v1/reload", "POST")])
def test_wrong_methods(victim: Victim, method: str, path: str, allowed: str) -> None:
    """405 with what is allowed."""
    answer = victim.ask(method, path, content=b"{}", headers={"Content-Type": "application/json"})
    assert is_problem(answer, 405)
    assert allowed in answer.headers["Allow"].split(", ")


@pytest.mark.parametrize(
    "path",
    [
        "/console/../keys",
        "/console/..%2f..%2fkeys",
        "/console/%2e%2e/%2e%2e/etc/passwd",
        "/console/panels/../../server.js",
        "/console/panels/..%2f..%2fstream.py%00.js",
        "/console//etc/passwd",
        "/console/app.js/",
        "/console/.",
        "/console/%00",
        "//api/v1/nothing",
        "/api/v1/../../etc/passwd",
        "/api/v1/nodes/..%2f..%2fetc",
        "/api/v1/nodes/%00",
        "/api/v1/sessions/-1",
        "/api/v1/sessions/99999999999999999999999999",
        "/api/v1/sessions/١",
        "/%ff%fe",
        "/" + "a/" * 4000,
    ],
)
def test_path_tricks(victim: Victim, path: str) -> None:
    """404, and nothing that lies elsewhere."""
    with victim.connected() as sock:
        target = "".join(each if each.isascii() else f"%{each.encode().hex()}" for each in path)
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {victim.key}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        answer = read_all(sock)
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer
    assert b"root:" not in answer


# -- other sites' pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/reload", "/api/v1/nodes/blue/disable", "/api/v1/routing/rules"])
@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/plain", b'{"reason": "evil"}'),
        ("application/x-www-form-urlencoded", b"reason=evil"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="reason"\r\n\r\nevil\r\n--x--',
        ),
        ("application/json", b'{"reason": "evil"}'),
    ],
)
def test_pages_of_other_sites_change_nothing(
    victim: Victim, path: str, media_type: str, content: bytes
) -> None:
    """A browser sends such requests unasked, with whatever cookies; but it cannot add our headers."""
    before = victim.ask("GET", "/api/v1/events").json()
    headers = {"Origin": "https://evil.example", "Content-Type": media_type, "Cookie": f"key={victim.key}"}
    with httpx.Client(trust_env=False) as http:
        answer = http.post(victim.url + path, content=content, headers=headers)
    assert is_problem(answer, 401)
    assert victim.ask("GET", "/api/v1/events").json() == before


@pytest.mark.parametrize("path", ["/", "/health", "/metrics/prometheus", "/api/v1/version", "/api/v1/reload"])
def test_pages_of_other_sites_read_nothing(victim: Victim, path: str) -> None:
    """No CORS: a browser keeps the answer from them, and does not even ask what needs our headers."""
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "x-api-key"
    for method in ("GET", "POST", "OPTIONS"):
        answer = victim.ask(method, path, headers=headers)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


# -- the protocol ----------------------------------------------------------------------------------------------

HIDDEN = b"POST /api/v1/nodes/blue/disable HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + HIDDEN,
        b"Content-Length: -1\r\n\r\n" + HIDDEN,
        b"Content-Length: +5\r\n\r\n" + HIDDEN,
        b"Content-Length: 0x10\r\n\r\n" + HIDDEN,
        b"Content-Length: 5, 5\r\nContent-Length: 6\r\n\r\n" + HIDDEN,
        b"Content-Length: 99999999999999999999999\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + HIDDEN,
        b"X: \r\n folded\r\n\x00: y\r\n\r\n" + HIDDEN,
        b"X" * 70_000,
    ],
)
def test_nobody_can_tell_where_it_ends(victim: Victim, head: bytes) -> None:
    """Refused, and nothing that is behind it is looked at."""
    answer = victim.raw(b"POST /api/v1/reload HTTP/1.1\r\nHost: x\r\n" + head)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.split()[1] in (b"400", b"401", b"431", b"501")


@pytest.mark.parametrize(
    "data",
    [
        b"GET ? HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://a%5Bb/x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        UPGRADE + b"Connection: Upgrade, \xff\r\n\r\n",
        UPGRADE + b"Connection: Upgrade\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
        UPGRADE + b"Connection: Upgrade\r\n\r\n" + b"\xff" * 30,
        UPGRADE.replace(b"stream", b"version") + b"Connection: Upgrade\r\n\r\n",
        UPGRADE.replace(b"Version: 13", b"Version: 99") + b"Connection: Upgrade\r\n\r\n",
    ],
)
def test_the_connection_is_closed(victim: Victim, data: bytes) -> None:
    """After an answer, or without one; those of others stay."""
    with victim.connected() as other:
        request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        other.sendall(request)
        assert other.recv(65536)
        assert not victim.raw(data).startswith(b"HTTP/1.1 5")
        other.sendall(request)
        assert other.recv(65536)


@pytest.mark.parametrize("key", ["", "wrong"])
def test_an_answer_before_the_body(victim: Victim, key: str) -> None:
    """Who is refused before its body has come is told that the connection ends, and it does."""
    head = f"POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 2\r\n\r\n"
    with victim.connected() as sock:
        sock.sendall(head.encode())
        answer = sock.recv(65536)
        sock.sendall(b"{}")
        answer += read_all(sock)
    assert b"connection: close" in answer
    assert answer.split()[1] in (b"401", b"429")


# -- slow ones -------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_half_a_request(victim: Victim) -> None:
    """Its connection is closed, whatever trickles in; meanwhile others are served."""
    with ExitStack() as stack:
        loris = [stack.enter_context(victim.connected()) for _ in range(200)]
        for each in loris:
            each.sendall(b"POST /api/v1/reload HTTP/1.1\r\nHost: x\r\n")
        for _ in range(5):
            assert victim.is_well()
            for each in loris:
                each.sendall(b"X: y\r\n")
        assert [read_all(each) for each in loris] == [b""] * len(loris)


@pytest.mark.long
def test_half_a_body(victim: Victim) -> None:
    """408."""
    head = f"POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nX-API-Key: {victim.key}\r\nContent-Length: 9\r\n"
    answer = victim.raw(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer


@pytest.mark.long
def test_a_client_that_reads_nothing(direct_address: tuple[str, int], tmp_path: Path) -> None:
    """Answers pile up at the network, not in the proxy; and it can be stopped all the same."""
    host, port = direct_address
    config = CONFIG.format(folder=tmp_path, host=host, port=port)
    with running_proxy(config) as proxy, psycopg.connect(proxy.dsn(), autocommit=True) as client:
        victim = Victim(proxy, client)
        before = victim.rss()
        with victim.connected() as sock:
            sock.settimeout(1.0)
            request = (
                f"GET /api/v1/config HTTP/1.1\r\nHost: x\r\nX-API-Key: {victim.key}\r\n\r\n".encode() * 100
            )
            with pytest.raises((TimeoutError, ConnectionError)):
                send_for_ever(sock, request)
            assert victim.is_well()
            assert victim.rss() - before < 64 * 1024 * 1024
            client.close()
            proxy.process.terminate()
            assert proxy.process.wait(PATIENCE) == 0


# -- WebSockets ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(victim: Victim, number: int) -> AsyncIterator[list[int]]:
    """So many that say nothing; the codes they are closed with, in the end."""
    codes: list[int] = []

    async def wait() -> None:
        async with await trio.open_tcp_stream(*victim.admin) as tcp, trio.open_nursery() as nursery:
            socket = await wrap_client_stream(
                nursery, tcp, victim.url.removeprefix("http://"), "/api/v1/stream"
            )
            try:
                await socket.get_message()
            except ConnectionClosed as closed:
                codes.append(int(closed.reason.code))
            nursery.cancel_scope.cancel()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as clients:
            for _ in range(number):
                clients.start_soon(wait)
            yield codes


@pytest.mark.long
async def test_500_without_a_key(victim: Victim) -> None:
    """Each is closed in time (4408), and they cost little."""
    before = victim.rss()
    async with opened(victim, 500) as codes:
        while not codes:
            assert await trio.to_thread.run_sync(victim.is_well)
    assert codes == [4408] * 500
    assert victim.rss() - before < 100 * 1024 * 1024


@pytest.mark.long
def test_sockets_that_stay_open(victim: Victim) -> None:
    """Those who do not take a farewell are shown out, so that they keep nobody out."""
    with ExitStack() as stack:
        mute = [stack.enter_context(victim.connected()) for _ in range(50)]
        for each in mute:
            each.sendall(UPGRADE + b"Connection: Upgrade\r\n\r\n")
        for each in mute:
            answer = read_all(each)
            assert answer.startswith(b"HTTP/1.1 101")
            assert (4408).to_bytes(2, "big") in answer


@pytest.mark.long
def test_a_stream_that_is_not_read(victim: Victim) -> None:
    """What it does not take is not kept for it."""
    subscribe = json.dumps({"key": victim.key}).encode()
    mask = bytes(4)
    frame = bytes([0x81, 0x80 | len(subscribe)]) + mask + subscribe
    before = victim.rss()
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(victim.connected())
            sock.sendall(UPGRADE + b"Connection: Upgrade\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 101")
            sock.sendall(frame)
        for number in range(50):
            victim.ask("POST", "/api/v1/reload", json={"reason": f"{number} " + "x" * 10_000})
        assert victim.rss() - before < 64 * 1024 * 1024
        assert victim.is_well()
