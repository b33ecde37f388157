"""Sessions that are connected already are moved to where a changed rule places them, when an operator asks for it.

Only between names of one server (rule 23): a session that would find other data stays, and the report says so. Reads
that a rule sends to a standby need no move, as each request asks the rules anew.

Used by: admin.routing_rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import trio
from attrs import define, field, frozen

from helios_trio.errors import HeliosError
from helios_trio.features.routing.places import Places
from helios_trio.features.routing.rules import AnyRule
from helios_trio.migration.admission import check_data, check_servers
from helios_trio.migration.movement import Movement
from helios_trio.migration.orchestrator import Migrations
from helios_trio.migration.orders import DataMode, MigrationOrder
from helios_trio.pipeline.fleet import SessionInfo

_UNTRIED = "the time was over before it could be moved"

#: From a backend to another one.
_Way: TypeAlias = tuple[str, str]


@frozen(kw_only=True)
class Resettled:
    """What became of the sessions that a rule is about."""

    #: were there already
    in_place: int
    moved: int
    #: are where they were: id -> why
    staying: Mapping[int, str]
    #: are not there any more: their clients have left, or they were lost on the way
    gone: int


@define
class Resettlement:
    """Moves sessions to where the rules in force place them."""

    migrations: Migrations
    places: Places

    async def about(self, rule: AnyRule, *, time_limit: float) -> Resettled:
        """Move all sessions that the rule matches, a bounded number at a time (session_migration).

        Sessions that have not been moved within `time_limit` (seconds) stay where they are.
        """
        sessions = self.migrations.means.fleet.sessions()
        work = _Work(self)
        work.sort([each for each in sessions if rule.matches(each.tenant, each.database, each.user)])
        with trio.move_on_after(time_limit):
            for way, waiting in work.ways.items():
                await work.move(way, waiting)
        return work.result()

    def target_of(self, info: SessionInfo) -> str:
        """Where a session belongs now. Raises BackendUnavailable."""
        place = self.places.place(info.tenant, info.database, info.user) or info.home
        return self.migrations.means.placement.place(place, info.id, info.tenant)

    async def admit(self, source: str, target: str) -> None:
        """Whether sessions may be moved that way one by one. Raises OrderRefused, BackendUnavailable."""
        order = MigrationOrder(source=source, target=target, data=DataMode.SHARED)
        check_servers(order, self.migrations.means.topology)
        check_data(order, await self.migrations.data_mode(source, target))


@define
class _Work:
    """What is to be done for one rule, and why some of it is not."""

    of: Resettlement
    ways: dict[_Way, list[SessionInfo]] = field(factory=dict)
    in_place: int = 0
    reasons: dict[int, str] = field(factory=dict)

    def sort(self, sessions: list[SessionInfo]) -> None:
        """By where they are and where they belong."""
        for info in sessions:
            try:
                target = self.of.target_of(info)
            except HeliosError as error:
                self.reasons[info.id] = error.message
                continue
            if target in ("", info.backend):
                self.in_place += 1
            else:
                self.ways.setdefault((info.backend, target), []).append(info)

    async def move(self, way: _Way, sessions: list[SessionInfo]) -> None:
        """All who go the same way."""
        source, target = way
        try:
            await self.of.admit(source, target)
        except HeliosError as error:
            self.reasons.update((each.id, error.message) for each in sessions)
            return
        movement = Movement(self.of.migrations.means, target)
        try:
            await movement.move_all(sessions)
        finally:
            staying = movement.ledger.staying.items()
            self.reasons.update((id, "; ".join(each.reasons)) for id, each in staying)

    def result(self) -> Resettled:
        """Where everybody is now."""
        fleet = self.of.migrations.means.fleet
        moved = gone = 0
        for (_, target), sessions in self.ways.items():
            for info in sessions:
                now = fleet.session(info.id)
                if now is None:
                    gone += 1
                    self.reasons.pop(info.id, None)
                elif now.backend == target:
                    moved += 1
                    self.reasons.pop(info.id, None)
                else:
                    self.reasons.setdefault(info.id, _UNTRIED)
        return Resettled(in_place=self.in_place, moved=moved, staying=self.reasons, gone=gone)
