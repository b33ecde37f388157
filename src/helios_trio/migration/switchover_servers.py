"""What a switchover does to the two servers: asks, makes read-only, waits, promotes, demotes; and undoes it.

Used by: migration.switchover.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio
from attrs import frozen

from helios_trio.cluster.steward import (
    Demotion,
    NoLongerStandby,
    Steward,
    StewardError,
    StewardUnsure,
)
from helios_trio.cluster.topology import Topology
from helios_trio.errors import HeliosError
from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.switchover_checks import Candidate, require_fit
from helios_trio.migration.switchover_steps import Course, Step, SwitchoverSettings

_log = structlog.get_logger(__name__)

#: Seconds between looks at transactions that are waited for.
_LOOK: Final = 0.003
#: Seconds for the old primary to say whether it has been written to.
_LATE_TIME_LIMIT: Final = 1.0
#: Seconds before a server that could not be asked is asked again.
_RETRY: Final = 0.05


class InDoubt(HeliosError):
    """The target may have become primary, and nobody can say."""


@frozen
class Roles:
    """The roles of the two servers of one switchover."""

    course: Course
    topology: Topology
    steward: Steward
    settings: SwitchoverSettings

    # -- before the promotion ----------------------------------------------------------------------------------

    async def check(self) -> None:
        """Ask both servers. Raises Conflict."""
        course = self.course
        try:
            with trio.fail_after(self.settings.check_time_limit):
                source = Candidate(course.source, await self.steward.facts(course.source))
                target = Candidate(course.target, await self.steward.facts(course.target))
        except StewardError as error:
            raise Conflict([Fault("", error.message)]) from error
        except trio.TooSlowError as error:
            raise Conflict([Fault("", "the servers do not answer")]) from error
        require_fit(source, target, self.settings)
        course.timeline = source.timeline or 0

    async def prepare(self) -> None:
        """All that takes time and can be done while clients work; at the end, the target has caught up once."""
        with trio.fail_after(self.settings.prepare_time_limit):
            await self.steward.prepare(self.course.source, self.course.target)
            lsn = await self.steward.last_lsn(self.course.source)
            await self.steward.wait_replayed(self.course.target, lsn)

    async def make_read_only(self) -> None:
        """For those who come past the proxy; held sessions do not notice."""
        self._enter(Step.READ_ONLY)
        self.course.read_only_asked = True
        self.course.read_only_since = await self.steward.read_only(self.course.source)
        self.course.patient_until = trio.current_time() + self.settings.readers_grace

    async def quiesce(self) -> None:
        """Wait for open transactions of others, and take the position at the end of all that was written."""
        self._enter(Step.QUIESCE)
        course = self.course
        while True:
            found = await self.steward.open_transactions(course.source, course.read_only_since)
            course.note_open(found, trio.current_time())
            if not course.waiting_for:
                break
            await trio.sleep(_LOOK)
        course.last_lsn = await self.steward.last_lsn(course.source)
        course.next_xid = await self.steward.next_xid(course.source)

    async def catch_up(self) -> bool:
        """Wait until the target has replayed all; returns whether nobody has written meanwhile."""
        self._enter(Step.CATCH_UP)
        await self.steward.wait_replayed(self.course.target, self.course.last_lsn)
        return await self.steward.next_xid(self.course.source) == self.course.next_xid

    # -- the promotion -----------------------------------------------------------------------------------------

    async def promote(self) -> None:
        """The point of no return lies within: once asked, the target may become primary without our hearing of it.

        So nothing interrupts this but its deadline.

        Raises:
            StewardError: the target is not promoted, and will not be.
            InDoubt: it may be.
        """
        self._enter(Step.PROMOTE)
        course, reason = self.course, "no answer"
        with trio.move_on_after(self.settings.promotion_time_limit, shield=True):
            while course.promoted is None:
                try:
                    await self._ask_to_promote()
                    course.promoted = await self.steward.wait_writable(course.target, course.timeline)
                except StewardError as error:
                    if not course.asked:
                        raise
                    reason = error.message
                    await trio.sleep(_RETRY)
        if course.promoted is None:
            await self._resolve(
                f"{course.target} was asked to become primary and has not said that it is: {reason}"
            )

    async def _ask_to_promote(self) -> None:
        before, self.course.asked = self.course.asked, True  # also when there is no answer
        try:
            await self.steward.promote(self.course.target)
        except StewardUnsure:
            raise
        except StewardError:
            self.course.asked = before
            raise

    async def _resolve(self, doubt: str) -> None:
        """A target that is put to death is no primary (rule 25): then there is a way back. Raises in any case."""
        course = self.course
        with trio.move_on_after(self.settings.fence_time_limit, shield=True):
            try:
                course.fenced = await self.steward.fence(course.target)
            except StewardError as error:
                course.note_error(f"{course.target} could not be fenced: {error.message}")
        if not course.fenced:
            raise InDoubt(doubt)
        self.topology.depose(course.target, "it was fenced while it was being promoted")
        raise StewardError(doubt)

    # -- the way back ------------------------------------------------------------------------------------------

    async def undo(self, error: BaseException) -> None:
        """Make the source writable, unless the target may be, too: there must never be two."""
        course = self.course
        if not course.read_only_asked:
            return
        if isinstance(error, InDoubt | NoLongerStandby):
            course.in_doubt = True
            course.note_error(
                f"{course.source} is left read-only: if {course.target} is the primary, all is there; if not, make "
                f"sure that it stays a standby, and then {_writable_by_hand(course.source)}"
            )
        else:
            await self._make_writable()

    async def _make_writable(self) -> None:
        """Asked for until it is so, as a primary that stays read-only is no use to anybody."""
        course, reason = self.course, "no answer"
        with trio.move_on_after(self.settings.rollback_time_limit, shield=True):
            while True:
                try:
                    await self.steward.writable_again(course.source)
                except StewardError as error:
                    reason = error.message
                    await trio.sleep(_RETRY)
                else:
                    return
        course.note_error(
            f"{course.source} may still be read-only ({reason}): {_writable_by_hand(course.source)}"
        )

    # -- afterwards --------------------------------------------------------------------------------------------

    async def look_for_late_writes(self) -> None:
        """Find out whether somebody has overcome the read-only setting of the old primary; it may not answer."""
        with trio.move_on_after(_LATE_TIME_LIMIT):
            try:
                self.course.note_late(await self.steward.next_xid(self.course.source))
            except StewardError as error:
                _log.info("old primary does not say whether it was written to", reason=error.message)

    async def retire(self, node: str, primary: str) -> None:
        """A server that must not be primary becomes a standby where we can do that, and is deposed where not."""
        course = self.course
        note = f"{node} could not be demoted in time"
        try:
            with trio.fail_after(self.settings.demotion_time_limit):
                course.demotion = await self.steward.demote(node, primary)
                note = course.demotion.note
        except HeliosError as error:
            note = error.message
        except trio.TooSlowError:
            _log.warning("demotion given up", node=node, seconds=self.settings.demotion_time_limit)
        if course.demotion is not None and course.demotion.rejoined:
            self.topology.reinstate(node)
            return
        self.topology.depose(node, note)
        if course.demotion is None:
            course.note_error(note)
            course.demotion = Demotion(rejoined=False, note=note)

    def _enter(self, step: Step) -> None:
        self.course.enter(step, trio.current_time())


def _writable_by_hand(node: str) -> str:
    return f"undo default_transaction_read_only on {node} (ALTER SYSTEM RESET and pg_reload_conf)"
