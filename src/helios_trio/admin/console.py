"""The admin console: databases `pgbouncer` and `helios`, which a client reaches through the proxy's own port.

It speaks as PgBouncer's does, so that psql, exporters and dashboards made for that work. No server is needed for it,
and nothing of it reaches one. Each client has its conversation in the nursery of its connection.

Used by: composition.assembly (makes it, gives the proxy its `console_of`), app (runs it).
"""

from __future__ import annotations

import math
import secrets
import time
from typing import Final

import trio
from attrs import define, field

from helios_trio.admin.console_access import ConsoleLogin, console_name, is_console, rank_of
from helios_trio.admin.console_frames import failure
from helios_trio.admin.console_orders import Orders
from helios_trio.admin.console_scene import ConsoleClient, Scene
from helios_trio.admin.console_session import ConsoleSession
from helios_trio.admin.console_stats import Statistics
from helios_trio.admin.parts import Parts
from helios_trio.errors import FeatureNotSupported, ShuttingDown, TooManyConnections
from helios_trio.net.errors import ConnectionLost
from helios_trio.proxy.admission import Admitted
from helios_trio.proxy.greeting import Greeting
from helios_trio.proxy.serving import Console, shared_pid
from helios_trio.wire.codes import PROTOCOL_3_2

#: Clients of the console at the same time; they are let in also when the proxy has as many as it may have.
MOST: Final = 64
#: Seconds between readings of what pools have counted, and between looks at who waits in a paused database.
_READ, _LOOK = 5.0, 0.5
#: What a client is told at first; the version is that of PgBouncer whose console this is like.
_GREETING: Final = Greeting(
    {
        "server_version": "1.18.0/bouncer",
        "client_encoding": "UTF8",
        "server_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "integer_datetimes": "on",
        "DateStyle": "ISO",
        "TimeZone": "GMT",
        "is_superuser": "on",
    }
)


@define(eq=False)
class Consoles:
    """All clients of the console."""

    parts: Parts
    statistics: Statistics = field(factory=Statistics)
    clients: dict[int, ConsoleClient] = field(factory=dict)

    def console_of(self, database: str) -> Console | None:
        """See `proxy.serving.Proxy.console_of`."""
        return self.serve if is_console(self.parts.running.config, database) else None

    @property
    def console(self) -> str:
        """The console's own name in its tables."""
        return console_name(self.parts.running.config)

    async def run(self) -> None:
        """Count, and send away who has waited too long, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count)
            nursery.start_soon(self._look_out)

    async def _count(self) -> None:
        while True:
            self._read()
            await trio.sleep(_READ)

    async def _look_out(self) -> None:
        pauses = self.parts.proxy.pauses
        while True:
            if pauses.paused:
                pauses.send_away(trio.current_time())
            await trio.sleep(_LOOK)

    def _read(self) -> None:
        pools = ((pool, database) for pool, (database, _) in self.parts.pools.named())
        self.statistics.read(pools, trio.current_time())

    def scene(self) -> Scene:
        """The proxy now."""
        self._read()
        return Scene(
            self.parts,
            self.statistics,
            lambda: tuple(self.clients.values()),
            now=time.time(),
            clock=trio.current_time(),
        )

    async def serve(self, admitted: Admitted, number: int) -> None:
        """Talk with one client to its end. Raises HeliosError for one that is not let in; it has no greeting then."""
        stream, startup = admitted.stream, admitted.startup
        rank = rank_of(startup.user, stream.transport, self.parts.running.config.admin)
        if admitted.is_replication:
            raise FeatureNotSupported("the admin console has nothing to replicate")
        if len(self.clients) >= MOST:
            raise TooManyConnections("too many clients of the admin console")
        client = self.clients[number] = _client_of(admitted, number)
        who = f"{client.user} in the console"
        session = ConsoleSession(stream, rank, Orders(self.parts, self.scene, who))
        session.on_command = lambda: self.statistics.count_command(self.console)
        try:
            secret = secrets.token_bytes(32 if admitted.protocol >= PROTOCOL_3_2 else 4)
            with trio.fail_after(self.parts.proxy.limits.login_timeout):
                await stream.send(admitted.authenticated.reply + _GREETING.frames(shared_pid(number), secret))
            await session.run()
        except (ConnectionLost, trio.TooSlowError):
            return  # it has gone, or takes no answers
        finally:
            if trio.current_effective_deadline() == -math.inf:
                _say_goodbye(admitted)
            del self.clients[number]


def open_console(parts: Parts) -> Consoles:
    """Have the proxy let clients into the console of these parts."""
    consoles, proxy = Consoles(parts), parts.proxy
    proxy.console_of = consoles.console_of
    proxy.authenticate = ConsoleLogin(proxy.authenticate, lambda name: consoles.console_of(name) is not None)
    return consoles


def _client_of(admitted: Admitted, number: int) -> ConsoleClient:
    transport, startup = admitted.stream.transport, admitted.startup
    return ConsoleClient(
        id=number,
        user=startup.user,
        database=startup.database,
        address=transport.peer,
        local=transport.local,
        tls="" if transport.tls is None else transport.tls.version,
        application_name=startup.text("application_name") or "",
        since=trio.current_time(),
    )


def _say_goodbye(admitted: Admitted) -> None:
    """Without waiting: the proxy is going."""
    error = ShuttingDown("terminating connection due to administrator command")
    try:
        admitted.stream.transport.send_nowait(failure(error, "FATAL"))
    except ConnectionLost:
        return
