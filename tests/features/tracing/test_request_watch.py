"""The watch of one client: which requests there were, when they ended, and how, however the bytes came."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from relay_rig import ClientEnd, Rig, open_rig, server, settled, until

from helios_trio.config.observability import LogQueries
from helios_trio.config.words import PoolMode
from helios_trio.features.tracing.observer import ObservationPolicy, Observer, Sampler, ServedRequest
from helios_trio.features.tracing.outbox import Outbox
from helios_trio.features.tracing.requests import ClientRequest, RequestCutter, is_one_request
from helios_trio.features.tracing.watch import LOOKED_AT, RequestWatch
from helios_trio.pool.planner import PoolLimits

PARENT = "/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/"
UNWANTED = PARENT.replace("-01'", "-00'")


def batch(text: str) -> bytes:
    return server.parse(text) + server.bind() + server.execute() + server.SYNC


def watched(client: ClientEnd, **policy: object) -> Outbox[ServedRequest]:
    """Have a client's requests observed; by default all of them are."""
    traces = Outbox[ServedRequest](1000)
    settings = {"ratio": 1.0, "traces": True, **policy}
    observer = Observer(policy=ObservationPolicy(**settings), spans=traces, sampler=Sampler(lambda: 1))  # type: ignore[arg-type]
    watch = RequestWatch(client.session, observer)
    client.session.tap = watch
    client.session.watch(watch.on_received, watch.on_taken)
    return traces


async def told(box: Outbox[ServedRequest], number: int) -> list[ServedRequest]:
    await until(lambda: len(box) >= number)
    await settled()
    return box.take(1000)


def what(found: Sequence[ServedRequest]) -> list[tuple[str, str, str]]:
    return [(each.operation, each.sqlstate, each.failure) for each in found]


@pytest.fixture(params=list(PoolMode))
def mode(request: pytest.FixtureRequest) -> PoolMode:
    found: PoolMode = request.param
    return found


async def client_of(rig: Rig, mode: PoolMode) -> ClientEnd:
    connection = await rig.take() if mode is PoolMode.SESSION else None
    return rig.open_client(mode, connection=connection)


async def test_simple_and_extended(mode: PoolMode) -> None:
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        await client.ask(server.query("select 1"))
        await client.ask(batch("insert into t values (1)"))
        await client.ask(server.query(""))
        await client.ask(server.parse("select 2", "name") + server.SYNC)
        await client.ask(server.bind("name") + server.execute() + server.SYNC)
        await client.ask(
            server.bind("name") + server.execute() + server.bind("name") + server.execute() + server.SYNC
        )
        found = await told(box, 6)
        assert [each.operation for each in found] == ["SELECT", "INSERT", "", "PREPARE", "SELECT", "BATCH"]
        assert found[5].statements == 2
        assert {each.backend.name for each in found if each.backend} == {"backend"}
        assert all(each.seconds >= (each.at_backend or 0) >= 0 for each in found)


async def test_pipelined(mode: PoolMode) -> None:
    """Each has a span of its own, in order, whether it came in one piece or while another was being answered."""
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        await client.send(*[batch("select 1"), batch("insert into t values (1)")] * 20)
        await client.send(server.query("select 1"), batch("nonsense 1"), server.query("delete from t"))
        for _ in range(43):
            assert await client.until_ready()
        found = await told(box, 43)
        assert [each.operation for each in found[:40]] == ["SELECT", "INSERT"] * 20
        assert [each.operation for each in found[40:]] == ["SELECT", "", "DELETE"]
        ends = [each.ended_at for each in found]
        assert ends == sorted(ends)


async def test_errors_belong_to_their_request(mode: PoolMode) -> None:
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        await client.send(
            server.query("select 1"),
            server.query("fail"),
            batch("select 1"),
            batch("fail"),
            server.query("select 1"),
        )
        for _ in range(5):
            await client.until_ready()
        codes = [each.sqlstate for each in await told(box, 5)]
        assert codes == ["", "22012", "", "22012", ""]


async def test_split_anywhere(mode: PoolMode) -> None:
    """A byte at a time, as a network may."""
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        for byte in batch("select 1") + server.query("select 1 " + PARENT):
            await client.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        await client.until_ready()
        await client.until_ready()
        found = await told(box, 2)
        assert [each.operation for each in found] == ["SELECT", "SELECT"]
        assert [each.parent is not None for each in found] == [False, True]


async def test_parent_decides_alone() -> None:
    """Whatever the share of the others, also behind requests that nobody follows."""
    async with open_rig() as rig:
        client = rig.open_client()
        box = watched(client, ratio=0.0)
        await client.ask(server.query("select 1"))
        await client.ask(server.query(f"select 1 {PARENT}"))
        await client.ask(server.query(f"select 1 {UNWANTED}"))
        await client.ask(batch(f"insert into t values (1) {PARENT}"))
        await client.ask(server.query("select 1 /*traceparent='00-no'*/"))
        rig.servers[0].gate = trio.Event()  # it takes its time: the next follow on one that is not answered
        await client.send(server.query("select 1"))
        await settled()
        await client.send(
            server.query(f"delete from t {PARENT}"),
            server.query("select 1"),
            server.query(f"select 1 {PARENT}"),
        )
        rig.servers[0].gate.set()
        for _ in range(4):
            await client.until_ready()
        found = await told(box, 4)
        assert [each.operation for each in found] == ["SELECT", "INSERT", "DELETE", "SELECT"]
        for each in found:
            assert each.trace_id == "0af7651916cd43dd8448eb211c80319c"
            assert each.parent is not None
            assert each.parent.span_id == "b7ad6b7169203331"


async def test_stale_parents_are_ignored() -> None:
    """A statement that was prepared within another trace is not part of it any more when it is executed."""
    async with open_rig() as rig:
        client = rig.open_client()
        box = watched(client)
        await client.ask(
            server.parse(f"select 1 {PARENT}", "name") + server.bind("name") + server.execute() + server.SYNC
        )
        await client.ask(server.bind("name") + server.execute() + server.SYNC)
        first, second = await told(box, 2)
        assert first.parent is not None
        assert second.parent is None
        assert second.trace_id != first.trace_id


async def test_share_of_requests_is_drawn() -> None:
    """About as many as asked for; the others are not even followed."""
    async with open_rig() as rig:
        client = rig.open_client()
        box = watched(client, ratio=0.25)
        for _ in range(200):
            await client.ask(server.query("select 1"))
            await client.ask(batch("select 1"))
        assert 60 <= len(await told(box, 60)) <= 140


async def test_waiting_for_a_connection() -> None:
    """It is told apart from the time at the server."""
    async with open_rig(PoolLimits(1)) as rig:
        first, second = rig.open_client(), rig.open_client()
        watched(first)
        box = watched(second)
        await first.ask(server.query("begin"))
        await second.send(server.query("select 1"))
        await until(lambda: second.session.waiting)
        await first.ask(server.query("commit"))
        await second.until_ready()
        (found,) = await told(box, 1)
        assert found.waited > 0
        assert found.at_backend is not None
        assert found.waited + found.at_backend <= found.seconds


async def test_client_that_leaves(mode: PoolMode) -> None:
    """What was not answered ends with its session, and why."""
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        await client.ask(server.query("select 1"))
        rig.servers[0].gate = trio.Event()
        await client.send(server.query("select 1"), b"Q\0\0\0\x20sel")
        await settled()
        client.socket.close()
        found = await told(box, 2)
        assert what(found) == [("SELECT", "", ""), ("SELECT", "", "client lost")]


async def test_server_that_leaves(mode: PoolMode) -> None:
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        await client.ask(server.query("select 1"))
        rig.servers[0].gate = trio.Event()
        await client.send(server.query("select 1"))
        await settled()
        rig.servers[0].close()
        found = await told(box, 2)
        assert what(found)[1] == ("SELECT", "08006", "server lost")


@pytest.mark.parametrize("rows", [1, 5000])
async def test_long_answers(rows: int, mode: PoolMode) -> None:
    """Their rows are not looked at, but for the first; the end is found all the same, and so is the next request."""
    async with open_rig(shared=mode is not PoolMode.SESSION) as rig:
        client = await client_of(rig, mode)
        box = watched(client)
        await client.ask(server.query("select 1"))
        rig.servers[0].model.rows = rows
        answer = await client.ask(server.query("select 1"))
        assert (sum(map(len, answer)) > LOOKED_AT) is (rows > 1)
        await client.send(server.query("select 1"), batch("select 1"))
        await client.until_ready()
        await client.until_ready()
        rig.servers[0].model.rows = 1
        await client.ask(server.query("fail"))
        found = await told(box, 5)
        assert [each.sqlstate for each in found] == ["", "", "", "", "22012"]


async def test_copy_by_the_extended_protocol() -> None:
    """The server ignores the Sync behind the Execute; the one behind the data ends the request."""
    async with open_rig() as rig:
        client = rig.open_client()
        box = watched(client)
        await client.send(batch("copy t from stdin"))
        while (await client.receive())[:1] != b"G":
            pass
        await client.ask(server.message("d", b"1\n"), server.message("c"), server.SYNC)
        await client.ask(server.query("select 1"))
        assert [each.operation for each in await told(box, 2)] == ["COPY", "SELECT"]


async def test_log_follows_all() -> None:
    """Slow ones are known only at their end."""
    async with open_rig() as rig:
        client = rig.open_client()
        log = Outbox[ServedRequest](10)
        observer = Observer(policy=ObservationPolicy(log=LogQueries.SLOW, threshold=3600.0), log=log)
        watch = RequestWatch(client.session, observer)
        client.session.tap = watch
        client.session.watch(watch.on_received, watch.on_taken)
        await client.ask(server.query("select 1"))
        await settled()
        assert not log.take(10)
        observer.policy = ObservationPolicy(log=LogQueries.SLOW, threshold=0.0)
        await client.ask(server.query("select 'a literal'"))
        (found,) = await told(log, 1)
        assert found.facts is not None
        assert found.facts.normalised == "select $1"
        assert (found.literal, found.trace_id) == (None, "")


def test_full_outbox_drops() -> None:
    box = Outbox[int](2)
    for n in range(5):
        box.put(n)
    assert (box.take(10), box.dropped) == ([0, 1], 3)


REQUESTS = st.lists(
    st.sampled_from(
        [
            server.query("select 1"),
            server.query("x" * 300),
            batch("select 1"),
            batch("select 2") + server.FLUSH,
            server.parse("select 1", "a") + server.FLUSH + server.bind("a") + server.SYNC,
            server.SYNC,
            server.message("F", bytes(20)),
            server.message("d", b"Q\0\0\0\5"),
        ]
    ),
    max_size=8,
)


def cut(pieces: Sequence[bytes]) -> list[tuple[bytes | None, int, bool]]:
    found: list[ClientRequest] = []

    def begin() -> ClientRequest:
        found.append(ClientRequest(0.0))
        return found[-1]

    cutter = RequestCutter(begin, lambda name: None)
    for piece in pieces:
        cutter.feed(piece)
    return [(each.text, each.executes, each.whole) for each in found]


@given(REQUESTS, st.lists(st.integers(1, 40), min_size=1))
def test_cutting_does_not_depend_on_the_pieces(requests: list[bytes], sizes: list[int]) -> None:
    data = b"".join(requests)
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    assert cut(pieces) == cut([data])


@given(st.binary(max_size=200), st.lists(st.integers(1, 9), min_size=1))
def test_nothing_that_a_client_sends_is_too_much(data: bytes, sizes: list[int]) -> None:
    cut([data[at : at + sizes[0]] for at in range(0, len(data), sizes[0])])
    is_one_request(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (server.query("select 1"), True),
        (batch("select 1"), True),
        (server.SYNC, True),
        (server.query("select 1") * 2, False),
        (batch("select 1") * 2, False),
        (batch("select 1")[:-1], False),
        (server.parse("select 1") + server.FLUSH, False),
        (server.query("select 1")[:7], False),
        (server.TERMINATE, False),
        (server.message("d", b"x") + server.SYNC, False),
        (b"Q\0\0\0", False),
        (b"P\0\0\0\1xxx", False),
    ],
)
def test_one_request(data: bytes, expected: bool) -> None:
    assert is_one_request(data) is expected
