"""One pool on a clock of its own: waiting, opening, resetting, closing, and cancels under way (rules 4, 37, 40)."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing
from attrs import define, field
from model_server import error, ready
from relay_rig import Rig, Wish, open_rig

from helios_trio.errors import BackendUnavailable, ServerRefused, TooManyConnections
from helios_trio.net.errors import ConnectFailed
from helios_trio.pool.connection import BackendConnection
from helios_trio.pool.planner import PoolLimits, SlotStatus, Ticket
from helios_trio.wire import replies

GERMAN = {"DateStyle": "German"}


@define(eq=False)
class Holder:
    """Holds a lease, and notes what it is told."""

    bytes_seen: bytes = b""
    ready: int = 0
    lost: list[Exception | None] = field(factory=list)
    crashes: list[Exception] = field(factory=list)
    when_ready: trio.Event = field(factory=trio.Event)
    when_lost: trio.Event = field(factory=trio.Event)

    def on_reply_bytes(self, data: bytes) -> None:
        self.bytes_seen += data

    def on_server_ready(self) -> None:
        self.ready += 1
        self.when_ready.set()

    def on_parameter(self, name: str, frame: bytes, swallowed: bool) -> bytes:
        return frame

    def on_notification(self, frame: bytes) -> bytes:
        return frame

    def on_server_error(self, frame: bytes, head: int) -> None:
        pass

    def on_server_notice(self, frame: bytes) -> None:
        pass

    def on_server_lost(self, error: Exception | None) -> None:
        self.lost.append(error)
        self.when_lost.set()

    def on_server_congested(self) -> None:
        """Nobody is read meanwhile."""

    def on_server_drained(self) -> None:
        pass

    def on_crash(self, error: Exception) -> None:
        self.crashes.append(error)
        self.when_lost.set()


async def ask(connection: BackendConnection, frame: bytes) -> Holder:
    """Send a Query and wait for its end."""
    holder = Holder()
    connection.holder = holder
    connection.side.replies.push(replies.QUERY)
    connection.send(frame)
    await holder.when_ready.wait()
    return holder


def begin() -> bytes:
    """Query that opens a transaction."""
    return b"Q\0\0\0\x0abegin\0"


async def test_a_connection_is_lent_again(autojump_clock: trio.testing.MockClock) -> None:
    """The second client uses what the first gave back."""
    async with open_rig() as rig:
        first = await rig.take()
        rig.pool.give_back(first)
        assert rig.pool.take_nowait(Wish()) is first
        assert (len(rig.servers), rig.pool.counters.opened) == (1, 1)


async def test_no_more_than_the_limit_wait_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """Who came first gets the next free connection."""
    async with open_rig(PoolLimits(1)) as rig, trio.open_nursery() as nursery:
        order: list[int] = []

        async def client(number: int) -> None:
            await trio.sleep(number)
            connection = await rig.take()
            order.append(number)
            await trio.sleep(10)
            rig.pool.give_back(connection)

        for number in range(4):
            nursery.start_soon(client, number)
        await trio.sleep(60)
        assert order == [0, 1, 2, 3]
        assert len(rig.servers) == 1


async def test_waiting_has_an_end(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 37: after its time a client is told so, and a connection that comes free later is not lent to it."""
    async with open_rig(PoolLimits(1)) as rig:
        taken = await rig.take()
        before = trio.current_time()
        with pytest.raises(BackendUnavailable, match="free in time"):
            await rig.take(within=5)
        assert 5 <= trio.current_time() - before < 6.5
        assert rig.pool.counters.timeouts == 1
        rig.pool.give_back(taken)
        assert taken.status is SlotStatus.IDLE


async def test_the_reason_of_failed_connects_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """A client that waited in vain learns why there was no server connection."""
    async with open_rig() as rig:
        rig.outcomes.extend(ConnectFailed("nobody listens there") for _ in range(1000))
        with pytest.raises(BackendUnavailable, match="nobody listens there"):
            await rig.take(within=5)


async def test_a_full_queue_refuses_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 37: 53300 with a hint."""
    async with open_rig(PoolLimits(1, queue_max=0)) as rig:
        with pytest.raises(TooManyConnections) as caught:
            await rig.take()
        assert caught.value.sqlstate == "53300"
        assert caught.value.hint


async def test_a_server_that_does_not_answer_is_not_stormed(autojump_clock: trio.testing.MockClock) -> None:
    """Attempts come less and less often, and at once when it is back no longer than the longest pause later."""
    async with open_rig(PoolLimits(10, max_connecting=1)) as rig:
        rig.outcomes.extend(ConnectFailed("refused") for _ in range(12))
        connection = await rig.take()
        pauses = [later - sooner for sooner, later in zip(rig.attempts, rig.attempts[1:], strict=False)]
        assert len(pauses) == 12
        assert all(longer >= shorter for shorter, longer in itertools.pairwise(pauses))
        assert all(0.04 <= pause <= 3.1 for pause in pauses)
        assert pauses[-1] > 1
        assert connection.status is SlotStatus.ACTIVE


async def test_after_a_success_the_pause_is_short_again(autojump_clock: trio.testing.MockClock) -> None:
    """Old failures are forgiven."""
    async with open_rig(PoolLimits(10, max_connecting=1)) as rig:
        rig.outcomes.extend(ConnectFailed("refused") for _ in range(6))
        await rig.take()
        rig.attempts.clear()
        rig.outcomes.append(ConnectFailed("refused"))
        await rig.take()
        assert rig.attempts[1] - rig.attempts[0] < 0.2


async def test_never_more_attempts_at_once_than_allowed(autojump_clock: trio.testing.MockClock) -> None:
    """A hundred clients at once are no storm on the server; yet each attempt begins as soon as another ends."""
    async with open_rig(PoolLimits(12, max_connecting=4)) as rig, trio.open_nursery() as nursery:
        rig.connect_time = 0.1
        granted: list[float] = []

        async def client() -> None:
            await rig.take()
            granted.append(trio.current_time())

        start = trio.current_time()
        for _ in range(12):
            nursery.start_soon(client)
        await trio.sleep(5)
        assert rig.most_connecting == 4
        assert len(granted) == 12
        assert granted[-1] - start < 0.5


async def test_the_minimum_is_opened_without_being_asked(autojump_clock: trio.testing.MockClock) -> None:
    """And kept when connections are idle for long; the others go."""
    async with open_rig(PoolLimits(10, 2, idle_timeout=30)) as rig:
        await trio.sleep(1)
        assert rig.pool.planner.idle == 2
        taken = [await rig.take() for _ in range(5)]
        for connection in taken:
            rig.pool.give_back(connection)
        assert rig.pool.planner.idle == 5
        await trio.sleep(60)
        assert rig.pool.planner.idle == 2


async def test_what_a_server_says_at_log_in_goes_to_all_who_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A wrong password is not cured by trying again."""
    async with open_rig(PoolLimits(1, max_connecting=1)) as rig, trio.open_nursery() as nursery:
        refused: list[str] = []

        async def client() -> None:
            with pytest.raises(ServerRefused) as caught:
                await rig.take()
            refused.append(caught.value.sqlstate)

        rig.connect_time = 1
        rig.outcomes.append(ServerRefused("no", report=b"", sqlstate="28P01"))
        for _ in range(3):
            nursery.start_soon(client)
        await trio.sleep(2)
        assert refused == ["28P01"] * 3
        assert len(rig.attempts) == 1


@pytest.mark.parametrize("sqlstate", ["57P03", "53300"])
async def test_a_server_that_is_starting_is_asked_again(
    autojump_clock: trio.testing.MockClock, sqlstate: str
) -> None:
    """ "The database system is starting up" passes; clients wait meanwhile."""
    async with open_rig() as rig:
        rig.outcomes.append(ServerRefused("starting up", report=b"", sqlstate=sqlstate))
        assert (await rig.take(within=30)).status is SlotStatus.ACTIVE


async def test_one_clients_bad_settings_refuse_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 40: a server that dislikes the start-up parameters of one says nothing about the others."""
    async with open_rig(PoolLimits(3, max_connecting=2)) as rig, trio.open_nursery() as nursery:
        rig.connect_time = 1
        rig.outcomes.append(ServerRefused("invalid value", report=b"", sqlstate="22023"))
        outcomes: dict[str, str] = {}

        async def client(name: str, wish: Wish) -> None:
            try:
                await rig.take(wish, within=30)
            except ServerRefused as refusal:
                outcomes[name] = refusal.sqlstate
            else:
                outcomes[name] = "served"

        nursery.start_soon(client, "exact", Wish(GERMAN, exact=True))
        await trio.sleep(0.5)
        nursery.start_soon(client, "plain", Wish())
        await trio.sleep(10)
        assert outcomes == {"exact": "22023", "plain": "served"}


async def test_a_client_that_withdraws_leaves_the_connection_to_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The connection opened for it becomes idle."""
    async with open_rig() as rig:
        rig.connect_time = 1

        def unexpected(_: object) -> None:
            raise AssertionError("it does not wait any more")

        ticket = Ticket[BackendConnection](Wish(), 1e9, unexpected, unexpected)
        rig.pool.wait(ticket)
        rig.pool.withdraw(ticket)
        await trio.sleep(2)
        assert rig.pool.planner.idle == 1


async def test_room_on_the_backend_is_shared(autojump_clock: trio.testing.MockClock) -> None:
    """What other pools use of the server's connections is not opened here."""
    room = 0
    async with open_rig(room=lambda: room) as rig, trio.open_nursery() as nursery:
        found: list[BackendConnection] = []

        async def client() -> None:
            found.append(await rig.take())

        nursery.start_soon(client)
        await trio.sleep(3)
        assert not rig.attempts
        assert rig.evictions
        room = 1
        await trio.sleep(3)
        assert found


# -- reset ---------------------------------------------------------------------------------------------------


async def test_a_used_connection_is_reset_before_it_is_lent(autojump_clock: trio.testing.MockClock) -> None:
    """The open transaction is rolled back and the reset query runs before the next client."""
    async with open_rig(PoolLimits(1), shared=False) as rig:
        connection = await rig.take()
        await ask(connection, begin())
        connection.side.prepared[b"helios_x"] = None
        connection.side.tainted = True
        rig.pool.give_back_used(connection)
        assert connection.status is SlotStatus.BUSY
        assert await rig.take() is connection
        assert rig.servers[0].model.executed == ["begin", "ROLLBACK", "DISCARD ALL"]
        assert (dict(connection.side.prepared), connection.side.tainted) == ({}, False)


@pytest.mark.parametrize("query", ["", "fail"])
async def test_the_reset_query_decides(autojump_clock: trio.testing.MockClock, query: str) -> None:
    """None at all hands the connection on as it is; one that fails closes it."""
    async with open_rig(PoolLimits(1), shared=False, reset_query=query) as rig:
        connection = await rig.take()
        rig.pool.give_back_used(connection)
        assert (await rig.take() is connection) is (query == "")


async def test_without_a_reset_query_used_connections_are_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`reuse = "pristine"`."""
    async with open_rig(shared=False, reset_query=None) as rig:
        connection = await rig.take()
        rig.pool.give_back_used(connection)
        assert connection.status is SlotStatus.CLOSED
        assert rig.freed == 1


async def test_a_reset_that_hangs_gives_the_connection_up(autojump_clock: trio.testing.MockClock) -> None:
    """Its time is limited, so a place in the pool is not lost for ever."""
    async with open_rig(PoolLimits(1), shared=False) as rig:
        connection = await rig.take()
        rig.servers[0].gate = trio.Event()
        rig.pool.give_back_used(connection)
        assert await rig.take() is not connection
        assert connection.status is SlotStatus.CLOSED


async def test_a_connection_that_owes_its_client_is_stopped_and_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A client that left in the middle of a query leaves no work behind, nor anything that could be handed on."""
    async with open_rig() as rig:
        connection = await rig.take()
        connection.side.replies.push(replies.QUERY)
        rig.pool.give_back_used(connection)
        assert rig.pool.take_nowait(Wish()) is None
        await trio.sleep(1)
        assert rig.cancelled == [connection.pid]
        assert connection.status is SlotStatus.CLOSED


async def test_a_server_that_is_being_stopped_is_lent_to_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Rule 4: not even when a cancel of its client ends meanwhile and the server has answered."""
    async with open_rig(PoolLimits(1)) as rig:
        connection = await rig.take()
        connection.side.replies.push(replies.QUERY)
        connection.cancels += 1
        rig.pool.discard(connection, "left in the middle")
        connection.on_bytes(error("57014", "canceling statement due to user request") + ready())
        rig.pool.cancel_closed(connection, True)
        assert rig.pool.take_nowait(Wish()) is None


async def test_a_placeholder_survives_no_reset(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 7: in session mode a connection that ever carried one is closed."""
    async with open_rig(shared=False) as rig:
        connection = await rig.take()
        connection.side.placeholders.add("app.tenant_id")
        rig.pool.give_back_used(connection)
        assert connection.status is SlotStatus.CLOSED


# -- connections that must not be handed on ------------------------------------------------------------------


async def test_an_idle_connection_that_ends_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """It is noticed at once, not by the next client."""
    async with open_rig() as rig:
        connection = await rig.take()
        rig.pool.give_back(connection)
        rig.servers[0].close()
        await trio.sleep(1)
        assert connection.status is SlotStatus.CLOSED
        assert await rig.take() is not connection


async def test_a_lost_connection_that_is_given_back_stays_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Lost between grant and use: it must not stand among the idle ones again."""
    async with open_rig() as rig:
        connection = await rig.take()
        rig.servers[0].close()
        await trio.sleep(1)
        assert connection.status is SlotStatus.CLOSED
        rig.pool.give_back(connection)
        assert rig.pool.planner.idle == 0


@pytest.mark.parametrize("fate", ["transaction", "owed", "uncertain", "fatal"])
async def test_what_is_not_idle_is_not_handed_on(autojump_clock: trio.testing.MockClock, fate: str) -> None:
    """Whatever a caller believes: an open transaction, a reply owed, doubts, a FATAL word close the connection."""
    async with open_rig() as rig:
        connection = await rig.take()
        stream = connection.side.replies
        if fate == "transaction":
            await ask(connection, begin())
        elif fate == "owed":
            stream.push(replies.QUERY)
        elif fate == "uncertain":
            stream.uncertain = True
        else:
            connection.on_bytes(error("57P01", "terminating connection", "FATAL"))
        rig.pool.give_back(connection)
        assert connection.status is SlotStatus.CLOSED


async def test_a_paused_connection_is_read_again_when_it_is_lent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The client before was slow; the next one must get its answer."""
    async with open_rig() as rig:
        connection = await rig.take()
        connection.pause()
        rig.pool.give_back(connection)
        taken = await rig.take()
        with trio.fail_after(10):
            holder = await ask(taken, b"Q\0\0\0\x0dselect x\0")
        assert holder.ready == 1


async def test_a_server_that_talks_nonsense_harms_only_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Rules 5 and 40: bytes that are no message, right behind the greeting or later, do not end the pool."""
    async with open_rig(PoolLimits(5)) as rig:
        rig.rest = b"\xff\xff\xff\xff\xff\xff"
        with pytest.raises(BackendUnavailable):
            await rig.take(within=2)
        rig.rest = b""
        connection = await rig.take(within=5)
        holder = connection.holder = Holder()
        await rig.servers[-1].send(b"\xff\xff\xff\xff\xff\xff")
        await holder.when_lost.wait()
        assert connection.status is SlotStatus.CLOSED
        assert (await rig.take(within=5)).status is SlotStatus.ACTIVE


async def test_a_bug_behind_a_grant_stays_with_its_session(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 40: what `granted` raises ends neither the pool nor whoever gave the connection back."""
    async with open_rig(PoolLimits(1)) as rig:

        def buggy(_: BackendConnection) -> None:
            raise ValueError("a bug of one session")

        rig.pool.wait(Ticket[BackendConnection](Wish(), 1e9, buggy, lambda error: None))
        await trio.sleep(1)
        assert (await rig.take(within=5)).status is SlotStatus.ACTIVE


# -- cancels -------------------------------------------------------------------------------------------------


async def test_while_a_cancel_is_under_way_nobody_gets_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Rule 4: only when the server has closed the cancel connection."""
    async with open_rig(PoolLimits(1)) as rig:
        connection = await rig.take()
        connection.cancels += 2
        rig.pool.give_back(connection)
        assert (connection.status, rig.pool.take_nowait(Wish())) == (SlotStatus.BUSY, None)
        rig.pool.cancel_closed(connection, True)
        assert connection.status is SlotStatus.BUSY
        rig.pool.cancel_closed(connection, True)
        assert rig.pool.take_nowait(Wish()) is connection


@pytest.mark.parametrize("given_back_before", [False, True])
async def test_a_cancel_without_an_end_costs_the_connection(
    autojump_clock: trio.testing.MockClock, given_back_before: bool
) -> None:
    """Rule 4: it may strike at any time later, whoever has the connection by then."""
    async with open_rig(PoolLimits(1)) as rig:
        connection = await rig.take()
        connection.cancels += 1
        if given_back_before:
            rig.pool.give_back(connection)
            rig.pool.cancel_closed(connection, False)
        else:
            rig.pool.cancel_closed(connection, False)
            rig.pool.give_back(connection)
        assert connection.status is SlotStatus.CLOSED


@pytest.mark.parametrize("succeeds", [False, True])
async def test_a_reset_under_a_cancel_waits_for_its_end(
    autojump_clock: trio.testing.MockClock, succeeds: bool
) -> None:
    """Rule 4, for a whole session that has ended: and a reset that failed is not forgotten meanwhile."""
    query = "DISCARD ALL" if succeeds else "fail"
    async with open_rig(PoolLimits(1), shared=False, reset_query=query) as rig:
        connection = await rig.take()
        connection.cancels += 1
        rig.pool.give_back_used(connection)
        await trio.sleep(1)
        assert rig.pool.take_nowait(Wish()) is None
        rig.pool.cancel_closed(connection, True)
        await trio.sleep(1)
        assert (rig.pool.take_nowait(Wish()) is connection) is succeeds


async def test_the_end_of_the_pool_closes_everything(autojump_clock: trio.testing.MockClock) -> None:
    """Idle and lent connections alike."""
    found: list[BackendConnection] = []

    async def use(rig: Rig) -> None:
        found.extend([await rig.take(), await rig.take()])
        rig.pool.give_back(found[0])

    async with open_rig() as rig:
        await use(rig)
    assert [connection.status for connection in found] == [SlotStatus.CLOSED] * 2
    assert all(connection.transport.closed for connection in found)


async def test_figures(autojump_clock: trio.testing.MockClock) -> None:
    """What the metrics read is counted where it happens."""
    async with open_rig(PoolLimits(1)) as rig:
        connection = await rig.take()
        holder = await ask(connection, b"Q\0\0\0\x0dselect x\0")
        assert holder.bytes_seen.endswith(ready())
        rig.pool.discard(connection, "because")
        counters = rig.pool.counters
        assert (counters.opened, counters.closed, counters.waits) == (1, 1, 1)
        assert counters.reasons_closed == {"because": 1}
        assert counters.bytes_to_server > 0
        assert counters.bytes_to_client == len(holder.bytes_seen)
