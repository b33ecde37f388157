"""The rules of the API: which tenants go where, listed, added and deleted while the proxy runs. (`admin.routing` is
the table of HTTP routes, and has nothing to do with it.)

Used by: admin.api.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar, cast

import attrs
from attrs import define, frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.config.keys import REQUIRED, key
from helios_trio.config.kinds import Name, Seconds, Switch
from helios_trio.config.routing import GeoRuleSettings, RoutingRuleSettings
from helios_trio.features.routing.resettling import Resettled, Resettlement
from helios_trio.features.routing.rule_book import RuleBook
from helios_trio.features.routing.rules import FROM_FILE, GeoRule, Rule
from helios_trio.migration.errors import Fault, NotAvailable

V = TypeVar("V")
#: Sessions that are listed with why they stay; all are counted.
_LISTED = 100


class AppliesTo(StrEnum):
    """What a rule is said of, by what its backend is now."""

    #: the backend is a primary of its own
    SESSIONS = "whole sessions"
    #: the backend is a standby, or the primary that everybody goes to
    READS = "reads"
    #: nobody has seen it yet
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class RuleView:
    """A rule; null is unknown."""

    id: str
    tenant_pattern: str
    database: str
    user: str
    backend: str
    applies_to: AppliesTo
    #: file or api; the latter are asked first
    source: str
    #: name of the API key, when, and why; those of the file have none of it
    who: str
    at: datetime | None
    reason: str


@frozen(kw_only=True)
class GeoRuleView:
    """A geo rule; null is unknown."""

    id: str
    tenant_pattern: str
    preferred_backend: str
    #: null: any other server
    fallback_backend: str | None
    #: file or api
    source: str
    who: str
    at: datetime | None
    reason: str


@frozen(kw_only=True)
class MovesView:
    """What became of the sessions that a rule is about, where they were to be moved."""

    #: were there already
    in_place: int
    moved: int
    #: are where they were
    remaining: int
    #: some of them: id -> why
    reasons: Mapping[str, str]
    #: are not there any more
    gone: int


@frozen(kw_only=True)
class RuleChangeView(RuleView):
    """A rule that was added or deleted, and what became of sessions; null: they were not to be moved."""

    moves: MovesView | None


@frozen(kw_only=True)
class GeoRuleChangeView(GeoRuleView):
    """A geo rule that was added or deleted, and what became of sessions; null: they were not to be moved."""

    moves: MovesView | None


@frozen(kw_only=True)
class RulesView:
    """All rules, in the order in which they are asked."""

    rules: tuple[RuleView, ...]
    #: whether those of the API outlive the proxy
    kept: bool


@frozen(kw_only=True)
class GeoRulesView:
    """All geo rules."""

    rules: tuple[GeoRuleView, ...]
    #: whether those of the API outlive the proxy
    kept: bool


@frozen(kw_only=True)
class RuleBody(RoutingRuleSettings):
    """A new rule. It is asked after the other rules of the API and before those of the file."""

    before: Name | None = key(None, "id of the rule of the API before which it is asked", example="api-1")
    reason: Why = key("", "why; stands in the events")
    apply_to_existing: Switch = key(False, "move sessions that are connected already, too")
    time_limit: Seconds = key(60.0, "how long that may take; the others stay where they are")


@frozen(kw_only=True)
class GeoRuleBody(GeoRuleSettings):
    """A new geo rule."""

    reason: Why = key("", "why; stands in the events")
    apply_to_existing: Switch = key(False, "move sessions that are connected already, too")
    time_limit: Seconds = key(60.0, "how long that may take; the others stay where they are")


@frozen(kw_only=True)
class DeleteQuery:
    """How a rule is deleted."""

    reason: Why = key("", "why; stands in the events")
    apply_to_existing: Switch = key(False, "move sessions that are there by it, too")
    time_limit: Seconds = key(60.0, "how long that may take; the others stay where they are")


@frozen(kw_only=True)
class DeleteByIdQuery(DeleteQuery):
    """The same, where the path does not have the id."""

    id: Name = key(REQUIRED, "of the rule", example="api-1")


def routes(parts: Parts, book: RuleBook) -> Iterator[Route]:
    """Rules and geo rules."""
    api = _Api(parts, book)
    rules, geo = "/api/v1/routing/rules", "/api/v1/routing/geo-rules"
    created = {"status": HTTPStatus.CREATED}
    yield reads(rules, "List the rules", RulesView, api.rules)
    yield changes(rules, "Add a rule", RuleChangeView, api.add, body=RuleBody, **created)
    yield reads(geo, "List the geo rules", GeoRulesView, api.geo_rules)
    yield changes(geo, "Add a geo rule", GeoRuleChangeView, api.add_geo, body=GeoRuleBody, **created)
    for end, query in (("", DeleteByIdQuery), ("/<id>", DeleteQuery)):
        deleted: dict[str, Any] = {"method": "DELETE", "query": query}
        yield changes(rules + end, "Delete a rule of the API", RuleChangeView, api.remove, **deleted)
        yield changes(geo + end, "Delete a geo rule of the API", GeoRuleChangeView, api.remove_geo, **deleted)


Order = RuleBody | GeoRuleBody | DeleteQuery


@define
class _Api:
    """The handlers. Those that change something return when sessions have been moved, if they are to be."""

    parts: Parts
    book: RuleBook

    async def rules(self, _: Call) -> RulesView:
        """Those in force."""
        found = [self._show(RuleView, each) for each in self.book.rules.rules]
        return RulesView(rules=tuple(found), kept=self.book.is_kept)

    async def geo_rules(self, _: Call) -> GeoRulesView:
        """Those in force."""
        found = [self._show(GeoRuleView, each) for each in self.book.geo_rules.rules]
        return GeoRulesView(rules=tuple(found), kept=self.book.is_kept)

    async def add(self, call: Call) -> RuleChangeView:
        """Raises OrderRefused, HeliosError."""
        body: RuleBody = call.body
        self._check(body)
        at = datetime.now(UTC)
        rule = await self.book.add_rule(body, who=call.who, at=at, reason=body.reason, before=body.before)
        return await self._done(RuleChangeView, "routing rule added", rule, call.who, body)

    async def add_geo(self, call: Call) -> GeoRuleChangeView:
        """Raises OrderRefused, HeliosError."""
        body: GeoRuleBody = call.body
        self._check(body)
        rule = await self.book.add_geo_rule(body, who=call.who, at=datetime.now(UTC), reason=body.reason)
        return await self._done(GeoRuleChangeView, "geo rule added", rule, call.who, body)

    async def remove(self, call: Call) -> RuleChangeView:
        """Raises OrderRefused, HeliosError."""
        self._check(call.query)
        rule = await self.book.remove_rule(_id(call))
        return await self._done(RuleChangeView, "routing rule deleted", rule, call.who, call.query)

    async def remove_geo(self, call: Call) -> GeoRuleChangeView:
        """Raises OrderRefused, HeliosError."""
        self._check(call.query)
        rule = await self.book.remove_geo_rule(_id(call))
        return await self._done(GeoRuleChangeView, "geo rule deleted", rule, call.who, call.query)

    def _check(self, order: Order) -> None:
        """Before anything is changed. Raises NotAvailable."""
        if order.apply_to_existing and self.parts.migrations is None:
            what = "sessions cannot be moved: session_migration.enabled is false"
            raise NotAvailable([Fault("apply_to_existing", what)])

    async def _done(self, view: type[V], kind: str, rule: Rule | GeoRule, who: str, order: Order) -> V:
        """Write it into the events, move sessions, and tell what has become of all that."""
        self.parts.events.note(kind, str(rule), who=who, reason=order.reason)
        moves = None
        if order.apply_to_existing and self.parts.migrations is not None:
            resettlement = Resettlement(self.parts.migrations, self.book.places)
            moves = _moves_view(await resettlement.about(rule, time_limit=order.time_limit))
        return self._show(view, rule, moves=moves)

    def _show(self, view: type[V], rule: Rule | GeoRule, **more: object) -> V:
        """A view of a rule: what the rule has itself, and what is found out about it."""
        more["source"] = "file" if rule.id.startswith(FROM_FILE) else "api"
        if isinstance(rule, Rule):
            more["applies_to"] = self._applies_to(rule)
        names = {each.name for each in attrs.fields(cast(Any, view))} - more.keys()
        return view(**{name: getattr(rule, name) for name in names}, **more)

    def _applies_to(self, rule: Rule) -> AppliesTo:
        standing = self.book.places.standings.of(rule.backend)
        if standing.unknown:
            return AppliesTo.UNKNOWN
        return AppliesTo.SESSIONS if standing.own_primary else AppliesTo.READS


def _id(call: Call) -> str:
    """Which rule is meant."""
    return str(call.path.get("id") or call.query.id)


def _moves_view(done: Resettled) -> MovesView:
    listed = sorted(done.staying.items())[:_LISTED]
    return MovesView(
        in_place=done.in_place,
        moved=done.moved,
        remaining=len(done.staying),
        reasons={str(id): reason for id, reason in listed},
        gone=done.gone,
    )
