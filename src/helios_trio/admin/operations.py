"""The proxy itself in the API: health, metrics, version, configuration, reload, events.

Used by: admin.api, admin.live.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from attrs import frozen

from helios_trio.admin.parts import Parts, Reloaded
from helios_trio.admin.problems import Refused
from helios_trio.admin.routing import Call, Reply, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.admin.views import HealthView, VersionView, health_view, version_view
from helios_trio.config import InvalidConfig, masked
from helios_trio.config.keys import key
from helios_trio.config.kinds import Integer, PositiveCount
from helios_trio.errors import ConfigError
from helios_trio.migration.errors import Fault
from helios_trio.migration.events import Event


@frozen(kw_only=True)
class LiveView:
    """The process serves."""

    status: str


@frozen(kw_only=True)
class EventView:
    """One thing that happened."""

    id: int
    at: datetime
    kind: str
    who: str
    subject: str
    reason: str


@frozen(kw_only=True)
class EventsView:
    """What happened, newest first."""

    events: tuple[EventView, ...]
    #: `before` of the next page; null when nothing older is known
    next: int | None


@frozen(kw_only=True)
class EventQuery:
    """Which events are listed."""

    limit: Annotated[int, Integer(1, 1000)] = key(100, "at most so many")
    before: PositiveCount | None = key(None, "only those with a smaller id")


@frozen(kw_only=True)
class ReloadBody:
    """Why the configuration is read again."""

    reason: Why = key("", "why; stands in the events")


def routes(parts: Parts) -> Iterator[Route]:
    """The proxy itself."""
    yield from _health(parts)

    async def version(_: Call) -> VersionView:
        return version_view(parts)

    async def config(_: Call) -> object:
        return masked(parts.running.config)

    async def events(call: Call) -> EventsView:
        return _events(parts, call.query)

    async def reload(call: Call) -> Reloaded:
        done = await _reload(parts)
        parts.events.note("configuration reloaded", "configuration", who=call.who, reason=call.body.reason)
        return done

    yield reads("/api/v1/version", "What runs here, since when", VersionView, version)
    yield reads("/api/v1/config", "The configuration in force, secrets masked", None, config)
    yield reads("/api/v1/events", "What happened, newest first", EventsView, events, query=EventQuery)
    yield changes("/api/v1/reload", "Read the configuration again", Reloaded, reload, body=ReloadBody)


def _health(parts: Parts) -> Iterator[Route]:
    async def health(_: Call) -> HealthView:
        return health_view(parts)

    async def live(_: Call) -> LiveView:
        return LiveView(status="live")

    async def ready(_: Call) -> Reply:
        view = health_view(parts)
        return Reply(view, HTTPStatus.OK if view.ready else HTTPStatus.SERVICE_UNAVAILABLE)

    yield reads("/health", "How it is going", HealthView, health, health=True)
    yield reads("/health/live", "Whether the process serves", LiveView, live, health=True)
    also = {HTTPStatus.SERVICE_UNAVAILABLE: "Writes cannot be served."}
    what = "200 if writes can be served, else 503"
    yield reads("/health/ready", what, HealthView, ready, health=True, also=also)


def _events(parts: Parts, query: EventQuery) -> EventsView:
    found = parts.events.newest(query.limit + 1, query.before)
    page = found[: query.limit]
    return EventsView(
        events=tuple(map(event_view, page)),
        next=page[-1].id if len(found) > len(page) else None,
    )


def event_view(event: Event) -> EventView:
    """One event as the API shows it."""
    return EventView(
        id=event.id,
        at=datetime.fromtimestamp(event.at, UTC),
        kind=event.kind,
        who=event.who,
        subject=event.subject,
        reason=event.reason,
    )


async def _reload(parts: Parts) -> Reloaded:
    try:
        return await parts.running.reload()
    except ConfigError as error:
        lines = error.lines if isinstance(error, InvalidConfig) else error.message.splitlines()
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "The configuration cannot be used; the old one stays in force.",
            faults=[Fault("", line) for line in lines],
        ) from error
