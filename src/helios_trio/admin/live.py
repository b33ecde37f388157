"""`Live`: what the admin room does all the time, and not only when somebody asks: an hour of traffic, the live stream.

Used by: admin.api (its routes), app (runs it).
"""

from __future__ import annotations

import trio
from attrs import frozen

from helios_trio.admin.operations import event_view
from helios_trio.admin.parts import Parts
from helios_trio.admin.stream_hub import Hub
from helios_trio.admin.stream_topics import topics_of
from helios_trio.admin.traffic import Traffic


@frozen
class Live:
    """See the module."""

    traffic: Traffic
    hub: Hub

    @classmethod
    def of(cls, parts: Parts) -> Live:
        """That of a proxy; nothing runs yet."""
        traffic = Traffic(parts)
        return cls(traffic, Hub(parts.events, event_view, topics_of(parts, traffic)))

    async def run(self) -> None:
        """Look, and tell, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.traffic.run)
            nursery.start_soon(self.hub.run)
