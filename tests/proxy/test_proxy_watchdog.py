"""Time limits of sessions, on a clock of its own (rules 37, 4)."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import model_server as server
import pytest
import trio
import trio.testing
from relay_rig import ClientEnd, Rig, open_rig

from helios_trio.config.timeouts import Timeouts
from helios_trio.pool.planner import PoolLimits
from helios_trio.proxy.session import Ending
from helios_trio.proxy.watchdog import Watchdog


def watch(rig: Rig, limits: Timeouts) -> Watchdog:
    """A running watchdog over the sessions of the rig."""
    found = Watchdog(SimpleNamespace(sessions={}), limits)  # type: ignore[arg-type]
    rig.nursery.start_soon(found.run)
    return found


def add(watchdog: Watchdog, client: ClientEnd) -> ClientEnd:
    """It is under watch from now on."""
    watchdog.proxy.sessions[client.session.virtual.id] = client.session
    return client


async def sqlstates(client: ClientEnd) -> list[str]:
    """Of the errors a client gets up to the end."""
    found = []
    while frame := await client.receive():
        if frame[:1] == b"E":
            found.append(frame.split(b"\0C", 1)[1][:5].decode())
    return found


async def test_an_idle_session_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """57P05, counted from the last thing that happened."""
    async with open_rig() as rig:
        watchdog = watch(rig, Timeouts(idle=10))
        client = add(watchdog, rig.open_client())
        for _ in range(3):
            await trio.sleep(8)
            await client.ask(server.query("select x"))
        before = trio.current_time()
        assert await sqlstates(client) == ["57P05"]
        assert 10 <= trio.current_time() - before < 12
        assert client.session.ending is Ending.TIMED_OUT


async def test_an_idle_transaction_is_closed_and_rolled_back(autojump_clock: trio.testing.MockClock) -> None:
    """25P03; the limit of idle sessions does not count for it."""
    async with open_rig(PoolLimits(1)) as rig:
        watchdog = watch(rig, Timeouts(idle=1, idle_in_transaction=10))
        client = add(watchdog, rig.open_client())
        await client.ask(server.query("begin"))
        before = trio.current_time()
        assert await sqlstates(client) == ["25P03"]
        assert 10 <= trio.current_time() - before < 12
        other = rig.open_client()
        assert (await other.ask(server.query("select x")))[-1] == server.ready()


@pytest.mark.parametrize("clients", [1, 6])
async def test_a_request_that_takes_too_long_is_stopped(
    autojump_clock: trio.testing.MockClock, clients: int
) -> None:
    """57014 for the client, and each server is told to stop its work."""
    async with open_rig() as rig:
        rig.gates_open = False
        watchdog = watch(rig, Timeouts(idle=1, query=10))
        for _ in range(clients):
            client = add(watchdog, rig.open_client())
            await client.send(server.query("select slow"))
        await trio.sleep(5)
        assert not any(client.session.ending for client in rig.clients)
        for client in rig.clients:
            assert await sqlstates(client) == ["57014"]
        await trio.sleep(5)
        assert sorted(rig.cancelled) == list(range(1, clients + 1))


async def test_waiting_for_a_connection_is_no_request(autojump_clock: trio.testing.MockClock) -> None:
    """It has a limit of its own (queue_timeout)."""
    async with open_rig(PoolLimits(1)) as rig:
        watchdog = watch(rig, Timeouts(query=2, idle=2))
        holder, client = rig.open_client(), add(watchdog, rig.open_client())
        await holder.ask(server.query("begin"))
        await client.send(server.query("select x"))
        await trio.sleep(30)
        assert client.session.ending is None
        await holder.ask(server.query("commit"))
        assert (await client.until_ready())[-1] == server.ready()


async def test_without_limits_nobody_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    """And limits that come with a reload hold from then on."""
    async with open_rig() as rig:
        watchdog = watch(rig, Timeouts())
        assert watchdog.shortest == inf
        client = add(watchdog, rig.open_client())
        await trio.sleep(100)
        assert client.session.ending is None
        watchdog.limits = Timeouts(idle=5)
        assert await sqlstates(client) == ["57P05"]
