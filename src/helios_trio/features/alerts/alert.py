"""What somebody is told: an alert, in no receiver's form yet.

Used by: all of this feature, cli.alerting.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from helios_trio.config.alerts import Severity


class Status(StrEnum):
    """What has become of what the alert is about."""

    #: it has begun, and its end will be told
    OPEN = "open"
    #: it is over
    RESOLVED = "resolved"
    #: it has happened, and there is no end to tell
    NOTICE = "notice"


@frozen(kw_only=True)
class Alert:
    """One message about something."""

    #: never the same twice, however often its delivery is tried
    id: str
    #: the same for the beginning and the end of something: `source/server/node2`
    key: str
    status: Status
    #: of an end: that of what is over
    severity: Severity
    #: in the words of the events, such as `server is unhealthy`
    kind: str
    subject: str
    reason: str
    who: str
    #: seconds since 1970 (UTC)
    at: float
    #: how often it has happened since it was told last; of an end: and how often it had come back without being told
    times: int = 1
    #: which proxy says so
    source: str
    #: the number of the event behind it, in /api/v1/events of that proxy; 0: there is none
    event_id: int = 0
    #: ends what an earlier run of the proxy may have told; of use to a receiver only that knows alerts by their keys
    only_closes: bool = False

    @property
    def summary(self) -> str:
        """One line for people."""
        subject = f": {self.subject}" if self.subject else ""
        reason = f" ({self.reason})" if self.reason else ""
        times = f" [{self.times} times]" if self.times > 1 else ""
        return f"{self.kind}{subject}{reason}{times}"
