"""Where a client goes: from the database and user it asks for to a server, a pool and the settings that hold there.

Used by: proxy.serving (for every client), composition.core (makes it, replaces its configuration at a reload).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import NodeRole, NodeState, Topology
from helios_trio.config.backends import BackendSettings, DatabaseSettings
from helios_trio.config.root import Config
from helios_trio.config.secret import Secret
from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.net.tls import ServerTLS
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.pools import Destination
from helios_trio.pool.server_auth import Credentials


@define
class ConfiguredDirectory:
    """The configuration together with what is known of the servers (`proxy.serving.Directory`)."""

    config: Config
    topology: Topology
    tls: dict[str, ServerTLS]
    placement: Placement
    #: requests of a session may go to several servers
    routed: bool = False
    #: a database that is tied to a standby has its home on the primary of the same data
    writes_elsewhere: bool = False
    #: where rules have a session live: tenant, database, user -> backend; None: where it would without any
    place: Callable[[str, str, str], str | None] = lambda tenant, database, user: None

    def destination(self, database: str, user: str, session: int, tenant: str) -> Destination:
        """See `proxy.serving.Directory`."""
        named = self._named(database)
        home = self.place(tenant, database, user) or self._backend(named).name
        return self._at(self.placement.place(home, session, tenant), named, database, user)

    def destination_at(self, backend: str, database: str, user: str) -> Destination:
        """The same at a certain backend; raises HeliosError (3D000) when there is none of that name."""
        return self._at(backend, self._named(database), database, user)

    def home_of(self, database: str) -> str:
        """Where sessions of a database belong that nobody has moved; empty when that is not known now."""
        named = self.config.database_for(database)
        if named is None:
            return ""
        if named.backend is not None:
            return self._home_of(self.topology.nodes[named.backend]).backend.name
        writer = self.topology.writer
        return writer.backend.name if writer is not None else ""

    def _named(self, database: str) -> DatabaseSettings:
        named = self.config.database_for(database)
        if named is None:
            raise HeliosError(f'database "{database}" does not exist', sqlstate="3D000", severity="FATAL")
        return named

    def _at(self, name: str, named: DatabaseSettings, database: str, user: str) -> Destination:
        node = self.topology.nodes.get(name)
        if node is None:
            raise HeliosError(f'there is no backend named "{name}"', sqlstate="3D000")
        backend = node.backend
        return Destination(
            backend,
            asked=(database, user),
            database=named.database or backend.database or database,
            user=named.user or backend.user or user,
            settings=self.config.pool.for_(database, user),
            tls=self.tls[backend.name],
            credentials=self._credentials(named, backend),
            routed=self.routed,
        )

    def _backend(self, named: DatabaseSettings) -> Backend:
        if named.backend is not None:
            return self._home_of(self.topology.nodes[named.backend]).backend
        node = self.topology.writer
        if node is None:
            raise BackendUnavailable("no server takes writes now", sqlstate="57P03", hint="Retry later.")
        return node.backend

    def _home_of(self, node: NodeState) -> NodeState:
        """Where sessions live that ask for this server: there, or where it gets its data from."""
        writer = self.topology.writer
        if not self.writes_elsewhere or node.role is not NodeRole.STANDBY or writer is None:
            return node
        return writer if writer.system_identifier == node.system_identifier else node

    def _credentials(self, named: DatabaseSettings, backend: Backend) -> Credentials | None:
        """Those of the configuration, where it names the user; read again each time, so that they can change."""
        owner = named if named.user is not None else self._settings_of(backend)
        if owner is None or owner.user is None:
            return None
        return Credentials(owner.user, password=_revealed(owner.read_password()))

    def _settings_of(self, backend: Backend) -> BackendSettings | None:
        return next((each for each in self.config.backends.pools if each.name == backend.name), None)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
