"""Who may come into the admin console, and what they may do there.

Everybody proves who they are as to a real database (`proxy.login`; rules may name `pgbouncer` and `helios`). Then
`admin.admin_users` may do everything and `admin.stats_users` may look around. Nobody else may anything, also with
method trust on loopback, but the account that the proxy runs as: it may stop the process anyway, so on a unix socket
it is let in without a password as user `pgbouncer` or `helios`, as PgBouncer does.

Used by: admin.console (asks), composition.letting_in (puts the login together).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import Final

from attrs import define

from helios_trio.config.admin import AdminSettings
from helios_trio.config.root import Config
from helios_trio.config.words import AuthMethod
from helios_trio.errors import NotAuthorised
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.transport import Transport
from helios_trio.pool.server_auth import Credentials
from helios_trio.proxy.admission import Authenticate
from helios_trio.proxy.authentication import Authenticated
from helios_trio.wire.backend_messages import AuthenticationOk
from helios_trio.wire.startup import StartupMessage

#: Databases that are the console, unless [[databases]] has one of that name; and users the proxy's own account may be.
NAMES: Final = ("pgbouncer", "helios")


class Rank(Enum):
    """What a client of the console may do."""

    ADMIN = "admin"
    #: SHOW, but for what was made to hand over sockets
    STATS = "stats"


def is_console(config: Config, database: str) -> bool:
    """Whether this name is the console; a database that is configured by that name goes before it."""
    return database in NAMES and all(each.name != database for each in config.databases)


def console_name(config: Config) -> str:
    """What the console is called where it stands among the databases."""
    return next((name for name in NAMES if is_console(config, name)), NAMES[0])


def rank_of(user: str, transport: Transport, settings: AdminSettings) -> Rank:
    """What a client that has proved to be `user` may do. Raises NotAuthorised."""
    if user in settings.admin_users or is_own_account(user, transport):
        return Rank.ADMIN
    if user in settings.stats_users:
        return Rank.STATS
    raise NotAuthorised(
        "not allowed",
        hint="The databases pgbouncer and helios are the proxy's console, for admin.admin_users and admin.stats_users. "
        "To reach a database of that name, configure it in [[databases]].",
    )


def is_own_account(user: str, transport: Transport) -> bool:
    """Whether the client's process has the proxy's own account, and says so."""
    return user in NAMES and transport.peer_user() == os.geteuid()


@define
class ConsoleLogin:
    """Authentication in front of which the proxy's own account is let into the console."""

    login: Authenticate
    is_console: Callable[[str], bool]

    async def __call__(self, stream: FrameStream, startup: StartupMessage) -> Authenticated:
        """As `proxy.login.Login`."""
        user = startup.user
        if self.is_console(startup.database) and is_own_account(user, stream.transport):
            return Authenticated(user, AuthMethod.TRUST, Credentials(user), AuthenticationOk().encode())
        return await self.login(stream, startup)
