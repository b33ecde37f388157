"""The prober against servers that answer, fail, hang and come back; time is made to jump."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import psycopg
import pytest
import trio
import trio.testing
from attrs import define, field

from helios_trio.cluster.observation import REDUCED_PROBE
from helios_trio.cluster.prober import CONNECT_TIME_LIMIT, SPACING, Probes
from helios_trio.cluster.topology import TIMEOUTS_TOLERATED, Topology
from helios_trio.control import ControlConnection
from helios_trio.errors import BackendUnavailable
from helios_trio.pipeline.backend import Backend

INTERVAL, TIMEOUT = 1.0, 0.5
PRIMARY = (False, 1000, None, None, 1, "7", "18.6")
STANDBY = (True, 900, 900, 0.0, 1, "7", "18.6")
REDUCED = (False, None, None, None, None, None, "18.6")

Behaviour = Callable[["FakeServer", str], Awaitable[Sequence[Any]]]


async def answer_primary(_server: FakeServer, _query: str) -> Sequence[Any]:
    return PRIMARY


async def answer_standby(_server: FakeServer, _query: str) -> Sequence[Any]:
    return STANDBY


async def hang(_server: FakeServer, _query: str) -> Sequence[Any]:
    return await trio.sleep_forever()


async def hang_up(_server: FakeServer, _query: str) -> Sequence[Any]:
    raise psycopg.OperationalError("server closed the connection unexpectedly\nThis probably means ...")


async def keep_secrets(_server: FakeServer, query: str) -> Sequence[Any]:
    if query != REDUCED_PROBE:
        raise psycopg.errors.InsufficientPrivilege("permission denied for function pg_control_system")
    return REDUCED


@define
class FakeServer:
    """A server and the connections to it."""

    behaviour: Behaviour = answer_primary
    refusal: Exception | None = None
    #: what happens to the next query only
    once: Behaviour | None = None
    #: connecting takes until it is set
    accepting: trio.Event | None = None
    connects: int = 0
    aborted: int = 0
    queries: list[str] = field(factory=list)

    async def connect(self, _backend: Backend) -> ControlConnection:
        await trio.lowlevel.checkpoint()
        self.connects += 1
        if self.accepting is not None:
            await self.accepting.wait()
        if self.refusal is not None:
            raise self.refusal
        return cast(ControlConnection, FakeConnection(self))


@define
class FakeConnection:
    """As much of a control connection as the prober uses."""

    server: FakeServer
    cancel_grace: float = 2.0

    async def execute(self, query: str) -> FakeCursor:
        self.server.queries.append(query)
        behaviour = self.server.once or self.server.behaviour
        self.server.once = None
        return FakeCursor(await behaviour(self.server, query))

    def abort(self) -> None:
        self.server.aborted += 1


@define
class FakeCursor:
    """One row."""

    row: Sequence[Any]

    async def fetchone(self) -> Sequence[Any]:
        await trio.lowlevel.checkpoint()
        return self.row


def topology_of(*names: str) -> Topology:
    return Topology.of([Backend(name, "10.0.0.1", 5432) for name in names])


async def start(
    nursery: trio.Nursery, topology: Topology, servers: dict[str, FakeServer], interval: float = INTERVAL
) -> Probes:
    async def connect(backend: Backend) -> ControlConnection:
        return await servers[backend.name].connect(backend)

    probes = Probes(topology, connect, interval, TIMEOUT)
    await nursery.start(probes.run)
    return probes


async def test_started_when_all_were_asked(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Once it has started, the roles of all are known."""
    topology = topology_of("a", "b")
    await start(nursery, topology, {"a": FakeServer(answer_standby), "b": FakeServer()})
    assert topology.writer is topology.nodes["b"]
    assert topology.ready


async def test_one_connection_is_kept(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """Probes come at the interval, over the same connection."""
    server = FakeServer()
    await start(nursery, topology_of("a"), {"a": server})
    await trio.sleep(10.5 * INTERVAL)
    assert (server.connects, len(server.queries)) == (1, 11)


async def test_a_server_that_hangs_delays_no_other(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Each has its own task."""
    stuck, good = FakeServer(hang), FakeServer()
    topology = topology_of("stuck", "good")
    await start(nursery, topology, {"stuck": stuck, "good": good})
    await trio.sleep(10.5 * INTERVAL)
    assert len(good.queries) >= 10
    assert topology.nodes["stuck"].healthy is False
    assert topology.nodes["stuck"].reason == "no answer within 0.5 s"


async def test_hanging_becomes_unhealthy_and_recovers(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A late probe costs its connection; enough of them cost the node its health, until it answers again."""
    server = FakeServer()
    topology = topology_of("a")
    await start(nursery, topology, {"a": server})
    server.behaviour = hang
    await trio.sleep(INTERVAL + 2 * TIMEOUT)
    assert topology.ready
    assert server.aborted == 1
    await trio.sleep(INTERVAL * TIMEOUTS_TOLERATED)
    assert not topology.ready
    server.behaviour = answer_primary
    await trio.sleep(2 * INTERVAL)
    assert topology.ready
    assert topology.nodes["a"].reason == ""


async def test_server_that_hangs_up_is_unhealthy_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """On the kept connection, and then on a new one; the reason is libpq's first line."""
    server = FakeServer()
    topology = topology_of("a")
    await start(nursery, topology, {"a": server})
    server.behaviour = hang_up
    await trio.sleep(1.5 * INTERVAL)
    assert topology.nodes["a"].healthy is False
    assert topology.nodes["a"].reason == "server closed the connection unexpectedly"
    assert (server.connects, server.aborted) == (2, 2)
    server.behaviour = answer_primary
    await trio.sleep(INTERVAL)
    assert topology.ready
    assert (server.connects, server.aborted) == (3, 2)


async def test_lost_connection_is_no_sign_of_death(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Somebody may have terminated it: a new one decides, in the same probe."""
    server = FakeServer()
    topology = topology_of("a")
    told: list[bool | None] = []
    topology.observer = lambda name: told.append(topology.nodes[name].healthy)
    await start(nursery, topology, {"a": server})
    server.once = hang_up
    await trio.sleep(2.5 * INTERVAL)
    assert told == [True, True, True]
    assert (server.connects, server.aborted) == (2, 1)


async def test_slow_connect_counts_as_silence(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A server that is stopped lets nobody log in: it is down after as many probes as any that is silent."""
    server = FakeServer()
    topology = topology_of("a")
    changed: list[float] = []
    await start(nursery, topology, {"a": server})
    topology.observer = lambda name: topology.nodes[name].healthy or changed.append(trio.current_time())
    stopped_at = trio.current_time() + INTERVAL
    server.behaviour, server.accepting = hang, trio.Event()
    await trio.sleep(INTERVAL + CONNECT_TIME_LIMIT)
    assert changed[0] - stopped_at == TIMEOUT + (TIMEOUTS_TOLERATED - 1) * INTERVAL
    server.behaviour = answer_primary
    server.accepting.set()
    await trio.sleep(INTERVAL)
    assert topology.ready


async def test_probe_now_looks_over_a_new_connection(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Without waiting for the interval, and without believing the connection that was kept."""
    server = FakeServer()
    topology = topology_of("a")
    probes = await start(nursery, topology, {"a": server}, interval=3600.0)
    server.refusal = psycopg.OperationalError("connection refused")
    probes.probe_now("a")
    await trio.sleep(2 * SPACING)
    assert topology.nodes["a"].reason == "connection refused"
    server.refusal = None
    probes.probe_now("a")
    await trio.sleep(2 * SPACING)
    assert topology.ready
    assert server.connects == 3


async def test_many_suspicions_are_one_look(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """One that is under way may have begun too early to know: then there is one more."""
    server = FakeServer()
    topology = topology_of("a")
    probes = await start(nursery, topology, {"a": server}, interval=3600.0)
    await trio.sleep(1.0)
    for _ in range(100):
        probes.probe_now("a")
    await trio.sleep(1.0)
    assert server.connects == 2
    server.accepting = trio.Event()
    probes.probe_now("a")
    await trio.sleep(0.1)
    for _ in range(100):
        probes.probe_now("a")
    server.accepting.set()
    await trio.sleep(1.0)
    assert server.connects == 4


async def test_suspicion_does_not_wait_for_a_question_under_way(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A connection on which nothing comes is given up for a new one, and that is no failure yet."""
    server = FakeServer()
    topology = topology_of("a")
    probes = await start(nursery, topology, {"a": server})
    server.once = hang
    await trio.sleep(INTERVAL + TIMEOUT / 2)
    probes.probe_now("a")
    await trio.sleep(TIMEOUT / 4)
    assert (server.connects, server.aborted) == (2, 1)
    assert topology.ready
    assert topology.nodes["a"].timeouts == 0


@pytest.mark.parametrize(
    ("said", "healthy"),
    [
        ("FATAL:  sorry, too many clients already", True),
        ("FATAL:  the database system is shutting down", False),
        ("Connection refused", False),
    ],
)
async def test_server_without_room_is_asked_over_the_kept_connection(
    said: str, healthy: bool, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """What it says then it says alive; but one that is going down, or gone, is not asked over an old connection."""
    server = FakeServer()
    topology = topology_of("a")
    probes = await start(nursery, topology, {"a": server}, interval=3600.0)
    server.refusal = psycopg.OperationalError(f'connection to server at "10.0.0.1", port 5432 failed: {said}')
    probes.probe_now("a")
    await trio.sleep(1.0)
    assert topology.nodes["a"].healthy is healthy
    assert server.aborted == (not healthy)


async def test_errors_of_connecting_become_reasons(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever `connect` raises, the probes go on."""
    server = FakeServer()
    topology = topology_of("a")
    for refusal in (
        psycopg.OperationalError("connection refused"),
        BackendUnavailable("no password"),
        OSError("no route to host"),
    ):
        server.refusal = refusal
        async with trio.open_nursery() as probing:
            await start(probing, topology, {"a": server})
            assert topology.nodes["a"].healthy is False
            assert topology.nodes["a"].reason == str(refusal)
            server.refusal = None
            await trio.sleep(1.5 * INTERVAL)
            assert topology.ready
            probing.cancel_scope.cancel()


async def test_connecting_has_a_limit(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """An address that swallows packets does not hold the start up for ever."""

    async def connect(_backend: Backend) -> ControlConnection:
        return await trio.sleep_forever()

    topology = topology_of("a")
    before = trio.current_time()
    await nursery.start(Probes(topology, connect, INTERVAL, TIMEOUT).run)
    assert trio.current_time() == before + CONNECT_TIME_LIMIT
    assert topology.nodes["a"].reason == "no connection within 5 s"


async def test_refused_parts_are_not_asked_again(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A server that does not tell all is still asked for its role."""
    server = FakeServer(keep_secrets)
    topology = topology_of("a")
    await start(nursery, topology, {"a": server})
    await trio.sleep(3.5 * INTERVAL)
    assert topology.ready
    assert topology.nodes["a"].timeline is None
    assert [query == REDUCED_PROBE for query in server.queries] == [False, True, True, True, True]
    assert server.connects == 1


async def test_connections_are_closed_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is left open when it is cancelled, also in the middle of a probe."""
    idle, stuck = FakeServer(), FakeServer()
    async with trio.open_nursery() as probing:
        await start(probing, topology_of("idle", "stuck"), {"idle": idle, "stuck": stuck})
        stuck.behaviour = hang
        await trio.sleep(INTERVAL + TIMEOUT / 2)
        probing.cancel_scope.cancel()
    assert (idle.aborted, stuck.aborted) == (1, 1)
