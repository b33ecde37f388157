"""Two sessions, one of which is to become what the other one is, and how to tell whether it has.

Nothing here but `Rig.differences` uses the digest: structure is compared by PostgreSQL's own views, rows in the order
of the table.

Used by: the tests of temporary objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import psycopg
from attrs import define
from driver import Driver
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus

from helios_trio.session.carrying.steps import Answers, Exchange
from helios_trio.session.carrying.temporary import (
    TemporaryObjects,
    capture_temporary,
    digest_temporary,
    restore_temporary,
    temporary_differences,
)
from helios_trio.sql.kinds import OnCommit

#: rows, or the SQLSTATE of the error
Outcome: TypeAlias = list[tuple[bytes | None, ...]] | str
Connect: TypeAlias = Callable[[], psycopg.Connection]

ROLES = (
    "create role carry_login login; create role carry_reader; create role carry_writer;"
    ' create role "carry reader ü"; grant carry_reader, carry_writer, "carry reader ü" to carry_login'
)
_HERE = "(select n.nspname from pg_namespace n where n.oid = pg_my_temp_schema())"
#: queries about the temporary schema, {here}
VIEWS = Path(__file__).with_name("temporary").joinpath("views.txt").read_text().split(";\n")


@define
class Rig:
    """Two connections, and plans run over them."""

    old: psycopg.Connection
    new: psycopg.Connection
    driver: Driver

    @classmethod
    @contextmanager
    def open(cls, connect_old: Connect, connect_new: Connect) -> Iterator[Rig]:
        """Both as the role, and in the database, that the callables choose."""
        with connect_old() as old, connect_new() as new:
            yield cls(old, new, Driver.over(old, new))

    def capture(self, known: Mapping[str, OnCommit] | None = None) -> TemporaryObjects:
        """What the old side has."""
        return self.driver.run(capture_temporary(known or {}))

    def restore(self, objects: TemporaryObjects) -> int:
        """It, on the new side."""
        return self.driver.run(restore_temporary(objects))

    def carry(self, known: Mapping[str, OnCommit] | None = None) -> TemporaryObjects:
        """Both; neither may leave anything of its own behind."""
        before = settings_of(self.old)
        objects = self.capture(known)
        assert objects.reasons == (), objects.reasons
        self.restore(objects)
        assert (found := self.differences(objects)) == (), found
        for each in (self.old, self.new):
            assert each.pgconn.transaction_status == TransactionStatus.IDLE
        assert not (changed := settings_of(self.old) ^ before), changed
        return objects

    def differences(self, objects: TemporaryObjects) -> tuple[str, ...]:
        """By the digest."""
        queries = digest_temporary(objects)
        answers = self.driver.do(Exchange(queries, queries))
        assert isinstance(answers, Answers)
        return temporary_differences(answers.old, answers.new)

    def assert_same(self) -> None:
        """Structure, rows and positions are those of the old side."""
        with named_as_usual(self.old, self.new):
            for query in VIEWS:
                there, here = (outcome(each, query.format(here=_HERE)) for each in (self.old, self.new))
                assert here == there, f"{here} is not {there} in {query}"
                assert isinstance(here, list), f"{here} from {query}"
        self.assert_same_contents()

    def assert_same_contents(self) -> None:
        """Rows in their order, and positions of sequences."""
        with named_as_usual(self.old, self.new):
            there, here = contents(self.old), contents(self.new)
        assert here == there, f"{here} is not {there}"

    def assert_alike(self, text: str) -> None:
        """A statement has the same outcome on both."""
        there, here = outcome(self.old, text), outcome(self.new, text)
        assert here == there, f"{here} is not {there} after {text}"


def settings_of(connection: psycopg.Connection) -> set[tuple[bytes | None, ...]]:
    """All settings and where they come from, the role, and whether it is somebody else.

    Nothing but its own value belongs to the session of what is set for each transaction.
    """
    found = outcome(
        connection,
        "select name, setting, case when name !~ '^transaction_' then source end from pg_settings"
        " union all select '', current_user, session_user",
    )
    assert not isinstance(found, str), found
    return set(found)


def run(connection: psycopg.Connection, text: str) -> None:
    """Statements that must succeed, as one simple query."""
    found = outcome(connection, text)
    assert not isinstance(found, str), f"{found} {connection.pgconn.get_error_message()} in {text}"


def outcome(connection: psycopg.Connection, text: str) -> Outcome:
    """What a client sees of a simple query: the rows of its last statement, or the SQLSTATE."""
    connection.pgconn.send_query(text.encode())
    found: Outcome = []
    while (result := connection.pgconn.get_result()) is not None:
        if result.status == ExecStatus.FATAL_ERROR:
            found = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
        elif not isinstance(found, str):
            found = [
                tuple(result.get_value(row, column) for column in range(result.nfields))
                for row in range(result.ntuples)
            ]
    if connection.pgconn.transaction_status == TransactionStatus.INERROR:
        connection.pgconn.exec_(b"rollback")
    return found


@contextmanager
def named_as_usual(*connections: psycopg.Connection) -> Iterator[None]:
    """Where temporary objects have names of the system's own, these are the system's."""
    for each in connections:
        run(each, "set search_path = pg_catalog, pg_temp")
    yield
    for each in connections:
        run(each, "reset search_path")


def make_alike(connection: psycopg.Connection) -> None:
    """Without what the client has set: it is not what is carried here."""
    run(connection, "reset session authorization; reset role; reset all")


def contents(connection: psycopg.Connection) -> list[Outcome]:
    """All rows of all tables in the order of the heap, and where sequences stand."""
    names = outcome(
        connection,
        "select quote_ident(relname), relkind from pg_class where relnamespace = pg_my_temp_schema()"
        " and relkind in ('r', 'S') order by 1",
    )
    found = []
    for name, kind in names:
        assert isinstance(name, bytes)
        relation = f"pg_temp.{name.decode()}"
        query = f"select count(*), md5(string_agg((r.*)::text, e'\\n')) from only {relation} r"
        if kind == b"S":  # what is drawn ahead is the session's secret
            query = (
                "select is_called, case when seqcache = 1 then last_value end"
                f" from {relation}, pg_sequence where seqrelid = '{relation}'::regclass"
            )
        found.append(outcome(connection, query))
    return found
