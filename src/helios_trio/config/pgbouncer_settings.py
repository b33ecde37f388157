"""The `[pgbouncer]` section, setting by setting: what it is called here and how its value is written here.

Three tables: what is carried over, PgBouncer's defaults where ours differ (version 1.24), and why the rest is
not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final

from helios_trio.config import units

_HIGHEST_PORT: Final = 65535
_LARGEST: Final = 2**31 - 1

Convert = Callable[[str], Any]
Warn = Callable[[str, str], None]
"""Takes the name of a setting and the reason why it is not carried over as it stands."""


class NotCarried(ValueError):
    """A value that has no counterpart here; its text says why."""


def text(value: str) -> str:
    """Any text but the empty one."""
    if not value:
        raise NotCarried("it is empty")
    return value


def whole(value: str) -> int:
    """A whole number, 0 included."""
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(_LARGEST))):
        raise NotCarried("it is not a whole number")
    if int(value) > _LARGEST:
        raise NotCarried("it is too large a number")
    return int(value)


def port(value: str) -> int:
    """A port number."""
    if not 0 < whole(value) <= _HIGHEST_PORT:
        raise NotCarried("it is not a port number")
    return whole(value)


def positive(value: str) -> int:
    """A whole number; PgBouncer's 0 for "no limit" does not exist here."""
    if not whole(value):
        raise NotCarried("0 is no limit there, and here a limit is needed")
    return whole(value)


def flag(value: str) -> bool:
    """A yes or no."""
    if value.lower() not in {"0", "1", "yes", "no", "on", "off", "true", "false"}:
        raise NotCarried("it is neither yes nor no")
    return value.lower() in {"1", "yes", "on", "true"}


def off_if_zero(value: str) -> str:
    """Seconds, perhaps with a fraction; 0 is no limit."""
    return _duration(value) or "off"


def limited(value: str) -> str:
    """Seconds where here a limit is needed."""
    duration = _duration(value)
    if duration is None:
        raise NotCarried("0 is no limit there, and here a limit is needed")
    return duration


def _duration(value: str) -> str | None:
    """Seconds as a duration, None for 0."""
    try:
        seconds = float(value)
    except ValueError:
        raise NotCarried("it is not a number of seconds") from None
    if not 0 <= seconds <= units.LONGEST:
        raise NotCarried("it is not a number of seconds that makes sense here")
    return units.format_duration(seconds) if seconds else None


def choice(*words: str, **renamed: str) -> Convert:
    """One of `words`, or one of those that have another name here."""

    def convert(value: str) -> str:
        if value in words:
            return value
        if value in renamed:
            return renamed[value]
        raise NotCarried("it is none of " + ", ".join((*words, *renamed)))

    return convert


def names(value: str) -> list[str]:
    """Names with commas between them."""
    found = [name.strip() for name in value.split(",") if name.strip()]
    if not found:
        raise NotCarried("it is empty")
    return found


def query(value: str) -> str:
    """A query for the user $1."""
    if "$1" not in value:
        raise NotCarried("it does not have $1, the name of the user")
    return value


def file(value: str) -> str:
    """The path of a file."""
    return text(value)


SETTINGS: Final[Mapping[str, tuple[tuple[str, ...], Convert]]] = {
    "max_client_conn": (("proxy", "max_client_connections"), positive),
    "listen_backlog": (("proxy", "listen_backlog"), positive),
    "so_reuseport": (("proxy", "reuse_port"), flag),
    "tcp_keepidle": (("proxy", "tcp_keepalive_idle"), limited),
    "tcp_keepintvl": (("proxy", "tcp_keepalive_interval"), limited),
    "tcp_keepcnt": (("proxy", "tcp_keepalive_count"), positive),
    "client_tls_sslmode": (
        ("proxy", "tls", "mode"),
        choice("disable", "allow", "require", "verify-ca", "verify-full", prefer="allow"),
    ),
    "client_tls_cert_file": (("proxy", "tls", "cert_file"), file),
    "client_tls_key_file": (("proxy", "tls", "key_file"), file),
    "client_tls_ca_file": (("proxy", "tls", "client_ca_file"), file),
    "auth_file": (("auth", "auth_file"), file),
    "auth_user": (("auth", "auth_user"), text),
    "auth_dbname": (("auth", "auth_dbname"), text),
    "auth_query": (("auth", "auth_query"), query),
    "admin_users": (("admin", "admin_users"), names),
    "stats_users": (("admin", "stats_users"), names),
    "pool_mode": (("pool", "mode"), choice("session", "transaction", "statement")),
    "default_pool_size": (("pool", "max_connections"), positive),
    "min_pool_size": (("pool", "min_connections"), whole),
    "server_reset_query": (("pool", "reset_query"), text),
    "server_idle_timeout": (("pool", "idle_timeout"), off_if_zero),
    "server_lifetime": (("pool", "max_lifetime"), limited),
    "query_wait_timeout": (("pool", "queue_timeout"), off_if_zero),
    "max_prepared_statements": (("pool", "max_prepared_statements"), whole),
    "client_login_timeout": (("timeouts", "login"), limited),
    "client_idle_timeout": (("timeouts", "idle"), off_if_zero),
    "idle_transaction_timeout": (("timeouts", "idle_in_transaction"), off_if_zero),
    "query_timeout": (("timeouts", "query"), off_if_zero),
    "server_connect_timeout": (("timeouts", "server_connect"), limited),
}
"""Setting -> its path here, and how its value is written here."""

SERVER_TLS: Final[Mapping[str, tuple[str, Convert]]] = {
    "server_tls_sslmode": (
        "tls",
        choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    ),
    "server_tls_ca_file": ("tls_ca_file", file),
    "server_tls_cert_file": ("tls_cert_file", file),
    "server_tls_key_file": ("tls_key_file", file),
}
"""Setting -> its key in each `[[backends.pools]]`."""

ELSEWHERE: Final = frozenset(
    {"listen_addr", "listen_port", "unix_socket_dir", "auth_type", "max_db_connections"}
)
"""Settings that several keys or sections come from: carried over by `pgbouncer` itself."""

DEFAULTS: Final[Mapping[str, str]] = {
    "max_client_conn": "100",
    "default_pool_size": "20",
    "query_wait_timeout": "120",
}
"""PgBouncer's defaults where ours differ."""

NOT_CARRIED: Final[Mapping[str, str]] = {
    "application_name_add_host": "proxy.application_name_suffix adds a fixed text instead",
    "auth_hba_file": "write its lines as [[auth.rules]]",
    "auth_ident_file": "user name maps are not supported",
    "autodb_idle_timeout": "pools of any database come and go by themselves",
    "client_tls_ciphers": "the defaults of OpenSSL are used",
    "client_tls13_ciphers": "the defaults of OpenSSL are used",
    "client_tls_protocols": "TLS 1.2 and newer are used",
    "disable_pqexec": "queries of several statements are always understood",
    "dns_max_ttl": "host names are resolved for each new connection",
    "ignore_startup_parameters": "all start-up parameters are accepted and kept for each client",
    "logfile": "events go to the standard error stream",
    "max_db_client_connections": "clients are limited by proxy.max_client_connections only",
    "max_user_client_connections": "clients are limited by proxy.max_client_connections only",
    "max_user_connections": "connections are limited for each (backend, database, user), and each backend",
    "peer_id": "several processes are not configured as peers",
    "pidfile": "the process is not a daemon; its supervisor knows it",
    "pkt_buf": "buffers adapt by themselves",
    "reserve_pool_size": "pools have one size; make max_connections larger instead",
    "reserve_pool_timeout": "pools have one size; make max_connections larger instead",
    "server_check_delay": "connections are checked by themselves when they are handed out",
    "server_check_query": "connections are checked by themselves when they are handed out",
    "server_fast_close": "connections are closed at the first safe moment",
    "server_login_retry": "a server that is down is tried again with growing pauses",
    "server_reset_query_always": "see reset_always in [pool], which is off",
    "server_tls_ciphers": "the defaults of OpenSSL are used",
    "server_tls13_ciphers": "the defaults of OpenSSL are used",
    "server_tls_protocols": "TLS 1.2 and newer are used",
    "service_name": "there is no job of this name",
    "syslog": "events go to the standard error stream",
    "tcp_keepalive": "it is on unless proxy.tcp_keepalive_idle is off",
    "track_extra_parameters": "all settings are tracked",
    "unix_socket_group": "the socket has the process's own group",
    "unix_socket_mode": "the socket has the mode that the process's umask gives",
    "user": "start the process as that user",
}
_LOGGING: Final = "what is logged follows from proxy.log_level"
_UNKNOWN: Final = "nothing here corresponds to it"


def carry(settings: Mapping[str, str], warn: Warn) -> dict[str, Any]:
    """The tree of our configuration that `settings` give; calls `warn` for what is left out or changed."""
    tree: dict[str, Any] = {}
    for name, value in {**DEFAULTS, **settings}.items():
        if name in SETTINGS:
            path, convert = SETTINGS[name]
            converted = converted_or_none(name, value, convert, warn)
            if converted is None and name in DEFAULTS:
                converted = convert(DEFAULTS[name])
            if converted is not None:
                _put(tree, path, converted)
        elif name not in ELSEWHERE and name not in SERVER_TLS:
            warn(name, reason(name))
    return tree


def converted_or_none(name: str, value: str, convert: Convert, warn: Warn) -> Any:
    """The converted value; None, after a warning, if it cannot be."""
    if convert is file and value and not PurePath(value).is_absolute():
        warn(name, "kept, but from now on relative to the folder of the new file")
    try:
        return convert(value)
    except NotCarried as error:
        warn(name, f"not carried over, as {error}")
        return None


def reason(name: str) -> str:
    """Why a setting is not carried over."""
    return "not carried over; " + (_LOGGING if name.startswith("log_") else NOT_CARRIED.get(name, _UNKNOWN))


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value
