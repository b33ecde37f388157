"""The routes of the admin listener, asked through Quart's test client and over a real socket."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from functools import partial

import pytest
import trio
from admin_parts import AS_VIEWER, STARTED_AT, make_parts, note_answers
from hypercorn.events import RawData
from hypercorn.protocol.h11 import H11Protocol

from helios_trio import __version__
from helios_trio.admin.api import create_app
from helios_trio.admin.parts import Parts
from helios_trio.admin.server import serve_admin
from helios_trio.config.addresses import TcpAddress
from helios_trio.errors import ConfigError
from helios_trio.net.errors import ListenError

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
READ_ONLY = (
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics/prometheus",
    "/api/v1/topology",
    "/api/v1/version",
)


@pytest.fixture
def parts() -> Parts:
    return make_parts()


async def ask(parts: Parts, path: str, method: str = "GET") -> tuple[int, object, str]:
    """Status, JSON and media type of an answer."""
    response = await create_app(parts).test_client().open(path, method=method, headers=AS_VIEWER)
    return response.status_code, await response.get_json(force=True), response.mimetype


async def test_live_whatever_the_servers_do(parts: Parts) -> None:
    """Liveness is about the process."""
    assert await ask(parts, "/health/live") == (200, {"status": "live"}, "application/json")


async def test_not_ready_before_a_server_answered(parts: Parts) -> None:
    """Nobody has been asked yet."""
    status, body, _ = await ask(parts, "/health/ready")
    assert status == 503
    assert body == {
        "status": "degraded",
        "ready": False,
        "draining": False,
        "primary": "node1",
        "reason": "node1: not asked yet",
    }


async def test_ready_with_a_healthy_primary(parts: Parts) -> None:
    """One healthy node that takes writes is enough."""
    note_answers(parts.topology)
    parts.topology.note_failure("node2", "refused", 1.0)
    status, body, _ = await ask(parts, "/health/ready")
    assert (status, body) == (
        200,
        {"status": "ok", "ready": True, "draining": False, "primary": "node1", "reason": ""},
    )


async def test_not_ready_without_primary(parts: Parts) -> None:
    """A healthy standby does not make it ready; /health says so with 200, as the process itself is well."""
    note_answers(parts.topology)
    parts.topology.note_failure("node1", "connection refused", 1.0)
    status, body, _ = await ask(parts, "/health/ready")
    assert status == 503
    assert isinstance(body, dict)
    assert body["reason"] == "node1: connection refused"
    assert await ask(parts, "/health") == (200, body, "application/json")


async def test_not_ready_while_draining(parts: Parts) -> None:
    """A load balancer must stop sending clients."""
    note_answers(parts.topology)
    parts.proxy.draining = True
    status, body, _ = await ask(parts, "/health/ready")
    assert status == 503
    assert isinstance(body, dict)
    assert body["reason"] == "draining"


async def test_topology(parts: Parts) -> None:
    """All that is known of each node, in the order of the configuration."""
    note_answers(parts.topology, trio.current_time())
    status, body, _ = await ask(parts, "/api/v1/topology")
    assert status == 200
    assert isinstance(body, dict)
    assert (body["primary"], body["ready"]) == ("node1", True)
    assert (body["provider"], body["primary_status"]) == ("postgres", "confirmed")
    assert body["pending_primary"] is None
    one, two = body["nodes"]
    assert TIME.fullmatch(one.pop("checked_at"))
    assert one == {
        "name": "node1",
        "host": "10.0.0.1",
        "port": 5432,
        "role": "primary",
        "configured_role": "auto",
        "healthy": True,
        "reason": "",
        "writable": True,
        "in_recovery": False,
        "lsn": "1/1000",
        "replayed_lsn": None,
        "lag_seconds": None,
        "lag_bytes": None,
        "sync_state": None,
        "timeline": 3,
        "system_identifier": "77",
        "server_version": "18.6",
        "circuit": None,
        "connections": 0,
        "sessions": 0,
        "in_service": True,
        "diverted_to": [],
        "deposed": "",
        "priority": 20,
        "region": "eu",
        "tags": ["blue"],
    }
    assert (two["role"], two["lag_seconds"], two["lag_bytes"]) == ("standby", 1.5, 600)
    assert (two["lsn"], two["replayed_lsn"]) == ("1/E0C", "1/DA8")


async def test_unknown_is_null(parts: Parts) -> None:
    """Before the first answer nothing is made up."""
    _, body, _ = await ask(parts, "/api/v1/topology")
    assert isinstance(body, dict)
    node = body["nodes"][0]
    unknown = ("healthy", "in_recovery", "lsn", "lag_bytes", "timeline", "server_version", "checked_at")
    assert [node[name] for name in unknown] == [None] * len(unknown)


async def test_version(parts: Parts) -> None:
    """What runs, and since when (RFC 3339, UTC)."""
    _, body, _ = await ask(parts, "/api/v1/version")
    assert isinstance(body, dict)
    assert (body["version"], body["process"]) == (__version__, 7)
    assert body["started_at"] == "2027-01-15T08:00:00.000Z"
    assert STARTED_AT == 1_800_000_000.0


@pytest.mark.parametrize("path", ["/console", "/api/v1/nothing", "/metrics", "/static/x"])
async def test_unknown_path_is_a_problem(parts: Parts, path: str) -> None:
    """RFC 9457 in place of Quart's page."""
    status, body, media_type = await ask(parts, path)
    assert (status, media_type) == (404, "application/problem+json")
    assert isinstance(body, dict)
    assert (body["status"], body["title"], body["instance"]) == (404, "Not Found", path)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", READ_ONLY)
async def test_what_is_read_cannot_be_changed(parts: Parts, path: str, method: str) -> None:
    """These routes take nothing but reads; the answer says what is allowed."""
    response = await create_app(parts).test_client().open(path, method=method)
    body = await response.get_json(force=True)
    assert (response.status_code, response.mimetype) == (405, "application/problem+json")
    assert body["status"] == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_failure_in_a_view_tells_no_secret(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    """500 is a problem without the exception's text, which is in the log (rule 39)."""

    def fail() -> float:
        raise RuntimeError("the password is hunter2")

    app = create_app(parts)
    app.add_url_rule("/fails", "fails", fail)
    response = await app.test_client().get("/fails")
    text = (await response.get_data()).decode()
    assert (response.status_code, response.mimetype) == (500, "application/problem+json")
    assert json.loads(text)["title"] == "Internal Server Error"
    assert "hunter2" not in text
    assert "hunter2" in caplog.text


@pytest.mark.parametrize("path", READ_ONLY)
async def test_answers_are_not_kept(parts: Parts, path: str) -> None:
    """Every answer is of this moment."""
    response = await create_app(parts).test_client().get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def fetch(url: str) -> tuple[int, str, str]:
    """Status, media type and text, from a thread."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


async def test_served_on_a_free_port(parts: Parts, nursery: trio.Nursery) -> None:
    """Port 0 gives the URL that was bound; a shutdown ends it and frees the port."""
    shutdown = trio.Event()
    async with trio.open_nursery() as serving:
        url = await serving.start(serve_admin, create_app(parts), TcpAddress("127.0.0.1", 0), shutdown)
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)
        status, media_type, text = await trio.to_thread.run_sync(fetch, f"{url}/metrics/prometheus")
        assert (status, media_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "\nhelios_ready 0.0\n" in text
        assert (await trio.to_thread.run_sync(fetch, f"{url}/health/ready"))[0] == 503
        assert (await trio.to_thread.run_sync(fetch, f"{url}/nothing"))[:2] == (
            404,
            "application/problem+json",
        )
        shutdown.set()
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        pass


async def test_open_connection_does_not_hold_a_shutdown_up(parts: Parts, autojump_clock: object) -> None:
    """A client that keeps its connection open is told to go."""
    shutdown = trio.Event()
    async with trio.open_nursery() as serving:
        url = await serving.start(serve_admin, create_app(parts), TcpAddress("127.0.0.1", 0), shutdown)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            shutdown.set()
            while await stream.receive_some():
                pass


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "10.1.2.3", "::", "example.org"])
async def test_other_machines_are_kept_out(parts: Parts, host: str) -> None:
    """Without a file of keys only this machine may ask; the error names the key of the configuration."""
    with pytest.raises(ConfigError, match=r"proxy\.admin_listen_address.*this machine only"):
        await serve_admin(create_app(parts), TcpAddress(host, 0), trio.Event())


async def test_taken_port_is_named(parts: Parts) -> None:
    """As for every listener."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            await serve_admin(create_app(parts), TcpAddress("127.0.0.1", port), trio.Event())


async def test_port_can_be_shared_for_an_upgrade(parts: Parts) -> None:
    """The next process may listen before this one has gone."""
    serve = partial(serve_admin, reuse_port=True)
    shutdown = trio.Event()
    async with trio.open_nursery() as serving:
        url = await serving.start(serve, create_app(parts), TcpAddress("127.0.0.1", 0), shutdown)
        port = int(url.rpartition(":")[2])
        assert await serving.start(serve, create_app(parts), TcpAddress("127.0.0.1", port), shutdown) == url
        shutdown.set()


async def test_a_stumbling_connection(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in what speaks HTTP ends one connection, and costs no other one anything (rule 40)."""
    handle = H11Protocol.handle

    async def stumble(protocol: H11Protocol, event: RawData) -> None:
        if b"stumble" in event.data:
            raise RuntimeError("a bug")
        await handle(protocol, event)

    monkeypatch.setattr(H11Protocol, "handle", stumble)
    request, shutdown = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", trio.Event()
    async with trio.open_nursery() as serving:
        url = await serving.start(serve_admin, create_app(parts), TcpAddress("127.0.0.1", 0), shutdown)
        port = int(url.rpartition(":")[2])
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as good,
            await trio.open_tcp_stream("127.0.0.1", port) as bad,
        ):
            await good.send_all(request)
            assert (await good.receive_some()).startswith(b"HTTP/1.1 200")
            await bad.send_all(b"stumble")
            assert await bad.receive_some() == b""
            await good.send_all(request)
            assert (await good.receive_some()).startswith(b"HTTP/1.1 200")
            shutdown.set()
