"""The migrations of the API: started, looked at, paused, resumed, taken back, completed.

Used by: admin.api, admin.stream_topics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from attrs import frozen

from helios_trio.admin.routing import Call, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.config.keys import REQUIRED, key, tables
from helios_trio.config.kinds import Choice, Moment, Name, Switch, Texts
from helios_trio.config.migration import GradualPhase
from helios_trio.config.words import LeftoversWord, MigrationModeWord, ShareOf, ShareOfWord
from helios_trio.migration.orchestrator import Migrations
from helios_trio.migration.orders import DataMode, MigrationOrder, Phase
from helios_trio.migration.states import Turn
from helios_trio.migration.status import MigrationStatus, status_of


@frozen(kw_only=True)
class MigrationBody:
    """What is to be migrated, and how. What is not given is as in [session_migration] of the configuration."""

    source: Name = key(REQUIRED, "name of the backend that the sessions are on", example="blue")
    target: Name = key(REQUIRED, "name of the backend they shall be on", example="green")
    mode: MigrationModeWord | None = key(
        None, "gradual goes through the phases, immediate moves all at once, manual waits after each phase"
    )
    phases: tuple[GradualPhase, ...] = tables()
    tenant_filter: Annotated[tuple[str, ...], Texts()] = key(
        (), "only sessions of tenants that match one of these patterns (* and ?)"
    )
    share_of: ShareOfWord = key(
        ShareOf.SESSIONS, "whether percentages are shares of sessions, or of tenants with all their sessions"
    )
    schedule: Annotated[datetime, Moment()] | None = key(None, "when to begin; now, if absent")
    data: Annotated[DataMode, Choice(DataMode)] | None = key(
        None, "how the target has the source's data: found out if absent, and never believed"
    )
    allow_older: Switch = key(False, "also to an older major version of PostgreSQL")
    leftovers: LeftoversWord | None = key(
        None, "sessions that cannot be moved in the end: wait for them, leave or terminate them"
    )
    reason: Why = key("", "why; stands in the events")

    def order(self, who: str, migrations: Migrations) -> MigrationOrder:
        """The same, completed from the configuration."""
        settings = migrations.means.settings
        return MigrationOrder(
            source=self.source,
            target=self.target,
            mode=self.mode or settings.migration_mode,
            phases=tuple(Phase(each.traffic_percent, each.duration) for each in self.phases),
            share_of=self.share_of,
            tenants=self.tenant_filter,
            start_at=self.schedule,
            data=self.data,
            allow_older=self.allow_older,
            leftovers=self.leftovers or settings.leftovers,
            who=who,
            reason=self.reason,
        )


@frozen(kw_only=True)
class TurnBody:
    """What an operator says about a migration."""

    reason: Why = key("", "why; stands in the events")


@frozen(kw_only=True)
class CompleteBody:
    """How a migration is completed."""

    reason: Why = key("", "why; stands in the events")
    leftovers: LeftoversWord | None = key(
        None, "sessions that cannot be moved: wait for them, leave or terminate them; absent: as was ordered"
    )


@frozen(kw_only=True)
class MigrationsView:
    """All migrations that are known, newest first."""

    migrations: tuple[MigrationStatus, ...]


def routes(migrations: Migrations) -> Iterator[Route]:
    """Migrations."""

    async def list_all(_: Call) -> MigrationsView:
        return migrations_view(migrations)

    async def start(call: Call) -> MigrationStatus:
        return status_of(await migrations.start(call.body.order(call.who, migrations)))

    async def status(call: Call) -> MigrationStatus:
        return status_of(migrations.find(call.path["id"]))

    one = "/api/v1/migration/<int:id>"
    yield reads("/api/v1/migration", "List migrations", MigrationsView, list_all)
    yield changes(
        "/api/v1/migration/start",
        "Start a migration, or schedule it",
        MigrationStatus,
        start,
        body=MigrationBody,
        status=HTTPStatus.ACCEPTED,
    )
    yield reads(f"{one}/status", "Look at a migration", MigrationStatus, status)
    for turn, summary in _TURNS.items():
        handle = _turner(migrations, turn)
        body = CompleteBody if turn is Turn.COMPLETE else TurnBody
        yield changes(f"{one}/{turn}", summary, MigrationStatus, handle, body=body)


def migrations_view(migrations: Migrations) -> MigrationsView:
    """All that are known, as they are now."""
    return MigrationsView(migrations=tuple(map(status_of, reversed(list(migrations)))))


_TURNS = {
    Turn.PAUSE: "Stop moving sessions; those that were moved stay",
    Turn.RESUME: "Go on with the current phase, or with the next one in manual mode",
    Turn.ROLL_BACK: "Move back those who were moved",
    Turn.COMPLETE: "Move all who are left, without further phases",
}


def _turner(migrations: Migrations, turn: Turn) -> Callable[[Call], Awaitable[MigrationStatus]]:
    async def say(call: Call) -> MigrationStatus:
        leftovers = getattr(call.body, "leftovers", None)
        return status_of(
            await migrations.command(call.path["id"], turn, call.who, call.body.reason, leftovers)
        )

    return say
