"""What becomes of former primaries: they are made standbys where we can, watched where not, and never given a write.

Used by: failover.controller.
"""

from __future__ import annotations

from typing import Final

import trio
from attrs import define, field

from helios_trio.cluster.steward import Demotion, StewardError
from helios_trio.cluster.topology import NodeState
from helios_trio.failover.means import Means

#: Seconds for one attempt to make a former primary a standby; a new base backup may be needed.
_TIME_LIMIT: Final = 600.0
#: Seconds between attempts: at first, and at most.
_RETRY_FIRST, _RETRY_MOST = 0.5, 30.0


@define(eq=False)
class Aftermath:
    """Former primaries, and who has succeeded them."""

    means: Means
    #: name -> name of its successor
    former: dict[str, str] = field(factory=dict, init=False)
    _tasks: dict[str, tuple[trio.CancelScope, trio.Event]] = field(factory=dict, init=False)

    def add(self, source: str, target: str) -> None:
        """A server was succeeded by another."""
        self.former.pop(target, None)
        self.former.update(dict.fromkeys(self.former, target))
        self.former[source] = target

    def resume(self, nursery: trio.Nursery) -> None:
        """Take care of all former primaries that nobody takes care of now."""
        for name in self.former:
            if name not in self._tasks:
                self._tasks[name] = trio.CancelScope(), trio.Event()
                nursery.start_soon(self._take_care, name)

    async def hush(self) -> None:
        """Stop all that, at once; `resume` begins it anew."""
        tasks = list(self._tasks.values())
        for scope, _ in tasks:
            scope.cancel()
        for _, ended in tasks:
            await ended.wait()

    def on_news(self, node: NodeState) -> None:
        """A former primary that follows its successor is a standby again, by whosever doing."""
        name, seen = node.backend.name, node.observed
        target = self.former.get(name)
        if target is None or seen is None or not node.healthy or not seen.in_recovery or name in self._tasks:
            return
        newest = self.means.topology.nodes[target].timeline
        if seen.timeline is not None and newest is not None and seen.timeline >= newest:
            self._take_back(name, target)

    async def _take_care(self, name: str) -> None:
        scope, ended = self._tasks[name]
        try:
            with scope:
                await self._demote(name)
        finally:
            del self._tasks[name]
            ended.set()

    async def _demote(self, name: str) -> None:
        """Until it is a standby, or it is clear that somebody else must see to it."""
        delay = _RETRY_FIRST
        while True:
            done = await self._try_to_demote(name)
            if done is not None and done.rejoined and await self._is_standby(name):
                self._take_back(name, self.former[name])
                return
            if done is not None and not done.rejoined:
                self.means.events.note("former primary needs somebody", name, reason=done.note)
                self.means.alerts.raise_("former primary needs somebody", source=name, reason=done.note)
                return
            await trio.sleep(delay)
            delay = min(2 * delay, _RETRY_MOST)

    async def _is_standby(self, name: str) -> bool:
        """Have the topology know what it is now, before it may be believed again."""
        seen = (await self.means.examiner.look(name)).observation
        return seen is not None and seen.in_recovery

    async def _try_to_demote(self, name: str) -> Demotion | None:
        """None: it has failed, and may be tried again."""
        try:
            with trio.fail_after(_TIME_LIMIT):
                return await self.means.steward.demote(name, self.former[name])
        except StewardError as error:
            reason = error.message
        except trio.TooSlowError:
            reason = f"not done within {_TIME_LIMIT:g} s"
        self.means.topology.depose(name, reason)
        return None

    def _take_back(self, name: str, target: str) -> None:
        self.former.pop(name, None)
        self.means.topology.reinstate(name)
        self.means.sessions.reopen(name)
        self.means.events.note("former primary is a standby", name, reason=f"it follows {target}")
