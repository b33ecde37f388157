"""Time limits of sessions: idle, idle in a transaction, too long a request.

A deadline per request would cost each of them a heap operation, so the sessions only note when something happened
last and one task walks over them, often enough for the shortest limit. With no limit configured it does not run.

Used by: composition.assembly (makes it), app (runs it).
"""

from __future__ import annotations

from math import inf

import trio
from attrs import define

from helios_trio.config.timeouts import Timeouts
from helios_trio.errors import HeliosError, TimedOut
from helios_trio.proxy.serving import Proxy
from helios_trio.proxy.session import Ending, Session
from helios_trio.session.requests import Need

#: How often sessions are looked at: a tenth of the shortest limit, within these bounds (seconds).
_OFTEN, _SELDOM = 0.05, 1.0


def verdict(session: Session, limits: Timeouts, now: float) -> HeliosError | None:
    """Why the session must end, if it must."""
    quiet_for = now - session.active_since
    if session.idle:
        if quiet_for >= limits.idle:
            return TimedOut("terminating connection due to idle-session timeout", sqlstate="57P05")
    elif session.in_transaction:
        if quiet_for >= limits.idle_in_transaction:
            return TimedOut("terminating connection due to idle-in-transaction timeout", sqlstate="25P03")
    elif session.requests.need is Need.STANDSTILL:
        return None  # it is the proxy that makes it wait, and has a limit for that (`proxy.pausing`)
    elif not session.waiting and quiet_for >= limits.query:
        return TimedOut("canceling statement due to query timeout", sqlstate="57014")
    return None


@define
class Watchdog:
    """Ends sessions that take too long. `limits` is replaced by a reload."""

    proxy: Proxy
    limits: Timeouts

    @property
    def shortest(self) -> float:
        """The shortest limit (seconds), infinity when there is none."""
        return min(self.limits.idle, self.limits.idle_in_transaction, self.limits.query)

    async def run(self) -> None:
        """Walk over the sessions until cancelled."""
        while True:
            if self.shortest < inf:
                self.look(trio.current_time())
                await trio.sleep(min(max(self.shortest / 10, _OFTEN), _SELDOM))
            else:
                await trio.sleep(_SELDOM)

    def look(self, now: float) -> None:
        """One round. What the server does for a session that ends is cancelled by the pool."""
        for session in list(self.proxy.sessions.values()):
            error = verdict(session, self.limits, now)
            if error is not None:
                session.end(Ending.TIMED_OUT, error)
