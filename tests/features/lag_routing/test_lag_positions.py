"""Servers are asked where they are: one question for all who wait, and never an answer older than the question."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio
import trio.lowlevel
import trio.testing
from attrs import define, field

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.topology import Topology
from helios_trio.errors import BackendUnavailable
from helios_trio.features.lag_routing.positions import Asker, Positions
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.freshness import Floor

BACKEND = Backend("p", "h", 1)


@define(eq=False)
class Server:
    """A control connection that answers when told to, with what is true then."""

    position: int = 0
    questions: int = 0
    fails: bool = False
    closed: bool = False
    cancel_grace: float = 2.0
    go: trio.Event = field(factory=trio.Event)
    answer: tuple[int, int] = (0, 0)

    async def connect(self, backend: Backend) -> Any:
        if self.fails:
            raise psycopg.OperationalError("nobody there")
        return self

    async def execute(self, question: str) -> Server:
        self.questions += 1
        at = self.position
        await self.go.wait()
        self.answer = (at, 1)
        return self

    async def fetchone(self) -> tuple[int, int]:
        return self.answer

    def abort(self) -> None:
        self.closed = True


async def test_who_asks_meanwhile_shares_the_next_question(nursery: trio.Nursery) -> None:
    """And not the one under way: that was put before."""
    server = Server()
    asker = Asker(BACKEND, "where?", server.connect)
    nursery.start_soon(asker.run)
    answers: list[Any] = []

    async def ask() -> None:
        answers.append((await asker.ask())[0])

    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert server.questions == 1
    server.position = 7
    for _ in range(10):
        nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert server.questions == 1
    server.go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert answers == [0] + [7] * 10
    assert server.questions == 2


async def test_a_server_that_cannot_be_asked_is_told(nursery: trio.Nursery) -> None:
    """And asked anew by the next who wants to know."""
    server = Server(fails=True)
    asker = Asker(BACKEND, "where?", server.connect)
    nursery.start_soon(asker.run)
    with pytest.raises(BackendUnavailable, match="nobody there"):
        await asker.ask()
    server.fails = False
    server.go.set()
    assert await asker.ask() == (0, 1)


async def test_a_server_that_does_not_answer_is_given_up(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Within its time; the connection is not used again."""
    server = Server()
    asker = Asker(BACKEND, "where?", server.connect)
    nursery.start_soon(asker.run)
    with pytest.raises(BackendUnavailable, match="does not answer"):
        await asker.ask()
    assert server.closed


def seen(replayed: int, received: int, timeline: int = 1, system: str = "1") -> Observation:
    return Observation(
        in_recovery=True, position=received, replayed=replayed, timeline=timeline, system_identifier=system
    )


@pytest.mark.parametrize(
    ("observation", "replayed", "flushed"),
    [
        (seen(10, 10), True, True),
        (seen(9, 10), False, True),
        (seen(9, 9), False, False),
        (seen(99, 99, timeline=2), False, False),
        (seen(99, 99, system="2"), False, False),
        (Observation(in_recovery=True), False, False),
    ],
)
def test_a_position_counts_on_its_own_timeline_only(
    observation: Observation, replayed: bool, flushed: bool
) -> None:
    """An unknown one counts as stale."""
    topology = Topology.of([Backend("s", "h", 1)])
    topology.note_answer("s", observation, 1.0)
    positions = Positions(topology, Server().connect)
    floor = Floor(position=10, timeline=1, system="1")
    assert positions.has("s", floor) is replayed
    assert positions.has("s", floor, flushed=True) is flushed


async def test_a_standby_that_does_not_answer_keeps_nobody_waiting(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Another one that has it is enough; if none says so, the wait is over before the question is."""
    topology = Topology.of([Backend("ill", "h", 1), Backend("well", "h", 2)])
    for name in ("ill", "well"):
        topology.note_answer(name, seen(1, 1), 1.0)
    servers = {"ill": Server(), "well": Server(position=10)}
    servers["well"].go.set()

    async def connect(backend: Backend) -> Any:
        return servers[backend.name]

    positions = Positions(topology, connect)
    await nursery.start(positions.run)
    floor = Floor(position=10, timeline=1, system="1")
    before = trio.current_time()
    assert await positions.look(["ill", "well"], floor)
    assert trio.current_time() == before
    assert not await positions.look(["ill"], floor)
    assert not servers["ill"].closed


@pytest.mark.parametrize("crashed", ["seen to be gone", "back with less", "deaf to questions"])
async def test_what_a_standby_had_before_it_was_started_anew_does_not_count(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, crashed: str
) -> None:
    """After a crash it lets readers in before it has come to where it was."""
    topology = Topology.of([Backend("s", "h", 1)])
    topology.note_answer("s", seen(1, 1), 1.0)
    server = Server(position=10)
    server.go.set()
    positions = Positions(topology, server.connect)
    await nursery.start(positions.run)
    floor = Floor(position=10, timeline=1, system="1")
    assert await positions.look(["s"], floor)
    if crashed == "seen to be gone":
        topology.note_failure("s", "refused", 2.0)
        positions.on_news("s")
    elif crashed == "back with less":
        topology.note_answer("s", seen(2, 2), 2.0)
        positions.on_news("s")
    else:
        server.go = trio.Event()
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(5.0):
            await positions._hear(topology.nodes["s"])
    assert not positions.has("s", floor)


def test_a_floor_means_nothing_on_another_timeline() -> None:
    """After a failover it must be asked for anew."""
    topology = Topology.of([BACKEND])
    writer = Observation(in_recovery=False, position=5, timeline=2, system_identifier="1")
    topology.note_answer("p", writer, 1.0)
    positions = Positions(topology, Server().connect)
    assert positions.is_current(Floor(position=1, timeline=2, system="1"))
    assert not positions.is_current(Floor(position=1, timeline=1, system="1"))
    assert not positions.is_current(Floor(position=1, timeline=2, system="2"))


def test_a_floor_is_written_as_postgresql_does() -> None:
    """For people."""
    assert str(Floor(position=(0x16 << 32) + 0xB374D848, timeline=1)) == "16/B374D848"
