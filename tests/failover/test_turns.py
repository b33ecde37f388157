"""Rule 27: who goes first after a failover. Time is made to jump."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from attrs import define, field
from failover_world import running
from trio.testing import MockClock, Sequencer

from helios_trio.failover.pacing import Pacer
from helios_trio.failover.turns import PATIENCE, Turns
from helios_trio.pipeline.rescue import Urgency

TRANSACTION, REQUEST, NEW = Urgency


async def _nothing() -> None:
    await trio.lowlevel.checkpoint()


@define(eq=False)
class Sessions:
    """Sessions that come for their turns, and what became of them, in order."""

    turns: Turns
    came: list[str] = field(factory=list)
    times: dict[str, float] = field(factory=dict)

    async def session(
        self, name: str, urgency: Urgency, work: Callable[[], Awaitable[None]] = _nothing
    ) -> None:
        with self.turns.precedence(urgency):
            await self.turns.come(urgency)
            self.came.append(name)
            self.times[name] = trio.current_time()
            await work()
        self.came.append(f"{name} done")

    async def hang(self) -> None:
        await trio.sleep(10 * PATIENCE)


@pytest.fixture
def sessions(autojump_clock: MockClock) -> Sessions:
    return Sessions(Turns(Pacer(concurrency=1, interval=0.01)))


async def test_rule_27_the_most_urgent_go_first(autojump_clock: MockClock, sessions: Sessions) -> None:
    """Whatever the order in which they ask: the less urgent go when the more urgent are through."""
    async with trio.open_nursery() as nursery:
        for number in range(3):
            for urgency in (NEW, REQUEST, TRANSACTION):
                nursery.start_soon(sessions.session, f"{urgency.name} {number}", urgency)
    ranks = [each.split()[0] for each in sessions.came]
    assert ranks == ["TRANSACTION"] * 6 + ["REQUEST"] * 6 + ["NEW"] * 6


async def test_rule_27_a_transaction_is_over_before_others_begin(
    autojump_clock: MockClock, sessions: Sessions
) -> None:
    """Not only begun: the others might change what it reads."""

    async def work() -> None:
        await trio.sleep(PATIENCE / 2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sessions.session, "new", NEW)
        nursery.start_soon(sessions.session, "request", REQUEST)
        nursery.start_soon(sessions.session, "transaction", TRANSACTION, work)
    assert sessions.came == [
        *("transaction", "transaction done"),
        *("request", "request done"),
        *("new", "new done"),
    ]


async def test_nobody_waits_for_long(autojump_clock: MockClock, sessions: Sessions) -> None:
    """A transaction that hangs, say on a lock, holds nobody up for longer than that."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sessions.session, "transaction", TRANSACTION, sessions.hang)
        for number in range(5):
            nursery.start_soon(sessions.session, f"new {number}", NEW)
    assert sessions.came[-1] == "transaction done"
    later = [sessions.times[f"new {number}"] - began for number in range(5)]
    assert min(later) >= PATIENCE
    assert max(later) < PATIENCE + 6 * 0.01 + 1e-9


async def test_late_transactions_overtake(autojump_clock: MockClock, sessions: Sessions) -> None:
    """A line of others is no reason for them to wait."""
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(sessions.session, f"request {number}", REQUEST)
        await trio.sleep(0.055)
        nursery.start_soon(sessions.session, "transaction", TRANSACTION)
    begun = [each for each in sessions.came if "done" not in each]
    assert 6 <= begun.index("transaction") <= 8


async def test_the_others_go_on_when_a_session_ends_without_its_turn(
    autojump_clock: MockClock, sessions: Sessions
) -> None:
    """Its client has gone, say."""
    sequence = Sequencer()
    turns = sessions.turns

    async def leaves() -> None:
        with turns.precedence(TRANSACTION), trio.move_on_after(0.1):
            async with sequence(0):
                pass
            await trio.sleep_forever()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaves)
        async with sequence(1):
            assert turns.any_under_way
            await sessions.session("new", NEW)
    assert 0.1 <= sessions.times["new"] - began < PATIENCE
    assert not turns.any_under_way


async def test_rule_27_new_clients_are_the_last(autojump_clock: MockClock) -> None:
    """Those of the old primary and those that come to the new one wait until transactions have been done again."""
    async with running() as rig:
        events: list[tuple[str, str]] = rig.sessions.calls
        over = trio.Event()

        async def transaction() -> None:
            with rig.controller.precedence("one", TRANSACTION):
                assert await rig.controller.settled("one", TRANSACTION) == "two"
                await trio.sleep(PATIENCE / 2)
                events.append(("replayed", "two"))
            over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(transaction)
            rig.lose()
            await over.wait()
            while ("move idle", "two") not in events:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.01)
        order = [call for call in events if call[0] in ("hold", "release", "replayed")]
        assert order == [
            *(("hold", "one"), ("hold", "two")),
            ("replayed", "two"),
            *(("release", "one"), ("release", "two")),
        ]


async def test_new_clients_are_let_in_all_the_same(autojump_clock: MockClock) -> None:
    """A transaction that hangs does not keep them out."""
    async with running() as rig, trio.open_nursery() as nursery:

        async def transaction() -> None:
            with rig.controller.precedence("one", TRANSACTION):
                await rig.controller.settled("one", TRANSACTION)
                await trio.sleep_forever()

        nursery.start_soon(transaction)
        rig.lose()
        settled = await rig.controller.settled("one")
        began = trio.current_time()
        while ("release", settled) not in rig.sessions.calls:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.01)
        assert trio.current_time() - began < 2 * PATIENCE
        nursery.cancel_scope.cancel()
