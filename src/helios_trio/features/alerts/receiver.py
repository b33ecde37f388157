"""Delivers alerts to one receiver, in order, in a task of its own: a dead one delays no other, nor anybody else.

Used by: features.alerts.service.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Final

import structlog
import trio
from attrs import define, field, frozen

from helios_trio.features.alerts.alert import Alert
from helios_trio.features.alerts.pacing import FIRST, pause
from helios_trio.features.alerts.targets import Target
from helios_trio.net.post import Answer, Poster, open_poster

_log = structlog.get_logger(__name__)

#: Seconds after which a file of authorities that cannot be read is read again.
_FILE_RETRY: Final = 60.0
#: Seconds for what still waits when the proxy ends.
FAREWELL: Final = 3.0


@define
class AlertCounters:
    """What became of the alerts for one receiver, since the start."""

    sent: int = 0
    #: refused, or not delivered in time
    failed: int = 0
    #: for which there was no room while others waited, or no time at the end
    dropped: int = 0


@frozen
class Delivery:
    """How alerts are delivered. Times in seconds."""

    #: of one attempt
    timeout: float
    #: from when an alert is raised to the last attempt
    retry_for: float
    #: alerts that wait at most
    queue_size: int
    #: authorities besides the public ones
    ca_file: Path | None = None
    #: before the second attempt, at most
    first_pause: float = FIRST


#: Opens a poster that trusts the authorities in that file, too.
Opener = Callable[[Path | None], AbstractAsyncContextManager[Poster]]


@frozen
class _Waiting:
    alert: Alert
    #: no attempt but the first is made after that
    deadline: float


@define(eq=False, kw_only=True)
class Receiver:
    """One receiver, and what waits for it."""

    name: str
    target: Target
    delivery: Delivery
    counters: AlertCounters
    #: seconds since 1970 (UTC)
    clock: Callable[[], float]
    #: from 0 to 1, another one each time
    chance: Callable[[], float]
    opener: Opener = open_poster
    #: oldest first; what is being delivered is not among them
    _queue: deque[_Waiting] = field(factory=deque, init=False)
    _current: _Waiting | None = field(default=None, init=False)
    _woken: trio.Event = field(factory=trio.Event, init=False)
    #: whether it is known that alerts are dropped: each by itself would flood the log
    _overflows: bool = field(default=False, init=False)
    #: before that moment the receiver is left alone
    _quiet_until: float = field(default=float("-inf"), init=False)

    @property
    def waiting(self) -> int:
        """Alerts that wait, the one that is being delivered not counted."""
        return len(self._queue)

    def take_from(self, other: Receiver) -> None:
        """Deliver what the other one, which has ended, has not delivered."""
        if other._current is not None:
            self._queue.append(other._current)
        self._queue.extend(other._queue)

    def give_up_all(self) -> None:
        """It has ended for good."""
        self.counters.dropped += len(self._queue) + (self._current is not None)

    def put(self, alert: Alert) -> None:
        """Deliver it as soon as possible; never waits. When there is no room the oldest one is dropped."""
        self._queue.append(_Waiting(alert, trio.current_time() + self.delivery.retry_for))
        while len(self._queue) > self.delivery.queue_size:
            dropped = self._queue.popleft()
            self.counters.dropped += 1
            if not self._overflows:
                _log.warning("alerts are dropped", receiver=self.name, first=dropped.alert.summary)
            self._overflows = True
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            try:
                async with self.opener(self.delivery.ca_file) as poster:
                    await self._deliver_all(poster)
            except (
                OSError
            ) as error:  # the file of authorities (ssl.SSLError is one), fine when it was checked
                _log.error("no alerts can be sent", receiver=self.name, error=str(error))
                await trio.sleep(_FILE_RETRY)

    async def say_the_rest(self) -> None:
        """The proxy ends: one attempt for each alert that waits, within `FAREWELL`. What is left counts as dropped."""
        if self._current is not None:
            self._queue.appendleft(self._current)
            self._current = None
        with trio.move_on_after(FAREWELL) as scope:
            scope.shield = True
            await self._send_the_rest()
        if self._queue:
            _log.warning("alerts not delivered at the end", receiver=self.name, alerts=len(self._queue))
        self.give_up_all()

    async def _send_the_rest(self) -> None:
        with suppress(OSError):  # as in `run`
            async with self.opener(self.delivery.ca_file) as poster:
                while self._queue and await self._settle(poster, self._queue[0]):
                    self._queue.popleft()

    async def _settle(self, poster: Poster, waiting: _Waiting) -> bool:
        """One attempt, and whether another one would change nothing."""
        try:
            answer = await self._attempt(poster, waiting)
        except Exception:  # a bug in telling somebody ends nothing else (rule 40)
            _log.exception("alert not delivered", receiver=self.name, alert=waiting.alert.summary)
            self.counters.failed += 1
            return True
        if answer.accepted:
            self.counters.sent += 1
        elif not answer.temporary:
            self._give_up(waiting.alert, str(answer), 1)
        return answer.accepted or not answer.temporary

    async def _attempt(self, poster: Poster, waiting: _Waiting) -> Answer:
        document = self.target.document(waiting.alert, self.clock())
        return await poster.post(document, time_limit=self.delivery.timeout)

    async def _deliver_all(self, poster: Poster) -> None:
        while True:
            while not self._queue:
                self._woken = trio.Event()
                await self._woken.wait()
            self._current = self._queue.popleft()
            try:
                await self._deliver(poster, self._current)
            except Exception:  # a bug in telling somebody ends nothing else (rule 40)
                _log.exception("alert not delivered", receiver=self.name, alert=self._current.alert.summary)
                self.counters.failed += 1
            self._current = None

    async def _deliver(self, poster: Poster, waiting: _Waiting) -> None:
        attempt = 0
        while True:
            await trio.sleep_until(self._quiet_until)
            attempt += 1
            answer = await self._attempt(poster, waiting)
            if answer.accepted:
                self.counters.sent += 1
                self._overflows = False
                return
            now = trio.current_time()
            if answer.temporary:
                self._quiet_until = now + pause(
                    attempt, self.chance(), answer.retry_after, self.delivery.first_pause
                )
            if not answer.temporary or self._quiet_until > waiting.deadline:
                self._give_up(waiting.alert, str(answer), attempt)
                return
            _log.info("alert not delivered yet", receiver=self.name, answer=str(answer), attempt=attempt)

    def _give_up(self, alert: Alert, answer: str, attempts: int) -> None:
        self.counters.failed += 1
        _log.warning(
            "alert not delivered", receiver=self.name, alert=alert.summary, answer=answer, attempts=attempts
        )
