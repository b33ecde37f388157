"""What must hold between keys, and outside the file: duplicates, things that need each other, files that are
there.

Each check is a generator of `Problem`s over a sound `Config`; `problems` runs all. A check names every key it
looked at, so that the loader can leave out those that judge a key already reported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Final

from helios_trio.config.addresses import TcpAddress
from helios_trio.config.backends import BackendSettings, DatabaseSettings
from helios_trio.config.circuit_breaker import PREFIX, CircuitBreaker
from helios_trio.config.control import ControlSettings
from helios_trio.config.keys import Path, leaves
from helios_trio.config.kinds import File
from helios_trio.config.migration import what_is_wrong_with
from helios_trio.config.problems import Problem, expected
from helios_trio.config.root import Config
from helios_trio.config.routing_checks import ROUTING_CHECKS
from helios_trio.config.toml import string
from helios_trio.config.toml import value as value_text
from helios_trio.config.topology import PatroniSettings
from helios_trio.config.words import AuthMethod, ClientTls, SslMode, TopologyProvider

_Owner = ControlSettings | BackendSettings | DatabaseSettings | PatroniSettings
Check = Callable[[Config], Iterator[Problem]]

_NEED_SECRETS: Final = {AuthMethod.PASSWORD, AuthMethod.MD5, AuthMethod.SCRAM_SHA_256}
_CLIENT_VERIFY: Final = {ClientTls.VERIFY_CA, ClientTls.VERIFY_FULL}
_SERVER_VERIFY: Final = {SslMode.VERIFY_CA, SslMode.VERIFY_FULL}


_URL: Final = re.compile(r"https?://[^/?#@\s]+/?", re.ASCII)


def problems(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with `config` as a whole."""
    for check in _CHECKS:
        yield from check(config)


def _files(config: Config) -> Iterator[Problem]:
    for path, leaf, value in leaves(config):
        if type(leaf.kind) is File and value is not None and not _readable(value):
            reason = (
                "it is a folder"
                if value.is_dir()
                else "cannot be read"
                if value.exists()
                else "there is none"
            )
            yield expected(path, f"the path of a readable file ({reason})", shown=string(str(value)))


def _readable(file: FilePath) -> bool:
    return os.access(file, os.R_OK) and not file.is_dir()


def _listeners(config: Config) -> Iterator[Problem]:
    here, admin = ("proxy", "listen_address"), ("proxy", "admin_listen_address")
    inside = config.proxy.admin_listen_address
    keys = ("admin", "api_keys_file")
    if inside is not None and not inside.is_loopback and config.admin.api_keys_file is None:
        what = "an address of this machine only, as there is no admin.api_keys_file"
        yield expected(admin, what, shown=string(str(inside)), others=(keys,))
    addresses = [
        each for each in config.proxy.listen_address if not isinstance(each, TcpAddress) or each.port
    ]
    for again in sorted({str(each) for each in addresses if addresses.count(each) > 1}):
        yield expected(here, "each address once", shown=string(again))
    if config.proxy.admin_listen_address in addresses:
        shown = string(str(config.proxy.admin_listen_address))
        yield expected(admin, "another address than listen_address", shown=shown, others=(here,))


def _client_tls(config: Config) -> Iterator[Problem]:
    tls, here, mode = config.proxy.tls, ("proxy", "tls"), ("proxy", "tls", "mode")
    needed = [] if tls.mode is ClientTls.DISABLE else ["cert_file", "key_file"]
    if tls.mode in _CLIENT_VERIFY:
        needed.append("client_ca_file")
    for name in needed:
        if getattr(tls, name) is None:
            yield expected((*here, name), f"a file, as mode is {tls.mode}", others=(mode,))


def _authentication(config: Config) -> Iterator[Problem]:
    auth, tls = config.effective_auth, config.proxy.tls
    file, query = ("auth", "auth_file"), ("auth", "auth_query")
    asked = _asked(config)
    asking = sorted(auth.methods & _NEED_SECRETS)
    if asking and auth.auth_file is None and auth.auth_query is None:
        what = f"auth_file or auth_query, as clients are asked for {asking[0]}"
        yield expected(("auth",), what, others=(file, query, *asked))
    if auth.auth_query is not None and "$1" not in auth.auth_query:
        yield expected(query, "a query with $1 for the user's name", shown=string(auth.auth_query))
    if AuthMethod.CERT in auth.methods and tls.mode is ClientTls.DISABLE:
        what = "another mode, as clients are asked for cert"
        yield expected(("proxy", "tls", "mode"), what, shown=string(tls.mode), others=asked)
    if AuthMethod.CERT in auth.methods and tls.client_ca_file is None:
        yield expected(
            ("proxy", "tls", "client_ca_file"), "a file, as clients are asked for cert", others=asked
        )


def _asked(config: Config) -> tuple[Path, ...]:
    """The keys that decide which methods clients are asked for."""
    rules = [("auth", "rules", index, "method") for index in range(len(config.auth.rules))]
    return ("auth", "method"), *rules, ("backends", "pools"), ("proxy", "listen_address")


def _passwords(config: Config) -> Iterator[Problem]:
    for path, owner in _owners(config):
        password, file = (*path, "password"), (*path, "password_file")
        if owner.password is not None and owner.password_file is not None:
            yield expected(file, "either password or password_file, not both", others=(password,))
        if (owner.password or owner.password_file) is not None and owner.user is None:
            yield expected((*path, "user"), "the user whose password is given", others=(password, file))


def _owners(config: Config) -> Iterator[tuple[Path, _Owner]]:
    """Each section that can hold a password, with its path."""
    yield ("control",), config.control
    yield ("topology", "patroni"), config.topology.patroni
    for index, backend in enumerate(config.backends.pools):
        yield ("backends", "pools", index), backend
    for index, database in enumerate(config.databases):
        yield ("databases", index), database


def _server_tls(config: Config) -> Iterator[Problem]:
    for index, each in enumerate(config.backends.pools):
        here: Path = ("backends", "pools", index)
        cert, key = (*here, "tls_cert_file"), (*here, "tls_key_file")
        if each.tls in _SERVER_VERIFY and each.tls_ca_file is None:
            yield expected((*here, "tls_ca_file"), f"a file, as tls is {each.tls}", others=((*here, "tls"),))
        if (each.tls_cert_file is None) is not (each.tls_key_file is None):
            missing, given = (cert, key) if each.tls_cert_file is None else (key, cert)
            yield expected(missing, f"a file, as {given[-1]} is given", others=(given,))


def _limits(config: Config) -> Iterator[Problem]:
    for index, each in enumerate(config.backends.pools):
        yield from _ordered(("backends", "pools", index), each.min_connections, each.max_connections)
    yield from _ordered(("pool",), config.pool.min_connections, config.pool.max_connections)
    for index, rule in enumerate(config.pool.rules):
        if rule.min_connections is not None or rule.max_connections is not None:
            merged = config.pool.under(rule)
            yield from _ordered(("pool", "rules", index), merged.min_connections, merged.max_connections)


def _ordered(path: Path, least: int, most: int | None) -> Iterator[Problem]:
    if most is not None and least > most:
        most_path: Path = (*path, "max_connections")
        others = (most_path, ("pool", "min_connections"), ("pool", "max_connections"))
        what = f"at most max_connections, {most}"
        yield expected((*path, "min_connections"), what, shown=str(least), others=others)


def _phases(config: Config) -> Iterator[Problem]:
    percents = [each.traffic_percent for each in config.session_migration.gradual_phases]
    if what := what_is_wrong_with(percents):
        here: Path = ("session_migration", "gradual_phases")
        others: list[Path] = [(*here, index, "traffic_percent") for index in range(len(percents))]
        shown = ", ".join(f"{each:g}" for each in percents)
        yield expected(here, what, shown=shown, others=tuple(others))


def _patroni(config: Config) -> Iterator[Problem]:
    here: Path = ("topology", "patroni")
    provider: Path = ("topology", "provider")
    settings = config.topology.patroni
    for index, url in enumerate(settings.urls):
        if _URL.fullmatch(url) is None:
            yield expected((*here, "urls"), f"http:// or https:// in entry {index}", shown=string(url))
    if (settings.cert_file is None) is not (settings.key_file is None):
        missing, given = (
            ("cert_file", "key_file") if settings.cert_file is None else ("key_file", "cert_file")
        )
        yield expected((*here, missing), f"a file, as {given} is given", others=((*here, given),))
    if config.topology.provider is not TopologyProvider.PATRONI:
        return
    if not settings.urls and all(each.host.startswith("/") for each in config.backends.pools):
        what = "the URL of a member, as no backend is reached over TCP"
        yield expected((*here, "urls"), what, others=(provider, ("backends", "pools")))


def _names(config: Config) -> Iterator[Problem]:
    backends = [each.name for each in config.backends.pools]
    yield from _once(("backends", "pools"), backends)
    yield from _once(("databases",), [each.name for each in config.databases])
    others: list[Path] = [("backends", "pools", index, "name") for index in range(len(backends))]
    for index, each in enumerate(config.databases):
        if each.backend is not None and each.backend not in backends:
            what = f"the name of one of [[backends.pools]] ({', '.join(backends) or 'there is none'})"
            here: Path = ("databases", index, "backend")
            yield expected(here, what, shown=string(each.backend), others=(*others, ("backends", "pools")))


def _once(path: Path, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        first = names.index(name)
        if first < index:
            earlier: Path = (*path, first, "name")
            here: Path = (*path, index, "name")
            yield expected(here, "a name that no other has", shown=string(name), others=(earlier,))


def _circuits(config: Config) -> Iterator[Problem]:
    breaker = config.circuit_breaker
    yield from _circuit(("circuit_breaker",), breaker, "")
    for index, backend in enumerate(config.backends.pools):
        own = breaker.for_backend(backend)
        if own != breaker:
            yield from _circuit(("backends", "pools", index), own, PREFIX)


def _circuit(path: Path, breaker: CircuitBreaker, prefix: str) -> Iterator[Problem]:
    found = breaker.what_is_wrong()
    if found is not None:
        name, what = found
        _, leaf, value = next(each for each in leaves(breaker) if each[0] == (name,))
        shown = value_text(leaf.kind.write(value))
        yield expected((*path, prefix + name), what, shown=shown, others=(("circuit_breaker",),))


_CHECKS: Final[tuple[Check, ...]] = (
    _files,
    _listeners,
    _client_tls,
    _authentication,
    _passwords,
    _server_tls,
    _limits,
    _phases,
    _patroni,
    _names,
    *ROUTING_CHECKS,
    _circuits,
)
