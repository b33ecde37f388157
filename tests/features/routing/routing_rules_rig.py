"""Servers and rules for the tests of rules: a cluster of three, another primary with a standby, a second name of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.topology import Topology
from helios_trio.config.routing import GeoRuleSettings, RoutingRuleSettings, RoutingSettings
from helios_trio.features.routing.rule_book import RuleBook
from helios_trio.features.routing.rule_store import RuleStore
from helios_trio.features.routing.standings import Standings
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.routing import Node, Question

#: name -> system identifier, in recovery, timeline
SERVERS = {
    "blue1": ("7", False, 1),
    "blue2": ("7", True, 1),
    "blue3": ("7", True, 1),
    "green1": ("9", False, 1),
    "green2": ("9", True, 1),
    "twin": ("7", False, 1),
}
#: has never answered
SILENT = "silent"


def observation(system: str, in_recovery: bool, timeline: int) -> Observation:
    return Observation(in_recovery, 1000, 1000 if in_recovery else None, 0.0, timeline, system, "18.1")


@define(eq=False)
class RuleRig:
    """Servers, and the rules about them."""

    settings: RoutingSettings = field(factory=RoutingSettings)
    path: Path | None = None
    tied: dict[str, str] = field(factory=dict)
    topology: Topology = field(init=False)
    placement: Placement = field(factory=Placement, init=False)
    book: RuleBook = field(init=False)

    def __attrs_post_init__(self) -> None:
        names = [*SERVERS, SILENT]
        # blue1 is the primary of the two that are configured alike
        self.topology = Topology.of(
            [Backend(each, "10.0.0.1", 5432, priority=20 if each == "blue1" else 10) for each in names]
        )
        for name, seen in SERVERS.items():
            self.see(name, *seen)
        standings = Standings(self.topology, self.placement)
        self.topology.followers.append(standings.on_news)
        self.book = RuleBook(
            self.settings, RuleStore(self.path), standings, lambda database: self.tied.get(database, "")
        )

    def see(self, name: str, system: str, in_recovery: bool, timeline: int = 1) -> None:
        """A server has said what it is."""
        self.topology.note_answer(name, observation(system, in_recovery, timeline), 0.0)

    def refused(self, home: str = "blue1", **question: Any) -> dict[str, str]:
        """Which servers a question may not go to, of those with the data of the session's home, and why."""
        asked, found = ask(**question), self.book.filter()
        return {node.name: why for node in self.nodes(home) if (why := found.refuses(asked, node))}

    def nodes(self, home: str = "blue1") -> list[Node]:
        """The servers that have the same data."""
        system = self.topology.nodes[home].system_identifier
        return [
            Node(
                backend=each.backend,
                writer=each.backend.name == home,
                standby=bool(each.observed and each.observed.in_recovery),
            )
            for each in self.topology
            if each.system_identifier == system
        ]

    def place(self, tenant: str, database: str = "shop", user: str = "ann") -> str | None:
        return self.book.places.place(tenant, database, user)


def ask(tenant: str = "acme", must_write: str = "", **more: Any) -> Question:
    return Question(session=1, user="ann", database="shop", tenant=tenant, must_write=must_write, **more)


def rule(tenant_pattern: str, backend: str, **more: Any) -> RoutingRuleSettings:
    return RoutingRuleSettings(tenant_pattern=tenant_pattern, backend=backend, **more)


def geo(tenant_pattern: str, preferred: str, fallback: str | None = None) -> GeoRuleSettings:
    return GeoRuleSettings(
        tenant_pattern=tenant_pattern, preferred_backend=preferred, fallback_backend=fallback
    )


def rig(*rules: RoutingRuleSettings | GeoRuleSettings, **more: Any) -> RuleRig:
    """With these rules in the configuration."""
    settings = RoutingSettings(
        rules=tuple(each for each in rules if isinstance(each, RoutingRuleSettings)),
        geo_rules=tuple(each for each in rules if isinstance(each, GeoRuleSettings)),
    )
    return RuleRig(settings, **more)
