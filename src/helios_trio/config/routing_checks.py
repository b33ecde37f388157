"""What must hold between the keys of routing: backends that exist, rules that do not contradict each other.

Used by: config.checks (runs them with its own), features.routing.rule_store (rules that came by the API).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from helios_trio.config.keys import Path
from helios_trio.config.patterns import in_common
from helios_trio.config.problems import Problem, expected
from helios_trio.config.routing import TARGET_ROLES, DefaultForReads, RoutingSettings, TableTarget
from helios_trio.config.toml import string

if TYPE_CHECKING:
    from helios_trio.config.root import Config

_HERE: Final = "routing"


def known_backends(config: Config) -> tuple[str, ...]:
    """The names of all servers there are: those that are configured, or the embedded cluster's."""
    if config.uses_embedded:
        return tuple(f"node{number}" for number in range(1, config.embedded.standbys + 2))
    return tuple(each.name for each in config.backends.pools)


def names_in_rules(routing: RoutingSettings) -> Iterator[tuple[Path, str]]:
    """Each key that can only name a backend, with what it names."""
    for index, rule in enumerate(routing.rules):
        yield (_HERE, "rules", index, "backend"), rule.backend
    for index, geo in enumerate(routing.geo_rules):
        yield (_HERE, "geo_rules", index, "preferred_backend"), geo.preferred_backend
        if geo.fallback_backend is not None:
            yield (_HERE, "geo_rules", index, "fallback_backend"), geo.fallback_backend


def targets(routing: RoutingSettings) -> Iterator[tuple[Path, str]]:
    """Each key that can name a backend or a role, with what it names."""
    for name in ("oltp_target", "olap_target", "vector_target"):
        if (target := getattr(routing.workload, name)) is not None:
            yield (_HERE, "workload", name), target
    for name in ("hot", "warm", "cold"):
        if (target := getattr(routing.temperatures, name)) is not None:
            yield (_HERE, "temperatures", name), target
    for index, each in enumerate(routing.tables):
        if each.backend is not None:
            yield (_HERE, "tables", index, "backend"), each.backend


def overlaps(patterns: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Pairs of patterns that a name would match both of: their indices, the later one first, and such a name."""
    for later, pattern in enumerate(patterns):
        for earlier in range(later):
            name = in_common(patterns[earlier], pattern)
            if name is not None:
                yield later, earlier, name
                break


def _backends(config: Config) -> Iterator[Problem]:
    known = known_backends(config)
    for path, name in names_in_rules(config.routing):
        if name not in known:
            yield _unknown(path, name, known)
    for path, name in targets(config.routing):
        if name not in known and name not in TARGET_ROLES:
            yield _unknown(path, name, (*sorted(TARGET_ROLES), *known))


def _unknown(path: Path, name: str, known: Iterable[str]) -> Problem:
    others: tuple[Path, ...] = (("backends", "pools"), ("embedded", "standbys"))
    return expected(path, f"the name of a backend ({', '.join(known)})", shown=string(name), others=others)


def _rules(config: Config) -> Iterator[Problem]:
    rules = config.routing.rules
    keys = [(each.tenant_pattern, each.database, each.user) for each in rules]
    for index, key in enumerate(keys):
        first = keys.index(key)
        if first < index:
            here: Path = (_HERE, "rules", index, "tenant_pattern")
            what = f"other patterns than those of rule {first}, which is asked first and leaves nothing"
            others: list[Path] = [
                (_HERE, "rules", first, name) for name in ("tenant_pattern", "database", "user")
            ]
            yield expected(here, what, shown=string(key[0]), others=tuple(others))


def _geo_rules(config: Config) -> Iterator[Problem]:
    rules = config.routing.geo_rules
    for later, earlier, name in overlaps([each.tenant_pattern for each in rules]):
        here: Path = (_HERE, "geo_rules", later, "tenant_pattern")
        what = f"a pattern that matches no tenant of geo rule {earlier} (both match {string(name)})"
        other: Path = (_HERE, "geo_rules", earlier, "tenant_pattern")
        yield expected(here, what, shown=string(rules[later].tenant_pattern), others=(other,))
    for index, each in enumerate(rules):
        if each.preferred_backend == each.fallback_backend:
            place: Path = (_HERE, "geo_rules", index, "fallback_backend")
            preferred: Path = (_HERE, "geo_rules", index, "preferred_backend")
            what = "another backend than preferred_backend"
            yield expected(place, what, shown=string(each.preferred_backend), others=(preferred,))


def _tables(config: Config) -> Iterator[Problem]:
    for index, each in enumerate(config.routing.tables):
        yield from _table(config.routing, (_HERE, "tables", index), each)


def _table(routing: RoutingSettings, here: Path, each: TableTarget) -> Iterator[Problem]:
    backend, temperature = (*here, "backend"), (*here, "temperature")
    if (each.backend is None) is (each.temperature is None):
        yield expected(backend, "either backend or temperature", others=(temperature,))
    if each.temperature is not None and routing.temperatures.target(each.temperature) is None:
        target: Path = (_HERE, "temperatures", each.temperature.value)
        what = f"a temperature whose server is given in [routing.temperatures]: {each.temperature} is not"
        yield expected(temperature, what, shown=string(each.temperature), others=(target,))
    if (each.column is None) is not (each.older_than is None):
        missing, given = ("column", "older_than") if each.column is None else ("older_than", "column")
        yield expected((*here, missing), f"a value, as {given} is given", others=((*here, given),))


def _nearest(config: Config) -> Iterator[Problem]:
    region: Path = ("proxy", "region")
    if config.routing.default_for_reads is DefaultForReads.NEAREST and config.proxy.region is None:
        what = "the region of this proxy, as routing.default_for_reads is nearest"
        yield expected(region, what, others=((_HERE, "default_for_reads"),))


def _lag(config: Config) -> Iterator[Problem]:
    if config.lag_routing.max_lag_bytes == 0:
        what = "more than 0: a standby is always a little behind"
        yield expected(("lag_routing", "max_lag_bytes"), what, shown='"0B"')


def _write_routing(config: Config) -> Iterator[Problem]:
    if config.routing.enabled is False and config.transparent_write_routing.enabled:
        here: Path = ("transparent_write_routing", "enabled")
        what = "false, as routing.enabled is false"
        yield expected(here, what, shown="true", others=((_HERE, "enabled"),))


ROUTING_CHECKS: Final[tuple[Callable[[Config], Iterator[Problem]], ...]] = (
    _backends,
    _rules,
    _geo_rules,
    _tables,
    _nearest,
    _lag,
    _write_routing,
)
