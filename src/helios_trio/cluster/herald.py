"""Tells whoever listens what has changed among the servers. Events are data; nothing here waits for a listener.

The topology says that it has learned something of a server, a provider that a member has come or gone; the herald
finds out what is new and tells that, once. A listener that is a function is called at once, in the order of listening,
and must not wait; one that reads from a channel may be slow, and misses what does not fit in its channel.

Used by: composition.watching (makes it, writes events down), cluster.provider_patroni (tells of members).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import trio
from attrs import define, field, frozen

from helios_trio.cluster.appointment import PrimaryStatus
from helios_trio.cluster.topology import NodeRole, Topology

#: Events that wait for a reader of a channel.
CHANNEL_SIZE: Final = 100


@frozen(kw_only=True)
class PrimaryChanged:
    """Another server is primary, or it is further with it."""

    #: None: nobody was
    before: str | None
    #: None: nobody is
    after: str | None
    status: PrimaryStatus


@frozen(kw_only=True)
class HealthChanged:
    """A server has another state."""

    name: str
    healthy: bool | None
    role: NodeRole
    #: empty when all is well; another reason alone is no news
    reason: str


@frozen(kw_only=True)
class NodeJoined:
    """The provider knows a server that it did not know."""

    name: str
    host: str
    port: int
    #: whether it is one of the configured backends; others get no traffic
    configured: bool


@frozen(kw_only=True)
class NodeLeft:
    """The provider does not know a server any more."""

    name: str
    configured: bool


TopologyEvent = PrimaryChanged | HealthChanged | NodeJoined | NodeLeft
Listener = Callable[[TopologyEvent], None]


@define(eq=False)
class Herald:
    """Knows what has been told, and to whom."""

    topology: Topology
    _listeners: list[Listener] = field(factory=list, init=False)
    #: `NodeState.standing` of each server, as it was told
    _standing: dict[str, tuple[NodeRole, bool | None, str]] = field(factory=dict, init=False)
    _primary: tuple[str | None, PrimaryStatus] = field(default=(None, PrimaryStatus.NONE), init=False)

    def __attrs_post_init__(self) -> None:
        self.topology.followers.append(self.look)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call it with every event from now on, until what this returns is called."""
        self._listeners.append(listener)

        def stop() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    @contextmanager
    def channel(self, size: int = CHANNEL_SIZE) -> Iterator[trio.MemoryReceiveChannel[TopologyEvent]]:
        """All events while the block lasts; those for which there is no room are lost."""
        send, receive = trio.open_memory_channel[TopologyEvent](size)

        def pass_on(event: TopologyEvent) -> None:
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                send.send_nowait(event)

        stop = self.listen(pass_on)
        try:
            with send, receive:
                yield receive
        finally:
            stop()

    def tell(self, event: TopologyEvent) -> None:
        """Something has happened."""
        for listener in tuple(self._listeners):
            listener(event)

    def look(self, name: str) -> None:
        """Something may have changed about that server, or about who is primary."""
        node = self.topology.nodes[name]
        if node.standing != self._standing.get(name):
            self._standing[name] = node.standing
            self.tell(HealthChanged(name=name, healthy=node.healthy, role=node.role, reason=node.reason))
        before, now = self._primary, (self.topology.primary_name, self.topology.primary_status)
        if now != before:
            self._primary = now
            self.tell(PrimaryChanged(before=before[0], after=now[0], status=now[1]))
