"""Brings `helios top` together: the live stream, the list of sessions, keys, signals, and the screen.

The terminal is given back whatever ends it: a key, an error, Ctrl-C, a signal to end; Ctrl-Z gives it back meanwhile.

Used by: cli.top.command.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import trio
from attrs import define, field
from rich.console import Console
from rich.live import Live

from helios_trio.cli.client import LISTENER_HINT, AdminClient
from helios_trio.cli.stream import Heard, Stream
from helios_trio.cli.top.picture import picture
from helios_trio.cli.top.state import TOPICS, TopState
from helios_trio.cli.top.terminal import Keyboard
from helios_trio.cli.words import printable
from helios_trio.errors import HeliosError

#: Seconds between looks at the sessions.
SESSIONS_EVERY: Final = 2.0
#: Sessions that are looked at; more would cost the proxy more than they tell.
_MOST: Final = 5000
_PAGE: Final = 1000
#: Seconds within which one picture must be complete; traffic comes once a second.
_ONCE: Final = 3.0
#: Seconds between two pictures: at least, and at most.
_SHORTEST: Final = 0.2
_LONGEST: Final = 1.0
#: Exit code of what a signal has ended, without the signal's number.
_BY_SIGNAL: Final = 128


def some_sessions(api: AdminClient) -> tuple[list[Any], int]:
    """The first sessions by id, and how many there are. Raises HeliosError."""
    found: list[Any] = []
    after, total = 0, 0
    while after is not None and len(found) < _MOST:
        page = api.get("/api/v1/sessions", limit=_PAGE, after=after)
        found += page["sessions"]
        after, total = page["next"], page["total"]
    return found, total


async def _ask_sessions(api: AdminClient, state: TopState) -> None:
    """Raises HeliosError."""
    ask = partial(some_sessions, api)
    state.note_sessions(*await trio.to_thread.run_sync(ask, abandon_on_cancel=True))


# -- one picture -------------------------------------------------------------------------------------------------


async def print_once(api: AdminClient, screen: Console, width: int) -> None:
    """One picture, so many columns wide. Raises HeliosError: nobody answers, or not to us."""
    state, complete = TopState(), trio.Event()

    def hear(heard: Heard) -> None:
        state.hear(heard)
        if state.complete:
            complete.set()

    with trio.move_on_after(_ONCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Stream(api.url, api.key, TOPICS).follow, hear)
            await complete.wait()
            nursery.cancel_scope.cancel()
    if state.hello is None:
        raise HeliosError(f"no answer from {api.url} within {_ONCE:g} s", hint=LISTENER_HINT)
    await _ask_sessions(api, state)
    screen.print(picture(state, width, None, time.time()))


# -- many pictures -----------------------------------------------------------------------------------------------


async def watch(api: AdminClient, screen: Console) -> int:
    """Show it live until told to end; returns the exit code. Raises HeliosError: there is nothing to be seen."""
    live = Live(console=screen, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    receiver = trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP)
    with receiver as signals, Keyboard(sys.stdin.fileno()) as keyboard, live:
        watcher = _Watcher(api, live, keyboard)
        await watcher.run(signals)
        return watcher.code


@define
class _Watcher:
    """What is shown, and whoever changes it."""

    api: AdminClient
    live: Live
    keyboard: Keyboard
    state: TopState = field(factory=TopState)
    code: int = 0
    _changed: trio.Event = field(factory=trio.Event)
    _over: trio.CancelScope = field(factory=trio.CancelScope)

    async def run(self, signals: AsyncIterator[int]) -> None:
        """Until somebody ends it."""
        with self._over:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Stream(self.api.url, self.api.key, TOPICS).follow, self._hear)
                nursery.start_soon(self._look_at_sessions)
                nursery.start_soon(self._obey_keys)
                nursery.start_soon(self._obey_signals, signals)
                await self._draw()

    def _hear(self, heard: Heard) -> None:
        self.state.hear(heard)
        self._changed.set()

    async def _draw(self) -> None:
        """A picture whenever something has changed, not too often, and at times without a change, as time goes on."""
        while True:
            size = self.live.console.size
            self.live.update(picture(self.state, size.width, size.height, time.time()), refresh=True)
            await trio.sleep(_SHORTEST)
            with trio.move_on_after(_LONGEST - _SHORTEST):
                await self._changed.wait()
            self._changed = trio.Event()

    async def _look_at_sessions(self) -> None:
        """Every two seconds. That it failed is shown; the stream says when the proxy is there again."""
        while True:
            if self.state.hello is not None and not self.state.trouble:
                try:
                    await _ask_sessions(self.api, self.state)
                except HeliosError as error:
                    self.state.complaint = printable(f"sessions: {error.message}")
                self._changed.set()
                await trio.sleep(SESSIONS_EVERY)
            else:
                await trio.sleep(_SHORTEST)

    async def _obey_keys(self) -> None:
        async for key in self.keyboard.keys():
            if not self.state.press(key):
                self._over.cancel()
            self._changed.set()

    async def _obey_signals(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGTSTP:
                self._pause()
            elif number != signal.SIGWINCH:
                self.code = _BY_SIGNAL + number
                self._over.cancel()
            self._changed.set()

    def _pause(self) -> None:
        """Ctrl-Z: the shell gets the terminal until it continues us."""
        self.live.stop()
        self.keyboard.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.keyboard.take()
        self.live.start()
