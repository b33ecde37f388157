"""What a session has written, as the least that a standby must have before it reads there (rule 34).

Used by: features.routing.session (has one), features.routing.search.
"""

from __future__ import annotations

from attrs import define

from helios_trio.pipeline.freshness import Floor, Freshness


@define
class OwnFloor:
    """See the module. Asked for when it is needed: before the last commit it would be too low."""

    freshness: Freshness | None
    #: something may have been written since it was asked for
    wrote: bool = False
    floor: Floor | None = None

    @property
    def is_known(self) -> bool:
        """Whether nothing has been written since it was asked for. One of another timeline means nothing any more."""
        floor, freshness = self.floor, self.freshness
        if floor is not None and freshness is not None and not freshness.is_current(floor):
            self.wrote, self.floor = True, None
        return not self.wrote

    async def find(self) -> bool:
        """Ask for it, if that is to be done; returns whether it was. Raises HeliosError."""
        if self.is_known or self.freshness is None:
            return False
        self.wrote = False
        try:
            self.floor = await self.freshness.floor()
        except BaseException:
            self.wrote = True
            raise
        return True
