"""Who may come in - clients by their proofs, operators by their keys - made from a configuration.

Used by: composition.core (clients), composition.assembly (operators), composition.showing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import evolve

from helios_trio.admin.access import Access
from helios_trio.admin.keys import LOCAL, KeyRing, Role, make_key, read_keys
from helios_trio.config import Config
from helios_trio.config.words import ClientTls, WithoutKey
from helios_trio.control.connection import ControlConnection
from helios_trio.net.tls import ClientTLS
from helios_trio.net.transport import Keepalive
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.auth_query import AuthQueryRunner
from helios_trio.proxy.auth_rules import AuthRules
from helios_trio.proxy.auth_secrets import AuthQuery, SecretChain, SecretSource
from helios_trio.proxy.authentication import AuthenticationSettings, stored_credentials
from helios_trio.proxy.limits import ProxyLimits
from helios_trio.proxy.login import Login
from helios_trio.proxy.userlist import AuthFile

# -- operators -------------------------------------------------------------------------------------------------


def access_of(config: Config) -> tuple[Access, str | None]:
    """Who may use the admin listener, and the key that was made if no file has any. Raises ConfigError."""
    if config.admin.api_keys_file is not None:
        return Access(KeyRing(read_keys(config.admin.api_keys_file)), health_without_key(config)), None
    key, kept = make_key(LOCAL, Role.OPERATOR, config.control.user)
    return Access(KeyRing((kept,)), health_without_key(config)), key


def health_without_key(config: Config) -> WithoutKey:
    """Where health and metrics can be read without a key, on the address that is configured."""
    address, words = config.proxy.admin_listen_address, config.admin.health_without_key
    if words is WithoutKey.LOOPBACK and (address is None or not address.is_loopback):
        return WithoutKey.NOWHERE
    return words


# -- clients ---------------------------------------------------------------------------------------------------


def limits_of(config: Config) -> ProxyLimits:
    """Limits that hold for all clients."""
    return ProxyLimits(
        max_clients=config.proxy.max_client_connections,
        max_unauthenticated=config.proxy.max_unauthenticated_connections,
        login_timeout=config.timeouts.login,
        application_name_suffix=config.proxy.application_name_suffix or "",
        keepalive=keepalive_of(config),
    )


def client_tls_of(config: Config) -> ClientTLS:
    """TLS towards clients. Raises ConfigError for files that cannot be used."""
    tls = config.proxy.tls
    return ClientTLS(
        tls.mode, cert_file=tls.cert_file, key_file=tls.key_file, client_ca_file=tls.client_ca_file
    )


def login_of(
    config: Config,
    connect_as: Callable[[str, str], Awaitable[ControlConnection]],
    settings: AuthenticationSettings,
) -> Login:
    """How clients prove who they are. Raises ConfigError: the file of users cannot be used.

    `settings` keep their nonce over reloads, so that salts stay the same.
    """
    auth = config.effective_auth
    sources: list[SecretSource] = []
    if auth.auth_file is not None:
        sources.append(AuthFile(Path(auth.auth_file)))
    if auth.auth_query is not None:
        user, database = auth.auth_user or config.control.user, auth.auth_dbname
        runner = AuthQueryRunner(auth.auth_query, lambda: connect_as(user, database))
        sources.append(AuthQuery(runner.run))
    verify_name = config.proxy.tls.mode is ClientTls.VERIFY_FULL
    return Login(
        AuthRules(auth.rules, auth.method),
        SecretChain(sources),
        evolve(settings, verify_certificate_name=verify_name),
    )


async def credentials_of(config: Config, login: Login, user: str, database: str) -> Credentials:
    """What is known to log in to a server as a user who has not shown a password. Raises HeliosError."""
    control = config.control
    if user == control.user and (password := control.read_password()) is not None:
        return Credentials(user, password=password.reveal())
    stored = await login.secrets.lookup(user, database)
    return Credentials(user) if stored is None else stored_credentials(user, stored)


def keepalive_of(config: Config) -> Keepalive:
    """TCP keepalive towards both sides."""
    proxy = config.proxy
    if proxy.tcp_keepalive_idle == float("inf"):
        return Keepalive(enabled=False)
    return Keepalive(
        idle=max(1, round(proxy.tcp_keepalive_idle)),
        interval=max(1, round(proxy.tcp_keepalive_interval)),
        count=proxy.tcp_keepalive_count,
    )
