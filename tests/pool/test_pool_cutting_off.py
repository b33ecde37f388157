"""A server that is given up: whoever has a connection loses it, whoever waits is told so, and nobody waits any more."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from relay_rig import Wish, open_rig
from test_pool_pool import Holder

from helios_trio.errors import BackendCutOff, BackendUnavailable, HeliosError
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.cutting_off import cut_off
from helios_trio.pool.planner import PoolLimits, SlotStatus, Ticket
from helios_trio.pool.refusals import turn_away
from helios_trio.wire.backend_messages import ErrorResponse
from helios_trio.wire.error_fields import ErrorFields


async def test_all_connections_are_lost_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 25: their sockets are closed, idle or at work, before anybody is told."""
    async with open_rig() as rig:
        at_work, idle = await rig.take(), await rig.take()
        rig.pool.give_back(idle)
        at_work.holder = holder = Holder()
        cut_off(rig.pool, "it is dead")
        assert [each.status for each in (at_work, idle)] == [SlotStatus.CLOSED] * 2
        assert [each.transport.closed for each in (at_work, idle)] == [True] * 2
        [error] = holder.lost
        assert isinstance(error, BackendCutOff)


async def test_nobody_waits_for_it(autojump_clock: trio.testing.MockClock) -> None:
    """Neither those who do already, nor those who come."""
    async with open_rig(PoolLimits(1)) as rig, trio.open_nursery() as nursery:
        await rig.take()
        refused = []

        async def wait() -> None:
            with pytest.raises(BackendCutOff, match="it is dead") as caught:
                await rig.take()
            refused.append(caught.value)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        cut_off(rig.pool, "it is dead")
        await trio.testing.wait_all_tasks_blocked()
        assert [each.sqlstate for each in refused] == ["57P03"]
        await wait()


async def test_what_was_being_opened_is_not_used(autojump_clock: trio.testing.MockClock) -> None:
    """It was connecting when its server was given up; what a dead server says late does not count."""
    async with open_rig(PoolLimits(1, min_connections=1)) as rig:
        rig.connect_time = 5.0
        cut_off(rig.pool, "it is dead")
        await trio.sleep(10.0)
        assert not rig.pool.planner.slots
        assert rig.pool.planner.total == 0


async def test_after_it_is_back_connections_are_opened_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However long the pauses between attempts had become."""
    async with open_rig(PoolLimits(1)) as rig:
        cut_off(rig.pool, "it is dead")
        rig.pool._retry_at = trio.current_time() + 100.0
        rig.pool.reopen()
        before = trio.current_time()
        await rig.take()
        assert trio.current_time() - before < 1.0


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_who_can_be_served_elsewhere_does_not_wait_for_a_server_that_is_gone(
    autojump_clock: trio.testing.MockClock, elsewhere: bool
) -> None:
    """All others wait until it is back, or their time is over."""
    async with open_rig(PoolLimits(1)) as rig:
        at_work = await rig.take()
        refused: list[Exception] = []
        ticket = Ticket[BackendConnection](
            Wish(), trio.current_time() + 100.0, lambda _: None, refused.append, elsewhere
        )
        rig.pool.wait(ticket)
        await trio.testing.wait_all_tasks_blocked()
        assert refused == []
        turn_away(rig.pool.planner, BackendUnavailable("gone"))
        assert [str(each) for each in refused] == (["gone"] if elsewhere else [])
        assert (ticket in rig.pool.planner.waiting) is not elsewhere
        rig.pool.withdraw(ticket)
        rig.pool.give_back(at_work)


async def test_a_server_that_says_goodbye_with_its_greeting_is_given_to_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its process was ended in that moment; whoever waits gets the next one."""
    async with open_rig(PoolLimits(1)) as rig:
        goodbye = HeliosError("terminating connection", sqlstate="57P01", severity="FATAL")
        rig.rest = ErrorResponse(ErrorFields(tuple(goodbye.fields().items()))).encode()

        async def get_well() -> None:
            await trio.testing.wait_all_tasks_blocked()
            rig.rest = b""

        async with trio.open_nursery() as nursery:
            nursery.start_soon(get_well)
            connection = await rig.take(within=30.0)
        assert connection.status is SlotStatus.ACTIVE
        assert not connection.transport.closed
        assert rig.pool.planner.slots == {connection}
        assert len(rig.servers) > 1
