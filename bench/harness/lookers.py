"""Those who look at the proxy while it works: requests to its API, and readers of its live stream. Called by `admin`.

They live in a process of their own and do as little as they can, because they share the machine with what is measured:
plain sockets, requests that are written down once, answers of which only the status and the length are read.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Final

from attrs import define, field, frozen

PATHS: Final = ("/api/v1/version", "/api/v1/topology", "/api/v1/pools", "/api/v1/sessions")
TOPICS: Final = "events,traffic"
#: Connections that share the requests.
CONNECTIONS: Final = 50
_BUFFER: Final = 256 * 1024
_TICK: Final = 0.005
#: Seconds until all are there: handshakes have their turn, too (`admin.pacing`), ten a second after the first hundred.
_PATIENCE: Final = 60.0
_AGAIN: Final = 1.0
#: Seconds in which the requests are over that the proxy serves at once (`admin.pacing`): it is the rest that counts.
_BURST: Final = 1.0
_HEAD: Final = re.compile(rb"HTTP/1.1 (\d{3}).*?content-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)


@frozen
class Looking:
    """Who looks on: API requests in a second, over `CONNECTIONS` connections, and readers of the stream."""

    name: str
    requests: int = 0
    streams: int = 0


@define
class Seen:
    """What they got, in a second."""

    #: answers by status
    answers: dict[int, float] = field(factory=dict)
    #: reads of messages of the stream: about one for each
    messages: float = 0.0
    #: their own processor time, as a share of one core
    cpu: float = 0.0

    @property
    def served(self) -> float:
        """Good answers."""
        return self.answers.get(200, 0.0)

    @property
    def refused(self) -> float:
        """429: too many."""
        return self.answers.get(429, 0.0)


@contextmanager
def looking(admin: tuple[str, int], key: str, who: Looking) -> Iterator[Seen]:
    """Inside, they look on; what they have seen is there at the end."""
    seen = Seen()
    if not who.requests and not who.streams:
        yield seen
        return
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_look, args=(admin, key, who, there))
    process.start()
    try:
        if not here.poll(_PATIENCE) or here.recv() != "ready":
            raise RuntimeError("nobody looks on")
        yield seen
        here.send("enough")
        found: Seen = here.recv()
        seen.answers, seen.messages, seen.cpu = found.answers, found.messages, found.cpu
    finally:
        process.terminate()
        process.join()


def _look(admin: tuple[str, int], key: str, who: Looking, told: Connection) -> None:
    """The other process."""
    crowd = _Crowd(admin, key, who)
    settled = time.perf_counter() + _BURST
    while time.perf_counter() < settled:
        crowd.turn()
    told.send("ready")
    began, used = time.perf_counter(), _processor_time()
    crowd.forget()
    while not told.poll():
        crowd.turn()
    seconds = time.perf_counter() - began
    answers = {status: count / seconds for status, count in crowd.answers.items()}
    told.send(Seen(answers, crowd.messages / seconds, (_processor_time() - used) / seconds))


def _processor_time() -> float:
    times = os.times()
    return times.user + times.system


@define(eq=False)
class _Asker:
    """One connection that asks one thing after the other, as often as it is due."""

    sock: socket.socket
    requests: tuple[bytes, ...]
    number: int
    due: float
    #: answers that are still to come: none or one
    waiting: bool = False
    got: bytes = b""


class _Crowd:
    """All of them, and one selector."""

    def __init__(self, admin: tuple[str, int], key: str, who: Looking) -> None:
        self.answers: Counter[int] = Counter()
        self.messages = 0
        self._admin, self._selector = admin, selectors.EpollSelector()
        self._every = CONNECTIONS / who.requests if who.requests else 0.0
        self._askers = [self._asker(key, number) for number in range(CONNECTIONS if who.requests else 0)]
        for _ in range(who.streams):
            self._selector.register(self._stream(key), selectors.EVENT_READ, None)

    def forget(self) -> None:
        """What came before does not count."""
        self.answers.clear()
        self.messages = 0

    def turn(self) -> None:
        """Ask what is due, read what is there."""
        now = time.perf_counter()
        for asker in self._askers:
            if not asker.waiting and asker.due <= now:
                self._ask(asker, now)
        for each, _ in self._selector.select(_TICK):
            if each.data is None:
                self._read_stream(each.fileobj)
            else:
                self._read_answer(each.data)

    def _asker(self, key: str, number: int) -> _Asker:
        head = f"HTTP/1.1\r\nHost: admin\r\nX-API-Key: {key}\r\n\r\n"
        requests = tuple(f"GET {path} {head}".encode() for path in PATHS)
        due = time.perf_counter() + self._every * number / CONNECTIONS
        asker = _Asker(socket.create_connection(self._admin), requests, number, due)
        self._selector.register(asker.sock, selectors.EVENT_READ, asker)
        return asker

    def _ask(self, asker: _Asker, now: float) -> None:
        asker.number += 1
        asker.sock.sendall(asker.requests[asker.number % len(asker.requests)])
        asker.waiting = True
        # what it could not ask in time it does not ask later
        asker.due = max(asker.due + self._every, now)

    def _read_answer(self, asker: _Asker) -> None:
        data = asker.sock.recv(_BUFFER)
        if not data:  # after a thousand answers
            self._reconnect(asker)
            return
        asker.got += data
        found = _HEAD.match(asker.got)
        if found is not None and len(asker.got) >= found.end() + int(found[2]):
            self.answers[int(found[1])] += 1
            asker.got, asker.waiting = b"", False

    def _reconnect(self, asker: _Asker) -> None:
        self._selector.unregister(asker.sock)
        asker.sock.close()
        asker.sock = socket.create_connection(self._admin)
        asker.got, asker.waiting = b"", False
        self._selector.register(asker.sock, selectors.EVENT_READ, asker)

    def _stream(self, key: str) -> socket.socket:
        """A reader of the stream; while the turns of those who asked before are used up, it comes again."""
        while (sock := self._handshake(key)) is None:
            time.sleep(_AGAIN)
        return sock

    def _handshake(self, key: str) -> socket.socket | None:
        sock = socket.create_connection(self._admin)
        sock.sendall(
            f"GET /api/v1/stream?topics={TOPICS} HTTP/1.1\r\nHost: admin\r\nX-API-Key: {key}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        said = sock.recv(_BUFFER)
        if said.startswith(b"HTTP/1.1 101"):
            return sock
        sock.close()
        if said.startswith(b"HTTP/1.1 429"):
            return None
        raise RuntimeError("the stream was refused")

    def _read_stream(self, sock: object) -> None:
        assert isinstance(sock, socket.socket), "what was registered"
        if not sock.recv(_BUFFER):
            raise RuntimeError("a stream was closed")
        self.messages += 1
