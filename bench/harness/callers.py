"""Clients who ask something small so many times a second, and note who answered, when, and with which error.

All live in one Trio loop, together with the fault proxies between the proxy and its servers. Called by `breaker`.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from attrs import define, field, frozen

from harness.servers import DATABASE, USER, Target
from helios_trio.testing.requests import query
from helios_trio.wire.backend_messages import DataRow, ErrorResponse
from helios_trio.wire.codes import PROTOCOL_3_0, Backend
from helios_trio.wire.frames import BACKEND, Frame, FrameReader
from helios_trio.wire.startup import StartupMessage

_BUFFER: Final = 64 * 1024
#: SQLSTATE of an answer that does not come, as the connection is gone (connection_failure)
_LOST: Final = "08006"


@frozen
class Answer:
    """Of one request; times in seconds of `time.time`, which the events of the proxy are told in, too."""

    asked: float
    came: float
    #: port of the server that has answered; 0: it was an error
    server: int
    #: SQLSTATE of an error
    error: str = ""

    @property
    def ms(self) -> float:
        """How long its client waited."""
        return 1000 * (self.came - self.asked)


#: What a client asks, the first column being the port of the server; chance is its own.
Text = Callable[[random.Random], str]


@define(eq=False)
class Caller:
    """One client: logs in again when it has lost its connection."""

    target: Target
    chance: random.Random
    answers: list[Answer] = field(factory=list)
    _stream: trio.SocketStream | None = None
    _reader: FrameReader = field(factory=lambda: FrameReader(_BUFFER, _BUFFER, BACKEND))

    async def work(self, text: Text, rate: Callable[[], float]) -> None:
        """Ask until cancelled, `rate()` times a second on average."""
        try:
            while True:
                await trio.sleep(self.chance.expovariate(rate()))
                self.answers.append(await self._ask(text(self.chance)))
        finally:
            self._leave()

    async def _ask(self, text: str) -> Answer:
        asked = time.time()
        try:
            if self._stream is None:
                await self._connect()
            server, error = _read(await self._exchange(query(text).encode()))
        except (OSError, trio.BrokenResourceError, EOFError):
            self._leave()
            server, error = 0, _LOST
        return Answer(asked, time.time(), server, error)

    async def _connect(self) -> None:
        self._stream = await trio.open_tcp_stream(self.target.host, self.target.port)
        self._reader = FrameReader(_BUFFER, _BUFFER, BACKEND)
        names = {"user": USER, "database": DATABASE, "application_name": "caller"}
        startup = tuple((name.encode(), value.encode()) for name, value in names.items())
        await self._exchange(StartupMessage(PROTOCOL_3_0, startup).encode())

    async def _exchange(self, message: bytes) -> list[Frame]:
        """All frames up to ReadyForQuery. Raises EOFError."""
        assert self._stream is not None, "it has connected"
        await self._stream.send_all(message)
        frames: list[Frame] = []
        while True:
            for event in self._reader:
                assert isinstance(event, Frame), "nothing large is asked for"
                frames.append(event)
                if event.code == Backend.READY_FOR_QUERY:
                    return frames
            data = await self._stream.receive_some(_BUFFER)
            if not data:
                raise EOFError("the connection was closed")
            self._reader.feed(data)

    def _leave(self) -> None:
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None


def _read(frames: list[Frame]) -> tuple[int, str]:
    """Port of the server and nothing, or 0 and the SQLSTATE."""
    for frame in frames:
        if frame.code == Backend.ERROR_RESPONSE:
            return 0, ErrorResponse.decode(frame.body).fields.sqlstate
        if frame.code == Backend.DATA_ROW:
            port = DataRow.decode(frame.body).values[0]
            return int(port or b"0"), ""
    return 0, _LOST


@define
class Callers:
    """All clients at once."""

    everybody: list[Caller]

    @classmethod
    def of(cls, target: Target, clients: int) -> Callers:
        """So many."""
        return cls([Caller(target, random.Random(number)) for number in range(clients)])

    @asynccontextmanager
    async def calling(self, text: Text, rate: Callable[[], float]) -> AsyncIterator[None]:
        """Inside, all of them together ask `rate()` times a second."""
        share = len(self.everybody)
        async with trio.open_nursery() as nursery:
            for caller in self.everybody:
                nursery.start_soon(caller.work, text, lambda: rate() / share)
            yield
            nursery.cancel_scope.cancel()

    def answers(self, begin: float, end: float) -> Iterator[Answer]:
        """Those that came between two moments."""
        for caller in self.everybody:
            yield from (each for each in caller.answers if begin <= each.came < end)
