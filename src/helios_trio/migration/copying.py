"""Rows of a COPY from one server to another, frame by frame as they come, never held.

The old server's answer to COPY TO STDOUT is cut at its frames: CopyData goes on as it is, because both directions
have the same format (PostgreSQL docs, "COPY Operations"); what frames it (CopyOutResponse, CopyDone, CommandComplete,
ReadyForQuery) is dropped. When the new server does not take it fast enough, the old one is not read from.

Used by: migration.conversation.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from helios_trio.pool.connection import BackendConnection
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.frames import encode_frame

_length_at = Struct("!I").unpack_from
_HEAD: Final = 5


class CopyRelay:
    """Passes CopyData on from one connection to the other."""

    def __init__(self, source: BackendConnection, target: BackendConnection) -> None:
        self._source = source
        self._target = target
        #: bytes passed on
        self.size = 0
        self._rest = b""
        self._left = 0  # bytes still to come of the frame that is passing
        self._passes = False
        self._abandoned = False

    def on_bytes(self, data: bytes) -> None:
        """Bytes of the old server's answer."""
        data = self._rest + data
        end, at, begin, out = len(data), 0, 0, []
        while at < end:
            if not self._left:
                if end - at < _HEAD:
                    break
                if (data[at] == Backend.COPY_DATA) is not self._passes:
                    if self._passes:  # a run of rows ends here
                        out.append(data[begin:at])
                    self._passes, begin = not self._passes, at
                self._left = 1 + _length_at(data, at + 1)[0]
            size = min(self._left, end - at)
            self._left -= size
            at += size
        if self._passes:
            out.append(data[begin:at])
        self._rest = data[at:]
        if out and not self._abandoned and self._target.side.replies.copy_in:
            self._pass(b"".join(out))

    def _pass(self, data: bytes) -> None:
        self.size += len(data)
        self._target.send(data)

    def on_congested(self) -> None:
        """The new server does not take what was sent to it."""
        if self._target.congested:
            self._source.pause()

    def on_drained(self) -> None:
        """The new server takes bytes again."""
        if not self._target.congested:
            self._source.unpause()

    def finish(self, succeeded: bool) -> None:
        """All of the old server's answer is there."""
        if not self._target.side.replies.copy_in:
            return  # the new server has failed and ignores what is still coming
        code, body = (
            (Frontend.COPY_DONE, b"") if succeeded else (Frontend.COPY_FAIL, b"the rows could not be read\0")
        )
        self._target.side.replies.push_copy_end()
        self._target.send(encode_frame(code, body))

    def abandon(self) -> None:
        """The move was given up: what still comes is dropped."""
        self._abandoned = True
        self._source.unpause()
        self.finish(False)
