"""The admin console of a real proxy, through psql and psycopg: every SHOW, every command, and what clients notice.

Columns are compared with those of a real PgBouncer where there is one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from helios_trio.admin.console_columns import OURS, PGBOUNCER
from helios_trio.embedded.account import choose_account, give
from helios_trio.testing.running import ProxyProcess, running_proxy

CONFIG = """
[auth]
method = "trust"
[control]
user = "postgres"
[admin]
admin_users = ["ops"]
stats_users = ["exporter"]
pause_timeout = "{pause_timeout}"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
priority = 1
[[backends.pools]]
name = "twin"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
queue_timeout = "{queue_timeout}"
"""
PROGRAM = os.environ.get("PGBOUNCER") or shutil.which(
    "pgbouncer", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
)


def config_for(
    address: tuple[str, int],
    mode: str = "transaction",
    pause_timeout: str = "30s",
    queue_timeout: str = "30s",
) -> str:
    host, port = address
    return CONFIG.format(
        host=host, port=port, mode=mode, pause_timeout=pause_timeout, queue_timeout=queue_timeout
    )


@pytest.fixture(scope="module")
def proxy(direct_address: tuple[str, int]) -> Iterator[ProxyProcess]:
    """In transaction mode, with two names of its server."""
    with running_proxy(config_for(direct_address)) as found:
        yield found


@contextmanager
def connected(
    proxy: ProxyProcess, user: str = "postgres", database: str = "postgres"
) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        proxy.dsn(user, database), autocommit=True, connect_timeout=20, prepare_threshold=None
    ) as found:
        yield found


@contextmanager
def console(
    proxy: ProxyProcess, user: str = "ops", database: str = "pgbouncer"
) -> Iterator[psycopg.Connection[tuple[str, ...]]]:
    with connected(proxy, user, database) as found:
        yield found


def table(console: psycopg.Connection, name: str) -> list[dict[str, object]]:
    """Rows of a SHOW by the names of its columns."""
    cursor = console.execute(f"SHOW {name}".encode())
    assert cursor.description is not None
    names = [each.name for each in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def described(console: psycopg.Connection, name: str) -> list[tuple[str, int]]:
    """Columns and the oids of their types."""
    cursor = console.execute(f"SHOW {name}".encode())
    return [(each.name, each.type_code) for each in cursor.description or ()]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not happened in time"
        time.sleep(0.02)


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run it in a thread; what it returned or raised is in the list then."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except psycopg.Error as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def psql(proxy: ProxyProcess, text: str, user: str = "ops") -> subprocess.CompletedProcess[str]:
    found = shutil.which("psql")
    if found is None:
        pytest.skip("there is no psql")
    command = [found, "-X", "-A", "-h", proxy.host, "-p", str(proxy.port), "-U", user, "-d", "pgbouncer"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


# -- SHOW ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PGBOUNCER, *OURS])
def test_psql_shows_every_table(proxy: ProxyProcess, name: str) -> None:
    """With its columns."""
    with connected(proxy) as client:
        client.execute("select 1")
        done = psql(proxy, f"show {name.lower()};\n")
    assert (done.returncode, done.stderr) == (0, "")
    columns = {**PGBOUNCER, **OURS}[name]
    assert done.stdout.splitlines()[0] == "|".join(each.name for each in columns)


def test_psql_shows_help(proxy: ProxyProcess) -> None:
    """As a notice."""
    done = psql(proxy, "SHOW HELP;\nSHOW NOTHING;\n")
    assert "Console usage" in done.stderr
    assert "invalid command 'SHOW NOTHING;', use SHOW HELP;" in done.stderr


def test_what_is_shown_is_so(proxy: ProxyProcess) -> None:
    """Clients, servers, pools, counts."""
    with connected(proxy) as client, console(proxy, database="helios") as ops:
        client.execute("set application_name = 'shopping'")
        client.execute("begin")
        pid = client.execute("select pg_backend_pid()").fetchone()[0]  # type: ignore[index]
        (one,) = [each for each in table(ops, "CLIENTS") if each["application_name"] == "shopping"]
        (server,) = [each for each in table(ops, "SERVERS") if each["state"] == "active"]
        assert (one["remote_pid"], one["link"], one["ptr"]) == (
            server["remote_pid"],
            server["ptr"],
            server["link"],
        )
        assert (server["remote_pid"], one["user"], one["database"]) == (pid, "postgres", "postgres")
        assert one["local_port"] == proxy.port
        pools = {each["database"]: each for each in table(ops, "POOLS")}
        assert (pools["postgres"]["sv_active"], pools["postgres"]["pool_mode"]) == (1, "transaction")
        assert pools["postgres"]["cl_active"] == 1
        assert pools["pgbouncer"]["cl_active"] == 1
        before = {each["database"]: each for each in table(ops, "STATS")}["postgres"]
        for _ in range(10):
            client.execute("select 1")
        client.execute("commit")
        after = {each["database"]: each for each in table(ops, "STATS")}["postgres"]
        assert after["total_query_count"] - before["total_query_count"] == 11  # type: ignore[operator]
        assert after["total_xact_count"] - before["total_xact_count"] == 1  # type: ignore[operator]
        assert after["total_query_time"] > before["total_query_time"]  # type: ignore[operator]
        assert {each["name"] for each in table(ops, "NODES")} == {"primary", "twin"}
        config = {each["key"]: each["value"] for each in table(ops, "CONFIG")}
        assert (config["max_client_conn"], config["admin_users"]) == ("10000", "ops")


def test_psycopg_by_the_extended_protocol(proxy: ProxyProcess) -> None:
    """Statements without parameters; others are refused, and the connection lives on."""
    with psycopg.connect(proxy.dsn("ops", "pgbouncer"), autocommit=True, prepare_threshold=0) as ops:
        for _ in range(3):
            assert ops.execute("SHOW STATE").fetchall()[2] == ("suspended", "no")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="binary format"):
            ops.execute("SHOW STATE", binary=True)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="no parameters"):
            ops.execute("SHOW %s", ["STATE"])
        assert ops.execute("SHOW STATE").fetchall()[0] == ("active", "yes")


# -- a real PgBouncer ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pgbouncer() -> Iterator[psycopg.Connection]:
    """The console of a real one."""
    if PROGRAM is None:
        pytest.skip("there is no PgBouncer")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    account = choose_account(None)
    with tempfile.TemporaryDirectory(prefix="helios-pgbouncer-") as name:
        folder = Path(name)
        (folder / "users").write_text('"ops" ""\n')
        (folder / "ini").write_text(
            f"[databases]\nshop = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = trust\nauth_file = {folder}/users\nadmin_users = ops\n"
        )
        for path in (folder, *folder.iterdir()):
            give(path, account)
        command = [PROGRAM, str(folder / "ini")]
        if account is not None:
            command += ["-u", pwd.getpwuid(account.uid).pw_name]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            dsn = f"host=127.0.0.1 port={port} user=ops dbname=pgbouncer"
            with _patiently(dsn) as found:
                yield found
        finally:
            process.terminate()
            process.wait()


def _patiently(dsn: str) -> psycopg.Connection:
    deadline = time.monotonic() + 30
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _has_state(version: tuple[int, ...]) -> bool:
    return version >= (1, 19)


@pytest.mark.parametrize("name", PGBOUNCER)
def test_columns_are_pgbouncers(proxy: ProxyProcess, pgbouncer: psycopg.Connection, name: str) -> None:
    """Names, order and types. Later versions than 1.18 may have more in between, and other names for a few."""
    (said,) = pgbouncer.execute("SHOW VERSION").fetchone() or ("",)
    version = tuple(int(each) for each in str(said).split()[1].split("."))
    if name == "STATE" and not _has_state(version):
        pytest.skip("it came with 1.19")
    with console(proxy) as ops:
        ours, theirs = described(ops, name), described(pgbouncer, name)
    if version[:2] != (1, 18):
        common = {each for each, _ in ours} & {each for each, _ in theirs}
        assert len(common) >= len(ours) - 1
        ours, theirs = ([each for each in found if each[0] in common] for found in (ours, theirs))
    assert ours == theirs


@pytest.mark.parametrize(
    "command",
    [
        "FOO",
        "",
        "SELECT 1",
        "BEGIN",
        "SHOW",
        "SHOW FOO",
        "SHOW POOLS; SHOW LISTS",
        "PAUSE nosuch",
        "RESUME nosuch",
        "RESUME",
        "KILL nosuch",
        "DISABLE nosuch",
        "ENABLE nosuch",
        "RECONNECT nosuch",
        "WAIT_CLOSE nosuch",
        "DISABLE",
        "SET foo = 1",
        "PAUSE a b",
        "KILL pgbouncer",
        "PAUSE pgbouncer",
        "DISABLE pgbouncer",
        "RECONNECT pgbouncer",
    ],
)
def test_errors_are_pgbouncers(proxy: ProxyProcess, pgbouncer: psycopg.Connection, command: str) -> None:
    """Text and SQLSTATE."""
    with console(proxy) as ops:
        assert _error_of(ops, command) == _error_of(pgbouncer, command)


def _error_of(console: psycopg.Connection, command: str) -> tuple[str | None, ...]:
    result = console.pgconn.exec_(command.encode())
    fields = (psycopg.pq.DiagnosticField.SQLSTATE, psycopg.pq.DiagnosticField.MESSAGE_PRIMARY)
    found = tuple((text := result.error_field(each)) and text.decode() for each in fields)
    assert found[0] is not None, "it was no error"
    return found


# -- who may -----------------------------------------------------------------------------------------------------


def test_who_may(proxy: ProxyProcess) -> None:
    """Nobody but those who are named, also with method trust on loopback; some only look around."""
    with pytest.raises(psycopg.OperationalError, match="not allowed"), console(proxy, "postgres"):
        pass
    with console(proxy, "exporter") as ops:
        assert table(ops, "LISTS")
        with pytest.raises(psycopg.errors.ProtocolViolation, match="admin access needed"):
            ops.execute("PAUSE")


def test_a_real_database_of_that_name(direct_address: tuple[str, int], direct_dsn: str) -> None:
    """It is reached once it is configured; the other name stays the console."""
    named = '[[databases]]\nname = "pgbouncer"\ndatabase = "postgres"\n'
    with running_proxy(config_for(direct_address) + named) as proxy:
        with connected(proxy, database="pgbouncer") as real:
            assert real.execute("select current_database()").fetchone() == ("postgres",)
        with console(proxy, database="helios") as ops:
            assert [each["name"] for each in table(ops, "DATABASES")] == ["helios", "pgbouncer"]


# -- PAUSE and RESUME ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("database", ["postgres", pytest.param("", marks=pytest.mark.long)])
def test_pause_holds_who_is_there_and_who_comes(
    direct_address: tuple[str, int], mode: str, database: str
) -> None:
    """Requests wait for RESUME and then are done, each once."""
    with (
        running_proxy(config_for(direct_address, mode)) as proxy,
        connected(proxy) as client,
        console(proxy) as ops,
    ):
        client.execute("create temp table t (a int)")
        client.execute("insert into t values (1)")
        assert ops.execute(f"PAUSE {database}".encode()).statusmessage == "PAUSE"
        thread, done = in_background(lambda: client.execute("insert into t values (2)").statusmessage)
        newcomer, came = in_background(lambda: _one_by_a_newcomer(proxy))
        until(lambda: [each["state"] for each in table(ops, "SESSIONS")] == ["held"])
        until(
            lambda: (
                {each["state"] for each in table(ops, "CLIENTS") if each["user"] == "postgres"} == {"waiting"}
            )
        )
        paused = {each["name"]: each["paused"] for each in table(ops, "DATABASES")}
        assert (paused["postgres"], table(ops, "STATE")[1]["value"]) == (
            (1, "no") if database else (0, "yes")
        )
        assert (done, came) == ([], [])
        assert ops.execute(f"RESUME {database}".encode()).statusmessage == "RESUME"
        thread.join(20)
        newcomer.join(20)
        assert (done, came) == (["INSERT 0 1"], [(1,)])
        assert client.execute("select array_agg(a) from t").fetchone() == ([1, 2],)


def _one_by_a_newcomer(proxy: ProxyProcess) -> object:
    with connected(proxy) as client:
        return client.execute("select 1").fetchone()


def test_pause_waits_for_transactions_and_says_for_whose(proxy: ProxyProcess) -> None:
    """Rule 38."""
    said: list[str] = []
    with connected(proxy) as client, console(proxy) as ops, console(proxy) as other:
        ops.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        client.execute("begin")
        client.execute("select 1")
        thread, done = in_background(lambda: ops.execute("PAUSE postgres").statusmessage)
        until(lambda: bool(said))
        assert _is_pausing(other)
        assert client.execute("select 2").fetchone() == (2,)
        client.execute("commit")
        thread.join(20)
        assert done == ["PAUSE"]
        assert "postgres@postgres" in said[0]
        assert other.execute("RESUME postgres").statusmessage == "RESUME"
        assert client.execute("select 3").fetchone() == (3,)


def _is_pausing(console: psycopg.Connection) -> bool:
    """Somebody else is at it."""
    result = console.pgconn.exec_(b"PAUSE postgres")
    return result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"55006"


def _hears(console: psycopg.Connection) -> bool:
    """It looks at what has come, and has no answer yet."""
    console.pgconn.consume_input()
    return bool(console.pgconn.is_busy())


@pytest.mark.long
def test_pause_that_takes_too_long_has_changed_nothing(direct_address: tuple[str, int]) -> None:
    """It says who was in its way."""
    with (
        running_proxy(config_for(direct_address, pause_timeout="300ms")) as proxy,
        connected(proxy) as busy,
        connected(proxy) as client,
        console(proxy) as ops,
    ):
        busy.execute("begin")
        busy.execute("select 1")
        with pytest.raises(psycopg.errors.LockNotAvailable) as raised:
            ops.execute("PAUSE postgres")
        assert "postgres@postgres" in (raised.value.diag.message_detail or "")
        assert client.execute("select 1").fetchone() == (1,)
        assert [each["paused"] for each in table(ops, "DATABASES") if each["name"] == "postgres"] == [0]
        busy.execute("commit")
        ops.execute("PAUSE postgres")
        ops.execute("RESUME postgres")


def test_pause_is_given_up_when_its_console_goes(proxy: ProxyProcess) -> None:
    """Nobody is left waiting."""
    with connected(proxy) as busy, connected(proxy) as client, console(proxy) as other:
        busy.execute("begin")
        busy.execute("select 1")
        said: list[str] = []
        with closing(psycopg.connect(proxy.dsn("ops", "pgbouncer"), autocommit=True)) as leaving:
            leaving.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
            leaving.pgconn.send_query(b"PAUSE postgres")
            until(lambda: _hears(leaving) and bool(said))  # it waits for somebody
        assert client.execute("select 1").fetchone() == (1,)
        busy.execute("commit")
        until(lambda: not _is_pausing(other))
        other.execute("RESUME postgres")
        assert client.execute("select 1").fetchone() == (1,)


@pytest.mark.long
def test_who_waits_too_long_is_sent_away(direct_address: tuple[str, int]) -> None:
    """Those who are there and those who come, after pool.queue_timeout; those who ask for nothing stay."""
    with (
        running_proxy(config_for(direct_address, queue_timeout="300ms")) as proxy,
        connected(proxy) as asking,
        connected(proxy) as quiet,
        console(proxy) as ops,
    ):
        asking.execute("select 1")
        ops.execute("PAUSE")
        with pytest.raises(psycopg.OperationalError, match="is paused"):
            asking.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="is paused"), connected(proxy):
            pass
        with pytest.raises(psycopg.errors.ProtocolViolation, match="already suspended/paused"):
            ops.execute("PAUSE")
        ops.execute("RESUME")
        assert quiet.execute("select 1").fetchone() == (1,)


# -- other commands --------------------------------------------------------------------------------------------


def test_kill_ends_sessions_and_pauses(proxy: ProxyProcess) -> None:
    """Also those that are at work; RESUME lets others in."""
    with connected(proxy) as client, connected(proxy) as busy, console(proxy) as ops:
        thread, done = in_background(lambda: busy.execute("select pg_sleep(60)"))
        until(lambda: any(each["sv_active"] for each in table(ops, "POOLS")))
        ops.execute("KILL postgres")
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("select 1")
        thread.join(20)
        assert isinstance(done[0], psycopg.errors.AdminShutdown)
        assert [each["paused"] for each in table(ops, "DATABASES") if each["name"] == "postgres"] == [1]
        until(lambda: table(ops, "SERVERS") == [])
        ops.execute("RESUME postgres")
    with connected(proxy) as client:
        assert client.execute("select 1").fetchone() == (1,)


def test_disable_lets_nobody_in(proxy: ProxyProcess) -> None:
    """Those who are there stay."""
    with connected(proxy) as client, console(proxy) as ops:
        ops.execute("DISABLE postgres")
        with (
            pytest.raises(psycopg.OperationalError, match="not currently accepting connections"),
            connected(proxy),
        ):
            pass
        assert client.execute("select 1").fetchone() == (1,)
        ops.execute("ENABLE postgres")
        with connected(proxy) as other:
            assert other.execute("select 1").fetchone() == (1,)


def test_reconnect_and_wait_close(proxy: ProxyProcess) -> None:
    """Server connections are exchanged, each when its transaction is over."""
    pid = "select pg_backend_pid()"
    with connected(proxy) as client, console(proxy) as ops, console(proxy) as other:
        client.execute("begin")
        before = client.execute(pid).fetchone()
        ops.execute("RECONNECT postgres")
        assert [each["close_needed"] for each in table(ops, "SERVERS")] == [1]
        thread, done = in_background(lambda: ops.execute("WAIT_CLOSE").statusmessage)
        assert client.execute(pid).fetchone() == before
        assert table(other, "SERVERS")[0]["remote_pid"] == before[0]  # type: ignore[index]
        client.execute("commit")
        thread.join(20)
        assert done == ["WAIT_CLOSE"]
        assert client.execute(pid).fetchone() != before


@pytest.mark.long
def test_wait_close_has_an_end(direct_address: tuple[str, int]) -> None:
    """And says what has not happened."""
    with (
        running_proxy(config_for(direct_address, pause_timeout="200ms")) as proxy,
        connected(proxy) as client,
        console(proxy) as ops,
    ):
        client.execute("begin")
        client.execute("select 1")
        ops.execute("RECONNECT")
        with pytest.raises(psycopg.errors.LockNotAvailable, match="1 server connections"):
            ops.execute("WAIT_CLOSE")


def test_sessions_are_moved(proxy: ProxyProcess) -> None:
    """One by one, to a name of the same server; what cannot be is said."""
    with connected(proxy) as client, console(proxy) as ops:
        client.execute("create temp table kept as select 7 as a")
        (session,) = table(ops, "SESSIONS")
        assert session["backend"] == "primary"
        assert (
            ops.execute(f"MIGRATE SESSION {session['id']} TO twin".encode()).statusmessage
            == "MIGRATE SESSION"
        )
        assert [each["backend"] for each in table(ops, "SESSIONS")] == ["twin"]
        assert client.execute("select a from kept").fetchone() == (7,)
        for order, sqlstate in (
            ("MIGRATE SESSION 999999 TO twin", "42704"),
            (f"MIGRATE SESSION {session['id']} TO nowhere", "22023"),
            ("SWITCHOVER TO nowhere", "22023"),
        ):
            assert _error_of(ops, order)[0] == sqlstate


def test_reload_and_shutdown(direct_address: tuple[str, int]) -> None:
    """Errors of the file are told; SHUTDOWN drains, and the process ends well."""
    with running_proxy(config_for(direct_address)) as proxy, console(proxy) as ops:
        file = Path(proxy.log_file).parent / "helios.toml"
        good = file.read_text()
        file.write_text(good.replace('admin_users = ["ops"]', 'admin_users = ["ops", "second"]'))
        assert ops.execute("RELOAD").statusmessage == "RELOAD"
        with console(proxy, "second") as second:
            assert table(second, "STATE")
        file.write_text(good + "nonsense = 1\n")
        with pytest.raises(psycopg.errors.ProtocolViolation, match="RELOAD failed") as raised:
            ops.execute("RELOAD")
        assert "nonsense" in (raised.value.diag.message_detail or "")
        assert ops.execute("SHUTDOWN").statusmessage == "SHUTDOWN"
        assert proxy.process.wait(20) == 0


@pytest.mark.long
def test_shutdown_does_not_wait_for_who_is_paused(direct_address: tuple[str, int]) -> None:
    """They have no transaction."""
    with (
        running_proxy(config_for(direct_address)) as proxy,
        connected(proxy) as client,
        console(proxy) as ops,
    ):
        client.execute("select 1")
        ops.execute("PAUSE")
        ops.execute("SHUTDOWN")
        assert proxy.process.wait(20) == 0
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("select 1")


@pytest.mark.long
def test_paused_clients_are_not_taken_for_slow_ones(direct_address: tuple[str, int]) -> None:
    """timeouts.query is about servers that take long."""
    config = config_for(direct_address) + '[timeouts]\nquery = "300ms"\n'
    with running_proxy(config) as proxy, connected(proxy) as client, console(proxy) as ops:
        client.execute("select 1")
        ops.execute("PAUSE")
        until(lambda: all(float(str(each["idle_seconds"])) > 1 for each in table(ops, "SESSIONS")))
        ops.execute("RESUME")
        assert client.execute("select 1").fetchone() == (1,)
