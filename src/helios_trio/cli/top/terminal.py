"""Keys from a terminal, one by one, and the terminal as it was afterwards.

Used by: cli.top.watching.
"""

from __future__ import annotations

import codecs
import os
import re
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import trio
from attrs import define, field

from helios_trio.cli.top.state import BACKSPACE, ENTER, ESCAPE

_CHUNK: Final = 1024
#: What terminals send for arrows and the like (ECMA-48, "Control sequences"; xterm's "SS3"), else single characters.
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)
_NAMED: Final = {"\x1b": ESCAPE, "\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\b": BACKSPACE}


@define
class Keyboard:
    """The terminal behind a descriptor, which gives keys at once and does not show them, as long as it is entered."""

    fd: int
    _before: list[Any] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    def take(self) -> None:
        """Have keys at once. Without a terminal nothing is changed, and there are no keys."""
        if os.isatty(self.fd):
            self._before = termios.tcgetattr(self.fd)
            tty.setcbreak(self.fd)

    def give_back(self) -> None:
        """Everything as it was."""
        if self._before is not None:
            with suppress(termios.error):  # the terminal is gone, and nobody misses how it was
                termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)
            self._before = None

    async def keys(self) -> AsyncIterator[str]:
        """Keys as they are pressed, until there is nobody to press any."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while self._before is not None:
            await trio.lowlevel.wait_readable(self.fd)
            try:
                chunk = os.read(self.fd, _CHUNK)
            except OSError:  # the terminal is gone
                return
            if not chunk:
                return
            for key in keys_in(decoder.decode(chunk)):
                yield key


def keys_in(text: str) -> Iterator[str]:
    """The keys that make up what came in at once; those without a meaning here are left out."""
    for found in _KEY.findall(text):
        if found in _NAMED:
            yield _NAMED[found]
        elif len(found) == 1 and found.isprintable():
            yield found
