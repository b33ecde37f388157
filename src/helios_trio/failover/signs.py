"""What a server shows of itself when it is knocked at, and how long that is put up with. Pure: time is an argument.

A refused connection means that no postmaster is there: it is dead, at once. A server that says that it is starting up
or shutting down (57P03) is alive: when one of its processes crashes it takes all connections away and comes back by
itself. One that refuses after having said so is most likely being restarted. No answer at all means little the first
time: busy servers are silent now and then.

Used by: failover.examination (finds signs), failover.succession (has patience).
"""

from __future__ import annotations

from enum import StrEnum

from attrs import define, frozen

from helios_trio.cluster.observation import Observation


class Sign(StrEnum):
    """What a server shows of itself."""

    #: it takes writes, as far as can be seen
    ALIVE = "it is alive"
    #: it says that it takes no connections now (57P03)
    NOT_READY = "it is not ready"
    #: nobody listens there
    REFUSED = "it refuses connections"
    #: in time, or with anything but hanging up
    NO_ANSWER = "it does not answer"
    #: it is a standby, or not the server that was known
    NOT_PRIMARY = "it is no primary any more"


@frozen
class Look:
    """What one look at a server has shown."""

    sign: Sign
    #: in the words of the server or the kernel
    reason: str = ""
    #: what it said, where it said so
    observation: Observation | None = None

    def __str__(self) -> str:
        return f"{self.sign}: {self.reason}" if self.reason else self.sign.value


@define(kw_only=True)
class Patience:
    """How long signs of trouble are put up with before a standby takes over. Times in seconds."""

    #: for a server that says that it is not ready
    recovery_grace: float = 5.0
    #: for one that refuses connections after that
    restart_grace: float = 1.0
    #: times in a row without an answer
    threshold: int = 3
    #: how many of these there have been
    timeouts: int = 0
    _not_ready_since: float | None = None
    _refused_since: float | None = None

    def is_over(self, sign: Sign, now: float) -> bool:
        """One more sign; returns whether it is to be taken for the end of that primary."""
        match sign:
            case Sign.NOT_READY | Sign.NOT_PRIMARY:  # somebody who has demoted it is about to promote another
                return self._wait_for_recovery(now)
            case Sign.REFUSED:
                return self._wait_for_restart(now)
            case Sign.NO_ANSWER:
                self.timeouts += 1
                return self.timeouts >= self.threshold
            case Sign.ALIVE:
                return False

    def _wait_for_recovery(self, now: float) -> bool:
        self.timeouts, self._refused_since = 0, None
        if self._not_ready_since is None:
            self._not_ready_since = now
        return now - self._not_ready_since >= self.recovery_grace

    def _wait_for_restart(self, now: float) -> bool:
        if self._not_ready_since is None:
            return True
        if self._refused_since is None:
            self._refused_since = now
        return now - self._refused_since >= self.restart_grace
