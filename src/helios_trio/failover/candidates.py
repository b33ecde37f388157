"""Which standby succeeds a primary that died (rule 24). Pure.

What was acknowledged to clients is what a standby has received, whether it has replayed it or not; so candidates are
compared by timeline, then by what they have received, then by whether commits waited for them.

Used by: failover.succession.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from helios_trio.cluster.steward import ServerFacts

#: The right without which a standby cannot be promoted, as `ServerFacts.missing_rights` begins it.
_PROMOTE: Final = "EXECUTE on pg_promote()"


@frozen(kw_only=True)
class Standby:
    """A server that may take over, and what it says of itself."""

    name: str
    facts: ServerFacts
    #: it was connected to the old primary when that was last asked
    connected: bool = False
    #: commits of the old primary waited for it
    synchronous: bool = False
    #: of the configuration; more is preferred
    priority: int = 0

    @property
    def timeline(self) -> int:
        """The timeline it is on; 0 if it does not say."""
        return self.facts.observation.timeline or 0

    @property
    def received(self) -> int:
        """End of the WAL that it has, in bytes."""
        return self.facts.observation.position or 0

    @property
    def rank(self) -> tuple[int, int, bool, int]:
        """The highest succeeds."""
        return self.timeline, self.received, self.synchronous, self.priority


@frozen(kw_only=True)
class Ranking:
    """The candidates, best first, and why others are none."""

    candidates: Sequence[Standby]
    #: name -> why not
    unfit: dict[str, str]


def rank(standbys: Iterable[Standby], system_identifier: str | None) -> Ranking:
    """Put those in order that hold the data of the primary with that identifier, and say what is wrong with others."""
    fit, unfit = [], {}
    for each in standbys:
        if reason := what_is_wrong_with(each, system_identifier):
            unfit[each.name] = reason
        else:
            fit.append(each)
    return Ranking(candidates=sorted(fit, key=lambda each: each.rank, reverse=True), unfit=unfit)


def what_is_wrong_with(standby: Standby, system_identifier: str | None) -> str:
    """Why it cannot take over; empty when it can."""
    seen = standby.facts.observation
    if not seen.in_recovery:
        return "it is no standby"
    if system_identifier is None or seen.system_identifier != system_identifier:
        return "it is not known to hold the same data"
    if seen.position is None:
        return "it does not say how much it has received"
    if _PROMOTE in standby.facts.missing_rights:
        return f"the control user lacks {_PROMOTE}; helios setup grants it"
    return ""
