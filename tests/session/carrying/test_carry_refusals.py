"""What is not carried, by name, and what is left of the attempt (rules 11, 12, 15, 16 and 18)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from driver import PATIENCE, results
from psycopg.pq import ExecStatus
from rig import Client, driver_for, pair
from scenarios import TABLES

from helios_trio.errors import HeliosError
from helios_trio.session.carrying.carry import CarryOrder, carry
from helios_trio.session.carrying.errors import CannotCarry

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def dsn(create_database: Callable[[str, str], psycopg.Connection], direct_dsn: str) -> Iterator[str]:
    """A database with something to use."""
    with create_database("refusing", TABLES):
        yield direct_dsn.replace("dbname=postgres", "dbname=refusing")


def reasons(client: Client, new: psycopg.Connection, **order: object) -> str:
    """Why it is not carried."""
    tracked = client.tracked(new)
    with pytest.raises(CannotCarry) as caught:
        driver_for(tracked, client.connection, new).run(carry(tracked, CarryOrder(**order)))  # type: ignore[arg-type]
    return "; ".join(caught.value.reasons)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["select setseed(0.5)"], "setseed"),
        (["set seed = 0.5"], "setseed"),
        (["load 'plpgsql'"], "LOAD"),
        (
            ["select set_config(name, setting, false) from pg_settings where name = 'work_mem'"],
            "set_config()",
        ),
        (["select pg_backup_start('here', true)"], "pg_backup_start"),
        (["select pg_create_physical_replication_slot('here_and_gone', false, true)"], "replication slot"),
        (["set client_encoding = 'LATIN1'", "set app.one = '\udce9'"], "could not be read"),
    ],
)
def test_what_binds_a_session_is_named(dsn: str, statements: list[str], reason: str) -> None:
    """Rule 15."""
    with pair(dsn) as (old, new):
        client = Client(old)
        for each in statements:
            client.query(each)
        assert reason in reasons(client, new)
        assert client.session.explain().reasons


def test_a_cause_that_has_ended_binds_no_more(dsn: str) -> None:
    """Rule 15: a slot that is no temporary one, a backup that was stopped, a seed that was discarded."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("select pg_create_physical_replication_slot('stays')")
        client.query("select pg_backup_start('here', true)")
        client.query("select pg_backup_stop()")
        client.query("select setseed(0.1)")
        client.query("discard all")
        assert "slot" in "".join(client.session.explain().reasons)
        _, moved = client.carried_to(new)
        assert moved.session.explain().reasons == ()
        moved.query("select pg_drop_replication_slot('stays')")


def test_a_prepared_transaction_that_another_session_ended_binds_no_more(dsn: str) -> None:
    """Rule 15: the server is asked which transactions are still prepared."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.session.two_phase.add("somebody has ended it")
        assert client.session.explain().reasons
        client.carried_to(new)
        assert client.session.explain().reasons == ()


def test_kinds_that_are_not_to_be_preserved_stay(dsn: str) -> None:
    """The order names the kinds that may be carried."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("set work_mem = '1MB'; declare c cursor with hold for select 1")
        kept = frozenset({"session_variables"})
        assert reasons(client, new, preserve=kept) == "it has cursors, which preserve_state does not name"
        client.query("close c")
        client.carried_to(new, CarryOrder(preserve=kept))


@pytest.mark.parametrize(
    "statements",
    [
        ["set app.one = 'x'", "select set_config('app.one', repeat('x', 5000), false)"],
        ["prepare p as select '" + "x" * 5000 + "'"],
        ["create temp table t as select repeat('x', 100) as x from generate_series(1, 100)"],
        [
            "declare c scroll cursor with hold for select repeat('x', 100) from generate_series(1, 100); move 7 in c"
        ],
        [
            "declare c no scroll cursor with hold for select repeat('x', 100) from generate_series(1, 100); move 7 in c"
        ],
    ],
)
def test_state_above_the_limit_stays(dsn: str, statements: list[str]) -> None:
    """Rule 16: and is as it was."""
    with pair(dsn) as (old, new):
        client = Client(old)
        for each in statements:
            client.query(each)
        assert "max_state_size" in reasons(client, new, max_state_size=5000)
        if "cursor" in statements[0]:
            assert [result[0] for result in client.query("move all in c")] == [b"MOVE 93"]  # type: ignore[index]
        assert client.query("select name from pg_cursors where name like 'helios%'") == [
            (b"SELECT 0", [(b"name", 25, -1)], [])
        ]


def test_a_forward_only_cursor_stays_with_a_role_that_may_have_no_copy(dsn: str) -> None:
    """Rule 11: reading it would destroy it."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("revoke temporary on database refusing from public")
        client.query("set role plain")
        client.query(
            "declare c no scroll cursor with hold for select n from generate_series(1, 9) n; move 2 in c"
        )
        assert 'cursor "c" cannot be read without losing it' in reasons(client, new)
        assert client.query("fetch c") == [(b"FETCH 1", [(b"n", 23, -1)], [("3",)])]
        client.query("reset role; grant temporary on database refusing to public")


def test_a_sequence_of_another_owner_keeps_who_has_asked_for_its_value(dsn: str) -> None:
    """Rule 14: and one that never asked may go."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("grant usage on sequence here.one to plain; set role plain; select nextval('here.one')")
        client.query("select currval('here.one')")
        assert "currval of sequence here.one" in reasons(client, new)
        client.query("discard sequences")
        with psycopg.connect(dsn, autocommit=True) as fresh:
            client.carried_to(fresh)


def test_locks_and_channels_stay_where_the_data_is(dsn: str) -> None:
    """Rules 12 and 13: another server has another lock space."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("select pg_advisory_lock(1); listen here")
        found = reasons(client, new, same_data=False)
        assert "advisory locks" in found
        assert "channels" in found


def test_prepared_statements_with_other_columns_are_not_given(dsn: str) -> None:
    """A client is never given other columns than it was told of: PostgreSQL refuses too, with 0A000."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("create table here.grows (a int)")
        client.prepare("all", "select * from here.grows")
        client.prepare("one", "select a from here.grows")
        client.query("alter table here.grows add b int")
        assert client.execute("all") == "0A000"
        _, moved = client.carried_to(new)
        assert moved.execute("all") == "26000"
        assert moved.execute("one") == []
        moved.query("drop table here.grows")


@pytest.mark.parametrize(
    ("held", "waited"),
    [("pg_advisory_lock(1)", "pg_advisory_lock(1)"), ("pg_advisory_lock_shared(1)", "pg_advisory_lock(1)")],
)
def test_locks_that_others_wait_for_stay(dsn: str, held: str, waited: str) -> None:
    """Rule 12: it would be unfair, and is undone; other locks were given back too."""
    with pair(dsn) as (old, new), psycopg.connect(dsn, autocommit=True) as waiter:
        client = Client(old)
        client.query(f"select pg_advisory_lock(0), pg_advisory_lock(0), {held}, {held}")
        waiter.pgconn.send_query(f"select {waited}".encode())
        wait_until(client, "select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted")
        assert "others wait for advisory lock (1)" in reasons(client, new)
        assert held_by(client) == (
            ["0:ExclusiveLock", "1:ExclusiveLock"]
            if "shared" not in held
            else ["0:ExclusiveLock", "1:ShareLock"]
        )
        client.query("select pg_advisory_unlock_all()")
        assert [result.status for result in results(waiter.pgconn)] == [ExecStatus.TUPLES_OK]


def wait_until(client: Client, question: str) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + PATIENCE
    while client.connection.execute(question).fetchone() != (True,):
        assert time.monotonic() < deadline


def held_by(client: Client) -> list[str]:
    """Its locks."""
    found = client.connection.execute(
        "select objid || ':' || mode from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() order by 1"
    )
    return [row[0] for row in found]


def test_a_failed_move_says_what_it_is(dsn: str) -> None:
    """The role was dropped: the setting is named, without its value where there is one."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("create role fleeting; set role fleeting")
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("drop role fleeting")
        with pytest.raises(HeliosError, match='SET ROLE: role "fleeting" does not exist'):
            client.carried_to(new)
