"""Databases whose clients are made to wait, or are not let in: PAUSE, RESUME, KILL, DISABLE and ENABLE of the console.

A database is what a client has asked for by name. Its sessions are held as those of a server are during a switchover
(`proxy.holding`): each stands still as soon as no transaction of it is open, and what its client says meanwhile is
kept, within bounds. Whoever waits longer than `window` is sent away, as PgBouncer's query_wait_timeout does.

Used by: proxy.serving (who comes), admin.console_orders (says so), admin.console (runs the look-out for who waits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
from attrs import define, field

from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.proxy.holding import HeldBudget, Hold, Holdable, Holds
from helios_trio.proxy.session import Ending, Session
from helios_trio.proxy.standstill import SessionEnded

#: In the place of a database's name: all databases. No database has this name (PostgreSQL takes the user's instead).
ALL: Final = ""

#: Seconds between looks at those who are waited for; each may have ended meanwhile.
_LOOK: Final = 0.25
#: How many sessions are let go at a time, and seconds that they get for what they had waiting.
_GROUP, _GROUP_TIME = 32, 0.05


@define(eq=False)
class Pauses:
    """What is paused and what is disabled, by the name that clients ask for."""

    #: the sessions there are
    sessions: Callable[[], Sequence[Session]]
    #: how long clients wait at most, in seconds; changed by a reload
    window: float = 30.0
    disabled: set[str] = field(factory=set)
    paused: set[str] = field(factory=set)
    _holds: Holds = field(factory=Holds)

    @property
    def budget(self) -> HeldBudget:
        """What may be kept of all who wait together (rule 37)."""
        return self._holds.budget

    def _over(self, database: str) -> list[Hold]:
        """What a session of that database is held by."""
        found = (self._holds.of(database), self._holds.of(ALL))
        return [each for each in found if each is not None]

    # -- who comes ---------------------------------------------------------------------------------------------

    async def admit(self, database: str) -> bool:
        """Wait until a database is not paused; returns whether that took any time.

        Raises HeliosError (55000) where it is disabled, BackendUnavailable (57P03) after `window` seconds.
        """
        if database in self.disabled:
            raise HeliosError(
                f'database "{database}" is not currently accepting connections',
                sqlstate="55000",
                severity="FATAL",
                hint="It was disabled in the admin console.",
            )
        if not self._over(database):
            return False
        with trio.move_on_after(self.window):
            while holds := self._over(database):
                await holds[0].over.wait()
            return True
        raise _waited(database)

    def join(self, session: Session) -> None:
        """A session begins: it stands still if its database is paused."""
        for hold in self._over(session.virtual.database):
            hold.add(session)

    # -- who is there ------------------------------------------------------------------------------------------

    def of(self, database: str) -> list[Session]:
        """The sessions of a database, or of all, that run."""
        return [
            each
            for each in self.sessions()
            if each.nursery is not None and not each.over and database in (ALL, each.virtual.database)
        ]

    async def pause(
        self, database: str, time_limit: float, on_wait: Callable[[list[int]], None]
    ) -> list[int]:
        """Have all sessions of a database stand still; `on_wait` is told the ids of those that do not yet.

        Returns the ids of those that did not within `time_limit` seconds: then, as when this is cancelled, nothing is
        paused (rule 38). Empty: it is, until `resume`. Raises HeliosError (55006) while somebody else is about it.
        """
        if database in self.paused:
            return []
        if self._holds.of(database) is not None:
            raise HeliosError("somebody else is pausing it now", sqlstate="55006")
        hold = self._holds.begin(database)
        for session in self.of(database):
            hold.add(session)
        try:
            with trio.move_on_after(time_limit):
                await self._wait_at_rest(database, on_wait)
            busy = self._busy(database)
            if not busy:
                self.paused.add(database)
            return [each.virtual.id for each in busy]
        finally:
            if database not in self.paused and self._holds.of(database) is hold:
                _let_go(self._holds.end(database))

    def pause_at_once(self, database: str) -> None:
        """From now on whoever comes waits; nobody is waited for."""
        hold = self._holds.begin(database)
        self.paused.add(database)
        for session in self.of(database):
            hold.add(session)

    async def _wait_at_rest(self, database: str, on_wait: Callable[[list[int]], None]) -> None:
        while busy := self._busy(database):
            on_wait([each.virtual.id for each in busy])
            with trio.move_on_after(_LOOK), suppress(SessionEnded):
                await busy[0].standstill.wait()

    def _busy(self, database: str) -> list[Session]:
        return [each for each in self.of(database) if not each.standstill.reached]

    async def resume(self, database: str) -> bool:
        """Let those who wait go on, some at a time; False when nothing was paused."""
        if database not in self.paused:
            return False
        self.paused.discard(database)
        held = self._holds.end(database)
        try:
            while held:
                group, held = held[:_GROUP], held[_GROUP:]
                _let_go(group)
                if held:
                    await trio.sleep(_GROUP_TIME)
        finally:
            _let_go(held)
        return True

    def kill(self, database: str, reason: str) -> int:
        """End the sessions of a database (57P01); returns how many."""
        sessions = self.of(database)
        for session in sessions:
            session.end(
                Ending.KILLED,
                HeliosError(
                    "terminating connection due to administrator command",
                    sqlstate="57P01",
                    severity="FATAL",
                    detail=reason,
                ),
            )
        return len(sessions)

    def close(self) -> None:
        """The proxy is going down: who stands still has no transaction, so there is nothing to wait for."""
        for database in self.paused:
            for session in self.of(database):
                if session.standstill.reached:
                    session.shut_down()

    def send_away(self, now: float) -> None:
        """End the sessions whose client has been waiting for `window` seconds. `now`: Trio's clock."""
        for database in self.paused:
            for session in self.of(database):
                asked = session.standstill.reached and session.requests.held
                if asked and now - session.active_since >= self.window:
                    session.end(Ending.TIMED_OUT, _waited(session.virtual.database))


def _let_go(sessions: Sequence[Holdable]) -> None:
    for session in sessions:
        session.standstill.let_go()


def _waited(database: str) -> BackendUnavailable:
    return BackendUnavailable(f'database "{database}" is paused', sqlstate="57P03", hint="Retry later.")
