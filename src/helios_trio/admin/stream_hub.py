"""`Hub`: one for all who look on live; each thing is read and written down once, however many they are.

A reader that is slower than what happens gets the newest picture of each topic and no events twice; one that has
fallen behind by a thousand events is dropped, because what it would see is not live any more.

Used by: admin.stream (a reader for each connection), admin.live (runs it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Final

import structlog
import trio
from attrs import define, field, frozen

from helios_trio.admin.plain import plain
from helios_trio.errors import HeliosError
from helios_trio.migration.events import Event, EventLog

_log = structlog.get_logger(__name__)

#: The topic of things that happened; all others show how things are.
EVENTS: Final = "events"
#: Seconds between looks at how things are.
PERIOD: Final = 1.0
#: Events that a reader may be behind.
BEHIND: Final = 1000
#: The first byte of a frame that is a whole text; and what stands for a length of two bytes, and of eight.
_TEXT, _TWO_BYTES, _EIGHT_BYTES = 0x81, 126, 127
#: Readers at a time.
MOST_READERS: Final = 1000


@frozen(kw_only=True)
class Topic:
    """Something that can be looked at."""

    name: str
    #: how it is now: a class as the API answers with
    read: Callable[[], Any]
    #: members that change without anything having happened, wherever they stand
    restless: frozenset[str] = frozenset()


@frozen
class Message:
    """What a reader is sent."""

    topic: str
    #: of an event; None: a picture, which the next one of its topic replaces
    id: int | None
    #: `data` as JSON
    data: str

    @property
    def text(self) -> str:
        """The whole message as JSON."""
        return f'{{"topic": "{self.topic}", "id": {json.dumps(self.id)}, "data": {self.data}}}'

    @cached_property
    def frame(self) -> bytes:
        """The same as a server sends it over a WebSocket (RFC 6455, section 5.2); made once for all readers."""
        content = self.text.encode()
        size = len(content)
        if size < _TWO_BYTES:
            return bytes((_TEXT, size)) + content
        if size < 1 << 16:
            return bytes((_TEXT, _TWO_BYTES)) + size.to_bytes(2, "big") + content
        return bytes((_TEXT, _EIGHT_BYTES)) + size.to_bytes(8, "big") + content


class TooManyReaders(HeliosError):
    """There are as many streams as there may be."""


@define(eq=False)
class Reader:
    """One who looks on: what it has not been sent yet."""

    topics: frozenset[str]
    #: takes a message at once if it can, so that no task need wake up for it; False: it waits for `next`
    take: Callable[[Message], bool] | None = None
    #: it was too slow, and hears nothing any more
    dropped: bool = False
    _pending: dict[tuple[str, int | None], Message] = field(factory=dict)
    _news: trio.Event = field(factory=trio.Event)
    _closing: bool = False

    def offer(self, message: Message) -> None:
        """Keep it until it is sent, unless it can be sent at once; a picture replaces the one before."""
        if message.topic not in self.topics or self.dropped:
            return
        if not self._pending and self.take is not None and self.take(message):
            return
        self._pending[message.topic, message.id] = message
        if len(self._pending) > BEHIND:
            self._pending.clear()
            self.dropped = True
        self._news.set()

    def close(self) -> None:
        """There is nothing more to come."""
        self._closing = True
        self._news.set()

    async def next(self) -> Message | None:
        """What is to be sent now; None: nothing any more, because of `dropped` or the proxy's end."""
        while not (self._pending or self.dropped or self._closing):
            self._news = trio.Event()
            await self._news.wait()
        if not self._pending:
            return None
        return self._pending.pop(next(iter(self._pending)))


@define(eq=False)
class Hub:
    """See the module."""

    events: EventLog
    event_view: Callable[[Event], Any]
    topics: Mapping[str, Topic]
    _readers: set[Reader] = field(factory=set)
    #: the last picture of each topic, what it is compared by, and when it was taken (Trio's clock)
    _pictures: dict[str, tuple[Message, Any, float]] = field(factory=dict)
    _closed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All topics there are."""
        return (EVENTS, *self.topics)

    async def run(self) -> None:
        """Look each second at what somebody wants to see, until cancelled."""
        with self.events.listening(self._on_event):
            while True:
                await trio.sleep(PERIOD)
                for name in self._wanted():
                    self._look(name)
                    await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """The proxy ends: let all readers go."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    @contextmanager
    def reading(self, topics: Iterable[str], after: int | None) -> Iterator[Reader]:
        """A reader of these topics: first the events after that id, if one is given, and how things are.

        Raises:
            TooManyReaders: there are as many as there may be.
        """
        if len(self._readers) >= MOST_READERS or self._closed:
            raise TooManyReaders("there are too many streams")
        reader = Reader(frozenset())
        with ExitStack() as stack:
            self._readers.add(reader)
            stack.callback(self._readers.discard, reader)
            self.choose(reader, topics)
            for event in self.events.since(after) if after is not None else ():
                reader.offer(self._message(event))
            yield reader

    def choose(self, reader: Reader, topics: Iterable[str]) -> None:
        """These topics from now on; what does not exist is left out. Begins with how things are."""
        chosen = [name for name in self.names if name in set(topics)]
        new = [name for name in chosen if name not in reader.topics and name != EVENTS]
        reader.topics = frozenset(chosen)
        for name in new:
            self._look_again(name)
            if (found := self._pictures.get(name)) is not None:
                reader.offer(found[0])

    def missed(self, after: int) -> int:
        """How many events since that one are not kept any more."""
        kept = self.events.since(after)
        first = kept[0].id if kept else self.events.last_id + 1
        return max(0, first - after - 1)

    def _wanted(self) -> list[str]:
        return [name for name in self.topics if any(name in reader.topics for reader in self._readers)]

    def _look_again(self, name: str) -> None:
        """Unless somebody has looked just now."""
        found = self._pictures.get(name)
        if found is None or trio.current_time() - found[2] >= PERIOD:
            self._look(name)

    def _look(self, name: str) -> None:
        """Take a picture; if something has changed, tell everybody."""
        topic, before = self.topics[name], self._pictures.get(name)
        try:
            data = plain(topic.read())
        except Exception:  # rule 40: one panel that cannot be drawn
            _log.exception("a topic of the stream could not be read", topic=name)
            return
        if data is None:  # there is nothing to see yet
            return
        compared = _without(data, topic.restless) if topic.restless else data
        if before is not None and before[1] == compared:
            self._pictures[name] = (before[0], compared, trio.current_time())
            return
        message = Message(name, None, json.dumps(data))
        self._pictures[name] = (message, compared, trio.current_time())
        self._tell(message)

    def _on_event(self, event: Event) -> None:
        if self._readers:
            self._tell(self._message(event))

    def _message(self, event: Event) -> Message:
        return Message(EVENTS, event.id, json.dumps(plain(self.event_view(event))))

    def _tell(self, message: Message) -> None:
        for reader in self._readers:
            reader.offer(message)


def _without(value: Any, names: frozenset[str]) -> Any:
    """`value` without members of these names."""
    if isinstance(value, dict):
        return {name: _without(each, names) for name, each in value.items() if name not in names}
    if isinstance(value, list):
        return [_without(each, names) for each in value]
    return value
