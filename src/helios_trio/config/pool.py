"""`[pool]`: how server connections are shared, for all clients and, by rule, for some of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import attrs
from attrs import frozen

from helios_trio.config.keys import inherited, key, tables
from helios_trio.config.kinds import Count, Limit, Name, PositiveCount, Switch
from helios_trio.config.words import PoolMode, PoolModeWord, Reuse, ReuseWord


@frozen(kw_only=True)
class PoolSettings:
    """What holds for one pool, that is for one (backend, database, user)."""

    mode: PoolModeWord = key(PoolMode.SESSION, "session, transaction or statement")
    max_connections: PositiveCount = key(100, "most server connections of one (backend, database, user)")
    min_connections: Count = key(0, "server connections kept open even when nobody asks")
    max_connecting: PositiveCount = key(4, "server connections opened at the same time, against storms")
    queue_max: Count = key(10000, "most clients waiting for a connection; further ones get 53300")
    queue_timeout: Limit = key(
        30.0, 'longest wait for a connection, then 08006 with the reason; "off": for ever'
    )
    idle_timeout: Limit = key(600.0, "an unused server connection is closed after this time")
    max_lifetime: Limit = key(3600.0, "a server connection is closed at the first chance after this time")
    reuse: ReuseWord = key(
        Reuse.RESET, "session mode: reset runs reset_query and reuses the connection, pristine closes it"
    )
    reset_query: Name = key("DISCARD ALL", "session mode with reuse = reset: run when a client leaves")
    reset_always: Switch = key(
        False,
        "transaction and statement mode: clean a connection whenever another client gets it, also where no statement "
        "was seen that could have left something (triggers, views, defaults that call functions)",
    )
    max_prepared_statements: Count = key(200, "protocol prepared statements kept on each server connection")


@frozen(kw_only=True)
class PoolRule:
    """Other settings for some clients: the first rule that matches, over [pool]."""

    database: Name = key("*", "the name clients ask for, or a pattern with * and ?")
    user: Name = key("*", "the name of the client's user, or a pattern with * and ?")
    mode: PoolModeWord | None = inherited(PoolSettings, "mode")
    max_connections: PositiveCount | None = inherited(PoolSettings, "max_connections")
    min_connections: Count | None = inherited(PoolSettings, "min_connections")
    max_connecting: PositiveCount | None = inherited(PoolSettings, "max_connecting")
    queue_max: Count | None = inherited(PoolSettings, "queue_max")
    queue_timeout: Limit | None = inherited(PoolSettings, "queue_timeout")
    idle_timeout: Limit | None = inherited(PoolSettings, "idle_timeout")
    max_lifetime: Limit | None = inherited(PoolSettings, "max_lifetime")
    reuse: ReuseWord | None = inherited(PoolSettings, "reuse")
    reset_query: Name | None = inherited(PoolSettings, "reset_query")
    reset_always: Switch | None = inherited(PoolSettings, "reset_always")
    max_prepared_statements: Count | None = inherited(PoolSettings, "max_prepared_statements")

    def matches(self, database: str, user: str) -> bool:
        """Whether this rule is for clients that ask for `database` as `user`."""
        return fnmatchcase(database, self.database) and fnmatchcase(user, self.user)


@frozen(kw_only=True)
class Pools(PoolSettings):
    """How server connections are shared."""

    rules: tuple[PoolRule, ...] = tables()

    def for_(self, database: str, user: str) -> PoolSettings:
        """What holds for clients that ask for `database` as `user`: the first matching rule, over [pool]."""
        return next(
            (chosen for rule, chosen in self._chosen if rule.matches(database, user)), self._without_rule
        )

    @cached_property
    def _chosen(self) -> tuple[tuple[PoolRule, PoolSettings], ...]:
        """What holds where each rule is the first to match: asked for at every login."""
        return tuple((rule, self.under(rule)) for rule in self.rules)

    @cached_property
    def _without_rule(self) -> PoolSettings:
        return self.under(PoolRule())

    def under(self, rule: PoolRule) -> PoolSettings:
        """These settings where `rule` says nothing, and the rule's where it does."""
        chosen: dict[str, Any] = {}
        for name in attrs.fields_dict(PoolSettings):
            own = getattr(rule, name)
            chosen[name] = getattr(self, name) if own is None else own
        return PoolSettings(**chosen)
