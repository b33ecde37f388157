"""Looks at a server over a fresh connection: is it alive, not ready, gone, silent, or no primary any more?

First a knock: a start-up packet in plain, which a postmaster answers with a request for a password or with a report,
and whose SQLSTATE tells one that is starting up from one that is there (libpq hides it behind a translated text). Only
then a login, and the question of the health check.

Used by: failover.succession, failover.controller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import trio
from attrs import define, frozen

from helios_trio.cluster.observation import PROBE, REDUCED_PROBE, Observation
from helios_trio.cluster.topology import Topology
from helios_trio.control import ControlConnection
from helios_trio.errors import HeliosError, ProtocolViolation
from helios_trio.failover.signs import Look, Sign
from helios_trio.net.dial import ServerAddress, dial
from helios_trio.net.errors import ConnectFailed, ConnectionLost
from helios_trio.net.frame_stream import FrameStream
from helios_trio.pipeline.backend import Backend
from helios_trio.wire.codes import PROTOCOL_3_0
from helios_trio.wire.codes import Backend as Code
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import BACKEND, Frame, FrameReader
from helios_trio.wire.startup import StartupMessage

_CANNOT_CONNECT_NOW: Final = "57P03"
#: How often a server may hang up before that is taken for its answer.
_KNOCKS: Final = 3
#: Largest answer to a knock, in bytes.
_LARGEST: Final = 1 << 16


class Knocker:
    """Finds out whether somebody is at home."""

    def __init__(self, user: str, database: str) -> None:
        """Whom to pretend to be; nothing is logged in."""
        pairs = ((b"user", user.encode()), (b"database", database.encode()))
        self._packet = StartupMessage(PROTOCOL_3_0, pairs).encode()

    async def knock(self, backend: Backend, seconds: float) -> Look:
        """What a server shows within so many seconds.

        One that hangs up without a word may have died this moment: the next knock shows it.
        """
        found = Look(Sign.NO_ANSWER)
        for _ in range(_KNOCKS):
            try:
                with trio.fail_after(seconds):
                    return _judge(await self._first_word(backend))
            except ConnectFailed as error:
                return Look(Sign.REFUSED if error.refused else Sign.NO_ANSWER, error.message)
            except (ConnectionLost, ProtocolViolation) as error:
                found = Look(Sign.NO_ANSWER, error.message)
            except trio.TooSlowError:
                return Look(Sign.NO_ANSWER, f"no answer within {seconds:g} s")
        return found

    async def _first_word(self, backend: Backend) -> Frame:
        address = ServerAddress(backend.host, backend.port)
        transport = await dial(address, deadline=trio.current_effective_deadline())
        try:
            stream = FrameStream(transport, FrameReader(_LARGEST, _LARGEST, BACKEND))
            await stream.send(self._packet)
            return await stream.read_frame()
        finally:
            transport.close()


def _judge(frame: Frame) -> Look:
    if frame.code == Code.ERROR_RESPONSE:
        fields = ErrorFields.decode(frame.body)
        if fields.sqlstate == _CANNOT_CONNECT_NOW:
            return Look(Sign.NOT_READY, fields.message)
    return Look(Sign.ALIVE)


@frozen
class Expected:
    """What a primary was known to be."""

    system_identifier: str | None
    timeline: int

    def judge(self, seen: Observation) -> Look:
        """Whether it still is."""
        if seen.in_recovery:
            return Look(Sign.NOT_PRIMARY, "it is a standby now", seen)
        if self.system_identifier is not None and seen.system_identifier not in (
            None,
            self.system_identifier,
        ):
            return Look(Sign.NOT_PRIMARY, "another cluster answers at its address", seen)
        if seen.timeline is not None and seen.timeline < self.timeline:
            return Look(Sign.NOT_PRIMARY, "it has gone back to an older timeline", seen)
        return Look(Sign.ALIVE, "", seen)


@define
class Examiner:
    """Looks at servers."""

    topology: Topology
    #: opens a control connection in autocommit; raises psycopg.Error, OSError, HeliosError
    connect: Callable[[Backend], Awaitable[ControlConnection]]
    knocker: Knocker
    #: seconds that a server has to answer
    time_limit: float = 0.5

    async def look(self, name: str) -> Look:
        """What a server shows now; one that does not answer takes the whole time limit."""
        node, began = self.topology.nodes[name], trio.current_time()
        expected = Expected(node.system_identifier, node.timeline or 0)
        found = await self.knocker.knock(node.backend, self.time_limit)
        if found.sign is Sign.ALIVE:
            found = await self._ask(node.backend, expected)
        if found.sign is Sign.NO_ANSWER:
            await trio.sleep_until(began + self.time_limit)
        self._note(name, found, expected, began)
        return found

    def _note(self, name: str, found: Look, expected: Expected, began: float) -> None:
        """What the probes would find out later; the answer of another cluster is not one of this server's."""
        topology, now = self.topology, trio.current_time()
        if found.observation is not None:
            if found.observation.system_identifier in (None, expected.system_identifier):
                topology.note_answer(name, found.observation, now, began)
        elif found.sign is Sign.NO_ANSWER:
            topology.note_timeout(name, found.reason, now)
        elif found.sign is not Sign.ALIVE:
            topology.note_failure(name, found.reason, now)

    async def _ask(self, backend: Backend, expected: Expected) -> Look:
        try:
            with trio.fail_after(self.time_limit):
                return expected.judge(await self._observe(backend))
        except trio.TooSlowError:
            return Look(Sign.NO_ANSWER, f"no answer within {self.time_limit:g} s")
        except (psycopg.Error, HeliosError, OSError) as error:
            reason = str(error).partition("\n")[0]
        found = await self.knocker.knock(backend, self.time_limit)
        if found.sign is Sign.ALIVE:  # it is there, but not for us: that is no reason to exchange it
            return Look(Sign.ALIVE, reason)
        return found

    async def _observe(self, backend: Backend) -> Observation:
        connection = await self.connect(backend)
        connection.cancel_grace = 0.0
        try:
            try:
                row = await (await connection.execute(PROBE.encode())).fetchone()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
                row = await (await connection.execute(REDUCED_PROBE.encode())).fetchone()
            assert row is not None, "a SELECT without a table has one row"
            return Observation.from_row(row)
        finally:
            connection.abort()
