"""Where rules send reads, and where they let sessions live. Pure.

Rule 36 decides what a rule means. Of a standby it is said of reads: a filter that leaves no other server. A primary of
its own takes whole sessions, from their login on: then nobody has to ask where a write goes.

Used by: features.routing.rule_book (makes both), proxy.directory (asks for the place at each login), routing core.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from helios_trio.errors import BackendUnavailable
from helios_trio.features.routing.rules import GeoRule, Ordered, Rule
from helios_trio.features.routing.standings import Standings
from helios_trio.pipeline.routing import Node, Question


@define
class RuleFilter:
    """`pipeline.routing.Filter`: reads of a tenant go to the backend of its rule, and nowhere else."""

    #: those in force at that moment
    rules: Callable[[], Ordered[Rule]]
    standings: Standings
    name: str = "rules"
    lasting: bool = False

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return bool(self.rules().rules)

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`. Writes are not its business (rule 36)."""
        if question.must_write:
            return ""
        rule = self.rules().first(question.tenant, question.database, question.user)
        if rule is None or node.backend.name == rule.backend:
            return ""
        named, this = self.standings.of(rule.backend), self.standings.of(node.backend.name)
        if named.system is not None and this.system is not None and named.system != this.system:
            # the session lives in another cluster, from before the rule, and stays there until it is moved
            return ""
        if named.own_primary and not node.standby:
            return ""
        return f'the tenant "{question.tenant}" has its place: {rule}'


@define
class Places:
    """Where sessions live from their login on, by the rules."""

    rules: Callable[[], Ordered[Rule]]
    geo_rules: Callable[[], Ordered[GeoRule]]
    standings: Standings
    #: the backend that a database is tied to by the configuration; empty: none
    tied: Callable[[str], str]

    def place(self, tenant: str, database: str, user: str) -> str | None:
        """The backend where such a session lives; None: where it would without any rule.

        Raises BackendUnavailable (57P03): a rule names a server of which nobody knows yet whether it takes writes, so
        that writes could go where they do not belong.
        """
        if self.tied(database):
            return None
        rule = self.rules().first(tenant, database, user)
        if rule is not None:
            return self._by_rule(rule)
        geo = self.geo_rules().first(tenant, database, user)
        return None if geo is None else self._by_geo_rule(geo)

    def _by_rule(self, rule: Rule) -> str | None:
        standing = self.standings.of(rule.backend)
        if standing.unknown:
            raise BackendUnavailable(
                f"{rule}, and nobody knows yet whether {rule.backend} is a primary or a standby",
                sqlstate="57P03",
                hint="Retry later, or say which role the backend has in the configuration.",
            )
        return rule.backend if standing.own_primary else None

    def _by_geo_rule(self, rule: GeoRule) -> str | None:
        """The first of its backends where somebody may be placed; the preferred one if there is none."""
        able = (name for name in rule.choices if not self.standings.out(name))
        found = next(able, rule.preferred_backend)
        return found if self.standings.of(found).own_primary else None

    def why(self, tenant: str, database: str, user: str) -> str:
        """In words, for people; empty: no rule has a say in where such a session lives."""
        if tied := self.tied(database):
            return f'the database "{database}" is on {tied} by the configuration, whatever rules say'
        found = self.rules().first(tenant, database, user) or self.geo_rules().first(tenant, database, user)
        return "" if found is None else str(found)
