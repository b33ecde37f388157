"""Who is primary by the word of somebody outside of the servers: Patroni, or an operator. Pure.

none -> pending -> confirmed -> none: named, it gets nothing yet; confirmed, it gets the writes. To name another one
ends what was: from then on nobody gets writes until the new one is confirmed, so there are never two.

Used by: cluster.topology (asks who gets writes), cluster.provider_patroni, cluster.provider_manual.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import define

from helios_trio.errors import HeliosError


class PrimaryStatus(StrEnum):
    """How far it is with the primary."""

    #: nobody is known to be primary
    NONE = "none"
    #: somebody is said to be, and it is not certain yet
    PENDING = "pending"
    CONFIRMED = "confirmed"


class AppointmentRefused(HeliosError):
    """What was said of the primary does not fit what was said before, or what the servers say."""

    sqlstate = "55000"
    code = "appointment_refused"


@define
class Appointment:
    """The primary, and how far it is with it."""

    name: str | None = None
    status: PrimaryStatus = PrimaryStatus.NONE
    #: why whoever says it cannot be heard or believed now; empty when all is well
    problem: str = ""

    @property
    def confirmed(self) -> str | None:
        """Who gets the writes."""
        return self.name if self.status is PrimaryStatus.CONFIRMED else None

    @property
    def pending(self) -> str | None:
        """Who will get the writes."""
        return self.name if self.status is PrimaryStatus.PENDING else None

    def appoint(self, name: str) -> bool:
        """It is said to be the primary; returns whether that is news. The one before it gets no more writes."""
        if name == self.name:
            return False
        self.name, self.status = name, PrimaryStatus.PENDING
        return True

    def confirm(self, name: str) -> None:
        """It is certain. Raises AppointmentRefused for one that has not been named."""
        if name != self.name:
            named = f"that is {self.name}" if self.name else "nobody is"
            raise AppointmentRefused(f"{name} has not been set as the primary: {named}")
        self.status = PrimaryStatus.CONFIRMED

    def clear(self) -> bool:
        """Nobody is primary; returns whether that is news."""
        before, self.name, self.status = self.name, None, PrimaryStatus.NONE
        return before is not None
