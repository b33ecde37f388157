"""Where the secrets come from that clients are checked against: a file, a query, or one after the other.

A secret is what `pg_authid.rolpassword` or PgBouncer's userlist.txt holds. `proxy.userlist` reads files; the
query is run by whoever constructs `AuthQuery`. Called by `proxy.authentication` once per login.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Final, Protocol

import trio
from attrs import define, field, frozen

from helios_trio.errors import HeliosError
from helios_trio.wire.passwords import PasswordType, password_type

MAX_CACHED: Final = 10_000
"""Users of whom `AuthQuery` remembers what the query said."""


@frozen(slots=False)
class StoredSecret:
    """A password, an md5 digest or a SCRAM verifier; never shown."""

    text: str = field(repr=False)

    @cached_property
    def kind(self) -> PasswordType:
        """Which of the three it is."""
        return password_type(self.text)


class SecretSource(Protocol):
    """Who knows the secrets."""

    @property
    def typical(self) -> PasswordType:
        """The kind most users have: unknown ones are treated as if theirs were of that kind."""

    async def lookup(self, user: str, database: str) -> StoredSecret | None:
        """The user's secret, None if there is none. Raises `HeliosError` if that cannot be told."""

    def doubt(self, user: str, database: str) -> None:
        """A login with what `lookup` said has failed: it may have changed since."""


class SecretChain:
    """The first source that knows the user decides."""

    def __init__(self, sources: Sequence[SecretSource]) -> None:
        self._sources = tuple(sources)

    @property
    def typical(self) -> PasswordType:
        """See `SecretSource.typical`: that of the last source, which is asked about all unknown users."""
        return self._sources[-1].typical if self._sources else PasswordType.SCRAM

    async def lookup(self, user: str, database: str) -> StoredSecret | None:
        """See `SecretSource.lookup`."""
        for source in self._sources:
            found = await source.lookup(user, database)
            if found is not None:
                return found
        return None

    def doubt(self, user: str, database: str) -> None:
        """See `SecretSource.doubt`."""
        for source in self._sources:
            source.doubt(user, database)


QueryRunner = Callable[[str, str], Awaitable[str | None]]
"""Gives the secret of (user, database), None where the query has no row; raises `HeliosError` if it fails."""


@frozen
class _Cached:
    secret: StoredSecret | None
    asked_at: float


@define(eq=False)
class _Flight:
    """A query under way that others wait for."""

    landed: trio.Event = field(factory=trio.Event)
    error: HeliosError | None = None


class AuthQuery:
    """A `SecretSource` that asks a database and remembers the answers, those about unknown users too.

    However many logins of one user come at once, one query runs. What is remembered is bounded in number and
    time.
    """

    def __init__(
        self, run: QueryRunner, *, ttl: float = 30.0, min_age: float = 1.0, max_cached: int = MAX_CACHED
    ) -> None:
        """Answers are good for `ttl` seconds; doubted ones are forgotten if older than `min_age` seconds."""
        self._run = run
        self._ttl = ttl
        self._min_age = min_age
        self._max_cached = max_cached
        self._cache: OrderedDict[tuple[str, str], _Cached] = OrderedDict()
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._typical = PasswordType.SCRAM

    @property
    def typical(self) -> PasswordType:
        """See `SecretSource.typical`: the kind seen last."""
        return self._typical

    async def lookup(self, user: str, database: str) -> StoredSecret | None:
        """See `SecretSource.lookup`."""
        key = (user, database)
        while True:
            cached = self._cache.get(key)
            if cached is not None and trio.current_time() - cached.asked_at < self._ttl:
                return cached.secret
            flight = self._flights.get(key)
            if flight is None:
                return await self._ask(key)
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error

    def doubt(self, user: str, database: str) -> None:
        """See `SecretSource.doubt`; not at once, lest wrong passwords make queries."""
        cached = self._cache.get((user, database))
        if cached is not None and trio.current_time() - cached.asked_at >= self._min_age:
            del self._cache[user, database]

    async def _ask(self, key: tuple[str, str]) -> StoredSecret | None:
        """Run the query for everybody who waits. If this task is cancelled, one of them asks in its place."""
        flight = self._flights[key] = _Flight()
        asked_at = trio.current_time()
        try:
            text = await self._run(*key)
        except HeliosError as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.landed.set()
        secret = StoredSecret(text) if text else None
        self._remember(key, _Cached(secret, asked_at))
        return secret

    def _remember(self, key: tuple[str, str], cached: _Cached) -> None:
        if cached.secret is not None:
            self._typical = cached.secret.kind
        self._cache[key] = cached
        self._cache.move_to_end(key)
        while len(self._cache) > self._max_cached:
            self._cache.popitem(last=False)
