"""The shared listener connection: who listens to what, who hears what, what its loss means (rules 4, 13, 40)."""

from __future__ import annotations

from struct import pack

import model_server as server
import pytest
import trio
from attrs import define, field
from relay_rig import Rig, ServerEnd, open_rig, settled, until

from helios_trio.config.pool import PoolSettings
from helios_trio.config.words import SslMode
from helios_trio.errors import HeliosError
from helios_trio.net.errors import ConnectFailed
from helios_trio.net.tls import ServerTLS
from helios_trio.pipeline.backend import Backend
from helios_trio.pool.connect import ServerGreeting
from helios_trio.pool.pools import Destination
from helios_trio.proxy.hub import Hubs, ListenerHub
from helios_trio.proxy.session import Ending

DESTINATION = Destination(
    Backend("backend", "localhost", 5432), "database", "user", PoolSettings(), ServerTLS(SslMode.DISABLE)
)


def notification(channel: str, payload: str = "", pid: int = 42) -> bytes:
    """A NotificationResponse."""
    return server.message("A", pack("!i", pid) + channel.encode() + b"\0" + payload.encode() + b"\0")


def virtual_pid(pid: int) -> int:
    """That of the session a server process of ours works for."""
    return pid + 1000


@define(eq=False)
class Subscriber:
    """A session that listens."""

    heard: list[tuple[str, bytes]] = field(factory=list)
    lost: int = 0

    def on_hub_notification(self, channel: str, frame: bytes) -> None:
        self.heard.append((channel, frame))

    def on_hub_lost(self) -> None:
        self.lost += 1


def hub_of(rig: Rig) -> ListenerHub:
    """A hub whose connections end in servers of the rig."""

    async def open_listener(destination: Destination) -> ServerGreeting:
        assert destination is DESTINATION
        return await rig.connect({"application_name": "listener"})

    hubs = Hubs(open_listener, rig.readiness, virtual_pid)
    rig.at_end.append(hubs.close)
    return hubs.hub_for(DESTINATION)


def listener_of(rig: Rig) -> ServerEnd:
    """The server's end of the listener connection."""
    return next(end for end in rig.servers if end.variant)


def statements(end: ServerEnd) -> list[str]:
    """What the listener connection has run."""
    return [text.lower() for text in end.model.executed]


async def test_one_connection_listens_for_all() -> None:
    """Once per channel, however many sessions want it; the last one to leave ends it."""
    async with open_rig() as rig:
        hub, one, two = hub_of(rig), Subscriber(), Subscriber()
        await hub.listen(("jobs",), one)
        await hub.listen(("jobs", "Mixed Case"), two)
        assert statements(rig.servers[0]) == ["listen jobs", 'listen "mixed case"']
        hub.leave(one, frozenset({"jobs"}))
        await settled()
        assert len(statements(rig.servers[0])) == 2
        hub.leave(two, frozenset({"jobs"}))
        await until(lambda: len(statements(rig.servers[0])) == 3)
        assert statements(rig.servers[0])[2] == "unlisten jobs"
        assert len(rig.servers) == 1


async def test_notifications_reach_those_who_asked() -> None:
    """Rule 4: with the pid of the session that sent them, as clients know it."""
    async with open_rig() as rig:
        hub, one, two = hub_of(rig), Subscriber(), Subscriber()
        await hub.listen(("jobs",), one)
        await hub.listen(("jobs", "news"), two)
        await rig.servers[0].send(
            notification("jobs", "a") + notification("news", "b") + notification("jobs", "a")
        )
        await until(lambda: len(two.heard) == 3)
        jobs = ("jobs", notification("jobs", "a", 1042))
        assert one.heard == [jobs, jobs]
        assert two.heard == [jobs, ("news", notification("news", "b", 1042)), jobs]
        assert hub.notifications == 3


async def test_the_loss_of_the_connection_is_told_to_all() -> None:
    """Rule 13: they may have missed something. The next who listens gets a new connection."""
    async with open_rig() as rig:
        hub, one, two, three = hub_of(rig), Subscriber(), Subscriber(), Subscriber()
        await hub.listen(("jobs", "news"), one)
        await hub.listen(("jobs",), two)
        rig.servers[0].close()
        await until(lambda: one.lost)
        assert (one.lost, two.lost) == (1, 1)
        await hub.listen(("jobs",), three)
        assert statements(rig.servers[1]) == ["listen jobs"]
        await rig.servers[1].send(notification("jobs"))
        await until(lambda: three.heard)
        assert one.heard == []


async def test_a_server_that_cannot_be_had_is_an_error() -> None:
    """The next attempt is free to succeed."""
    async with open_rig() as rig:
        hub, one = hub_of(rig), Subscriber()
        rig.outcomes.append(ConnectFailed("nobody listens there"))
        with pytest.raises(HeliosError, match="nobody listens there"):
            await hub.listen(("jobs",), one)
        await hub.listen(("jobs",), one)


async def test_a_loss_while_waiting_for_the_answer_is_an_error() -> None:
    """Nobody waits for ever."""
    async with open_rig() as rig:
        hub, one, raised = hub_of(rig), Subscriber(), list[HeliosError]()

        async def listen() -> None:
            try:
                await hub.listen(("jobs",), one)
            except HeliosError as error:
                raised.append(error)

        rig.gates_open = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await until(lambda: rig.servers)
            await settled()
            rig.servers[0].close()
        assert len(raised) == 1


async def test_a_refused_channel_is_an_error_and_the_hub_goes_on() -> None:
    """For instance a name that is too long."""
    async with open_rig() as rig:
        hub, one = hub_of(rig), Subscriber()
        await hub.listen(("jobs",), one)
        rig.servers[0].model.status = "E"  # refuses everything
        with pytest.raises(HeliosError):
            await hub.listen(("refused",), one)
        rig.servers[0].model.status = "I"
        await hub.listen(("news",), one)
        await rig.servers[0].send(notification("news") + notification("refused"))
        await until(lambda: hub.notifications == 2)
        assert [channel for channel, _ in one.heard] == ["news"]


async def test_a_session_that_ends_while_it_waits_is_forgotten() -> None:
    """It hears nothing any more, of none of the channels it had asked for."""
    async with open_rig() as rig:
        hub, gone, other = hub_of(rig), Subscriber(), Subscriber()
        await hub.listen(("first",), other)
        rig.servers[0].gate = trio.Event()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hub.listen, ("first", "second"), gone)
                await settled()
                scope.cancel()
        rig.servers[0].gate.set()
        await hub.listen(("third",), other)
        await rig.servers[0].send(notification("first"))
        await until(lambda: other.heard)
        assert gone.heard == []


# -- sessions behind it --------------------------------------------------------------------------------------


async def test_a_session_hears_what_it_listens_to() -> None:
    """Rule 13: from the commit of its LISTEN to that of its UNLISTEN, though it holds no connection."""
    async with open_rig() as rig:
        hub = hub_of(rig)
        client = rig.open_client(hub=hub)
        frames = await client.ask(server.query("listen jobs"))
        assert [frame[:1] for frame in frames] == [b"C", b"Z"]
        listener = listener_of(rig)
        assert [statements(end) for end in rig.servers] == [["listen jobs"]] * 2
        await listener.send(notification("jobs", "one"))
        assert await client.receive() == notification("jobs", "one", 1042)
        await client.ask(server.query("unlisten jobs"))
        await listener.send(notification("jobs", "two"))
        await until(lambda: hub.notifications == 2)
        frames = await client.ask(server.query("select x"))
        assert not [frame for frame in frames if frame[:1] == b"A"]


async def test_notifications_wait_for_the_end_of_a_transaction() -> None:
    """As PostgreSQL does it; and one that is rolled back has never listened."""
    async with open_rig() as rig:
        hub = hub_of(rig)
        client = rig.open_client(hub=hub)
        await client.ask(server.query("listen jobs"))
        listener = listener_of(rig)
        await client.ask(server.query("begin"))
        await listener.send(notification("jobs"))
        await until(lambda: hub.notifications == 1)
        assert [frame[:1] for frame in await client.ask(server.query("select x"))] == [b"T", b"D", b"C", b"Z"]
        await client.ask(server.query("commit"))
        assert (await client.receive())[:1] == b"A"


async def test_a_session_whose_listener_is_lost_is_told() -> None:
    """57P01: silence would be a lie."""
    async with open_rig() as rig:
        hub = hub_of(rig)
        client, deaf = rig.open_client(hub=hub), rig.open_client(hub=hub)
        await client.ask(server.query("listen jobs"))
        await deaf.ask(server.query("select x"))
        listener = listener_of(rig)
        listener.close()
        frame = await client.receive()
        assert b"C57P01\0" in frame
        await client.over.wait()
        assert client.session.ending is Ending.SERVER_LOST
        assert [frame[:1] for frame in await deaf.ask(server.query("select x"))] == [b"T", b"D", b"C", b"Z"]


async def test_a_session_that_ends_leaves_the_hub() -> None:
    """Its channels are given up with it."""
    async with open_rig() as rig:
        client = rig.open_client(hub=hub_of(rig))
        await client.ask(server.query("listen jobs"))
        await client.send(server.TERMINATE)
        await client.over.wait()
        await until(lambda: any("unlisten jobs" in statements(end) for end in rig.servers))
