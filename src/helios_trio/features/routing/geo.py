"""Which of several servers is nearest to a tenant, or to the proxy. Pure.

Used by: features.routing.places (for sessions that are placed at their login), routing core (asks the preferences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define

from helios_trio.config.routing import DefaultForReads
from helios_trio.features.routing.rules import GeoRule, Ordered
from helios_trio.pipeline.routing import NEAREST, Node, Question


@define
class GeoPreference:
    """`pipeline.routing.Preference`: the preferred backend of the tenant's geo rule, else its fallback, else any."""

    #: those in force at that moment
    rules: Callable[[], Ordered[GeoRule]]
    name: str = "geo rules"

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        rule = self.rules().first(question.tenant, question.database, question.user)
        if rule is None:
            return nodes
        for name in rule.choices:
            for node in nodes:
                if node.backend.name == name:
                    return (node,)
        return nodes

    def why(self, question: Question) -> str:
        """In words, for people."""
        rule = self.rules().first(question.tenant, question.database, question.user)
        if rule is None:
            return f'no geo rule is about the tenant "{question.tenant}"'
        return f'of the tenant "{question.tenant}": {rule}'


@define
class Nearest:
    """`pipeline.routing.Preference`: servers in the region of the proxy, where the nearest are asked for."""

    #: of the proxy; empty: not known, and no server is nearer than another
    region: str
    default: DefaultForReads = DefaultForReads.REPLICA
    name: str = "region"

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        if not self.region or not self._asked(question):
            return nodes
        return [node for node in nodes if node.backend.region == self.region] or nodes

    def _asked(self, question: Question) -> bool:
        route = question.wish.route
        return route == NEAREST or (route is None and self.default is DefaultForReads.NEAREST)

    def why(self, question: Question) -> str:
        """In words, for people."""
        if not self._asked(question):
            return "nobody asks for the nearest servers"
        if not self.region:
            return "nobody knows which servers are near: proxy.region is not set"
        return f"servers in {self.region}, where this proxy is, come first"
