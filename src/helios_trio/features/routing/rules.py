"""Rules about tenants: where their requests go. In order, and the first that matches counts. Pure.

Rules that came by the API are asked before those of the configuration: what an operator has ordered while the proxy
runs shall count now. Sets of rules are never changed but replaced, so that a decision under way sees one of them.

Used by: features.routing.rule_book (makes them), features.routing.places and geo (ask).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Annotated, Final, Generic, Protocol, TypeVar

from attrs import field, frozen

from helios_trio.config.keys import REQUIRED, key
from helios_trio.config.kinds import Moment, Name, Text
from helios_trio.config.patterns import compiled
from helios_trio.config.routing import GeoRuleSettings, RoutingRuleSettings

#: How the ids of rules begin that stand in the configuration file, and of those that came by the API.
FROM_FILE, FROM_API = "file-", "api-"
#: Answers that are remembered for each set of rules.
_REMEMBERED: Final = 4096

Words = Annotated[str, Text("a text", empty=True)]


class AnyRule(Protocol):
    """What both kinds of rules have."""

    @property
    def id(self) -> str:
        """Unique among rules of its kind."""

    def matches(self, tenant: str, database: str, user: str) -> bool:
        """Whether it is about such a session."""


@frozen(kw_only=True)
class Rule(RoutingRuleSettings):
    """Where sessions of some tenants belong; who says so, and why, where it came by the API."""

    id: Name = key(REQUIRED, "what it is called", example="api-1")
    who: Words = key("", "name of the API key")
    at: Annotated[datetime, Moment()] | None = key(None, "since when")
    reason: Words = key("", "why")

    def matches(self, tenant: str, database: str, user: str) -> bool:
        """See `AnyRule`."""
        tenants, databases, users = self._patterns
        return bool(tenants.fullmatch(tenant) and databases.fullmatch(database) and users.fullmatch(user))

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return compiled(self.tenant_pattern), compiled(self.database), compiled(self.user)

    def __str__(self) -> str:
        return self._words

    @cached_property
    def _words(self) -> str:
        """Made once: it is the reason for each server that a filter refuses."""
        also = [f"{name} {value}" for name in ("database", "user") if (value := getattr(self, name)) != "*"]
        return f"rule {self.id}: {', '.join([f'tenants {self.tenant_pattern}', *also])} -> {self.backend}"


@frozen(kw_only=True)
class GeoRule(GeoRuleSettings):
    """Which server is nearest to some tenants; who says so, and why, where it came by the API."""

    id: Name = key(REQUIRED, "what it is called", example="api-2")
    who: Words = key("", "name of the API key")
    at: Annotated[datetime, Moment()] | None = key(None, "since when")
    reason: Words = key("", "why")

    def matches(self, tenant: str, database: str, user: str) -> bool:
        """See `AnyRule`."""
        return self._pattern.fullmatch(tenant) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return compiled(self.tenant_pattern)

    @property
    def choices(self) -> tuple[str, ...]:
        """Its backends, the better one first."""
        return tuple(name for name in (self.preferred_backend, self.fallback_backend) if name is not None)

    def __str__(self) -> str:
        return f"geo rule {self.id}: tenants {self.tenant_pattern} -> {', then '.join(self.choices)}"


R = TypeVar("R", bound=AnyRule)


@frozen(eq=False)
class Ordered(Generic[R]):
    """Rules of one kind, in the order in which they are asked."""

    rules: tuple[R, ...] = ()
    _answers: dict[tuple[str, str, str], R | None] = field(factory=dict, init=False)

    def first(self, tenant: str, database: str, user: str) -> R | None:
        """The one that counts for such a session; None: no rule is about it."""
        if not self.rules:
            return None
        session = (tenant, database, user)
        try:
            return self._answers[session]
        except KeyError:
            return self._look(session)

    def _look(self, session: tuple[str, str, str]) -> R | None:
        found = next((each for each in self.rules if each.matches(*session)), None)
        if len(self._answers) >= _REMEMBERED:  # tenants are named by clients, who may name any number of them
            self._answers.clear()
        self._answers[session] = found
        return found

    def find(self, id: str) -> R | None:
        """The rule of that name."""
        return next((each for each in self.rules if each.id == id), None)


def rules_of_file(settings: Iterable[RoutingRuleSettings]) -> tuple[Rule, ...]:
    """The rules of the configuration file; the number in an id is that of the error messages about the file."""
    return tuple(
        Rule(
            id=f"{FROM_FILE}{index}",
            tenant_pattern=each.tenant_pattern,
            backend=each.backend,
            database=each.database,
            user=each.user,
        )
        for index, each in enumerate(settings)
    )


def geo_rules_of_file(settings: Iterable[GeoRuleSettings]) -> tuple[GeoRule, ...]:
    """The same for geo rules."""
    return tuple(
        GeoRule(
            id=f"{FROM_FILE}{index}",
            tenant_pattern=each.tenant_pattern,
            preferred_backend=each.preferred_backend,
            fallback_backend=each.fallback_backend,
        )
        for index, each in enumerate(settings)
    )
