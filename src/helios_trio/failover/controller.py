"""The failover controller: notices that a primary is gone, sees to it that there is one, and tells sessions which.

One search at a time for each set of servers with the same data (`failover.succession`). Sessions that lost their server
say so (`suspect`), and wait (`settled`) until the primary is found: the old one, if it lives, within milliseconds. They
are let go by urgency (`failover.turns`), a group at a time. Former primaries are taken care of afterwards
(`failover.aftermath`).

Used by: composition.failing_over (makes it), app (runs it), proxy (through `pipeline.rescue.Primaries`), admin (shows
it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Final

import structlog
import trio
from attrs import define, field

from helios_trio.cluster.topology import NodeRole, NodeState
from helios_trio.errors import BackendUnavailable
from helios_trio.failover.aftermath import Aftermath
from helios_trio.failover.means import Means
from helios_trio.failover.pacing import Pacer
from helios_trio.failover.redirection import Primary
from helios_trio.failover.signs import Sign
from helios_trio.failover.steps import FailoverCourse, FailoverOutcome, FailoverReport, FailoverStep
from helios_trio.failover.succession import Order, Succession, patience_of
from helios_trio.failover.turns import Turns
from helios_trio.migration.errors import Conflict, Fault, NotFound
from helios_trio.pipeline.rescue import Urgency

_log = structlog.get_logger(__name__)

#: Seconds between looks whether a planned switchover has ended.
_POLL: Final = 0.01


@define(eq=False)
class Controller:
    """See `pipeline.rescue.Primaries`."""

    means: Means
    pacer: Pacer = field(factory=Pacer)
    #: the last search that was more than a false alarm
    last: FailoverCourse | None = field(default=None, init=False)
    aftermath: Aftermath = field(init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)
    #: by set of servers with the same data
    _searches: dict[str, Succession] = field(factory=dict, init=False)
    #: primary -> number of the last look that has found it alive (`Means.looks`)
    _verified: dict[str, int] = field(factory=dict, init=False)
    _news: trio.Event = field(factory=trio.Event, init=False)
    _ids: Iterator[int] = field(factory=lambda: count(1), init=False)
    #: by set of servers with the same data
    _turns: dict[str, Turns] = field(factory=dict, init=False)
    #: new primaries at which new clients still wait
    _held: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.aftermath = Aftermath(self.means)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after the primaries until cancelled; before it runs nothing is suspected."""
        try:
            async with trio.open_nursery() as self._nursery:
                self.means.topology.followers.append(self.on_news)
                self._nursery.start_soon(self.means.alerts.run)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.means.topology.followers.remove(self.on_news)
            self._nursery = None
            self.means.steward.close()

    # -- for sessions ------------------------------------------------------------------------------------------

    def suspect(self, backend: str, reason: str) -> None:
        """See `pipeline.rescue.Primaries`."""
        node = self.means.topology.nodes.get(backend)
        if node is None or self._nursery is None or node.deposed or node.role is NodeRole.STANDBY:
            return
        if (key := _set_of(node)) not in self._searches:
            self._searches[key] = search = self._search(node, reason)
            self._nursery.start_soon(self._carry_out, key, search)

    async def settled(self, backend: str, urgency: Urgency = Urgency.NEW) -> str:
        """See `pipeline.rescue.Primaries`."""
        seconds = self.means.settings.failover_timeout
        with trio.move_on_after(seconds):
            name = await self._wait_for(backend, self.means.looks)
            await self._turns_of(backend).come(urgency)
            self._require_wanted(backend, name)
            return name
        raise BackendUnavailable(
            f"no server has taken over from {backend} within {seconds:g} s",
            sqlstate="57P03",
            detail=self._why_not(),
            hint="Retry later.",
        )

    def precedence(self, backend: str, urgency: Urgency) -> AbstractContextManager[None]:
        """See `pipeline.rescue.Primaries`."""
        return self._turns_of(backend).precedence(urgency)

    def _turns_of(self, backend: str) -> Turns:
        node = self.means.topology.nodes.get(backend)
        return self._turns.setdefault(backend if node is None else _set_of(node), Turns(self.pacer))

    async def _wait_for(self, backend: str, before: int) -> str:
        """The primary, as soon as it is one for certain: by a look after the one numbered so, or as just promoted."""
        while True:
            name = self.means.redirection.successor(backend)
            if name != backend and self._is_trusted(name):
                return name
            if self._verified.get(name, 0) > before:
                return name
            node = self.means.topology.nodes.get(name)
            if node is not None and node.role is NodeRole.STANDBY:
                return await self._instead_of_standby(name)
            news = self._news
            self.suspect(name, "a session has lost its connection")
            await news.wait()

    def _is_trusted(self, name: str) -> bool:
        """Nothing speaks against a server that has succeeded another."""
        node = self.means.topology.nodes[name]
        return name in self._verified and node.healthy is True and _set_of(node) not in self._searches

    async def _instead_of_standby(self, name: str) -> str:
        """The standby itself if it lives; else the primary, which can do all that it could."""
        look = await self.means.examiner.look(name)
        if look.observation is not None or look.sign is Sign.ALIVE:
            return name
        return self.means.redirection.primary_like(name) or name

    def _require_wanted(self, backend: str, name: str) -> None:
        if name != backend and not self.means.settings.actions.migrate_sessions:
            raise BackendUnavailable(
                f"{backend} has been succeeded by {name}", sqlstate="57P01", hint="Connect again."
            )

    def _why_not(self) -> str | None:
        return self.last.failure or None if self.last is not None else None

    # -- for operators -----------------------------------------------------------------------------------------

    @property
    def active(self) -> str:
        """What is under way that nothing else may disturb; empty: nothing."""
        found = next((each.course for each in self._searches.values() if each.serious), None)
        return f"a failover of {found.source} is under way" if found is not None else ""

    def report(self) -> FailoverReport | None:
        """The failover under way, else the last one; None when there was none."""
        running = next((each.course for each in self._searches.values() if each.serious), None)
        course = running or self.last
        return None if course is None else course.report(trio.current_time())

    def order(self, target: str | None, *, who: str, reason: str = "") -> FailoverReport:
        """An operator wants the dead primary to be succeeded, by `target` or the best standby, at once.

        Whoever orders it answers for the old primary being dead where it could not be fenced.

        Raises:
            NotFound: there is no such backend.
            Conflict: no primary is being missed.
        """
        if target is not None and target not in self.means.topology.nodes:
            raise NotFound([Fault("target", f'there is no backend "{target}"')])
        search = next((each for each in self._searches.values() if each.serious), None)
        if search is None:
            raise Conflict([Fault("", "no primary is being missed: a planned switchover is what is wanted")])
        if not search.course.cancellable:
            raise Conflict([Fault("", f"a failover is {search.course.step}")])
        search.give_order(Order(target=target, who=who, reason=reason))
        self.means.events.note("failover ordered", search.course.source, who=who, reason=reason)
        return search.course.report(trio.current_time())

    # -- signs of trouble --------------------------------------------------------------------------------------

    def on_news(self, name: str) -> None:
        """A probe has told something about a server."""
        node = self.means.topology.nodes[name]
        self.aftermath.on_news(node)
        if search := self._searches.get(_set_of(node)):
            search.wake()
        if node.deposed or node.role is not NodeRole.PRIMARY:
            return
        self.means.redirection.note_primary(name)
        if node.healthy is False or node.timeouts:
            self.suspect(name, node.reason or "it does not answer")
        elif node.writable:
            for older in list(self.means.redirection.outdated_primaries(name)):
                self.suspect(older, f"{name} is a primary on a newer timeline")

    # -- one search --------------------------------------------------------------------------------------------

    def _search(self, node: NodeState, reason: str) -> Succession:
        name, now = node.backend.name, trio.current_time()
        course = FailoverCourse(
            id=next(self._ids), source=name, reason=reason, began=now, started_at=self.means.clock()
        )
        return Succession(
            self.means,
            course,
            patience_of(self.means, node.timeouts),
            self.aftermath.hush,
        )

    async def _carry_out(self, key: str, search: Succession) -> None:
        """Search, tell who waits, and see to what follows."""
        found: Primary | None = None
        try:
            if await self._switched_over(search.course.source):
                return
            with trio.move_on_after(self.means.settings.failover_timeout):
                found = await search.find()
            if found is not None:
                await self._prepare(search.course.source, found.name)
                self._settle(search, found)
        finally:
            if search.serious:
                self.last = search.course
            del self._searches[key]
            self._news.set()
            self._news = trio.Event()
        await self._finish(search, found)

    async def _switched_over(self, source: str) -> bool:
        """Let a planned switchover end, which may demote and promote as it likes; whether it has succeeded."""
        if not self.means.switching():
            return False
        while self.means.switching():  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(_POLL)
        target = self.means.redirection.newer_primary(source)
        if target is not None:
            self._verified[target.name] = self.means.looks
        return target is not None

    async def _prepare(self, source: str, target: str) -> None:
        """What must be true of a new primary before the first session or client comes to it."""
        if target == source:
            self.means.forget(source)
        else:
            await self.means.prepare(source, target)

    def _settle(self, search: Succession, found: Primary) -> None:
        """There is a primary: from here on sessions go there."""
        course, means, now = search.course, self.means, trio.current_time()
        course.settled_at = now
        if found.name == course.source:
            self._verified[found.name] = search.looked
            means.sessions.reopen(found.name)
            return
        course.target = found.name
        course.enter(FailoverStep.REDIRECT, now)
        demoted = _is_standby(means.topology.nodes[course.source])
        means.redirection.succeed(course.source, found, now, depose=not demoted)
        means.sessions.reopen(found.name)
        self._verified[found.name] = means.looks
        if demoted:  # whoever has done that needs no help
            means.sessions.reopen(course.source)
            return
        search.serious = True
        self._held.add(found.name)  # new clients come there from now on, and are the last to be let in
        means.sessions.hold(found.name)
        means.sessions.cut_off(course.source, f"{found.name} has succeeded it")
        self.aftermath.add(course.source, found.name)

    async def _finish(self, search: Succession, found: Primary | None) -> None:
        """Let those go who are held, take idle sessions along, and look after the old primary."""
        course = search.course
        try:
            if found is None:
                self.means.sessions.reopen(course.source)
            elif found.name != course.source:
                course.enter(FailoverStep.RELEASE, trio.current_time())
            if search.serious:
                await self._let_in(course.source, None if found is None else found.name)
            if found is not None and found.name != course.source:
                await self._take_along(course, found.name)
        finally:
            self._end(search, found)
        if self._nursery is not None and not self._searches:
            self.aftermath.resume(self._nursery)

    async def _let_in(self, source: str, target: str | None) -> None:
        """Those who came meanwhile go behind those who were there (rule 27)."""
        if target is not None:
            await trio.sleep(
                self.pacer.interval
            )  # until all who have just lost their connection have noticed
            await self._turns_of(source).wait_for_others()
        await self.means.sessions.release(source)
        if target in self._held:
            self._held.remove(target)
            if all(each.course.source != target for each in self._searches.values()):
                await self.means.sessions.release(target)

    async def _take_along(self, course: FailoverCourse, target: str) -> None:
        if self.means.settings.actions.migrate_sessions:
            with trio.move_on_after(self.means.settings.failover_timeout):
                await self.means.sessions.move_idle(course, target)

    def _end(self, search: Succession, found: Primary | None) -> None:
        """Close the course, and say what became of it."""
        course, means, now = search.course, self.means, trio.current_time()
        if found is None:
            outcome = FailoverOutcome.FAILED
            course.note_error(
                course.failure or f"{course.source} has not come back, and nobody has taken over"
            )
        elif found.name == course.source:
            outcome = FailoverOutcome.RECOVERED
        else:
            outcome = FailoverOutcome.COMPLETED
        course.end(outcome, now)
        if search.serious:
            if outcome is FailoverOutcome.COMPLETED:
                means.flapping.note(course.began, now)
            self._announce(course)
        else:
            means.counters.false_alarms += 1

    def _announce(self, course: FailoverCourse) -> None:
        means, report = self.means, course.report(trio.current_time())
        assert report.outcome is not None, "it has ended"
        means.counters.note(report)
        reason = report.failure or report.reason
        subject = report.target or report.source
        means.events.note(f"failover {report.outcome}", subject, reason=reason, pause=round(report.pause, 3))
        means.alerts.raise_(
            f"failover {report.outcome}",
            source=report.source,
            target=report.target,
            reason=reason,
            seconds={step.value: round(seconds, 3) for step, seconds in report.seconds.items()},
        )


def _is_standby(node: NodeState) -> bool:
    """Whether a server was just seen as a standby that nothing speaks against."""
    return node.healthy is True and node.role is NodeRole.STANDBY and not node.deposed


def _set_of(node: NodeState) -> str:
    """What servers with the same data have in common; a server that has not said so stands for itself."""
    return node.system_identifier or f"server {node.backend.name}"
