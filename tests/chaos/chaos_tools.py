"""What chaos tests share: polling with a deadline, a client that can be broken, and eyes that look past the proxy.

Used by: the tests of this folder.
"""

from __future__ import annotations

import re
import socket
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import psycopg

from helios_trio.testing.running import ProxyProcess, running_proxy

#: Seconds after which what was awaited counts as never happening.
PATIENCE: Final = 20.0
_POLL: Final = 0.01
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

T = TypeVar("T")
MakeProxy = Callable[..., ProxyProcess]

CONFIG = """
[proxy]
drain_timeout = "{drain_timeout}"
reuse_port = {reuse_port}
[auth]
method = "trust"
[control]
user = "postgres"
[failover]
enabled = {failover}
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = {max_connections}
queue_timeout = "{queue_timeout}"
"""
DEFAULTS = {
    "mode": "transaction",
    "max_connections": 1,
    "queue_timeout": "10s",
    "drain_timeout": "10s",
    "reuse_port": "false",
    "failover": "true",
}


@contextmanager
def chaos_proxy(
    server: tuple[str, int], arguments: tuple[str, ...] = (), **settings: object
) -> Iterator[ProxyProcess]:
    """A proxy to this server; `settings` are keys of `DEFAULTS`."""
    config = CONFIG.format(host=server[0], port=server[1], **{**DEFAULTS, **settings})
    with running_proxy(config, arguments) as proxy:
        yield proxy


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Ask until the answer is true, and return it; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {seconds} s: {what}")
        time.sleep(_POLL)
    return found


def frame(code: bytes, body: bytes = b"") -> bytes:
    """One message."""
    return code + struct.pack("!I", len(body) + 4) + body


def query(sql: str) -> bytes:
    """A Query message."""
    return frame(b"Q", sql.encode() + b"\0")


class RawClient:
    """A client on a bare socket, which can be dropped at any point of a conversation."""

    def __init__(
        self, address: tuple[str, int], database: str = "postgres", receive_buffer: int | None = None
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._buffer = bytearray()
        body = struct.pack("!I", 196608) + f"user\0postgres\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def widen(self) -> None:
        """From here on receive as much as other clients do."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def message(self) -> tuple[bytes, bytes]:
        """The next message: type and body. Raises ConnectionError at the end of the stream."""
        while len(self._buffer) < 5 or len(self._buffer) < 1 + self._length():
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError("closed")
            self._buffer += data
        end = 1 + self._length()
        code, body = bytes(self._buffer[:1]), bytes(self._buffer[5:end])
        del self._buffer[:end]
        return code, body

    def _length(self) -> int:
        return int(struct.unpack_from("!I", self._buffer, 1)[0])

    def wait_for(self, code: bytes) -> bytes:
        """Skip messages up to one of this type, and return its body."""
        while True:
            found, body = self.message()
            if found == code:
                return body

    def run(self, sql: str) -> None:
        """Send a Query and wait until it is answered."""
        self.send(query(sql))
        self.wait_for(b"Z")

    def last_words(self) -> dict[str, str]:
        """Read to the end of the stream; fields of the last ErrorResponse on the way (none: empty)."""
        fields: dict[str, str] = {}
        try:
            while True:
                fields = _fields(self.wait_for(b"E"))
        except ConnectionError:
            return fields

    def reset(self) -> None:
        """Vanish with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.socket.close()

    def close(self) -> None:
        """Vanish without a word: the kernel closes the connection in order."""
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


def _fields(body: bytes) -> dict[str, str]:
    parts = [part.decode() for part in body.split(b"\0") if part]
    return {part[0]: part[1:] for part in parts}


class Observer:
    """Looks at the server directly, past the proxy."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(
            dsn, autocommit=True, application_name="observer"
        )

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement; its rows."""
        cursor = self._connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description is not None else []

    def backends(self, database: str = "postgres") -> list[tuple[int, str, str]]:
        """Pid, state and last query of all sessions of a database but the observer's and the probe's.

        A process that is still starting has no name and no state yet: it may be a probe's, and is not counted.
        """
        return [
            (pid, state, text)
            for pid, state, text in self.execute(
                "select pid, state, query from pg_stat_activity where backend_type = 'client backend'"
                f" and datname = '{database}' and application_name = '' and state <> 'starting'"
            )
        ]

    def working(self, words: str, database: str = "postgres") -> list[int]:
        """Pids that run a statement with these words, or are in its transaction."""
        return [pid for pid, state, text in self.backends(database) if state != "idle" and words in text]


def clients(proxy: ProxyProcess) -> dict[str, int]:
    """The metric `helios_clients`, by state."""
    found = re.findall(r'^helios_clients\{state="(\w+)"\} ([\d.]+)', metrics(proxy), re.MULTILINE)
    return {state: int(float(number)) for state, number in found}


def metrics(proxy: ProxyProcess) -> str:
    """The page of metrics."""
    assert proxy.admin is not None
    host, port = proxy.admin
    with urllib.request.urlopen(f"http://{host}:{port}/metrics/prometheus", timeout=PATIENCE) as response:
        return str(response.read().decode())


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
