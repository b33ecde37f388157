"""The commands that watch, against a real proxy: as it is, and while it is restarted."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from helios_trio.admin.keys import Role, make_key
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

PATIENCE = 60.0
CONFIG = """
[proxy]
state_dir = "{folder}/state"
[auth]
method = "trust"
[control]
user = "{user}"
[admin]
api_keys_file = "{folder}/keys"
[[backends.pools]]
name = "node1"
host = "{host}"
port = {port}
max_connections = 20
"""
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
LEAVES_THE_SCREEN = b"\x1b[?1049l"


class Proxies:
    """A configuration and a key with which proxies are started."""

    def __init__(self, folder: Path, address: tuple[str, int], user: str = "postgres") -> None:
        self.key, kept = make_key("vera", Role.OPERATOR)
        (folder / "keys").write_text(f"{kept.line}\n")
        self.config = CONFIG.format(folder=folder, host=address[0], port=address[1], user=user)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def started(self) -> Iterator[ProxyProcess]:
        """One, always on the same admin port."""
        with running_proxy(self.config, ("--admin-listen", f"127.0.0.1:{self.port}")) as proxy:
            yield proxy

    @property
    def environment(self) -> dict[str, str]:
        """Of commands."""
        more = {"HELIOS_ADMIN_URL": self.url, "HELIOS_ADMIN_KEY": self.key, "TERM": "xterm-256color"}
        kept = {name: each for name, each in os.environ.items() if name not in ("COLUMNS", "LINES")}
        return {**kept, **more}

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return subprocess.run(
            command(*arguments),
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def note(self, reason: str) -> None:
        """Have something happen."""
        body = {"reason": reason}
        headers = {"X-API-Key": self.key}
        answer = httpx.post(f"{self.url}/api/v1/reload", json=body, headers=headers, trust_env=False)
        answer.raise_for_status()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "helios_trio", *arguments]


@pytest.fixture
def proxies(direct_address: tuple[str, int], tmp_path: Path) -> Proxies:
    return Proxies(tmp_path, direct_address)


def until(condition: Callable[[], bool], what: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


# -- one answer --------------------------------------------------------------------------------------------------


def test_once(proxies: Proxies, tmp_path: Path) -> None:
    """Status, events, one picture, and the doctor, of a proxy with a client."""
    with proxies.started() as proxy, psycopg.connect(proxy.dsn(), application_name="the shop") as client:
        client.execute("SELECT 1")
        done = proxies.run("status")
        assert (done.returncode, done.stdout.splitlines()[0].split("  ")[0]) == (0, "ready"), done.stderr
        found = json.loads(proxies.run("status", "--json").stdout)
        assert (found["ready"], found["primary"], found["sessions"]) == (True, "node1", 1)
        picture = proxies.run("top", COLUMNS="80").stdout.splitlines()
        assert picture[0].startswith("helios ")
        assert any("the shop" in line and "in trans" in line for line in picture)
        assert max(map(len, picture)) <= 80
        proxies.note("first")
        proxies.note("second")
        events = proxies.run("events", "--json", "--limit", "2").stdout.splitlines()
        assert [json.loads(line)["reason"] for line in events] == ["first", "second"]
        assert "configuration reloaded: configuration, by vera (second)" in proxies.run("events").stdout
    for arguments in (("status",), ("top", "--once"), ("events",), ("events", "--follow")):
        done = proxies.run(*arguments)
        assert (done.returncode, "no answer from" in done.stderr) == (1, True), arguments
    done = proxies.run("status", "--json")
    assert (done.returncode, json.loads(done.stdout)["reachable"]) == (1, False)


@pytest.mark.long
def test_a_wrong_key_is_told(proxies: Proxies) -> None:
    """In the same words everywhere."""
    with proxies.started():
        for arguments in (("status",), ("top", "--once"), ("events", "--follow")):
            done = proxies.run(*arguments, "--key", "helios_wrong")
            assert done.returncode == 1
            assert "this API key is not known" in done.stderr
            assert "Give a key with --key" in done.stderr


@pytest.mark.long
def test_the_doctor_of_a_real_server(proxies: Proxies, tmp_path: Path, direct_dsn: str) -> None:
    """Of a proxy that runs, and of a database without what it needs."""
    config = tmp_path / "helios.toml"
    with psycopg.connect(direct_dsn, autocommit=True) as direct:
        direct.execute("CREATE DATABASE unprepared TEMPLATE template0")
        try:
            with proxies.started() as proxy:
                listening = f'listen_address = "{proxy.host}:{proxy.port}"\n'
                admin = f'admin_listen_address = "127.0.0.1:{proxies.port}"\n'
                text = Proxies(
                    tmp_path, (_at(direct, "host"), int(_at(direct, "port"))), "helios_control"
                ).config
                config.write_text(text.replace("[proxy]\n", f"[proxy]\n{listening}{admin}"))
                done = proxies.run("doctor", "--config", str(config), "--json")
        finally:
            direct.execute("DROP DATABASE unprepared")
    findings = json.loads(done.stdout)["findings"]
    assert not [each for each in findings if each["verdict"] == "wrong"], findings
    said = {(each["check"], each["about"]): each for each in findings}
    assert said["proxy", f"127.0.0.1:{proxies.port}"]["what"] == "a proxy runs here: ready"
    assert said["listening", f"proxy.listen_address, {proxy.host}:{proxy.port}"]["verdict"] == "ok"
    assert said["rights", "node1"]["verdict"] == "ok"
    assert said["setup", "node1, database postgres"]["verdict"] == "ok"
    assert "helios.note_commit" in said["setup", "node1, database unprepared"]["what"]
    assert said["descriptors", ""]["what"].startswith("the running proxy may have")
    assert done.returncode == 0


def _at(connection: psycopg.Connection[Any], name: str) -> str:
    return str(getattr(connection.info, name))


# -- live --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_events_are_followed_over_a_restart(proxies: Proxies, tmp_path: Path) -> None:
    """None is lost, none comes twice, and the restart is said."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as to_out, err.open("w") as to_err, proxies.started() as first:
        proxies.note("before")
        following = subprocess.Popen(
            command("events", "--follow", "--json", "--limit", "1"),
            env=proxies.environment,
            stdout=to_out,
            stderr=to_err,
        )
        try:

            def reasons() -> list[str]:
                return [json.loads(line)["reason"] for line in out.read_text().splitlines()]

            def told(reason: str) -> None:
                until(lambda: reason in reasons(), lambda: (out.read_text(), err.read_text()))

            told("before")
            proxies.note("one")
            told("one")
            first.process.terminate()
            first.process.wait(PATIENCE)
            until(lambda: "not connected" in err.read_text())
            with proxies.started():
                proxies.note("two")
                told("two")
                proxies.note("three")
                told("three")
                following.send_signal(signal.SIGINT)
                assert following.wait(PATIENCE) == 130
        finally:
            following.kill()
            following.wait()
    assert [each for each in reasons() if each in ("before", "one", "two", "three")] == [
        "before",
        "one",
        "two",
        "three",
    ]
    assert err.read_text().count("the proxy was restarted: process") == 1
    assert "Traceback" not in err.read_text()


def _hear_ctrl_c() -> None:
    """Whoever runs the tests in the background has had it ignored, which is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """`helios top` on a terminal of 80 columns and 24 lines."""

    def __init__(self, proxies: Proxies) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            command("top"),
            env=proxies.environment,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
        self.seen = b""

    def sees(self, *words: str) -> None:
        """Wait until all of that has been drawn since the last time."""
        start, deadline = len(self.seen), time.monotonic() + PATIENCE
        while not all(each in ESCAPES.sub(b"", self.seen[start:]).decode(errors="replace") for each in words):
            assert time.monotonic() < deadline, (words, self.seen[start:][-3000:])
            self.read()

    def read(self) -> None:
        if select.select([self.master], [], [], 0.1)[0]:
            self.seen += os.read(self.master, 65536)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """The exit code, once all that was written is read: else it could not end."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
        self.read()
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """As it was before: its modes, the screen, the cursor."""
        left = self.seen.rpartition(LEAVES_THE_SCREEN)
        return (
            termios.tcgetattr(self.slave) == self.before and bool(left[1]) and b"\x1b[?1049h" not in left[2]
        )


@pytest.fixture
def terminal(proxies: Proxies) -> Iterator[Callable[[], Terminal]]:
    opened: list[Terminal] = []

    def open_one() -> Terminal:
        opened.append(Terminal(proxies))
        return opened[-1]

    yield open_one
    for each in opened:
        each.process.kill()
        each.process.wait()
        os.close(each.master)
        os.close(each.slave)


@pytest.mark.long
def test_top_on_a_terminal(proxies: Proxies, terminal: Callable[[], Terminal]) -> None:
    """Keys, a client that comes, a proxy that is restarted; and the terminal as it was."""
    with proxies.started() as proxy:
        top = terminal()
        top.sees("primary node1", "busiest first")
        with psycopg.connect(proxy.dsn(), application_name="the shop"):
            top.sees("the shop", "1 of 1 sessions")
            top.press("s")
            top.sees("oldest first")
            top.press("/nobody\r")
            top.sees('0 of 1 sessions, of "nobody"')
            top.press("\x1b")
            top.sees("1 of 1 sessions, oldest")
        proxy.process.terminate()
        top.sees("not connected")
    with proxies.started():
        top.sees("the proxy was restarted at", "primary node1")
        top.press("q")
        assert (top.end(), top.restored) == (0, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_top_gives_the_terminal_back(
    proxies: Proxies, terminal: Callable[[], Terminal], number: int, code: int
) -> None:
    """Whatever ends it."""
    with proxies.started():
        top = terminal()
        top.sees("busiest first")
        top.process.send_signal(number)
        assert (top.end(), top.restored) == (code, True)


def test_top_is_stopped_for_a_while(proxies: Proxies, terminal: Callable[[], Terminal]) -> None:
    """Ctrl-Z: the shell has its terminal until it goes on."""
    with proxies.started():
        top = terminal()
        top.sees("busiest first")
        top.process.send_signal(signal.SIGTSTP)
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{top.process.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
            assert time.monotonic() < deadline
            top.read()
        top.read()
        assert top.restored
        top.process.send_signal(signal.SIGCONT)
        top.sees("busiest first")
        top.press("q")
        assert (top.end(), top.restored) == (0, True)


def test_top_without_a_proxy(terminal: Callable[[], Terminal]) -> None:
    """Is an error on the restored screen."""
    top = terminal()
    assert (top.end(), top.restored) == (1, True)
    assert b"no answer from" in top.seen.rpartition(LEAVES_THE_SCREEN)[2]
