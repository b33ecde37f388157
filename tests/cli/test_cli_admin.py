"""Commands that talk to a running proxy's admin listener, which is served here over a real socket."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from admin_parts import make_parts
from attrs import define, field
from fake_switchover import FakeSwitchover
from migration_rig import Rig, make_rig, running, until

from helios_trio.admin.access import Access
from helios_trio.admin.api import create_app
from helios_trio.admin.keys import KeyRing, Role, make_key, read_keys
from helios_trio.admin.server import serve_admin
from helios_trio.cli import main
from helios_trio.cli.client import AdminClient
from helios_trio.cli.screen import migration_picture, session_table, switchover_picture
from helios_trio.config.addresses import TcpAddress
from helios_trio.migration.states import State, Turn


@define(eq=False)
class Served:
    """A proxy whose admin listener is there."""

    rig: Rig
    switchover: FakeSwitchover
    url: str
    key: str
    capsys: pytest.CaptureFixture[str] = field(repr=False)

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code and what was written; the command runs in a thread, as it would beside the proxy."""
        code = await trio.to_thread.run_sync(main, list(arguments), abandon_on_cancel=True)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    async def when(self, condition: Callable[[], bool], do: Callable[[], Any]) -> None:
        await until(condition, 60)
        do()


@pytest.fixture
async def served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """Ten idle sessions on blue."""
    switchover, shutdown = FakeSwitchover(), trio.Event()
    key, kept = make_key("otto", Role.OPERATOR)
    rig = make_rig(switchover=switchover, sessions=10)
    # what the proxy logs belongs on its own stderr, not on that of the commands
    with structlog.testing.capture_logs():
        async with running(rig), trio.open_nursery() as nursery:
            parts = make_parts(rig, switchover)
            parts.access.ring.keys = (kept,)
            url = await nursery.start(serve_admin, create_app(parts), TcpAddress("127.0.0.1", 0), shutdown)
            monkeypatch.setenv("HELIOS_ADMIN_URL", url)
            monkeypatch.setenv("HELIOS_ADMIN_KEY", key)
            monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
            yield Served(rig, switchover, url, key, capsys)
            shutdown.set()


# -- sessions --------------------------------------------------------------------------------------------------


async def test_sessions_are_listed(served: Served) -> None:
    """A line each, with what keeps it where it is."""
    served.rig.fleet.present[3].pins = {"temporary tables": 2}
    code, out, _ = await served.run("sessions")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 11)
    assert lines[0].split()[:3] == ["id", "user", "database"]
    assert lines[3].split()[:5] == ["3", "alice", "shop", "app", "blue"]
    assert lines[3].rstrip().endswith("temporary tables (2)")


async def test_sessions_for_programs(served: Served) -> None:
    """All of them, over more than one page; filters are the API's."""
    served.rig.fleet.add(*(type(served.rig.fleet.present[1])(id) for id in range(11, 1502)))
    code, out, _ = await served.run("sessions", "--json")
    assert (code, [each["id"] for each in json.loads(out)]) == (0, list(range(1, 1502)))
    served.rig.fleet.present[3].pins = {"x": 1}
    _, out, _ = await served.run("sessions", "--json", "--pinned", "--backend", "blue")
    assert [each["id"] for each in json.loads(out)] == [3]
    _, out, _ = await served.run("sessions", "--json", "--tenant", "nobody")
    assert json.loads(out) == []


# -- migrate ---------------------------------------------------------------------------------------------------


async def test_a_migration_is_started_and_watched_to_its_end(served: Served) -> None:
    """Lines as it goes on; 0 when it has completed."""
    code, out, _ = await served.run(
        "migrate", "start", "--from", "blue", "--to", "green", "--mode", "immediate", "--reason", "test"
    )
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("migration 1 blue -> green: running, phase 1 of 1 (100 %)")
    assert lines[-1] == "migration 1 blue -> green: completed, phase 1 of 1 (100 %), 10 moved, 0 left"
    assert served.rig.migrations.find(1).order.reason == "test"


async def test_all_options_of_a_start(served: Served) -> None:
    """Are the order's."""
    code, out, _ = await served.run(
        *("migrate", "start", "--from", "blue", "--to", "green", "--mode", "manual", "--phase", "10:5m"),
        *(
            "--phase",
            "100",
            "--tenant",
            "a*",
            "--tenant",
            "b",
            "--share-of",
            "tenants",
            "--leftovers",
            "leave",
        ),
        *("--at", "2100-01-01T00:00:00Z", "--data", "shared", "--allow-older", "--detach", "--json"),
    )
    assert (code, json.loads(out)["status"]) == (0, "scheduled")
    order = served.rig.migrations.find(1).order
    assert [(each.percent, each.duration) for each in order.phases] == [(10.0, 300.0), (100.0, 0.0)]
    assert (order.tenants, order.share_of, order.leftovers) == (("a*", "b"), "tenants", "leave")
    assert (order.mode, order.data, order.allow_older) == ("manual", "shared", True)
    assert order.start_at is not None
    assert order.start_at.year == 2100


async def test_one_that_pauses_waits_for_somebody(served: Served) -> None:
    """Exit code 3, and why."""
    rig = served.rig
    rig.reconfigure(max_concurrent_migrations=1)
    for session in rig.fleet.present.values():
        session.seconds = 0.1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            served.when,
            lambda: len(rig.fleet.on_backend("green")) > 0,
            lambda: rig.examiner.complaints.update(green="replication_lag_ms < 100"),
        )
        code, out, _ = await served.run(
            "migrate", "start", "--from", "blue", "--to", "green", "--mode", "immediate"
        )
    assert code == 3
    assert "paused" in out.splitlines()[-1]
    assert "replication_lag_ms < 100: it is 500" in out.splitlines()[-1]


async def test_operators_words(served: Served) -> None:
    """Pause, resume, complete and rollback are said to the newest migration, or to the one that is named."""
    start = (
        "migrate",
        "start",
        "--from",
        "blue",
        "--to",
        "green",
        "--phase",
        "50:1h",
        "--phase",
        "100",
        "--detach",
    )
    assert (await served.run(*start))[0] == 0
    code, out, _ = await served.run("migrate", "pause", "--reason", "lunch")
    assert (code, out.splitlines()[0].endswith(": lunch")) == (0, True)
    assert "paused" in out
    code, out, _ = await served.run("migrate", "status")
    assert (code, "paused" in out) == (0, True)
    assert (await served.run("migrate", "resume", "1", "--detach"))[0] == 0
    code, out, _ = await served.run("migrate", "complete", "1", "--leftovers", "leave")
    assert (code, out.splitlines()[-1].startswith("migration 1 blue -> green: completed")) == (0, True)
    code, out, _ = await served.run("migrate", "rollback")
    assert code == 1
    assert "rolled_back" in out.splitlines()[-1]
    code, out, _ = await served.run("migrate", "status", "1", "--json", "--follow")
    assert (code, json.loads(out)["status"]) == (1, "rolled_back")
    said = [each.who for each in served.rig.means.events.newest(50) if each.who != "helios"]
    assert said == ["otto"] * 5


async def test_pinned_sessions_are_named(served: Served) -> None:
    """Below the line of the migration."""
    served.rig.fleet.present[3].pins = {"setseed": 1}
    migration = await served.rig.start()
    await until(lambda: bool(migration.there.ledger.staying), 60)
    _, out, _ = await served.run("migrate", "status")
    assert out.splitlines()[1:] == ["  pinned  session 3: setseed: 1"]


# -- switchover ------------------------------------------------------------------------------------------------


async def test_a_switchover_is_watched(served: Served) -> None:
    """The pause of writes is printed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.when, lambda: bool(served.switchover.orders), served.switchover.go_on.set)
        code, out, _ = await served.run("switchover", "--to", "gold", "--reason", "upgrade")
    assert code == 0
    assert out.splitlines()[-1] == "gold is the primary; writes waited 250 ms, 1 clients lost"
    assert served.switchover.orders[0].reason == "upgrade"


async def test_a_switchover_that_takes_itself_back_fails(served: Served) -> None:
    """With its reason on stderr."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.when, lambda: bool(served.switchover.orders), served.switchover.give_up)
        code, _, err = await served.run("switchover", "--to", "gold")
    assert (code, err) == (1, "given up\n")


async def test_a_switchover_for_programs(served: Served) -> None:
    """Nothing but JSON on stdout."""
    served.switchover.go_on.set()
    code, out, _ = await served.run("switchover", "--to", "gold", "--json")
    assert (code, json.loads(out)["outcome"]) == (0, "completed")


# -- what can go wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["migrate", "start", "--from", "red", "--to", "green"], 1, 'source: there is no backend "red"'),
        (["migrate", "start", "--from", "blue", "--to", "blue"], 1, "another backend than the source"),
        (["migrate", "start", "--from", "blue"], 2, "--to"),
        (["migrate", "start", "--from", "blue", "--to", "green", "--phase", "x"], 2, "such as 10:5m"),
        (["migrate", "start", "--from", "blue", "--to", "green", "--phase", "10:5"], 1, "phases.0.duration"),
        (["migrate", "start", "--from", "blue", "--to", "green", "--at", "noon"], 1, "schedule: "),
        (["migrate", "start", "--from", "blue", "--to", "green", "--mode", "fast"], 2, "immediate"),
        (["migrate", "status"], 1, "there has been no migration yet"),
        (["migrate", "pause", "7"], 1, "there is no migration 7"),
        (["migrate", "of"], 2, "of"),
        (["switchover", "--to", "green"], 1, "both names lead to one server"),
        (["switchover"], 2, "--to"),
        (["sessions", "--key", "wrong"], 1, "this API key is not known\nGive a key with --key"),
        (["sessions", "--key", ""], 1, "Give a key with --key"),
    ],
)
async def test_errors_are_words(served: Served, arguments: list[str], code: int, words: str) -> None:
    """On stderr, without a trace; 1 what the proxy refuses, 2 wrong usage."""
    found, out, err = await served.run(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


async def test_nobody_listens_there(served: Served) -> None:
    """A refused connection, a name that is none, a URL that is none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"127.0.0.1:{port}", "http://[", "http://nowhere.invalid:1"):
        code, _, err = await served.run("sessions", "--admin", url)
        assert (code, err.startswith("no answer from http://")) == (1, True), err
        assert "helios serve" in err


async def test_somebody_else_listens_there(served: Served, nursery: trio.Nursery) -> None:
    """An answer that is not ours is said to be none."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    port = listener.socket.getsockname()[1]
    code, _, err = await served.run("sessions", "--admin", f"http://127.0.0.1:{port}")
    assert (code, "is it an admin listener?" in err) == (1, True)


async def test_a_viewer_is_told_so(served: Served, nursery: trio.Nursery) -> None:
    """Looking is allowed."""
    key, kept = make_key("vera", Role.VIEWER)
    parts = make_parts(served.rig, served.switchover)
    parts.access.ring.keys = (kept,)
    shutdown = trio.Event()
    url = await nursery.start(serve_admin, create_app(parts), TcpAddress("127.0.0.1", 0), shutdown)
    assert (await served.run("sessions", "--admin", url, "--key", key))[0] == 0
    code, _, err = await served.run(
        "migrate", "start", "--from", "blue", "--to", "green", "--admin", url, "--key", key
    )
    assert (code, err) == (1, "the key vera is a viewer's; this needs an operator\n")
    shutdown.set()


async def test_who_stops_watching_stops_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: 130, and how to go on watching."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helios_trio.cli.screen.watch", interrupt)
    served.rig.fleet.present[3].pins = {"setseed": 1}
    start = ("migrate", "start", "--from", "blue", "--to", "green", "--mode", "immediate")
    code, _, err = await served.run(*start)
    assert (code, err.strip()) == (130, "the migration goes on; see `helios migrate status 1`")
    assert served.rig.migrations.find(1).state is State.RUNNING
    await served.rig.migrations.command(1, Turn.ROLL_BACK, "ann")
    code, _, err = await served.run("switchover", "--to", "gold")
    assert (code, "the switchover goes on" in err) == (130, True)


async def test_a_terminal_gets_pictures(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same facts, drawn anew while it goes on."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    code, out, _ = await served.run(
        "migrate", "start", "--from", "blue", "--to", "green", "--mode", "immediate"
    )
    assert code == 0
    assert "\x1b[" in out
    assert "completed" in out
    assert "10/10" in out


async def test_pictures_show_what_there_is(served: Served) -> None:
    """Whatever state it is in; long lists are cut."""
    from rich.console import Console

    for id in range(1, 11):
        served.rig.fleet.present[id].pins = {"setseed": 1}
    migration = await served.rig.start()
    await until(lambda: len(migration.there.ledger.staying) == 10, 60)
    api = AdminClient(served.url, served.key)
    status = await trio.to_thread.run_sync(api.get, "/api/v1/migration/1/status")
    failover = await trio.to_thread.run_sync(api.get, "/api/v1/failover/status")
    screen = Console(width=100, record=True, file=io.StringIO())
    for picture in (migration_picture(status), switchover_picture(failover), session_table([])):
        screen.print(picture)
    text = screen.export_text()
    assert "pinned  session 8: setseed: 1" in text
    assert "pinned  and 2 more" in text
    assert "switchover ? -> ?: checking" in text


# -- keys ------------------------------------------------------------------------------------------------------


def test_a_key_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed once; the file has its hash, and opens the door."""
    file = tmp_path / "keys"
    keys = []
    for name, role in (("ann", "operator"), ("bob", "viewer")):
        assert main(["admin", "create-key", name, "--role", role, "--file", str(file)]) == 0
        keys.append(capsys.readouterr().out.strip())
    assert not any(key in file.read_text() for key in keys)
    assert file.stat().st_mode & 0o077 == 0
    ring = Access(KeyRing(read_keys(file))).ring
    assert [(found.name, found.role) for found in map(ring.find, keys) if found] == [
        ("ann", Role.OPERATOR),
        ("bob", Role.VIEWER),
    ]


def test_a_key_without_a_file_comes_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """To be pasted."""
    assert main(["admin", "create-key", "ann"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("helios_")
    assert "ann viewer sha256:" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a b"], 2, "expected a name"),
        (["ann"], 2, "there is a key of ann already"),
        (["bob", "--role", "root"], 2, "operator"),
        (["bob", "--file", "none/keys"], 2, "none/keys: expected a file that can be written"),
        (["bob", "--file", "broken"], 2, "line 1: expected"),
    ],
)
def test_keys_that_cannot_be_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    """The file stays as it is."""
    monkeypatch.chdir(tmp_path)
    assert main(["admin", "create-key", "ann", "--file", "keys"]) == 0
    Path("broken").write_text("nonsense\n")
    before = Path("keys").read_text()
    given = arguments if "--file" in arguments else [*arguments, "--file", "keys"]
    assert main(["admin", "create-key", *given]) == code
    assert words in capsys.readouterr().err
    assert Path("keys").read_text() == before
