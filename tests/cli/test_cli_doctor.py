"""What `helios doctor` says of figures: servers, replication, numbers, files; and that nothing stops it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from certificates import Authority

from helios_trio.cli import main
from helios_trio.cli.doctor import about_files
from helios_trio.cli.doctor.about_capacity import (
    MachineFacts,
    about_backlog,
    about_connections,
    about_descriptors,
)
from helios_trio.cli.doctor.about_files import (
    Kind,
    NamedFile,
    about_certificates,
    about_mode,
    files_of,
    secrets_in,
)
from helios_trio.cli.doctor.about_replication import about_replication
from helios_trio.cli.doctor.about_servers import about_server, about_unreachable
from helios_trio.cli.doctor.asking import databases_of
from helios_trio.cli.doctor.examination import Examination
from helios_trio.cli.doctor.facts import DatabaseFacts, ServerFacts, SlotSeen, StandbySeen
from helios_trio.cli.doctor.findings import Finding, Verdict, ok, warning, worst, wrong
from helios_trio.cli.doctor.listening import RunningProxy, about_address, find_proxy
from helios_trio.cli.doctor.machine import look_at_contents, look_at_files, look_at_state
from helios_trio.config import Config, TcpAddress, UnixAddress, loads

TWO = """
[auth]
method = "trust"
[[backends.pools]]
name = "one"
host = "10.0.0.1"
{one}
[[backends.pools]]
name = "two"
host = "10.0.0.2"
{two}
"""
RIGHTS = (
    "pg_monitor",
    "pg_read_all_stats",
    "pg_signal_backend",
    "EXECUTE on pg_promote()",
    "EXECUTE on pg_reload_conf()",
    "ALTER SYSTEM",
    "pg_checkpoint",
)
SETTINGS = {
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "hot_standby": "on",
    "synchronous_standby_names": "two",
    "default_transaction_read_only": "off",
    "recovery_min_apply_delay": "0",
}
ONE = ServerFacts(
    name="one",
    version=180001,
    in_recovery=False,
    clock_ahead=0.0,
    clock_unsure=0.001,
    started_at="yesterday",
    system_identifier="77",
    settings=SETTINGS,
    rights=dict.fromkeys(RIGHTS, True),
    standbys=(StandbySeen(name="two", state="streaming", sync_state="sync"),),
    databases=(DatabaseFacts(name="shop"),),
)
SECOND = evolve(
    ONE, name="two", in_recovery=True, started_at="today", standbys=(), receiver="streaming", databases=()
)


def read(text: str, **environment: str) -> Config:
    return loads(text, environment, source="test", folder=Path.cwd())


def config(one: str = "", two: str = "", more: str = "") -> Config:
    return read(TWO.format(one=one, two=two) + more)


CONFIG = config("max_connections = 40", "max_connections = 40")


def bad(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Verdict, subject and words of what is not OK; each says what to do."""
    found = [each for each in findings if each.verdict is not Verdict.OK]
    assert all(each.remedy for each in found)
    return [(str(each.verdict), each.about, each.what) for each in found]


def with_settings(facts: ServerFacts, **settings: str) -> ServerFacts:
    return evolve(facts, settings={**facts.settings, **settings})


# -- servers -------------------------------------------------------------------------------------------------------


def test_all_is_well() -> None:
    """Nothing but OK, and something of each kind."""
    found = [
        *about_server(CONFIG, ONE),
        *about_server(CONFIG, SECOND),
        *about_replication(CONFIG, [ONE, SECOND]),
        *about_connections(CONFIG, [ONE, SECOND]),
    ]
    assert bad(found) == []
    kinds = {
        "reachable",
        "version",
        "clock",
        "rights",
        "setup",
        "primary",
        "replication",
        "synchronous",
        "connections",
    }
    assert {each.check for each in found} == kinds


@pytest.mark.parametrize(
    ("changed", "verdict", "words"),
    [
        ({"version": 110020}, "wrong", "PostgreSQL 11.20 is too old"),
        ({"version": 190000}, "warning", "has not been tested"),
        ({"clock_ahead": 2.5}, "warning", "2.5 s ahead of this machine's"),
        ({"clock_ahead": -90.0}, "wrong", "90.0 s behind this machine's"),
        ({"superuser": True}, "warning", "is a superuser"),
        ({"rights": {"EXECUTE on pg_promote()": False}}, "wrong", "no standby can be promoted"),
        ({"rights": {"pg_signal_backend": False}}, "wrong", "lacks pg_signal_backend"),
        ({"rights": {"pg_monitor": False}}, "warning", "lacks pg_monitor"),
        ({"rights": {"ALTER SYSTEM": False}}, "warning", "a switchover is refused"),
        (
            {"databases": (DatabaseFacts(name="shop", missing=("helios.note_commit(uuid, boolean)",)),)},
            "warning",
            "helios.note_commit",
        ),
        ({"databases": (DatabaseFacts(name="shop", problem="no entry"),)}, "warning", "no entry"),
        ({"unknown": {"settings": "permission denied"}}, "warning", "permission denied"),
    ],
)
def test_what_is_wrong_with_a_server(changed: dict[str, Any], verdict: str, words: str) -> None:
    """One thing each."""
    [(found, about, what)] = bad(about_server(CONFIG, evolve(ONE, **changed)))
    assert (found, about.split(",")[0], words in what) == (verdict, "one", True), what


def test_a_clock_is_not_blamed_for_a_slow_way() -> None:
    """What the question took is no difference."""
    assert bad(about_server(CONFIG, evolve(ONE, clock_ahead=2.0, clock_unsure=1.5))) == []


def test_rights_that_nothing_needs() -> None:
    """Where somebody else promotes, and nothing is replayed, lacking rights are warnings."""
    more = '[topology]\nprovider = "patroni"\n[transaction_replay]\nenabled = false\n'
    facts = evolve(
        ONE, rights=dict.fromkeys(RIGHTS, False), databases=(DatabaseFacts(name="x", missing=("y",)),)
    )
    assert {verdict for verdict, _, _ in bad(about_server(config(more=more), facts))} == {"warning"}


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("connection failed: Connection refused", "start the server"),
        ("could not resolve host name 'x'", "host's name"),
        ("no answer within 5 s", "firewall"),
        ('FATAL: password authentication failed for user "h"', "control.password"),
        ("FATAL: no pg_hba.conf entry for host", "pg_hba.conf"),
        ('FATAL: database "x" does not exist', "control.database"),
        ('FATAL: role "x" does not exist', "helios setup"),
        ("FATAL: sorry, too many clients already", "max_connections"),
        ("something new", "server's log"),
    ],
)
def test_unreachable_servers(reason: str, remedy: str) -> None:
    """What to do depends on why."""
    found = about_unreachable("one", reason)
    assert (found.verdict, remedy in found.remedy, reason in found.what) == (Verdict.WRONG, True, True), found


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", ["app", "shop"]),
        ('[[databases]]\nname = "a"\ndatabase = "b"\n[[databases]]\nname = "c"\n', ["b", "c"]),
        ('[[databases]]\nname = "*"\n', ["app", "shop"]),
    ],
)
def test_databases_that_are_looked_into(more: str, expected: list[str]) -> None:
    """Those that clients may reach."""
    assert databases_of(config(more=more), [("app",), ("shop",)]) == expected
    named = config('database = "z"', 'database = "y"')
    assert databases_of(named, [("app",)]) == ["y", "z"]


# -- replication ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primary", "standby", "verdict", "words"),
    [
        ({"in_recovery": True}, {}, "wrong", "all are standbys"),
        ({}, {"in_recovery": False}, "wrong", "each of them is a primary"),
        ({}, {"receiver": None}, "wrong", "receives nothing"),
        ({}, {"replay_paused": True}, "wrong", "replay is paused"),
        ({"standbys": ()}, {}, "wrong", "every COMMIT waits for ever"),
        (
            {"standbys": (StandbySeen(name="two", state="catchup", sync_state="sync"),)},
            {},
            "warning",
            "have not caught up: two (catchup)",
        ),
        ({"version": 180000}, {}, "warning", "different releases: 18.0, 18.1"),
        (
            {"slots": (SlotSeen(name="old", active=False, wal_status="extended", kept=5 << 30),)},
            {},
            "wrong",
            "5120 MB of WAL",
        ),
        (
            {"slots": (SlotSeen(name="old", active=False, wal_status=None, kept=0),)},
            {},
            "warning",
            "nobody reads it",
        ),
        ({"slots": (SlotSeen(name="x", active=False, wal_status="lost", kept=0),)}, {}, "wrong", "is gone"),
    ],
)
def test_what_is_wrong_between_servers(
    primary: dict[str, Any], standby: dict[str, Any], verdict: str, words: str
) -> None:
    """Said of the one whose fault it is."""
    found = bad(about_replication(CONFIG, [evolve(ONE, **primary), evolve(SECOND, **standby)]))
    assert any(each[0] == verdict and words in each[2] for each in found), found


@pytest.mark.parametrize(
    ("settings", "verdict", "words"),
    [
        ({"wal_level": "minimal"}, "wrong", "wal_level is minimal"),
        ({"max_wal_senders": "1"}, "warning", "max_wal_senders is 1"),
        ({"hot_standby": "off"}, "warning", "hot_standby is off"),
        ({"synchronous_standby_names": ""}, "warning", "may lose the last commits"),
        ({"default_transaction_read_only": "on"}, "wrong", "transactions are read-only"),
    ],
)
def test_settings_of_a_primary(settings: dict[str, str], verdict: str, words: str) -> None:
    """That replication, or a failover, needs."""
    [(found, about, what)] = bad(about_replication(CONFIG, [with_settings(ONE, **settings), SECOND]))
    assert (found, about, words in what) == (verdict, "one", True), what


def test_settings_of_a_standby() -> None:
    """One that is late on purpose."""
    late = with_settings(SECOND, recovery_min_apply_delay="60000")
    assert bad(about_replication(CONFIG, [ONE, late])) == [
        ("warning", "two", "it replays 60 s late (recovery_min_apply_delay)")
    ]


def test_two_names_of_one_server() -> None:
    """Are no two primaries."""
    same = evolve(ONE, name="two")
    assert bad(about_replication(CONFIG, [ONE, same])) == []


def test_servers_that_have_nothing_to_do_with_each_other() -> None:
    """Each is its own cluster; without a standby nobody takes over."""
    other = evolve(ONE, name="two", system_identifier="78")
    alone = [evolve(each, standbys=()) for each in (ONE, other)]
    found = bad(about_replication(CONFIG, alone))
    assert {words for _, _, words in found} == {"it has no standby: when it dies, nobody takes over"}


def test_roles_that_are_not_so() -> None:
    """What the configuration says against what the servers say."""
    turned = config('role = "standby"', 'role = "active"')
    found = bad(about_replication(turned, [ONE, SECOND]))
    assert [each[0] for each in found] == ["warning", "wrong"]


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "verdict", "words"),
    [
        ("max_connections = 200", "max_connections = 40", "warning", "up to 200 connections"),
        ("max_connections = 93", "max_connections = 40", "warning", "room for 97"),
        (
            "max_connections = 99\nmin_connections = 98",
            "max_connections = 40",
            "wrong",
            "min_connections are 98",
        ),
        ("", "max_connections = 40", "warning", "one pool may have 100 connections"),
    ],
)
def test_connections_that_a_server_does_not_have(one: str, two: str, verdict: str, words: str) -> None:
    """100, of which three are for superusers, and five are ours."""
    found = bad(about_connections(config(one, two), [ONE, SECOND]))
    assert any((verdict, "one") == each[:2] and words in each[2] for each in found), found


def test_names_of_one_server_share_its_connections() -> None:
    """Each alone would have room."""
    both = config("max_connections = 60", "max_connections = 60")
    found = bad(about_connections(both, [ONE, evolve(ONE, name="two")]))
    assert [(verdict, about) for verdict, about, _ in found] == [("warning", "one, two")]
    assert bad(about_connections(both, [ONE, SECOND])) == []


@pytest.mark.parametrize(
    ("soft", "of_proxy", "verdict"),
    [(10_180, False, "ok"), (10_179, False, "warning"), (1024, True, "wrong")],
)
def test_descriptors(soft: int, of_proxy: bool, verdict: str) -> None:
    """10,000 clients, twice 40 server connections and 100 others."""
    machine = MachineFacts(descriptors=soft, of_proxy=of_proxy)
    assert about_descriptors(CONFIG, machine).verdict == verdict


def test_backlog() -> None:
    """Of listeners, which the kernel cuts down."""
    small = MachineFacts(descriptors=1, somaxconn=128)
    assert [each.verdict for each in about_backlog(CONFIG, small)] == [Verdict.WARNING]
    assert list(about_backlog(CONFIG, evolve(small, somaxconn=4096))) == []


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "mode", "verdict"),
    [
        (Kind.SECRET, 0o600, "ok"),
        (Kind.SECRET, 0o640, "ok"),
        (Kind.SECRET, 0o644, "wrong"),
        (Kind.SECRET, 0o660, "warning"),
        (Kind.HASHES, 0o644, "ok"),
        (Kind.HASHES, 0o646, "wrong"),
        (Kind.CERTIFICATE, 0o644, "ok"),
    ],
)
def test_modes(kind: Kind, mode: int, verdict: str) -> None:
    """Secrets are not for everybody, and nothing is written by everybody."""
    assert about_mode(NamedFile("key", Path("file"), kind), mode).verdict == verdict


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [
        (0, "warning", "proxy is valid until"),
        (2, "wrong", "CN=proxy has expired on"),
        (-2, "wrong", "valid only from"),
    ],
)
def test_certificates(tmp_path: Path, days: int, verdict: str, words: str) -> None:
    """One that is valid from yesterday to tomorrow, on several days."""
    pair = Authority(tmp_path).issue("proxy")
    file = NamedFile("proxy.tls.cert_file", pair.cert_file, Kind.CERTIFICATE)
    found = about_certificates(file, pair.cert_file.read_bytes(), datetime.now(UTC) + timedelta(days=days))
    assert (found.verdict, words in found.what) == (verdict, True), found


def test_certificates_that_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said before the last month; and of what is none at all."""
    monkeypatch.setattr(about_files, "_SOON", timedelta(hours=1))
    pair = Authority(tmp_path).issue("proxy")
    file = NamedFile("proxy.tls.cert_file", pair.cert_file, Kind.CERTIFICATE)
    content = pair.cert_file.read_bytes()
    assert about_certificates(file, content, datetime.now(UTC)).verdict is Verdict.OK
    bad_one = about_certificates(file, b"nonsense", datetime.now(UTC))
    assert (bad_one.verdict, bad_one.remedy) == (Verdict.WRONG, "put certificates in PEM there")


def test_files_of_a_configuration(tmp_path: Path) -> None:
    """All that matter are looked at, under the keys that name them."""
    pair = Authority(tmp_path).issue("proxy")
    pair.key_file.chmod(0o644)
    users, keys = tmp_path / "users", tmp_path / "keys"
    users.write_text('"a" "b"\n')
    users.chmod(0o600)
    keys.write_text("nonsense\n")
    text = f"""
[proxy]
listen_address = "0.0.0.0:6432"
[proxy.tls]
mode = "require"
cert_file = "{pair.cert_file}"
key_file = "{pair.key_file}"
[auth]
method = "trust"
auth_file = "{users}"
[control]
password = "secret"
[admin]
api_keys_file = "{keys}"
[[backends.pools]]
name = "one"
host = "h"
user = "u"
password = "${{FROM_OUTSIDE}}"
"""
    path = tmp_path / "helios.toml"
    path.write_text(text)
    path.chmod(0o644)
    found = read(text, FROM_OUTSIDE="secret")
    named = {each.key for each in files_of(found)}
    assert named == {"proxy.tls.cert_file", "proxy.tls.key_file", "auth.auth_file", "admin.api_keys_file"}
    assert secrets_in(found, text) == ["control.password"]
    about = {each[1].split(",")[0]: each[0] for each in bad(look_at_files(found, path))}
    assert about["configuration"] == "wrong"
    assert about["control.password"] == "warning"
    assert about["proxy.tls.key_file"] == "wrong"
    contents = {each[1]: each[2] for each in bad(look_at_contents(found))}
    assert set(contents) == {"admin.api_keys_file", "auth.method"}
    assert "line 1" in contents["admin.api_keys_file"]


def test_the_folder_of_state(tmp_path: Path) -> None:
    """A file in its place cannot be written into."""
    (tmp_path / "file").touch()
    for folder, verdict in ((tmp_path / "new" / "one", "ok"), (tmp_path / "file", "wrong")):
        (found,) = look_at_state(read(f'[proxy]\nstate_dir = "{folder}"\n'))
        assert found.verdict == verdict


# -- addresses -----------------------------------------------------------------------------------------------------


async def test_addresses(tmp_path: Path) -> None:
    """Free, ours, somebody else's, or not to be had at all."""

    async def verdict(address: Any, proxy: RunningProxy | None = None) -> str:
        return (await about_address("key", address, proxy)).verdict

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await verdict(TcpAddress("127.0.0.1", port)) == "wrong"
        assert await verdict(TcpAddress("127.0.0.1", port), RunningProxy(ready=True)) == "ok"
    assert await verdict(TcpAddress("127.0.0.1", port)) == "ok"
    assert await verdict(TcpAddress("127.0.0.1", 0)) == "ok"
    assert await verdict(TcpAddress("192.0.2.1", 6432)) == "wrong"
    assert await verdict(UnixAddress(str(tmp_path))) == "ok"
    assert await verdict(UnixAddress(str(tmp_path / "none"))) == "wrong"
    address = UnixAddress(str(tmp_path))
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(address.path)
        unix.listen()
        assert await verdict(address) == "wrong"


async def test_who_is_no_proxy(nursery: trio.Nursery) -> None:
    """Nobody, or somebody who answers otherwise."""
    assert await find_proxy(None) is None
    assert await find_proxy(TcpAddress("127.0.0.1", 0)) is None

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    assert await find_proxy(TcpAddress("127.0.0.1", listener.socket.getsockname()[1])) is None
    nursery.cancel_scope.cancel()


# -- all of it -----------------------------------------------------------------------------------------------------


async def test_nothing_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that breaks, and one that hangs, are findings; the others go on."""
    found = Examination(read(""), None, time_limit=0.2)

    async def hang() -> list[Finding]:
        await trio.sleep_forever()
        raise AssertionError

    async def break_down() -> list[Finding]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Examination, "_limits", lambda self: hang())
    monkeypatch.setattr(Examination, "_proxy", lambda self: break_down())
    with trio.fail_after(30):
        findings = await found.run()
    assert [(each.about, each.what) for each in findings if each.check == "doctor"] == [
        ("proxy", "could not be looked at: a bug (RuntimeError)"),
        ("limits", "not finished within 0.2 s"),
    ]
    assert {"listening", "state", "embedded"} <= {each.check for each in findings}


def test_the_worst() -> None:
    """Decides the exit code."""
    fine, so_so, broken = ok("a", "", "b"), warning("a", "", "b", "c"), wrong("a", "", "b", "c")
    assert [worst(each) for each in ([], [fine], [fine, so_so], [broken, so_so])] == [
        "ok",
        "ok",
        "warning",
        "wrong",
    ]


def test_a_server_that_cannot_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = tmp_path / "helios.toml"
    path.write_text(
        '[proxy]\nlisten_address = "127.0.0.1:0"\nadmin_listen_address = "off"\n[auth]\nmethod = "trust"\n'
        f'[[backends.pools]]\nname = "one"\nhost = "127.0.0.1"\nport = {port}\n'
    )
    assert main(["doctor", "--config", str(path), "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "WRONG    reachable: one: the control user cannot connect: connection" in out
    assert "-> start the server, or correct host and port" in out
    assert out.splitlines()[-1].startswith("1 wrong, ")
    assert "\nOK" not in out


def test_a_configuration_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as of every command; for programs as findings."""
    path = tmp_path / "helios.toml"
    path.write_text("[proxy]\nlog_level = 'loud'\nno_such_key = 1\n")
    assert main(["doctor", "--config", str(path)]) == 2
    assert "proxy.log_level" in capsys.readouterr().err
    assert main(["doctor", "--config", str(path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], {each["check"] for each in found["findings"]}) == ("wrong", {"configuration"})
    assert len(found["findings"]) == 2
