"""All pools: which one a client belongs to, made when the first client of its kind comes.

Used by: proxy.handshake (finds the pool of a client), admin (figures), app (runs it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import trio
from attrs import frozen

from helios_trio.config.pool import PoolSettings
from helios_trio.config.words import PoolMode, Reuse
from helios_trio.net.dial import ServerAddress
from helios_trio.net.readiness import Readiness
from helios_trio.net.tls import ServerTLS
from helios_trio.net.transport import Keepalive
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connect import ServerGreeting, open_server_connection
from helios_trio.pool.cutting_off import cut_off
from helios_trio.pool.planner import PoolLimits
from helios_trio.pool.pool import Cancel, Pool
from helios_trio.pool.server_auth import Credentials
from helios_trio.session.settings import Label
from helios_trio.wire.options import parse_options

#: Seconds after which a pool without clients and connections is forgotten.
_UNUSED_TIME: Final = 10.0


@frozen(cache_hash=True)
class PoolKey:
    """What clients must have in common to share connections."""

    backend: str
    database: str
    user: str
    shared: bool


@frozen
class Destination:
    """Where a client's server connections go and how they are shared."""

    backend: Backend
    #: database and user on the server
    database: str
    user: str
    settings: PoolSettings
    tls: ServerTLS
    #: how to log in, where the configuration says it
    credentials: Credentials | None = None
    #: database and user as the client calls them: what the rules of the configuration are matched with
    asked: tuple[str, str] = ("", "")
    #: requests of a session may go to several servers
    routed: bool = False

    @property
    def shared(self) -> bool:
        """Whether a connection serves several clients in turn, or a client several connections."""
        return self.routed or self.settings.mode is not PoolMode.SESSION

    @property
    def key(self) -> PoolKey:
        """The pool it belongs to."""
        return PoolKey(self.backend.name, self.database, self.user, self.shared)


class Pools:
    """The pools of this process, by key, living in one nursery."""

    def __init__(
        self,
        readiness: Readiness,
        *,
        connect_timeout: float,
        keepalive: Keepalive,
        cancel: Cancel | None = None,
    ) -> None:
        """`cancel` delivers a cancel request to the server of a connection."""
        self.readiness = readiness
        self.connect_timeout = connect_timeout
        self.keepalive = keepalive
        self._cancel = cancel
        self._pools: dict[PoolKey, Pool] = {}
        self._credentials: dict[PoolKey, Credentials] = {}
        self._asked: dict[PoolKey, tuple[str, str]] = {}
        self._nursery: trio.Nursery | None = None
        self._renamed: dict[int, int] = {}
        #: told the name of a backend that looks dead, and what was seen
        self.on_trouble: Callable[[str, str], None] = lambda backend, reason: None
        #: backends that have been given up, and why
        self._given_up: dict[str, str] = {}

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def named(self) -> Iterator[tuple[Pool, tuple[str, str]]]:
        """Each pool with database and user as the first of its clients has called them."""
        for key, pool in list(self._pools.items()):
            yield pool, self._asked.get(key, (key.database, key.user))

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the pools until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                await trio.sleep(_UNUSED_TIME)
                self._drop_unused(trio.current_time())

    def _drop_unused(self, now: float) -> None:
        """Pools of databases and users that nobody asks for, existing or not, are forgotten."""
        for key, pool in list(self._pools.items()):
            if pool.is_unused(now, _UNUSED_TIME):
                pool.close()
                del self._pools[key], self._asked[key]
                self._credentials.pop(key, None)

    async def wait_stopped(self) -> None:
        """Return when no server is being told to stop what it does for a session that has ended."""
        for pool in list(self._pools.values()):
            await pool.wait_stopped()

    async def pool_for(self, destination: Destination, credentials: Credentials) -> Pool:
        """The pool of a client that has proved who it is; `credentials` log in to the server from now on."""
        key = destination.key
        known = self._credentials.get(key)
        if known is None or credentials.password is not None or credentials.scram_keys is not None:
            self._credentials[key] = credentials
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._make(destination)
            pool.given_up = self._given_up.get(key.backend, "")
            pool.on_trouble = lambda reason: self.on_trouble(key.backend, reason)
            self._asked[key] = destination.asked
            assert self._nursery is not None
            await self._nursery.start(pool.run)
        return pool

    async def pool_like(self, destination: Destination, known: PoolKey) -> Pool:
        """The pool of a client that is known at another backend; it logs in with the same credentials."""
        return await self.pool_for(destination, destination.credentials or self._credentials[known])

    def reconfigure(self, settings_for: Callable[[str, str], PoolSettings]) -> None:
        """Take over other limits; connections beyond them are closed when they are given back."""
        for key, pool in self._pools.items():
            pool.planner.limits = limits_of(settings_for(*self._asked[key]))
            surplus = max(0, pool.planner.total - pool.planner.limits.max_connections)
            for connection in list(pool.planner.idle_slots())[:surplus]:
                pool.discard(connection, "pool made smaller")
            pool.act()

    async def connect_alone(
        self, destination: Destination, credentials: Credentials, parameters: Mapping[str, str]
    ) -> ServerGreeting:
        """A connection outside of all pools, with these start-up parameters (replication)."""
        return await open_server_connection(
            ServerAddress(destination.backend.host, destination.backend.port),
            parameters,
            credentials,
            destination.tls,
            time_limit=self.connect_timeout,
            keepalive=self.keepalive,
        )

    async def open_listener(self, destination: Destination) -> ServerGreeting:
        """A connection outside of all pools, to LISTEN on."""
        parameters = {
            "user": destination.user,
            "database": destination.database,
            "application_name": "helios listener",
        }
        return await self.connect_alone(destination, self._credentials[destination.key], parameters)

    def idle_of(self, key: PoolKey, variant: Mapping[str, str]) -> int:
        """How many connections of this variant are ready in a pool."""
        return sum(slot.variant == variant for slot in self._pools[key].planner.idle_slots())

    def session_of(self, pid: int) -> int | None:
        """The id of the session that a server process of ours works for, or worked for last."""
        for pool in self._pools.values():
            for connection in pool.planner.slots:
                if connection.pid == pid and pool.planner.shared:
                    return connection.side.last_session or None
        return None

    def close_database(self, database: str) -> None:
        """DROP DATABASE or ALTER DATABASE RENAME is coming: our own idle connections must not be in its way."""
        for key, pool in self._pools.items():
            if key.database == database:
                pool.close_idle("database dropped or renamed")

    def find(self, key: PoolKey) -> Pool | None:
        """The pool of that key, if there is one now."""
        return self._pools.get(key)

    def cut_off(self, backend: str, reason: str) -> None:
        """Give a server up: its connections are closed, also those at work, and none is opened until `reopen`."""
        self._given_up[backend] = reason
        for pool in self._of(backend):
            cut_off(pool, reason)

    def reopen(self, backend: str) -> None:
        """A server is there, perhaps again: connections to it are opened at once."""
        self._given_up.pop(backend, None)
        for pool in self._of(backend):
            pool.reopen()

    def _of(self, backend: str) -> list[Pool]:
        return [pool for key, pool in self._pools.items() if key.backend == backend]

    def used_of(self, backend: str) -> int:
        """Server connections to one backend, those being opened included."""
        return sum(pool.planner.total for key, pool in self._pools.items() if key.backend == backend)

    def _make(self, destination: Destination) -> Pool:
        settings, backend = destination.settings, destination.backend
        reset = settings.reset_query if settings.reuse is Reuse.RESET else None
        if destination.shared:  # for sessions that leave something behind
            reset = "DISCARD ALL"
        return Pool(
            (backend.name, destination.database, destination.user),
            backend,
            limits_of(settings),
            shared=destination.shared,
            reset_query=reset,
            connect=self._connector(destination),
            base_label=base_label,
            readiness=self.readiness,
            room=lambda: backend.max_connections - self.used_of(backend.name),
            on_freed=self._reconsider(backend.name),
            evict_elsewhere=lambda: self._evict_idle(backend.name),
            cancel=self._cancel,
            renamed=self._renamed,
        )

    def _evict_idle(self, backend: str) -> None:
        """Close the connection to a backend that has been idle for longest, in whatever pool."""
        pools = [pool for key, pool in self._pools.items() if key.backend == backend]
        idle = [(slot.idle_since, pool, slot) for pool in pools for slot in pool.planner.idle_slots()]
        if idle:
            _, pool, slot = min(idle, key=lambda found: found[0])
            pool.discard(slot, "made room for another pool")

    def _reconsider(self, backend: str) -> Callable[[], None]:
        """When a connection of a backend is closed, another pool may open one."""

        def reconsider() -> None:
            for key, pool in self._pools.items():
                if key.backend == backend and pool.planner.waiting:
                    pool.act()

        return reconsider

    def _connector(
        self, destination: Destination
    ) -> Callable[[Mapping[str, str]], Awaitable[ServerGreeting]]:
        backend, key = destination.backend, destination.key
        address = ServerAddress(backend.host, backend.port)

        async def connect(variant: Mapping[str, str]) -> ServerGreeting:
            return await open_server_connection(
                address,
                {"user": destination.user, "database": destination.database, **variant},
                self._credentials[key],
                destination.tls,
                time_limit=self.connect_timeout,
                keepalive=self.keepalive,
            )

        return connect


def limits_of(settings: PoolSettings) -> PoolLimits:
    """The planner's limits from the configuration."""
    return PoolLimits(
        max_connections=settings.max_connections,
        min_connections=settings.min_connections,
        max_connecting=settings.max_connecting,
        queue_max=settings.queue_max,
        idle_timeout=settings.idle_timeout,
        max_lifetime=settings.max_lifetime,
    )


def base_label(variant: Mapping[str, str]) -> Label:
    """The settings that start-up parameters make: names in lower case, `options` taken apart.

    A parameter of its own wins over the same one inside `options`, as in PostgreSQL (process_startup_options).
    """
    label = dict(parse_options(variant["options"]).settings) if "options" in variant else {}
    label.update({name.lower(): value for name, value in variant.items() if name != "options"})
    return label
