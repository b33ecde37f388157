"""Plays a `Script` against an address over raw sockets and returns the `Transcript` of all that came back.

Each connection has one reading task, so that a server that answers while a long pipeline is still being sent
never deadlocks with the script. A step that cannot be fulfilled (connection closed, nothing came within the
deadline) ends the script and is named in the transcript, with everything received until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio
from attrs import define, field

from helios_trio.errors import ProtocolViolation
from helios_trio.testing import script as steps
from helios_trio.testing.requests import query, terminate
from helios_trio.testing.script import Script, Step
from helios_trio.testing.transcript import AnswerByte, Closed, Received, Transcript, Unframed
from helios_trio.wire.backend_messages import (
    BackendKeyData,
    DataRow,
    ErrorResponse,
    ReadyForQuery,
    decode_backend,
)
from helios_trio.wire.codes import PROTOCOL_3_0
from helios_trio.wire.frames import Frame, FrameReader
from helios_trio.wire.startup import CancelRequest, StartupMessage

Address = tuple[str, int]
"""Host and port; a host that begins with a slash is the folder of a unix socket."""

_LARGEST: Final = 0x7FFF_FFFB
_RECEIVE_SIZE: Final = 65536
_POLL_SECONDS: Final = 0.005


class StepFailed(Exception):
    """A step of a script could not be fulfilled; the message says which and why."""


async def connect(address: Address) -> trio.SocketStream:
    """A stream to an address of either kind. Raises `OSError`."""
    host, port = address
    if host.startswith("/"):
        return await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
    return await trio.open_tcp_stream(host, port)


async def play(
    script: Script, address: Address, observed: Address | None = None, step_seconds: float = 10.0
) -> Transcript:
    """Play the script and return what came back.

    `observed` is the server itself, for steps that ask it something aside, as the script's own user; it is
    `address` unless given. No step may take longer than `step_seconds`.
    """
    transcript = Transcript()
    async with trio.open_nursery() as nursery:
        player = _Player(script, address, observed or address, transcript, nursery)
        for at, step in enumerate(script.steps):
            try:
                with trio.fail_after(step_seconds):
                    await player.perform(step)
            except (StepFailed, trio.TooSlowError, OSError, trio.BrokenResourceError) as error:
                transcript.problem = f"step {at} ({_short(step)}): {error or type(error).__name__}"
                break
        with trio.move_on_after(step_seconds) as leaving:
            await player.leave()
        if leaving.cancelled_caught:
            transcript.problem = transcript.problem or "the server did not close after Terminate"
        player.drop()
        nursery.cancel_scope.cancel()
    return transcript


def _short(step: Step) -> str:
    text = repr(step)
    return text if len(text) < 200 else f"{text[:200]}..."


@define(eq=False)
class _Connection:
    """One connection of a script: its stream, what it received, and how far the steps have looked at that."""

    stream: trio.SocketStream
    received: list[Received]
    reading: bool = False
    looked_at: int = 0
    closed: bool = False
    progress: trio.Event = field(factory=trio.Event)

    async def read(self) -> None:
        """Receive until the server closes; the body of the reading task."""
        reader = FrameReader(limit=_LARGEST, stream_over=_LARGEST)
        try:
            while data := await self.stream.receive_some(_RECEIVE_SIZE):
                reader.feed(data)
                self._take(reader)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.closed = True
        if rest := reader.rest():
            self.received.append(Unframed(rest))
        self.received.append(Closed())
        self._wake()

    def _take(self, reader: FrameReader) -> None:
        """Add the messages that are complete; what cannot be one stays in the reader until the end."""
        try:
            for event in reader:
                assert isinstance(event, Frame)
                self.received.append(decode_backend(event.code, event.body))
        except ProtocolViolation:
            pass
        self._wake()

    def _wake(self) -> None:
        self.progress.set()
        self.progress = trio.Event()

    async def wait_for(self, kind: str, count: int = 1) -> Received:
        """The `count`-th further message of this class name. Raises `StepFailed` at the connection's end."""
        while True:
            while self.looked_at < len(self.received):
                event = self.received[self.looked_at]
                self.looked_at += 1
                count -= type(event).__name__ == kind
                if not count:
                    return event
            if self.closed:
                raise StepFailed(f"closed while waiting for {kind}")
            await self.progress.wait()

    def key(self) -> BackendKeyData:
        """What a cancel request for this connection must show."""
        found = [event for event in self.received if isinstance(event, BackendKeyData)]
        if not found:
            raise StepFailed("this connection was told no BackendKeyData")
        return found[-1]


@define(eq=False)
class _Player:
    """The connections of a script while it is played."""

    script: Script
    address: Address
    observed: Address
    transcript: Transcript
    nursery: trio.Nursery
    connections: dict[str, _Connection] = field(factory=dict)
    opened: list[trio.SocketStream] = field(factory=list)

    async def perform(self, step: Step) -> None:
        """Do one step. Raises `StepFailed`, `OSError`."""
        if isinstance(step, steps.OpenSocket):
            await self._open_socket(step.on)
        elif isinstance(step, steps.Open):
            await self._open(step)
        elif isinstance(step, steps.UntilTrue):
            await self._until_true(step.sql)
        else:
            if step.on not in self.connections:
                await self._open(steps.Open(on=step.on))
            await self._perform_on(self.connections[step.on], step)

    async def _perform_on(self, connection: _Connection, step: Step) -> None:
        match step:
            case steps.Send(data=data, segment=segment):
                await _send(connection.stream, data, segment)
            case steps.ReadByte():
                connection.received.append(AnswerByte(await _receive_byte(connection.stream)))
            case steps.ExpectReady(count=count):
                await self._reading(connection).wait_for(ReadyForQuery.__name__, count)
            case steps.WaitFor(kind=kind):
                await self._reading(connection).wait_for(kind)
            case steps.ExpectClosed():
                await self._reading(connection).wait_for(Closed.__name__)
            case steps.HalfClose():
                await connection.stream.send_eof()
            case steps.Close():
                await connection.stream.aclose()
            case steps.Cancel(wrong_secret=wrong):
                await self._cancel(connection.key(), wrong)

    def _reading(self, connection: _Connection) -> _Connection:
        if not connection.reading:
            connection.reading = True
            self.nursery.start_soon(connection.read)
        return connection

    async def _open_socket(self, label: str) -> _Connection:
        received = self.transcript.received.setdefault(label, [])
        stream = await connect(self.address)
        self.opened.append(stream)
        connection = _Connection(stream, received, looked_at=len(received))
        self.connections[label] = connection
        return connection

    async def _open(self, step: steps.Open) -> None:
        connection = self.connections.get(step.on)
        if connection is None or connection.closed:
            connection = await self._open_socket(step.on)
        packet = start_up(self.script.parameters, step.parameters, step.version)
        await connection.stream.send_all(packet.encode())
        self._reading(connection)
        if step.expect_ready:
            await connection.wait_for(ReadyForQuery.__name__)

    async def _cancel(self, key: BackendKeyData, wrong_secret: bool) -> None:
        secret = bytes(byte ^ 0xFF for byte in key.secret) if wrong_secret else key.secret
        async with await connect(self.address) as stream:
            await stream.send_all(CancelRequest(key.pid, secret).encode())
            while await stream.receive_some():
                raise StepFailed("a cancel request was answered")

    async def _until_true(self, sql: str) -> None:
        async with await connect(self.observed) as stream:
            await stream.send_all(start_up(self.script.parameters, {}, PROTOCOL_3_0).encode())
            observer = _Connection(stream, [])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(observer.read)
                await observer.wait_for(ReadyForQuery.__name__)
                await _ask_until_true(observer, sql)
                nursery.cancel_scope.cancel()

    async def leave(self) -> None:
        """Terminate what is open, and wait until the server has closed it, so that all it said was heard."""
        for connection in self.connections.values():
            if connection.reading and not connection.closed:
                try:
                    await connection.stream.send_all(terminate().encode())
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    continue
        for connection in self.connections.values():
            while connection.reading and not connection.closed:
                await connection.progress.wait()

    def drop(self) -> None:
        """Close all sockets."""
        for stream in self.opened:
            stream.socket.close()


async def _ask_until_true(observer: _Connection, sql: str) -> None:
    while True:
        if await _is_true(observer, sql):
            return
        await trio.sleep(_POLL_SECONDS)


async def _is_true(observer: _Connection, sql: str) -> bool:
    before = len(observer.received)
    await observer.stream.send_all(query(sql).encode())
    await observer.wait_for(ReadyForQuery.__name__)
    answer = observer.received[before:]
    for event in answer:
        if isinstance(event, ErrorResponse):
            raise StepFailed(f"{sql}: {event.fields.message}")
    return any(isinstance(event, DataRow) and event.values == (b"t",) for event in answer)


async def _send(stream: trio.SocketStream, data: bytes, segment: int | None) -> None:
    if segment is None:
        await stream.send_all(data)
        return
    stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    for at in range(0, len(data), segment):
        await stream.send_all(data[at : at + segment])


async def _receive_byte(stream: trio.SocketStream) -> bytes:
    byte = await stream.receive_some(1)
    if not byte:
        raise StepFailed("closed instead of an answer")
    return bytes(byte)


def start_up(
    parameters: Mapping[str, str], changes: Mapping[str, str | None], version: int
) -> StartupMessage:
    """The start-up packet with these parameters; a change to None removes one."""
    merged = {**parameters, **changes}
    pairs = tuple((name.encode(), value.encode()) for name, value in merged.items() if value is not None)
    return StartupMessage(version, pairs)
