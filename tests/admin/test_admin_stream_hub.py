"""The hub of the live stream: pictures are taken once and replaced, events are kept, slow readers are dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, frozen

from helios_trio.admin.operations import event_view
from helios_trio.admin.stream_hub import BEHIND, MOST_READERS, Hub, Message, Reader, TooManyReaders, Topic
from helios_trio.migration.events import EventLog


@frozen
class Picture:
    value: int
    checked_at: float = 0.0


@define
class Scene:
    """Something to look at, and how often somebody has."""

    picture: Picture = Picture(1)
    looks: int = 0

    def read(self) -> Picture:
        self.looks += 1
        return self.picture


class Rig:
    def __init__(self) -> None:
        self.scene = Scene()
        self.events = EventLog(lambda: 1_800_000_000.0)
        topics = {
            "scene": Topic(name="scene", read=self.scene.read, restless=frozenset({"checked_at"})),
            "broken": Topic(name="broken", read=self._fail),
        }
        self.hub = Hub(self.events, event_view, topics)

    def _fail(self) -> Any:
        raise RuntimeError("cannot be drawn")

    @contextmanager
    def reading(self, *topics: str, after: int | None = None) -> Iterator[Reader]:
        with self.hub.reading(topics, after) as reader:
            yield reader


async def said(reader: Reader) -> list[Message]:
    """What it would be sent now."""
    found = []
    while reader._pending:
        message = await reader.next()
        assert message is not None
        found.append(message)
    return found


async def test_a_reader_begins_with_how_things_are(autojump_clock: trio.testing.MockClock) -> None:
    """And hears of changes, but not of what only looks like one."""
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.hub.run)
        with rig.reading("scene", "unknown") as reader:
            (first,) = await said(reader)
            assert json.loads(first.text) == {
                "topic": "scene",
                "id": None,
                "data": {"value": 1, "checked_at": 0.0},
            }
            rig.scene.picture = Picture(1, checked_at=5.0)
            await trio.sleep(3.5)
            assert await said(reader) == []
            rig.scene.picture = Picture(2)
            await trio.sleep(3.5)
            (second,) = await said(reader)
            assert json.loads(second.data)["value"] == 2
        nursery.cancel_scope.cancel()


async def test_nobody_looks_for_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """And once a second, however many do."""
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.hub.run)
        await trio.sleep(10.5)
        assert rig.scene.looks == 0
        with rig.reading("scene"), rig.reading("scene"), rig.reading("scene"):
            await trio.sleep(10)
        assert 10 <= rig.scene.looks <= 12
        nursery.cancel_scope.cancel()


async def test_a_slow_reader_gets_the_newest_picture() -> None:
    """Not all of them."""
    rig = Rig()
    with rig.reading("scene") as reader:
        for value in range(100):
            rig.scene.picture = Picture(value)
            rig.hub._look("scene")
        (only,) = await said(reader)
        assert json.loads(only.data)["value"] == 99


async def test_events_are_told_in_order_and_resumed() -> None:
    """From after the last one that was heard; what is not kept any more is counted."""
    rig = Rig()
    with rig.events.listening(rig.hub._on_event):
        for number in range(5):
            rig.events.note("it happened", f"number {number}")
        with rig.reading("events", after=2) as reader:
            rig.events.note("it happened", "number 5")
            assert [each.id for each in await said(reader)] == [3, 4, 5, 6]
        with rig.reading("events") as reader:
            assert await said(reader) == []
    assert rig.hub.missed(2) == 0
    for _ in range(1010):
        rig.events.note("it happened", "again")
    assert rig.hub.missed(2) == rig.events.last_id - 1000 - 2


async def test_a_reader_that_has_fallen_behind_is_dropped() -> None:
    """Nothing is kept for it any more."""
    rig = Rig()
    with rig.events.listening(rig.hub._on_event), rig.reading("events") as reader:
        for _ in range(BEHIND + 1):
            rig.events.note("it happened", "again")
        assert reader.dropped
        assert await reader.next() is None
        rig.events.note("it happened", "again")
        assert not reader._pending


async def test_other_topics_are_chosen() -> None:
    """The new ones begin with how things are."""
    rig = Rig()
    with rig.reading("events") as reader:
        rig.hub.choose(reader, ["scene"])
        assert [each.topic for each in await said(reader)] == ["scene"]
        rig.hub.choose(reader, ["scene"])
        assert await said(reader) == []


async def test_a_topic_that_fails_is_left_out() -> None:
    """The others are told."""
    rig = Rig()
    with rig.reading("broken", "scene") as reader:
        assert [each.topic for each in await said(reader)] == ["scene"]


async def test_the_end() -> None:
    """Who waits is let go; nobody comes any more."""
    rig = Rig()
    with rig.reading("events") as reader:
        async with trio.open_nursery() as nursery:
            ended: list[Message | None] = []

            async def wait() -> None:
                ended.append(await reader.next())

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            rig.hub.close()
        assert ended == [None]
    with pytest.raises(TooManyReaders), rig.reading("events"):
        pass


async def test_there_may_be_so_many() -> None:
    """One more is refused; one who leaves makes room."""
    rig = Rig()
    found = [rig.reading("events") for _ in range(MOST_READERS)]
    for each in found:
        each.__enter__()
    with pytest.raises(TooManyReaders), rig.reading("events"):
        pass
    found.pop().__exit__(None, None, None)
    with rig.reading("events"):
        pass
    for each in found:
        each.__exit__(None, None, None)


async def test_a_message_that_can_be_sent_at_once_waits_for_no_task() -> None:
    """One that cannot waits for `next`, and so do those after it: their order stays."""
    rig = Rig()
    taken: list[str] = []
    ready = True

    def take(message: Message) -> bool:
        if ready:
            taken.append(message.data)
        return ready

    with rig.reading("scene") as reader:
        await said(reader)
        reader.take = take
        for number in (1, 2):
            reader.offer(Message("events", number, str(number)))  # not a topic of its own
            reader.offer(Message("scene", None, str(number)))
        assert taken == ["1", "2"]
        ready = False
        reader.offer(Message("scene", None, "3"))
        ready = True
        reader.offer(Message("scene", None, "4"))
        assert (taken, [each.data for each in await said(reader)]) == (["1", "2"], ["4"])
        reader.offer(Message("scene", None, "5"))
        assert taken == ["1", "2", "5"]
