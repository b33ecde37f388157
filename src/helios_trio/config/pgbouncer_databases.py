"""PgBouncer's `[databases]` and `[users]` as our backends, databases and pool rules.

There each database names its server; here servers stand once and databases point to them. There a user's
settings win over a database's and these over the defaults; here the first rule that matches wins, so that a
rule is written for each pair that needs its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from helios_trio.config.kinds import Expected, Host
from helios_trio.config.pgbouncer_ini import parse_connection
from helios_trio.config.pgbouncer_settings import (
    SERVER_TLS,
    Convert,
    NotCarried,
    Warn,
    choice,
    converted_or_none,
    limited,
    port,
    positive,
    reason,
    whole,
)

Tree = dict[str, Any]
Entries = dict[str, dict[str, str]]
"""Name of a database or user -> its connection string, taken apart."""
Server = tuple[str, int]
"""Host and port."""

UNIX_FOLDER: Final = "/tmp"
"""Where PgBouncer has its socket, and looks for those of servers, unless told otherwise."""

_ANY: Final = "*"
_POSTGRES_PORT: Final = 5432
_MODE: Final = choice("session", "transaction", "statement")
_USER_KEYS: Final[Mapping[str, tuple[str, Convert]]] = {
    "pool_mode": ("mode", _MODE),
    "pool_size": ("max_connections", positive),
}
_DATABASE_KEYS: Final[Mapping[str, tuple[str, Convert]]] = {
    **_USER_KEYS,
    "min_pool_size": ("min_connections", whole),
    "server_lifetime": ("max_lifetime", limited),
}
_ELSEWHERE: Final = frozenset({"host", "port", "dbname", "user", "password", "max_db_connections"})


def connections(section: str, settings: Mapping[str, str]) -> Entries:
    """The entries of a section, "*" last. Raises ConfigError for a connection string that cannot be read."""
    names = sorted(settings, key=lambda name: name == _ANY)
    return {name: parse_connection(f"[{section}] {name}", settings[name]) for name in names}


def backends(
    entries: Entries, settings: Mapping[str, str], warn: Warn, warn_pgbouncer: Warn
) -> dict[str, Tree]:
    """Name of each database -> the `[[backends.pools]]` entry of its server, one object for each server."""
    tls = _server_tls(settings, warn_pgbouncer)
    folder = settings.get("unix_socket_dir", UNIX_FOLDER)
    folder = folder if folder.startswith("/") else UNIX_FOLDER
    servers: dict[Server, Tree] = {}
    found: dict[str, Tree] = {}
    for name, entry in entries.items():
        server = _server(name, entry, folder, warn)
        servers.setdefault(server, {"name": _name(server), "host": server[0], "port": server[1], **tls})
        found[name] = servers[server]
    if not entries:
        warn("[databases]", "there is none; the embedded cluster will be used")
    _limit(found, entries, settings, warn)
    return found


def _server_tls(settings: Mapping[str, str], warn: Warn) -> Tree:
    """The TLS keys that every server gets."""
    found = {
        key: converted_or_none(name, settings[name], convert, warn)
        for name, (key, convert) in SERVER_TLS.items()
        if name in settings
    }
    return {key: value for key, value in found.items() if value is not None}


def _server(name: str, entry: Mapping[str, str], unix_folder: str, warn: Warn) -> Server:
    """Where a database is; without a host it is behind a unix socket."""
    where = f"[databases] {name}"
    host, *more = (host.strip() for host in entry.get("host", "").split(","))
    if more:
        warn(where, "of several hosts only the first is used; add the others to [[backends.pools]]")
    if not host:
        warn(where, f"without a host, the server's unix socket is looked for in {unix_folder}")
    number = converted_or_none(f"{where}: port", entry.get("port", str(_POSTGRES_PORT)), port, warn)
    return converted_or_none(f"{where}: host", host, _host, warn) or unix_folder, number or _POSTGRES_PORT


def _host(value: str) -> str:
    """A host, as our backends can have it; empty for none."""
    if value:
        try:
            Host().read(value)
        except Expected:
            raise NotCarried("it is no host here") from None
    return value


def _name(server: Server) -> str:
    host, port = server
    return host if port == _POSTGRES_PORT else f"{host}:{port}"


def _limit(servers: Mapping[str, Tree], entries: Entries, settings: Mapping[str, str], warn: Warn) -> None:
    """Carries `max_db_connections` to servers that hold a single database, where it means the same."""
    everywhere = settings.get("max_db_connections", "0")
    for name, entry in entries.items():
        own = entry.get("max_db_connections", everywhere)
        limit = converted_or_none(f"[databases] {name}: max_db_connections", own, whole, warn)
        if not limit:
            continue
        if name != _ANY and sum(each is servers[name] for each in servers.values()) == 1:
            servers[name]["max_connections"] = limit
        else:
            why = "not carried over, as limits are for each server and not for each of its databases"
            warn(f"[databases] {name}: max_db_connections", why)


def unique(servers: Iterable[Tree]) -> list[Tree]:
    """Each server once."""
    return list({server["name"]: server for server in servers}.values())


def databases(entries: Entries, servers: Mapping[str, Tree], warn: Warn) -> list[Tree]:
    """The `[[databases]]` entries; none where a "*" passes every name to one server."""
    if len(entries) == 1 and not entries.get(_ANY, {"dbname": ""}).keys() & {"dbname", "user", "password"}:
        return []
    found: list[Tree] = []
    for name, entry in entries.items():
        own = {"database": entry.get("dbname"), "user": entry.get("user"), "password": entry.get("password")}
        given = {key: value for key, value in own.items() if value}
        if "password" in given and "user" not in given:
            del given["password"]
            warn(f"[databases] {name}: password", "not carried over, as there is no user that it belongs to")
        found.append({"name": name, "backend": servers[name]["name"], **given})
    return found


def rules(entries: Entries, users: Entries, warn: Warn) -> list[Tree]:
    """The `[[pool.rules]]` for all databases and users that have settings of their own."""
    for_databases = _overrides("databases", entries, _DATABASE_KEYS, warn)
    for_users = _overrides("users", users, _USER_KEYS, warn)
    if not for_databases.get(_ANY):
        for_databases = {name: keys for name, keys in for_databases.items() if keys}
    for_users = {name: keys for name, keys in for_users.items() if keys}
    pairs = [(database, user) for user in (*for_users, _ANY) for database in (*_named(for_databases), _ANY)]
    found = [
        {**_patterns(database, user), **for_databases.get(database, {}), **for_users.get(user, {})}
        for database, user in pairs
    ]
    return found if found[-1] else found[:-1]


def _overrides(
    section: str, entries: Entries, known: Mapping[str, tuple[str, Convert]], warn: Warn
) -> dict[str, Tree]:
    """Name -> the keys of a pool rule that its entry gives; warns of what no rule can say."""
    found: dict[str, Tree] = {}
    for name, entry in entries.items():
        found[name] = {}
        for setting, value in entry.items():
            where = f"[{section}] {name}: {setting}"
            if setting in known:
                key, convert = known[setting]
                converted = converted_or_none(where, value, convert, warn)
                found[name].update({} if converted is None else {key: converted})
            elif section != "databases" or setting not in _ELSEWHERE:
                warn(where, reason(setting))
    return found


def _named(overrides: Mapping[str, Tree]) -> list[str]:
    return [name for name in overrides if name != _ANY]


def _patterns(database: str, user: str) -> Tree:
    """The patterns that match just these names, left out where every name will do."""
    found = {"database": database, "user": user}
    return {key: re.sub(r"([*?\[])", r"[\1]", name) for key, name in found.items() if name != _ANY}


def clamp(pool: Tree, warn: Warn) -> None:
    """Lowers minimums above their maximum, as PgBouncer does while running."""
    for section in (pool, *pool["rules"]):
        least = section.get("min_connections", pool.get("min_connections", 0))
        most = section.get("max_connections", pool["max_connections"])
        if least > most:
            section["min_connections"] = most
            warn("min_pool_size", f"lowered to the size of its pool, {most}")
