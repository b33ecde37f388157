"""A client that does as little as a client can: it sends prepared bytes and looks only for their end.

psql and drivers decode what they receive, which costs more than relaying it and would hide the difference
between the sides. Called by `bulk` and `idle`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Final, Self

from harness.servers import DATABASE, USER, Target

_PROTOCOL_3: Final = 196608
_READY: Final = b"Z\0\0\0\5"  # ReadyForQuery without its transaction status
_COPY_IN: Final = ord("G")
_ERROR: Final = ord("E")
_BUFFER: Final = 256 * 1024


class ServerError(Exception):
    """The server refused; the message is its ErrorResponse, not decoded."""


class Client:
    """One connection, blocking; `start_up` first."""

    def __init__(self, target: Target, timeout: float = 120.0) -> None:
        self._socket = socket.create_connection((target.host, target.port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(_BUFFER))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_startup(self, database: str = DATABASE) -> None:
        """The start-up packet; the answer is read by `read_until_ready`."""
        body = struct.pack("!I", _PROTOCOL_3) + f"user\0{USER}\0database\0{database}\0\0".encode()
        self._socket.sendall(struct.pack("!I", len(body) + 4) + body)

    def send_query(self, sql: str) -> None:
        """A Query message; the answer is read by `read_until_ready`."""
        self._socket.sendall(_frame(b"Q", sql.encode() + b"\0"))

    def read_until_ready(self) -> int:
        """Read up to a ReadyForQuery; returns the number of bytes.

        Only the end of what has arrived is looked at: right as long as nothing is sent after it and no value
        ends like it, which is so for what the benches ask for.

        Raises:
            ServerError: the first message, or the one before ReadyForQuery at the end, is an error.
        """
        total = 0
        first = b""
        tail = b""
        while tail[-6:-1] != _READY:
            size = self._socket.recv_into(self._buffer)
            if size == 0:
                raise ServerError(f"connection closed by the server after {first!r}")
            if total == 0:
                first = bytes(self._buffer[: min(size, 500)])
            total += size
            tail = (tail + bytes(self._buffer[max(0, size - 6) : size]))[-6:]
        if first[0] == _ERROR:
            raise ServerError(repr(first))
        return total

    def query(self, sql: str) -> int:
        """Run a statement; returns the number of bytes of its answer."""
        self.send_query(sql)
        return self.read_until_ready()

    def copy_in(self, sql: str, pieces: Iterable[bytes]) -> int:
        """Run COPY ... FROM STDIN with these pieces of data; returns the number of bytes sent."""
        self.send_query(sql)
        answer = self._socket.recv(_BUFFER)
        if answer[0] != _COPY_IN:
            raise ServerError(repr(answer))
        sent = 0
        for piece in pieces:
            message = _frame(b"d", piece)
            self._socket.sendall(message)
            sent += len(message)
        self._socket.sendall(_frame(b"c", b""))
        self.read_until_ready()
        return sent

    def close(self) -> None:
        """Say goodbye and close."""
        try:
            self._socket.sendall(_frame(b"X", b""))
        except OSError:  # the other side was faster
            pass
        self._socket.close()


def _frame(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
