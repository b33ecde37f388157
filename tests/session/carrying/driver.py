"""Runs a plan over two ordinary connections, in one thread: what `migration.conversation` does over the proxy's own.

    with psycopg.connect(dsn, autocommit=True) as old, psycopg.connect(dsn, autocommit=True) as new:
        result = drive(some_plan(), old, new)

Both sides of an `Exchange` go on at the same time, so that a request of one side may wait for a lock of the other.
Requests of one side follow each other; libpq has no pipeline of simple queries.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator
from struct import unpack_from
from typing import TypeVar

import psycopg
from attrs import define, field
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from helios_trio.errors import BackendLost
from helios_trio.session.carrying.steps import (
    Answer,
    Answers,
    Collect,
    Column,
    DescribePortal,
    Exchange,
    Parse,
    Pause,
    Plan,
    Query,
    Request,
    Row,
    Side,
    Start,
    Step,
    Stream,
    Streamed,
)
from helios_trio.wire.error_fields import ErrorFields

T = TypeVar("T")
#: what a request that never ends costs a test, seconds
PATIENCE = 60.0


def drive(plan: Plan[T], old: psycopg.Connection, new: psycopg.Connection) -> T:
    """The result of a plan."""
    return Driver.over(old, new).run(plan)


@define
class Driver:
    """Two connections, and the steps that were done over them."""

    old: PGconn
    new: PGconn
    steps: list[Step] = field(factory=list)

    @classmethod
    def over(cls, old: psycopg.Connection, new: psycopg.Connection) -> Driver:
        """Over two connections that are outside any transaction (autocommit)."""
        return cls(old.pgconn, new.pgconn)

    def run(self, plan: Plan[T]) -> T:
        """Do all steps; an error of a step is thrown into the plan."""
        try:
            step = next(plan)
            while True:
                self.steps.append(step)
                try:
                    outcome = self.do(step)
                except Exception as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(outcome)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def do(self, step: Step) -> object:
        """One step; see `steps` for what each gives."""
        match step:
            case Exchange(old, new):
                return exchange(self.old, old, self.new, new)
            case Stream(copy_out, copy_in):
                return copy_across(self.old, copy_out, self.new, copy_in)
            case Start(side, request):
                send(self._of(side), request)
                return None
            case Collect(side):
                return finish(self._of(side))
            case Pause(seconds):
                time.sleep(seconds)
                return None

    def _of(self, side: Side) -> PGconn:
        return self.old if side is Side.OLD else self.new


def exchange(old: PGconn, to_old: tuple[Request, ...], new: PGconn, to_new: tuple[Request, ...]) -> Answers:
    """Both queues of requests, each side at its own speed."""
    under_way = {each: run for each, run in ((old, Run(old, to_old)), (new, Run(new, to_new))) if run.begin()}
    done: dict[PGconn, tuple[Answer, ...]] = {old: (), new: ()}
    deadline = time.monotonic() + PATIENCE
    while under_way:
        sockets = [each.socket for each in under_way]
        if not select.select(sockets, [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError(f"no answer to {[run.current for run in under_way.values()]}")
        for connection, run in list(under_way.items()):
            if not run.advance():
                done[connection] = tuple(run.answers)
                del under_way[connection]
    return Answers(done[old], done[new])


@define
class Run:
    """The requests of one side of an exchange, sent one after the other."""

    connection: PGconn
    requests: tuple[Request, ...]
    answers: list[Answer] = field(factory=list)

    @property
    def current(self) -> Request:
        """The one that is waited for."""
        return self.requests[len(self.answers)]

    def begin(self) -> bool:
        """Send the next one; whether there was any."""
        if len(self.answers) == len(self.requests):
            return False
        send(self.connection, self.current)
        return True

    def advance(self) -> bool:
        """Take what has come; whether anything is still to come."""
        consume(self.connection)
        while not self.connection.is_busy():
            self.answers.append(finish(self.connection))
            if not self.begin():
                return False
        return True


def send(connection: PGconn, request: Request) -> None:
    """Send without waiting for the answer."""
    try:
        if isinstance(request, Query):
            connection.send_query(encode(request.text))
        elif isinstance(request, DescribePortal):
            connection.send_describe_portal(encode(request.name))
        else:
            connection.send_prepare(request.name, request.text, parameter_types(request))
        while connection.flush():
            select.select([connection.socket], [connection.socket], [], PATIENCE)
            connection.consume_input()
    except psycopg.OperationalError as error:
        raise BackendLost(str(error)) from error


def encode(text: str) -> bytes:
    """Text of a query as it is sent."""
    return text.encode("utf-8", "surrogateescape")


def parameter_types(request: Parse) -> list[int]:
    """OIDs from the tail of a Parse."""
    (count,) = unpack_from("!H", request.types)
    return list(unpack_from(f"!{count}I", request.types, 2))


def consume(connection: PGconn) -> None:
    """Read what the socket has."""
    try:
        connection.consume_input()
    except psycopg.OperationalError as error:
        raise BackendLost(str(error)) from error


def finish(connection: PGconn) -> Answer:
    """All that is still to come for one request, put together."""
    rows: list[Row] = []
    tags: list[str] = []
    columns: tuple[Column, ...] = ()
    error = None
    for result in results(connection):
        if result.status in (ExecStatus.COPY_OUT, ExecStatus.COPY_IN, ExecStatus.COPY_BOTH):
            raise AssertionError("COPY is for streams, not for exchanges")
        if result.status == ExecStatus.FATAL_ERROR:
            error = fields(result)
            continue
        rows += rows_of(result)
        if result.status == ExecStatus.COMMAND_OK:
            columns = columns_of(result)
        if tag := result.command_status:
            tags.append(tag.decode())
    if connection.status == ConnStatus.BAD:
        raise BackendLost(connection.get_error_message())
    return Answer(tuple(rows), tuple(tags), error, columns)


def results(connection: PGconn) -> Iterator[PGresult]:
    """Until libpq says that there are no more."""
    while (result := connection.get_result()) is not None:
        yield result


def rows_of(result: PGresult) -> list[Row]:
    """Values as text."""
    return [
        tuple(decode(result.get_value(row, column)) for column in range(result.nfields))
        for row in range(result.ntuples)
    ]


def columns_of(result: PGresult) -> tuple[Column, ...]:
    """What a Describe has told; the result of a command has none."""
    found = ((result.fname(at) or b"", result.ftype(at), result.fmod(at)) for at in range(result.nfields))
    return tuple(
        Column(name.decode("utf-8", "surrogateescape"), oid, modifier) for name, oid, modifier in found
    )


def decode(value: bytes | None) -> str | None:
    """A value as plans get it."""
    return None if value is None else value.decode("utf-8", "surrogateescape")


def fields(result: PGresult) -> ErrorFields:
    """The fields of an error report that libpq keeps."""
    found = ((chr(each), result.error_field(each)) for each in DiagnosticField)
    return ErrorFields(tuple((name, text.decode("utf-8", "replace")) for name, text in found if text))


def copy_across(old: PGconn, copy_out: str, new: PGconn, copy_in: str) -> Streamed:
    """One COPY into another. The side that failed first is reported, and the other one is brought to an end."""
    source, target = old.exec_(encode(copy_out)), new.exec_(encode(copy_in))
    errors = errors_in([source, target])
    size = 0
    if source.status == ExecStatus.COPY_OUT:
        while (received := old.get_copy_data(0))[0] > 0:
            if target.status == ExecStatus.COPY_IN:
                size += len(received[1])
                new.put_copy_data(bytes(received[1]))
        errors += errors_in(results(old))
    if target.status == ExecStatus.COPY_IN:
        new.put_copy_end(b"the other side failed" if errors else None)
    ended = list(results(new))
    errors += errors_in(ended)
    for each in (old, new):
        if each.status == ConnStatus.BAD:
            raise BackendLost(each.get_error_message())
    if errors:
        return Streamed(size=size, error=errors[0])
    return Streamed(rows=int((ended[0].command_status or b"COPY 0").split()[-1]), size=size)


def errors_in(found: Iterable[PGresult]) -> list[ErrorFields]:
    """The errors among these results, all of which are taken."""
    return [fields(each) for each in found if each.status == ExecStatus.FATAL_ERROR]
