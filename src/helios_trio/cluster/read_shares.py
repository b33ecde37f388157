"""Whose reads go to a standby that is about to succeed the server of their sessions. Pure.

Writes stay where they are until a switchover; reads can go before. A share is a `Diversion` that is said of reads only:
whether a session belongs to it is decided by the same hash, so nobody's reads hop while the share grows.

Used by: migration (puts shares in force and ends them), features.routing.moved_reads (asks at each read),
composition.directing.
"""

from __future__ import annotations

from attrs import define, field

from helios_trio.cluster.placement import Diversion


@define(eq=False)
class ReadShares:
    """The shares in force in this process, the newest last."""

    in_force: list[Diversion] = field(factory=list)
    #: sessions ask here where they read; without routing nobody does
    asked: bool = False

    def divert(self, share: Diversion, *, instead_of: Diversion | None = None) -> None:
        """From the next request on; `instead_of` is the same one with another share, and ends."""
        self.end(instead_of)
        self.in_force.append(share)

    def end(self, share: Diversion | None) -> None:
        """Reads go where they would go without it."""
        self.in_force = [each for each in self.in_force if each is not share]

    def target(self, source: str, session: int, tenant: str) -> str | None:
        """The standby where a session of `source` reads; None: no share has anything to say about it."""
        for each in reversed(self.in_force):
            if each.source == source and each.takes(session, tenant):
                return each.target
        return None
