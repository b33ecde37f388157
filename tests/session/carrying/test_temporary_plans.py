"""How temporary objects are carried: round trips, failures and what they leave behind, settings in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest
from attrs import evolve
from temporary_rig import Rig, outcome, run, settings_of

from helios_trio.errors import BackendLost
from helios_trio.session.carrying.errors import CarryFailed
from helios_trio.session.carrying.steps import Exchange, Stream
from helios_trio.session.carrying.temporary import Restored, restore_and_compare
from helios_trio.session.carrying.temporary.nodes import Statement
from helios_trio.sql.kinds import OnCommit

pytestmark = pytest.mark.cluster

TABLE = (
    "create temp table t (a int generated always as identity primary key, b text);"
    " insert into t (b) select 'row ' || g from generate_series(1, 1000) g"
)


@pytest.fixture
def rig(connect: Callable[[str], psycopg.Connection]) -> Iterator[Rig]:
    """Two sessions of the superuser."""
    with Rig.open(partial(connect, "postgres"), partial(connect, "postgres")) as found:
        yield found


def steps(rig: Rig) -> list[str]:
    """What was done, and on which side."""
    return [
        "stream" if isinstance(each, Stream) else "old" if isinstance(each, Exchange) and each.old else "new"
        for each in rig.driver.steps
    ]


@pytest.mark.parametrize("before", ["select 1", "create temp table t (a int); drop table t"])
def test_nothing_costs_one_question(rig: Rig, before: str) -> None:
    """Whether there is a temporary schema or not."""
    run(rig.old, before)
    objects = rig.capture()
    assert not objects
    assert objects.reasons == ()
    assert steps(rig) == ["old"]
    assert rig.restore(objects) == 0
    assert steps(rig) == ["old"]


def test_round_trips(rig: Rig) -> None:
    """Two to capture what is expected, three to build one table again."""
    run(rig.old, TABLE)
    objects = rig.capture({"t": OnCommit.PRESERVE})
    assert steps(rig) == ["old", "old"]
    assert objects.counts == {"table": 1, "sequence": 1, "constraint": 1}
    assert objects.sizes.keys() == {"t"}
    assert objects.size > 1000 * 30
    assert rig.restore(objects) == 1000
    assert steps(rig) == ["old", "old", "new", "stream", "new"]
    assert rig.differences(objects) == ()


def test_what_is_asked_on_the_old_side_is_ascii(rig: Rig) -> None:
    """Its client_encoding is another one while the text is read."""
    run(rig.old, 'create temp table "tä" ("bö" text, c serial); insert into "tä" values (\'ü\')')
    rig.restore(rig.capture())
    for step in rig.driver.steps:
        texts = [each.text for each in step.old] if isinstance(step, Exchange) else [step.copy_out]
        assert all(text.isascii() for text in texts)


def test_a_name_that_is_taken_is_an_error_that_names_it(rig: Rig) -> None:
    """The new side is rolled back and has nothing, the old side has everything."""
    run(rig.old, TABLE)
    run(rig.new, "create temp view t as select 1 as one")
    before = settings_of(rig.old)
    objects = rig.capture()
    with pytest.raises(CarryFailed, match='table t: relation "t" already exists') as failed:
        rig.restore(objects)
    assert failed.value.sqlstate == "42P07"
    assert failed.value.what == "table t"
    assert settings_of(rig.old) == before
    assert outcome(rig.old, "select count(*) from t") == [(b"1000",)]
    assert outcome(rig.new, "select count(*) from pg_class where relnamespace = pg_my_temp_schema()") == [
        (b"1",)
    ]


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_statement_that_fails_takes_all_with_it(rig: Rig, place: str) -> None:
    """Before the rows or behind them."""
    run(rig.old, TABLE)
    objects = rig.capture()
    failing = Statement("table x", "postgres", "select 1/0")
    with pytest.raises(CarryFailed, match="table x: division by zero"):
        rig.restore(evolve(objects, **{place: (*getattr(objects, place), failing)}))
    assert outcome(rig.new, "select to_regclass('pg_temp.t')") == [(None,)]
    assert outcome(rig.old, "select count(*) from t") == [(b"1000",)]


def test_rows_that_are_refused(rig: Rig) -> None:
    """A constraint that rows do not hold any more is named with its table."""
    run(rig.old, "create function public.allowed(int) returns bool language sql as 'select true'")
    run(rig.old, "create temp table t (a int check (allowed(a))); insert into t values (1)")
    try:
        objects = rig.capture()
        run(
            rig.old,
            "create or replace function public.allowed(int) returns bool language sql as 'select false'",
        )
        with pytest.raises(CarryFailed, match=r'rows of table t: .* violates check constraint "t_a_check"'):
            rig.restore(objects)
        assert outcome(rig.new, "select to_regclass('pg_temp.t')") == [(None,)]
        assert outcome(rig.old, "select a from t") == [(b"1",)]
    finally:
        run(rig.old, "drop function public.allowed cascade")


def test_a_lost_connection_ends_the_plan(rig: Rig) -> None:
    """With the driver's own error."""
    run(rig.old, TABLE)
    objects = rig.capture()
    run(rig.old, f"select pg_terminate_backend({rig.new.info.backend_pid}, 10000)")
    with pytest.raises(BackendLost):
        rig.restore(objects)
    assert outcome(rig.old, "select count(*) from t") == [(b"1000",)]


def test_time_limits_of_the_client_are_not_ours(rig: Rig) -> None:
    """Copying takes longer than any statement of the client's may."""
    run(rig.old, "create temp table t (a int, b text)")
    run(rig.old, "insert into t select g, repeat('x', 100) from generate_series(1, 400000) g")
    run(rig.old, "set statement_timeout = 100; set transaction_timeout = 150")
    assert outcome(rig.old, "select count(md5(repeat(b, 100))) from t") == "57014"
    objects = rig.capture()
    assert rig.restore(objects) == 400_000
    assert rig.differences(objects) == ()


def test_temp_buffers_come_first(rig: Rig) -> None:
    """Once the new session has used a temporary table its temp_buffers cannot be changed."""
    run(rig.old, "set temp_buffers = '1MB'")
    run(rig.old, TABLE)
    rig.carry()
    assert outcome(rig.new, "show temp_buffers") == [(b"1MB",)]
    run(rig.new, "set temp_buffers = '1MB'")


def test_a_table_that_was_analysed_is_analysed(rig: Rig) -> None:
    """And no other one: that would cost time for nothing."""
    run(rig.old, TABLE)
    run(rig.old, "create temp table u as select * from t; analyze u")
    rig.carry()
    query = "select tablename from pg_stats where schemaname like 'pg_temp%' and tablename in ('t', 'u') and"
    own = " schemaname = (select nspname from pg_namespace where oid = pg_my_temp_schema()) group by 1"
    assert outcome(rig.new, query + own) == [(b"u",)]


def test_current_values_of_sequences(rig: Rig) -> None:
    """currval() is what it was, of a sequence that was called."""
    run(rig.old, "create temp sequence s; create temp sequence never; select nextval('s'), nextval('s')")
    rig.carry()
    for query in ("select currval('s')", "select currval('never')", "select nextval('s')"):
        rig.assert_alike(query)


def test_the_new_session_keeps_its_own_settings(rig: Rig) -> None:
    """What the client has set is brought there by others, later."""
    run(rig.old, TABLE)
    run(rig.new, "set datestyle = 'german'; set client_encoding = 'latin1'; set role carry_reader")
    before = settings_of(rig.new)
    rig.carry()
    assert settings_of(rig.new) == before


def test_a_chain_of_objects(rig: Rig) -> None:
    """Order follows dependencies, however long they are."""
    run(
        rig.old,
        "create temp table t (a int); insert into t values (1); create temp view v0 as select a from t",
    )
    for number in range(1, 300):
        run(rig.old, f"create temp view v{number} as select a from v{number - 1}")
    rig.carry()
    assert outcome(rig.new, "select a from v299") == [(b"1",)]


def test_comparing_with_the_last_round_trip(rig: Rig) -> None:
    """One exchange ends the transaction and asks both sides."""
    run(rig.old, TABLE)
    objects = rig.capture({"t": OnCommit.PRESERVE})
    restored = rig.driver.run(restore_and_compare(objects))
    assert restored == Restored(1000)
    assert steps(rig) == ["old", "old", "new", "stream", "old"]


def test_comparing_finds_what_the_new_side_had_already(rig: Rig) -> None:
    """Something there that the old side does not have."""
    run(rig.old, TABLE)
    run(rig.new, "create temp table other (a int)")
    restored = rig.driver.run(restore_and_compare(rig.capture()))
    assert set(restored.differences) >= {
        "relation other is on one side only",
        "column other.a is on one side only",
    }
