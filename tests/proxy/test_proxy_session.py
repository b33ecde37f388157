"""Sessions on the relay: leases between transactions, back-pressure, endings (rules 1 to 5, 9, 13, 17, 37, 40)."""

from __future__ import annotations

from math import inf

import model_server as server
import pytest
import trio
import trio.testing
from relay_rig import ClientEnd, Rig, open_rig, settled, until

from helios_trio.config.words import PoolMode
from helios_trio.errors import TooManyConnections
from helios_trio.pool.planner import PoolLimits, SlotStatus
from helios_trio.proxy.session import HELD_LIMIT, Ending


def codes(frames: list[bytes]) -> str:
    """Types of messages."""
    return "".join(chr(frame[0]) for frame in frames)


def executed(rig: Rig) -> list[list[str]]:
    """What each server has run."""
    return [end.model.executed for end in rig.servers]


def sqlstate(frame: bytes) -> str:
    """Of an ErrorResponse."""
    return frame.split(b"\0C", 1)[1][:5].decode()


async def last_words(client: ClientEnd) -> list[bytes]:
    """Everything up to the end of the stream."""
    found = []
    while frame := await client.receive():
        found.append(frame)
    return found


# -- leases --------------------------------------------------------------------------------------------------


async def test_clients_share_a_connection_between_transactions() -> None:
    """Each gets its own answers, in order, over one server connection."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()
        for number in range(3):
            for client, name in ((one, "one"), (two, "two")):
                frames = await client.ask(server.query(f"select {name}{number}"))
                assert frames[1] == server.row(f"select {name}{number}")
        assert len(rig.servers) == 1


async def test_the_time_of_a_query_begins_with_it() -> None:
    """Also of the first one, and of one that comes after a long silence in which the relay's clock stood still."""
    async with open_rig(PoolLimits(1)) as rig:
        rig.connect_time = 0.01
        began = trio.current_time()
        await rig.open_client().ask(server.query("select 1"))
        (took,) = rig.pool.counters.times
        assert 0.0 <= took <= trio.current_time() - began


async def test_an_open_transaction_keeps_its_connection() -> None:
    """Whoever else wants one waits until it ends."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.query("begin"))
        await two.send(server.query("select two"))
        await until(lambda: two.session.waiting)
        await one.ask(server.query("select one"))
        assert one.session.in_transaction
        await one.ask(server.query("commit"))
        assert codes(await two.until_ready()) == "TDCZ"
        assert executed(rig) == [["begin", "select one", "commit", "select two"]]


async def test_a_batch_without_its_sync_keeps_its_connection() -> None:
    """Rule 17: an unsynced extended batch is no place to part."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.send(server.parse("select one"), server.FLUSH)
        assert await one.receive() == server.message("1")
        await two.send(server.query("select two"))
        await until(lambda: two.session.waiting)
        assert codes(await one.ask(server.bind(), server.execute(), server.SYNC)) == "2DCZ"
        assert codes(await two.until_ready()) == "TDCZ"


async def test_statement_mode_refuses_transactions() -> None:
    """By name, and the client is closed."""
    async with open_rig() as rig:
        client = rig.open_client(PoolMode.STATEMENT)
        await client.send(server.query("begin"))
        frames = await last_words(client)
        assert sqlstate(frames[-1]) == "0A000"
        assert client.session.ending is Ending.PROTOCOL


async def test_a_client_that_waits_too_long_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """Rule 37."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client(queue_timeout=3)
        await one.ask(server.query("begin"))
        await two.send(server.query("select two"))
        frames = await last_words(two)
        assert [sqlstate(frame) for frame in frames] == ["08006"]
        assert two.session.ending is Ending.REFUSED


async def test_a_full_queue_is_told() -> None:
    """Rule 37: 53300."""
    async with open_rig(PoolLimits(1, queue_max=0)) as rig:
        client = rig.open_client()
        await client.send(server.query("select x"))
        assert sqlstate((await last_words(client))[-1]) == TooManyConnections.sqlstate


async def test_what_a_client_sends_while_it_waits_is_bounded_and_kept() -> None:
    """Rules 19 and 37: beyond a limit it is not read from; then everything is sent once, in order."""
    async with open_rig(PoolLimits(1)) as rig, trio.open_nursery() as nursery:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.query("begin"))
        texts = [f"insert {number} {'x' * 1000}" for number in range(300)]
        nursery.start_soon(two.send, *map(server.query, texts))
        await until(lambda: two.session.requests.held > HELD_LIMIT)
        await settled()
        assert two.session.requests.held < HELD_LIMIT + 300_000
        assert two.session.paused
        await one.ask(server.query("rollback"))
        for _ in texts:
            assert codes(await two.until_ready()) == "CZ"
        assert executed(rig)[0][2:] == texts


async def test_something_that_lives_on_the_connection_keeps_it() -> None:
    """Rule 15: a temporary table pins, visible by name; when it is gone the connection is shared again."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client()
        first = await client.ask(server.query("select warm"))
        assert codes(first) == "TDCZ"
        rig.servers[0].model.counts = [1]
        await client.ask(server.query("create temp table t (a int)"))
        await until(lambda: client.session.virtual.pins)
        assert list(client.session.virtual.pins.values()) == [1]
        assert client.session.leased is not None
        rig.servers[0].model.counts = [0]
        await client.ask(server.query("drop table t"))
        await until(lambda: not client.session.virtual.pins)
        await client.ask(server.query("select x"))
        assert client.session.leased is None


async def test_in_session_mode_the_connection_stays() -> None:
    """For all the session's life; then it is reset for the next."""
    async with open_rig(PoolLimits(1), shared=False) as rig:
        one = rig.open_client(PoolMode.SESSION, connection=await rig.take())
        await one.ask(server.query("select one"))
        assert one.session.leased is not None
        await one.send(server.TERMINATE)
        await one.over.wait()
        two = rig.open_client(PoolMode.SESSION, connection=await rig.take())
        await two.ask(server.query("select two"))
        assert executed(rig) == [["select one", "DISCARD ALL", "select two"]]


# -- back-pressure -------------------------------------------------------------------------------------------


async def test_a_slow_reader_gets_everything_and_leaves_a_usable_connection() -> None:
    """Rule 3: its server is slowed down, and whoever has the connection next gets its answers."""
    async with open_rig(PoolLimits(1)) as rig:
        slow, next_one = rig.open_client(), rig.open_client()
        await slow.ask(server.query("select warm"))
        rig.servers[0].model.rows = 500
        text = "select " + "x" * 1000
        await slow.send(server.query(text))
        await until(lambda: slow.session.congested)
        await settled()
        assert slow.session.bytes_out < 500_000
        frames = await slow.until_ready()
        assert frames[1:501] == [server.row(text)] * 500
        assert codes(frames[501:]) == "CZ"
        rig.servers[0].model.rows = 1
        with trio.fail_after(10):
            assert codes(await next_one.ask(server.query("select next"))) == "TDCZ"


async def test_a_slow_server_slows_its_client_down() -> None:
    """Rule 3: of a large COPY no more than a piece is kept, and all of it arrives."""
    async with open_rig(PoolLimits(1)) as rig, trio.open_nursery() as nursery:
        client = rig.open_client()
        await client.send(server.query("copy t from stdin"))
        assert (await client.receive())[:1] == b"G"
        end = rig.servers[0]
        end.gate = trio.Event()
        rows = server.copy_data("x" * 1000) * 1000
        nursery.start_soon(client.send, rows, server.COPY_DONE)
        await until(lambda: client.session.paused)
        await settled()
        assert client.session.bytes_in < len(rows)
        end.gate.set()
        assert codes(await client.until_ready()) == "CZ"
        assert end.model.received.count("d") == 1000


async def test_a_copy_that_fails_early_does_not_stop_its_client() -> None:
    """The server has answered while rows are still on their way: they are thrown away, and the client goes on."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client()
        await client.send(server.query("copy t from stdin"))
        await client.receive()
        end = rig.servers[0]
        end.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, server.copy_data("x" * 1000) * 1000, server.COPY_DONE)
            await until(lambda: client.session.paused)
            await end.send(end.model.feed(server.copy_data("bad")))
            assert codes(await client.until_ready()) == "EZ"
            end.gate.set()
        assert codes(await client.ask(server.query("select x"))) == "TDCZ"


# -- prepared statements -------------------------------------------------------------------------------------


async def test_prepared_statements_work_on_any_connection() -> None:
    """Rule 9: the client's name goes with it; here it is needed on a connection that has never seen it."""
    async with open_rig(PoolLimits(2)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.parse("select one", "mine"), server.SYNC)
        await two.ask(server.query("begin"))  # keeps the first connection
        assert codes(await one.ask(server.bind("mine"), server.execute(), server.SYNC)) == "2DCZ"
        assert len(rig.servers) == 2
        assert executed(rig)[1] == ["select one"]


async def test_an_unnamed_statement_of_another_client_is_never_executed() -> None:
    """Rule 2: whatever stands there, and whatever errors came before."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.parse("select theirs"), server.SYNC)
        frames = await two.ask(server.bind(), server.execute(), server.SYNC)
        assert sqlstate(frames[0]) == "26000"
        await one.ask(server.parse("select theirs"), server.SYNC)
        await two.ask(server.bind("unknown"), server.parse("select mine"), server.SYNC)
        await two.ask(server.bind(), server.execute(), server.SYNC)
        await one.ask(server.parse("select theirs"), server.SYNC)
        await two.ask(server.parse("syntax"), server.SYNC)
        await two.ask(server.bind(), server.execute(), server.SYNC)
        assert executed(rig) == [[]]


async def test_an_unnamed_statement_survives_an_error() -> None:
    """Rule 1: PostgreSQL keeps it when something else in the batch fails, so it can be bound again."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client()
        await client.ask(server.parse("select mine"), server.bind("unknown"), server.SYNC)
        assert codes(await client.ask(server.bind(), server.execute(), server.SYNC)) == "2DCZ"
        assert executed(rig) == [["select mine"]]


# -- settings ------------------------------------------------------------------------------------------------


async def test_settings_travel_with_their_session() -> None:
    """Rule 6: each request runs with its own client's settings."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.query("set work_mem = '1MB'"))
        await two.ask(server.query("select two"))
        await one.ask(server.query("select one"))
        ran = executed(rig)[0]
        two_at, one_at = ran.index("select two"), ran.index("select one")
        assert any("work_mem" in text for text in ran[1:two_at])
        assert any("work_mem" in text and "1MB" in text for text in ran[two_at:one_at])


async def test_settings_that_are_refused_end_the_session() -> None:
    """It must not go on with another role; the client's request has not run."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client(startup={"options": "-c role=alice"})
        await rig.open_client().ask(server.query("select warm"))
        rig.servers[0].model.status = "E"  # refuses everything
        await client.send(server.query("select secret"))
        frames = await last_words(client)
        assert b"could not be restored" in frames[-1]
        assert "select secret" not in executed(rig)[0]


async def test_reported_parameters_are_passed_on_once() -> None:
    """In shared modes only what is news for this client."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client()
        await client.ask(server.query("begin"))
        await rig.servers[0].send(server.message("S", b"TimeZone\0UTC\0"))
        await rig.servers[0].send(server.message("S", b"TimeZone\0CET\0"))
        frames = await client.ask(server.query("select x"))
        assert [frame for frame in frames if frame[:1] == b"S"] == [server.message("S", b"TimeZone\0CET\0")]


# -- endings -------------------------------------------------------------------------------------------------


async def test_goodbye_frees_the_connection() -> None:
    """Idle as it is, it serves the next."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client()
        await client.ask(server.query("select x"))
        await client.send(server.TERMINATE)
        await client.over.wait()
        assert (client.session.ending, client.crash) == (Ending.TERMINATED, None)
        assert codes(await rig.open_client().ask(server.query("select y"))) == "TDCZ"
        assert len(rig.servers) == 1


async def test_goodbye_in_a_transaction_rolls_it_back() -> None:
    """Before anybody else gets the connection."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.query("begin"))
        await one.send(server.TERMINATE)
        assert codes(await two.ask(server.query("select two"))) == "TDCZ"
        if len(rig.servers) == 1:
            assert executed(rig)[0][:2] == ["begin", "ROLLBACK"]


async def test_a_request_with_its_goodbye_is_answered() -> None:
    """Rule 1: PostgreSQL reads the one before the other."""
    async with open_rig() as rig:
        client = rig.open_client()
        await client.ask(server.query("begin"))
        await client.send(server.query("select x"), server.TERMINATE)
        assert codes(await last_words(client)) == "TDCZ"
        await client.over.wait()
        assert client.session.ending is Ending.TERMINATED


async def test_a_client_that_vanishes_in_a_query_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its connection is not handed on with an answer to come."""
    async with open_rig(PoolLimits(1)) as rig:
        client = rig.open_client()
        await client.ask(server.query("select warm"))
        rig.servers[0].gate = trio.Event()
        await client.send(server.query("select never read"))
        await trio.sleep(1)
        assert not client.session.idle
        connection = next(iter(rig.pool.planner.slots))
        client.socket.close()
        await client.over.wait()
        assert client.session.ending is Ending.CLIENT_LOST
        await trio.sleep(1)
        assert connection.status is SlotStatus.CLOSED
        assert rig.cancelled == [1]
        assert codes(await rig.open_client().ask(server.query("select y"))) == "TDCZ"


async def test_a_server_that_dies_is_told_to_its_client() -> None:
    """With the reason, and only to the client whose connection it was."""
    async with open_rig(PoolLimits(2)) as rig:
        one, two = rig.open_client(), rig.open_client()
        await one.ask(server.query("begin"))
        await two.ask(server.query("begin"))
        rig.servers[0].close()
        frames = await last_words(one)
        assert sqlstate(frames[-1]) == "08006"
        assert one.session.ending is Ending.SERVER_LOST
        assert codes(await two.ask(server.query("select two"))) == "TDCZ"


async def test_what_a_dying_server_says_is_passed_on() -> None:
    """Rule 1: its own FATAL is all that the client hears."""
    async with open_rig() as rig:
        client = rig.open_client()
        await client.ask(server.query("begin"))
        fatal = server.error("57P01", "terminating connection due to administrator command", "FATAL")
        await rig.servers[0].send(fatal)
        rig.servers[0].close()
        assert await last_words(client) == [fatal]


@pytest.mark.parametrize("bad", [b"\xff\0\0\0\4", b"Q\0\0\0\0", b"Q\xff\xff\xff\xff"])
async def test_a_message_that_cannot_be_read_ends_the_session(bad: bytes) -> None:
    """Rule 5: what came before is answered, then 08P01, then the end."""
    async with open_rig() as rig:
        client = rig.open_client()
        await client.send(server.query("select x"), bad, server.query("select never"))
        frames = await last_words(client)
        assert codes(frames) == "TDCZE"
        assert sqlstate(frames[-1]) == "08P01"
        assert b"VFATAL\0" in frames[-1]
        assert executed(rig) == [["select x"]]


async def test_a_bug_stays_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 40: the client hears of an internal error, its task gets the exception, others are served."""
    async with open_rig(PoolLimits(1)) as rig:
        one, two = rig.open_client(), rig.open_client()

        def fail(data: bytes) -> bytes:
            raise ValueError("a bug")

        monkeypatch.setattr(one.session.requests, "feed", fail)
        await one.send(server.query("select one"))
        frames = await last_words(one)
        assert sqlstate(frames[-1]) == "XX000"
        await one.over.wait()
        assert one.session.ending is Ending.CRASHED
        assert one.crash is not None
        assert codes(await two.ask(server.query("select two"))) == "TDCZ"


async def test_draining_ends_idle_sessions_and_waits_for_transactions() -> None:
    """Rule 38: 57P01 between transactions, never inside one."""
    async with open_rig(PoolLimits(2)) as rig:
        idle, busy = rig.open_client(), rig.open_client()
        await idle.ask(server.query("select x"))
        await busy.ask(server.query("begin"))
        for client in (idle, busy):
            client.session.drain()
        assert [sqlstate(frame) for frame in await last_words(idle)] == ["57P01"]
        assert codes(await busy.ask(server.query("select y"))) == "TDCZ"
        await busy.send(server.query("commit"))
        frames = await last_words(busy)
        assert codes(frames) == "CZE"
        assert sqlstate(frames[-1]) == "57P01"


async def test_a_client_that_closed_its_direction_is_still_answered() -> None:
    """As by PostgreSQL: shutdown(SHUT_WR) after the last request."""
    async with open_rig() as rig:
        client = rig.open_client()
        await client.send(server.query("select x"))
        client.socket.shutdown(trio.socket.SHUT_WR)
        assert codes(await last_words(client)) == "TDCZ"
        await client.over.wait()
        assert client.session.ending in (Ending.CLIENT_LOST, Ending.TERMINATED)


async def test_a_query_whose_client_has_gone_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """After a moment: nobody may be there to read the answer."""
    async with open_rig() as rig:
        rig.gates_open = False
        client = rig.open_client()
        await client.send(server.query("select x"))
        await trio.sleep(1)
        client.socket.shutdown(trio.socket.SHUT_WR)
        await client.over.wait()
        await trio.sleep(1)
        assert rig.cancelled == [1]


async def test_waiting_and_idle_and_in_transaction_are_told_apart() -> None:
    """What the time limits and the admin pages ask."""
    async with open_rig(PoolLimits(1)) as rig:
        client, other = rig.open_client(), rig.open_client(queue_timeout=inf)
        assert client.session.idle
        await client.ask(server.query("begin"))
        assert not client.session.idle
        assert client.session.in_transaction
        await other.send(server.query("select x"))
        await until(lambda: other.session.waiting)
        assert not other.session.idle
        assert not other.session.in_transaction
        await client.ask(server.query("commit"))
        await other.until_ready()
        assert client.session.idle
        assert not client.session.in_transaction
