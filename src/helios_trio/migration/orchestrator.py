"""`Migrations`: all migrations of this process, living in one nursery. Takes orders, and refuses those that cannot be.

Used by: app (runs it), admin (gives orders), migration.draining.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog
import trio
from attrs import evolve

from helios_trio.config.migration import SessionMigration
from helios_trio.config.words import Leftovers
from helios_trio.errors import HeliosError
from helios_trio.migration.admission import check_company, check_data, check_order, check_servers
from helios_trio.migration.errors import Conflict, Fault, InvalidOrder, NotAvailable, NotFound
from helios_trio.migration.identity import ServerIdentity, data_mode
from helios_trio.migration.means import Means
from helios_trio.migration.migration import Migration
from helios_trio.migration.orders import DataMode, MigrationOrder, Phase
from helios_trio.migration.phases import ALL, belonging, diversion_of
from helios_trio.migration.records import Kept, RecordFile, worth_keeping
from helios_trio.migration.restoring import restore_diversion, restored
from helios_trio.migration.states import State, Turn
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.fleet import MoveReport

_log = structlog.get_logger(__name__)

#: Asks a server who it is. Raises BackendUnavailable.
Identify = Callable[[Backend], Awaitable[ServerIdentity]]

#: Seconds at the start in which completed migrations may begin to divert again, before anybody is let in.
_RESTORING_TIME: Final = 5.0
#: Seconds after which records that could not be written are tried again.
_WRITE_AGAIN: Final = 5.0


class Migrations:
    """See the module."""

    def __init__(self, means: Means, identify: Identify, records: RecordFile) -> None:
        self.means = means
        self._identify = identify
        self._records = records
        self._migrations: dict[int, Migration] = {}
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the migrations until cancelled; started once those of the last run are known."""
        self._load()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._keep_records)
            restored = trio.Event()
            nursery.start_soon(self._restore_diversions, restored)
            with trio.move_on_after(_RESTORING_TIME):
                await restored.wait()
            task_status.started()
            await trio.sleep_forever()

    def _load(self) -> None:
        kept, nodes = self._records.load(), self.means.topology.nodes
        self.means.placement.out_of_service.update(each for each in kept.out_of_service if each in nodes)
        for record in kept.records:
            migration = restored(record, self.means, self._admit, self._on_change)
            self._migrations[record.id] = migration
            if not migration.ended:
                migration.turn(Turn.INTERRUPT, reason="the proxy was restarted; sessions are where they are")

    async def _restore_diversions(self, done: trio.Event) -> None:
        """Ask the servers whether they are still one, in the order in which the migrations were completed."""
        for migration in list(self):
            if migration.to_restore is not None:
                await restore_diversion(migration, self.data_mode)
        done.set()

    async def _keep_records(self) -> None:
        """Write down what has changed, whenever something has."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            if not await self.save_if_possible():
                self._changed.set()
                await trio.sleep(_WRITE_AGAIN)

    async def save(self) -> None:
        """Have written down what there is now. Raises OSError."""
        await self._records.save(self._kept)

    def _kept(self) -> Kept:
        out_of_service = tuple(sorted(self.means.placement.out_of_service))
        return Kept(worth_keeping(each.record for each in self), out_of_service)

    def _on_change(self, migration: Migration) -> None:
        if migration.state is State.COMPLETED:
            self._supersede(migration)
        self._changed.set()

    def _supersede(self, new: Migration) -> None:
        """What earlier migrations divert, and the new one has taken over or taken back, they divert no more."""
        way = (new.order.source, new.order.target)
        for old in self:
            superseded = old.order.source == way[0] or (old.order.target, old.order.source) == way
            if superseded and old is not new and old.ended and not new.order.tenants:
                old.divert(None)

    def reconfigure(self, settings: SessionMigration) -> None:
        """Take over other settings, for sessions that are moved from now on."""
        self.means.reconfigure(settings)

    # -- looking -----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Migration]:
        """All that are known, oldest first."""
        return iter(list(self._migrations.values()))

    def find(self, id: int) -> Migration:
        """One of them. Raises NotFound."""
        found = self._migrations.get(id)
        if found is None:
            raise NotFound([Fault("", f"there is no migration {id}")])
        return found

    def _others(self, but: Migration | None = None) -> list[tuple[int, MigrationOrder]]:
        return [(each.id, each.order) for each in self if not each.ended and each is not but]

    # -- orders ------------------------------------------------------------------------------------------------

    async def start(self, order: MigrationOrder) -> Migration:
        """Begin a migration, or schedule it. Raises OrderRefused or HeliosError; then nothing has been started."""
        order = evolve(order, phases=order.phases or self._usual_phases())
        check_company(order, self._others())
        order = await self._admit(order)
        if order.start_at is None and (found := (await self.means.examiner.examine(order.target)).complaints):
            raise Conflict([Fault("target", each) for each in found])
        check_company(order, self._others())  # others may have been started while the servers were asked
        migration = Migration(
            id=max(self._migrations, default=0) + 1,
            order=order,
            means=self.means,
            admit=self._admit,
            on_change=self._on_change,
        )
        await self._keep(migration)
        migration.begin()
        assert self._nursery is not None, "orders come while this runs"
        self._nursery.start_soon(migration.run)
        return migration

    def _usual_phases(self) -> tuple[Phase, ...]:
        return tuple(Phase(each.traffic_percent, each.duration) for each in self.means.settings.phases)

    async def _keep(self, migration: Migration) -> None:
        """From here on it is known, also after a crash. Raises HeliosError."""
        self._migrations[migration.id] = migration
        try:
            await self.save()
        except OSError as error:
            del self._migrations[migration.id]
            raise HeliosError(
                f"the migration cannot be recorded, so it is not begun: {error}",
                hint="proxy.state_dir must be a folder that the proxy can write to.",
            ) from error

    async def _admit(self, order: MigrationOrder) -> MigrationOrder:
        """The order with its data mode decided. Raises OrderRefused, BackendUnavailable."""
        topology, reads_move = self.means.topology, self.means.read_shares.asked
        check_order(order, topology, reads_move=reads_move)
        check_servers(order, topology)
        found = await self.data_mode(order.source, order.target)
        check_data(order, found, reads_move=reads_move)
        if found is DataMode.PHYSICAL and self.means.switchover is None:
            raise NotAvailable([Fault("data", "switchovers are not available")])
        self._check_number(order)
        return evolve(order, data=found)

    async def data_mode(self, source: str, target: str) -> DataMode:
        """How the data of two backends are related, by what they say. Raises BackendUnavailable."""
        nodes = self.means.topology.nodes
        return data_mode(
            await self._identify(nodes[source].backend), await self._identify(nodes[target].backend)
        )

    def _check_number(self, order: MigrationOrder) -> None:
        number = len(belonging(self.means.fleet.sessions(), diversion_of(order, ALL)))
        most = self.means.settings.max_sessions
        if number > most:
            what = f"{order.source} has {number} sessions, more than session_migration.max_sessions ({most})"
            raise Conflict([Fault("source", what)])

    async def command(
        self, id: int, turn: Turn, who: str, reason: str = "", leftovers: Leftovers | None = None
    ) -> Migration:
        """What an operator says about a migration. Raises NotFound, Conflict."""
        migration = self.find(id)
        was_over = migration.ended
        if was_over:
            check_company(migration.order, self._others(but=migration))
        if turn is Turn.ROLL_BACK:
            migration.order_back(who, reason)
        else:
            migration.turn(turn, who, reason)
        if leftovers is not None:
            migration.leftovers = leftovers
        if was_over:
            assert self._nursery is not None, "orders come while this runs"
            self._nursery.start_soon(migration.run)
        await self.save_if_possible()
        return migration

    async def save_if_possible(self) -> bool:
        """What has been ordered is done, whether it can be recorded now or only later; returns whether it was."""
        try:
            await self.save()
        except OSError as error:
            _log.error("records of migrations cannot be written", error=str(error))
            return False
        return True

    async def move_session(
        self, id: int, target: str, who: str, reason: str = "", *, allow_older: bool = False
    ) -> MoveReport:
        """Move one session, now. Raises NotFound, InvalidOrder, Conflict, NotAvailable, BackendUnavailable."""
        info = self.means.fleet.session(id)
        if info is None:
            raise NotFound([Fault("", f"there is no session {id}")])
        self._check_target(info.backend, target)
        order = MigrationOrder(
            source=info.backend, target=target, data=DataMode.SHARED, allow_older=allow_older
        )
        check_servers(order, self.means.topology)
        check_data(order, await self.data_mode(info.backend, target))
        async with self.means.slots:
            report = await self.means.fleet.move(id, self.means.move_order(target, allow_older=allow_older))
        self.means.events.note(
            f"session {report.outcome}", f"session {id}", who=who, reason=reason, target=target
        )
        return report

    def _check_target(self, source: str, target: str) -> None:
        if target not in self.means.topology.nodes:
            known = ", ".join(self.means.topology.nodes)
            raise InvalidOrder([Fault("target", f'there is no backend "{target}"; known are {known}')])
        if target == source:
            raise InvalidOrder([Fault("target", "expected another backend than the one the session is on")])
