"""All rules that are in force, those of the configuration and those that came by the API, and how they are changed.

A change is on the disk before it is in force and before whoever ordered it is answered. Orders wait for each other.

Used by: composition.directing (makes it), admin.routing_rules (gives orders).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import trio
from attrs import evolve

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.config.problems import InvalidConfig
from helios_trio.config.root import Config
from helios_trio.config.routing import GeoRuleSettings, RoutingRuleSettings, RoutingSettings
from helios_trio.config.routing_checks import overlaps
from helios_trio.errors import HeliosError
from helios_trio.features.routing.geo import GeoPreference
from helios_trio.features.routing.places import Places, RuleFilter
from helios_trio.features.routing.rule_store import FILE, KeptRules, RuleStore
from helios_trio.features.routing.rules import (
    FROM_API,
    FROM_FILE,
    AnyRule,
    GeoRule,
    Ordered,
    Rule,
    geo_rules_of_file,
    rules_of_file,
)
from helios_trio.features.routing.standings import Standings
from helios_trio.migration.errors import Conflict, Fault, InvalidOrder, NotFound

R = TypeVar("R", bound=AnyRule)


def rule_book_of(
    config: Config,
    *,
    topology: Topology,
    placement: Placement,
    folder: Path | None,
    tied: Callable[[str], str],
) -> RuleBook | None:
    """The rules at the start; None: requests are not routed.

    Rules of the API that are kept from before turn routing on, unless the configuration says that it is off: to lose
    them in silence would send sessions where they do not belong.

    Args:
        config: as it was read.
        topology: gets a follower.
        placement: which backends are out of service.
        folder: where the state of the proxy is kept, if it is.
        tied: the backend that a database is tied to by the configuration; empty: none.

    Raises:
        ConfigError: the file with the rules cannot be used.
    """
    if config.routing.enabled is False:
        return None
    path = config.routing.rules_file or (None if folder is None else folder / FILE)
    standings = Standings(topology, placement)
    book = RuleBook(config.routing, RuleStore(path), standings, tied)
    if book.is_empty and not config.wants_routing:
        return None
    topology.followers.append(standings.on_news)
    return book


class RuleBook:
    """The rules in force."""

    def __init__(
        self,
        settings: RoutingSettings,
        store: RuleStore,
        standings: Standings,
        tied: Callable[[str], str] = lambda database: "",
    ) -> None:
        """Reads the kept rules. `tied`: the backend that a database is tied to, or nothing.

        Raises ConfigError: the file cannot be used.
        """
        self._store = store
        self._backends = standings.topology.nodes
        self._lock = trio.Lock()
        self._kept = store.load()
        self._configured = settings
        self._put(settings, self._kept)
        #: where sessions live by these rules
        self.places = Places(lambda: self.rules, lambda: self.geo_rules, standings, tied)

    def filter(self) -> RuleFilter:
        """For reads."""
        return RuleFilter(lambda: self.rules, self.places.standings)

    def geo_preference(self) -> GeoPreference:
        """For reads."""
        return GeoPreference(lambda: self.geo_rules)

    @property
    def is_kept(self) -> bool:
        """Whether rules that come by the API outlive this process."""
        return self._store.path is not None

    @property
    def is_empty(self) -> bool:
        """Whether there is no rule at all."""
        return not (self.rules.rules or self.geo_rules.rules)

    def check(self, settings: RoutingSettings) -> None:
        """Whether this configuration goes together with the rules that are kept. Raises ConfigError."""
        self._combine(settings, self._kept)

    def reconfigure(self, settings: RoutingSettings) -> None:
        """Other rules of the configuration. Raises ConfigError; then nothing has changed."""
        self._put(settings, self._kept)

    def _put(self, settings: RoutingSettings, kept: KeptRules) -> None:
        rules, geo_rules = self._combine(settings, kept)
        self._configured, self._kept = settings, kept
        #: in the order in which they are asked
        self.rules, self.geo_rules = Ordered(rules), Ordered(geo_rules)

    def _combine(
        self, settings: RoutingSettings, kept: KeptRules
    ) -> tuple[tuple[Rule, ...], tuple[GeoRule, ...]]:
        rules = (*kept.rules, *rules_of_file(settings.rules))
        geo_rules = (*kept.geo_rules, *geo_rules_of_file(settings.geo_rules))
        faults = [*self._unknown_in(rules, geo_rules), *_overlapping(geo_rules)]
        if faults:
            source = self._store.path or "routing"
            raise InvalidConfig(f"{source}: {each}" for each in faults)
        return rules, geo_rules

    def _unknown_in(self, rules: Iterable[Rule], geo_rules: Iterable[GeoRule]) -> Iterator[str]:
        for rule in rules:
            yield from (f"{rule}: {each.message}" for each in self._unknown("backend", rule.backend))
        for geo in geo_rules:
            for name in geo.choices:
                yield from (f"{geo}: {each.message}" for each in self._unknown("", name))

    def _unknown(self, path: str, name: str | None) -> Iterator[Fault]:
        if name is not None and name not in self._backends:
            yield Fault(path, f'there is no backend "{name}"; known are {", ".join(self._backends)}')

    # -- orders ------------------------------------------------------------------------------------------------

    async def add_rule(
        self,
        wanted: RoutingRuleSettings,
        *,
        who: str,
        at: datetime,
        reason: str = "",
        before: str | None = None,
    ) -> Rule:
        """Put a rule behind the others of the API, or before one of them.

        Raises InvalidOrder, NotFound, Conflict; HeliosError: it cannot be kept. Nothing has changed then.
        """
        async with self._lock:
            if faults := list(self._unknown("backend", wanted.backend)):
                raise InvalidOrder(faults)
            rules = self._kept.rules
            for each in rules:
                if _key(each) == _key(wanted):
                    raise Conflict(
                        [Fault("tenant_pattern", f"{each.id} has the same patterns: delete it first")]
                    )
            number = self._kept.last + 1
            rule = Rule(
                id=f"{FROM_API}{number}", who=who, at=at, reason=reason, **_given(wanted, RoutingRuleSettings)
            )
            place = len(rules) if before is None else _index(rules, before, "before")
            await self._change(last=number, rules=(*rules[:place], rule, *rules[place:]))
            return rule

    async def add_geo_rule(
        self, wanted: GeoRuleSettings, *, who: str, at: datetime, reason: str = ""
    ) -> GeoRule:
        """The same for a geo rule; no tenant may match two of them, so that their order does not matter."""
        async with self._lock:
            self._check_geo_rule(wanted)
            number = self._kept.last + 1
            given = _given(wanted, GeoRuleSettings)
            rule = GeoRule(id=f"{FROM_API}{number}", who=who, at=at, reason=reason, **given)
            await self._change(last=number, geo_rules=(*self._kept.geo_rules, rule))
            return rule

    def _check_geo_rule(self, wanted: GeoRuleSettings) -> None:
        faults = [
            *self._unknown("preferred_backend", wanted.preferred_backend),
            *self._unknown("fallback_backend", wanted.fallback_backend),
        ]
        if wanted.preferred_backend == wanted.fallback_backend:
            faults.append(Fault("fallback_backend", "expected another backend than preferred_backend"))
        if faults:
            raise InvalidOrder(faults)
        for other in self.geo_rules.rules:
            for _, _, name in overlaps([other.tenant_pattern, wanted.tenant_pattern]):
                what = f'it overlaps with {other.id}, {other.tenant_pattern}: both match "{name}"'
                raise Conflict([Fault("tenant_pattern", what)])

    async def remove_rule(self, id: str) -> Rule:
        """Raises NotFound; Conflict: it stands in the configuration file; HeliosError: that cannot be kept."""
        async with self._lock:
            rules = self._kept.rules
            index = _index(rules, id)
            await self._change(rules=(*rules[:index], *rules[index + 1 :]))
            return rules[index]

    async def remove_geo_rule(self, id: str) -> GeoRule:
        """The same for a geo rule."""
        async with self._lock:
            rules = self._kept.geo_rules
            index = _index(rules, id)
            await self._change(geo_rules=(*rules[:index], *rules[index + 1 :]))
            return rules[index]

    async def _change(self, **changes: Any) -> None:
        kept = evolve(self._kept, **changes)
        try:
            await self._store.save(kept)
        except OSError as error:
            raise HeliosError(
                f"the rules cannot be written down, so that nothing has been changed: {error}",
                hint="routing.rules_file, or proxy.state_dir, must be where the proxy can write.",
            ) from error
        self._put(self._configured, kept)


def _key(rule: RoutingRuleSettings) -> tuple[str, str, str]:
    return rule.tenant_pattern, rule.database, rule.user


def _given(wanted: object, section: type[Any]) -> dict[str, Any]:
    """What a body says of a rule, without what else it says."""
    return {each.name: getattr(wanted, each.name) for each in section.__attrs_attrs__}


def _index(rules: tuple[R, ...], id: str, path: str = "") -> int:
    for index, each in enumerate(rules):
        if each.id == id:
            return index
    if id.startswith(FROM_FILE):
        raise Conflict(
            [Fault(path, f"{id} stands in the configuration file, or did: change it there, and reload")]
        )
    raise NotFound([Fault(path, f'there is no rule "{id}"')])


def _overlapping(rules: tuple[GeoRule, ...]) -> Iterator[str]:
    for later, earlier, name in overlaps([each.tenant_pattern for each in rules]):
        yield f'{rules[later]}: it overlaps with {rules[earlier].id}: both match "{name}"'
