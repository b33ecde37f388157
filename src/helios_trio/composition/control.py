"""What the proxy itself has to say to servers: connections of its own user, requests to cancel, and TLS for both.

Used by: composition.core, and through it all that ask servers something.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
from attrs import define

from helios_trio.cluster.topology import Topology
from helios_trio.config import Config
from helios_trio.control.connection import ControlConnection
from helios_trio.control.tls import tls_parameters
from helios_trio.errors import BackendUnavailable
from helios_trio.net.dial import ServerAddress
from helios_trio.net.tls import ServerTLS
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.rescue import Primaries
from helios_trio.pool.connect import send_cancel
from helios_trio.pool.connection import BackendConnection

#: Seconds to deliver a cancel request.
_CANCEL_TIME_LIMIT: Final = 5.0


@define
class Control:
    """Opens connections of the proxy's own database user. They raise what `ControlConnection.connect` raises."""

    config: Config
    #: says which server takes writes when the one that did is gone; None: nobody knows
    primaries: Primaries | None = None

    async def connect(self, backend: Backend) -> ControlConnection:
        """To one server, for probes."""
        return await self.connect_to(backend, self.config.control.database)

    async def connect_to(self, backend: Backend, database: str) -> ControlConnection:
        """To a database of one server."""
        return await self.connect_as(backend, self.config.control.user, database)

    async def connect_as(self, backend: Backend, user: str, database: str) -> ControlConnection:
        """As that user; the password is the control user's, if that is who it is."""
        control = self.config.control
        password = control.read_password() if user == control.user else None
        configured = (each for each in self.config.backends.pools if each.name == backend.name)
        return await ControlConnection.connect(
            host=backend.host,
            port=backend.port,
            user=user,
            dbname=database,
            password=password.reveal() if password is not None else None,
            application_name="helios control",
            autocommit=True,
            **next(map(tls_parameters, configured), {}),
        )


def writer_connector(
    topology: Topology, control: Control
) -> Callable[[str, str], Awaitable[ControlConnection]]:
    """Opens connections, by user and database, to the server that takes writes, or to the one that succeeds it."""

    async def connect(user: str, database: str) -> ControlConnection:
        writer = topology.writer
        if writer is None:
            raise BackendUnavailable("no server is known to take writes")
        try:
            return await control.connect_as(writer.backend, user, database)
        except (psycopg.OperationalError, OSError):
            if control.primaries is None:
                raise
            settled = await control.primaries.settled(writer.backend.name)
        return await control.connect_as(topology.nodes[settled].backend, user, database)

    return connect


def canceller(tls: dict[str, ServerTLS]) -> Callable[[BackendConnection], Awaitable[None]]:
    """Delivers cancel requests to the server of a connection."""

    async def send(connection: BackendConnection) -> None:
        backend = connection.backend
        address = ServerAddress(backend.host, backend.port)
        await send_cancel(
            address, connection.pid, connection.secret, tls[backend.name], time_limit=_CANCEL_TIME_LIMIT
        )

    return send


def server_tls_of(config: Config, backends: list[Backend]) -> dict[str, ServerTLS]:
    """TLS towards each server, by the backend's name. Raises ConfigError for files that cannot be used."""
    found = {
        each.name: ServerTLS(
            each.tls, ca_file=each.tls_ca_file, cert_file=each.tls_cert_file, key_file=each.tls_key_file
        )
        for each in config.backends.pools
    }
    return {each.name: found.get(each.name) or ServerTLS() for each in backends}
