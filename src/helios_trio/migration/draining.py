"""Taking a backend out of service and putting it back: nobody new goes there, and those who are there are moved.

Where another backend is the same server, sessions go there, as a migration of their own that can be seen and taken
back like any other. Where none is, they are waited for: a client that goes is not replaced.

Used by: admin (drain, enable, disable).
"""

from __future__ import annotations

from typing import Final

import trio
from attrs import frozen

from helios_trio.config.words import MigrationMode
from helios_trio.errors import HeliosError
from helios_trio.migration.errors import Fault, NotFound
from helios_trio.migration.migration import Migration
from helios_trio.migration.orchestrator import Migrations
from helios_trio.migration.orders import DataMode, MigrationOrder

#: Seconds between looks at who is left.
_LOOK: Final = 0.1


@frozen(kw_only=True)
class LeftSession:
    """A session that is still there, and what is waited for."""

    id: int
    reason: str


@frozen(kw_only=True)
class DrainStatus:
    """How far a backend is drained."""

    backend: str
    in_service: bool
    #: sessions that are still there
    remaining: int
    waiting_for: tuple[LeftSession, ...]
    #: where they are moved to, and by which migration; null where no other backend is the same server
    target: str | None
    migration_id: int | None
    #: why they are not moved; empty when they are
    reason: str


class Drains:
    """Backends that are out of service."""

    def __init__(self, migrations: Migrations) -> None:
        self._migrations = migrations
        self._means = migrations.means

    async def drain(
        self, backend: str, who: str, reason: str, *, wait: bool, time_limit: float
    ) -> DrainStatus:
        """Take it out of service and have its sessions moved; `wait` until nobody is left or the time is over."""
        await self.disable(backend, who, reason)
        migration, obstacle = await self._move_away(backend, who, reason)
        if wait:
            with trio.move_on_after(time_limit):
                while self._means.fleet.on_backend(backend):  # noqa: ASYNC110 - sessions tell nobody where they are
                    await trio.sleep(_LOOK)
        return self._status(backend, migration, obstacle)

    async def _move_away(self, backend: str, who: str, reason: str) -> tuple[Migration | None, str]:
        """The migration that takes the sessions away, or why there is none."""
        for migration in self._migrations:
            if migration.order.source == backend and not migration.ended:
                return migration, ""
        obstacle = "no other backend is the same server"
        for target in self._candidates(backend):
            order = MigrationOrder(
                source=backend,
                target=target,
                mode=MigrationMode.IMMEDIATE,
                data=DataMode.SHARED,
                who=who,
                reason=reason or "drain",
                for_drain=True,
            )
            try:
                if await self._migrations.data_mode(backend, target) is DataMode.SHARED:
                    return await self._migrations.start(order), ""
            except HeliosError as error:
                obstacle = error.message
        return None, obstacle

    def _candidates(self, backend: str) -> list[str]:
        """Backends in service that answer, the preferred ones first."""
        nodes = self._means.topology.nodes.values()
        found = [each.backend for each in nodes if each.healthy and each.backend.name != backend]
        in_service = [each for each in found if each.name not in self._means.placement.out_of_service]
        return [each.name for each in sorted(in_service, key=lambda each: -each.priority)]

    def _status(self, backend: str, migration: Migration | None, obstacle: str) -> DrainStatus:
        sessions = [each for each in self._means.fleet.sessions() if each.backend == backend]
        staying = migration.there.ledger.staying if migration is not None else {}
        return DrainStatus(
            backend=backend,
            in_service=backend not in self._means.placement.out_of_service,
            remaining=len(sessions),
            waiting_for=tuple(
                LeftSession(
                    id=each.id,
                    reason="; ".join(staying[each.id].reasons) if each.id in staying else str(each.state),
                )
                for each in sessions
            ),
            target=migration.order.target if migration is not None else None,
            migration_id=migration.id if migration is not None else None,
            reason=obstacle,
        )

    async def disable(self, backend: str, who: str, reason: str) -> None:
        """Nobody new goes there; those who are there stay. Raises NotFound."""
        self._check(backend)
        if backend not in self._means.placement.out_of_service:
            self._means.placement.out_of_service.add(backend)
            self._means.events.note("backend out of service", backend, who=who, reason=reason)
            await self._migrations.save_if_possible()

    async def enable(self, backend: str, who: str, reason: str) -> None:
        """New sessions go there again; those who were moved away stay where they are. Raises NotFound."""
        self._check(backend)
        if backend in self._means.placement.out_of_service:
            self._means.placement.out_of_service.discard(backend)
            self._means.events.note("backend in service", backend, who=who, reason=reason)
            for migration in self._migrations:
                if migration.order.for_drain and migration.order.source == backend and migration.ended:
                    migration.divert(None)
            await self._migrations.save_if_possible()

    def _check(self, backend: str) -> None:
        if backend not in self._means.topology.nodes:
            raise NotFound([Fault("", f'there is no backend "{backend}"')])
