"""The steps of a plan that carries a session: what to send to which side, and what came back. No I/O.

A plan is a generator. It yields a step, whoever drives it does the step and sends the outcome in, and the plan's
return value is its result: so the whole of a transfer reads top to bottom, and the same plan runs over the proxy's
own connections (`migration.conversation`) and over two ordinary connections in tests. Write plans with the functions
at the end, which say in their types what each step gives back:

    answers = yield from ask(Side.OLD, Query("SELECT 1"), Query("SELECT 2"))

A driver that cannot go on (a connection is lost, the deadline has passed) throws its error into the plan, and goes on
with the steps the plan then yields, which put right what it has touched. A step that was begun is always ended and its
outcome sent in, unless its connection is lost: a plan that gave up a lock must know how often it had it. So whoever
gives a move up throws in place of the next step.

Used by: all of session.carrying, migration.conversation (drives them).
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from helios_trio.wire.error_fields import ErrorFields


class Side(Enum):
    """Which of the two server connections."""

    OLD = "old"
    NEW = "new"


@frozen
class Query:
    """One simple query; its text may hold several statements, which are one implicit transaction."""

    text: str


@frozen
class Parse:
    """One prepared statement of the protocol: name, text, and the tail of the message (parameter types)."""

    name: bytes
    text: bytes
    types: bytes = b"\0\0"


@frozen
class DescribePortal:
    """Describe of an open portal or cursor: it alone gives `Answer.columns`, and changes nothing."""

    name: str


Request: TypeAlias = Query | Parse | DescribePortal
#: values as text in the connection's client_encoding decoded as UTF-8 with surrogateescape; None is NULL
Row: TypeAlias = tuple[str | None, ...]


@frozen
class Column:
    """One field of a RowDescription: name, type's OID and its modifier (atttypmod)."""

    name: str
    type: int
    modifier: int


@frozen
class Answer:
    """What came back for one request: the rows of all its statements together, their tags, or the error."""

    rows: tuple[Row, ...] = ()
    tags: tuple[str, ...] = ()
    error: ErrorFields | None = None
    columns: tuple[Column, ...] = ()


@frozen
class Exchange:
    """Send these, pipelined, to both sides at once and wait for all answers: one round trip.

    Every request stands for itself: after an error the following ones are still executed.
    """

    old: tuple[Request, ...] = ()
    new: tuple[Request, ...] = ()


@frozen
class Answers:
    """What an Exchange gives: one answer for each request, in order."""

    old: tuple[Answer, ...] = ()
    new: tuple[Answer, ...] = ()


@frozen
class Stream:
    """Rows from the old side's COPY ... TO STDOUT into the new side's COPY ... FROM STDIN, never held in memory.

    Both texts may begin with SET LOCAL, so that CommandComplete comes before CopyOutResponse or CopyInResponse.
    """

    copy_out: str
    copy_in: str


@frozen
class Streamed:
    """What a Stream gives. `error` is that of whichever side failed first; `rows` as the new side counts them."""

    rows: int = 0
    size: int = 0
    error: ErrorFields | None = None


@frozen
class Start:
    """Send a request and do not wait: it may block in the server. At most one is under way on each side."""

    side: Side
    request: Query


@frozen
class Collect:
    """Wait for the answer to what was started on this side; gives an Answer."""

    side: Side


@frozen
class Pause:
    """Let so many seconds pass before the next step: something is waited for in the server."""

    seconds: float


Step: TypeAlias = Exchange | Stream | Start | Collect | Pause
T = TypeVar("T")
#: What a driver runs: steps out, outcomes in, a result at the end.
Plan: TypeAlias = Generator[Step, Any, T]


def ask(side: Side, *requests: Request) -> Plan[tuple[Answer, ...]]:
    """The answers of one side."""
    if not requests:
        return ()
    if side is Side.OLD:
        answers: Answers = yield Exchange(old=requests)
        return answers.old
    answers = yield Exchange(new=requests)
    return answers.new


def ask_both(old: tuple[Request, ...], new: tuple[Request, ...]) -> Plan[Answers]:
    """The answers of both sides, asked at the same time."""
    answers: Answers = yield Exchange(old, new)
    return answers


def stream(copy_out: str, copy_in: str) -> Plan[Streamed]:
    """Rows from the old side to the new one."""
    streamed: Streamed = yield Stream(copy_out, copy_in)
    return streamed


def start(side: Side, text: str) -> Plan[None]:
    """Begin a query that may block."""
    yield Start(side, Query(text))


def collect(side: Side) -> Plan[Answer]:
    """The answer to what was started."""
    answer: Answer = yield Collect(side)
    return answer


def pause(seconds: float) -> Plan[None]:
    """Wait a little."""
    yield Pause(seconds)


def one_value(answer: Answer) -> str | None:
    """The only value of an answer of one row and column."""
    return answer.rows[0][0]
