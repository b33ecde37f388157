"""`LocalFleet`: the sessions of this process, as migration, switchover and the admin room reach them.

Used by: composition.core (makes it), migration, admin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

import trio
from attrs import evolve

from helios_trio.errors import HeliosError
from helios_trio.migration.transfer import Place, transfer
from helios_trio.pipeline.fleet import (
    HoldReport,
    MoveOrder,
    MoveOutcome,
    MoveReport,
    OnTimeout,
    SessionInfo,
    SessionState,
)
from helios_trio.pool.pools import PoolKey, Pools
from helios_trio.proxy.directory import ConfiguredDirectory
from helios_trio.proxy.holding import Holdable
from helios_trio.proxy.hub import Hubs
from helios_trio.proxy.serving import Proxy
from helios_trio.proxy.session import Ending, Session
from helios_trio.proxy.standstill import SessionEnded

#: Seconds that a group of sessions gets to finish what they had waiting, before the next group is let go.
_GROUP_TIME: Final = 0.1
#: Seconds between looks at sessions or connections that are waited for.
_POLL: Final = 0.002


#: Sessions at rest whose state is carried at the same time: more of them would only wait for each other's servers.
CARRIED_AT_ONCE: Final = 4
#: database and user, as the client calls them
Asked: TypeAlias = tuple[str, str]


class LocalFleet:
    """See `pipeline.fleet.Fleet`."""

    def __init__(self, proxy: Proxy, pools: Pools, hubs: Hubs, directory: ConfiguredDirectory) -> None:
        self._proxy = proxy
        self._pools = pools
        self._hubs = hubs
        self._directory = directory
        self._turns = trio.CapacityLimiter(CARRIED_AT_ONCE)

    # -- looking -----------------------------------------------------------------------------------------------

    def sessions(self) -> Sequence[SessionInfo]:
        """See `pipeline.fleet.Fleet`."""
        return [self._info(each) for each in self._running()]

    def session(self, id: int) -> SessionInfo | None:
        """See `pipeline.fleet.Fleet`."""
        found = self._find(id)
        return None if found is None else self._info(found)

    def on_backend(self, backend: str) -> Sequence[int]:
        """See `pipeline.fleet.Fleet`."""
        return [each.virtual.id for each in self._of(backend)]

    def _info(self, session: Session) -> SessionInfo:
        virtual, connection = session.virtual, session.leased_connection or session.parked
        found = virtual.explain()
        return SessionInfo(
            id=virtual.id,
            user=virtual.user,
            database=virtual.database,
            application_name=virtual.label.get("application_name", ""),
            tenant=self._proxy.tenant_of(virtual.user, virtual.database, virtual.startup),
            client=session.transport.peer,
            local=session.transport.local,
            tls="" if session.transport.tls is None else session.transport.tls.version,
            backend=session.destination.backend.name,
            home=self._directory.home_of(virtual.database),
            server_pid=None if connection is None else connection.pid,
            mode=session.policy.mode.value,
            state=_state(session),
            since=session.since,
            active_since=session.active_since,
            pins={**virtual.pins, **virtual.bound},
            immovable=found.reasons,
            sizes=found.counts,
        )

    def _running(self) -> list[Session]:
        return [each for each in self._proxy.sessions.values() if each.nursery is not None and not each.over]

    def _of(self, backend: str) -> list[Session]:
        return [each for each in self._running() if each.destination.backend.name == backend]

    def _find(self, id: int) -> Session | None:
        found = self._proxy.sessions.get(id)
        return found if found is not None and found.nursery is not None and not found.over else None

    # -- moving ------------------------------------------------------------------------------------------------

    async def move(self, id: int, order: MoveOrder) -> MoveReport:
        """See `pipeline.fleet.Fleet`."""
        session = self._find(id)
        if session is None:
            return MoveReport(session=id, outcome=MoveOutcome.GONE)
        try:
            place = await self.place_of(session, order.target)
        except HeliosError as error:
            return MoveReport(session=id, outcome=MoveOutcome.FAILED, reasons=(error.message,))
        async with self._turn_of(session):
            report = await transfer(session, place, order)
        if report.outcome is MoveOutcome.BUSY:
            return await self._press(session, order, report)
        return report

    @asynccontextmanager
    async def _turn_of(self, session: Session) -> AsyncIterator[None]:
        """Sessions that could move at once take turns: each stands still for its own move, not for that of all others.

        One that is at work, or is held anyway, need not: while it is waited for nobody else shall be.
        """
        if session.idle:
            async with self._turns:
                yield
        else:
            yield

    async def _press(self, session: Session, order: MoveOrder, report: MoveReport) -> MoveReport:
        """A session has not come to a safe point in time: what the order says is to be done then."""
        if order.on_timeout is OnTimeout.TERMINATE:
            self.terminate(session.virtual.id, "The session was to be moved and its transaction did not end.")
            return evolve(report, outcome=MoveOutcome.TERMINATED)
        if order.on_timeout is OnTimeout.ABORT_TRANSACTION and not session.abort_transaction():
            await self._proxy.cancels.cancel_session(session)
            session.abort_transaction()
        return report

    async def place_of(self, session: Session, target: str) -> Place:
        """Where a session would be on a backend. Raises HeliosError."""
        at = session.destination
        destination = self._directory.destination_at(target, *at.asked)
        if destination.user != at.user:  # rule 22
            raise HeliosError(f'sessions are "{destination.user}" on {target}, and "{at.user}" here')
        pool = await self._pools.pool_like(destination, at.key)
        return Place(destination, pool, self._hubs.hub_for(destination))

    def terminate(self, id: int, reason: str) -> bool:
        """See `pipeline.fleet.Fleet`."""
        session = self._find(id)
        if session is None:
            return False
        session.end(
            Ending.KILLED,
            HeliosError(
                "terminating connection due to administrator command",
                sqlstate="57P01",
                severity="FATAL",
                detail=reason or None,
            ),
        )
        return True

    # -- holding -----------------------------------------------------------------------------------------------

    async def hold(self, backend: str, *, time_limit: float) -> HoldReport:
        """See `pipeline.fleet.Fleet`."""
        hold = self._proxy.holds.begin(backend)
        for session in self._of(backend):
            hold.add(session)
        with trio.move_on_after(time_limit):
            while (busy := next(filter(_is_busy, self._of(backend)), None)) is not None:
                with suppress(SessionEnded):
                    await busy.standstill.wait()
        sessions = self._of(backend)
        return HoldReport(
            held=[each.virtual.id for each in sessions if not _is_busy(each)],
            busy={each.virtual.id: _state(each) for each in sessions if _is_busy(each)},
        )

    async def release(self, backend: str, *, concurrency: int) -> None:
        """See `pipeline.fleet.Fleet`."""
        held = self._proxy.holds.end(backend)
        try:
            while held:
                group, held = held[:concurrency], held[concurrency:]
                for session in group:
                    session.standstill.let_go()
                with trio.move_on_after(_GROUP_TIME):
                    await _until(partial(_all_idle, group))
        finally:
            for session in held:
                session.standstill.let_go()

    # -- warming -----------------------------------------------------------------------------------------------

    async def warm(self, source: str, target: str, *, time_limit: float) -> int:
        """See `pipeline.fleet.Fleet`."""
        wanted: Counter[tuple[PoolKey, Asked, frozenset[tuple[str, str]]]] = Counter()
        for session in self._of(source):
            if session.leased_connection is not None:
                variant = {} if session.shared else session.virtual.startup
                at = session.destination
                wanted[at.key, at.asked, frozenset(variant.items())] += 1
        ready = 0
        with trio.move_on_after(time_limit):
            for (known, asked, variant_key), count in wanted.items():
                ready += await self._warm_pool(known, asked, target, dict(variant_key), count)
        return ready

    async def _warm_pool(
        self, known: PoolKey, asked: Asked, target: str, variant: Mapping[str, str], count: int
    ) -> int:
        """Have `count` connections of one kind opened, or as many as the pool may have; returns how many."""
        destination = self._directory.destination_at(target, *asked)
        pool = await self._pools.pool_like(destination, known)
        count = min(count, pool.planner.limits.max_connections - pool.planner.total)
        pool.keep_ready(variant, count)
        try:
            await _until(lambda: self._pools.idle_of(destination.key, variant) >= count)
        finally:
            pool.planner.keep_no_longer(variant)
        return count


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for something that the relay brings about, which sets no event for it: its path is too hot."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(_POLL)


def _all_idle(group: Sequence[Holdable]) -> bool:
    return all(each.idle for each in group if isinstance(each, Session))


def _is_busy(session: Session) -> bool:
    return not session.standstill.reached


def _state(session: Session) -> SessionState:
    standstill = session.standstill
    if standstill.moving:
        return SessionState.MOVING
    if standstill.reached:
        return SessionState.HELD
    if session.waiting:
        return SessionState.WAITING
    if session.in_transaction:
        return SessionState.IN_TRANSACTION
    return SessionState.IDLE if session.idle else SessionState.ACTIVE
