"""The driver of plans that the tests of this folder use: it does what `steps` documents."""

from __future__ import annotations

import psycopg
import pytest
from driver import Driver, drive

from helios_trio.errors import BackendLost
from helios_trio.session.carrying.steps import (
    Answer,
    Parse,
    Plan,
    Query,
    Side,
    Streamed,
    ask,
    ask_both,
    collect,
    pause,
    start,
    stream,
)

pytestmark = pytest.mark.cluster


@pytest.fixture
def driver(direct_dsn: str):
    with (
        psycopg.connect(direct_dsn, autocommit=True) as old,
        psycopg.connect(direct_dsn, autocommit=True) as new,
    ):
        yield Driver.over(old, new)


def test_requests_stand_for_themselves(driver: Driver) -> None:
    """After an error the next request is executed; rows and tags of several statements are put together."""

    def plan() -> Plan[tuple[Answer, ...]]:
        return (
            yield from ask(
                Side.OLD,
                Query("select 1/0"),
                Query("select 1, null; select 'ä'; set work_mem to '1MB'"),
                Parse(b"p", b"select $1", b"\0\1\0\0\0\x17"),
                Query("execute p(7)"),
            )
        )

    failed, three, parsed, executed = driver.run(plan())
    assert failed.error is not None
    assert failed.error.sqlstate == "22012"
    assert three == Answer((("1", None), ("ä",)), ("SELECT 1", "SELECT 1", "SET"))
    assert parsed == Answer()
    assert executed.rows == (("7",),)


def test_bytes_that_are_no_text_survive(driver: Driver) -> None:
    """Values in another encoding come back as they were sent."""

    def plan() -> Plan[Answer]:
        yield from ask(Side.OLD, Query("set client_encoding to latin1"))
        return (yield from ask(Side.OLD, Query("select '\udce9'")))[0]

    assert driver.run(plan()).rows == (("\udce9",),)


def test_one_side_may_wait_for_the_other(driver: Driver) -> None:
    """Both sides of an exchange are under way at once."""

    def plan() -> Plan[tuple[Answer, ...]]:
        yield from ask(Side.OLD, Query("select pg_advisory_lock(1)"))
        answers = yield from ask_both(
            (Query("select pg_advisory_unlock(1)"),), (Query("select pg_advisory_lock(1)"), Query("select 2"))
        )
        return answers.new

    assert driver.run(plan())[1].rows == (("2",),)


def test_a_request_is_started_and_collected(driver: Driver) -> None:
    """What blocks is started on one side, and ended by the other."""

    def plan() -> Plan[Answer]:
        yield from ask(Side.OLD, Query("select pg_advisory_lock(2)"))
        yield from start(Side.NEW, "select pg_advisory_lock(2); select 'got'")
        yield from pause(0.001)
        yield from ask(Side.OLD, Query("select pg_advisory_unlock(2)"))
        return (yield from collect(Side.NEW))

    assert driver.run(plan()).rows[-1] == ("got",)


@pytest.mark.parametrize("format", ["text", "binary", "csv"])
def test_rows_are_streamed(driver: Driver, format: str) -> None:
    """All bytes come through, whatever they are."""

    def plan() -> Plan[tuple[Streamed, Answer]]:
        rows = "select n, decode(repeat(lpad(to_hex(n % 256), 2, '0'), 1000), 'hex') from generate_series(1, 999) n"
        yield from ask(Side.NEW, Query("create temp table t (n int, data bytea)"))
        streamed = yield from stream(
            f"copy ({rows}) to stdout (format {format})", f"copy t from stdin (format {format})"
        )
        (found,) = yield from ask(
            Side.NEW, Query(f"select count(*) from (select * from t intersect {rows}) _")
        )
        return streamed, found

    streamed, found = driver.run(plan())
    assert streamed.error is None
    assert streamed.rows == 999
    assert streamed.size > 999_000
    assert found.rows == (("999",),)


@pytest.mark.parametrize(
    ("copy_out", "copy_in", "sqlstate"),
    [
        ("copy nothing to stdout", "copy t from stdin", "42P01"),
        ("copy (select 1) to stdout", "copy nothing from stdin", "42P01"),
        ("copy (select 1/(3-n) from generate_series(1, 9) n) to stdout", "copy t from stdin", "22012"),
        ("copy (select 'x') to stdout", "copy t from stdin", "22P02"),
    ],
)
def test_the_side_that_failed_is_reported(driver: Driver, copy_out: str, copy_in: str, sqlstate: str) -> None:
    """And both can be used afterwards."""

    def plan() -> Plan[tuple[Streamed, list[Answer]]]:
        yield from ask(Side.NEW, Query("create temp table t (n int)"))
        streamed = yield from stream(copy_out, copy_in)
        answers = yield from ask_both((Query("select 1"),), (Query("select count(*) from t"),))
        return streamed, [*answers.old, *answers.new]

    streamed, (old, new) = driver.run(plan())
    assert streamed.error is not None
    assert streamed.error.sqlstate == sqlstate
    assert old.rows == (("1",),)
    assert new.rows == (("0",),)


def test_a_lost_connection_is_thrown_into_the_plan(direct_dsn: str) -> None:
    """The plan sees the error, and may end in its own way."""

    def plan() -> Plan[str]:
        try:
            yield from ask(Side.OLD, Query("select pg_terminate_backend(pg_backend_pid())"))
            yield from ask(Side.OLD, Query("select 1"))
        except BackendLost:
            return "seen"
        return "not seen"

    with (
        psycopg.connect(direct_dsn, autocommit=True) as old,
        psycopg.connect(direct_dsn, autocommit=True) as new,
    ):
        assert drive(plan(), old, new) == "seen"
