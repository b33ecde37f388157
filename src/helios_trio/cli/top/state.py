"""`TopState`: what `helios top` knows of the proxy, and what its user has chosen to see. Pure.

Used by: cli.top.watching (tells it what comes in), cli.top.picture (draws it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from attrs import define, field

from helios_trio.cli.stream import Connected, Heard, Lost, Message
from helios_trio.cli.words import printable

#: What is asked for on the stream.
TOPICS: Final = (
    "traffic",
    "topology",
    "pools",
    "sessions",
    "migrations",
    "failover",
    "circuits",
    "events",
)
#: Topics that have a snapshot from the beginning, where they are there at all.
_SNAPSHOTS: Final = frozenset(TOPICS) - {"events"}
#: Keys that are no characters.
ESCAPE, ENTER, BACKSPACE = "escape", "enter", "backspace"

_LONGEST_FILTER: Final = 64


class Sort(StrEnum):
    """Which sessions come first."""

    BUSIEST = "busiest"
    OLDEST = "oldest"
    LONGEST_IDLE = "longest idle"
    USER = "user"
    BACKEND = "backend"

    @property
    def next(self) -> Sort:
        """The one after it, round and round."""
        every = list(Sort)
        return every[(every.index(self) + 1) % len(every)]


#: What a session does, from what is most to what is least of interest; others come between.
_BUSY: Final = ("active", "waiting for a connection", "held", "moving", "idle in transaction")


def _busyness(session: Mapping[str, Any]) -> tuple[Any, ...]:
    state = session["state"]
    rank = _BUSY.index(state) if state in _BUSY else len(_BUSY)
    # who works is of interest when it takes long; who does nothing, when that is new
    return rank, session["idle_seconds"] if rank == len(_BUSY) else -session["idle_seconds"]


_ORDERS: Final = {
    Sort.BUSIEST: _busyness,
    Sort.OLDEST: lambda each: (each["since"], each["id"]),
    Sort.LONGEST_IDLE: lambda each: (each["state"] == "active", -each["idle_seconds"]),
    Sort.USER: lambda each: (each["user"], each["database"], each["id"]),
    Sort.BACKEND: lambda each: (each["backend"], each["id"]),
}


@define
class TopState:
    """What there is to draw."""

    hello: Mapping[str, Any] | None = None
    #: newest data of each topic
    topics: dict[str, Any] = field(factory=dict)
    #: why what is shown is not of now; empty while connected
    trouble: str = "connecting"
    #: what happened to the proxy
    notice: str = ""
    #: why the list of sessions is not of now; empty when it is
    complaint: str = ""
    sessions: Sequence[Mapping[str, Any]] = ()
    #: how many there are, those that were not listed included
    total: int = 0
    sort: Sort = Sort.BUSIEST
    needle: str = ""
    #: whether the filter is being typed
    typing: bool = False

    @property
    def complete(self) -> bool:
        """Whether every topic that exists has been heard of."""
        if self.hello is None:
            return False
        return _SNAPSHOTS.intersection(self.hello.get("topics", ())) <= self.topics.keys()

    def hear(self, heard: Heard) -> None:
        """Take up what came over the stream."""
        match heard:
            case Message():
                self.topics[heard.topic] = heard.data
            case Lost():
                seconds = f"{heard.seconds:g} s"
                self.trouble = printable(f"not connected: {heard.reason}; next attempt in {seconds}")
            case Connected():
                if heard.restarted:
                    self.topics.clear()
                    self.sessions, self.total = (), 0
                    self.notice = printable(f"the proxy was restarted at {heard.hello['started_at']}")
                self.hello, self.trouble = heard.hello, ""

    def note_sessions(self, sessions: Sequence[Mapping[str, Any]], total: int) -> None:
        """The sessions are these now; there are so many altogether."""
        self.sessions, self.total, self.complaint = sessions, total, ""

    def press(self, key: str) -> bool:
        """A key; whether to go on."""
        if self.typing:
            self._type(key)
        elif key in ("q", "Q"):
            return False
        elif key == "s":
            self.sort = self.sort.next
        elif key in ("/", "f"):
            self.typing = True
        elif key == ESCAPE:
            self.needle = ""
        return True

    def _type(self, key: str) -> None:
        if key == ENTER:
            self.typing = False
        elif key == ESCAPE:
            self.typing, self.needle = False, ""
        elif key == BACKSPACE:
            self.needle = self.needle[:-1]
        elif len(key) == 1 and key.isprintable():
            self.needle = (self.needle + key)[:_LONGEST_FILTER]

    def shown(self) -> list[Mapping[str, Any]]:
        """The sessions that are looked for, in the chosen order."""
        wanted = self.needle.casefold()
        found = [each for each in self.sessions if _has(each, wanted)]
        return sorted(found, key=_ORDERS[self.sort])


def _has(session: Mapping[str, Any], wanted: str) -> bool:
    return any(wanted in session[name].casefold() for name in ("user", "database", "application_name"))
