"""One search for a primary: the suspect itself, one that somebody else has promoted, or a standby that we promote.

    look at the suspect -> it lives: done
                        -> be patient where it may come back by itself
                        -> choose (rule 24) -> look up acknowledged transactions -> fence (rule 25) -> promote

Up to the order to promote everything can be cut short, and the suspect may come back at any moment. Once a standby was
asked to become primary, it is found out whether it has: by asking it, and where it does not say, by making sure that it
does not run. Until then the old primary is not believed any more: there must never be two.

Used by: failover.controller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from attrs import define, evolve, field, frozen

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.steward import ServerFacts, StewardError, StewardUnsure
from helios_trio.cluster.topology import NodeState
from helios_trio.failover.candidates import Standby, rank
from helios_trio.failover.fencing import Quorum
from helios_trio.failover.means import Means
from helios_trio.failover.redirection import Primary, is_newer
from helios_trio.failover.signs import Look, Patience, Sign
from helios_trio.failover.steps import FailoverCourse, FailoverStep

#: Seconds between looks at a primary that is waited for: at first, and at most.
_REST_FIRST, _REST_MOST = 0.01, 0.25
#: Seconds before something that was refused is tried again.
_RETRY: Final = 1.0
#: Seconds for servers to say how they are.
_SURVEY_TIME_LIMIT: Final = 0.5
#: From the order to promote until the standby takes writes; replaying what it has received may take most of it.
_PROMOTION_TIME_LIMIT: Final = 60.0
#: Seconds before a standby that could not be asked is asked again.
_ASK_AGAIN: Final = 0.02
_FENCE_TIME_LIMIT: Final = 10.0

#: The role of a server that nobody has fixed.
_AUTO: Final = "auto"
#: `pg_stat_replication.sync_state` of a standby that commits wait for.
_SYNCHRONOUS: Final = ("sync", "quorum")


@frozen(kw_only=True)
class Order:
    """An operator's word: this primary is to be succeeded, whatever would be waited for."""

    #: None: by the best standby
    target: str | None = None
    who: str = ""
    reason: str = ""


@define(eq=False)
class Succession:
    """The search for the primary of one set of servers with the same data."""

    means: Means
    course: FailoverCourse
    patience: Patience
    #: ends what is done to former primaries in the background: it would be in the way
    hush: Callable[[], Awaitable[None]]
    #: number of the last look at the source (`Means.looks`)
    looked: int = field(default=0, init=False)
    order: Order | None = field(default=None, init=False)
    #: somebody waits for the outcome, as more than one look was needed
    serious: bool = field(default=False, init=False)
    _rest: float = field(default=_REST_FIRST, init=False)
    _retry_at: float = field(default=0.0, init=False)
    _woken: trio.Event = field(factory=trio.Event, init=False)
    #: standbys that are not asked any more, and why
    _excluded: dict[str, str] = field(factory=dict, init=False)

    # -- the search --------------------------------------------------------------------------------------------

    async def find(self) -> Primary:
        """Return once there is a primary."""
        while True:
            look = await self._look()
            found = self.means.redirection.newer_primary(self.course.source)
            if found is not None:
                return found
            if look.sign is Sign.ALIVE and not self.course.in_doubt:
                return Primary(self.course.source, look.observation)
            self._take_seriously(look)
            over = self.patience.is_over(look.sign, trio.current_time()) or self._decided
            found = await self._go_on(look) if over else None
            if found is not None:
                return found
            await self._wait(self._why_wait(over))

    @property
    def _decided(self) -> bool:
        """There is nothing to be patient for."""
        return self.order is not None or self.course.in_doubt

    async def _look(self) -> Look:
        self.means.looks += 1
        self.looked = self.means.looks
        return await self.means.examiner.look(self.course.source)

    def _take_seriously(self, look: Look) -> None:
        """It is more than a lost connection: clients that come wait."""
        if not self.serious:
            self.serious = True
            self.means.sessions.hold(self.course.source)
            self.means.events.note(
                "failover begun", self.course.source, reason=self.course.reason, sign=str(look)
            )
            self.means.alerts.raise_("failover begun", source=self.course.source, reason=self.course.reason)

    async def _go_on(self, look: Look) -> Primary | None:
        """The suspect is given up: find a primary elsewhere, or make one."""
        facts = await self._survey()
        found = self._promoted_by_others(facts)
        if found is not None or self._why_wait(over=True) is not None:
            return found
        return await self._succeed(look, facts)

    def _why_wait(self, over: bool) -> FailoverStep | None:
        """What stands in the way of a promotion now; None: nothing."""
        means, now = self.means, trio.current_time()
        if not over or now < self._retry_at:
            return FailoverStep.WAIT
        if self.order is not None and means.promotes:
            return None
        if not means.promotes:
            return FailoverStep.FOLLOW
        if not means.automatic:
            return FailoverStep.ORDER
        if now < means.flapping.not_before(self.course.began):
            return FailoverStep.BACK_OFF
        return None

    async def _wait(self, step: FailoverStep | None) -> None:
        """A moment, longer each time, or until somebody says something."""
        self._enter(step or FailoverStep.WAIT)
        self._woken = trio.Event()
        with trio.move_on_after(self._rest):
            await self._woken.wait()
        self._rest = min(self._rest * 1.3, _REST_MOST)

    def give_order(self, order: Order) -> None:
        """An operator has decided."""
        self.order = order
        self._retry_at = 0.0
        self._excluded.clear()
        self._woken.set()

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    # -- the others --------------------------------------------------------------------------------------------

    async def _survey(self) -> dict[str, ServerFacts]:
        """What the other servers with the same data say of themselves; those known to be down are not waited for."""
        peers = self._peers()
        asked = [each for each in peers if each.healthy] or peers
        found: dict[str, ServerFacts] = {}
        async with trio.open_nursery() as nursery:
            for each in asked:
                nursery.start_soon(self._ask, each.backend.name, found)
        return found

    async def _ask(self, name: str, found: dict[str, ServerFacts]) -> None:
        with trio.move_on_after(_SURVEY_TIME_LIMIT):
            try:
                found[name] = await self.means.steward.facts(name)
            except StewardError:
                return

    def _peers(self) -> list[NodeState]:
        source = self.means.topology.nodes[self.course.source]
        system = source.system_identifier
        return [
            each
            for each in self.means.topology
            if each is not source and each.system_identifier in (None, system)
        ]

    def _promoted_by_others(self, facts: Mapping[str, ServerFacts]) -> Primary | None:
        """A server that has become the primary on a newer timeline, by whosever doing."""
        source = self.means.topology.nodes[self.course.source]
        newer = [
            (seen.timeline or 0, name, seen)
            for name, each in facts.items()
            if (seen := each.observation).system_identifier == source.system_identifier is not None
            and not seen.in_recovery
            and is_newer(seen.timeline or 0, source)
            and not self._fenced_off(name)
        ]
        if not newer:
            return None
        _, name, seen = max(newer, key=lambda each: each[:2])
        return Primary(name, seen)

    def _fenced_off(self, name: str) -> bool:
        """Whether we have put it to death while it was becoming primary."""
        return name in self._excluded and bool(self.means.topology.nodes[name].deposed)

    # -- taking over -------------------------------------------------------------------------------------------

    async def _succeed(self, look: Look, facts: Mapping[str, ServerFacts]) -> Primary | None:
        """Choose, verify, fence, promote; None: it cannot be done now."""
        self._enter(FailoverStep.CHOOSE)
        await self.hush()
        chosen = self._choose(facts)
        if chosen is None or not await self._has_all(chosen) or not await self._fence(look, chosen):
            return None
        return await self._promote(chosen)

    def _choose(self, facts: Mapping[str, ServerFacts]) -> Standby | None:
        ranking = rank(
            (
                self._standby(node, facts[node.backend.name])
                for node in self._peers()
                if node.backend.name in facts
            ),
            self.means.topology.nodes[self.course.source].system_identifier,
        )
        wanted = self.order.target if self.order is not None else None
        unfit = dict(ranking.unfit)
        for each in ranking.candidates:
            reason = self._barred(each.name, wanted)
            if not reason:
                return each
            unfit[each.name] = reason
        said = "; ".join(f"{name}: {reason}" for name, reason in unfit.items())
        self._complain(f"no standby can take over{f' ({said})' if said else ''}")
        return None

    def _standby(self, node: NodeState, facts: ServerFacts) -> Standby:
        seen = self.means.topology.seen_by_primary(node)
        return Standby(
            name=node.backend.name,
            facts=facts,
            connected=seen is not None and seen.state == "streaming",
            synchronous=seen is not None and seen.sync_state in _SYNCHRONOUS,
            priority=node.backend.priority,
        )

    def _barred(self, name: str, wanted: str | None) -> str:
        """Why a standby that could take over must not; empty when it may."""
        node = self.means.topology.nodes[name]
        if wanted is not None and name != wanted:
            return f"{wanted} was ordered"
        if node.backend.role != _AUTO:
            return 'its role is fixed in the configuration: it must be "auto" to change'
        if name in self.means.out_of_service():
            return "it is out of service"
        return self._excluded.get(name) or node.deposed

    async def _has_all(self, standby: Standby) -> bool:
        """Whether it has what clients were told is committed, or may take over without it."""
        means = self.means
        wanted = means.tokens.newest(self.course.source)
        if not any(wanted.values()):
            return True
        self._enter(FailoverStep.VERIFY)
        try:
            missing = await means.token_check.missing(standby.name, wanted)
        except StewardError as error:
            self._put_off(error.message)
            return False
        if not missing:
            return True
        means.counters.tokens_missing += len(missing)
        said = f"{standby.name} lacks {len(missing)} acknowledged transactions, such as {missing[0]}"
        if means.settings.allow_data_loss:
            self._complain(f"{said}: they are lost")
            return True
        self._put_off(f"{said}: it is not promoted (failover.allow_data_loss)")
        return False

    async def _fence(self, look: Look, standby: Standby) -> bool:
        """Whether the old primary takes no write once that standby has left it, or that need not be certain."""
        self._enter(FailoverStep.FENCE)
        course, means = self.course, self.means
        means.sessions.cut_off(course.source, str(look))
        source = means.topology.nodes[course.source]
        broken = standby.connected and self._quorum(source).is_broken_without(1)
        fenced = await means.fencing.fence(source.backend, look, quorum_broken=broken)
        if fenced.certain:
            means.events.note("old primary fenced", course.source, reason=fenced.how)
            return True
        said = f"{course.source} could not be fenced ({fenced.how})"
        if self.order is not None or not means.settings.actions.require_fencing:
            self._complain(f"{said}: if it still takes writes of others, they are lost")
            return True
        self._put_off(f"{said}: no standby is promoted (failover.actions.require_fencing)")
        return False

    def _quorum(self, source: NodeState) -> Quorum:
        """What its commits wait for; any server with the same data may be one of its standbys."""
        return Quorum.of(source.observed, len(self._peers()))

    # -- the promotion -----------------------------------------------------------------------------------------

    async def _promote(self, standby: Standby) -> Primary | None:
        """The point of no return lies within; nothing interrupts this but its deadline."""
        self._enter(FailoverStep.PROMOTE)
        self.course.target = standby.name
        newer_than = max(standby.timeline, self.means.topology.nodes[self.course.source].timeline or 0)
        seen: Observation | None = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _PROMOTION_TIME_LIMIT):
            seen = await self._ask_until_writable(standby.name, newer_than)
        if seen is None:
            await self._give_up(standby.name)
            return None
        self.course.promoted, self.course.in_doubt = seen, False
        return Primary(standby.name, seen)

    async def _ask_until_writable(self, name: str, newer_than: int) -> Observation | None:
        """None: it has refused, or it is dead."""
        while True:
            try:
                await self._ask_to_promote(name)
                return await self.means.steward.wait_writable(name, newer_than)
            except StewardError as error:
                self.course.note_error(error.message)
            if not self.course.in_doubt or await self._is_dead(name):
                return None
            await trio.sleep(_ASK_AGAIN)

    async def _ask_to_promote(self, name: str) -> None:
        before, self.course.in_doubt = self.course.in_doubt, True  # also when there is no answer
        try:
            await self.means.steward.promote(name)
        except StewardUnsure:
            raise
        except StewardError:
            self.course.in_doubt = before
            raise

    async def _is_dead(self, name: str) -> bool:
        backend = self.means.topology.nodes[name].backend
        return (await self.means.examiner.knocker.knock(backend, _SURVEY_TIME_LIMIT)).sign is Sign.REFUSED

    async def _give_up(self, name: str) -> None:
        """A standby that has not said that it is primary must not become one behind our back (rule 25)."""
        if not self.course.in_doubt:
            self._put_off(f"{name} cannot be promoted: {self.course.failure}")
            return
        with trio.move_on_after(_FENCE_TIME_LIMIT, shield=True):
            self.course.in_doubt = not (await self._end(name) or await self._is_dead(name))
        if self.course.in_doubt:
            self._put_off(f"{name} was asked to become primary and does not say whether it is")
            return
        self._excluded[name] = "it ended while it was being promoted"
        self.means.topology.depose(name, self._excluded[name])
        self._complain(f"{name} ended while it was being promoted")

    async def _end(self, name: str) -> bool:
        try:
            return await self.means.steward.fence(name)
        except StewardError as error:
            self.course.note_error(error.message)
            return False

    # -- words -------------------------------------------------------------------------------------------------

    def _enter(self, step: FailoverStep) -> None:
        first = step not in self.course.seconds
        if self.course.enter(step, trio.current_time()) and first and self.serious:
            self.means.events.note(f"failover: {step}", self.course.source, reason=self.course.reason)

    def _put_off(self, text: str) -> None:
        """It cannot be done now; it is tried again later."""
        self._retry_at = trio.current_time() + _RETRY
        self._complain(text)

    def _complain(self, text: str) -> None:
        """Somebody should know; said once."""
        if self.course.note_error(text):
            course = self.course
            self.means.events.note("failover in difficulties", course.source, reason=text)
            self.means.alerts.raise_("failover in difficulties", source=course.source, reason=text)


def patience_of(means: Means, timeouts: int) -> Patience:
    """How long signs of trouble are put up with, by the configuration; `timeouts`: those the probes have counted."""
    settings = means.settings
    return evolve(
        Patience(
            recovery_grace=settings.recovery_grace,
            restart_grace=settings.restart_grace,
            threshold=means.topology.failure_threshold,
        ),
        timeouts=timeouts,
    )
