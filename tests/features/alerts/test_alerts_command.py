"""`helios alerts test`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from alerts_rig import HIDDEN

from helios_trio.cli import main


class Web:
    """A server that answers each path as it is told to."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.heard: list[tuple[str, Any]] = []


@contextmanager
def listening() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            web.heard.append((self.path, json.loads(self.rfile.read(length))))
            status, body = web.answers.get(self.path, (200, b"ok"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web = Web(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with listening() as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, web: Web) -> Path:
    """Every receiver there is."""
    file = tmp_path / "helios.toml"
    file.write_text(
        f'[alerts]\nwebhook_url = "{web.url}/{HIDDEN}"\nslack_webhook_url = "{web.url}/slack"\n'
        f'pagerduty_integration_key = "{HIDDEN}"\npagerduty_url = "{web.url}/pagerduty"\n'
        f'[failover.actions]\nalert_webhook = "{web.url}/failover"\n'
    )
    return file


def test_all_receivers(config: Path, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says what it answered; the incident at PagerDuty is closed again."""
    assert main(["alerts", "test", "--config", str(config)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "webhook: ok: 200 ok",
        "slack: ok: 200 ok",
        "pagerduty: ok: 200 ok",
        "pagerduty: ok: 200 ok",
        "failover: ok: 200 ok",
    ]
    incidents = [each for path, each in web.heard if path == "/pagerduty"]
    assert [each["event_action"] for each in incidents] == ["trigger", "resolve"]
    assert len({each["dedup_key"] for each in incidents}) == 1
    assert sorted(path for path, _ in web.heard) == sorted(
        [f"/{HIDDEN}", "/slack", "/pagerduty", "/pagerduty", "/failover"]
    )


def test_one_that_fails(config: Path, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """Its answer is shown without what is secret, and the others are asked nevertheless."""
    web.answers["/pagerduty"] = (400, f"bad key {HIDDEN}\n\x1b[2J".encode())
    assert main(["alerts", "test", "--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert "pagerduty: failed: 400 bad key ******** [2J\n" in out
    assert HIDDEN not in out
    assert "failover: ok: 200 ok" in out


def test_one_receiver(config: Path, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """The others hear nothing."""
    assert main(["alerts", "test", "--config", str(config), "--receiver", "slack"]) == 0
    assert [path for path, _ in web.heard] == ["/slack"]


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that nobody listens on."""
    with listening() as gone:
        url = gone.url
    file = tmp_path / "helios.toml"
    file.write_text(f'[alerts]\nwebhook_url = "{url}/{HIDDEN}"\n')
    assert main(["alerts", "test", "--config", str(file)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("webhook: failed: ConnectError")
    assert HIDDEN not in out


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("", [], "expected at least one receiver"),
        ('[alerts]\nwebhook_url = "https://a.example"', ["--receiver", "slack"], "configured (webhook)"),
        ("", ["--receiver", "fax"], "fax"),
        ('[alerts]\nwebhook_url = "fax"', [], "alerts.webhook_url"),
    ],
)
def test_wrong_usage(
    text: str, arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and why."""
    file = tmp_path / "helios.toml"
    file.write_text(text)
    assert main(["alerts", "test", "--config", str(file), *arguments]) == 2
    assert words in capsys.readouterr().err
