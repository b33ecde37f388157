"""One client of the admin console, from its greeting to its goodbye: the conversation, on Trio.

By the simple protocol a query is a command; by the extended protocol too. Rows are made a batch at a time, as fast as
the client takes them, and a client that takes none is sent away. What it sends is bounded by the frames of somebody who
is not trusted yet: no message is longer than 64 kB.

Used by: admin.console.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from helios_trio.admin.console_access import Rank
from helios_trio.admin.console_commands import Command, Verb, parse
from helios_trio.admin.console_frames import data_rows, failure, notice, row_description
from helios_trio.admin.console_orders import Answer, Orders, Refused
from helios_trio.admin.console_prepared import Portal, Prepared
from helios_trio.errors import HeliosError, ProtocolViolation
from helios_trio.net.errors import ConnectionLost
from helios_trio.net.frame_stream import FrameStream
from helios_trio.wire.backend_messages import CommandComplete, PortalSuspended, ReadyForQuery
from helios_trio.wire.codes import Frontend, Status
from helios_trio.wire.frames import Frame
from helios_trio.wire.frontend_messages import Bind, Close, Describe, Execute, Parse, Query

#: Bytes of rows that are made before they are sent and others get a turn.
_BATCH: Final = 16 * 1024
#: Seconds in which a client must take a batch.
SEND_TIME: Final = 30.0
#: Bytes that are kept of what a client sends while its command is under way.
_AHEAD: Final = 64 * 1024
#: Notices that are kept for a client that does not take them; others are left out.
_NOTICES: Final = 16
_READY: Final = ReadyForQuery(Status.IDLE).encode()
#: Messages that mean nothing outside of a COPY; PostgreSQL ignores them too.
_IGNORED: Final = frozenset({Frontend.COPY_DATA, Frontend.COPY_DONE, Frontend.COPY_FAIL, Frontend.FLUSH})
#: What SHOW does not show to who may only look around.
_ADMINS_ONLY: Final = "FDS"


class ConsoleSession:
    """See the module."""

    def __init__(self, stream: FrameStream, rank: Rank, orders: Orders) -> None:
        self._stream = stream
        self._rank = rank
        self._orders = orders
        orders.say = self._say
        self._prepared = Prepared()
        #: after an error in the extended protocol, up to the next Sync
        self._skipping = False
        self._notices, self._to_send = trio.open_memory_channel[str](_NOTICES)
        #: told of each command
        self.on_command: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Answer until the client goes. Raises ConnectionLost, TooSlowError for one that takes no answers."""
        try:
            while (frame := await self._stream.read_frame()).code != Frontend.TERMINATE:
                await self._handle(frame)
        except ProtocolViolation as error:
            await self._send(failure(error, "FATAL"))

    async def _handle(self, frame: Frame) -> None:
        if frame.code == Frontend.SYNC:
            self._skipping = False
            await self._send(_READY)
        elif self._skipping or frame.code in _IGNORED:
            return
        elif frame.code == Frontend.QUERY:
            await self._query(Query.decode(frame.body).query)
        elif frame.code == Frontend.FUNCTION_CALL:
            refused = HeliosError("function calls are not supported by the admin console", sqlstate="0A000")
            await self._send(failure(refused) + _READY)
        else:
            await self._extended(frame)

    # -- simple protocol ---------------------------------------------------------------------------------------

    async def _query(self, text: str) -> None:
        try:
            answer = await self._run(parse(text))
        except ConnectionLost:
            raise
        except HeliosError as error:
            await self._send(failure(error) + _READY)
            return
        head = b"" if answer.columns is None else row_description(answer.columns)
        await self._send_rows(_notices(answer) + head, data_rows(answer.columns or (), answer.rows))
        await self._send(CommandComplete(answer.tag).encode() + _READY)

    # -- extended protocol -------------------------------------------------------------------------------------

    async def _extended(self, frame: Frame) -> None:
        try:
            if frame.code == Frontend.EXECUTE:
                message = Execute.decode(frame.body)
                await self._execute(self._prepared.portal(message.portal), message.max_rows)
            else:
                await self._send(self._answer_at_once(frame))
        except (ProtocolViolation, ConnectionLost):
            raise
        except HeliosError as error:
            self._skipping = True
            await self._send(failure(error))

    def _answer_at_once(self, frame: Frame) -> bytes:
        prepared = self._prepared
        match frame.code:
            case Frontend.PARSE:
                return prepared.parse(Parse.decode(frame.body))
            case Frontend.BIND:
                return prepared.bind(Bind.decode(frame.body))
            case Frontend.DESCRIBE:
                return prepared.describe(Describe.decode(frame.body))
            case Frontend.CLOSE:
                return prepared.close(Close.decode(frame.body))
        raise ProtocolViolation(f"invalid frontend message type {frame.code}")

    async def _execute(self, portal: Portal, limit: int) -> None:
        if portal.rows is None:
            answer = await self._run(portal.command)
            portal.rows, portal.tag = data_rows(answer.columns or (), answer.rows), answer.tag
            await self._send(_notices(answer))
        rows, limited = portal.take(limit)
        sent = await self._send_rows(b"", rows)
        suspended = limited and sent == limit
        await self._send(PortalSuspended().encode() if suspended else CommandComplete(portal.tag).encode())

    # -- commands ----------------------------------------------------------------------------------------------

    async def _run(self, command: Command) -> Answer:
        """Do it, telling the client what it waits for; give it up when the client goes."""
        self.on_command()
        if self._rank is not Rank.ADMIN and (
            command.verb is not Verb.SHOW or command.subject == _ADMINS_ONLY
        ):
            raise Refused("admin access needed")
        if command.verb is Verb.SHOW:
            return await self._orders.run(command)
        result: Answer | HeliosError = ConnectionLost("the client left while its command was under way")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            nursery.start_soon(self._tell, nursery.cancel_scope)
            try:
                result = await self._orders.run(command)
            except HeliosError as error:
                result = error
            nursery.cancel_scope.cancel()
        if isinstance(result, HeliosError):
            raise result
        return Answer(result.tag, notices=self._last_notices())

    def _say(self, text: str) -> None:
        try:
            self._notices.send_nowait(text)
        except trio.WouldBlock:
            return

    def _last_notices(self) -> tuple[tuple[str, str], ...]:
        """What has been said and not been sent yet."""
        found: list[tuple[str, str]] = []
        while self._to_send.statistics().current_buffer_used:
            found.append((self._to_send.receive_nowait(), ""))
        return tuple(found)

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Notice a client that leaves; what it sends meanwhile is kept, within bounds."""
        try:
            if not await self._stream.read_ahead(_AHEAD):
                scope.cancel()
        except ConnectionLost:
            scope.cancel()

    async def _tell(self, scope: trio.CancelScope) -> None:
        """Send what is said while the command is under way."""
        try:
            async for text in self._to_send:
                await self._send(notice(text))
        except (ConnectionLost, trio.TooSlowError):
            scope.cancel()

    # -- sending -----------------------------------------------------------------------------------------------

    async def _send_rows(self, head: bytes, rows: Iterable[bytes]) -> int:
        """Send them as they are made; returns how many."""
        batch, count = bytearray(head), 0
        for row in rows:
            batch += row
            count += 1
            if len(batch) >= _BATCH:
                await self._send(batch)
                await trio.lowlevel.checkpoint()
                batch.clear()
        await self._send(batch)
        return count

    async def _send(self, data: bytes | bytearray) -> None:
        if data:
            with trio.fail_after(SEND_TIME):
                await self._stream.send(bytes(data))


def _notices(answer: Answer) -> bytes:
    return b"".join(notice(message, detail) for message, detail in answer.notices)
