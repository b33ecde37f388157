"""The sessions of the API: listed, looked at, moved and ended one by one.

Used by: admin.api.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated

import trio
from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Handler, Route, changes, reads
from helios_trio.config.keys import REQUIRED, key
from helios_trio.config.kinds import Choice, Count, Integer, Name, Switch, Text
from helios_trio.migration.errors import Fault, NotFound
from helios_trio.migration.orchestrator import Migrations
from helios_trio.pipeline.fleet import MoveReport, SessionInfo, SessionState

Why = Annotated[str, Text("a text", empty=True)]


@frozen(kw_only=True)
class SessionView:
    """One client that is connected; null is unknown."""

    id: int
    user: str
    database: str
    application_name: str
    tenant: str
    address: str
    backend: str
    #: where it would be without any move
    home: str | None
    server_pid: int | None
    mode: str
    state: SessionState
    #: why it keeps its server connection between transactions: what -> how many
    pins: Mapping[str, int]
    #: why it could not be moved now; empty when it could
    immovable: tuple[str, ...]
    #: settings, prepared statements ... -> how many
    sizes: Mapping[str, int]
    since: datetime
    idle_seconds: float


@frozen(kw_only=True)
class SessionsView:
    """A page of sessions, by id."""

    sessions: tuple[SessionView, ...]
    #: how many there are that are asked for, on all pages
    total: int
    #: `after` of the next page; null on the last
    next: int | None


@frozen(kw_only=True)
class EndedView:
    """What became of an order to end a session."""

    id: int
    ended: bool


@frozen(kw_only=True)
class MoveView:
    """What became of an order to move a session."""

    id: int
    result: str
    reasons: tuple[str, ...]
    target: str
    duration_ms: float
    #: how long requests of its client were held
    pause_ms: float
    #: kind of state -> how many
    carried: Mapping[str, int]
    #: what was found on the server although nothing had shown it
    missed: Mapping[str, int]
    state_bytes: int
    requests_buffered: int


@frozen(kw_only=True)
class SessionQuery:
    """Which sessions are listed."""

    limit: Annotated[int, Integer(1, 1000)] = key(100, "at most so many on a page")
    after: Count = key(0, "only those with a greater id")
    user: Name | None = key(None, "only those of this user")
    database: Name | None = key(None, "only those of this database")
    tenant: Name | None = key(None, "only those of this tenant")
    backend: Name | None = key(None, "only those on this backend")
    state: Annotated[SessionState, Choice(SessionState)] | None = key(None, "only those in this state")
    pinned: Switch | None = key(None, "only those that have pins, or that have none")

    def wants(self, info: SessionInfo) -> bool:
        """Whether a session is asked for."""
        for name in ("user", "database", "tenant", "backend", "state"):
            wanted = getattr(self, name)
            if wanted is not None and wanted != getattr(info, name):
                return False
        return self.pinned is None or self.pinned == bool(info.pins or info.immovable)


@frozen(kw_only=True)
class EndQuery:
    """How a session is ended."""

    reason: Why = key("", "why; its client is told, and it stands in the events")


@frozen(kw_only=True)
class MoveBody:
    """Where a session shall go."""

    target: Name = key(REQUIRED, "name of the backend", example="green")
    reason: Why = key("", "why; stands in the events")
    allow_older: Switch = key(False, "also to an older major version of PostgreSQL")


def routes(parts: Parts) -> Iterator[Route]:
    """Sessions."""
    one = "/api/v1/sessions/<int:id>"
    yield reads("/api/v1/sessions", "List sessions", SessionsView, _lister(parts), query=SessionQuery)
    yield reads(one, "Look at a session", SessionView, _looker(parts))
    yield changes(one, "End a session (57P01)", EndedView, _ender(parts), method="DELETE", query=EndQuery)
    if parts.migrations is not None:
        mover = _mover(parts.migrations)
        yield changes(f"{one}/migrate", "Move a session to another backend", MoveView, mover, body=MoveBody)


def _lister(parts: Parts) -> Handler:
    async def list_sessions(call: Call) -> SessionsView:
        query: SessionQuery = call.query
        wanted = sorted(
            (each for each in parts.fleet.sessions() if query.wants(each)), key=lambda each: each.id
        )
        page = [each for each in wanted if each.id > query.after][: query.limit]
        more = bool(page) and page[-1].id != wanted[-1].id
        return SessionsView(
            sessions=tuple(session_views(page)), total=len(wanted), next=page[-1].id if more else None
        )

    return list_sessions


def session_views(sessions: Iterable[SessionInfo]) -> Iterator[SessionView]:
    """Sessions as the API shows them, now."""
    clock = trio.current_time()
    epoch = time.time() - clock
    for info in sessions:
        yield session_view(info, epoch=epoch, clock=clock)


def session_view(info: SessionInfo, *, epoch: float, clock: float) -> SessionView:
    """One of them. `clock`: Trio's time now; `epoch`: what Trio's zero is in seconds since 1970 (UTC)."""
    return SessionView(
        id=info.id,
        user=info.user,
        database=info.database,
        application_name=info.application_name,
        tenant=info.tenant,
        address=info.client,
        backend=info.backend,
        home=info.home or None,
        server_pid=info.server_pid,
        mode=info.mode,
        state=info.state,
        pins=info.pins,
        immovable=info.immovable,
        sizes=info.sizes,
        since=datetime.fromtimestamp(epoch + info.since, UTC),
        idle_seconds=max(0.0, clock - info.active_since),
    )


def _looker(parts: Parts) -> Handler:
    async def look(call: Call) -> SessionView:
        return next(session_views([_found(parts, call.path["id"])]))

    return look


def _found(parts: Parts, id: int) -> SessionInfo:
    info = parts.fleet.session(id)
    if info is None:
        raise NotFound([Fault("", f"there is no session {id}")])
    return info


def _ender(parts: Parts) -> Handler:
    async def end(call: Call) -> EndedView:
        info, reason = _found(parts, call.path["id"]), call.query.reason
        ended = parts.fleet.terminate(info.id, reason)
        parts.events.note("session terminated", f"session {info.id}", who=call.who, reason=reason)
        return EndedView(id=info.id, ended=ended)

    return end


def _mover(migrations: Migrations) -> Handler:
    async def move(call: Call) -> MoveView:
        body: MoveBody = call.body
        report = await migrations.move_session(
            call.path["id"], body.target, call.who, body.reason, allow_older=body.allow_older
        )
        return _move_view(report, body.target)

    return move


def _move_view(report: MoveReport, target: str) -> MoveView:
    return MoveView(
        id=report.session,
        result=report.outcome,
        reasons=report.reasons,
        target=target,
        duration_ms=report.seconds * 1000,
        pause_ms=report.pause * 1000,
        carried=report.carried,
        missed=report.missed,
        state_bytes=report.state_size,
        requests_buffered=report.buffered,
    )
