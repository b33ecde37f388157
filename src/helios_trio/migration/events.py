"""What happened, newest first, for `/api/v1/events`: who did what, when and why. Bounded.

Used by: migration, admin (adds what operators do, shows it), features.alerts (listens).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from typing import Any, Final

import structlog
from attrs import frozen

_log = structlog.get_logger(__name__)

#: Events that are kept; the log has them all.
KEPT: Final = 1000
#: Who acts when no operator does.
PROXY: Final = "helios"


@frozen(kw_only=True)
class Event:
    """One thing that happened."""

    #: rises by one with each event of this process
    id: int
    #: seconds since 1970 (UTC)
    at: float
    #: such as `migration started`
    kind: str
    #: name of an API key, or `helios`
    who: str
    #: what it happened to: a migration, a session, a backend
    subject: str
    #: why, in the words of whoever ordered it, or of what came in the way
    reason: str = ""


Listener = Callable[[Event], None]


class EventLog:
    """The last events of this process; each is written to the log too."""

    def __init__(self, now: Callable[[], float], kept: int = KEPT) -> None:
        """`now` gives seconds since 1970 (UTC)."""
        self._now = now
        self._events: deque[Event] = deque(maxlen=kept)
        self._last = 0
        self._listeners: list[Listener] = []
        #: what listeners have not been told yet
        self._untold: deque[Event] = deque()
        self._telling = False

    def note(self, kind: str, subject: str, *, who: str = PROXY, reason: str = "", **details: Any) -> Event:
        """It happened now. `details` go to the log only."""
        self._last += 1
        event = Event(id=self._last, at=self._now(), kind=kind, who=who, subject=subject, reason=reason)
        self._events.append(event)
        _log.info(kind, subject=subject, who=who, reason=reason, **details)
        self._untold.append(event)
        if not self._telling:
            self._tell()
        return event

    def _tell(self) -> None:
        """In order of ids: where a listener notes something itself, the others hear of this first."""
        self._telling = True
        try:
            while self._untold:
                event = self._untold.popleft()
                for listener in tuple(self._listeners):
                    try:
                        listener(event)
                    except Exception:  # what happened has happened, whoever cannot bear to hear of it
                        _log.exception("a listener of events failed", kind=event.kind)
        finally:
            self._telling = False

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """`listener` hears of each new event at once, as long as this lasts. It must be fast, and must not wait."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @property
    def last_id(self) -> int:
        """Of the newest event; 0 before the first."""
        return self._last

    def since(self, id: int) -> Sequence[Event]:
        """Those after that id, oldest first, as far as they are kept."""
        newer = takewhile(lambda each: each.id > id, reversed(self._events))
        return tuple(reversed(tuple(newer)))

    def newest(self, limit: int, before: int | None = None) -> Sequence[Event]:
        """At most so many, newest first; only those before that id, to read on."""
        wanted = (each for each in reversed(self._events) if before is None or each.id < before)
        return tuple(islice(wanted, limit))
