"""Importing pgbouncer.ini: what it becomes, that it loads, and that nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config import (
    AuthMethod,
    ClientTls,
    Config,
    InvalidConfig,
    PoolMode,
    PoolSettings,
    Secret,
    SslMode,
    TcpAddress,
    UnixAddress,
    loads,
)
from helios_trio.config.pgbouncer import import_pgbouncer
from helios_trio.config.pgbouncer_settings import ELSEWHERE, NOT_CARRIED, SERVER_TLS, SETTINGS
from helios_trio.errors import ConfigError

TRUST = "[pgbouncer]\nauth_type = trust\nlisten_addr = 127.0.0.1\nunix_socket_dir =\n"
A = "[databases]\na = host=h\n"


def imported(text: str, environ: Mapping[str, str] | None = None) -> tuple[Config, tuple[str, ...]]:
    """The configuration that the imported file gives, and the warnings."""
    result = import_pgbouncer(text)
    return loads(result.toml_text, environ or {}, source="imported", folder=Path("/")), result.warnings


@pytest.fixture
def readable(tmp_path: Path) -> str:
    """The path of a file that is there."""
    file = tmp_path / "file"
    file.write_text("")
    return str(file)


def test_a_usual_file_is_carried_over(readable: str) -> None:
    """Every setting of it, without a warning."""
    config, warnings = imported(
        f"""
        ; a comment
        # another
        [databases]
        app = host=10.0.0.1 port=5433 dbname=app_prod user=owner password='it''s ${{x}} "y"'
        reports = host=/run/postgresql pool_size=3 pool_mode=transaction min_pool_size=1 server_lifetime=60
        * = host=10.0.0.1 port=5433
        [users]
        bob = pool_mode=statement
        [pgbouncer]
        listen_addr = 10.0.0.5, ::1
        listen_port = 6543
        unix_socket_dir = /run/pgbouncer
        auth_type = scram-sha-256
        auth_file = {readable}
        auth_query = SELECT p_user, p_password FROM public.lookup($1)
        auth_user = helper
        auth_dbname = admin
        pool_mode = session
        default_pool_size = 30
        min_pool_size = 2
        max_client_conn = 500
        server_reset_query = DISCARD ALL
        server_idle_timeout = 300
        server_lifetime = 1800
        query_wait_timeout = 0
        query_timeout = 2.5
        idle_transaction_timeout = 10
        client_idle_timeout = 0
        client_login_timeout = 20
        server_connect_timeout = 5
        max_prepared_statements = 50
        client_tls_sslmode = verify-ca
        client_tls_cert_file = {readable}
        client_tls_key_file = {readable}
        client_tls_ca_file = {readable}
        server_tls_sslmode = verify-full
        server_tls_ca_file = {readable}
        so_reuseport = 1
        listen_backlog = 128
        tcp_keepidle = 30
        """
    )
    assert warnings == ()
    assert config.proxy.listen_address == (
        TcpAddress("10.0.0.5", 6543),
        TcpAddress("::1", 6543),
        UnixAddress("/run/pgbouncer", 6543),
    )
    assert (config.proxy.max_client_connections, config.proxy.listen_backlog, config.proxy.reuse_port) == (
        500,
        128,
        True,
    )
    assert (config.proxy.tcp_keepalive_idle, config.proxy.tls.mode) == (30.0, ClientTls.VERIFY_CA)
    assert (config.auth.method, config.auth.auth_file, config.auth.auth_user, config.auth.auth_dbname) == (
        AuthMethod.SCRAM_SHA_256,
        Path(readable),
        "helper",
        "admin",
    )
    assert config.auth.auth_query == "SELECT p_user, p_password FROM public.lookup($1)"
    assert config.pool.for_("app", "ann") == PoolSettings(
        mode=PoolMode.SESSION,
        max_connections=30,
        min_connections=2,
        idle_timeout=300.0,
        max_lifetime=1800.0,
        queue_timeout=float("inf"),
        reset_query="DISCARD ALL",
        max_prepared_statements=50,
    )
    timeouts = config.timeouts
    assert (timeouts.query, timeouts.idle_in_transaction, timeouts.idle) == (2.5, 10.0, float("inf"))
    assert (timeouts.login, timeouts.server_connect) == (20.0, 5.0)
    assert [(each.host, each.port, each.tls) for each in config.backends.pools] == [
        ("10.0.0.1", 5433, SslMode.VERIFY_FULL),
        ("/run/postgresql", 5432, SslMode.VERIFY_FULL),
    ]
    app, reports, star = config.databases
    assert (app.database, app.user, app.password) == ("app_prod", "owner", Secret('it\'s ${x} "y"'))
    assert (reports.name, reports.backend, reports.database) == ("reports", "/run/postgresql", None)
    assert (star.name, star.backend) == ("*", app.backend)


@pytest.mark.parametrize(
    ("database", "user", "mode", "most"),
    [
        ("a", "bob", PoolMode.STATEMENT, 3),
        ("a", "ann", PoolMode.TRANSACTION, 3),
        ("b", "bob", PoolMode.STATEMENT, 20),
        ("b", "ann", PoolMode.SESSION, 20),
        ("a", "big", PoolMode.TRANSACTION, 9),
        ("other", "ann", PoolMode.TRANSACTION, 5),
        ("other", "bob", PoolMode.STATEMENT, 5),
    ],
)
def test_users_win_over_databases_and_these_over_defaults(
    database: str, user: str, mode: PoolMode, most: int
) -> None:
    """And the settings of "*" are for the databases that are not listed only."""
    config, _ = imported(
        TRUST
        + """
        [databases]
        * = host=h pool_mode=transaction pool_size=5
        a = host=h pool_mode=transaction pool_size=3
        b = host=h
        [users]
        bob = pool_mode=statement
        big = pool_size=9
        """
    )
    settings = config.pool.for_(database, user)
    assert (settings.mode, settings.max_connections) == (mode, most)


def test_defaults_of_pgbouncer_are_written_out() -> None:
    """Where ours differ, so that nothing changes its size by the import."""
    config, _ = imported(TRUST + A)
    assert config.pool.max_connections == 20
    assert config.proxy.max_client_connections == 100
    assert config.pool.queue_timeout == 120.0


def test_names_with_wildcards_match_only_themselves() -> None:
    """A quoted database name may have any character."""
    config, _ = imported(TRUST + '[databases]\n"a*[b]" = host=h pool_size=1\n"x""y" = host=h\n')
    assert config.pool.for_("a*[b]", "u").max_connections == 1
    assert config.pool.for_("aa[b]", "u").max_connections == 20
    assert [each.name for each in config.databases] == ["a*[b]", 'x"y']


def test_a_plain_star_needs_no_databases() -> None:
    """One server for every name is what a backend is."""
    config, warnings = imported(TRUST + "[databases]\n* = host=h\n")
    assert (config.databases, warnings) == ((), ())


def test_a_database_without_a_host_is_behind_the_unix_socket() -> None:
    """Which is said, as PgBouncer was built with a folder that we do not know."""
    config, warnings = imported(
        "[pgbouncer]\nauth_type = trust\nunix_socket_dir = /run/x\n[databases]\na =\n"
    )
    assert config.backends.pools[0].host == "/run/x"
    assert [each.partition(":")[0] for each in warnings] == ["[databases] a"]


def test_the_limit_of_a_database_is_that_of_a_server_it_has_for_itself() -> None:
    """With several databases on a server it cannot be said, and a warning tells so."""
    text = "[databases]\na = host=h1 max_db_connections=7\nb = host=h2\nc = host=h2\n"
    config, warnings = imported(TRUST + "max_db_connections = 9\n" + text)
    assert [each.max_connections for each in config.backends.pools] == [7, None]
    assert [each.partition(": not carried")[0] for each in warnings] == [
        "[databases] b: max_db_connections",
        "[databases] c: max_db_connections",
    ]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("auth_type = hba", "auth_type"),
        ("auth_type = any", "auth_type"),
        ("pool_mode = turbo", "pool_mode"),
        ("default_pool_size = 0", "default_pool_size"),
        ("default_pool_size = many", "default_pool_size"),
        ("server_lifetime = 0", "server_lifetime"),
        ("server_lifetime = soon", "server_lifetime"),
        ("server_reset_query =", "server_reset_query"),
        ("so_reuseport = maybe", "so_reuseport"),
        ("server_tls_sslmode = perhaps", "server_tls_sslmode"),
        ("listen_port = x", "listen_port"),
        ("unix_socket_dir = @abstract", "unix_socket_dir"),
        ("listen_addr =", "listen_addr"),
        ("listen_addr = no host, 127.0.0.1", "listen_addr"),
        ("application_name_add_host = 1", "application_name_add_host"),
        ("reserve_pool_size = 5", "reserve_pool_size"),
        ("log_connections = 0", "log_connections"),
        ("some_new_setting = 1", "some_new_setting"),
    ],
)
def test_what_is_not_carried_over_is_named(lines: str, name: str) -> None:
    """The value has no counterpart, or the setting has none."""
    secrets = "[pgbouncer]\nauth_query = SELECT $1\nauth_dbname = d\nauth_user = u\n"
    _, warnings = imported(TRUST + secrets + A + "[pgbouncer]\n" + lines + "\n")
    assert [each.partition(":")[0] for each in warnings] == [f"[pgbouncer] {name}"]


def test_every_setting_is_carried_over_or_has_a_reason() -> None:
    """No name stands in two tables."""
    tables = [set(SETTINGS), set(SERVER_TLS), set(ELSEWHERE), set(NOT_CARRIED)]
    assert sum(map(len, tables)) == len(set().union(*tables))


def test_settings_of_databases_and_users_are_named_too() -> None:
    """Also sections that do not exist here."""
    text = "[databases]\na = host=h,i connect_query='SELECT 1'\n"
    text += "[users]\nbob = max_user_connections=1\n[peers]\n1 = host=x\n"
    _, warnings = imported(TRUST + text)
    assert [each.split(": ")[0:2] for each in warnings] == [
        ["[databases] a", "of several hosts only the first is used; add the others to [[backends.pools]]"],
        ["[databases] a", "connect_query"],
        ["[users] bob", "max_user_connections"],
        ["[peers]", "not carried over; nothing here corresponds to it"],
    ]


def test_warnings_hold_no_password() -> None:
    """Rule 39."""
    _, warnings = imported(TRUST + "[databases]\na = host=h,i user=u password=hunter2 pool_size=x\n")
    assert warnings
    assert "hunter2" not in "\n".join(warnings)


def test_without_any_source_of_passwords_pgbouncers_default_query_is_used() -> None:
    """md5 is its default method."""
    config, warnings = imported("[pgbouncer]\nlisten_addr = *\n" + A)
    assert (config.auth.method, config.auth.auth_query) == (
        AuthMethod.MD5,
        "SELECT usename, passwd FROM pg_shadow WHERE usename=$1",
    )
    assert [each.partition(":")[0] for each in warnings] == [
        "[pgbouncer] auth_user",
        "[pgbouncer] auth_dbname",
    ]


def test_a_minimum_above_the_size_of_its_pool_is_lowered() -> None:
    """Also where it comes from [pgbouncer] and the size from a database."""
    config, warnings = imported(TRUST + "min_pool_size = 10\n[databases]\na = host=h pool_size=5\n")
    assert config.pool.for_("a", "u").min_connections == 5
    assert len(warnings) == 1


def test_files_are_included_in_place() -> None:
    """In the section where the line stands; one that cannot be read is named."""
    files = {"db.ini": "b = host=h\n%include more.ini\n", "more.ini": "c = host=h\n"}

    def include(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[name]

    result = import_pgbouncer(TRUST + A + "%include db.ini\n%include none.ini\n", include)
    config = loads(result.toml_text, {}, source="imported", folder=Path("/"))
    assert [each.name for each in config.databases] == ["a", "b", "c"]
    assert result.warnings == ("%include none.ini: not read (No such file or directory)",)


def test_files_that_include_each_other_end() -> None:
    """With an error, not with the end of memory."""
    with pytest.raises(ConfigError, match="at most 10"):
        import_pgbouncer("%include a", lambda name: "%include a")


def test_an_include_without_files_is_a_warning() -> None:
    """Where only a text was given."""
    assert imported(TRUST + A + "%include x")[1] == ("%include x: not read, as only the one file was given",)


def test_relative_files_are_named() -> None:
    """PgBouncer takes them from its working folder, we from the folder of the file."""
    result = import_pgbouncer(TRUST + A + "[pgbouncer]\nauth_file = users.txt\n")
    assert [each.partition(":")[0] for each in result.warnings] == ["[pgbouncer] auth_file"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a = hunter2", "line 1: expected a [section]"),
        ("[pgbouncer]\nhunter2", "line 2: expected a [section]"),
        ("[databases]\na = host='hunter2", "[databases] a: expected key=value pairs"),
        ("[databases]\na = hunter2", "[databases] a: expected key=value pairs"),
    ],
)
def test_what_pgbouncer_would_refuse_is_refused(text: str, start: str) -> None:
    """By name or line; what may be a password is not shown."""
    with pytest.raises(ConfigError) as caught:
        import_pgbouncer(text)
    assert str(caught.value).startswith(start)
    assert "hunter2" not in str(caught.value)


WORDS = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-1",
        "2.5",
        "99999999999",
        "yes",
        "nan",
        "inf",
        "*",
        "@x",
        "/x",
        "a b",
        "${X}",
        "verify-full",
        "any",
    ]
)
SETTING = st.tuples(
    st.sampled_from(sorted({*SETTINGS, *SERVER_TLS, *ELSEWHERE, *NOT_CARRIED, "other"})), WORDS
)
PAIR = st.tuples(
    st.sampled_from(
        ["host", "port", "dbname", "user", "password", "pool_size", "min_pool_size", "pool_mode", "x"]
    ),
    WORDS,
)
ENTRIES = st.dictionaries(st.sampled_from(["a", "b", "*"]), st.lists(PAIR, max_size=4), max_size=3)


@given(st.lists(SETTING, max_size=6), ENTRIES, ENTRIES)
def test_whatever_is_imported_loads(
    settings: list[tuple[str, str]],
    databases: dict[str, list[tuple[str, str]]],
    users: dict[str, list[tuple[str, str]]],
) -> None:
    """Files apart, which may be on another machine, what comes out is a sound configuration."""
    text = ["[pgbouncer]", *(f"{name} = {value}" for name, value in settings)]
    for section, entries in (("databases", databases), ("users", users)):
        text.append(f"[{section}]")
        for name, pairs in entries.items():
            text.append(f"{name} = " + " ".join(f"{key}='{value}'" for key, value in pairs))
    result = import_pgbouncer("\n".join(text))
    assert [line for line in problems(result.toml_text) if not is_about_a_file(line)] == []


def problems(text: str) -> tuple[str, ...]:
    """The lines of the error about a configuration; none if it is sound."""
    try:
        loads(text, {}, source="imported", folder=Path("/"))
    except InvalidConfig as error:
        return error.lines
    return ()


def is_about_a_file(line: str) -> bool:
    """Whether it is about a file that is not here, or about TLS or `cert` without the files they need."""
    return "a readable file" in line or "expected a file, as" in line or "imported: proxy.tls.mode" in line


def test_users_of_the_console_are_carried_over() -> None:
    """As lists; none where nobody is named."""
    config, _ = imported(TRUST.rstrip("\n") + "\nadmin_users = ops, root\nstats_users = exporter\n" + A)
    assert (config.admin.admin_users, config.admin.stats_users) == (("ops", "root"), ("exporter",))
