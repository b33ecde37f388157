"""`Migration`: one migration from its order to its end. Its state machine is in `states`; this is what each state does.

There is one task per migration. It does what its state asks for; a turn, whoever makes it, changes the state at once
and cancels what the old one was doing. A session that is being moved at that moment stays in one piece (`Fleet.move`).

Over `physical` no session moves until the last phase, which is a switchover. The phases before it move reads.

Used by: migration.orchestrator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio
from attrs import define, field

from helios_trio.cluster.placement import Diversion
from helios_trio.config.words import Leftovers, MigrationMode, WhenUnhealthy
from helios_trio.errors import HeliosError
from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.events import PROXY
from helios_trio.migration.judge import Judge
from helios_trio.migration.means import Means
from helios_trio.migration.movement import Movement
from helios_trio.migration.orders import DataMode, MigrationOrder, Phase
from helios_trio.migration.phases import ALL, belonging, brought, diversion_of, phases_of
from helios_trio.migration.records import Change, Record
from helios_trio.migration.states import ENDED, State, Turn, after
from helios_trio.migration.switchover_steps import SwitchoverOrder, SwitchoverOutcome
from helios_trio.pipeline.fleet import MoveOutcome, SessionInfo

_log = structlog.get_logger(__name__)

#: States in which new sessions go where they would go without this migration.
_WITHOUT_DIVERSION: Final = {State.ROLLING_BACK, State.ROLLED_BACK, State.FAILED, State.INTERRUPTED}
#: Seconds between looks at sessions that could not be moved yet.
LOOK_AGAIN: Final = 1.0
#: Seconds at most between looks at the time of day, which may be set while we wait.
_CLOCK_STEP: Final = 30.0
#: Seconds for connections on the target to be opened before the first session comes.
_WARMING_TIME: Final = 10.0


@define(eq=False)
class Migration:
    """One migration, running or over."""

    id: int
    #: with its phases and its data mode decided
    order: MigrationOrder
    means: Means
    #: raises HeliosError when the order cannot be begun now
    admit: Callable[[MigrationOrder], Awaitable[object]]
    #: it has changed in a way that must be written down
    on_change: Callable[[Migration], None]
    state: State = State.PENDING
    changes: list[Change] = field(factory=list)
    #: index of the current phase
    phase: int = 0
    #: in force: new sessions of the source go to the target; over `physical`: reads of its sessions
    diversion: Diversion | None = None
    #: was in force in an earlier run of the proxy, and will be again if the servers are still one
    to_restore: Diversion | None = None
    there: Movement = field(init=False)
    back: Movement = field(init=False)
    judge: Judge = field(init=False)
    leftovers: Leftovers = field(init=False)
    phases: tuple[Phase, ...] = field(init=False)
    #: on Trio's clock (seconds); None: not begun in this process
    began: float | None = None
    #: seconds that the current phase still has, while nobody works on it
    _left_of_phase: float = field(init=False)
    _phase_ends: float | None = None
    #: share of the diversion that is in force
    _percent: float = ALL
    _scope: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        order = self.order
        self.there = Movement(self.means, order.target, order.allow_older)
        self.back = Movement(self.means, order.source, allow_older=True)
        self.judge = Judge(self.means, order)
        self.leftovers = order.leftovers
        self.phases = phases_of(order.mode, order.phases)
        self._left_of_phase = self.phases[self.phase].duration
        if not self.changes:
            self._note_change(order.who, order.reason)

    def _note_change(self, who: str, reason: str) -> None:
        self.changes.append(Change(at=self.means.now, state=self.state, who=who, reason=reason))

    # -- what can be seen --------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ENDED

    @property
    def current_phase(self) -> Phase:
        """The phase it is in, or was in last."""
        return self.phases[self.phase]

    @property
    def movement(self) -> Movement:
        """The direction in which sessions are being moved, or were last."""
        return self.back if self.state in (State.ROLLING_BACK, State.ROLLED_BACK) else self.there

    @property
    def physical(self) -> bool:
        """Whether the target is a standby of the source."""
        return self.order.data is DataMode.PHYSICAL

    @property
    def switches(self) -> bool:
        """Whether this phase is a switchover (rule 23)."""
        return self.physical and self.current_phase.percent >= ALL

    @property
    def percent(self) -> float:
        """The share of the source's sessions, or of their reads, that belongs to the target now."""
        if self.physical and self.state is State.COMPLETED:
            return ALL
        return 0.0 if self.diversion is None else self._percent

    @property
    def write_percent(self) -> float:
        """The same of their writes: one primary has them all."""
        return 0.0 if self.physical and self.state is not State.COMPLETED else self.percent

    def remaining(self) -> list[SessionInfo]:
        """Sessions in scope that are not where they are meant to be in the end."""
        if self.state in (State.ROLLING_BACK, State.ROLLED_BACK):
            return self._to_take_back()
        return belonging(self.means.fleet.sessions(), diversion_of(self.order, ALL))

    @property
    def left_of_phase(self) -> float:
        """Seconds that the current phase lasts at least."""
        if self._phase_ends is None:
            return self._left_of_phase
        return max(0.0, self._phase_ends - trio.current_time())

    @property
    def record(self) -> Record:
        """What is written down of it."""
        ledger = self.there.ledger
        return Record(
            id=self.id,
            order=self.order,
            state=self.state,
            changes=tuple(self.changes),
            phase=self.phase,
            moved=ledger.migrated,
            errors=ledger.errors,
            client_errors=ledger.client_errors,
            diverts=self.state is State.COMPLETED and (self.diversion or self.to_restore) is not None,
        )

    # -- turns -------------------------------------------------------------------------------------------------

    def turn(self, turn: Turn, who: str = PROXY, reason: str = "") -> None:
        """Change the state, at once. Raises Conflict: that does not lead anywhere from here."""
        after(self.state, turn)
        self._check_switchover(turn)
        self._turn(turn, who, reason)

    def _turn(self, turn: Turn, who: str = PROXY, reason: str = "") -> None:
        """The same, by the task that would carry the switchover out, and does not."""
        self.state = state = after(self.state, turn)
        if state in _WITHOUT_DIVERSION:
            self.divert(None)
        self._note_change(who, reason)
        self._tell(f"migration {state.replace('_', ' ')}", who=who, reason=reason)
        self._scope.cancel()
        self.on_change(self)

    def _tell(self, kind: str, *, who: str = PROXY, reason: str = "") -> None:
        self.means.events.note(kind, f"migration {self.id}", who=who, reason=reason)

    def _check_switchover(self, turn: Turn) -> None:
        """A switchover has an end of its own: the promotion cannot be paused, repeated or taken back."""
        asked = turn in (Turn.PAUSE, Turn.ROLL_BACK, Turn.COMPLETE)
        if asked and self.switches and self.state in (State.RUNNING, State.COMPLETING, State.COMPLETED):
            raise Conflict([Fault("", f"a switchover that is {self.state} cannot {turn}")])

    def order_back(self, who: str, reason: str) -> None:
        """The operator wants everything as it was. Raises Conflict: there is no way back from here."""
        switchover = self.means.switchover
        if not self.switches or self.state not in (State.RUNNING, State.COMPLETING) or switchover is None:
            self.turn(Turn.ROLL_BACK, who, reason)
        elif switchover.give_up():
            self._tell("switchover given up", who=who, reason=reason)
        else:
            raise Conflict([Fault("", f"{self.order.target} is being promoted: there is only forward now")])

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do what the state asks for until the end. Raises nothing but what cancels."""
        try:
            while not self.ended:
                with trio.CancelScope() as self._scope:
                    await _STEPS[self.state](self)
        except HeliosError as error:
            self._fail(error.message)
        except Exception as error:  # rule 40: a bug here must not end the proxy
            _log.exception("migration failed", migration=self.id)
            self._fail(f"internal error: {type(error).__name__}")

    def _fail(self, reason: str) -> None:
        """Sessions stay where they are, and new ones go where the configuration puts them."""
        if not self.ended:
            self.turn(Turn.FAIL, reason=reason)

    def begin(self) -> None:
        """It has been recorded, so that it may begin, or wait for its time."""
        self._tell("migration ordered", who=self.order.who, reason=self.order.reason)
        self.turn(Turn.SCHEDULE if self.order.start_at is not None else Turn.BEGIN)

    async def _wait_for_start(self) -> None:
        start_at = self.order.start_at
        assert start_at is not None, "only those are scheduled"
        while (seconds := start_at.timestamp() - self.means.clock()) > 0:  # noqa: ASYNC110 - a time of day
            await trio.sleep(min(seconds, _CLOCK_STEP))
        self.turn(Turn.BEGIN)

    async def _wait_for_turn(self) -> None:
        await trio.sleep_forever()

    async def _work(self) -> None:
        """Phase after phase, as long as the target is well."""
        if self.began is None:
            await self.admit(self.order)
            self.began = trio.current_time()
            self.judge.begin()
        # a switchover that begins at once has been looked at by `Migrations.start`, and looks again by itself
        looked_at = self.switches and not self.phase and self.order.start_at is None
        if not (looked_at or await self._target_is_well(compared=False)):
            return
        while not self.switches:
            served = await self._serve_phase()
            last = self.phase + 1 == len(self.phases)  # nobody is left at the source to be compared with
            if not await self._target_is_well(compared=not last):
                return
            if not served:  # it was down, and is up again
                await trio.sleep(LOOK_AGAIN)
            elif last:
                self.turn(Turn.FINISH)
                return
            else:
                self._enter_phase(self.phase + 1)
                if self.order.mode is MigrationMode.MANUAL:
                    self._turn(Turn.PAUSE, reason="manual: the next phase begins with resume")
                    return
        await self._switch_over()

    def _enter_phase(self, index: int) -> None:
        if index != self.phase:
            self.judge.end_phase(self.current_phase.percent)
        self.phase = index
        self._left_of_phase = self.current_phase.duration
        self._tell("migration phase", reason=f"{self.current_phase.percent:g} %")
        self.on_change(self)

    async def _serve_phase(self) -> bool:
        """Move those who belong to the target now until the phase is over: whether it is, or the target has trouble."""
        self._percent = self.current_phase.percent
        diversion = diversion_of(self.order, self._percent)
        self.divert(diversion)
        self.judge.begin_phase()
        self._phase_ends = ends = trio.current_time() + self._left_of_phase
        try:
            await self.means.fleet.warm(self.order.source, self.order.target, time_limit=_WARMING_TIME)
            while not await self.judge.sees_trouble():
                await self._move_belonging(diversion)
                if trio.current_time() >= ends and self._is_phase_done():
                    return True
                await trio.sleep(self._until_next_look(ends))
            return False
        finally:
            self._left_of_phase, self._phase_ends = self.left_of_phase, None

    async def _move_belonging(self, diversion: Diversion) -> None:
        """Try those who are on the source and belong to the target; nobody where only reads move."""
        if self.physical:
            return
        here = belonging(self.means.fleet.sessions(), diversion)
        self.there.ledger.keep_only(each.id for each in here)
        await self.there.move_all(here)

    def _until_next_look(self, ends: float) -> float:
        left = ends - trio.current_time()
        return min(LOOK_AGAIN, left) if left > 0 else LOOK_AGAIN

    def _is_phase_done(self) -> bool:
        """The time of the phase is over: whether those who are left may stay. They may, but for the last phase."""
        if self.current_phase.percent < ALL:
            return True
        left = self.remaining()
        if left and self.leftovers is Leftovers.TERMINATE:
            for each in left:
                ended = self.means.fleet.terminate(each.id, f"migration to {self.order.target}")
                self.there.ledger.outcomes[MoveOutcome.TERMINATED] += ended
        return not left or self.leftovers is not Leftovers.WAIT

    # -- judging the target ------------------------------------------------------------------------------------

    async def _target_is_well(self, *, compared: bool) -> bool:
        """Whether to go on; if not, the state has been turned."""
        found = await self.judge.complaints(compared=compared)
        if not found:
            return True
        reason = f"{self.order.target}: " + "; ".join(found)
        self._left_of_phase = self.current_phase.duration
        match self.means.settings.on_unhealthy:
            case WhenUnhealthy.PAUSE:
                self.divert(None)  # until it is well, nobody new goes there
                self._turn(Turn.PAUSE, reason=reason)
            case WhenUnhealthy.ROLLBACK:
                self._turn(Turn.ROLL_BACK, reason=reason)
            case WhenUnhealthy.CONTINUE:
                self._tell("target not well", reason=reason)
                return True
        return False

    # -- other states ------------------------------------------------------------------------------------------

    async def _complete(self) -> None:
        """The operator has decided: all that is left, now."""
        self._enter_phase(len(self.phases) - 1)
        self._left_of_phase = 0.0
        if self.switches:
            if await self._target_is_well(compared=False):
                await self._switch_over()
        elif await self._serve_phase():
            self.turn(Turn.FINISH)
        else:
            self.divert(None)
            self.turn(Turn.PAUSE, reason=f"{self.order.target} is down")

    async def _roll_back(self) -> None:
        """Move back those who were moved, and those who were placed on the target because of this migration."""
        while True:
            here = self._to_take_back()
            self.back.ledger.keep_only(each.id for each in here)
            await self.back.move_all(here)
            left = [each for each in self._to_take_back() if not self.back.ledger.is_given_up(each.id)]
            if not left or self.leftovers is not Leftovers.WAIT:
                self.turn(Turn.FINISH)
                return
            await trio.sleep(LOOK_AGAIN)

    def _to_take_back(self) -> list[SessionInfo]:
        if self.physical:  # the reads have gone back with the turn
            return []
        return brought(self.means.fleet.sessions(), self.order, self.there.ledger.moved, self.began)

    async def _switch_over(self) -> None:
        """One switch for all (rule 23)."""
        assert self.means.switchover is not None, "admitted only where there is one"
        order = SwitchoverOrder(target=self.order.target, reason=self.order.reason)
        report = await self.means.switchover.run(order)
        self.there.ledger.note_switchover(report.moved, report.lost, report.write_pause)
        done = report.outcome is SwitchoverOutcome.COMPLETED
        self.divert(None)
        self.turn(Turn.FINISH if done else Turn.UNDO, reason=report.failure)

    def divert(self, diversion: Diversion | None) -> None:
        """From now on new sessions of the source, or reads, go to the target by this rule, and by no earlier one."""
        where = self.means.read_shares if self.physical else self.means.placement
        self.to_restore = None
        if diversion is None:
            where.end(self.diversion)
        else:
            where.divert(diversion, instead_of=self.diversion)
        self.diversion = diversion

    def give_up_diversion(self, reason: str) -> None:
        """It cannot be restored after a restart."""
        self.divert(None)
        self._tell("diversion ended", reason=reason)
        self.on_change(self)


_STEPS: Final[dict[State, Callable[[Migration], Awaitable[None]]]] = {
    State.SCHEDULED: Migration._wait_for_start,
    State.RUNNING: Migration._work,
    State.PAUSED: Migration._wait_for_turn,
    State.COMPLETING: Migration._complete,
    State.ROLLING_BACK: Migration._roll_back,
}
