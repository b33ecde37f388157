"""The relay's epoll: who is called, how often, and who is told of a failure (rule 40)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import trio
import trio.testing
from attrs import define, field

from helios_trio.net.readiness import GONE, READ, WRITE, Readiness

Pair = tuple[socket.socket, socket.socket]


@define(eq=False)
class Handler:
    """Notes what it is told; does what the test says."""

    act: Callable[[int], object] = lambda events: None
    events: list[int] = field(factory=list)
    failures: list[Exception] = field(factory=list)

    def on_ready(self, events: int) -> None:
        self.events.append(events)
        self.act(events)

    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)


@pytest.fixture
async def readiness(nursery: trio.Nursery) -> Readiness:
    """A running one."""
    found = Readiness()
    nursery.start_soon(found.run)
    return found


@pytest.fixture
async def pairs() -> AsyncIterator[list[Pair]]:
    """Connected sockets that never wait."""
    found = [socket.socketpair() for _ in range(3)]
    for left, right in found:
        left.setblocking(False)
        right.setblocking(False)
    yield found
    for left, right in found:
        left.close()
        right.close()


def receive(ours: socket.socket, events: int) -> None:
    """Take what is there."""
    ours.recv(100)


async def until(true: Callable[[], object]) -> None:
    """Return when it is so."""
    with trio.fail_after(10):
        while not true():
            await trio.lowlevel.checkpoint()


async def test_a_handler_is_called_for_what_it_waits_for(readiness: Readiness, pairs: list[Pair]) -> None:
    """Readable, writable, gone; and nothing after it was removed."""
    ours, theirs = pairs[0]
    handler = Handler(
        lambda events: ours.recv(100) if events & READ else readiness.change(ours.fileno(), READ)
    )
    readiness.add(ours.fileno(), handler)
    theirs.send(b"hello")
    await until(lambda: handler.events)
    assert handler.events == [READ]
    readiness.change(ours.fileno(), READ | WRITE)
    await until(lambda: len(handler.events) == 2)
    assert handler.events[1] & WRITE
    readiness.change(ours.fileno(), 0)
    handler.act = lambda events: readiness.remove(ours.fileno())
    theirs.close()
    await until(lambda: len(handler.events) == 3)
    assert handler.events[2] & GONE
    assert len(readiness) == 0
    await trio.testing.wait_all_tasks_blocked()
    assert len(handler.events) == 3


async def test_a_failure_reaches_its_own_handler_only(readiness: Readiness, pairs: list[Pair]) -> None:
    """Rule 40: others in the same batch are served, and the loop lives."""

    def fail(events: int) -> None:
        pairs[1][0].recv(100)
        raise ValueError("a bug")

    handlers = []
    for number, (ours, theirs) in enumerate(pairs):
        handler = Handler(fail if number == 1 else partial(receive, ours))
        readiness.add(ours.fileno(), handler)
        handlers.append(handler)
        theirs.send(b"one")
    await until(lambda: all(handler.events for handler in handlers))
    assert [len(handler.failures) for handler in handlers] == [0, 1, 0]
    assert str(handlers[1].failures[0]) == "a bug"
    pairs[0][1].send(b"two")
    await until(lambda: len(handlers[0].events) == 2)


async def test_a_handler_removed_by_another_is_not_called(readiness: Readiness, pairs: list[Pair]) -> None:
    """Both became ready in one batch: whoever comes first closes the other."""
    handlers: list[Handler] = []
    for number in range(2):
        ours, other = pairs[number][0], pairs[1 - number][0]

        def close_other(events: int, ours: socket.socket = ours, other: socket.socket = other) -> None:
            ours.recv(100)
            readiness.remove(other.fileno())

        handlers.append(Handler(close_other))
        readiness.add(ours.fileno(), handlers[number])
    for number in range(2):
        pairs[number][1].send(b"x")
    await until(lambda: any(handler.events for handler in handlers))
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(len(handler.events) for handler in handlers) == [0, 1]


async def test_a_socket_that_is_always_ready_starves_nobody(readiness: Readiness, pairs: list[Pair]) -> None:
    """Tasks get their turns, and other sockets are served, while one never stops."""
    busy, quiet = pairs[0][0], pairs[1][0]
    never_read = Handler()
    readiness.add(busy.fileno(), never_read)
    pairs[0][1].send(b"never read")
    await until(lambda: never_read.events)
    turns = 0
    before = len(never_read.events)
    for _ in range(50):
        await trio.lowlevel.checkpoint()
        turns += 1
    between = len(never_read.events) - before
    assert turns == 50
    assert between <= 50 * 8
    other = Handler(lambda events: quiet.recv(100))
    readiness.add(quiet.fileno(), other)
    pairs[1][1].send(b"once")
    await until(lambda: other.events)


async def test_the_clock_is_read_once_per_batch(readiness: Readiness, pairs: list[Pair]) -> None:
    """`now` is Trio's time of the batch, for handlers that note when something happened."""
    before = trio.current_time()
    seen: list[float] = []
    ours, theirs = pairs[0]

    def note(events: int) -> None:
        ours.recv(100)
        seen.append(readiness.now)

    readiness.add(ours.fileno(), Handler(note))
    theirs.send(b"x")
    await until(lambda: seen)
    assert before <= seen[0] <= trio.current_time()


async def test_after_the_end_removing_is_harmless(pairs: list[Pair]) -> None:
    """Sessions are cleaned up after the relay has gone."""
    found = Readiness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.run)
        found.add(pairs[0][0].fileno(), Handler())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    found.remove(pairs[0][0].fileno())
    assert len(found) == 0


async def test_a_woken_task_gets_its_turn_and_what_follows_is_served(
    readiness: Readiness, pairs: list[Pair]
) -> None:
    """Nobody starves: a task that a handler wakes runs, and a chain of events comes to its end."""
    (ours, theirs), (other, peer), _ = pairs
    order: list[str] = []
    woken = trio.Event()

    async def wait() -> None:
        await woken.wait()
        order.append("task")

    def cause(events: int) -> None:
        ours.recv(100)
        order.append("cause")
        woken.set()

    def caused(events: int) -> None:
        other.recv(100)
        order.append("caused")
        if len(order) < 10:
            peer.send(b"again")

    readiness.add(ours.fileno(), Handler(cause))
    readiness.add(other.fileno(), Handler(caused))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        theirs.send(b"x")
    assert order == ["cause", "task"]
    peer.send(b"first")
    await until(lambda: len(order) >= 10)
    assert order[2:] == ["caused"] * 8
