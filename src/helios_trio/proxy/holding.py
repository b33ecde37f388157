"""Holding all sessions of a backend: those there are stand still, those who come wait (rules 19, 37 and 38).

What clients send meanwhile is kept here in the proxy, up to a limit for each and for all together; beyond it they are
not read from, and TCP tells them to wait. New clients are admitted, and wait in front of their pool.

Used by: proxy.serving (who comes), migration.fleet (begins and ends it).
"""

from __future__ import annotations

from typing import Protocol

import trio
from attrs import define, field

from helios_trio.errors import BackendUnavailable
from helios_trio.proxy.standstill import Standstill


class Holdable(Protocol):
    """What holding needs of a session."""

    @property
    def standstill(self) -> Standstill:
        """How it is brought to stand still."""


@define(eq=False)
class HeldBudget:
    """What may be kept of all clients of held backends together (rule 37); beyond it TCP makes them wait."""

    max_requests: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    requests: int = 0
    size: int = 0

    def take(self, size: int) -> bool:
        """A client has sent so many bytes; returns whether it may send more."""
        self.requests += 1
        self.size += size
        return self.requests < self.max_requests and self.size < self.max_bytes

    def reset(self) -> None:
        """Nothing is held any more."""
        self.requests = self.size = 0


@define(eq=False)
class Hold:
    """One backend whose sessions are held."""

    budget: HeldBudget
    sessions: dict[Holdable, None] = field(factory=dict)
    over: trio.Event = field(factory=trio.Event)

    def add(self, session: Holdable) -> None:
        """It stands still from now on, or as soon as it can."""
        if session not in self.sessions:
            self.sessions[session] = None
            session.standstill.want(self.budget)


@define
class Holds:
    """The backends whose sessions are held, by name."""

    budget: HeldBudget = field(factory=HeldBudget)
    #: how long clients wait at most that come meanwhile, in seconds
    window: float = 30.0
    _holds: dict[str, Hold] = field(factory=dict)

    def of(self, backend: str) -> Hold | None:
        """The hold of a backend; None when there is none."""
        return self._holds.get(backend)

    def begin(self, backend: str) -> Hold:
        """From now on whoever comes waits. Beginning it again is the same hold."""
        return self._holds.setdefault(backend, Hold(self.budget))

    def end(self, backend: str) -> list[Holdable]:
        """Who comes need not wait any more; returns the sessions that are still to be let go."""
        hold = self._holds.pop(backend, None)
        if hold is None:
            return []
        hold.over.set()
        if not self._holds:
            self.budget.reset()
        return list(hold.sessions)

    async def pass_by(self, backend: str) -> bool:
        """Wait until the backend is not held; returns whether that took any time. Raises BackendUnavailable."""
        hold = self._holds.get(backend)
        if hold is None:
            return False
        with trio.move_on_after(self.window):
            await hold.over.wait()
            return True
        raise BackendUnavailable(
            "the server is being exchanged, which takes longer than expected",
            sqlstate="57P03",
            hint="Retry later.",
        )
