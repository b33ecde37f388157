"""A session that listens changes from one listener hub to another: it misses nothing and hears nothing twice (rule 13).

Two hubs listen to the same database. Their servers deliver the same notifications in the same order, only not at the
same time, so a marker that both listen to divides them: up to the marker the session hears the old hub, from the marker
on the new one. Equal notifications are all real, which is why they cannot simply be compared.

Used by: migration.transfer.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio
from attrs import define, field

from helios_trio.proxy.hub import ListenerHub, Subscriber

#: Seconds for the marker to come from the new server when it has come from the old one.
_MARKER_TIME: Final = 5.0


@define(eq=False)
class _OldSide:
    """Hears the marker at the old hub: at that moment the session stops listening there."""

    hub: ListenerHub
    session: Subscriber
    channels: frozenset[str]
    marked: trio.Event = field(factory=trio.Event)

    def on_hub_notification(self, channel: str, frame: bytes) -> None:
        self.hub.leave(self.session, self.channels)
        self.marked.set()

    def on_hub_lost(self) -> None:
        """The session has been told by the hub itself."""
        self.marked.set()


@define(eq=False)
class _NewSide:
    """Hears the new hub for the session: forgets what comes before the marker, and keeps what comes after it."""

    marker: str
    marked: trio.Event = field(factory=trio.Event)
    kept: list[tuple[str, bytes]] = field(factory=list)

    def on_hub_notification(self, channel: str, frame: bytes) -> None:
        if channel == self.marker:
            self.marked.set()
        elif self.marked.is_set():
            self.kept.append((channel, frame))

    def on_hub_lost(self) -> None:
        """Whoever waits for the marker is cancelled at the deadline of the move."""


async def hand_over(
    session: Subscriber, channels: frozenset[str], old: ListenerHub, new: ListenerHub
) -> None:
    """Let the session hear `channels` at `new` instead of `old`. Raises HeliosError; then it hears the old one."""
    if old is new or not channels:
        return
    marker = f"helios_{secrets.token_hex(8)}"
    before, after = _OldSide(old, session, channels), _NewSide(marker)
    wanted = (marker, *channels)
    try:
        await new.listen(wanted, after)
        await old.listen((marker,), before)
        await new.notify(marker)
        await before.marked.wait()
    finally:
        try:
            if before.marked.is_set():
                await _take_over(session, channels, new, after)
        finally:
            old.leave(before, frozenset((marker,)))
            new.leave(after, frozenset(wanted))


async def _take_over(
    session: Subscriber, channels: frozenset[str], new: ListenerHub, after: _NewSide
) -> None:
    """The session hears nothing at the old hub any more: there is no way back, only a limit of time."""
    with trio.move_on_after(_MARKER_TIME) as scope:
        scope.shield = True
        await after.marked.wait()
    if not after.marked.is_set():
        session.on_hub_lost()
        return
    new.join(session, channels)
    for channel, frame in after.kept:
        session.on_hub_notification(channel, frame)
