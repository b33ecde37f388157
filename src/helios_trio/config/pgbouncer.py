"""`helios import-pgbouncer`: our file from PgBouncer's, with a warning for all that is not carried over.

PgBouncer's own defaults are written out where ours differ, so that pools stay as large and waits as long as
they were. What each setting becomes stands in a table of `pgbouncer_settings`; databases and users are
`pgbouncer_databases`' part. Called by the command line only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from helios_trio.config import toml
from helios_trio.config.addresses import DEFAULT_PORT, parse_address
from helios_trio.config.environment import literal
from helios_trio.config.pgbouncer_databases import (
    UNIX_FOLDER,
    backends,
    clamp,
    connections,
    databases,
    rules,
    unique,
)
from helios_trio.config.pgbouncer_ini import Include, parse_ini
from helios_trio.config.pgbouncer_settings import Warn, carry, choice, converted_or_none, port

_HEADER: Final = "# Written by helios import-pgbouncer; its warnings name what is not in here.\n\n"
_METHODS: Final = choice("trust", "md5", "scram-sha-256", "cert", plain="password", any="trust")
_NEED_SECRETS: Final = frozenset({"password", "md5", "scram-sha-256"})
_DEFAULT_QUERY: Final = "SELECT usename, passwd FROM pg_shadow WHERE usename=$1"


@frozen
class ImportResult:
    """The text of our configuration, and a line for each setting that is not in it as it was."""

    toml_text: str
    warnings: tuple[str, ...]


def import_pgbouncer(ini_text: str, include: Include | None = None) -> ImportResult:
    """Our configuration from the text of a pgbouncer.ini; `include` reads the files of `%include`.

    Raises ConfigError if the text is not one that PgBouncer would accept.
    """
    ini = parse_ini(ini_text, include)
    warnings = list(ini.warnings)

    def warn(name: str, why: str) -> None:
        warnings.append(f"{name}: {why}")

    def warn_pgbouncer(name: str, why: str) -> None:
        warn(f"[pgbouncer] {name}", why)

    settings = ini.section("pgbouncer")
    tree = carry(settings, warn_pgbouncer)
    tree["proxy"]["listen_address"] = _listeners(settings, warn_pgbouncer)
    tree["auth"] = _auth(settings, tree.get("auth", {}), warn_pgbouncer)
    entries = connections("databases", ini.section("databases"))
    servers = backends(entries, settings, warn, warn_pgbouncer)
    tree["backends"] = {"pools": unique(servers.values())}
    tree["databases"] = databases(entries, servers, warn)
    tree["pool"]["rules"] = rules(entries, connections("users", ini.section("users")), warn)
    clamp(tree["pool"], warn)
    for section in sorted(ini.sections.keys() - {"pgbouncer", "databases", "users"}):
        warn(f"[{section}]", "not carried over; nothing here corresponds to it")
    return ImportResult(_HEADER + toml.document(_escaped(tree)), tuple(warnings))


def _escaped(item: Any) -> Any:
    """`item` with strings written so that no `${` in them is taken for a variable; without empty arrays."""
    match item:
        case str():
            return literal(item)
        case dict():
            return {name: _escaped(each) for name, each in item.items() if each != []}
        case list():
            return [_escaped(each) for each in item]
        case _:
            return item


def _listeners(settings: Mapping[str, str], warn: Warn) -> list[str]:
    """The addresses of `listen_addr` and the socket in `unix_socket_dir`, all with the one port."""
    asked = settings.get("listen_port", str(DEFAULT_PORT))
    number = converted_or_none("listen_port", asked, port, warn) or DEFAULT_PORT
    found: list[str] = []
    for host in filter(None, map(str.strip, settings.get("listen_addr", "").split(","))):
        _add(found, f"[{host}]:{number}" if ":" in host else f"{host}:{number}", "listen_addr", warn)
    folder = settings.get("unix_socket_dir", UNIX_FOLDER)
    if folder:
        _add(found, f"unix:{folder.rstrip('/')}/.s.PGSQL.{number}", "unix_socket_dir", warn)
    if not found:
        warn("listen_addr", f"there is no address to listen on; 127.0.0.1:{number} is used")
    return found or [f"127.0.0.1:{number}"]


def _add(found: list[str], address: str, name: str, warn: Warn) -> None:
    """Adds an address once, if it is one."""
    try:
        parse_address(address)
    except ValueError:
        warn(name, f"not carried over, as {address} is no address here")
    else:
        found.extend([] if address in found else [address])


def _auth(settings: Mapping[str, str], auth: dict[str, Any], warn: Warn) -> dict[str, Any]:
    """The `[auth]` section, begun in `auth`, with its method and what the method needs."""
    asked = settings.get("auth_type", "md5")
    method = converted_or_none("auth_type", asked, _METHODS, warn) or "scram-sha-256"
    if asked == "any":
        warn("auth_type", "any becomes trust: the names of users are not ignored")
    if method in _NEED_SECRETS and not auth.keys() & {"auth_file", "auth_query"}:
        auth["auth_query"] = _DEFAULT_QUERY
        if "auth_user" not in auth:
            warn(
                "auth_user",
                "there is neither auth_file nor auth_user; auth_query is run by the [control] user",
            )
    if "auth_query" in auth and "auth_dbname" not in auth:
        warn("auth_dbname", "not given; auth_query is run in postgres, not in the database that is asked for")
    return {"method": method, **auth}
