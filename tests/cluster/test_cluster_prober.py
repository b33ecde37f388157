"""The prober against servers that answer, fail, hang and come back; time is made to jump."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import psycopg
import trio
import trio.testing
from attrs import define, field

from helios_trio.cluster.observation import REDUCED_PROBE
from helios_trio.cluster.prober import CONNECT_TIME_LIMIT, watch
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
    connects: int = 0
    aborted: int = 0
    queries: list[str] = field(factory=list)

    async def connect(self, _backend: Backend) -> ControlConnection:
        await trio.lowlevel.checkpoint()
        self.connects += 1
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
        return FakeCursor(await self.server.behaviour(self.server, query))

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


async def start(nursery: trio.Nursery, topology: Topology, servers: dict[str, FakeServer]) -> None:
    async def connect(backend: Backend) -> ControlConnection:
        return await servers[backend.name].connect(backend)

    await nursery.start(watch, topology, connect, INTERVAL, TIMEOUT)


async def test_started_when_all_were_asked(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Once `watch` has started, the roles of all are known."""
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


async def test_lost_connection_is_unhealthy_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """The reason is libpq's first line; a new connection is made for the next probe."""
    server = FakeServer()
    topology = topology_of("a")
    await start(nursery, topology, {"a": server})
    server.behaviour = hang_up
    await trio.sleep(1.5 * INTERVAL)
    assert topology.nodes["a"].healthy is False
    assert topology.nodes["a"].reason == "server closed the connection unexpectedly"
    server.behaviour = answer_primary
    await trio.sleep(INTERVAL)
    assert topology.ready
    assert (server.connects, server.aborted) == (2, 1)


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
    await nursery.start(watch, topology, connect, INTERVAL, TIMEOUT)
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
    """Nothing is left open when `watch` is cancelled, also in the middle of a probe."""
    idle, stuck = FakeServer(), FakeServer()
    async with trio.open_nursery() as probing:
        await start(probing, topology_of("idle", "stuck"), {"idle": idle, "stuck": stuck})
        stuck.behaviour = hang
        await trio.sleep(INTERVAL + TIMEOUT / 2)
        probing.cancel_scope.cancel()
    assert (idle.aborted, stuck.aborted) == (1, 1)
