"""A crowd of clients whose sessions have state, who ask something small again and again and time every answer.

All live in one Trio loop. What each of them has is known, so every answer is judged: one that is wrong or does not come
is noted with the client it happened to. Called by `migration` and `moving_parts`.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

import trio
from attrs import define, field, frozen

from harness.servers import DATABASE, USER, Target
from helios_trio.errors import HeliosError
from helios_trio.testing.requests import Request, bind, execute, parse, query, sync
from helios_trio.wire.backend_messages import DataRow, ErrorResponse
from helios_trio.wire.codes import PROTOCOL_3_0, Backend
from helios_trio.wire.frames import BACKEND, Frame, FrameReader
from helios_trio.wire.startup import StartupMessage

APPLICATION: Final = "crowd"
"""The application_name of each of them."""
TABLE_ROWS: Final = 1000
STATEMENTS: Final = 5
PAUSES: Final = 0.05, 0.1
"""Seconds between an answer and the next question, at least and at most."""
_PATIENCE: Final = 30.0  # seconds after which no answer is expected any more
_BUFFER: Final = 64 * 1024

Row = tuple[bytes | None, ...]


class WrongAnswer(Exception):
    """Not what had to be answered."""


_FAILURES: Final = (WrongAnswer, HeliosError, OSError, trio.BrokenResourceError, trio.TooSlowError)


@frozen
class Question:
    """One request, answered with one ReadyForQuery, and the rows that it must give."""

    message: bytes
    rows: tuple[Row, ...] = ()


def sql(text: str, *rows: tuple[str, ...]) -> Question:
    """A simple query."""
    return Question(query(text).encode(), _expected(rows))


def batch(*requests: Request, rows: Sequence[tuple[str, ...]] = ()) -> Question:
    """Requests of the extended protocol and the Sync that ends them."""
    return Question(b"".join(each.encode() for each in (*requests, sync())), _expected(rows))


def _expected(rows: Iterable[tuple[str, ...]]) -> tuple[Row, ...]:
    return tuple(tuple(value.encode() for value in row) for row in rows)


# -- what sessions have --------------------------------------------------------------------------------------


@frozen
class Belongings:
    """What a client keeps in its session."""

    kind: str
    setup: Sequence[Question]
    usual: Question
    """What it asks all the time; the answer needs what the session has."""
    checks: Sequence[Question]
    """Whether all of it is there."""


def temporary_table() -> Belongings:
    """A temporary table with a primary key and a thousand rows."""
    rows = f"SELECT g, 'row ' || g FROM generate_series(1, {TABLE_ROWS}) AS g"
    total = TABLE_ROWS * (TABLE_ROWS + 1) // 2
    return Belongings(
        "temporary table",
        (
            sql("CREATE TEMP TABLE cart (id int PRIMARY KEY, note text NOT NULL)"),
            sql(f"INSERT INTO cart {rows}"),
        ),
        sql("SELECT note FROM cart WHERE id = 17", ("row 17",)),
        (
            sql("SELECT count(*), sum(id) FROM cart", (str(TABLE_ROWS), str(total))),
            sql(f"SELECT count(*) FROM (TABLE cart EXCEPT {rows}) AS strange", ("0",)),
        ),
    )


def statements() -> Belongings:
    """Prepared statements of the protocol."""
    names = [f"plus_{number}" for number in range(STATEMENTS)]
    uses = [
        batch(bind("1", statement=name), execute(), rows=[(str(1 + number),)])
        for number, name in enumerate(names)
    ]
    count = sql("SELECT count(*) FROM pg_prepared_statements", (str(STATEMENTS),))
    return Belongings(
        "prepared statements",
        [batch(parse(f"SELECT $1::int + {number}", name)) for number, name in enumerate(names)],
        uses[0],
        (*uses, count),
    )


def settings(number: int) -> Belongings:
    """Settings: reported to the client, a limit, one of its own."""
    wanted = {
        "timezone": "Asia/Kathmandu",
        "search_path": "pg_temp",
        "work_mem": f"{2000 + number}kB",
        "statement_timeout": "45s",
        "bench.number": str(number),
    }
    shown = ", ".join(f"current_setting('{name}')" for name in wanted)
    return Belongings(
        "settings",
        [sql(f"SET {name} = '{value}'") for name, value in wanted.items()],
        sql("SELECT current_setting('bench.number')", (str(number),)),
        [sql(f"SELECT {shown}", tuple(wanted.values()))],
    )


# -- clients -------------------------------------------------------------------------------------------------


@frozen
class Answer:
    """When it was asked for and when it was there: seconds of `time.perf_counter`."""

    asked: float
    came: float

    @property
    def seconds(self) -> float:
        """How long the client waited."""
        return self.came - self.asked


@define(eq=False)
class Client:
    """One of the crowd: its connection, what its session has, and what it was answered."""

    belongings: Belongings
    stream: trio.SocketStream
    answers: list[Answer] = field(factory=list)
    failures: list[str] = field(factory=list)
    _reader: FrameReader = field(factory=lambda: FrameReader(_BUFFER, _BUFFER, BACKEND))
    _turn: trio.Lock = field(factory=trio.Lock)

    @classmethod
    async def connect(cls, target: Target, database: str, belongings: Belongings) -> Client:
        """Log in. Raises OSError; other failures are noted."""
        client = cls(belongings, await trio.open_tcp_stream(target.host, target.port))
        names = {"user": USER, "database": database, "application_name": APPLICATION}
        startup = StartupMessage(
            PROTOCOL_3_0, tuple((name.encode(), value.encode()) for name, value in names.items())
        )
        await client.ask(Question(startup.encode()))
        return client

    async def ask(self, *questions: Question) -> list[Answer]:
        """One after another, until something is not as it should be: that is noted."""
        found: list[Answer] = []
        async with self._turn:
            try:
                for question in questions:
                    found.append(await self._ask(question))
            except _FAILURES as error:
                self.failures.append(f"{self.belongings.kind}: {type(error).__name__}: {error}")
        return found

    async def _ask(self, question: Question) -> Answer:
        asked = time.perf_counter()
        with trio.fail_after(_PATIENCE):
            await self.stream.send_all(question.message)
            frames = await self._read()
        came = time.perf_counter()
        rows = tuple(DataRow.decode(each.body).values for each in frames if each.code == Backend.DATA_ROW)
        errors = [each.body for each in frames if each.code == Backend.ERROR_RESPONSE]
        if errors:
            raise WrongAnswer(ErrorResponse.decode(errors[0]).fields.message)
        if rows != question.rows:
            raise WrongAnswer(f"{question.message[:60]!r} gave {rows!r}")
        return Answer(asked, came)

    async def _read(self) -> list[Frame]:
        """All up to ReadyForQuery."""
        frames: list[Frame] = []
        while True:
            for event in self._reader:
                assert isinstance(event, Frame), "the crowd asks for nothing large"
                frames.append(event)
                if event.code == Backend.READY_FOR_QUERY:
                    return frames
            data = await self.stream.receive_some(_BUFFER)
            if not data:
                raise WrongAnswer("the connection was closed")
            self._reader.feed(data)

    async def talk(self, number: int, enough: trio.Event) -> None:
        """Ask the usual question again and again, with pauses, until that is enough or something fails."""
        pauses = random.Random(number)
        await trio.sleep(pauses.uniform(0, PAUSES[1]))  # not all at the same moment
        while not (enough.is_set() or self.failures):
            self.answers += await self.ask(self.belongings.usual)
            await trio.sleep(pauses.uniform(*PAUSES))

    def longest_beyond_usual(self, begin: float, end: float, usual_until: float) -> float:
        """Seconds that the longest answer between two moments took longer than the usual one until a third."""
        usual = median(each.seconds for each in self.answers if each.came < usual_until)
        return max(each.seconds for each in self.answers if each.came >= begin and each.asked <= end) - usual


@define
class Crowd:
    """All of them."""

    clients: list[Client] = field(factory=list)

    @property
    def failures(self) -> list[str]:
        """Of all of them."""
        return [failure for client in self.clients for failure in client.failures]

    @classmethod
    async def gather(
        cls, target: Target, everything: Sequence[Belongings], database: str = DATABASE
    ) -> Crowd:
        """Let a client for each come in, make what it has, and look whether it is there. Raises OSError."""
        crowd = cls()
        for belongings in everything:
            crowd.clients.append(await Client.connect(target, database, belongings))
            await crowd.clients[-1].ask(*belongings.setup)
        await crowd.check()
        return crowd

    async def check(self) -> None:
        """Let each look whether it has all that it should have."""
        await say(self.clients, None)

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """Inside, all talk all the time."""
        enough = trio.Event()
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(self.clients):
                nursery.start_soon(client.talk, number, enough)
            yield
            enough.set()

    async def leave(self) -> None:
        """Close all connections."""
        for client in self.clients:
            await trio.aclose_forcefully(client.stream)


async def say(clients: Iterable[Client], text: str | None) -> None:
    """Let these say this at the same time; None: what each checks its belongings with."""
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.ask, *(client.belongings.checks if text is None else [sql(text)]))
