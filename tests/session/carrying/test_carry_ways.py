"""The ways a session can go: at once, from tracking alone, in shared modes, to another lock space, while notified."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from rig import Client, Refused, driver_for, notifications, pair, payloads, refuse
from scenarios import SCENARIOS

from helios_trio.session.carrying.carry import CarryOrder, carry
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.session.carrying.steps import Exchange, Step

pytestmark = pytest.mark.cluster


@pytest.fixture
def connections(direct_dsn: str) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    with pair(direct_dsn) as both:
        yield both


Both = tuple[psycopg.Connection, psycopg.Connection]


def steps_of(client: Client, new: psycopg.Connection, **order: object) -> list[Step]:
    """The steps in which it is carried."""
    tracked = client.tracked(new)
    driver = driver_for(tracked, client.connection, new)
    driver.run(carry(tracked, CarryOrder(**order)))  # type: ignore[arg-type]
    return driver.steps


# -- at once -------------------------------------------------------------------------------------------------------


def test_settings_and_statements_go_in_one_exchange(connections: Both) -> None:
    """The old server is asked meanwhile whether that is all."""
    old, new = connections
    client = Client(old)
    client.query("set work_mem = '4096kB'; set timezone = 'CET'; set app.one = '1'; set role postgres")
    client.prepare("one", "select $1::int")
    (step,) = steps_of(client, new)
    assert isinstance(step, Exchange)
    assert len(step.old) == 1


def test_what_tracking_has_missed_is_found_out(connections: Both) -> None:
    """Rule 8: a function body has set something; the session goes the longer way, and it is counted."""
    old, new = connections
    client = Client(old)
    client.query("set work_mem = '4MB'")
    old.execute("do $$ begin perform set_config('work_mem', '9MB', false); end $$")
    old.execute("do $$ begin perform set_config('temp_buffers', '2MB', false); end $$")
    carried, moved = client.carried_to(new)
    assert carried.missed == {"session_variables": 1}
    assert moved.query("show work_mem")[0][2] == [("9MB",)]  # type: ignore[index]
    assert moved.query("show temp_buffers")[0][2] == [("2MB",)]  # type: ignore[index]


# -- from tracking alone -------------------------------------------------------------------------------------------


def test_a_silent_server_is_not_asked(connections: Both) -> None:
    """Settings, prepared statements and channels, in two exchanges with the new server."""
    old, new = connections
    client = Client(old)
    client.query("set work_mem = '4096kB'; set app.one = '1'; set app.two = 'x'; reset app.two; listen here")
    client.query("prepare two (int) as select $1 + 2")
    client.prepare("one", "select $1::int")
    client.prepare("", "select 7")
    old.close()
    steps = steps_of(client, new, asked=False)
    assert all(isinstance(step, Exchange) and not step.old for step in steps)
    assert len(steps) == 2
    moved = client.moved(new, client.tracked(new))
    assert moved.execute("") == [("7",)]
    assert moved.execute("one", "1") == [("1",)]
    asked = "select current_setting('app.one'), current_setting('app.two'), current_setting('work_mem')"
    assert moved.query(asked)[0][2] == [("1", "", "4MB")]  # type: ignore[index]
    assert moved.query("execute two(2)")[0][2] == [("4",)]  # type: ignore[index]
    assert moved.query("select pg_listening_channels()")[0][2] == [("here",)]  # type: ignore[index]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("create temp table t ()", "temporary tables"),
        ("declare c cursor with hold for select 1", "cursors"),
        ("select pg_advisory_lock(1)", "advisory locks"),
    ],
)
def test_what_only_the_old_server_knew_is_named(connections: Both, statement: str, kind: str) -> None:
    old, new = connections
    client = Client(old)
    client.query(statement)
    with pytest.raises(CannotCarry, match=f"its {kind} are known to the old server only"):
        client.carried_to(new, CarryOrder(asked=False))


# -- shared modes --------------------------------------------------------------------------------------------------


def test_a_pinned_session_of_a_shared_mode_takes_what_pins_it(connections: Both) -> None:
    """Its settings follow the label; what another session left on the new connection does not stay."""
    old, new = connections
    other = Client(new)
    other.query(
        "set role pg_monitor; set work_mem = '7MB'; create temp table t (theirs int); set app.theirs = 'x'"
    )
    other.query("reset role; create temp table theirs (); select pg_advisory_lock(99)")
    client = Client(old, shared=True)
    client.query("set work_mem = '3MB'; create temp table t (mine int) on commit delete rows")
    client.query("prepare p as select 1; declare c scroll cursor with hold for select 5")
    client.query("do $$ begin perform set_config('temp_buffers', '2MB', false); end $$")
    client.pgconn.prepare(b"helios_0123", b"select 'kept under a name of the proxy'")
    tracked = client.tracked(new)
    tracked.new.label = {"work_mem": "7MB", "role": "pg_monitor"}
    driver_for(tracked, old, new).run(carry(tracked, CarryOrder()))
    moved = client.moved(new, tracked)
    for text, expected in (
        ("select mine from t", []),
        ("show work_mem", [("3MB",)]),
        ("show temp_buffers", [("2MB",)]),
        ("execute p", [("1",)]),
        ("fetch c", [("5",)]),
        ("select count(*) from pg_locks where locktype = 'advisory'", [("0",)]),
        ("select count(*) from pg_prepared_statements where not from_sql", [("0",)]),
        ("select to_regclass('theirs')", [(None,)]),
    ):
        assert moved.query(text)[0][2] == expected, text  # type: ignore[index]
    assert tracked.new.label is client.session.label
    assert tracked.new.last_session == client.session.id


# -- another lock space --------------------------------------------------------------------------------------------


def test_locks_are_taken_again_where_nobody_knows_them(
    direct_dsn: str, create_database: Callable[[str, str], psycopg.Connection]
) -> None:
    """Rule 12, after a promotion: another database has another lock space, as another server has."""
    with create_database("promoted", "select 1"):
        elsewhere = direct_dsn.replace("dbname=postgres", "dbname=promoted")
        with (
            psycopg.connect(direct_dsn, autocommit=True) as old,
            psycopg.connect(elsewhere, autocommit=True) as new,
        ):
            client = Client(old)
            scenario = SCENARIOS["advisory locks"]
            for part in scenario.before:
                client.query(str(part))
            expected = [
                [("t",), ("t",), ("t",), ("f",)],
                [("f",)] * 4,
                [("f",)] * 4,
                [("t",), ("t",), ("f",), ("f",)],
            ]
            _, moved = client.carried_to(new, CarryOrder(same_data=False, no_return=True))
            answers = [moved.query(str(part))[0] for part in scenario.after[1:5]]
            assert [answer[2] for answer in answers] == expected  # type: ignore[index]


# -- notifications -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_every_notification_comes_once_and_in_order(direct_dsn: str, fails: bool) -> None:
    """Rule 13: whichever server it came from, and equal ones are all real."""
    step = step_of(direct_dsn, "pg_blocking_pids") if fails else None
    with pair(direct_dsn) as (old, new), psycopg.connect(direct_dsn, autocommit=True) as other:
        client = Client(old)
        client.query("listen here; select pg_advisory_lock(3)")
        sent: list[str] = []
        tracked = client.tracked(new)
        driver = driver_for(tracked, old, new)

        def notify() -> None:
            sent.append(str(len(sent) // 2))
            other.execute("select pg_notify('here', %s)", [sent[-1]])

        notify()
        driver.before_each = notify
        driver.at, driver.instead = step, refuse
        try:
            driver.run(carry(tracked, CarryOrder()))
        except Refused:
            assert fails
        notify()
        got = driver.delivered
        if fails:
            client.query("select 1")
            driver.listen()
            got += payloads(tracked.division.stayed())
        else:
            Client(new).query("select 1")
            got += payloads(tracked.division.moved())
            got += [each for frame in notifications(new.pgconn) for each in payloads(frame)]
        assert got == sent
        assert len(sent) > 10


def step_of(dsn: str, text: str) -> int:
    """The number of the first step in which the same session is asked this."""
    with pair(dsn) as (old, new):
        client = Client(old)
        client.query("listen here; select pg_advisory_lock(3)")
        found = (number for number, step in enumerate(steps_of(client, new)) if text in str(step))
        return next(found)


def test_a_marker_that_does_not_come_keeps_the_session(connections: Both) -> None:
    """Rule 13: nobody hands notifications on; the session listens on as before."""
    old, new = connections
    client = Client(old)
    client.query("listen here")
    tracked = client.tracked(new)
    driver = driver_for(tracked, old, new)
    driver.division = None
    with pytest.raises(Exception, match="could not be told apart"):
        driver.run(carry(tracked, CarryOrder()))
    assert client.query("select pg_listening_channels()")[0][2] == [("here",)]  # type: ignore[index]


# -- odd values ----------------------------------------------------------------------------------------------------

ODD = (
    "",
    " ",
    "NULL",
    "null",
    "'",
    '"',
    "\\",
    "{}",
    "{a,b}",
    "a,b",
    "a;b",
    "\n\t",
    "é€𝄞",
    "$1",
    "--",
    "\\x00",
    "'; select 1",
)


def test_odd_values_in_cursors_come_through(connections: Both) -> None:
    """Rule 11: whatever the values are, and whatever the settings."""
    old, new = connections
    client = Client(old)
    client.query(
        "set standard_conforming_strings = off; set datestyle = 'sql, dmy'; set intervalstyle = 'iso_8601'"
    )
    client.query("set extra_float_digits = -15; set bytea_output = 'escape'; set timezone = 'Asia/Kolkata'")
    values = ", ".join("convert_from('\\\\x" + each.encode().hex() + "', 'utf8')" for each in ODD)
    client.query(
        "declare c scroll cursor with hold for select v, array[v, null] as a, 1::float8 / 3 as f,"
        " '2001-02-03 04:05'::timestamptz as t, '1 day 2:03'::interval as i, convert_to(v, 'utf8') as b"
        f" from unnest(array[{values}, null]) as v"
    )
    expected = client.query("fetch all from c")
    assert len(expected[0][2]) == len(ODD) + 1  # type: ignore[index]
    client.query("move absolute 0 in c")
    _, moved = client.carried_to(new)
    assert moved.query("fetch all from c") == expected


def test_statement_limits_of_the_client_do_not_stop_a_move(connections: Both) -> None:
    """Its statement_timeout is for its own statements."""
    old, new = connections
    client = Client(old)
    client.query(
        "declare c scroll cursor with hold for select repeat('x', 1000) from generate_series(1, 20000)"
    )
    client.query("declare d no scroll cursor with hold for select n from generate_series(1, 20000) n")
    client.query(
        "set statement_timeout = '40ms'; set default_transaction_read_only = on; set lock_timeout = '1ms'"
    )
    carried, moved = client.carried_to(new)
    assert carried.counts["cursors"] == 2
    assert carried.size > 20_000_000
    assert moved.query("move all in c")[0][0] == b"MOVE 20000"  # type: ignore[index]
